"""The bytes of the two entries that every attempt writes, straight to rows of the store.

`decode` makes an entry of eighteen attributes and `rows` a row of it: together a third of what posting costs.
A test holds both ways to the same rows; every other kind and older layout goes the long way.
"""

from __future__ import annotations

from entrepot.ledger.entries import Kind, decode
from entrepot.ledger.entries.encoding import (
    CENSORED,
    CONTRADICTORY,
    ESTIMATED,
    OPERATIONS,
    OUTCOMES,
    RESERVE_CODE,
    RESERVE_LAYOUT,
    SETTLE_CODE,
    SETTLE_LAYOUT,
    STREAM,
)
from entrepot.ledger.store.rows import Rows

_OPERATION_TEXTS = {code: operation.value for code, operation in OPERATIONS.items()}
_SETTLE_KIND = Kind.SETTLE.value
_unpack_reserve, _reserve_bytes = RESERVE_LAYOUT.unpack_from, RESERVE_LAYOUT.size
_unpack_settle, _settle_bytes = SETTLE_LAYOUT.unpack_from, SETTLE_LAYOUT.size


def add_body(rows: Rows, body: bytes) -> None:
    """Add the rows of the entry that `encode` wrote as these bytes.

    Raises: ValueError when they are none.
    """
    code = body[0] if body else None
    if code == RESERVE_CODE and len(body) >= _reserve_bytes:
        _add_reserve(rows, body)
    elif code == SETTLE_CODE and len(body) >= _settle_bytes:
        _add_settle(rows, body)
    else:
        rows.add(decode(body))


def _add_reserve(rows: Rows, body: bytes) -> None:
    # fmt: off
    (
        _, request_id, attempt, at_ns, key, endpoint, version, amount, size, flags, choices,
        sender, rules, task,
    ) = _unpack_reserve(body)
    # fmt: on
    operation = _OPERATION_TEXTS.get(flags & ~STREAM)
    if operation is None:
        raise ValueError(f"not an entry of kind {body[0]}: operation {flags & ~STREAM}")
    rows.reserves.append(
        (
            request_id,
            attempt,
            at_ns,
            key,
            endpoint,
            version,
            amount,
            size,
            operation,
            flags >= STREAM,
            choices,
            sender,
            rules,
            task,
        )
    )
    if len(body) > _reserve_bytes:
        rows.decisions.append((request_id, attempt, body[_reserve_bytes:]))


def _add_settle(rows: Rows, body: bytes) -> None:
    # fmt: off
    (
        _, request_id, attempt, at_ns, key, endpoint, version, outcome, flags, status,
        uncached, cached, cache_write, output, reasoning,
        uncached_nusd, cached_nusd, cache_write_nusd, output_nusd, request_nusd,
        ttft_s, tpot_s, answer_s, first_tokens, in_flight, wire_bytes,
        cache_write_1h, reasoning_nusd, cache_write_1h_nusd,
    ) = _unpack_settle(body)
    if outcome not in OUTCOMES:
        raise ValueError(f"not an entry of kind {body[0]}: outcome {outcome}")
    rows.closings.append((
        request_id, attempt, _SETTLE_KIND, at_ns, key, endpoint, version, outcome, 0, status,
        uncached, cached, cache_write, output, reasoning, cache_write_1h,
        uncached_nusd, cached_nusd, cache_write_nusd, output_nusd, request_nusd,
        reasoning_nusd, cache_write_1h_nusd, 0,
        flags & ESTIMATED != 0, flags & CONTRADICTORY != 0, flags & CENSORED != 0,
        _measured(ttft_s), _measured(tpot_s), _measured(answer_s),
        first_tokens, in_flight, wire_bytes, body[_settle_bytes:] or None,
    ))
    # fmt: on


def _measured(seconds: float) -> float | None:
    return seconds if seconds == seconds else None  # noqa: PLR0124 - not-a-number differs from itself
