"""What a client is told when no host answered: whose fault it is, in words that help."""

from __future__ import annotations

from pathlib import Path

import pytest

from entrepot.testing.scripted_host import STREAM_HEAD, chunk, delta, plain, sse
from tests.gateway.scene import chat, scene


def status(code: int, message: str = "host's words", headers: str = "") -> bytes:
    """Return a reply with an error status and words."""
    return plain(
        {"error": {"message": message, "type": "host_type", "code": "host_code"}},
        status=code,
        headers=headers,
    )


def error_in(body: dict[str, object]) -> dict[str, object]:
    """Return the error object of a reply in OpenAI's shape."""
    assert list(body) == ["error"]
    error = body["error"]
    assert isinstance(error, dict)
    assert {"message", "type", "param", "code"} <= set(error)
    return error


@pytest.mark.parametrize("streamed", [True, False])
async def test_when_all_hosts_fail_the_client_gets_a_502_that_helps(
    tmp_path: Path, *, streamed: bool
) -> None:
    """How many attempts, who came last, its words, and the command that tells all."""
    async with scene(tmp_path) as s:
        s.a.script(status(500, "first words"))
        s.b.script(status(503, "overloaded for today"))
        answer = await s.here.post(chat(stream=streamed))
        assert answer.status == 502
        assert answer.headers["content-type"] == "application/json"
        error = error_in(answer.json)
        assert (error["type"], error["code"]) == ("api_error", "no_host_answered")
        for word in ("2 attempts", "test/model@b", "503", "overloaded for today", "entrepot why"):
            assert word in str(error["message"])
        assert answer.headers["x-request-id"].removeprefix("req-") in str(error["message"])
        assert await s.ended() == ["a void FAILED HOST_STATUS", "b void FAILED HOST_STATUS"]


async def test_when_nobody_can_be_reached_the_words_are_ours(tmp_path: Path) -> None:
    """Without a reply there are no words of a host: ours say what happened to the connection."""
    async with scene(tmp_path) as s:
        s.a.script("close")
        s.b.script("abort")
        answer = await s.here.post(chat())
        assert answer.status == 502
        assert "connection" in str(error_in(answer.json)["message"])


async def test_when_all_hosts_are_rate_limited_the_client_may_try_again(tmp_path: Path) -> None:
    """A 429 with Retry-After, so that SDKs wait instead of giving up."""
    async with scene(tmp_path) as s:
        s.a.script(status(429))
        s.b.script(status(429))
        answer = await s.here.post(chat())
        assert answer.status == 429
        assert error_in(answer.json)["code"] == "hosts_rate_limited"
        assert int(answer.headers["retry-after"]) >= 1
        assert await s.ended() == ["a void RATE_LIMITED HOST_STATUS", "b void RATE_LIMITED HOST_STATUS"]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("retry-after: 40\r\n", "retry-after: 12\r\n", 12),
        ("", "retry-after: 3\r\n", 3),
        ("retry-after: x\r\n", "", 5),
    ],
)
async def test_the_wait_is_that_of_the_host_that_is_free_first(
    tmp_path: Path, first: str, second: str, expected: int
) -> None:
    """The hosts know better than we how long; where none says, or says nothing that we read, 5 s."""
    async with scene(tmp_path) as s:
        s.a.script(status(429, headers=first))
        s.b.script(status(429, headers=second))
        assert (await s.here.post(chat())).headers["retry-after"] == str(expected)


async def test_a_rate_limit_and_a_failure_are_a_502(tmp_path: Path) -> None:
    """Waiting alone would not help."""
    async with scene(tmp_path) as s:
        s.a.script(status(429))
        s.b.script(status(500))
        assert (await s.here.post(chat())).status == 502


@pytest.mark.parametrize("code", [400, 413, 422])
@pytest.mark.parametrize("streamed", [True, False])
async def test_a_host_that_rejects_the_request_is_quoted_and_no_other_is_asked(
    tmp_path: Path, code: int, *, streamed: bool
) -> None:
    """The request itself is at fault: another host would only be bothered, and the client needs the words."""
    async with scene(tmp_path) as s:
        s.a.script(status(code, "temperature must be below 2"))
        answer = await s.here.post(chat(stream=streamed))
        assert answer.status == 400
        error = error_in(answer.json)
        assert (error["type"], error["code"]) == ("invalid_request_error", "host_rejected_request")
        assert "temperature must be below 2" in str(error["message"])
        assert s.b.received == []
        assert await s.ended() == ["a void REFUSED HOST_STATUS"]


@pytest.mark.parametrize("code", [401, 402, 403, 404])
async def test_a_hosts_401_is_never_shown_as_the_clients_own(tmp_path: Path, code: int) -> None:
    """Our key, our account, our name of the model: the operator reads it in the log, the client does not."""
    words = "Incorrect API key provided: sk-proj-0123. Organization org-secret has a balance of -$3"
    async with scene(tmp_path) as s:
        s.a.script(status(code, words))
        s.b.script(status(code, words))
        answer = await s.here.post(chat())
        assert answer.status == 502
        message = str(error_in(answer.json)["message"])
        assert str(code) in message
        for part in ("API key", "sk-proj", "org-secret", "balance"):
            assert part not in message
        assert "org-secret" in s.here.log.getvalue()
        assert "sk-proj-0123" not in s.here.log.getvalue()


async def test_a_hosts_words_are_bounded_and_on_one_line(tmp_path: Path) -> None:
    """A page of HTML or a stack trace is cut, and cannot break the JSON or the log."""
    async with scene(tmp_path, hosts=1) as s:
        page = b"<html>\r\n" + b"<p>sorry</p>\x00\n" * 5000
        s.a.script(b"HTTP/1.1 500 X\r\ncontent-length: %d\r\n\r\n%b" % (len(page), page))
        message = str(error_in((await s.here.post(chat())).json)["message"])
        assert "sorry" in message
        assert len(message) < 700
        assert message.isprintable()


async def test_an_endless_error_body_takes_bounded_memory(tmp_path: Path) -> None:
    """Only its beginning is read; the host is left when it does not end."""
    async with scene(tmp_path, hosts=1, first_byte_timeout_s=0.2) as s:
        s.a.script(
            b"HTTP/1.1 500 X\r\ntransfer-encoding: chunked\r\n\r\n",
            *[chunk(b"x" * 1_000_000)] * 8,
            "wait for close",
        )
        answer = await s.here.post(chat())
        assert answer.status == 502
        assert len(answer.body) < 2000
        assert await s.ended() == ["a void TIMED_OUT HOST_STATUS"]


async def test_an_error_in_the_stream_of_the_last_host_is_told_as_json(tmp_path: Path) -> None:
    """Nothing was sent yet, so the client gets a status and no stream."""
    async with scene(tmp_path, hosts=1) as s:
        s.a.script(STREAM_HEAD + chunk(sse(delta(role="assistant"), {"error": {"message": "out of memory"}})))
        answer = await s.here.post(chat(stream=True))
        assert answer.status == 502
        assert "out of memory" in str(error_in(answer.json)["message"])


async def test_a_connection_serves_on_after_a_failure(tmp_path: Path) -> None:
    """A 502 is a reply like any other: the client's connection stays usable."""
    async with scene(tmp_path, hosts=1) as s:
        s.a.script(status(500))
        s.a.script(status(500))
        reader, writer = await s.here.open()
        for _ in range(2):
            writer.write(s.here.request(chat()))
            assert (await reader.readuntil(b"\r\n")) == b"HTTP/1.1 502 Bad Gateway\r\n"
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length"))
            await reader.readexactly(int(length.split()[1]))
        writer.close()
