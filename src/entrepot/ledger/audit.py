"""Checks the store against the journal with code of its own, and names the first entry that disagrees.

It reads the journal's entries and the database's rows, and shares neither a fold nor a query with the
code that wrote or reports them: a mistake there cannot hide itself here. So it says again, on purpose, what
the columns mean and what entries add up to.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from msgspec import Struct

from entrepot.domain.errors import DataError
from entrepot.domain.ids import request_id_text
from entrepot.ledger.audit_fold import AuditFold, Sums
from entrepot.ledger.audit_rows import IDS, Row, Value, expected_rows
from entrepot.ledger.data_dir import DataDir
from entrepot.ledger.entries import Entry, Reserve
from entrepot.ledger.reader import JournalReader
from entrepot.ledger.segment import Position

STALE_AFTER_S = 3600.0  # longer than any attempt may last: what is open then was forgotten
MOST_FINDINGS = 20  # kept with their text; the rest is counted

_CHUNK = 400  # rows compared with one query per table
_NS_PER_S = 1e9
_MONEY = tuple(
    f"{line}_nusd"
    for line in ("uncached", "cached", "cache_write", "output", "request", "reasoning", "cache_write_1h")
)
_TOKENS = tuple(
    f"{kind}_tokens"
    for kind in ("uncached", "cached", "cache_write", "output", "reasoning", "cache_write_1h")
)


class OpenReservation(Struct, frozen=True):
    """An attempt that is reserved and not closed.

    Units: nano-USD; seconds since it was reserved.
    """

    request_id: bytes
    attempt: int
    key_id: int
    endpoint_id: int
    amount_nusd: int
    age_s: float


class Compared(Struct, frozen=True):
    """The sums of one key or endpoint, from the journal and from the store; keys have no name in either."""

    kind: str
    number: int
    name: str
    journal: Sums
    store: Sums


class Audit(Struct, frozen=True):
    """What an audit found. `entries` were compared, `unposted` are not in the store yet.

    `starts_late`: the first segments are not in the journal any more, so neither the sums nor older rows
    could be compared.
    `findings` holds the first disagreements in the order of the journal, `finding_count` counts all. `open`
    are the reservations under way, the oldest first; `stale` those that should have been closed long ago.
    """

    entries: int
    unposted: int
    compared: tuple[Compared, ...]
    findings: tuple[str, ...]
    finding_count: int
    open: tuple[OpenReservation, ...]
    stale: tuple[OpenReservation, ...]
    starts_late: bool = False

    @property
    def ok(self) -> bool:
        """Return whether journal and store agree and nothing is reserved for ever."""
        return not self.finding_count and not self.stale


def audit(data_dir: Path, now_ns: int, *, stale_after_s: float = STALE_AFTER_S) -> Audit:
    """Return how the store of a data directory compares with its journal.

    Units: Unix nanoseconds, seconds. The store is read as it was at one instant; entries that were not
    posted by then are counted.
    Raises: DataError when the journal is damaged, or there is no store that can be read.
    """
    directory = DataDir(data_dir)
    try:
        with closing(_opened(directory.store)) as database:
            return _audit(directory, database, now_ns, stale_after_s)
    except sqlite3.Error as error:
        raise DataError(f"{directory.store} cannot be audited: {error}") from error


def _audit(directory: DataDir, database: sqlite3.Connection, now_ns: int, stale_after_s: float) -> Audit:
    position = _posted(database)
    findings = _Findings()
    comparison = _Comparison(database, findings)
    fold = AuditFold()
    unposted = 0
    sums_at_position: tuple[Compared, ...] | None = None
    with JournalReader(directory.journal) as reader:
        for at, entry in reader.entries():
            is_posted = position is not None and at < position
            if is_posted:
                comparison.add(at, entry)
            else:
                if sums_at_position is None:
                    sums_at_position = _compare_sums(database, fold)
                unposted += 1
            problem = fold.add(entry)
            if problem is not None:
                findings.add(f"{_place(at)}: {problem}")
    comparison.finish()
    if not fold.starts_late and (findings.count or comparison.counts_differ()):
        _find_extra_rows(directory, database, position, findings)
    compared = _compare_sums(database, fold) if sums_at_position is None else sums_at_position
    if not fold.starts_late:  # a journal whose first segments are gone has no sums from the beginning
        for pair in compared:
            if pair.journal != pair.store:
                findings.add(f"the sums of {pair.kind} {pair.number} differ: {_difference(pair)}")
    still_open = _open(fold.open.values(), now_ns)
    stale = tuple(reservation for reservation in still_open if reservation.age_s > stale_after_s)
    return Audit(
        comparison.entries,
        unposted,
        compared,
        tuple(findings.texts),
        findings.count,
        still_open,
        stale,
        fold.starts_late,
    )


class _Findings:
    """The first few texts, and the count of all."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.count = 0

    def add(self, text: str) -> None:
        self.count += 1
        if len(self.texts) < MOST_FINDINGS:
            self.texts.append(text)


class _Comparison:
    """Looks up the row of every entry, some hundred at a time."""

    def __init__(self, database: sqlite3.Connection, findings: _Findings) -> None:
        self._database = database
        self._findings = findings
        self._waiting: list[tuple[Position, str, Row]] = []
        self._named: set[tuple[str, Value]] = set()
        self._rows = dict.fromkeys(IDS, 0)
        self.entries = 0

    def add(self, at: Position, entry: Entry) -> None:
        """Compare an entry, now or with the next ones."""
        self.entries += 1
        for table, row in expected_rows(entry):
            if len(IDS[table]) == 1:  # a name, which every later segment repeats
                name = (table, row[IDS[table][0]])
                if name in self._named:
                    continue
                self._named.add(name)
            self._rows[table] += 1
            self._waiting.append((at, table, row))
        if len(self._waiting) >= _CHUNK:
            self.finish()

    def finish(self) -> None:
        """Compare what waits."""
        there = {table: self._fetch(table) for table in {table for _, table, _ in self._waiting}}
        for at, table, row in self._waiting:
            found = there[table].get(_id(table, row), [])
            problem = _problem(found, row)
            if problem:
                self._findings.add(f"{_place(at)}: {_title(table, row)} {problem}")
        self._waiting.clear()

    def counts_differ(self) -> bool:
        """Return whether a table has more or fewer rows than the journal has entries for it."""
        counts = {
            table: self._database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in IDS
        }
        return counts != self._rows

    def _fetch(self, table: str) -> dict[tuple[Value, ...], list[Row]]:
        first = IDS[table][0]  # SQLite finds whole ids by scanning the table, their first part by its index
        ids = [row[first] for _, of, row in self._waiting if of == table]
        query = f"SELECT * FROM {table} WHERE {first} IN ({', '.join('?' * len(ids))})"
        rows: dict[tuple[Value, ...], list[Row]] = {}
        for found in self._database.execute(query, ids):
            row = dict(found)
            rows.setdefault(_id(table, row), []).append(row)
        return rows


def _opened(path: Path) -> sqlite3.Connection:
    if not path.exists():
        raise DataError(f"{path} is not there: nothing was posted yet; run `entrepot ledger post` first")
    database = sqlite3.connect(path, isolation_level=None)
    database.row_factory = sqlite3.Row
    database.execute("PRAGMA query_only = 1")
    database.execute("BEGIN")  # one view of the store, while a poster may go on
    return database


def _posted(database: sqlite3.Connection) -> Position | None:
    row = database.execute('SELECT segment, "offset" FROM position').fetchone()
    return None if row is None else Position(*row)


def _problem(found: list[Row], expected: Row) -> str:
    if not found:
        return "is missing in the store"
    if len(found) > 1:
        return f"is in the store {len(found)} times"
    differences = [
        f"{name} is {_text(value)} in the store and {_text(expected.get(name, 0))} in the journal"
        for name, value in found[0].items()
        if value != expected.get(name, 0)
    ]
    return ", ".join(differences)


def _find_extra_rows(
    directory: DataDir, database: sqlite3.Connection, position: Position | None, findings: _Findings
) -> None:
    """Read the journal once more for the ids of all its rows; rare, so memory may be spent."""
    expected: dict[str, set[tuple[Value, ...]]] = {table: set() for table in IDS}
    with JournalReader(directory.journal) as reader:
        for at, entry in reader.entries():
            if position is not None and at < position:
                for table, row in expected_rows(entry):
                    expected[table].add(_id(table, row))
    for table, columns in IDS.items():
        for found in database.execute(f"SELECT * FROM {table} ORDER BY {', '.join(columns)}"):
            row = dict(found)
            if _id(table, row) not in expected[table]:
                findings.add(f"{_title(table, row)} is in the store, and no entry of the journal wrote it")


def _compare_sums(database: sqlite3.Connection, fold: AuditFold) -> tuple[Compared, ...]:
    compared = []
    for kind, sums in (("key", fold.keys), ("endpoint", fold.endpoints)):
        stored = _stored_sums(database, f"{kind}_id")
        for number in sorted(sums.keys() | stored.keys()):
            there = sums.get(number)
            journal = Sums() if there is None else there.copy()
            name = fold.names.get(number, "") if kind == "endpoint" else ""
            compared.append(Compared(kind, number, name, journal, stored.get(number, Sums())))
    return tuple(compared)


def _stored_sums(database: sqlite3.Connection, column: str) -> dict[int, Sums]:
    tokens = ", ".join(f"sum({name})" for name in _TOKENS)
    cost = " + ".join(f"sum({name})" for name in _MONEY)
    sums: dict[int, Sums] = {}
    for number, count in database.execute(f"SELECT {column}, count(*) FROM reserves GROUP BY 1"):
        sums.setdefault(number, Sums()).attempts = count
    for table, sign in (("closings", 1), ("corrections", -1)):
        query = f"SELECT {column}, {tokens}, {cost}, sum(unknown_nusd) FROM {table} GROUP BY 1"
        for number, *amounts, cost_nusd, unknown_nusd in database.execute(query):
            of = sums.setdefault(number, Sums())
            of.tokens = tuple(have + more for have, more in zip(of.tokens, amounts, strict=True))
            of.cost_nusd += cost_nusd
            of.unknown_nusd += sign * unknown_nusd
    return sums


def _open(reserves: Iterable[Reserve], now_ns: int) -> tuple[OpenReservation, ...]:
    found = (
        OpenReservation(
            reserve.request_id,
            reserve.attempt,
            reserve.key_id,
            reserve.endpoint_id,
            reserve.amount_nusd,
            max(0.0, (now_ns - reserve.at_ns) / _NS_PER_S),
        )
        for reserve in reserves
    )
    return tuple(sorted(found, key=lambda reservation: -reservation.age_s))


def _difference(pair: Compared) -> str:
    return f"{pair.store.text()} in the store and {pair.journal.text()} in the journal"


def _id(table: str, row: Row) -> tuple[Value, ...]:
    return tuple(row[name] for name in IDS[table])


def _title(table: str, row: Row) -> str:
    of = ", ".join(f"{name.removesuffix('_id')} {_text(row[name])}" for name in IDS[table])
    return f"the row of {of} in {table}"


def _place(at: Position) -> str:
    return f"journal segment {at.segment}, offset {at.offset}"


def _text(value: Value) -> str:
    if isinstance(value, bytes):
        return request_id_text(value) if len(value) == 16 else f"{len(value)} bytes {value[:8].hex()}…"
    return str(value)
