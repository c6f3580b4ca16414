"""Entries become bytes and come back as they were."""

from __future__ import annotations

import struct
from math import isnan

import msgspec
import pytest
from hypothesis import given

from entrepot.ledger.entries import (
    ANSWER_ID_OFFSET,
    MAX_ANSWER_ID_BYTES,
    MAX_CLOSING_BYTES,
    REQUEST_ID_OFFSET,
    Entry,
    Settle,
    decode,
    encode,
)
from tests.ledger import entry_makers as make


@given(make.entries)
def test_every_entry_comes_back_as_it_was_written(entry: Entry) -> None:
    """Encoding loses nothing: not a nano-dollar, not a sign, not a text."""
    assert decode(encode(entry)) == entry


def test_a_duration_that_was_not_measured_stays_nan() -> None:
    """Nothing measured is not zero: a cancelled attempt has no time per token."""
    settle = msgspec.structs.replace(make.settle(), tpot_s=float("nan"))
    back = decode(encode(settle))
    assert isinstance(back, Settle)
    assert isnan(back.tpot_s)
    assert encode(back) == encode(settle)


def test_ids_stand_where_readers_search_for_them() -> None:
    """A request id and the host's answer id are found by a search of the bytes, without decoding all."""
    body = encode(make.settle(7))
    assert body[REQUEST_ID_OFFSET:].startswith(make.request_id(7))
    assert body[ANSWER_ID_OFFSET:] == b"chatcmpl-7"


@given(make.settles | make.voids | make.expires)
def test_no_closing_entry_is_longer_than_the_room_kept_for_it(entry: Entry) -> None:
    """The journal keeps this room for each open reservation, so that all can be closed on a full disk."""
    assert len(encode(entry)) <= MAX_CLOSING_BYTES


def test_an_endless_answer_id_is_cut() -> None:
    """A host cannot make its entry outgrow its room by a long id."""
    settle = msgspec.structs.replace(make.settle(), answer_id=b"x" * 10_000)
    assert len(encode(settle)) == MAX_CLOSING_BYTES
    back = decode(encode(settle))
    assert isinstance(back, Settle)
    assert back.answer_id == b"x" * MAX_ANSWER_ID_BYTES


def test_a_number_beyond_its_field_is_refused() -> None:
    """Nothing wraps around: four billion tokens for one attempt are no report."""
    usage = msgspec.structs.replace(make.settle().usage, output_tokens=2**32)
    with pytest.raises(struct.error):
        encode(msgspec.structs.replace(make.settle(), usage=usage))


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"", "empty"),
        (b"\xff" + bytes(80), "unknown kind ff"),
        (encode(make.void())[:-1], "kind 3"),
        (encode(make.reserve())[:20], "kind 17"),
        (b"\x06\xc1", "kind 6"),
        (encode(make.settle()).replace(b"\x00\x00\xc8\x00", b"\x63\x00\xc8\x00", 1), "kind 18"),
    ],
)
def test_bytes_that_are_no_entry_say_so(body: bytes, complaint: str) -> None:
    """A decoder of damaged bytes fails with one error and names the kind that it tried."""
    with pytest.raises(ValueError, match=complaint):
        decode(body)
