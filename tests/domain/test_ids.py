"""Request ids: they tell when, sort by time, and never repeat."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.domain.ids import (
    REQUEST_ID_BYTES,
    RequestIds,
    instant_ns,
    request_id_from_text,
    request_id_text,
    session_of,
    task_id_of,
)

instants = st.integers(0, 2**63 - 1)
nonces = st.integers(0, 2**32 - 1)


@given(nonces, instants)
def test_an_id_tells_when_it_was_made(nonce: int, now_ns: int) -> None:
    """A reader of the journal finds the segment from the id alone."""
    assert instant_ns(RequestIds(nonce).next(now_ns)) == now_ns


@given(nonces, st.lists(instants, min_size=2, max_size=20))
def test_ids_of_one_process_differ_even_if_the_clock_stands_or_steps_back(
    nonce: int, clock_ns: list[int]
) -> None:
    """The counter makes them different when the instant does not."""
    ids = RequestIds(nonce)
    made = [ids.next(now_ns) for now_ns in clock_ns]
    assert len(set(made)) == len(made)
    assert all(len(one) == REQUEST_ID_BYTES for one in made)


def test_ids_of_two_starts_differ() -> None:
    """The nonce is drawn at start-up, so a restart within one tick makes no duplicate."""
    assert RequestIds(1).next(5) != RequestIds(2).next(5)


@given(nonces, instants, instants)
def test_ids_sort_by_time(nonce: int, first_ns: int, second_ns: int) -> None:
    """Bytes compare as instants do."""
    ids = RequestIds(nonce)
    first, second = ids.next(first_ns), ids.next(second_ns)
    if first_ns != second_ns:
        assert (first < second) == (first_ns < second_ns)


@given(nonces, instants)
def test_the_text_of_an_id_is_read_back(nonce: int, now_ns: int) -> None:
    """With and without the prefix that users see."""
    made = RequestIds(nonce).next(now_ns)
    text = request_id_text(made)
    assert text.startswith("req-")
    assert request_id_from_text(text) == made
    assert request_id_from_text(text.removeprefix("req-")) == made


@pytest.mark.parametrize("text", ["", "req-", "req-12", "chatcmpl-123", "req-" + "g" * 32, "req-" + "0" * 34])
def test_what_is_not_one_of_ours_is_told_apart(text: str) -> None:
    """A host's own id, or a part of ours, is no id and no error."""
    assert request_id_from_text(text) is None


@given(st.integers(1, 2**63 - 1), st.binary(max_size=300))
def test_a_conversation_and_a_task_of_one_name_have_numbers_of_their_own(key_id: int, name: bytes) -> None:
    """63 bits, never 0, and the same each time; another key's is another."""
    session = session_of(key_id, name)
    assert 0 < session < 2**63
    assert session == session_of(key_id, name)
    assert session not in (task_id_of(key_id, name), session_of(key_id - 1, name))
