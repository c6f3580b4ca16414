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
    Kind,
    NameEndpoint,
    NamePrices,
    Reserve,
    Settle,
    Snapshot,
    Void,
    VoidReason,
)
from entrepot.ledger.tables import CLOSINGS, CORRECTIONS, DECISIONS, ENDPOINTS, PRICES, RESERVES

Row = tuple[Any, ...]  # what a database driver takes and gives

_NO_LINES = (0,) * 10  # five counts of tokens, five lines of a bill


class Rows:
    """The rows of a batch of entries, by table, in the order in which the entries came."""

    __slots__ = ("closings", "corrections", "decisions", "endpoints", "prices", "reserves")

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.reserves: list[Row] = []
        self.decisions: list[Row] = []
        self.closings: list[Row] = []
        self.corrections: list[Row] = []
        self.endpoints: list[Row] = []
        self.prices: list[Row] = []
        for entry in entries:
            self._add(entry)

    def by_table(self) -> tuple[tuple[Table, list[Row]], ...]:
        """Return the rows of each table, names before what refers to them."""
        return (
            (ENDPOINTS, self.endpoints),
            (PRICES, self.prices),
            (RESERVES, self.reserves),
            (DECISIONS, self.decisions),
            (CLOSINGS, self.closings),
            (CORRECTIONS, self.corrections),
        )

    def _add(self, entry: Entry) -> None:
        match entry:
            case Settle():
                self.closings.append(_settle_row(entry))
            case Reserve():
                self.reserves.append(_reserve_row(entry))
                if entry.decision:
                    self.decisions.append((entry.request_id, entry.attempt, entry.decision))
            case Void():
                self.closings.append(_void_row(entry))
            case Expire():
                self.closings.append(_expire_row(entry))
            case Correct():
                self.corrections.append(_correct_row(entry))
            case NameEndpoint():
                self.endpoints.append(_endpoint_row(entry))
            case NamePrices():
                self.prices.append(_prices_row(entry))
            case Snapshot():  # repeats what was written before it; a journal may begin with one
                self.endpoints.extend(map(_endpoint_row, entry.endpoints))
                self.prices.extend(map(_prices_row, entry.prices))
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
        bill.uncached_nusd,
        bill.cached_nusd,
        bill.cache_write_nusd,
        bill.output_nusd,
        bill.request_nusd,
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
        bill.uncached_nusd,
        bill.cached_nusd,
        bill.cache_write_nusd,
        bill.output_nusd,
        bill.request_nusd,
        entry.unknown_nusd,
        usage.estimated,
        usage.contradictory,
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
    )


def _number(seconds: float) -> float | None:
    return None if isnan(seconds) else seconds


def _seconds(value: float | None) -> float:
    return nan if value is None else value


def reserve_from(row: Sequence[Any], decision: bytes) -> Reserve:
    """Return the entry of a row of `reserves`; its decision is in a table of its own."""
    request_id, attempt, at_ns, key_id, endpoint_id, version, amount, size, operation, stream, choices = row
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
    )


def closing_from(row: Sequence[Any]) -> Closing:
    """Return the entry of a row of `closings`.

    Raises: ValueError when `kind` is none that closes an attempt.
    """
    request_id, attempt, kind, at_ns, key_id, endpoint_id, version, outcome, reason, status = row[:10]
    who = (request_id, attempt, at_ns, key_id, endpoint_id)
    answer_s, in_flight = _seconds(row[26]), row[28]
    match kind:
        case Kind.VOID:
            return Void(*who, Outcome(outcome), VoidReason(reason), status, answer_s, in_flight)
        case Kind.EXPIRE:
            return Expire(
                *who, version, row[20], Outcome(outcome), ExpireReason(reason), status, answer_s, in_flight
            )
        case Kind.SETTLE:
            return Settle(
                *who,
                version,
                Outcome(outcome),
                status,
                Usage(*row[10:15], *map(bool, row[21:23])),
                Bill(*row[15:20]),
                _seconds(row[24]),
                _seconds(row[25]),
                answer_s,
                row[27],
                in_flight,
                row[29],
                bool(row[23]),
                row[30] or b"",
            )
        case _:
            raise ValueError(f"a row of closings has kind {kind}, which closes nothing")


def correction_from(row: Sequence[Any]) -> Correct:
    """Return the entry of a row of `corrections`."""
    request_id, attempt, correction_id, at_ns, key_id, endpoint_id, version, reason = row[:8]
    return Correct(
        request_id,
        attempt,
        at_ns,
        key_id,
        endpoint_id,
        version,
        correction_id,
        CorrectReason(reason),
        Usage(*row[8:13], *map(bool, row[19:21])),
        Bill(*row[13:18]),
        row[18],
    )


def endpoint_from(row: Sequence[Any]) -> NameEndpoint:
    """Return the entry of a row of `endpoints`."""
    return NameEndpoint(*row[:7], *map(bool, row[7:]))


def prices_from(row: Sequence[Any]) -> NamePrices:
    """Return the entry of a row of `prices`."""
    return NamePrices(*row)
