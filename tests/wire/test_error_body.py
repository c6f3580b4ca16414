"""Our errors are OpenAI's in shape; a host's are read for their words, and nothing of ours is in them."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.domain.errors import Refusal
from entrepot.wire.error_body import (
    MOST_CODE_CHARACTERS,
    MOST_MESSAGE_CHARACTERS,
    error_body,
    host_error,
    sse_error_event,
)
from entrepot.wire.sse import split_events

REFUSAL = Refusal(
    http_status=400,
    type="invalid_request_error",
    code="missing_field",
    message='messages is "missing"',
    param="messages",
)


def test_a_refusal_has_the_shape_of_openais_errors() -> None:
    """Their SDK reads message, type, param and code, and finds nothing missing."""
    assert msgspec.json.decode(error_body(REFUSAL, "req-1")) == {
        "error": {
            "message": 'messages is "missing"',
            "type": "invalid_request_error",
            "param": "messages",
            "code": "missing_field",
            "request_id": "req-1",
        }
    }
    assert "request_id" not in msgspec.json.decode(error_body(REFUSAL, None))["error"]


def test_a_refusal_in_a_stream_is_one_event() -> None:
    """A stream that has begun can only end with an event."""
    events, rest = split_events(sse_error_event(REFUSAL))
    assert (len(events), rest) == (1, b"")
    assert msgspec.json.decode(events[0].removeprefix(b"data: "))["error"]["code"] == "missing_field"


@pytest.mark.parametrize(
    ("body", "message", "code"),
    [
        (b'{"error":{"message":"no credits","type":"billing","code":402}}', "no credits", "402"),
        (b'{"error":{"message":"bad key","type":"auth","code":null}}', "bad key", "auth"),
        (b'{"error":{"code":"rate_limited"}}', "", "rate_limited"),
        (b'{"error":"out of memory"}', "out of memory", None),
        (b'{"object":"error","message":"too long","code":400}', "too long", "400"),
        (b'{"message":"Unauthorized"}', "Unauthorized", None),
        (b'{"detail":"Not Found"}', "Not Found", None),
        (b'{"detail":[{"loc":["body","n"],"msg":"must be positive"}]}', "must be positive", None),
        (b'[{"error":{"code":503,"message":"busy","status":"UNAVAILABLE"}}]', "busy", "503"),
        (b'"just text"', "just text", None),
        (b"upstream connect error\n", "upstream connect error", None),
        (b"<html><h1>502 Bad\nGateway</h1></html>", "502 Bad Gateway", None),
        (b'{"error":{"message":"a\\u0000b\\r\\nSet-Cookie: c\\u202e"}}', "a b Set-Cookie: c", None),
        (b'{"error":{"message":"wrong key sk-proj-abc123 given"}}', "wrong key [secret] given", None),
        (b"Authorization: Bearer abc.def is invalid", "Authorization: [secret] is invalid", None),
        (b'{"error":{"message":{"a":1},"code":true}}', "", None),
        (b'{"error":{"message":"x","code":%s}}' % (b"9" * 30), "x", None),
        (b"null", "", None),
        (b"", "", None),
        (b"\xff\xfe", "\ufffd\ufffd", None),
        (b"[" * 100_000, None, None),
    ],
)
def test_the_words_of_a_hosts_error_are_found(body: bytes, message: str | None, code: str | None) -> None:
    """Each shape that hosts use, cleaned: one printable line, no control characters, no secrets."""
    found = host_error(body)
    assert found.code == code
    if message is not None:
        assert found.message == message


@given(
    st.binary(max_size=400)
    | st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from(["error", "message", "code", "detail", "type", "msg"]), inner)
        ),
        max_leaves=8,
    ).map(msgspec.json.encode)
)
def test_the_words_of_a_hosts_error_are_bounded(body: bytes) -> None:
    """Whatever a host sends, its words fit a log line and a header."""
    message, code = host_error(body)
    assert len(message) <= MOST_MESSAGE_CHARACTERS
    assert message.isprintable()
    assert code is None or (len(code) <= MOST_CODE_CHARACTERS and code.isprintable())


def test_long_words_are_cut() -> None:
    """A stack trace of a host is not our error message."""
    message, _ = host_error(msgspec.json.encode({"error": {"message": "x" * 10_000}}))
    assert len(message) == MOST_MESSAGE_CHARACTERS
    assert message.endswith("…")


TOO_LONG = {
    "OpenAI's code alone": b'{"error":{"message":"","code":"context_length_exceeded"}}',
    "OpenAI, the Responses wording": b"Your input exceeds the context window of this model. Adjust it.",
    "OpenAI, a configured limit": b"Input tokens exceed the configured limit of 272000 tokens.",
    "OpenAI's embeddings": b"Invalid 'input[0]': maximum input length is 8192 tokens.",
    "vLLM": (
        b'{"object":"error","message":"This model\'s maximum context length is 8192 tokens. However, you '
        b'requested 8203 tokens (7691 in the messages, 512 in the completion).","code":400}'
    ),
    "vLLM, no room for the output": (
        b'{"error":{"message":"\'max_tokens\' is too large: 40000. This model\'s maximum context length is '
        b'32768 tokens and your request has 100 input tokens","code":400}}'
    ),
    "SGLang": b"The input (61709 tokens) is longer than the model's context length (40960 tokens).",
    "SGLang, with the output": b"Requested token count exceeds the model's maximum context length of 4096.",
    "llama.cpp": (
        b'{"error":{"code":400,"message":"request (9412 tokens) exceeds the available context size '
        b'(8192 tokens), try increasing it","type":"exceed_context_size_error"}}'
    ),
    "llama.cpp's type alone": b'{"error":{"type":"exceed_context_size_error"}}',
    "TGI": b'{"error":"Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096"}',
    "TGI, the prompt alone": b'{"error":"`inputs` must have less than 1024 tokens."}',
    "Groq": b"Please reduce the length of the messages or completion.",
    "Z.ai's code alone": b'{"error":{"code":"model_context_window_exceeded"}}',
    "LM Studio": b"the number of tokens to keep is greater than the context length",
    "Poolside": b"Input length 300000 exceeds the maximum allowed input length of 262144 tokens.",
    "Ollama": b'{"error":{"message":"the input length exceeds the context length"}}',
    "Anthropic": b"prompt is too long: 250000 tokens > 200000 maximum",
    "Anthropic, with the output": b"input length and `max_tokens` exceed context limit: 190000 + 20000",
    "Google": (
        b'[{"error":{"code":400,"message":"The input token count (1200000) exceeds the maximum number of '
        b'tokens allowed (1048576).","status":"INVALID_ARGUMENT"}}]'
    ),
    "Mistral": b"Prompt contains 40000 tokens, too large for model with 32768 maximum context length",
    "xAI": b"This model's maximum prompt length is 131072 but the request contains 200000 tokens.",
    "Bedrock": b"Input is too long for requested model.",
    "Moonshot": b"Invalid request: Your request exceeded model token limit: 8192",
    "Cohere": b"too many tokens: total number of tokens in the prompt cannot exceed 4081",
    "MiniMax": b"invalid params, context window exceeds limit (2013)",
    "Alibaba": b"Range of input length should be [1, 129024]",
    "ours, behind another gateway": (
        b'{"error":{"message":"300,000 tokens may be needed","code":"context_length_exceeded"}}'
    ),
}
OTHERWISE = {
    "nothing": b"",
    "a value": b'{"error":{"message":"temperature must be below 2","code":"invalid_value"}}',
    "the output of this model": (
        b"max_tokens is too large: 100000. This model supports at most 16384 completion tokens."
    ),
    "the output of any model": b"max_tokens exceeds the output token limit of 4096",
    "an array": b"'input' array is too long: at most 2048 inputs are taken",
    "a name that is too long": b"Invalid 'user': string too long. Expected a string with maximum length 64.",
    "its code": b'{"error":{"message":"Invalid \'stop\'","code":"string_above_max_length"}}',
    "a parameter of that name": b'{"error":{"message":"unknown: context_length_exceeded_behavior"}}',
    "another": b'{"error":{"message":"Extra inputs are not permitted: max_context_length"}}',
    "too many images": b"At most 5 images may be provided in one request; the maximum number is exceeded.",
    "too many bytes": b"<html><h1>413 Request Entity Too Large</h1></html>",
    "a rate of tokens": (
        b'{"error":{"message":"Request too large for model on tokens per minute (TPM): Limit 6000, Requested '
        b'7000","code":"rate_limit_exceeded"}}'
    ),
    "a filter": b'{"error":{"message":"the response was filtered","code":"content_filter"}}',
    "a template": b"Conversation roles must alternate user/assistant; the context is malformed",
    "a tool": b'{"error":{"message":"tools[0].function.description is too long: 1025 characters"}}',
}


@pytest.mark.parametrize("host", TOO_LONG)
def test_a_host_says_in_many_ways_that_a_prompt_is_too_long_for_it(host: str) -> None:
    """By its code or in its sentence, as hosts and servers write them."""
    assert host_error(TOO_LONG[host]).is_too_long


@pytest.mark.parametrize("fault", OTHERWISE)
def test_no_other_fault_is_taken_for_a_prompt_that_is_too_long(fault: str) -> None:
    """A limit of the output, of a field, of bytes or of a rate is none of the window."""
    assert not host_error(OTHERWISE[fault]).is_too_long


def test_an_error_reads_well_in_a_log() -> None:
    """The sentence, and the code where there is one."""
    assert str(host_error(b'{"error":{"message":"busy","code":503}}')) == "busy (503)"
    assert str(host_error(b'{"error":"busy"}')) == "busy"
