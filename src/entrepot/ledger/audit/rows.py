"""What the audit expects in the store for an entry: written from the meaning of the columns alone.

`ledger.store.rows` would give the same, and then a mistake in it would be on both sides of the comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import isnan
from operator import attrgetter, itemgetter
from typing import Any

from msgspec import Struct, field

from entrepot.domain.errors import DataError
from entrepot.domain.ids import request_id_text
from entrepot.domain.prices import Bill
from entrepot.domain.usage import Usage
from entrepot.ledger.audit.view import StoredRow, StoreView
from entrepot.ledger.entries import (
    Correct,
    Entry,
    Expire,
    Feedback,
    Kind,
    NameEndpoint,
    NamePrices,
    NameRules,
    NameSender,
    Refused,
    Reserve,
    Settle,
    Snapshot,
    Void,
)

RowId = tuple[Any, ...]

# The columns that identify a row, in the order of the entry's first fields.
IDS = {
    "endpoints": ("endpoint_id",),
    "prices": ("price_version",),
    "senders": ("sender_id",),
    "rules": ("rules_id",),
    "reserves": ("request_id", "attempt"),
    "decisions": ("request_id", "attempt"),
    "closings": ("request_id", "attempt"),
    "corrections": ("request_id", "attempt", "correction_id"),
    "feedback": ("request_id", "task_id", "at_ns"),
    "refusals": ("request_id",),
}
NAMES = ("endpoints", "prices", "senders", "rules")  # tables of names: few rows, each repeated by snapshots

_PARTS = {"usage": Usage.__struct_fields__, "bill": Bill.__struct_fields__}


class Shape(Struct, frozen=True):
    """Which row of a table an entry of one kind has: what `read` gives stands in `columns`.

    All other columns hold a constant, 0 unless `constants` has another.
    """

    table: str
    columns: tuple[str, ...]
    read: Callable[[Any], StoredRow]
    constants: dict[str, int | None] = field(default_factory=dict)


def _shape(
    table: str,
    kind: type[Struct],
    *,
    without: tuple[str, ...] = (),
    renamed: tuple[str, str] = ("", ""),
    constants: dict[str, int | None] | None = None,
) -> Shape:
    """Return the shape of entries whose fields, and those of their parts, stand under their own names."""
    paths: list[str] = []
    for name in kind.__struct_fields__:
        if name not in without:
            paths += [f"{name}.{part}" for part in _PARTS[name]] if name in _PARTS else [name]
    columns = [path.rpartition(".")[2] for path in paths]
    columns = [renamed[1] if name == renamed[0] else name for name in columns]
    return Shape(table, tuple(columns), attrgetter(*paths), constants or {})


_UNOBSERVED: dict[str, int | None] = dict.fromkeys(("ttft_s", "tpot_s", "answer_id"))
_RESERVE = _shape("reserves", Reserve, without=("decision",))
_DECISION = Shape(
    "decisions", (*IDS["decisions"], "decision"), attrgetter("request_id", "attempt", "decision")
)
_OTHERS: dict[type[Struct], Shape] = {
    Settle: _shape("closings", Settle, constants={"kind": Kind.SETTLE}),
    Void: _shape("closings", Void, constants=_UNOBSERVED | {"kind": Kind.VOID}),
    Expire: _shape(
        "closings",
        Expire,
        renamed=("at_most_nusd", "unknown_nusd"),
        constants=_UNOBSERVED | {"kind": Kind.EXPIRE},
    ),
    Correct: _shape("corrections", Correct),
    Feedback: _shape("feedback", Feedback),
    Refused: _shape("refusals", Refused),
    NameEndpoint: _shape("endpoints", NameEndpoint),
    NamePrices: _shape("prices", NamePrices),
    NameSender: Shape(
        "senders",
        ("sender_id", "key_id", "team_id", "tags"),
        lambda name: (name.sender_id, name.key_id, name.team_id, ",".join(map(str, name.tags))),
    ),
    NameRules: Shape("rules", ("rules_id", "rules"), lambda name: (name.rules_id, ",".join(name.rules))),
}


def expected_rows(entry: Entry) -> Iterator[tuple[Shape, Entry]]:
    """Yield each row that the entry has in the store, as its shape and the entry that fills it."""
    if isinstance(entry, Snapshot):
        for name in entry.names:
            yield _OTHERS[type(name)], name
    elif isinstance(entry, Reserve):
        yield _RESERVE, entry
        if entry.decision:
            yield _DECISION, entry
    else:
        yield _OTHERS[type(entry)], entry


_READ_ID: dict[str, Callable[[Any], Any]] = {table: attrgetter(*names) for table, names in IDS.items()}


def row_id(table: str, entry: Entry) -> RowId:
    """Return the id of the row of an entry in a table."""
    found = _READ_ID[table](entry)
    return found if isinstance(found, tuple) else (found,)


class _Bound(Struct, frozen=True):
    """A shape in one store: how its rows are brought into the shape's order, and what ends them."""

    in_order: Callable[[StoredRow], Any]
    names: tuple[str, ...]
    constants: StoredRow


class StoredTable:
    """One table of the store, with what each column has to hold for an entry.

    `id_of` gives the id of a row.
    """

    def __init__(self, view: StoreView, table: str) -> None:
        self.table = table
        self._view = view
        self._columns = view.columns(table)
        places = [self._index(name) for name in IDS[table]]
        if len(places) == 1:
            self.id_of: Callable[[StoredRow], RowId] = itemgetter(slice(places[0], places[0] + 1))
        else:
            self.id_of = itemgetter(*places)
        self._bound: dict[int, _Bound] = {}

    def fetch(self, entries: list[Entry]) -> dict[RowId, list[StoredRow]]:
        """Return the rows that have the first part of one of the entries' ids, by their whole id."""
        first = IDS[self.table][0]  # its index serves a list of first parts, not one of whole ids
        ids = list({row_id(self.table, entry)[0] for entry in entries})
        marks = ", ".join("?" * len(ids))
        rows: dict[RowId, list[StoredRow]] = {}
        for row in self._view.execute(f"SELECT * FROM {self.table} WHERE {first} IN ({marks})", ids):
            rows.setdefault(self.id_of(row), []).append(row)
        return rows

    def problem(self, shape: Shape, entry: Entry, found: list[StoredRow]) -> str:
        """Return what is wrong with the rows that were found for an entry, nothing when they are right."""
        if not found:
            return "is missing in the store"
        if len(found) > 1:
            return f"is in the store {len(found)} times"
        bound = self._bound.get(id(shape)) or self._bind(shape)
        stored, expected = bound.in_order(found[0]), shape.read(entry) + bound.constants
        if stored == expected:
            return ""  # nearly always, so the rest may take its time
        return ", ".join(
            f"{name} is {text(there)} in the store and {text(_as_stored(name, here))} in the journal"
            for name, there, here in zip(bound.names, stored, expected, strict=True)
            if there != _as_stored(name, here)
        )

    def _bind(self, shape: Shape) -> _Bound:
        """Find the columns of a shape; those that it does not name come last, and are constant."""
        named = [self._index(name) for name in shape.columns]
        others = [index for index in range(len(self._columns)) if index not in named]
        constants = tuple(shape.constants.get(self._columns[index], 0) for index in others)
        order = (*named, *others)
        names = tuple(self._columns[index] for index in order)
        bound = self._bound[id(shape)] = _Bound(itemgetter(*order), names, constants)
        return bound

    def _index(self, name: str) -> int:
        if name not in self._columns:
            raise DataError(
                f"the store has no column {name} in {self.table}: run `entrepot ledger post`, which brings "
                "an older store up to date"
            )
        return self._columns.index(name)


def title(table: str, found: RowId) -> str:
    """Return how a finding calls a row."""
    of = ", ".join(
        f"{name.removesuffix('_id')} {text(value)}" for name, value in zip(IDS[table], found, strict=True)
    )
    return f"the row of {of} in {table}"


def text(value: object) -> str:
    """Return a value as a finding writes it."""
    if isinstance(value, bytes | memoryview):
        value = bytes(value)
        return request_id_text(value) if len(value) == 16 else f"{len(value)} bytes {value[:8].hex()}…"
    return str(int(value)) if isinstance(value, bool) else str(value)


def _as_stored(name: str, value: object) -> object:
    """Return a value of an entry as the store writes it: nothing where nothing was seen."""
    if isinstance(value, float) and isnan(value):
        return None
    return None if name == "answer_id" and value == b"" else value
