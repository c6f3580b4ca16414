"""Row for row: has each entry its row in the store, as it should be, and is there a row that no entry wrote?

Entries are looked up some hundred at a time, and rows that no entry wrote are searched by the hour of their
request, so that the memory does not grow with the journal. To read both sides sorted would need no
look-ups, but the journal is in the order of time and ends of attempts, not of ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from msgspec import Struct

from entrepot.domain.ids import REQUEST_ID_BYTES, instant_ns
from entrepot.ledger.audit.rows import (
    IDS,
    NAMES,
    RowId,
    Shape,
    StoredTable,
    expected_rows,
    row_id,
    title,
)
from entrepot.ledger.audit.view import StoreView
from entrepot.ledger.entries import Entry
from entrepot.ledger.journal.segment import Position

MOST_FINDINGS = 20  # kept with their text; the rest is counted
HOUR_NS = 3600 * 10**9

_ENTRIES_AT_ONCE = 400  # compared with one query per table
_IDS_AT_ONCE = 500_000  # in memory while rows that no entry wrote are searched
_OF_REQUESTS = tuple(table for table in IDS if table not in NAMES)
_BEHIND_ALL = b"\xff" * (REQUEST_ID_BYTES + 1)

Posted = Callable[[], Iterable[tuple[Position, Entry]]]


class Findings:
    """The first few texts, and the count of all."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.count = 0

    def add(self, text: str) -> None:
        """Note a disagreement."""
        self.count += 1
        if len(self.texts) < MOST_FINDINGS:
            self.texts.append(text)


def place(at: Position) -> str:
    """Return how a finding calls a place in the journal."""
    return f"journal segment {at.segment}, offset {at.offset}"


class RowComparison:
    """Looks up the rows of each entry, and counts those that are there by table and hour of the request."""

    def __init__(self, view: StoreView, findings: Findings) -> None:
        self.entries = 0
        self._view = view
        self._findings = findings
        self._tables = {table: StoredTable(view, table) for table in IDS}
        self._waiting: list[tuple[Position, Shape, Entry, RowId]] = []
        self._named: dict[tuple[str, RowId], Entry] = {}
        self._found: dict[tuple[str, int], int] = {}
        self._kept_from_ns = kept_from_ns(view)

    def add(self, at: Position, entry: Entry) -> None:
        """Compare an entry, now or with the next ones."""
        self.entries += 1
        for shape, of in expected_rows(entry):
            found = row_id(shape.table, of)
            if shape.table in NAMES:
                if self._named.get((shape.table, found)) == of:  # which every later segment repeats
                    continue
                self._named[(shape.table, found)] = of
            self._waiting.append((at, shape, of, found))
        if len(self._waiting) >= _ENTRIES_AT_ONCE:
            self.finish()

    def finish(self) -> None:
        """Compare what waits."""
        by_table: dict[str, list[Entry]] = {}
        for _, shape, entry, _ in self._waiting:
            by_table.setdefault(shape.table, []).append(entry)
        there = {table: self._tables[table].fetch(entries) for table, entries in by_table.items()}
        for at, shape, entry, found in self._waiting:
            table = shape.table
            rows = there[table].get(found, [])
            problem = self._tables[table].problem(shape, entry, rows)
            if problem and (rows or table in NAMES or instant_ns(found[0]) >= self._kept_from_ns[table]):
                self._findings.add(f"{place(at)}: {title(table, found)} {problem}")
            if table not in NAMES:
                bucket = (table, instant_ns(found[0]) // HOUR_NS)
                self._found[bucket] = self._found.get(bucket, 0) + len(rows)
        self._waiting.clear()

    def find_extra_rows(self, posted: Posted, *, from_hour: int) -> None:
        """Add each row that no entry wrote, of requests from an hour on.

        `posted` gives the entries again; they are read once more only where the store has more rows than
        were found.
        """
        for table in NAMES:
            stored = self._tables[table]
            for row in self._view.scan(f"SELECT * FROM {table} ORDER BY {IDS[table][0]}"):
                found = stored.id_of(row)
                if (table, found) not in self._named:
                    self._findings.add(_extra(table, found))
        for table in _OF_REQUESTS:
            for spans in _batches(self._unequal_spans(table, from_hour)):
                self._find_extra(table, spans, posted)

    def _unequal_spans(self, table: str, from_hour: int) -> Iterator[_Span]:
        """Yield the spans of hours that have more rows than were found, of those that cover all time."""
        counts = {hour: n for (of, hour), n in self._found.items() if of == table and hour >= from_hour}
        whole = _Span(from_hour, None, sum(counts.values()))
        if self._has_more(table, whole):
            begin = from_hour
            for hour in sorted(counts):
                yield from self._more_in(table, _Span(begin, hour, 0))
                yield from self._more_in(table, _Span(hour, hour + 1, counts[hour]))
                begin = hour + 1
            yield from self._more_in(table, _Span(begin, None, 0))

    def _more_in(self, table: str, span: _Span) -> Iterator[_Span]:
        if self._has_more(table, span):
            yield span

    def _has_more(self, table: str, span: _Span) -> bool:
        where = "request_id >= ? AND request_id < ?"
        ((count,),) = self._view.execute(f"SELECT count(*) FROM {table} WHERE {where}", span.bounds)
        return bool(count != span.found)

    def _find_extra(self, table: str, spans: list[_Span], posted: Posted) -> None:
        hours = {span.begin for span in spans if span.found}
        expected = {
            found
            for _, entry in posted()
            for shape, of in expected_rows(entry)
            if shape.table == table and instant_ns((found := row_id(table, of))[0]) // HOUR_NS in hours
        }
        ids = ", ".join(IDS[table])
        query = f"SELECT {ids} FROM {table} WHERE request_id >= ? AND request_id < ? ORDER BY {ids}"
        for span in spans:
            for found in self._view.scan(query, span.bounds):
                if found not in expected:
                    self._findings.add(_extra(table, found))


def kept_from_ns(view: StoreView) -> dict[str, int]:
    """Return for each table from which instant on the requests have their rows: retention took the others.

    Units: Unix nanoseconds, 0 where nothing was taken.
    """
    query = "SELECT what, before_ns FROM retention"
    before: dict[str, int] = dict(view.execute(query)) if view.has("retention") else {}
    entries_ns = before.get("entries", 0)
    kept = dict.fromkeys(_OF_REQUESTS, entries_ns)
    kept["decisions"] = max(entries_ns, before.get("decisions", 0))
    return kept


class _Span(Struct, frozen=True):
    """Hours since 1970 from `begin` up to `end`, and how many rows of their requests' entries are there."""

    begin: int
    end: int | None
    found: int

    @property
    def bounds(self) -> tuple[bytes, bytes]:
        """Return the least request id of the span, and one behind all others."""
        return _least_id(self.begin), _BEHIND_ALL if self.end is None else _least_id(self.end)


def _least_id(hour: int) -> bytes:
    return (hour * HOUR_NS << 64).to_bytes(REQUEST_ID_BYTES, "big")


def _batches(spans: Iterable[_Span]) -> Iterator[list[_Span]]:
    batch: list[_Span] = []
    size = 0
    for span in spans:
        if batch and size + span.found > _IDS_AT_ONCE:
            yield batch
            batch, size = [], 0
        batch.append(span)
        size += span.found
    if batch:
        yield batch


def _extra(table: str, found: RowId) -> str:
    return f"{title(table, found)} is in the store, and no entry of the journal wrote it"
