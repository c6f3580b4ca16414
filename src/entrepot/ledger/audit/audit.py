"""Checks the store against the journal with code of its own, and names the first entry that disagrees.

It reads the journal's entries and the database's rows, and shares neither a fold nor a query with the
code that wrote or reports them: a mistake there cannot hide itself here. So it says again, on purpose, what
the columns mean and what entries add up to.

A journal whose first segments were archived or deleted begins with a snapshot of what they added up to. From
then on each entry and each snapshot is compared as ever; of roll-ups and sums only what was reserved in
hours that begin after the youngest reservation before it, since only these lie wholly in what is kept.

Budgets are worked out from the journal alone: admission knows nothing of the store.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from msgspec import Struct

from entrepot.ledger.audit.budgets import AuditBudgets, BudgetAudit
from entrepot.ledger.audit.compare import HOUR_NS, Findings, RowComparison, place
from entrepot.ledger.audit.fold import AuditFold
from entrepot.ledger.audit.limits import read_limits
from entrepot.ledger.audit.sums import Compared, compared_sums
from entrepot.ledger.audit.usage import AuditUsage, compare_usage
from entrepot.ledger.audit.view import StoreView, store_view
from entrepot.ledger.data_dir import DataDir
from entrepot.ledger.entries import Entry, Reserve, Snapshot
from entrepot.ledger.journal.reader import JournalReader
from entrepot.ledger.journal.segment import HEADER_BYTES, Position, segment_numbers

STALE_AFTER_S = 3600.0  # longer than any attempt may last: what is open then was forgotten

_NS_PER_S = 1e9


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


class Audit(Struct, frozen=True):
    """What an audit found. `entries` were compared, `unposted` are not in the store yet.

    `findings` holds the first disagreements: of entries in the order of the journal, then of rows that no
    entry wrote, of roll-ups, of sums, of budgets; `finding_count` counts all. `open` are the reservations
    under way, the oldest first; `stale` those that should have been closed long ago. `from_hour` is the first
    hour since 1970 of which roll-ups and sums were compared: 0 unless the journal's first segments are gone.
    `budgets` are all that are set, each in the period that runs; one that is passed is no disagreement.
    """

    entries: int
    unposted: int
    compared: tuple[Compared, ...]
    findings: tuple[str, ...]
    finding_count: int
    open: tuple[OpenReservation, ...]
    stale: tuple[OpenReservation, ...]
    from_hour: int = 0
    budgets: tuple[BudgetAudit, ...] = ()

    @property
    def starts_late(self) -> bool:
        """Return whether the first segments are not in the journal any more."""
        return self.from_hour > 0

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
    with store_view(data_dir) as view:
        return _Auditor(DataDir(data_dir), view, now_ns).run(now_ns, stale_after_s)


class _Auditor:
    """One audit: what was read of the journal so far, beside the store."""

    def __init__(self, directory: DataDir, view: StoreView, now_ns: int) -> None:
        self._journal = directory.journal
        self._view = view
        self._posted_to = _posted_to(view)
        self._findings = Findings()
        self._rows = RowComparison(view, self._findings)
        self._usage = AuditUsage(self._posted)
        self._fold = AuditFold()
        # By a clock that was set back another period runs, of which the last snapshot knows no quarters more.
        at_ns = max(now_ns, _newest_ns(directory.journal))
        self._budgets = AuditBudgets(read_limits(directory.keys, at_ns))

    def run(self, now_ns: int, stale_after_s: float) -> Audit:
        unposted = self._read()
        from_hour = self._from_hour()
        self._rows.find_extra_rows(self._posted, from_hour=from_hour)
        compare_usage(self._view, self._usage, self._findings, from_hour=from_hour)
        compared = compared_sums(self._view, self._usage, self._fold, from_hour=from_hour)
        for pair in compared:
            if pair.journal != pair.store:
                self._findings.add(f"the sums of {pair.kind} {pair.number} differ: {_difference(pair)}")
        budgets = self._budgets.found()
        for budget in budgets:
            if not budget.agrees:
                self._findings.add(budget.difference())
        still_open = _open(self._fold.open.values(), now_ns)
        return Audit(
            self._rows.entries,
            unposted,
            compared,
            tuple(self._findings.texts),
            self._findings.count,
            still_open,
            tuple(reservation for reservation in still_open if reservation.age_s > stale_after_s),
            from_hour,
            budgets,
        )

    def _read(self) -> int:
        """Read the journal once, and return how many of its entries are not posted."""
        unposted = 0
        fold, usage, rows, budgets = self._fold, self._usage, self._rows, self._budgets
        with JournalReader(self._journal) as reader:
            for at, entry in reader.entries():
                if self._posted_to is not None and at < self._posted_to:
                    rows.add(at, entry)
                    usage.add(at, entry, fold.closed_by(entry))
                else:
                    unposted += 1
                budgets.add(at, entry, fold.closed_by(entry))
                problem = fold.add(entry)
                if problem is not None:
                    rows.finish()  # what was before it is named before it
                    self._findings.add(f"{place(at)}: {problem}")
        rows.finish()
        usage.finish()
        return unposted

    def _posted(self) -> Iterator[tuple[Position, Entry]]:
        with JournalReader(self._journal) as reader:
            for at, entry in reader.entries():
                if self._posted_to is None or at >= self._posted_to:
                    return
                yield at, entry

    def _from_hour(self) -> int:
        """Return the first hour of which all reservations are in what is kept."""
        opening = self._fold.opening
        if opening is None:
            return 0
        newest_ns = opening.newest_ns or self._fold.balances.newest_ns  # the first layout did not tell
        return newest_ns // HOUR_NS + 1


def _posted_to(view: StoreView) -> Position | None:
    rows = view.execute('SELECT segment, "offset" FROM position')
    return Position(*rows[0]) if rows else None


def _newest_ns(journal: Path) -> int:
    """Return the instant of the youngest reservation before the last segment, 0 when there is none."""
    numbers = segment_numbers(journal)
    if not numbers:
        return 0
    with JournalReader(journal, Position(numbers[-1], HEADER_BYTES)) as reader:
        _, first = next(reader.entries(), (None, None))
    return first.newest_ns if isinstance(first, Snapshot) else 0


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
