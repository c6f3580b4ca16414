"""What a host does not report is estimated from bytes, with care and with a flag, and never from chunks."""

from __future__ import annotations

from math import ceil
from pathlib import Path
from time import monotonic

import msgspec
import pytest

from entrepot.catalog.settings import EndpointSettings
from entrepot.testing.gateway_here import MODEL
from entrepot.testing.scripted_host import STREAM_HEAD, chunk, completion, delta, plain, sse
from tests.gateway.scene import Scene, chat, scene


def without_usage(text: str, **message: object) -> bytes:
    """Return a whole reply that tells no usage."""
    reply = completion(text)
    del reply["usage"]
    reply["choices"] = [{"index": 0, "message": {"content": text, **message}, "finish_reason": "stop"}]
    return plain(reply)


def text_bound(s: Scene) -> float:
    """Return how many tokens a byte of text seldom passes, as the gateway has learned so far."""
    return s.here.gateway.knowledge.model_outlooks[MODEL].cautious_tokens_per_byte


async def test_a_plain_reply_without_usage_is_estimated_from_its_text(tmp_path: Path) -> None:
    """Prompt and output at the upper bound of what bytes of text were seen to hold; the row says so."""
    async with scene(tmp_path) as s:
        s.a.script(without_usage("word " * 800))
        bound = text_bound(s)
        answer = await s.here.post(chat("Tell me. " * 50))
        assert answer.status == 200
        assert await s.ended() == ["a settle OK estimated"]
        usage, reserve = s.settles()[0].usage, s.reserves()[0]
        assert usage.output_tokens == ceil(4000 * bound)
        assert usage.uncached_tokens == ceil(reserve.prompt_bytes * bound)
        assert 0 < s.settles()[0].bill.total_nusd <= reserve.amount_nusd
        assert "x-entrepot-cost-usd" in answer.headers


@pytest.mark.parametrize("ending", ["text", "tool call"])
async def test_tool_calls_are_text_too(tmp_path: Path, ending: str) -> None:
    """A call of a tool is written by the model like an answer."""
    call = {"id": "c", "type": "function", "function": {"name": "f" * 100, "arguments": "x" * 900}}
    async with scene(tmp_path) as s:
        reply = without_usage("x" * 1000) if ending == "text" else without_usage("", tool_calls=[call])
        s.a.script(reply)
        bound = text_bound(s)
        await s.here.post(chat())
        assert await s.ended() == ["a settle OK estimated"]
        assert s.settles()[0].usage.output_tokens == ceil(1000 * bound)


async def test_a_reply_without_usage_and_text_is_unknown(tmp_path: Path) -> None:
    """There is nothing to estimate from: what it cost nobody knows, at most what was reserved."""
    async with scene(tmp_path) as s:
        s.a.script(without_usage(""))
        await s.here.post(chat())
        assert await s.ended() == ["a expire OK NO_REPORT"]


async def test_an_estimate_never_passes_what_was_reserved(tmp_path: Path) -> None:
    """A reply cannot have more tokens than the limit that the host was sent, however long its text is."""
    async with scene(tmp_path) as s:
        s.a.script(without_usage("x" * 100_000))
        await s.here.post(chat(max_tokens=10))
        assert await s.ended() == ["a settle OK estimated"]
        assert s.settles()[0].usage.output_tokens == 10
        assert s.settles()[0].bill.total_nusd <= s.reserves()[0].amount_nusd


async def test_the_prompt_of_a_cut_stream_is_at_its_upper_bound(tmp_path: Path) -> None:
    """Not the expected count: half of all prompts have more than that."""
    async with scene(tmp_path) as s:
        s.a.script(STREAM_HEAD + chunk(sse(delta("Hello"))), "close")
        bound = text_bound(s)
        per_byte = s.here.gateway.knowledge.tokens_per_stream_byte(0, monotonic())[1]
        await s.here.post(chat("Tell me. " * 50, stream=True))
        await s.ended()
        settle, reserve = s.settles()[0], s.reserves()[0]
        assert settle.usage.uncached_tokens == ceil(reserve.prompt_bytes * bound)
        assert settle.usage.output_tokens == ceil(settle.wire_bytes * per_byte)
        assert settle.usage.estimated


@pytest.mark.parametrize("tokens", [(0, 0), (0, 9), (12, 0)])
async def test_zeros_beside_an_answer_are_no_report(tmp_path: Path, tokens: tuple[int, int]) -> None:
    """A counter that was never filled must not make an answer free: what is zero is estimated."""
    prompt_tokens, output_tokens = tokens
    async with scene(tmp_path) as s:
        s.a.script(plain(completion("word " * 500, prompt_tokens, output_tokens)))
        await s.here.post(chat())
        assert await s.ended() == ["a settle OK estimated"]
        usage = s.settles()[0].usage
        assert usage.output_tokens > 100
        assert usage.prompt_tokens == 12 if prompt_tokens else usage.prompt_tokens > 5


@pytest.mark.parametrize(("declared", "expected"), [(1_500, "settle"), (None, "expire")])
async def test_images_are_in_the_estimate_of_a_cut_stream(
    tmp_path: Path, declared: int | None, expected: str
) -> None:
    """At the most that the endpoint declares for one; where it declares nothing, nobody knows."""

    def with_images(entry: EndpointSettings) -> EndpointSettings:
        endpoint = msgspec.structs.replace(entry.endpoint, max_image_tokens=declared)
        return msgspec.structs.replace(entry, endpoint=endpoint)

    image = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
    body = chat(stream=True)
    body["messages"] = [{"role": "user", "content": [image] * 4}]
    async with scene(tmp_path, hosts=1, change=with_images) as s:
        s.a.script(STREAM_HEAD + chunk(sse(delta("Hi"))), "close")
        await s.here.post(body)
        (ended,) = await s.ended()
        assert ended.startswith(f"a {expected}")
        if declared is not None:
            assert s.settles()[0].usage.prompt_tokens >= 4 * declared
