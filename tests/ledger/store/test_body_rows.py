"""The short way from bytes to rows gives what the long way gives, for every entry."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.ledger.entries import Entry, decode, encode
from entrepot.ledger.store.body_rows import add_body
from entrepot.ledger.store.rows import Rows
from tests.ledger import entry_makers as make


def both_ways(body: bytes) -> tuple[list[object], list[object]]:
    """Return the rows of all tables by the short and by the long way, with the types of their values."""
    short, long = Rows(), Rows([decode(body)])
    add_body(short, body)
    return _all(short), _all(long)


def _all(rows: Rows) -> list[object]:
    return [
        (table.name, [[(type(value), value) for value in row] for row in batch])
        for table, batch in rows.by_table()
    ]


@given(st.one_of(make.entries, make.reserves, make.settles))
def test_the_short_way_equals_the_long_way(entry: Entry) -> None:
    """Every column of every kind, not-a-number and empty ids included."""
    short, long = both_ways(encode(entry))
    assert short == long


@given(make.settles)
def test_what_was_not_measured_is_null_by_both_ways(entry: make.Settle) -> None:
    """Not-a-number never reaches a database."""
    unmeasured = make.Settle(*[getattr(entry, name) for name in entry.__struct_fields__[:10]])
    short, long = both_ways(encode(unmeasured))
    assert short == long
    assert "nan" not in repr(short)


@given(st.one_of(make.reserves, make.settles), st.integers(0, 120))
def test_bytes_that_are_no_entry_are_refused_by_both_ways(entry: Entry, length: int) -> None:
    """A cut entry is damage for the poster as it is for every reader."""
    body = encode(entry)[:length]
    try:
        decode(body)
    except ValueError:
        with pytest.raises(ValueError, match="entry of"):
            add_body(Rows(), body)


@pytest.mark.parametrize(("entry", "at"), [(make.reserve(), 51), (make.settle(), 39)])
def test_a_code_that_nobody_knows_is_refused(entry: Entry, at: int) -> None:
    """An operation or an outcome of a newer version is not written as something else."""
    body = bytearray(encode(entry))
    body[at] = 0x7E
    for way in (decode, lambda found: add_body(Rows(), found)):
        with pytest.raises(ValueError, match="not an entry of kind"):
            way(bytes(body))
