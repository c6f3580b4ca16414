"""What simulated hosts billed: their side of the story, which tests hold against the ledger.

Written line by line with one system call each, so that a killed server loses nothing; kept in memory too,
for `GET /_log`, as far as a bound allows.
"""

from __future__ import annotations

import os
from collections import deque
from decimal import Decimal
from pathlib import Path
from typing import Literal

from msgspec import Struct
from msgspec.json import encode

from entrepot.hosts.behaviour import usd_decimal_text

MOST_KEPT = 100_000

Outcome = Literal["ok", "cancelled", "error"]


class Record(Struct, frozen=True):
    """One request as a host saw it.

    Units: tokens; `cost_usd` an exact decimal. `request_id` is the `x-request-id` that came with it.
    """

    request_id: str | None
    host: str
    model: str
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    cost_usd: str
    outcome: Outcome
    stream: bool
    status: int


class HostTotals(Struct):
    """What one host did so far. Units: tokens, USD."""

    requests: int = 0
    in_flight: int = 0
    ok: int = 0
    cancelled: int = 0
    error: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: Decimal = Decimal(0)


class HostLog:
    """The records of all hosts of a server. `path` is appended to, None for memory alone."""

    def __init__(self, path: Path | None) -> None:
        self.records: deque[Record] = deque(maxlen=MOST_KEPT)
        self._file = None if path is None else os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, record: Record, totals: HostTotals, cost_usd: Decimal) -> None:
        """Keep a record and add it to its host's totals."""
        self.records.append(record)
        totals.requests += 1
        setattr(totals, record.outcome, getattr(totals, record.outcome) + 1)
        totals.prompt_tokens += record.prompt_tokens
        totals.cached_tokens += record.cached_tokens
        totals.completion_tokens += record.completion_tokens
        totals.cost_usd += cost_usd
        if self._file is not None:
            os.write(self._file, encode(record) + b"\n")

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def stats_body(totals: dict[str, HostTotals]) -> bytes:
    """Return the totals of each host as JSON."""
    fields = HostTotals.__struct_fields__
    return encode(
        {
            host: {
                name: usd_decimal_text(found)
                if isinstance(found := getattr(of_host, name), Decimal)
                else found
                for name in fields
            }
            for host, of_host in totals.items()
        }
    )
