"""Whole JSON replies: their id, tokens and end are read, and what is no answer is told apart."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.domain.endpoint import Operation
from entrepot.domain.usage import Usage
from entrepot.wire.plain_answer import PlainAnswer, any_answer, ordinary_answer, plain_answer
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
    )
    assert answer.cut_by_length


@pytest.mark.parametrize(
    ("operation", "body", "finish_reason"),
    [
        (Operation.CHAT, reply({"message": {"content": "Hi"}, "finish_reason": "stop"}), "stop"),
        (Operation.CHAT, reply({"message": {"content": None, "tool_calls": [{}]}}), None),
        (Operation.CHAT, reply({"message": {"content": "", "reasoning": "Hm"}}), None),
        (Operation.CHAT, reply({"message": {"content": ""}, "finish_reason": "stop"}), "stop"),
        (Operation.CHAT, reply(), None),
        (Operation.CHAT, reply({"finish_reason": "stop"}, {"finish_reason": "length"}), "length"),
        (Operation.COMPLETION, reply({"text": "Hi", "finish_reason": "length"}), "length"),
        (Operation.COMPLETION, reply({"text": ""}), None),
        (Operation.EMBEDDING, b'{"data":[{"embedding":[0.1]}],"model":"m"}', None),
        (Operation.EMBEDDING, b'{"data":[]}', None),
    ],
)
def test_an_answer_tells_how_it_ended(operation: Operation, body: bytes, finish_reason: str | None) -> None:
    """Of several choices one that was cut makes the answer cut."""
    answer = plain_answer(body, operation)
    assert answer is not None
    assert answer.finish_reason == finish_reason
    assert answer.cut_by_length == (finish_reason == "length")


@pytest.mark.parametrize(
    ("operation", "body", "text_bytes"),
    [
        (Operation.CHAT, reply({"message": {"content": "Grüße"}}), 7),
        (Operation.CHAT, reply({"message": {"content": "Hi"}}, {"message": {"content": "Hello"}}), 7),
        (Operation.CHAT, reply({"message": {"content": "Hi", "reasoning_content": "Hmm"}}), 3),
        (
            Operation.CHAT,
            reply({"message": {"tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}}),
            3,
        ),
        (Operation.CHAT, reply({"message": {"content": ""}, "finish_reason": "stop"}), None),
        (Operation.CHAT, reply(), None),
        (Operation.COMPLETION, reply({"text": "Hi"}), 2),
        (Operation.EMBEDDING, b'{"data":[{"embedding":[0.1]}],"model":"m"}', 0),
    ],
)
def test_without_usage_the_bytes_of_the_text_are_told(
    operation: Operation, body: bytes, text_bytes: int | None
) -> None:
    """From which tokens are estimated; of two fields that may hold one text the longer counts."""
    answer = plain_answer(body, operation)
    assert answer is not None
    assert (answer.usage, answer.text_bytes) == (None, text_bytes)


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


COUNTS = st.integers(min_value=-2, max_value=50)
DETAILS = st.none() | st.dictionaries(
    st.sampled_from(["cached_tokens", "cache_write_tokens"]), st.none() | COUNTS
)
USAGES = st.fixed_dictionaries(
    {"prompt_tokens": COUNTS, "completion_tokens": COUNTS},
    optional={
        "total_tokens": COUNTS,
        "prompt_tokens_details": DETAILS,
        "completion_tokens_details": st.none() | st.fixed_dictionaries({"reasoning_tokens": COUNTS}),
        "cached_tokens": COUNTS,
        "prompt_cache_hit_tokens": COUNTS,
    },
)


@given(USAGES, st.booleans(), st.sampled_from(["stop", "length", "error", None]))
def test_the_quick_reading_of_an_ordinary_reply_equals_the_thorough_one(
    usage: dict[str, object], agrees: bool, finish_reason: str | None
) -> None:
    """Where it answers at all: anything out of the ordinary is left to the other."""
    if agrees:
        usage = {**usage, "total_tokens": usage["prompt_tokens"] + usage["completion_tokens"]}  # type: ignore[operator]
    body = reply({"message": {"content": "Hi"}, "finish_reason": finish_reason}, usage=usage)
    quick = ordinary_answer(body)
    assert quick is None or quick == any_answer(body, Operation.CHAT)


def test_an_ordinary_reply_is_read_quickly() -> None:
    """Else the property above would hold of nothing."""
    usage = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
    assert ordinary_answer(reply({"message": {}, "finish_reason": "stop"}, usage=usage)) is not None
