"""Events are found at their blank lines, whatever the line ends and wherever the bytes are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.wire.sse import (
    data_event,
    event_data,
    event_end,
    events_from_end,
    last_event_end,
    read_block,
    split_events,
)

BLOCKS = [
    b"data: {}\n\n",
    b"data: a\ndata: b\n\n",
    b"data:x\r\n\r\n",
    b": comment\n\n",
    b"event: error\r\ndata: y\n\r\n",
    b"id: 1\nretry: 5\n\n",
]


@pytest.mark.parametrize(
    ("block", "name", "data"),
    [
        (b"data: {}\n\n", None, b"{}"),
        (b"data:{}\n\n", None, b"{}"),
        (b"data: [DONE]\r\n\r\n", None, b"[DONE]"),
        (b"data: one\ndata: two\n\n", None, b"one\ntwo"),
        (b"data: one\r\ndata:two\r\n\r\n", None, b"one\ntwo"),
        (b"event: error\ndata: {}\n\n", b"error", b"{}"),
        (b"data: {}\nevent: error\n\n", b"error", b"{}"),
        (b"id: 7\ndata: {}\n\n", None, b"{}"),
        (b": keep-alive\n\n", None, None),
        (b"event: ping\n\n", b"ping", None),
        (b"data\n\n", None, b""),
        (b"data:\n\n", None, b""),
        (b"\xef\xbb\xbfdata: {}\n\n", None, b"{}"),
        (b"database: x\n\n", None, None),
        (b"data: unterminated", None, b"unterminated"),
        (b"\n\n", None, None),
        (b"", None, None),
    ],
)
def test_an_event_has_this_name_and_data(block: bytes, name: bytes | None, data: bytes | None) -> None:
    """Comments carry no data, several data lines are one value, other fields are passed over."""
    assert read_block(block) == (name, data)
    assert event_data(block) == data


def test_events_are_split_at_their_blank_lines() -> None:
    """Both kinds of line ends, mixed in one stream, and an incomplete rest."""
    assert split_events(b"".join(BLOCKS) + b"data: re") == (BLOCKS, b"data: re")
    assert split_events(b"") == ([], b"")


@given(st.lists(st.sampled_from(BLOCKS), max_size=8), st.sampled_from([b"", b"data: re", b"data: x\n"]))
def test_the_pieces_are_the_stream_again(blocks: list[bytes], rest: bytes) -> None:
    """Splitting loses no byte, and going backwards finds the same events."""
    stream = b"".join(blocks) + rest
    assert split_events(stream) == (blocks, rest)
    backwards = [stream[start:end] for start, end in events_from_end(stream)]
    assert backwards == [piece for piece in (rest, *reversed(blocks)) if piece]
    assert last_event_end(stream) == len(stream) - len(rest)


@given(st.binary(max_size=80) | st.text(alphabet="\r\n:da t", max_size=60).map(str.encode))
def test_any_bytes_can_be_split(stream: bytes) -> None:
    """A host may send anything: pieces are never empty, never overlap and never fail to be read."""
    events, rest = split_events(stream)
    assert b"".join((*events, rest)) == stream
    assert event_end(stream) == (len(events[0]) if events else -1)
    places = list(events_from_end(stream))
    assert b"".join(stream[start:end] for start, end in reversed(places)) == stream
    assert all(start < end for start, end in places)
    for event in (*events, rest):
        read_block(event)


def test_the_end_of_an_event_is_found_when_its_blank_line_is_cut() -> None:
    """The search may begin within a blank line, two bytes before the end of what was there."""
    stream = bytearray(b"data: x\r\n\r")
    assert event_end(stream) == -1
    searched = len(stream) - 2
    stream += b"\n"
    assert event_end(stream, searched) == len(stream)


def test_a_written_event_can_be_read() -> None:
    """What we write is what we read."""
    assert split_events(data_event(b"{}")) == ([b"data: {}\n\n"], b"")
    assert event_data(data_event(b"{}")) == b"{}"
