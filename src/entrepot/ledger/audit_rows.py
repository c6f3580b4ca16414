"""What the audit expects in the store for an entry: written from the meaning of the columns alone.

`ledger.rows` would give the same, and then a mistake in it would be on both sides of the comparison.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from math import isnan

import msgspec
from msgspec import Struct

from entrepot.ledger.entries import (
    Closing,
    Correct,
    Entry,
    Expire,
    Feedback,
    Kind,
    Name,
    NameEndpoint,
    NamePrices,
    NameRules,
    NameSender,
    Reserve,
    Settle,
    Snapshot,
    Void,
)

Value = int | float | str | bytes | None
Row = dict[str, Value]

# The columns that identify a row.
IDS = {
    "endpoints": ("endpoint_id",),
    "prices": ("price_version",),
    "reserves": ("request_id", "attempt"),
    "decisions": ("request_id", "attempt"),
    "closings": ("request_id", "attempt"),
    "corrections": ("request_id", "attempt", "correction_id"),
    "senders": ("sender_id",),
    "rules": ("rules_id",),
    "feedback": ("request_id", "task_id", "at_ns"),
}
_UNOBSERVED: Row = dict.fromkeys(("ttft_s", "tpot_s", "answer_s", "answer_id"))


def expected_rows(entry: Entry) -> Iterator[tuple[str, Row]]:
    """Yield the table and the columns of each row that the entry has in the store; columns left out are 0."""
    match entry:
        case Reserve():
            row = _columns(entry)
            decision = row.pop("decision")
            yield "reserves", row
            if decision:
                yield "decisions", {name: row[name] for name in IDS["decisions"]} | {"decision": decision}
        case Settle() | Void() | Expire():
            yield "closings", _closing(entry)
        case Correct():
            yield "corrections", _columns(entry)
        case Feedback():
            yield "feedback", _columns(entry)
        case Snapshot():
            for name in entry.names:
                yield _name(name)
        case _:
            yield _name(entry)


def _name(entry: Name) -> tuple[str, Row]:
    match entry:
        case NameEndpoint():
            return "endpoints", _columns(entry)
        case NamePrices():
            return "prices", _columns(entry)
        case NameSender():
            return "senders", _columns(entry) | {"tags": ",".join(str(tag) for tag in entry.tags)}
        case NameRules():
            return "rules", {"rules_id": entry.rules_id, "rules": ",".join(entry.rules)}


def _closing(entry: Closing) -> Row:
    row = _UNOBSERVED | _columns(entry)
    match entry:
        case Settle():
            return row | {"kind": Kind.SETTLE.value, "answer_id": entry.answer_id or None}
        case Void():
            return row | {"kind": Kind.VOID.value}
        case Expire():
            row["unknown_nusd"] = row.pop("at_most_nusd")
            return row | {"kind": Kind.EXPIRE.value}


def _columns(value: Struct) -> Row:
    """Return the fields of an entry as a database would give them back, those of its parts among them."""
    row: Row = {}
    for name, field in msgspec.structs.asdict(value).items():
        if isinstance(field, Struct):
            row |= _columns(field)
        elif isinstance(field, float) and isnan(field):
            row[name] = None
        elif isinstance(field, IntEnum | bool):
            row[name] = int(field)
        elif isinstance(field, str):
            row[name] = str(field)
        else:
            row[name] = field
    return row
