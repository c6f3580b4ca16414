"""Before the first content an attempt that fails is followed by the next endpoint, unseen by the client."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from entrepot.catalog.settings import EndpointSettings
from entrepot.routing.decision import unpack
from entrepot.testing.scripted_host import (
    STREAM_END,
    STREAM_HEAD,
    Act,
    chunk,
    completion,
    delta,
    plain,
    sse,
    stream,
    usage_chunk,
)
from tests.gateway.scene import chat, scene

GOOD = (delta("from b"), delta(finish_reason="stop"), usage_chunk(3, 2))
ROLE = chunk(sse(delta(role="assistant", content="")))
ERROR = {"error": {"message": "out of memory", "code": "oom"}}
SSE_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
COMMENT = chunk(b": keep-alive\n\n")
GZIPPED = gzip.compress(sse(delta("a"), delta(finish_reason="stop"), "[DONE]"))
UNKNOWN = "expire FAILED NO_REPORT"
VOID = "void FAILED HOST_STATUS"


def status(code: int, headers: str = "") -> bytes:
    """Return a reply with an error status and words."""
    return plain({"error": {"message": "host's words"}}, status=code, headers=headers)


ANY_CALL: dict[str, tuple[Sequence[Act], str]] = {
    "500": ((status(500),), VOID),
    "503": ((status(503),), VOID),
    "408": ((status(408),), VOID),
    "429": ((status(429, "retry-after: 7\r\n"),), "void RATE_LIMITED HOST_STATUS"),
    "401, our key is wrong": ((status(401),), VOID),
    "402, we have not paid": ((status(402),), VOID),
    "403, we may not": ((status(403),), VOID),
    "404, our name of the model is wrong": ((status(404),), VOID),
    "500 without a body": ((b"HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n",), VOID),
    "500 that breaks off": ((b"HTTP/1.1 500 X\r\ncontent-length: 9\r\n\r\noh", "close"), VOID),
    "500 in chunks": (
        (b"HTTP/1.1 500 X\r\ntransfer-encoding: chunked\r\n\r\n", chunk(b"x"), STREAM_END),
        VOID,
    ),
    "500 in gzip": ((b"HTTP/1.1 500 X\r\ncontent-encoding: gzip\r\ncontent-length: 1\r\n\r\nx",), VOID),
    "closed without a word": (("close",), UNKNOWN),
    "reset without a word": (("abort",), UNKNOWN),
    "half a head": ((b"HTTP/1.1 200 OK\r\ncontent-ty", "close"), UNKNOWN),
    "garbage instead of HTTP": ((b"SSH-2.0-OpenSSH_9.6\r\n",), UNKNOWN),
    "an interim reply, then nothing": ((b"HTTP/1.1 100 Continue\r\n\r\n", "close"), UNKNOWN),
    "another protocol": (
        (b"HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n\0\0\0", "close"),
        UNKNOWN,
    ),
    "an HTML page": (
        (b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 14\r\n\r\n<html>\n\n</html>",),
        UNKNOWN,
    ),
    "no content": ((b"HTTP/1.1 204 No Content\r\n\r\n",), VOID),
    "an error in JSON with status 200": ((plain(ERROR),), UNKNOWN),
}
STREAMS: dict[str, tuple[Sequence[Act], str]] = {
    "error event": ((STREAM_HEAD + chunk(sse(ERROR)) + STREAM_END,), UNKNOWN),
    "error event after a role": ((STREAM_HEAD + ROLE, chunk(sse(ERROR))), UNKNOWN),
    "event named error": ((STREAM_HEAD, chunk(b'event: error\ndata: {"message":"x"}\n\n')), UNKNOWN),
    "role, then close": ((STREAM_HEAD + ROLE, "close"), UNKNOWN),
    "role, then reset": ((STREAM_HEAD + ROLE, "abort"), UNKNOWN),
    "role, then a regular end": ((STREAM_HEAD + ROLE + STREAM_END,), UNKNOWN),
    "comments, then close": ((STREAM_HEAD + COMMENT + COMMENT, "close"), UNKNOWN),
    "nothing at all": ((STREAM_HEAD + STREAM_END,), UNKNOWN),
    "half an event, then close": (
        (STREAM_HEAD + chunk(b'data: {"choices":[{"delta":{"con'), "close"),
        UNKNOWN,
    ),
    "a broken chunk": ((STREAM_HEAD + ROLE, b"zz\r\n"), UNKNOWN),
    "gzip": (
        (SSE_HEAD + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n%b" % (len(GZIPPED), GZIPPED),),
        UNKNOWN,
    ),
    "plain text called brotli": (
        (
            SSE_HEAD
            + b"content-encoding: br\r\ntransfer-encoding: chunked\r\n\r\n"
            + chunk(sse(*GOOD))
            + STREAM_END,
        ),
        UNKNOWN,
    ),
    "JSON instead of a stream": ((plain(completion("from a")),), UNKNOWN),
}
PLAIN: dict[str, tuple[Sequence[Act], str]] = {
    "reply that breaks off": ((b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{", "close"), UNKNOWN),
    "chunks that break off": ((STREAM_HEAD + chunk(b'{"choices":['), "abort"), UNKNOWN),
    "not JSON": ((b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{'a': 1.}",), UNKNOWN),
    "JSON without choices": ((plain({"id": "x", "usage": None}),), UNKNOWN),
    "an array": ((plain([completion("a")]),), UNKNOWN),
    "an empty reply": ((b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",), UNKNOWN),
    "a stream instead of JSON": ((stream(*GOOD),), UNKNOWN),
    "gzip": (
        (
            b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n%b"
            % (len(GZIPPED), GZIPPED),
        ),
        UNKNOWN,
    ),
}


@pytest.mark.parametrize("failure", [*ANY_CALL, *STREAMS])
async def test_a_stream_that_fails_before_its_content_goes_to_the_next(tmp_path: Path, failure: str) -> None:
    """The client sees the good answer only; both attempts have reserve and closing entry."""
    acts, closing = {**ANY_CALL, **STREAMS}[failure]
    async with scene(tmp_path) as s:
        s.a.script(*acts)
        s.b.script(stream(*GOOD))
        answer = await s.here.post(chat(stream=True))
        assert (answer.status, answer.body) == (200, sse(*GOOD[:2], "[DONE]"))
        assert answer.headers["x-entrepot-endpoint"] == "test/model@b"
        assert await s.ended() == [f"a {closing}", "b settle OK"]
        assert len(s.a.received) == 1


@pytest.mark.parametrize("failure", [*ANY_CALL, *PLAIN])
async def test_a_plain_call_that_fails_goes_to_the_next(tmp_path: Path, failure: str) -> None:
    """A whole reply has its content at its end, so any failure before that can go to another endpoint."""
    acts, closing = {**ANY_CALL, **PLAIN}[failure]
    async with scene(tmp_path) as s:
        s.a.script(*acts)
        s.b.script(plain(completion("from b")))
        answer = await s.here.post(chat())
        assert (answer.status, answer.json) == (200, completion("from b"))
        assert await s.ended() == [f"a {closing}", "b settle OK"]


async def test_a_redirect_is_a_failure_and_is_not_followed(tmp_path: Path) -> None:
    """A Location would lead the prompt and our key wherever it says."""
    async with scene(tmp_path, hosts=3) as s:
        s.a.script(status(302, f"location: {s.hosts[2].base_url}/chat/completions\r\n"))
        s.b.script(plain(completion("from b")))
        assert (await s.here.post(chat())).json == completion("from b")
        assert await s.ended() == [f"a {VOID}", "b settle OK"]
        assert s.hosts[2].connections == 0


async def test_a_refused_connection_costs_nothing_and_goes_to_the_next(tmp_path: Path) -> None:
    """A host that was never reached cannot have billed."""
    with socket.socket() as unbound:
        unbound.bind(("127.0.0.1", 0))
        port = unbound.getsockname()[1]

        def change(endpoint: EndpointSettings) -> EndpointSettings:
            if endpoint.host.name == "b":
                return endpoint
            closed = f"http://127.0.0.1:{port}/v1"
            return msgspec.structs.replace(
                endpoint, host=msgspec.structs.replace(endpoint.host, base_url=closed)
            )

        async with scene(tmp_path, change=change) as s:
            s.b.script(plain(completion("from b")))
            assert (await s.here.post(chat())).json == completion("from b")
            assert await s.ended() == ["a void FAILED NO_CONNECTION", "b settle OK"]


@pytest.mark.parametrize("streamed", [True, False])
async def test_silence_before_the_first_content_ends_at_the_first_byte_timeout(
    tmp_path: Path, *, streamed: bool
) -> None:
    """Keep-alive comments are no content: they do not put the timeout off."""
    async with scene(tmp_path, first_byte_timeout_s=0.2) as s:
        s.a.script(*((STREAM_HEAD, COMMENT) if streamed else ()), "wait for close")
        s.b.script(stream(*GOOD) if streamed else plain(completion("from b")))
        assert (await s.here.post(chat(stream=streamed))).status == 200
        assert await s.ended() == ["a expire TIMED_OUT NO_REPORT", "b settle OK"]
        assert s.a.closed_by_client == 1


async def test_why_is_stored_with_the_first_attempt(tmp_path: Path) -> None:
    """The reserve entry of the first attempt holds the decision that all of them follow."""
    async with scene(tmp_path, hosts=3) as s:
        s.a.script(status(500))
        s.b.script("close")
        s.hosts[2].script(plain(completion("from c")))
        answer = await s.here.post(chat())
        assert answer.headers["x-entrepot-reason"].startswith("attempt 3, after others failed; a: ")
        reserves = s.reserves()
        assert [reserve.attempt for reserve in reserves] == [1, 2, 3]
        assert len({reserve.request_id for reserve in reserves}) == 1
        decision = unpack(reserves[0].decision)
        assert [c.endpoint_index for c in decision.candidates] == [r.endpoint_id for r in reserves]
        assert [bool(reserve.decision) for reserve in reserves] == [True, False, False]


async def test_each_attempt_has_an_id_of_its_own_at_the_host(tmp_path: Path) -> None:
    """A host's log can be joined with the ledger, attempt by attempt."""
    async with scene(tmp_path) as s:
        s.a.script(status(500))
        s.b.script(plain(completion("from b")))
        request_id = (await s.here.post(chat())).headers["x-request-id"]
        assert s.a.received[0].headers["x-request-id"] == f"{request_id}-1"
        assert s.b.received[0].headers["x-request-id"] == f"{request_id}-2"


async def test_the_expected_cost_is_that_of_the_endpoint_that_answered(tmp_path: Path) -> None:
    """Host b costs twice as much as a, and the header says so after a failed."""
    async with scene(tmp_path) as s:
        s.a.script(status(500))
        s.b.script(plain(completion("from b")))
        answer = await s.here.post(chat())
        decision = unpack(s.reserves()[0].decision)
        assert float(answer.headers["x-entrepot-expected-cost-usd"]) == pytest.approx(
            decision.candidates[1].dollars, abs=1e-9
        )


async def test_no_fallback_where_the_client_wants_none(tmp_path: Path) -> None:
    """`allow_fallbacks: false` is a promise: one endpoint sees the prompt."""
    async with scene(tmp_path) as s:
        s.a.script(status(500))
        answer = await s.here.post(chat(provider={"allow_fallbacks": False}))
        assert answer.status == 502
        assert s.b.received == []


async def test_an_endpoint_that_fails_is_tried_later_the_next_time(tmp_path: Path) -> None:
    """Failures of attempts are observations, so that the next request goes elsewhere first."""
    async with scene(tmp_path) as s:
        for _ in range(5):
            s.a.script("close")
            s.b.script(plain(completion("from b")))
        for _ in range(5):
            assert (await s.here.post(chat())).status == 200
        assert len(s.a.received) < 5
        assert json.loads(s.b.received[-1].body)["model"] == "there"
