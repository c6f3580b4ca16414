"""Beginnings of prompts: what a conversation sends again is known again, and nothing else is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from entrepot.domain.request import BLOCK_BYTES
from entrepot.wire.beginning import MOST_BLOCKS, blocks_of
from tests.wire.bodies import COMPLETION, EMBEDDING, accepted

Message = dict[str, Any]


def conversation(turns: int, words: int = 300) -> list[Message]:
    """Return the messages before the answer of the last turn, each turn unlike the others."""
    messages: list[Message] = [{"role": "system", "content": "Be brief. " * words}]
    for turn in range(turns):
        messages.append({"role": "user", "content": f'Question {turn}: é "quoted" ' + f"word{turn} " * words})
        messages.append({"role": "assistant", "content": f"Answer {turn}. " * words})
    return messages[:-1]


def blocks(messages: list[Message], **fields: object) -> tuple[int, ...]:
    """Return the blocks of a chat request with these messages."""
    return accepted(json.dumps({"model": "a/b", "messages": messages, **fields}).encode()).request.blocks


@pytest.mark.parametrize("indent", [None, 2])
def test_the_blocks_of_a_turn_are_the_first_of_the_next_turns(indent: int | None) -> None:
    """However the client writes its JSON: the bracket that ends the value is in none of them."""

    def at(turns: int) -> tuple[int, ...]:
        text = json.dumps({"messages": conversation(turns), "model": "a/b"}, indent=indent)
        return accepted(text.encode()).request.blocks

    for turns in range(1, 12):
        now, later = at(turns), at(turns + 1)
        assert len(now) >= 2
        assert later[: len(now)] == now
        assert len(later) > len(now)


def test_a_prompt_that_ends_at_a_block_keeps_its_blocks_when_it_grows() -> None:
    """The place of the closing bracket must not decide, at whichever byte the prompt ends."""
    for size in range(2 * BLOCK_BYTES - 70, 2 * BLOCK_BYTES + 70):
        short: list[Message] = [{"role": "user", "content": "x" * size}]
        assert blocks([*short, {"role": "user", "content": "y" * 5000}])[: len(blocks(short))] == blocks(
            short
        )


def test_a_block_tells_all_that_stands_before_it() -> None:
    """A change at the beginning changes every digest, one at the end only those from there on."""
    messages = conversation(4)
    whole = blocks(messages)
    first = [{"role": "system", "content": "be" + messages[0]["content"][2:]}, *messages[1:]]
    assert not set(blocks(first)) & set(whole)
    last = [*messages[:-1], {"role": "user", "content": "?" + messages[-1]["content"][1:]}]
    changed = [one == other for one, other in zip(blocks(last), whole, strict=True)]
    assert changed == sorted(changed, reverse=True)
    assert True in changed
    assert False in changed


def test_other_tools_are_another_beginning() -> None:
    """Most templates write them before the first message."""
    messages, tools = conversation(3), [{"type": "function", "function": {"name": "f"}}]
    assert blocks(messages, tools=tools) == blocks(messages, tools=tools, temperature=1)
    assert not set(blocks(messages, tools=tools)) & set(blocks(messages))


def test_short_prompts_and_embeddings_have_no_beginning() -> None:
    """There is nothing worth to be remembered of them."""
    assert blocks([{"role": "user", "content": "x" * (2 * BLOCK_BYTES - 100)}]) == ()
    assert blocks([{"role": "user", "content": "Hi"}], metadata={"pad": "x" * 10_000}) == ()
    text = json.dumps({"model": "a/b", "input": "x" * 10_000}).encode()
    assert accepted(text, EMBEDDING).request.blocks == ()


def test_a_completion_begins_with_its_prompt() -> None:
    """A text, or tokens as they were written."""
    for short, long in (("x" * 9_000, "x" * 9_500), ([1234] * 3_000, [1234] * 3_500)):
        first, second = (
            accepted(json.dumps({"model": "a/b", "prompt": prompt}).encode(), COMPLETION).request.blocks
            for prompt in (short, long)
        )
        assert len(first) >= 4
        assert second[: len(first)] == first


def test_no_more_blocks_than_the_most_are_told() -> None:
    """A prompt of megabytes has as many as one of 512 KiB, and the same first ones."""
    most = blocks([{"role": "user", "content": "x" * (MOST_BLOCKS * BLOCK_BYTES + 50)}])
    more = blocks([{"role": "user", "content": "x" * (3 * MOST_BLOCKS * BLOCK_BYTES)}])
    assert len(most) == MOST_BLOCKS
    assert more == most


@given(
    common=st.binary(max_size=4 * BLOCK_BYTES),
    one=st.binary(max_size=2 * BLOCK_BYTES),
    other=st.binary(max_size=2 * BLOCK_BYTES),
)
def test_equal_digests_are_equal_beginnings(common: bytes, one: bytes, other: bytes) -> None:
    """As many leading digests are equal as blocks of bytes are, and none after the first that differs."""
    texts = [b'"' + (common * 3)[: 5 * BLOCK_BYTES] + end + b"." for end in (one, other)]
    found = [blocks_of(Raw(text + b'"')) for text in texts]
    expected = [
        [text[: (at + 1) * BLOCK_BYTES] for at in range(len(text) // BLOCK_BYTES)]
        if len(text) >= 2 * BLOCK_BYTES
        else []
        for text in texts
    ]
    assert [len(blocks) for blocks in found] == [len(beginnings) for beginnings in expected]
    for digest, digest_too, beginning, beginning_too in zip(*found, *expected, strict=False):
        assert (digest == digest_too) == (beginning == beginning_too)


@given(text=st.text(max_size=40), times=st.integers(0, 400), ends=st.sampled_from(['"', "]", " ", ""]))
def test_no_value_makes_it_fail(text: str, times: int, ends: str) -> None:
    """Whatever stands in the body, also what no parser would let through."""
    assert isinstance(blocks_of(Raw((text * times + ends).encode()), Raw(text.encode())), tuple)
