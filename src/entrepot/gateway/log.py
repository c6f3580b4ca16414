"""The event log: one JSON object a line on stderr, for machines; `entrepot requests` is for people.

Not the logging module: its handlers take a lock and format on the caller's thread, and its records
invite text. An event here is a name and named values, none of them a prompt or a secret.
"""

from __future__ import annotations

import contextlib
import sys
from enum import IntEnum
from time import time
from typing import TextIO

import msgspec

Value = str | int | float | bool | None


class Level(IntEnum):
    """How much an event matters."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40


class EventLog:
    """Writes events of at least `level` to a stream."""

    def __init__(self, level: Level = Level.INFO, stream: TextIO | None = None) -> None:
        self.level = level
        self._stream = stream if stream is not None else sys.stderr

    def write(self, level: Level, event: str, **values: Value) -> None:
        """Write one event, if its level is high enough; a log that cannot be written stops nothing."""
        if level < self.level:
            return
        line = {"at": round(time(), 3), "level": level.name.lower(), "event": event, **values}
        with contextlib.suppress(OSError):
            self._stream.write(msgspec.json.encode(line).decode() + "\n")
            self._stream.flush()

    def info(self, event: str, **values: Value) -> None:
        """Write what an operator wants to know on a normal day."""
        self.write(Level.INFO, event, **values)

    def warning(self, event: str, **values: Value) -> None:
        """Write what an operator should look at."""
        self.write(Level.WARNING, event, **values)

    def error(self, event: str, **values: Value) -> None:
        """Write what an operator has to mend."""
        self.write(Level.ERROR, event, **values)
