"""A plain call to a host that does not cancel plain calls is driven with a stream, and folded again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from entrepot.gateway.gateway import SWEEP_S
from entrepot.testing.gateway_here import MODEL
from entrepot.testing.scripted_host import (
    STREAM_END,
    STREAM_HEAD,
    chunk,
    completion,
    delta,
    plain,
    sse,
    stream,
    usage_block,
    usage_chunk,
)
from tests.gateway.scene import chat, scene, until_later


async def test_the_reply_is_the_one_that_the_host_would_have_given(tmp_path: Path) -> None:
    """One JSON object with the whole text, usage and the actual cost in the header."""
    async with scene(tmp_path, cancels_plain_calls=False) as s:
        s.a.script(
            stream(
                delta(role="assistant"),
                delta("Hel"),
                delta("lo"),
                delta(finish_reason="stop"),
                usage_chunk(10, 5),
            )
        )
        answer = await s.here.post(chat(temperature=0))
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        assert answer.json == completion("Hello", 10, 5)
        assert float(answer.headers["x-entrepot-cost-usd"]) == 20e-6
        assert s.a.received[0].json["stream"] is True
        assert s.a.received[0].json["stream_options"] == {"include_usage": True}
        assert s.a.received[0].json["temperature"] == 0
        assert await s.ended() == ["a settle OK"]
        assert s.settles()[0].ttft_s > 0


async def test_a_call_that_is_streamed_anyway_is_not_folded(tmp_path: Path) -> None:
    """A client that asks for a stream gets it."""
    async with scene(tmp_path, cancels_plain_calls=False) as s:
        s.a.script(stream(delta("Hi"), delta(finish_reason="stop")))
        answer = await s.here.post(chat(stream=True))
        assert answer.body == sse(delta("Hi"), delta(finish_reason="stop"), "[DONE]")


async def test_embeddings_are_never_streamed(tmp_path: Path) -> None:
    """There is nothing to stream, and hosts refuse it."""
    reply = {"object": "list", "data": [{"index": 0, "embedding": [0.5]}], "usage": usage_block(3, 0)}
    async with scene(tmp_path, cancels_plain_calls=False) as s:
        s.a.script(plain(reply))
        answer = await s.here.post({"model": MODEL, "input": "x"}, path="/v1/embeddings")
        assert answer.json == reply
        assert "stream" not in s.a.received[0].json


@pytest.mark.parametrize(
    "broken",
    [
        (STREAM_HEAD + chunk(sse(delta("Hel"))), "close"),
        (STREAM_HEAD + chunk(sse(delta("Hel"))), "abort"),
        (STREAM_HEAD + chunk(sse(delta("Hel"))) + STREAM_END,),
        (STREAM_HEAD + chunk(sse(delta("Hel"), {"error": {"message": "oom"}})),),
        (
            STREAM_HEAD
            + chunk(sse(delta("Hel")) + b'data: {"choices": 1}\n\n' + sse(delta(finish_reason="stop")))
            + STREAM_END,
        ),
    ],
)
async def test_a_stream_that_breaks_after_its_content_can_still_go_to_the_next(
    tmp_path: Path, broken: tuple[bytes, ...]
) -> None:
    """The client has seen nothing of it; what the first host wrote is booked at an estimate."""
    async with scene(tmp_path, cancels_plain_calls=False) as s:
        s.a.script(*broken)
        s.b.script(stream(delta("from b"), delta(finish_reason="stop"), usage_chunk(10, 5)))
        answer = await s.here.post(chat())
        assert answer.json == completion("from b", 10, 5)
        assert await s.ended() == ["a settle FAILED estimated", "b settle OK"]


async def test_timeouts_are_those_of_a_stream(tmp_path: Path) -> None:
    """The first-byte timeout bounds the wait for content and not the whole of a long answer."""
    go_on = asyncio.Event()
    async with scene(tmp_path, cancels_plain_calls=False, first_byte_timeout_s=0.1) as s:
        s.a.script(
            STREAM_HEAD + chunk(sse(delta("Hel"))),
            go_on,
            chunk(sse(delta("lo"), delta(finish_reason="stop"), "[DONE]")) + STREAM_END,
        )
        answering = asyncio.create_task(s.here.post(chat()))
        await until_later(3 * SWEEP_S)
        go_on.set()
        assert b"Hello" in (await answering).body
        assert await s.ended() == ["a settle OK estimated"]


async def test_a_stall_is_given_up_after_the_idle_timeout(tmp_path: Path) -> None:
    """A host that stops in mid-answer is followed by the next one long before the first-byte timeout."""
    async with scene(tmp_path, cancels_plain_calls=False, idle_timeout_s=0.1) as s:
        s.a.script(STREAM_HEAD + chunk(sse(delta("Hel"))), "wait for close")
        s.b.script(stream(delta("from b"), delta(finish_reason="stop"), usage_chunk(10, 5)))
        assert (await s.here.post(chat())).json == completion("from b", 10, 5)
        assert await s.ended() == ["a settle TIMED_OUT estimated", "b settle OK"]
