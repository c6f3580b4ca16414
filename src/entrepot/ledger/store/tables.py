"""The tables of the store: the journal's entries, one table for each shape, and the journal's position.

Append-only like the journal, but for the words of users. One wide table of all entries would be mostly empty
columns, and one row per attempt, updated when it closes, would lose what was known when. Decisions have a
table of their own: they are the bulk of the bytes, no report reads them, and they may be dropped while the
money stays.

Instants are Unix nanoseconds, money is nano-USD, durations are seconds (NULL where there was nothing to
measure). The primary keys are the ids that make a second posting of an entry a no-op.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

METADATA = MetaData()


def _attempt() -> list[Column[bytes] | Column[int]]:
    return [
        Column("request_id", LargeBinary, primary_key=True),
        Column("attempt", Integer, primary_key=True, autoincrement=False),
    ]


def _lines() -> list[Column[int]]:
    tokens = ("uncached", "cached", "cache_write", "output", "reasoning", "cache_write_1h")
    money = ("uncached", "cached", "cache_write", "output", "request", "reasoning", "cache_write_1h")
    names = [f"{kind}_tokens" for kind in tokens] + [f"{line}_nusd" for line in (*money, "unknown")]
    return [Column(name, BigInteger, nullable=False) for name in names]


RESERVES = Table(
    "reserves",
    METADATA,
    *_attempt(),
    Column("at_ns", BigInteger, nullable=False),
    Column("key_id", BigInteger, nullable=False),
    Column("endpoint_id", BigInteger, nullable=False),
    Column("price_version", BigInteger, nullable=False),
    Column("amount_nusd", BigInteger, nullable=False),
    Column("prompt_bytes", BigInteger, nullable=False),
    Column("operation", Text, nullable=False),
    Column("stream", Boolean, nullable=False),
    Column("choices", BigInteger, nullable=False),
    Column("sender_id", BigInteger, nullable=False),
    Column("rules_id", BigInteger, nullable=False),
    Column("task_id", BigInteger, nullable=False),
    Index("reserves_at_ns", "at_ns"),
    sqlite_with_rowid=False,
)

DECISIONS = Table(
    "decisions",
    METADATA,
    *_attempt(),
    Column("decision", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

# `kind` is that of the entry: settle, void, expire. A settle has no `reason`, a void no `price_version`: 0.
# No index on `answer_id`: hosts draw them at random, so each batch would write all of its pages. Who asks for
# an old one reads the table from its young end.
CLOSINGS = Table(
    "closings",
    METADATA,
    *_attempt(),
    Column("kind", Integer, nullable=False),
    Column("at_ns", BigInteger, nullable=False),
    Column("key_id", BigInteger, nullable=False),
    Column("endpoint_id", BigInteger, nullable=False),
    Column("price_version", BigInteger, nullable=False),
    Column("outcome", Integer, nullable=False),
    Column("reason", Integer, nullable=False),
    Column("http_status", Integer, nullable=False),
    *_lines(),
    Column("estimated", Boolean, nullable=False),
    Column("contradictory", Boolean, nullable=False),
    Column("censored", Boolean, nullable=False),
    Column("ttft_s", Double),
    Column("tpot_s", Double),
    Column("answer_s", Double),
    Column("first_tokens", BigInteger, nullable=False),
    Column("in_flight", BigInteger, nullable=False),
    Column("wire_bytes", BigInteger, nullable=False),
    Column("answer_id", LargeBinary),
    sqlite_with_rowid=False,
)

# Amounts are differences to add; `unknown_nusd` is what of *unknown, at most* this entry takes away.
CORRECTIONS = Table(
    "corrections",
    METADATA,
    *_attempt(),
    Column("correction_id", BigInteger, primary_key=True, autoincrement=False),
    Column("at_ns", BigInteger, nullable=False),
    Column("key_id", BigInteger, nullable=False),
    Column("endpoint_id", BigInteger, nullable=False),
    Column("price_version", BigInteger, nullable=False),
    Column("reason", Integer, nullable=False),
    *_lines(),
    Column("estimated", Boolean, nullable=False),
    Column("contradictory", Boolean, nullable=False),
    Column("reserved_ns", BigInteger, nullable=False),
    Column("sender_id", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# What clients say of answers and tasks; the youngest on each counts. `request_id` is zeros for a whole task.
FEEDBACK = Table(
    "feedback",
    METADATA,
    Column("request_id", LargeBinary, primary_key=True),
    Column("task_id", BigInteger, primary_key=True, autoincrement=False),
    Column("at_ns", BigInteger, primary_key=True, autoincrement=False),
    Column("key_id", BigInteger, nullable=False),
    Column("succeeded", Boolean, nullable=False),
    Column("score", Double),
    sqlite_with_rowid=False,
)

# Requests that rules kept from being served, each row for `count` of them; `grounds` are packed.
REFUSALS = Table(
    "refusals",
    METADATA,
    Column("request_id", LargeBinary, primary_key=True),
    Column("at_ns", BigInteger, nullable=False),
    Column("key_id", BigInteger, nullable=False),
    Column("operation", Text, nullable=False),
    Column("grounds", LargeBinary, nullable=False),
    Column("sender_id", BigInteger, nullable=False),
    Column("rules_id", BigInteger, nullable=False),
    Column("count", BigInteger, nullable=False),
    Index("refusals_at_ns", "at_ns"),
    sqlite_with_rowid=False,
)

ENDPOINTS = Table(
    "endpoints",
    METADATA,
    Column("endpoint_id", BigInteger, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("owner_country", Text),
    Column("origin_country", Text),
    Column("region", Text),
    Column("simulated", Boolean, nullable=False),
)

PRICES = Table(
    "prices",
    METADATA,
    Column("price_version", BigInteger, primary_key=True, autoincrement=False),
    Column("endpoint_id", BigInteger, nullable=False),
    Column("at_ns", BigInteger, nullable=False),
    Column("input_nusd_per_mtok", BigInteger, nullable=False),
    Column("output_nusd_per_mtok", BigInteger, nullable=False),
    Column("cached_nusd_per_mtok", BigInteger),
    Column("cache_write_nusd_per_mtok", BigInteger),
    Column("request_nusd", BigInteger, nullable=False),
    Column("source", Text, nullable=False),
    Column("checked", Text, nullable=False),
    Column("cache_write_1h_nusd_per_mtok", BigInteger),
    Column("reasoning_nusd_per_mtok", BigInteger),
    Column("label", Text, nullable=False),
)

# What a `sender_id` stands for; `tags` are the tags' numbers, with commas between.
SENDERS = Table(
    "senders",
    METADATA,
    Column("sender_id", BigInteger, primary_key=True, autoincrement=False),
    Column("key_id", BigInteger, nullable=False),
    Column("team_id", BigInteger, nullable=False),
    Column("tags", Text, nullable=False),
)

# What a `rules_id` stands for: names of rules, with commas between.
RULES = Table(
    "rules",
    METADATA,
    Column("rules_id", BigInteger, primary_key=True, autoincrement=False),
    Column("rules", Text, nullable=False),
)


def _usage(name: str, period: str) -> Table:
    tokens = ("uncached", "cached", "cache_write", "cache_write_1h", "output", "reasoning")
    money = ("cost", "unknown", "reserved")
    sums = ("requests", "attempts", *(f"{kind}_tokens" for kind in tokens), *(f"{of}_nusd" for of in money))
    ids = (period, "endpoint_id", "key_id", "sender_id", "rules_id")
    return Table(
        name,
        METADATA,
        *(Column(of, BigInteger, primary_key=True, autoincrement=False) for of in ids),
        *(Column(of, BigInteger, nullable=False) for of in sums),
        sqlite_with_rowid=False,
    )


# Roll-ups, added to in the transaction that posts the entries: what was used by the hour (the day), in UTC
# since 1970, in which it was reserved. Corrections and closings count in the hour of their reservation.
# `cost_nusd` is the sum of all lines, `reserved_nusd` that of attempts under way; requests count where their
# first attempt went.
USAGE_HOURS = _usage("usage_hours", "hour")
USAGE_DAYS = _usage("usage_days", "day")

# Words of users, moved here from the spool and not from the journal: no report of money needs them, and they
# may be erased. Bodies are large, so these keep their rowid.
CONTENTS = Table(
    "contents",
    METADATA,
    *_attempt(),
    Column("kind", Text, primary_key=True),
    Column("key_id", BigInteger, nullable=False),
    Column("at_ns", BigInteger, nullable=False),
    Column("truncated", Boolean, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("contents_key_id", "key_id"),
    Index("contents_at_ns", "at_ns"),
)
TASKS = Table(
    "tasks",
    METADATA,
    Column("task_id", BigInteger, primary_key=True, autoincrement=False),
    Column("key_id", BigInteger, nullable=False),
    Column("at_ns", BigInteger, nullable=False),
    Column("text", Text, nullable=False),
    Index("tasks_key_id", "key_id"),
    Index("tasks_at_ns", "at_ns"),
)

# One row: up to where the journal is in this store, written in the transaction that posts the entries.
POSITION = Table(
    "position",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("segment", BigInteger, nullable=False),
    Column("offset", BigInteger, nullable=False),
)

# One row: whose entries these are. Two data directories in one database would mix their money.
JOURNAL = Table(
    "journal",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("journal_id", Text, nullable=False),
)

# What retention has taken: `what` is `decisions` or `entries`; of closed requests before this instant nothing
# is kept. Roll-ups stay.
RETENTION = Table(
    "retention",
    METADATA,
    Column("what", Text, primary_key=True),
    Column("before_ns", BigInteger, nullable=False),
)
