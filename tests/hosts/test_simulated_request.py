"""What simulated hosts read from a body."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.json import encode

from entrepot.domain.endpoint import Operation
from entrepot.hosts.simulated_request import Ask, count_tokens, parse_ask

PARTS = [{"type": "text", "text": "12345678"}, {"type": "image_url", "image_url": {"url": "x"}}]


@pytest.mark.parametrize(
    ("operation", "fields", "tokens", "choices"),
    [
        (Operation.CHAT, {"messages": [{"role": "user", "content": "12345"}]}, 2, 1),
        (Operation.CHAT, {"messages": [{"content": "1234"}, {"content": "5678"}], "n": 3}, 2, 3),
        (Operation.CHAT, {"messages": [{"content": PARTS}]}, 2, 1),
        (Operation.CHAT, {"messages": [{"content": None, "tool_calls": []}]}, 1, 1),
        (Operation.COMPLETION, {"prompt": "1234"}, 1, 1),
        (Operation.COMPLETION, {"prompt": ["1234", "12345"], "n": 2}, 3, 4),
        (Operation.COMPLETION, {"prompt": [5, 6, 7]}, 3, 1),
        (Operation.COMPLETION, {"prompt": [[5, 6, 7], [8]]}, 4, 2),
        (Operation.EMBEDDING, {"input": "ä1234"}, 2, 1),
        (Operation.EMBEDDING, {"input": ["1", "2"]}, 2, 2),
    ],
)
def test_four_bytes_of_text_are_a_token(
    operation: Operation, fields: dict[str, object], tokens: int, choices: int
) -> None:
    """The stated tokenizer, for every form in which a prompt may come."""
    ask = parse_ask(operation, encode({"model": "a/b", **fields}))
    assert isinstance(ask, Ask)
    assert (ask.prompt_tokens, ask.choices) == (tokens, choices)


@pytest.mark.parametrize(
    ("operation", "body", "problem"),
    [
        (Operation.CHAT, b"{", "truncated"),
        (Operation.CHAT, b'{"model":"a"}', "messages"),
        (Operation.CHAT, b'{"model":"a","messages":[]}', "messages is empty"),
        (Operation.CHAT, b'{"model":"a","messages":[{}],"max_tokens":0}', "max_tokens is 0"),
        (Operation.CHAT, b'{"model":"a","messages":[{}],"n":0}', "0 choices"),
        (Operation.CHAT, b'{"model":"a","messages":[{}],"n":1000}', "1000 choices"),
        (Operation.COMPLETION, b'{"model":"a","prompt":[]}', "0 choices"),
        (Operation.EMBEDDING, b'{"model":"a","input":[]}', "input is empty"),
    ],
)
def test_a_wrong_body_is_told_what_is_wrong(operation: Operation, body: bytes, problem: str) -> None:
    """A row per refusal."""
    found = parse_ask(operation, body)
    assert isinstance(found, str)
    assert problem in found


@given(st.binary(max_size=60), st.sampled_from(Operation))
def test_no_body_raises(body: bytes, operation: Operation) -> None:
    """Whatever arrives is a request or a refusal."""
    assert isinstance(parse_ask(operation, body), Ask | str)


@given(st.binary(), st.binary())
def test_a_longer_text_has_no_fewer_tokens(text: bytes, more: bytes) -> None:
    """Monotone, and never more tokens than bytes: what bytes bound, they bound truly."""
    assert 1 <= count_tokens(text) <= count_tokens(text + more) <= max(1, len(text + more))
