"""The bytes of an entry: its kind and the number of its layout, then its fields.

Fixed layouts (`struct`) carry what every attempt writes: a third of JSON's size, and half a microsecond
on the way of a request. Rare entries with text (names, snapshots) are MessagePack. A schema language
would add a build step and no speed.
"""

import struct
from collections.abc import Callable, Mapping
from struct import Struct as Layout

import msgspec

from entrepot.domain.endpoint import Operation
from entrepot.domain.outcome import Outcome
from entrepot.domain.prices import Bill
from entrepot.domain.usage import Usage
from entrepot.ledger.entries.values import (
    MAX_ANSWER_ID_BYTES,
    Closing,
    Correct,
    CorrectReason,
    Entry,
    Expire,
    ExpireReason,
    Feedback,
    Kind,
    NameEndpoint,
    NamePrices,
    NameRules,
    NameSender,
    Refused,
    Reserve,
    Settle,
    Snapshot,
    Void,
    VoidReason,
)

# kind, request id, attempt, instant, key, endpoint; then what the kind adds. All little-endian. What a second
# layout adds stands behind the fields of the first, and is zero in entries that were written with that.
_RESERVE_1 = Layout("<B16sHqIIIqIBI")
_RESERVE = Layout(_RESERVE_1.format + "IIQ")
_SETTLE_1 = Layout("<B16sHqIIIBBHIIIIIqqqqqdddIIQ")
_SETTLE = Layout(_SETTLE_1.format + "Iqq")
_VOID = Layout("<B16sHqIIBBHdI")
_EXPIRE = Layout("<B16sHqIIIqBBHdI")
_CORRECT_1 = Layout("<B16sHqIIIqBBqqqqqqqqqqq")
_CORRECT = Layout(_CORRECT_1.format + "qqqqI")
_FEEDBACK = Layout("<B16sqIQBd")
_REFUSED = Layout("<B16sqIBIII")

_SECOND = 0x10  # the number of the layout stands above the bits of the kind
_RESERVE_CODE = Kind.RESERVE | _SECOND
_SETTLE_CODE = Kind.SETTLE | _SECOND
_CORRECT_CODE = Kind.CORRECT | _SECOND

REQUEST_ID_OFFSET = 1  # of the request id within an encoded entry that has one
TASK_ID_OFFSETS = (
    _RESERVE.size - 8,
    Layout("<B16sqI").size,
)  # of a task's number in a Reserve, in a Feedback
ANSWER_ID_OFFSET = _SETTLE.size  # of the host's answer id within an encoded Settle
MAX_CLOSING_BYTES = _SETTLE.size + MAX_ANSWER_ID_BYTES  # the longest entry that closes a reservation

_STREAM = 0x80  # the bit above the operation's code in a Reserve
_ESTIMATED, _CONTRADICTORY, _CENSORED = 1, 2, 4  # bits of a Settle's or Correct's flags

_RESERVE_1_FIELDS = 11
_SETTLE_1_FIELDS = 26
_CORRECT_1_FIELDS = 21
_NOTHING_ADDED = (0, 0, 0, 0, 0)

_TEXT_KINDS: Mapping[type, Kind] = {
    NameEndpoint: Kind.NAME_ENDPOINT,
    NamePrices: Kind.NAME_PRICES,
    NameSender: Kind.NAME_SENDER,
    NameRules: Kind.NAME_RULES,
    Snapshot: Kind.SNAPSHOT,
}

_OPERATION_CODES = {Operation.CHAT: 0, Operation.COMPLETION: 1, Operation.EMBEDDING: 2}
_OPERATIONS = {code: operation for operation, code in _OPERATION_CODES.items()}
_OUTCOMES = {int(outcome): outcome for outcome in Outcome}

_pack_text = msgspec.msgpack.Encoder().encode
_unpack_endpoint = msgspec.msgpack.Decoder(NameEndpoint).decode
_unpack_prices = msgspec.msgpack.Decoder(NamePrices).decode
_unpack_sender = msgspec.msgpack.Decoder(NameSender).decode
_unpack_rules = msgspec.msgpack.Decoder(NameRules).decode
_unpack_snapshot = msgspec.msgpack.Decoder(Snapshot).decode


def encode_reserve(entry: Reserve) -> bytes:
    """Return the bytes of a Reserve.

    Raises: struct.error when a number does not fit its field.
    """
    code = _OPERATION_CODES[entry.operation]
    return (
        _RESERVE.pack(
            _RESERVE_CODE,
            entry.request_id,
            entry.attempt,
            entry.at_ns,
            entry.key_id,
            entry.endpoint_id,
            entry.price_version,
            entry.amount_nusd,
            entry.prompt_bytes,
            code | _STREAM if entry.stream else code,
            entry.choices,
            entry.sender_id,
            entry.rules_id,
            entry.task_id,
        )
        + entry.decision
    )


def encode_settle(entry: Settle) -> bytes:
    """Return the bytes of a Settle; an `answer_id` is cut after `MAX_ANSWER_ID_BYTES`.

    Raises: struct.error when a number does not fit its field (tokens have 32 bits, money 63).
    """
    usage, bill = entry.usage, entry.bill
    return (
        _SETTLE.pack(
            _SETTLE_CODE,
            entry.request_id,
            entry.attempt,
            entry.at_ns,
            entry.key_id,
            entry.endpoint_id,
            entry.price_version,
            entry.outcome,
            usage.estimated | usage.contradictory << 1 | entry.censored << 2,
            entry.http_status,
            usage.uncached_tokens,
            usage.cached_tokens,
            usage.cache_write_tokens,
            usage.output_tokens,
            usage.reasoning_tokens,
            bill.uncached_nusd,
            bill.cached_nusd,
            bill.cache_write_nusd,
            bill.output_nusd,
            bill.request_nusd,
            entry.ttft_s,
            entry.tpot_s,
            entry.answer_s,
            entry.first_tokens,
            entry.in_flight,
            entry.wire_bytes,
            usage.cache_write_1h_tokens,
            bill.reasoning_nusd,
            bill.cache_write_1h_nusd,
        )
        + entry.answer_id[:MAX_ANSWER_ID_BYTES]
    )


def encode_closing(entry: Closing) -> bytes:
    """Return the bytes of an entry that closes a reservation.

    Raises: struct.error when a number does not fit its field.
    """
    match entry:
        case Settle():
            return encode_settle(entry)
        case Void():
            return _VOID.pack(
                Kind.VOID,
                entry.request_id,
                entry.attempt,
                entry.at_ns,
                entry.key_id,
                entry.endpoint_id,
                entry.outcome,
                entry.reason,
                entry.http_status,
                entry.answer_s,
                entry.in_flight,
            )
        case Expire():
            return _EXPIRE.pack(
                Kind.EXPIRE,
                entry.request_id,
                entry.attempt,
                entry.at_ns,
                entry.key_id,
                entry.endpoint_id,
                entry.price_version,
                entry.at_most_nusd,
                entry.outcome,
                entry.reason,
                entry.http_status,
                entry.answer_s,
                entry.in_flight,
            )


def _encode_correct(entry: Correct) -> bytes:
    usage, bill = entry.usage, entry.bill
    return _CORRECT.pack(
        _CORRECT_CODE,
        entry.request_id,
        entry.attempt,
        entry.at_ns,
        entry.key_id,
        entry.endpoint_id,
        entry.price_version,
        entry.correction_id,
        entry.reason,
        usage.estimated | usage.contradictory << 1,
        usage.uncached_tokens,
        usage.cached_tokens,
        usage.cache_write_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
        bill.uncached_nusd,
        bill.cached_nusd,
        bill.cache_write_nusd,
        bill.output_nusd,
        bill.request_nusd,
        entry.unknown_nusd,
        usage.cache_write_1h_tokens,
        bill.reasoning_nusd,
        bill.cache_write_1h_nusd,
        entry.reserved_ns,
        entry.sender_id,
    )


def _encode_feedback(entry: Feedback) -> bytes:
    return _FEEDBACK.pack(
        Kind.FEEDBACK,
        entry.request_id,
        entry.at_ns,
        entry.key_id,
        entry.task_id,
        entry.succeeded,
        entry.score,
    )


def _encode_refused(entry: Refused) -> bytes:
    return (
        _REFUSED.pack(
            Kind.REFUSED,
            entry.request_id,
            entry.at_ns,
            entry.key_id,
            _OPERATION_CODES[entry.operation],
            entry.sender_id,
            entry.rules_id,
            entry.count,
        )
        + entry.grounds
    )


def encode(entry: Entry) -> bytes:
    """Return the bytes of any entry: its kind, then its fields.

    Raises: struct.error or OverflowError when a number does not fit its field.
    """
    match entry:
        case Reserve():
            return encode_reserve(entry)
        case Settle() | Void() | Expire():
            return encode_closing(entry)
        case Correct():
            return _encode_correct(entry)
        case Feedback():
            return _encode_feedback(entry)
        case Refused():
            return _encode_refused(entry)
        case _:
            return bytes((_TEXT_KINDS[type(entry)],)) + _pack_text(entry)


def decode(body: bytes) -> Entry:
    """Return the entry that `encode` wrote as these bytes.

    Raises: ValueError when they are none; an unknown kind or code names itself.
    """
    try:
        decoder = _DECODERS[body[0]]
    except (KeyError, IndexError):
        raise ValueError(f"an entry of unknown kind {body[:1].hex() or '(empty)'}") from None
    try:
        return decoder(body)
    except (struct.error, KeyError, msgspec.MsgspecError) as error:
        raise ValueError(f"not an entry of kind {body[0]}: {error}") from error


def _decode_reserve(body: bytes) -> Reserve:
    layout = _RESERVE if body[0] & _SECOND else _RESERVE_1
    fields = layout.unpack_from(body)
    _, request_id, attempt, at_ns, key, endpoint, version, amount, size, flags, choices = fields[
        :_RESERVE_1_FIELDS
    ]
    return Reserve(
        request_id,
        attempt,
        at_ns,
        key,
        endpoint,
        version,
        amount,
        size,
        _OPERATIONS[flags & ~_STREAM],
        flags >= _STREAM,
        choices,
        body[layout.size :],
        *fields[_RESERVE_1_FIELDS:],
    )


def _decode_settle(body: bytes) -> Settle:
    layout = _SETTLE if body[0] & _SECOND else _SETTLE_1
    fields = layout.unpack_from(body)
    # fmt: off
    (
        _, request_id, attempt, at_ns, key, endpoint, version, outcome, flags, status,
        uncached, cached, cache_write, output, reasoning,
        uncached_nusd, cached_nusd, cache_write_nusd, output_nusd, request_nusd,
        ttft_s, tpot_s, answer_s, first_tokens, in_flight, wire_bytes,
    ) = fields[:_SETTLE_1_FIELDS]
    # fmt: on
    cache_write_1h, reasoning_nusd, cache_write_1h_nusd = fields[_SETTLE_1_FIELDS:] or (0, 0, 0)
    return Settle(
        request_id,
        attempt,
        at_ns,
        key,
        endpoint,
        version,
        _OUTCOMES[outcome],
        status,
        _usage(uncached, cached, cache_write, output, reasoning, cache_write_1h, flags),
        Bill(
            uncached_nusd,
            cached_nusd,
            cache_write_nusd,
            output_nusd,
            request_nusd,
            reasoning_nusd,
            cache_write_1h_nusd,
        ),
        ttft_s,
        tpot_s,
        answer_s,
        first_tokens,
        in_flight,
        wire_bytes,
        flags & _CENSORED != 0,
        body[layout.size :],
    )


def _usage(
    uncached: int, cached: int, cache_write: int, output: int, reasoning: int, cache_write_1h: int, flags: int
) -> Usage:
    return Usage(
        uncached,
        cached,
        cache_write,
        output,
        reasoning,
        cache_write_1h,
        flags & _ESTIMATED != 0,
        flags & _CONTRADICTORY != 0,
    )


def _decode_void(body: bytes) -> Void:
    _, request_id, attempt, at_ns, key, endpoint, outcome, reason, *observed = _VOID.unpack(body)
    return Void(request_id, attempt, at_ns, key, endpoint, _OUTCOMES[outcome], VoidReason(reason), *observed)


def _decode_expire(body: bytes) -> Expire:
    _, request_id, attempt, at_ns, key, endpoint, version, at_most, outcome, reason, *observed = (
        _EXPIRE.unpack(body)
    )
    return Expire(
        request_id,
        attempt,
        at_ns,
        key,
        endpoint,
        version,
        at_most,
        _OUTCOMES[outcome],
        ExpireReason(reason),
        *observed,
    )


def _decode_correct(body: bytes) -> Correct:
    layout = _CORRECT if body[0] & _SECOND else _CORRECT_1
    fields = layout.unpack(body)
    _, request_id, attempt, at_ns, key, endpoint, version, correction, reason, flags = fields[:10]
    uncached, cached, cache_write, output, reasoning, *money, unknown = fields[10:_CORRECT_1_FIELDS]
    cache_write_1h, reasoning_nusd, cache_write_1h_nusd, reserved_ns, sender = (
        fields[_CORRECT_1_FIELDS:] or _NOTHING_ADDED
    )
    return Correct(
        request_id,
        attempt,
        at_ns,
        key,
        endpoint,
        version,
        correction,
        CorrectReason(reason),
        _usage(uncached, cached, cache_write, output, reasoning, cache_write_1h, flags),
        Bill(money[0], money[1], money[2], money[3], money[4], reasoning_nusd, cache_write_1h_nusd),
        unknown,
        reserved_ns,
        sender,
    )


def _decode_feedback(body: bytes) -> Feedback:
    _, request_id, at_ns, key, task, succeeded, score = _FEEDBACK.unpack(body)
    return Feedback(request_id, at_ns, key, task, succeeded != 0, score)


def _decode_refused(body: bytes) -> Refused:
    _, request_id, at_ns, key, operation, sender, rules, count = _REFUSED.unpack_from(body)
    grounds = body[_REFUSED.size :]
    return Refused(request_id, at_ns, key, _OPERATIONS[operation], grounds, sender, rules, count)


_DECODERS: dict[int, Callable[[bytes], Entry]] = {
    Kind.RESERVE: _decode_reserve,
    Kind.SETTLE: _decode_settle,
    Kind.VOID: _decode_void,
    Kind.EXPIRE: _decode_expire,
    Kind.CORRECT: _decode_correct,
    _RESERVE_CODE: _decode_reserve,
    _SETTLE_CODE: _decode_settle,
    _CORRECT_CODE: _decode_correct,
    Kind.FEEDBACK: _decode_feedback,
    Kind.REFUSED: _decode_refused,
    Kind.NAME_ENDPOINT: lambda body: _unpack_endpoint(memoryview(body)[1:]),
    Kind.NAME_PRICES: lambda body: _unpack_prices(memoryview(body)[1:]),
    Kind.NAME_SENDER: lambda body: _unpack_sender(memoryview(body)[1:]),
    Kind.NAME_RULES: lambda body: _unpack_rules(memoryview(body)[1:]),
    Kind.SNAPSHOT: lambda body: _unpack_snapshot(memoryview(body)[1:]),
}

# For `ledger.store.body_rows`, which makes rows of these bytes without values in between.
RESERVE_CODE, SETTLE_CODE = _RESERVE_CODE, _SETTLE_CODE
RESERVE_LAYOUT, SETTLE_LAYOUT = _RESERVE, _SETTLE
STREAM, ESTIMATED, CONTRADICTORY, CENSORED = _STREAM, _ESTIMATED, _CONTRADICTORY, _CENSORED
OPERATIONS, OUTCOMES = _OPERATIONS, _OUTCOMES
