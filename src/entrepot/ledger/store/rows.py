"""Entries as rows of the store's tables, and back.

By hand, column for column: an object mapper would do the same ten times slower, and posting is bound by
exactly this work.
"""

from collections.abc import Iterable, Sequence
from math import isnan, nan
from typing import Any, assert_never

from sqlalchemy import Table

from entrepot.domain.endpoint import Operation
from entrepot.domain.outcome import Outcome
from entrepot.domain.prices import Bill
from entrepot.domain.usage import Usage
from entrepot.ledger.entries import (
    NO_PRICE,
    Closing,
    Correct,
    CorrectReason,
    Entry,
    Expire,
    ExpireReason,
    Feedback,
    Kind,
    Name,
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
from entrepot.ledger.store.tables import (
    CLOSINGS,
    CORRECTIONS,
    DECISIONS,
    ENDPOINTS,
    FEEDBACK,
    PRICES,
    REFUSALS,
    RESERVES,
    RULES,
    SENDERS,
)

Row = tuple[Any, ...]  # what a database driver takes and gives

_NO_LINES = (0,) * 13  # six counts of tokens, seven lines of a bill


class Rows:
    """The rows of a batch of entries, by table, in the order in which the entries came."""

    __slots__ = (
        "closings",
        "corrections",
        "decisions",
        "endpoints",
        "feedback",
        "prices",
        "refusals",
        "reserves",
        "rules",
        "senders",
    )

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.reserves: list[Row] = []
        self.decisions: list[Row] = []
        self.closings: list[Row] = []
        self.corrections: list[Row] = []
        self.endpoints: list[Row] = []
        self.prices: list[Row] = []
        self.senders: list[Row] = []
        self.rules: list[Row] = []
        self.feedback: list[Row] = []
        self.refusals: list[Row] = []
        for entry in entries:
            self.add(entry)

    def by_table(self) -> tuple[tuple[Table, list[Row]], ...]:
        """Return the rows of each table, names before what refers to them."""
        return (
            (ENDPOINTS, self.endpoints),
            (PRICES, self.prices),
            (SENDERS, self.senders),
            (RULES, self.rules),
            (RESERVES, self.reserves),
            (DECISIONS, self.decisions),
            (CLOSINGS, self.closings),
            (CORRECTIONS, self.corrections),
            (FEEDBACK, self.feedback),
            (REFUSALS, self.refusals),
        )

    def add(self, entry: Entry) -> None:
        """Add the rows of an entry."""
        match entry:
            case Settle():
                self.closings.append(_settle_row(entry))
            case Reserve():
                self._reserve(entry)
            case Void():
                self.closings.append(_void_row(entry))
            case Expire():
                self.closings.append(_expire_row(entry))
            case Correct():
                self.corrections.append(_correct_row(entry))
            case Feedback():
                self.feedback.append(_feedback_row(entry))
            case Refused():
                self.refusals.append(_refused_row(entry))
            case Snapshot():  # repeats what was written before it; a journal may begin with one
                for name in entry.names:
                    self._name(name)
            case _:
                self._name(entry)

    def _reserve(self, entry: Reserve) -> None:
        self.reserves.append(_reserve_row(entry))
        if entry.decision:
            self.decisions.append((entry.request_id, entry.attempt, entry.decision))

    def _name(self, entry: Name) -> None:
        match entry:
            case NameEndpoint():
                self.endpoints.append(_endpoint_row(entry))
            case NamePrices():
                self.prices.append(_prices_row(entry))
            case NameSender():
                self.senders.append(_sender_row(entry))
            case NameRules():
                self.rules.append((entry.rules_id, ",".join(entry.rules)))
            case _:
                assert_never(entry)


def _reserve_row(entry: Reserve) -> Row:
    return (
        entry.request_id,
        entry.attempt,
        entry.at_ns,
        entry.key_id,
        entry.endpoint_id,
        entry.price_version,
        entry.amount_nusd,
        entry.prompt_bytes,
        entry.operation.value,
        entry.stream,
        entry.choices,
        entry.sender_id,
        entry.rules_id,
        entry.task_id,
    )


def _settle_row(entry: Settle) -> Row:
    usage, bill, answer_id = entry.usage, entry.bill, entry.answer_id
    return (
        entry.request_id,
        entry.attempt,
        Kind.SETTLE.value,
        entry.at_ns,
        entry.key_id,
        entry.endpoint_id,
        entry.price_version,
        int(entry.outcome),
        0,
        entry.http_status,
        usage.uncached_tokens,
        usage.cached_tokens,
        usage.cache_write_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
        usage.cache_write_1h_tokens,
        bill.uncached_nusd,
        bill.cached_nusd,
        bill.cache_write_nusd,
        bill.output_nusd,
        bill.request_nusd,
        bill.reasoning_nusd,
        bill.cache_write_1h_nusd,
        0,
        usage.estimated,
        usage.contradictory,
        entry.censored,
        _number(entry.ttft_s),
        _number(entry.tpot_s),
        _number(entry.answer_s),
        entry.first_tokens,
        entry.in_flight,
        entry.wire_bytes,
        answer_id or None,
    )


def _void_row(entry: Void) -> Row:
    return _unbilled_row(entry, Kind.VOID, NO_PRICE, 0)


def _expire_row(entry: Expire) -> Row:
    return _unbilled_row(entry, Kind.EXPIRE, entry.price_version, entry.at_most_nusd)


def _unbilled_row(entry: Void | Expire, kind: Kind, price_version: int, unknown_nusd: int) -> Row:
    return (
        entry.request_id,
        entry.attempt,
        kind.value,
        entry.at_ns,
        entry.key_id,
        entry.endpoint_id,
        price_version,
        int(entry.outcome),
        int(entry.reason),
        entry.http_status,
        *_NO_LINES,
        unknown_nusd,
        False,
        False,
        False,
        None,
        None,
        _number(entry.answer_s),
        0,
        entry.in_flight,
        0,
        None,
    )


def _correct_row(entry: Correct) -> Row:
    usage, bill = entry.usage, entry.bill
    return (
        entry.request_id,
        entry.attempt,
        entry.correction_id,
        entry.at_ns,
        entry.key_id,
        entry.endpoint_id,
        entry.price_version,
        int(entry.reason),
        usage.uncached_tokens,
        usage.cached_tokens,
        usage.cache_write_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
        usage.cache_write_1h_tokens,
        bill.uncached_nusd,
        bill.cached_nusd,
        bill.cache_write_nusd,
        bill.output_nusd,
        bill.request_nusd,
        bill.reasoning_nusd,
        bill.cache_write_1h_nusd,
        entry.unknown_nusd,
        usage.estimated,
        usage.contradictory,
        entry.reserved_ns,
        entry.sender_id,
    )


def _endpoint_row(entry: NameEndpoint) -> Row:
    return (
        entry.endpoint_id,
        entry.name,
        entry.model,
        entry.host,
        entry.owner_country,
        entry.origin_country,
        entry.region,
        entry.simulated,
    )


def _prices_row(entry: NamePrices) -> Row:
    return (
        entry.price_version,
        entry.endpoint_id,
        entry.at_ns,
        entry.input_nusd_per_mtok,
        entry.output_nusd_per_mtok,
        entry.cached_nusd_per_mtok,
        entry.cache_write_nusd_per_mtok,
        entry.request_nusd,
        entry.source,
        entry.checked,
        entry.cache_write_1h_nusd_per_mtok,
        entry.reasoning_nusd_per_mtok,
        entry.label,
    )


def _sender_row(entry: NameSender) -> Row:
    return (entry.sender_id, entry.key_id, entry.team_id, ",".join(map(str, entry.tags)))


def _feedback_row(entry: Feedback) -> Row:
    return (
        entry.request_id,
        entry.task_id,
        entry.at_ns,
        entry.key_id,
        entry.succeeded,
        _number(entry.score),
    )


def _refused_row(entry: Refused) -> Row:
    return (
        entry.request_id,
        entry.at_ns,
        entry.key_id,
        entry.operation.value,
        entry.grounds,
        entry.sender_id,
        entry.rules_id,
        entry.count,
    )


def _number(seconds: float) -> float | None:
    return None if isnan(seconds) else seconds


def _seconds(value: float | None) -> float:
    return nan if value is None else value


def reserve_from(row: Sequence[Any], decision: bytes) -> Reserve:
    """Return the entry of a row of `reserves`; its decision is in a table of its own."""
    request_id, attempt, at_ns, key_id, endpoint_id, version, amount, size = row[:8]
    operation, stream, choices, sender_id, rules_id, task_id = row[8:]
    return Reserve(
        request_id,
        attempt,
        at_ns,
        key_id,
        endpoint_id,
        version,
        amount,
        size,
        Operation(operation),
        bool(stream),
        choices,
        decision,
        sender_id,
        rules_id,
        task_id,
    )


def closing_from(row: Sequence[Any]) -> Closing:
    """Return the entry of a row of `closings`.

    Raises: ValueError when `kind` is none that closes an attempt.
    """
    request_id, attempt, kind, at_ns, key_id, endpoint_id, version, outcome, reason, status = row[:10]
    tokens, money, unknown_nusd, flags = row[10:16], row[16:23], row[23], tuple(map(bool, row[24:27]))
    ttft_s, tpot_s, answer_s = map(_seconds, row[27:30])
    first_tokens, in_flight, wire_bytes, answer_id = row[30:]
    who = (request_id, attempt, at_ns, key_id, endpoint_id)
    match kind:
        case Kind.VOID:
            return Void(*who, Outcome(outcome), VoidReason(reason), status, answer_s, in_flight)
        case Kind.EXPIRE:
            ending = (Outcome(outcome), ExpireReason(reason), status, answer_s, in_flight)
            return Expire(*who, version, unknown_nusd, *ending)
        case Kind.SETTLE:
            return Settle(
                *who,
                version,
                Outcome(outcome),
                status,
                Usage(*tokens, *flags[:2]),
                Bill(*money),
                ttft_s,
                tpot_s,
                answer_s,
                first_tokens,
                in_flight,
                wire_bytes,
                flags[2],
                answer_id or b"",
            )
        case _:
            raise ValueError(f"a row of closings has kind {kind}, which closes nothing")


def correction_from(row: Sequence[Any]) -> Correct:
    """Return the entry of a row of `corrections`."""
    request_id, attempt, correction_id, at_ns, key_id, endpoint_id, version, reason = row[:8]
    tokens, money, unknown_nusd, flags = row[8:14], row[14:21], row[21], map(bool, row[22:24])
    return Correct(
        request_id,
        attempt,
        at_ns,
        key_id,
        endpoint_id,
        version,
        correction_id,
        CorrectReason(reason),
        Usage(*tokens, *flags),
        Bill(*money),
        unknown_nusd,
        *row[24:],
    )


def refused_from(row: Sequence[Any]) -> Refused:
    """Return the entry of a row of `refusals`."""
    request_id, at_ns, key_id, operation, *rest = row
    return Refused(request_id, at_ns, key_id, Operation(operation), *rest)


def endpoint_from(row: Sequence[Any]) -> NameEndpoint:
    """Return the entry of a row of `endpoints`."""
    return NameEndpoint(*row[:7], *map(bool, row[7:]))


def prices_from(row: Sequence[Any]) -> NamePrices:
    """Return the entry of a row of `prices`."""
    return NamePrices(*row)
