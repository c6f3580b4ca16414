"""The roll-ups once more, in SQL over the store's own entries: fills them for tests of the audit."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

TOKENS = ("uncached", "cached", "cache_write", "cache_write_1h", "output", "reasoning")
LINES = ("uncached", "cached", "cache_write", "output", "request", "reasoning", "cache_write_1h")
MEASURES = (
    "requests",
    "attempts",
    *(f"{kind}_tokens" for kind in TOKENS),
    "cost_nusd",
    "unknown_nusd",
    "reserved_nusd",
)


def roll_up_statements() -> list[str]:
    """Return the statements that fill both tables, in SQL that SQLite and PostgreSQL read."""
    tokens = ", ".join(f"{kind}_tokens" for kind in TOKENS)
    cost = " + ".join(f"{line}_nusd" for line in LINES)
    of = "r.endpoint_id, r.key_id, r.sender_id, r.rules_id"
    parts = f"""
        SELECT request_id, attempt, CASE attempt WHEN 1 THEN 1 ELSE 0 END AS requests, 1 AS attempts,
            {", ".join(f"0 AS {kind}_tokens" for kind in TOKENS)}, 0 AS cost_nusd, 0 AS unknown_nusd,
            amount_nusd AS reserved_nusd FROM reserves
        UNION ALL SELECT c.request_id, c.attempt, 0, 0, {tokens}, {cost}, unknown_nusd, -r.amount_nusd
            FROM closings c JOIN reserves r ON r.request_id = c.request_id AND r.attempt = c.attempt
        UNION ALL SELECT request_id, attempt, 0, 0, {tokens}, {cost}, -unknown_nusd, 0 FROM corrections"""
    sums = ", ".join(f"CAST(sum(p.{name}) AS bigint)" for name in MEASURES)
    return [
        f"""INSERT INTO {table} SELECT r.at_ns / {length}, {of}, {sums}
            FROM ({parts}) p JOIN reserves r ON r.request_id = p.request_id AND r.attempt = p.attempt
            GROUP BY r.at_ns / {length}, {of}"""
        for table, length in (("usage_hours", 3600 * 10**9), ("usage_days", 24 * 3600 * 10**9))
    ]


def roll_up(store: Path) -> None:
    """Fill the roll-ups of a SQLite store, unless the poster did."""
    with closing(sqlite3.connect(store)) as database, database:
        if database.execute("SELECT count(*) FROM usage_hours").fetchone() == (0,):
            for statement in roll_up_statements():
                database.execute(statement)
