"""Journals in small segments for tests, with the fold of what was written to them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from entrepot.ledger.entries import Balances, Entry, encode
from entrepot.ledger.journal.journal import CLOSING_ROOM_BYTES, Journal, SyncData, recover, sync_data
from entrepot.ledger.journal.reader import JournalReader
from tests.ledger import entry_makers as make

SEGMENT_BYTES = 8 * 1024


class TestedJournal:
    """A journal and the balances that it should hold."""

    __test__ = False

    def __init__(
        self,
        directory: Path,
        segment_bytes: int = SEGMENT_BYTES,
        now_ns: int = make.AT_NS,
        *,
        sync: SyncData = sync_data,
        sync_interval_s: float = 0.0,
    ) -> None:
        directory.mkdir(exist_ok=True)
        recovered = recover(directory)
        self.now_ns = now_ns
        self.balances = Balances() if recovered is None else recovered.balances
        self.cut_bytes = 0 if recovered is None else recovered.cut_bytes
        self.journal = Journal(
            directory,
            recovered,
            opening=lambda: encode(self.balances.snapshot()),
            now_ns=lambda: self.now_ns,
            segment_bytes=segment_bytes,
            sync_interval_s=sync_interval_s,
            sync=sync,
        )

    def write(self, *entries: Entry) -> None:
        """Write entries and fold them; room is kept for what is open."""
        for entry in entries:
            self.journal.append(encode(entry), room_bytes=(len(self.balances.open) + 1) * CLOSING_ROOM_BYTES)
            assert self.balances.apply(entry) is None


@contextmanager
def journal_in(
    directory: Path,
    segment_bytes: int = SEGMENT_BYTES,
    now_ns: int = make.AT_NS,
    *,
    sync: SyncData = sync_data,
    sync_interval_s: float = 0.0,
) -> Iterator[TestedJournal]:
    """Open a journal and close it in the end."""
    opened = TestedJournal(directory, segment_bytes, now_ns, sync=sync, sync_interval_s=sync_interval_s)
    try:
        yield opened
    finally:
        opened.journal.close()


def pairs(first: int, last: int) -> Iterator[Entry]:
    """Return the entries of the requests `first` to `last`, each reserved and settled."""
    for number in range(first, last + 1):
        yield make.reserve(number)
        yield make.settle(number)


def read_all(directory: Path) -> list[Entry]:
    """Return every entry of a journal, the snapshots that open segments included."""
    with JournalReader(directory) as reader:
        return [entry for _, entry in reader.entries()]
