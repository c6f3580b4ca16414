"""Requests that rules kept from being served."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "refusals",
        sa.Column("request_id", sa.LargeBinary, primary_key=True),
        sa.Column("at_ns", sa.BigInteger, nullable=False),
        sa.Column("key_id", sa.BigInteger, nullable=False),
        sa.Column("operation", sa.Text, nullable=False),
        sa.Column("grounds", sa.LargeBinary, nullable=False),
        sa.Column("sender_id", sa.BigInteger, nullable=False),
        sa.Column("rules_id", sa.BigInteger, nullable=False),
        sa.Column("count", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("refusals_at_ns", "refusals", ["at_ns"])
