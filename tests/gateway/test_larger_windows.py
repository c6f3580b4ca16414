"""A prompt that a host finds too long for its window goes on to a larger one, and to nothing else.

The router sees bytes and the host tokens: that one window was too small says nothing of a larger one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

import msgspec
import pytest

from entrepot.catalog.settings import EndpointSettings
from entrepot.testing.scripted_host import completion, delta, plain, sse, stream, usage_chunk
from tests.gateway.scene import chat, scene

MAXIMUM = "This model's maximum context length is 100000 tokens. However, you requested 120000 tokens."
TOO_LONG = plain({"error": {"message": MAXIMUM, "code": 400}}, status=400)
GOOD = (delta("from b"), delta(finish_reason="stop"), usage_chunk(3, 2))
ANSWER = plain(completion("Hi"))
REFUSED = "void REFUSED HOST_STATUS"


def windows(*thousands: int) -> Callable[[EndpointSettings], EndpointSettings]:
    """Return a change that gives the hosts a, b, … these windows."""

    def change(at: EndpointSettings) -> EndpointSettings:
        tokens = thousands["abc".index(at.host.name)] * 1000
        return msgspec.structs.replace(
            at, endpoint=msgspec.structs.replace(at.endpoint, context_tokens=tokens)
        )

    return change


def error_of(answer: dict[str, object]) -> dict[str, object]:
    """Return the error of a reply."""
    error = answer["error"]
    assert isinstance(error, dict)
    return error


def in_turn(thousands: Sequence[int]) -> list[int]:
    """Return which windows are tried when all refuse: each one that is larger than all before it."""
    return [place for place, window in enumerate(thousands) if all(window > w for w in thousands[:place])]


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_prompt_too_long_for_one_window_is_answered_by_a_larger(
    tmp_path: Path, *, streamed: bool
) -> None:
    """The client sees the good answer only; the refusal is on record and costs nothing."""
    async with scene(tmp_path, change=windows(100, 200)) as s:
        s.a.script(TOO_LONG)
        s.b.script(stream(*GOOD) if streamed else ANSWER)
        answer = await s.here.post(chat(stream=streamed))
        assert answer.status == 200
        assert not streamed or answer.body == sse(*GOOD[:2], "[DONE]")
        assert answer.headers["x-entrepot-endpoint"] == "test/model@b"
        assert await s.ended() == [f"a {REFUSED}", "b settle OK"]


@pytest.mark.parametrize("code", [400, 413, 422])
async def test_any_status_that_finds_fault_with_the_request_may_say_so(tmp_path: Path, code: int) -> None:
    """TGI says it with a 422; who says it by the code alone is understood as well."""
    async with scene(tmp_path, change=windows(100, 200)) as s:
        s.a.script(plain({"error": {"message": "no", "code": "context_length_exceeded"}}, status=code))
        s.b.script(ANSWER)
        assert (await s.here.post(chat())).status == 200
        assert await s.ended() == [f"a {REFUSED}", "b settle OK"]


@pytest.mark.parametrize("thousands", list(product((100, 200, 300), repeat=3)))
async def test_only_ever_larger_windows_are_tried(tmp_path: Path, thousands: tuple[int, int, int]) -> None:
    """When all refuse, each is tried that is larger than all before, and the last one's 400 is passed on."""
    async with scene(tmp_path, hosts=3, change=windows(*thousands)) as s:
        for host in s.hosts:
            host.script(TOO_LONG)
        answer = await s.here.post(chat())
        error = error_of(answer.json)
        assert (answer.status, error["code"]) == (400, "host_rejected_request")
        assert MAXIMUM in str(error["message"])
        assert await s.ended() == [f"{'abc'[place]} {REFUSED}" for place in in_turn(thousands)]


@pytest.mark.parametrize(
    ("provider", "tried"),
    [
        ({"allow_fallbacks": False}, "a"),
        ({"ignore": ["b"]}, "ac"),
        ({"only": ["a", "b"]}, "ab"),
        ({"order": ["b"], "allow_fallbacks": False}, "b"),
    ],
)
async def test_nobody_is_tried_whom_the_decision_leaves_out(
    tmp_path: Path, provider: dict[str, object], tried: str
) -> None:
    """A larger window is no reason to send a prompt where its sender does not want it."""
    async with scene(tmp_path, hosts=3, change=windows(100, 200, 300)) as s:
        for host in s.hosts:
            host.script(TOO_LONG)
        assert (await s.here.post(chat(provider=provider))).status == 400
        assert await s.ended() == [f"{name} {REFUSED}" for name in tried]


async def test_what_one_window_could_not_hold_is_remembered_over_a_failure(tmp_path: Path) -> None:
    """The second, larger one is down: the third has the window that was too small already."""
    async with scene(tmp_path, hosts=3, change=windows(100, 200, 100)) as s:
        s.a.script(TOO_LONG)
        s.b.script(plain({"error": "down"}, status=500))
        answer = await s.here.post(chat())
        assert (answer.status, error_of(answer.json)["code"]) == (502, "no_host_answered")
        assert await s.ended() == [f"a {REFUSED}", "b void FAILED HOST_STATUS"]


async def test_the_larger_one_that_is_rate_limited_can_be_tried_again_later(tmp_path: Path) -> None:
    """Whose window is too small could not have answered anyhow."""
    async with scene(tmp_path, change=windows(100, 200)) as s:
        s.a.script(TOO_LONG)
        s.b.script(plain({"error": "busy"}, status=429, headers="retry-after: 7\r\n"))
        answer = await s.here.post(chat())
        assert (answer.status, answer.headers["retry-after"]) == (429, "7")


async def test_why_tells_of_the_window_that_was_too_small(tmp_path: Path) -> None:
    """Both attempts are in the account of the request, with the status that the first host gave."""
    async with scene(tmp_path, change=windows(100, 200)) as s:
        s.a.script(TOO_LONG)
        s.b.script(ANSWER)
        answer = await s.here.post(chat())
        assert answer.headers["x-entrepot-reason"].startswith("attempt 2, after others failed; a: ")
        told = (await s.here.get(f"/v1/generation?id={answer.headers['x-request-id']}")).json
        assert '"refused"' in msgspec.json.encode(told).decode()
