"""Roll-ups of what was posted before there were any; whose store it is; no index of the hosts' answer ids.

The sums are made in the database: reading millions of entries back would take minutes.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_IDS = ("endpoint_id", "key_id", "sender_id", "rules_id")
_TOKENS = tuple(
    f"{kind}_tokens"
    for kind in ("uncached", "cached", "cache_write", "cache_write_1h", "output", "reasoning")
)
_LINES = tuple(
    f"{line}_nusd"
    for line in ("uncached", "cached", "cache_write", "output", "request", "reasoning", "cache_write_1h")
)
_SUMS = ("requests", "attempts", *_TOKENS, "cost_nusd", "unknown_nusd", "reserved_nusd")
_HOUR_NS = 3_600_000_000_000


def upgrade() -> None:
    """Fill the roll-ups, add two tables, drop an index."""
    op.create_table(
        "journal",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("journal_id", sa.Text, nullable=False),
    )
    op.create_table(
        "retention",
        sa.Column("what", sa.Text, primary_key=True),
        sa.Column("before_ns", sa.BigInteger, nullable=False),
    )
    op.drop_index("closings_answer_id", "closings")
    for table in ("usage_hours", "usage_days"):
        op.execute(f"DELETE FROM {table}")
    op.execute(_hours())
    op.execute(_days())


def _hours() -> str:
    """Return the statement that adds up the entries by the hour of their reservation."""
    cost = " + ".join(_LINES)
    corrected = ", ".join(f"SUM({name}) AS {name}" for name in _TOKENS)
    sums = [
        "SUM(CASE WHEN r.attempt = 1 THEN 1 ELSE 0 END)",
        "COUNT(*)",
        *(f"SUM(COALESCE(c.{name}, 0) + COALESCE(k.{name}, 0))" for name in _TOKENS),
        f"SUM(COALESCE({' + '.join(f'c.{name}' for name in _LINES)}, 0) + COALESCE(k.cost_nusd, 0))",
        "SUM(COALESCE(c.unknown_nusd, 0) - COALESCE(k.unknown_nusd, 0))",
        "SUM(CASE WHEN c.request_id IS NULL THEN r.amount_nusd ELSE 0 END)",
    ]
    ids = ", ".join(f"r.{name}" for name in _IDS)
    return (
        f"INSERT INTO usage_hours (hour, {', '.join((*_IDS, *_SUMS))}) "
        f"SELECT r.at_ns / {_HOUR_NS}, {ids}, {', '.join(sums)} FROM reserves r "
        "LEFT JOIN closings c ON c.request_id = r.request_id AND c.attempt = r.attempt "
        f"LEFT JOIN (SELECT request_id, attempt, {corrected}, SUM({cost}) AS cost_nusd, "
        "SUM(unknown_nusd) AS unknown_nusd FROM corrections GROUP BY request_id, attempt) k "
        "ON k.request_id = r.request_id AND k.attempt = r.attempt "
        f"GROUP BY r.at_ns / {_HOUR_NS}, {ids}"
    )


def _days() -> str:
    """Return the statement that adds up the hours by their day."""
    ids = ", ".join(_IDS)
    return (
        f"INSERT INTO usage_days (day, {', '.join((*_IDS, *_SUMS))}) "
        f"SELECT hour / 24, {ids}, {', '.join(f'SUM({name})' for name in _SUMS)} FROM usage_hours "
        f"GROUP BY hour / 24, {ids}"
    )
