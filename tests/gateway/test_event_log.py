"""The event log is JSON lines for machines, and holds neither keys nor what users wrote."""

from __future__ import annotations

import io
import json
from pathlib import Path

import msgspec
import pytest

from entrepot.catalog.settings import EndpointSettings, Secret
from entrepot.gateway.log import EventLog, Level
from entrepot.testing.scripted_host import (
    STREAM_HEAD,
    chunk,
    completion,
    delta,
    plain,
    sse,
)
from tests.gateway.scene import Scene, chat, scene

PROMPT = "the patient is called Alice"
HOST_KEY = "sk-host-secret-0123456789"


def with_secret(endpoint: EndpointSettings) -> EndpointSettings:
    """Return the endpoint with a key at its host."""
    secret = Secret(HOST_KEY, "a test")
    return msgspec.structs.replace(
        endpoint, host=msgspec.structs.replace(endpoint.host, auth="bearer", secret=secret)
    )


def events(s: Scene) -> list[dict[str, object]]:
    """Return the events of the log; each line has to be an object with a time, a level and a name."""
    found = [json.loads(line) for line in s.here.log.getvalue().splitlines()]
    assert all({"at", "level", "event"} <= set(event) for event in found)
    return found


async def test_a_call_that_goes_well_writes_nothing(tmp_path: Path) -> None:
    """The ledger has every request; a line for each would be the most expensive part of it."""
    async with scene(tmp_path) as s:
        s.a.script(plain(completion("Hi")))
        await s.here.post(chat(PROMPT))
        await s.here.post(b"{")
        await s.here.get("/v1/models")
        assert events(s) == []


async def test_a_failed_attempt_is_a_line_that_names_request_endpoint_and_cause(tmp_path: Path) -> None:
    """Enough to look it up with `entrepot why`."""
    async with scene(tmp_path) as s:
        s.a.script(plain({"error": {"message": "no such deployment"}}, status=404))
        s.b.script(plain(completion("Hi")))
        request_id = (await s.here.post(chat())).headers["x-request-id"]
        (event,) = events(s)
        assert event["level"] == "warning"
        assert event["event"] == "attempt_failed"
        assert event["request_id"] == request_id.removeprefix("req-")
        assert (event["attempt"], event["endpoint"], event["status"]) == (1, "test/model@a", 404)
        assert "no such deployment" in str(event)


async def test_a_request_that_a_host_rejects_is_no_event(tmp_path: Path) -> None:
    """It is the client's to mend, and the words quote what it sent."""
    async with scene(tmp_path) as s:
        s.a.script(plain({"error": {"message": f"cannot parse {PROMPT!r}"}}, status=400))
        answer = await s.here.post(chat(PROMPT))
        assert PROMPT in answer.body.decode()
        assert events(s) == []


@pytest.mark.parametrize(
    "acts",
    [
        (plain({"error": {"message": f"cannot process {PROMPT!r}"}}, status=500),),
        (plain({"error": {"message": PROMPT, "code": PROMPT}}, status=503),),
        (plain({"error": {"message": PROMPT}}),),
        (b"HTTP/1.1 500 X\r\ncontent-length: 27\r\n\r\n" + PROMPT.encode(),),
        (f"HTTP/1.1 500 {PROMPT}\r\ncontent-length: 0\r\n\r\n".encode(),),
        (f"{PROMPT}\r\n\r\n".encode(),),
        (f"HTTP/1.1 200 OK\r\ncontent-encoding: {PROMPT}\r\n\r\n".encode(), "close"),
        (STREAM_HEAD + chunk(sse({"error": {"message": PROMPT}})), "close"),
        (STREAM_HEAD + chunk(sse(delta(PROMPT), {"error": {"message": PROMPT}})), "close"),
        (STREAM_HEAD + chunk(sse(delta(PROMPT))), "abort"),
    ],
)
@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("folded", [True, False])
async def test_the_log_has_neither_keys_nor_a_users_words(
    tmp_path: Path, acts: tuple[bytes, ...], *, streamed: bool, folded: bool
) -> None:
    """Whatever a host quotes of the request in its error: our log is not the place for it."""
    async with scene(tmp_path, change=with_secret, cancels_plain_calls=not folded) as s:
        s.a.script(*acts)
        s.b.script(plain({"error": {"message": f"{PROMPT} {HOST_KEY}"}}, status=500))
        await s.here.post(chat(PROMPT, stream=streamed))
        assert len(events(s)) >= 1
        log = s.here.log.getvalue()
        for words in ("Alice", s.here.key, HOST_KEY):
            assert words not in log


@pytest.mark.parametrize("status", [401, 402, 403, 404, 429])
async def test_what_a_host_says_of_our_account_is_logged_without_our_key(tmp_path: Path, status: int) -> None:
    """The operator has to mend it; hosts quote the key that they were given."""
    words = f"Incorrect API key provided: {HOST_KEY}. Bearer {HOST_KEY} has no access to this model"
    async with scene(tmp_path, change=with_secret) as s:
        for host in s.hosts:
            host.script(plain({"error": {"message": words}}, status=status))
        await s.here.post(chat(PROMPT))
        assert len(events(s)) == 2
        assert "no access to this model" in s.here.log.getvalue()
        assert HOST_KEY not in s.here.log.getvalue()


def test_events_below_the_level_are_not_written() -> None:
    """And values with line breaks stay on one line."""
    stream = io.StringIO()
    log = EventLog(Level.WARNING, stream)
    log.info("quiet")
    log.warning("loud", text="a\nb\u2028c", number=1.5, nothing=None)
    (line,) = stream.getvalue().splitlines()[:1]
    assert stream.getvalue().count("\n") == 1
    assert json.loads(stream.getvalue())["text"] == "a\nb\u2028c"
    assert "loud" in line
