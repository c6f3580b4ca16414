"""Whole JSON replies: their id, tokens and end are read, and what is no answer is told apart."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.domain.endpoint import Operation
from entrepot.domain.usage import Usage
from entrepot.wire.answer import PlainAnswer, plain_answer
from tests.wire.streams import RECORDINGS


def reply(*choices: object, **fields: object) -> bytes:
    """Return a reply with these choices."""
    return msgspec.json.encode({"id": "x", "model": "m", "choices": list(choices), **fields})


def test_the_recorded_reply_of_llama_cpp_is_read() -> None:
    """As its server wrote it."""
    answer = plain_answer((RECORDINGS / "llama_cpp_chat.json").read_bytes(), Operation.CHAT)
    assert answer == PlainAnswer(
        id="chatcmpl-q05XnE59sQd4Rx859qixApqAuFswRLWx",
        model="huggingface/smollm2-135m-instruct",
        usage=Usage(uncached_tokens=7, cached_tokens=24, output_tokens=3),
        finish_reason="length",
        has_content=True,
    )
    assert answer.cut_by_length


@pytest.mark.parametrize(
    ("operation", "body", "has_content", "finish_reason"),
    [
        (Operation.CHAT, reply({"message": {"content": "Hi"}, "finish_reason": "stop"}), True, "stop"),
        (Operation.CHAT, reply({"message": {"content": None, "tool_calls": [{}]}}), True, None),
        (Operation.CHAT, reply({"message": {"content": "", "reasoning": "Hm"}}), True, None),
        (Operation.CHAT, reply({"message": {"content": ""}, "finish_reason": "stop"}), False, "stop"),
        (Operation.CHAT, reply(), False, None),
        (Operation.CHAT, reply({"finish_reason": "stop"}, {"finish_reason": "length"}), False, "length"),
        (Operation.COMPLETION, reply({"text": "Hi", "finish_reason": "length"}), True, "length"),
        (Operation.COMPLETION, reply({"text": ""}), False, None),
        (Operation.EMBEDDING, b'{"data":[{"embedding":[0.1]}],"model":"m"}', True, None),
        (Operation.EMBEDDING, b'{"data":[]}', False, None),
    ],
)
def test_an_answer_is_told_from_an_empty_one(
    operation: Operation, body: bytes, has_content: bool, finish_reason: str | None
) -> None:
    """Of several choices one that was cut makes the answer cut."""
    answer = plain_answer(body, operation)
    assert answer is not None
    assert (answer.has_content, answer.finish_reason) == (has_content, finish_reason)
    assert answer.cut_by_length == (finish_reason == "length")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"choices":5}',
        b'{"id":"x"}',
        b'{"error":{"message":"busy"}}',
        b'{"object":"error","message":"bad"}',
        reply({"message": {"content": ""}, "finish_reason": "error"}),
    ],
)
def test_what_is_no_answer_is_none(body: bytes) -> None:
    """An error with status 200, or anything else that nobody should be billed for."""
    assert plain_answer(body, Operation.CHAT) is None
    assert plain_answer(body, Operation.EMBEDDING) is None


@given(st.binary(max_size=80), st.sampled_from(Operation))
def test_no_bytes_of_a_host_make_the_reader_fail(body: bytes, operation: Operation) -> None:
    """Whatever a host replies, it is an answer or none."""
    assert plain_answer(body, operation) is None or body
