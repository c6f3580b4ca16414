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


def test_an_error_reads_well_in_a_log() -> None:
    """The sentence, and the code where there is one."""
    assert str(host_error(b'{"error":{"message":"busy","code":503}}')) == "busy (503)"
    assert str(host_error(b'{"error":"busy"}')) == "busy"
