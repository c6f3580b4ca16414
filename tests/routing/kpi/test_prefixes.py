"""Where beginnings were sent: the longest one, by endpoint, for an hour, and never more than so many."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from entrepot.domain.request import BLOCK_BYTES
from entrepot.routing.kpi.knowledge import Knowledge
from entrepot.routing.kpi.prefixes import LONGEST_KEPT_S, Prefixes
from entrepot.routing.settings import RoutingSettings
from tests.routing.builders import chat, endpoint


def test_the_longest_beginning_that_was_sent_is_found() -> None:
    """By endpoint; one that was never sent the first block is left out."""
    prefixes = Prefixes()
    prefixes.sent(0, [1, 2, 3, 4], 0, 0, 0.0)
    prefixes.sent(1, [1, 2, 9], 0, 0, 0.0)
    prefixes.sent(2, [7, 8], 0, 0, 0.0)
    assert prefixes.known([1, 2, 3, 4, 5, 6], 1.0) == {0: 4, 1: 2}
    assert prefixes.known([1], 1.0) == {0: 1, 1: 1}
    assert prefixes.known([5, 1], 1.0) == {}
    assert prefixes.known([], 1.0) == {}


@given(
    st.lists(st.tuples(st.integers(0, 2), st.lists(st.integers(0, 3), min_size=1, max_size=6)), max_size=12),
    st.lists(st.integers(0, 3), min_size=1, max_size=6),
)
def test_what_is_known_is_the_longest_common_beginning(
    sent: list[tuple[int, list[int]]], asked: list[int]
) -> None:
    """As brute force finds it: digests are those of a block with all before it."""

    def digests(blocks: list[int]) -> list[int]:
        return [hash(tuple(blocks[: place + 1])) for place in range(len(blocks))]

    prefixes = Prefixes()
    longest: dict[int, int] = {}
    for at, blocks in sent:
        prefixes.sent(at, digests(blocks), 0, 0, 0.0)
        common = next(
            (place for place, (a, b) in enumerate(zip(blocks, asked, strict=False)) if a != b),
            min(len(blocks), len(asked)),
        )
        if common:
            longest[at] = max(longest.get(at, 0), common)
    assert prefixes.known(digests(asked), 0.0) == longest


def test_a_beginning_ages_out() -> None:
    """After an hour nobody keeps it; sending it again keeps it for another."""
    prefixes = Prefixes()
    prefixes.sent(0, [1, 2], 5, 100, 0.0)
    assert prefixes.known([1, 2], LONGEST_KEPT_S - 1) == {0: 2}
    assert prefixes.known([1, 2], LONGEST_KEPT_S + 1) == {}
    assert prefixes.of_session(5, LONGEST_KEPT_S + 1) is None
    prefixes.sent(0, [1], 0, 0, LONGEST_KEPT_S)
    assert prefixes.known([1, 2], LONGEST_KEPT_S + 1) == {0: 1}


def test_what_is_remembered_is_bounded_and_the_oldest_is_forgotten_first() -> None:
    """Of one prompt the last block goes first, since without the first the others are of no use."""
    prefixes = Prefixes(most_blocks=4, most_sessions=2)
    prefixes.sent(0, [1, 2, 3], 10, 1, 0.0)
    prefixes.sent(0, [11, 12], 11, 1, 1.0)
    assert prefixes.known([1, 2, 3], 1.0) == {0: 2}
    prefixes.sent(0, [21, 22], 12, 1, 2.0)
    assert prefixes.known([1, 2, 3], 2.0) == {}
    assert prefixes.known([11, 12], 2.0) == {0: 2}
    assert [prefixes.of_session(session, 2.0) for session in (10, 11, 12)] == [None, (0, 1), (0, 1)]


def test_ten_thousand_long_prompts_stay_within_the_bound() -> None:
    """Senders choose the prompts; the table must not grow with them."""
    prefixes = Prefixes(most_blocks=1000, most_sessions=100)
    for number in range(10_000):
        prefixes.sent(number % 7, [number * 8 + block for block in range(8)], number + 1, 9, float(number))
    assert len(prefixes._blocks) == 1000
    assert len(prefixes._sessions) == 100


def test_a_session_is_where_it_went_last() -> None:
    """With how long its prompt was; sessions of nobody are not kept."""
    prefixes = Prefixes()
    prefixes.sent(3, [], 77, 500, 0.0)
    prefixes.sent(4, [], 77, 900, 1.0)
    prefixes.sent(5, [], 0, 900, 1.0)
    assert prefixes.of_session(77, 2.0) == (4, 900)
    assert prefixes.of_session(0, 2.0) is None


@pytest.mark.parametrize(("blocks", "known_bytes"), [((1, 2, 3), 2 * BLOCK_BYTES), ((8,), None)])
def test_knowledge_tells_the_known_bytes_of_a_prompt(
    blocks: tuple[int, ...], known_bytes: float | None
) -> None:
    """Whole blocks of it, never more than its text."""
    knowledge = Knowledge((endpoint("a"), endpoint("b")), {}, RoutingSettings())
    knowledge.started(1, replace(chat(prompt_bytes=5000), blocks=(1, 2)), now_s=0.0)
    asked = replace(chat(prompt_bytes=9000), blocks=blocks)
    assert knowledge.known_bytes(asked, 1.0) == ({} if known_bytes is None else {1: known_bytes})
    short = replace(chat(prompt_bytes=3000), blocks=blocks)
    assert knowledge.known_bytes(short, 1.0) == ({} if known_bytes is None else {1: 3000.0})


def test_a_prompt_too_short_for_blocks_goes_by_its_session() -> None:
    """The last prompt of the session is the beginning of the next."""
    knowledge = Knowledge((endpoint("a"), endpoint("b")), {}, RoutingSettings())
    knowledge.started(1, replace(chat(prompt_bytes=800), session=7), now_s=0.0)
    assert knowledge.known_bytes(replace(chat(prompt_bytes=1200), session=7), 1.0) == {1: 800.0}
    assert knowledge.known_bytes(replace(chat(prompt_bytes=1200), session=8), 1.0) == {}
