"""The journal of a crash run, read along as it grows: what is open, and what was booked how often.

The store cannot hold an entry twice, so only the journal can show that one was written twice. Read from
where the last look ended: a look after each kill would otherwise cost more with each.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from entrepot.domain.ids import request_id_text
from entrepot.ledger.entries import Expire, Reserve, Settle, Void
from entrepot.ledger.journal.reader import JournalReader


class Books:
    """How often each attempt was reserved and closed in the journal of a data directory.

    Attempts are named as hosts see them: `req-…-1`.
    """

    def __init__(self, journal: Path) -> None:
        self.reserved: Counter[str] = Counter()
        self.closed: Counter[str] = Counter()
        self.open: set[str] = set()
        self._reader = JournalReader(journal)

    def read(self) -> None:
        """Take in what was written since the last time."""
        for _, entry in self._reader.entries():
            if isinstance(entry, Reserve | Settle | Void | Expire):
                name = f"{request_id_text(entry.request_id)}-{entry.attempt}"
                if isinstance(entry, Reserve):
                    self.reserved[name] += 1
                    self.open.add(name)
                else:
                    self.closed[name] += 1
                    self.open.discard(name)

    def close(self) -> None:
        """Close the journal."""
        self._reader.close()
