"""After the first content a failure is told as an error event: never a silent end or another host's words."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from entrepot.gateway.gateway import SWEEP_S
from entrepot.testing.gateway_here import Answer
from entrepot.testing.scripted_host import (
    STREAM_END,
    STREAM_HEAD,
    Act,
    chunk,
    delta,
    sse,
    usage_block,
    usage_chunk,
)
from entrepot.wire.sse import event_data, split_events
from tests.gateway.scene import chat, scene, until_later

BEGIN = sse(delta(role="assistant"), delta("Hel"))
FIRST = STREAM_HEAD + chunk(BEGIN)
HALF = b'data: {"id":"chatcmpl-scripted","choices":[{"index":0,"delta":{"content":"lo'


def error_of(answer: Answer) -> dict[str, object]:
    """Return the error that ends a streamed answer; fail where its last event is none."""
    events, rest = split_events(answer.body)
    assert rest == b""
    data = event_data(events[-1])
    assert data is not None
    error = json.loads(data)["error"]
    assert isinstance(error, dict)
    return error


BREAKS: dict[str, tuple[Sequence[Act], str]] = {
    "close": ((FIRST, "close"), "TRUNCATED"),
    "reset": ((FIRST, "abort"), "TRUNCATED"),
    "close within an event": ((FIRST + chunk(HALF), "close"), "TRUNCATED"),
    "close within a chunk": ((FIRST + b"ffff\r\n" + sse(delta("lo")), "close"), "TRUNCATED"),
    "a regular end without a finish reason": ((FIRST + STREAM_END,), "TRUNCATED"),
    "a broken chunk": ((FIRST, b"zz\r\n"), "TRUNCATED"),
    "error event": (
        (FIRST + chunk(sse({"error": {"message": "oom", "code": 500}})) + STREAM_END,),
        "TRUNCATED",
    ),
    "error event, then close": (
        (FIRST + chunk(b'event: error\ndata: {"message":"oom"}\n\n'), "close"),
        "TRUNCATED",
    ),
    "finish reason error": ((FIRST + chunk(sse(delta(finish_reason="error"))) + STREAM_END,), "TRUNCATED"),
}


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("how", BREAKS)
async def test_a_stream_that_breaks_ends_with_an_error_event(
    tmp_path: Path, how: str, *, asked: bool
) -> None:
    """What came stays, an error event follows, the reply ends properly, and nobody else is asked."""
    acts, outcome = BREAKS[how]
    options = {"stream_options": {"include_usage": True}} if asked else {}
    async with scene(tmp_path) as s:
        s.a.script(*acts)
        answer = await s.here.post(chat(stream=True, **options))
        assert answer.status == 200
        assert answer.body.startswith(BEGIN)
        error = error_of(answer)
        assert error["type"] == "api_error"
        assert await s.ended() == [f"a settle {outcome} estimated"]
        assert s.b.received == []


async def test_the_error_says_that_the_answer_broke_off_and_what_to_do(tmp_path: Path) -> None:
    """It is no answer of nobody: a part has come, so the words differ from those of a 502."""
    async with scene(tmp_path) as s:
        s.a.script(FIRST, "close")
        error = error_of(await s.here.post(chat(stream=True)))
        assert error["code"] == "answer_broken_off"
        assert "connection closed" in str(error["message"])
        assert "entrepot why" in str(error["message"])


async def test_a_cut_stream_is_settled_at_an_estimate_from_its_bytes(tmp_path: Path) -> None:
    """Neither zero nor chunks counted as tokens: 806 deltas are not one token, and one is not always one."""
    async with scene(tmp_path) as s:
        s.a.script(STREAM_HEAD + chunk(sse(*(delta("some words of text ") for _ in range(50)))), "close")
        await s.here.post(chat(stream=True))
        assert await s.ended() == ["a settle TRUNCATED estimated"]
        settle = s.settles()[0]
        assert settle.usage.output_tokens > 100
        assert settle.usage.prompt_tokens > 0
        assert settle.bill.total_nusd > 0
        assert settle.censored
        assert settle.answer_id == b"chatcmpl-scripted"


async def test_usage_that_came_before_the_break_is_believed(tmp_path: Path) -> None:
    """A host that counts on every chunk has said what the part cost."""
    counted = {**delta("lo"), "usage": usage_block(3, 2)}
    async with scene(tmp_path) as s:
        s.a.script(FIRST + chunk(sse(counted)), "close")
        await s.here.post(chat(stream=True))
        assert await s.ended() == ["a settle TRUNCATED"]
        assert s.settles()[0].usage.output_tokens == 2


@pytest.mark.parametrize("ending", ["close", "abort"])
async def test_a_stream_that_said_it_is_over_is_whole_however_the_connection_ends(
    tmp_path: Path, ending: str
) -> None:
    """Some hosts close without the last chunk: after [DONE] nothing is missing."""
    whole = BEGIN + sse(delta(finish_reason="stop"))
    async with scene(tmp_path) as s:
        s.a.script(STREAM_HEAD + chunk(whole + sse(usage_chunk(3, 2), "[DONE]")), ending)
        answer = await s.here.post(chat(stream=True))
        assert answer.body == whole + sse("[DONE]")
        assert await s.ended() == ["a settle OK"]


async def test_silence_in_mid_stream_ends_at_the_idle_timeout(tmp_path: Path) -> None:
    """A stalled host is given up, told and settled as a cut stream is."""
    async with scene(tmp_path, idle_timeout_s=0.2) as s:
        s.a.script(FIRST, "wait for close")
        answer = await s.here.post(chat(stream=True))
        assert "silent for 0.2 s" in str(error_of(answer)["message"])
        assert await s.ended() == ["a settle TIMED_OUT estimated"]
        assert s.a.closed_by_client == 1
        assert s.b.received == []


async def test_the_first_byte_timeout_does_not_bound_a_stream_that_has_begun(tmp_path: Path) -> None:
    """It bounds the wait for content; the answer may then take as long as it flows."""
    go_on = asyncio.Event()
    rest = sse(delta("lo"), delta(finish_reason="stop"), "[DONE]")
    async with scene(tmp_path, first_byte_timeout_s=0.1) as s:
        s.a.script(FIRST, go_on, chunk(rest) + STREAM_END)
        answering = asyncio.create_task(s.here.post(chat(stream=True)))
        await until_later(3 * SWEEP_S)
        go_on.set()
        assert (await answering).body == BEGIN + rest
        assert await s.ended() == ["a settle OK estimated"]


async def test_a_stream_with_several_choices_is_whole_only_at_its_end(tmp_path: Path) -> None:
    """One choice's finish reason says nothing of the other one, which the close cuts."""
    async with scene(tmp_path) as s:
        s.a.script(FIRST + chunk(sse(delta(finish_reason="stop"))), "close")
        answer = await s.here.post(chat(stream=True, n=2))
        assert error_of(answer)["code"] == "answer_broken_off"


async def test_an_answer_cut_by_max_tokens_is_an_answer(tmp_path: Path) -> None:
    """`finish_reason: length` is what was asked for; its numbers count as *at least*."""
    async with scene(tmp_path) as s:
        s.a.script(
            FIRST + chunk(sse(delta(finish_reason="length"), usage_chunk(3, 2), "[DONE]")) + STREAM_END
        )
        answer = await s.here.post(chat(stream=True, max_tokens=2))
        assert answer.body.endswith(sse(delta(finish_reason="length"), "[DONE]"))
        assert await s.ended() == ["a settle OK"]
        assert s.settles()[0].censored
