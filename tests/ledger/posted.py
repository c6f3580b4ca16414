"""What a poster should have done, and how to wait until it has."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from entrepot.ledger.data_dir import DataDir
from entrepot.ledger.entries import OfAttempt, encode
from entrepot.ledger.store.place import store_place
from entrepot.ledger.store.store import Store

DEADLINE_S = 30.0


def until(holds: Callable[[], bool], what: str) -> None:
    """Wait until something holds."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline_s, f"not within {DEADLINE_S} s: {what}"
        time.sleep(0.001)


def stored(data_dir: Path) -> list[bytes]:
    """Return every entry of an attempt in the store, encoded, sorted."""
    with Store.open_existing(store_place(DataDir(data_dir))) as store:
        histories = store.recent(1_000_000)
    attempts = [attempt for history in histories for attempt in history.attempts]
    found = [
        entry for attempt in attempts for entry in (attempt.reserve, attempt.closing) if entry is not None
    ]
    corrections = [entry for attempt in attempts for entry in attempt.corrections]
    return sorted(map(encode, [*found, *corrections]))


def expected(written: list[OfAttempt]) -> list[bytes]:
    """Return the same of what was written to the journal."""
    return sorted(map(encode, written))
