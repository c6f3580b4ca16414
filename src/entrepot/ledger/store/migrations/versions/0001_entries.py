"""The first tables: entries in the shape of the journal, names, prices, and the journal's position.

Written out, not taken from `ledger.store.tables`: those move on, and this revision must not.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create every table of the first version."""
    _create_reserves()
    _create_closings()
    _create_corrections()
    _create_names()
    op.create_table(
        "position",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("segment", sa.BigInteger, nullable=False),
        sa.Column("offset", sa.BigInteger, nullable=False),
    )


def _attempt() -> list[sa.Column[bytes] | sa.Column[int]]:
    return [
        sa.Column("request_id", sa.LargeBinary, primary_key=True),
        sa.Column("attempt", sa.Integer, primary_key=True, autoincrement=False),
    ]


def _numbers(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger, nullable=False) for name in names]


def _lines() -> list[sa.Column[int]]:
    return _numbers(
        *("uncached_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens"),
        *("uncached_nusd", "cached_nusd", "cache_write_nusd", "output_nusd", "request_nusd", "unknown_nusd"),
    )


def _create_reserves() -> None:
    op.create_table(
        "reserves",
        *_attempt(),
        *_numbers("at_ns", "key_id", "endpoint_id", "price_version", "amount_nusd", "prompt_bytes"),
        sa.Column("operation", sa.Text, nullable=False),
        sa.Column("stream", sa.Boolean, nullable=False),
        sa.Column("choices", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("reserves_at_ns", "reserves", ["at_ns"])
    op.create_table(
        "decisions",
        *_attempt(),
        sa.Column("decision", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )


def _create_closings() -> None:
    op.create_table(
        "closings",
        *_attempt(),
        sa.Column("kind", sa.Integer, nullable=False),
        *_numbers("at_ns", "key_id", "endpoint_id", "price_version"),
        sa.Column("outcome", sa.Integer, nullable=False),
        sa.Column("reason", sa.Integer, nullable=False),
        sa.Column("http_status", sa.Integer, nullable=False),
        *_lines(),
        sa.Column("estimated", sa.Boolean, nullable=False),
        sa.Column("contradictory", sa.Boolean, nullable=False),
        sa.Column("censored", sa.Boolean, nullable=False),
        sa.Column("ttft_s", sa.Double),
        sa.Column("tpot_s", sa.Double),
        sa.Column("answer_s", sa.Double),
        *_numbers("first_tokens", "in_flight", "wire_bytes"),
        sa.Column("answer_id", sa.LargeBinary),
        sqlite_with_rowid=False,
    )
    has_answer_id = sa.text("answer_id IS NOT NULL")
    op.create_index(
        "closings_answer_id",
        "closings",
        ["answer_id"],
        sqlite_where=has_answer_id,
        postgresql_where=has_answer_id,
    )


def _create_corrections() -> None:
    op.create_table(
        "corrections",
        *_attempt(),
        sa.Column("correction_id", sa.BigInteger, primary_key=True, autoincrement=False),
        *_numbers("at_ns", "key_id", "endpoint_id", "price_version"),
        sa.Column("reason", sa.Integer, nullable=False),
        *_lines(),
        sa.Column("estimated", sa.Boolean, nullable=False),
        sa.Column("contradictory", sa.Boolean, nullable=False),
        sqlite_with_rowid=False,
    )


def _create_names() -> None:
    op.create_table(
        "endpoints",
        sa.Column("endpoint_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("owner_country", sa.Text),
        sa.Column("origin_country", sa.Text),
        sa.Column("region", sa.Text),
        sa.Column("simulated", sa.Boolean, nullable=False),
    )
    op.create_table(
        "prices",
        sa.Column("price_version", sa.BigInteger, primary_key=True, autoincrement=False),
        *_numbers("endpoint_id", "at_ns", "input_nusd_per_mtok", "output_nusd_per_mtok"),
        sa.Column("cached_nusd_per_mtok", sa.BigInteger),
        sa.Column("cache_write_nusd_per_mtok", sa.BigInteger),
        *_numbers("request_nusd"),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("checked", sa.Text, nullable=False),
    )
