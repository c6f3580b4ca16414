"""Teams, tags, rules and tasks of a request; lines for reasoning and for cache writes of an hour; feedback.

Rows from before keep their meaning: 0 is a sender without a team or tags, and no rule, no task. Their output
line holds the reasoning, since it had no line of its own.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns and the tables of the second version."""
    _add_numbers("reserves", "sender_id", "rules_id", "task_id")
    lines = ("cache_write_1h_tokens", "reasoning_nusd", "cache_write_1h_nusd")
    _add_numbers("closings", *lines)
    _add_numbers("corrections", *lines, "reserved_ns", "sender_id")
    for name in ("cache_write_1h_nusd_per_mtok", "reasoning_nusd_per_mtok"):
        op.add_column("prices", sa.Column(name, sa.BigInteger))
    op.add_column("prices", sa.Column("label", sa.Text, nullable=False, server_default=""))
    op.create_table(
        "feedback",
        sa.Column("request_id", sa.LargeBinary, primary_key=True),
        sa.Column("task_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at_ns", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("key_id", sa.BigInteger, nullable=False),
        sa.Column("succeeded", sa.Boolean, nullable=False),
        sa.Column("score", sa.Double),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "senders",
        sa.Column("sender_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("key_id", sa.BigInteger, nullable=False),
        sa.Column("team_id", sa.BigInteger, nullable=False),
        sa.Column("tags", sa.Text, nullable=False),
    )
    op.create_table(
        "rules",
        sa.Column("rules_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("rules", sa.Text, nullable=False),
    )
    _create_usage("usage_hours", "hour")
    _create_usage("usage_days", "day")


def _create_usage(name: str, period: str) -> None:
    ids = (period, "endpoint_id", "key_id", "sender_id", "rules_id")
    tokens = ("uncached", "cached", "cache_write", "cache_write_1h", "output", "reasoning")
    money = ("cost", "unknown", "reserved")
    sums = ("requests", "attempts", *(f"{kind}_tokens" for kind in tokens), *(f"{of}_nusd" for of in money))
    op.create_table(
        name,
        *(sa.Column(of, sa.BigInteger, primary_key=True, autoincrement=False) for of in ids),
        *(sa.Column(of, sa.BigInteger, nullable=False) for of in sums),
        sqlite_with_rowid=False,
    )


def _add_numbers(table: str, *names: str) -> None:
    for name in names:
        op.add_column(table, sa.Column(name, sa.BigInteger, nullable=False, server_default="0"))
