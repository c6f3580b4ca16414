"""How far the poster came, as it notes it beside the journal; the store's own note is the truth."""

from __future__ import annotations

from entrepot.ledger.data_dir import DataDir, write_atomically
from entrepot.ledger.journal.segment import Position


def note_posted(data_dir: DataDir, position: Position) -> None:
    """Write down how far the poster came, for the backlog's metric; the store's own note is the truth."""
    write_atomically(data_dir.posted, f"{position.segment} {position.offset}\n".encode())


def posted_position(data_dir: DataDir) -> Position | None:
    """Return how far the poster came, or None when it never noted anything."""
    try:
        segment, offset = data_dir.posted.read_bytes().split()
        return Position(int(segment), int(offset))
    except (OSError, ValueError):
        return None


def forget_posted(data_dir: DataDir) -> None:
    """Take back what was noted: the store is new and has nothing yet."""
    data_dir.posted.unlink(missing_ok=True)
