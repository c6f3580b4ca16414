"""What a client sends reaches the host, and what the host answers reaches the client, byte for byte."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

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
from tests.gateway.scene import chat, scene

ANSWER = [delta(role="assistant", content=""), delta("Hel"), delta("lo"), delta(finish_reason="stop")]
ODD_REPLY = (
    b'{ "id":"chatcmpl-odd",\t"choices":[{"index":0,"message":{"role":"assistant","content":"\\u00e4\\ud83d'
    b'\\ude00 \xc3\xa4"},"finish_reason":"stop","logprobs":null}],\n "usage":{"prompt_tokens":1.0,'
    b'"completion_tokens":2,"total_tokens":3}, "x_big":123456789012345678901234567890, "x_f":1.10 }\n'
)


def whole_reply(body: bytes, *, framing: str = "length") -> bytes:
    """Return a reply with this body, framed by its length, in chunks or by the close."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
    match framing:
        case "length":
            return b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body)
        case "chunks":
            pieces = b"".join(chunk(body[at : at + 7]) for at in range(0, len(body), 7))
            return head + b"transfer-encoding: chunked\r\n\r\n" + pieces + b"0\r\n\r\n"
        case _:
            return head + b"connection: close\r\n\r\n" + body


@pytest.mark.parametrize("framing", ["length", "chunks", "close"])
async def test_a_plain_answer_arrives_unchanged_byte_for_byte(tmp_path: Path, framing: str) -> None:
    """Spaces, escapes, big numbers and unknown fields of a reply are the host's, however it frames them."""
    async with scene(tmp_path) as s:
        s.a.script(whole_reply(ODD_REPLY, framing=framing), "close")
        answer = await s.here.post(chat())
        assert (answer.status, answer.body) == (200, ODD_REPLY)
        assert await s.ended() == ["a settle OK"]
        assert s.settles()[0].usage.output_tokens == 2


@pytest.mark.parametrize(
    "value",
    [
        b"123456789012345678901234567890",
        b"1.10",
        b"1e-7",
        b"-0",
        rb'"\u00e4\ud83d\ude00 \/ \t"',
        b'"\xc3\xa4"',
        b'{"b":1,"a":[{"z":null,"y":[]}, 2.0] ,"":{}}',
        b"null",
        b"[ ]",
    ],
)
async def test_an_unknown_field_reaches_the_host_untouched(tmp_path: Path, value: bytes) -> None:
    """The value of a field that we have never heard of is the same bytes at the host."""
    body = b'{"model":"%b","x_unknown":%b,"messages":[{"role":"user","content":"Hi"}]}' % (
        MODEL.encode(),
        value,
    )
    async with scene(tmp_path) as s:
        s.a.script(plain(completion("Hi")))
        assert (await s.here.post(body)).status == 200
        assert b'"x_unknown":%b,' % value in s.a.received[0].body


async def test_fields_keep_their_order_and_ours_are_removed(tmp_path: Path) -> None:
    """The model gets the host's name for it in its place; `provider`, `models` and `slo` stay with us."""
    body = {
        "temperature": 0.7,
        "provider": {"order": ["a"]},
        **chat(),
        "models": [MODEL],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "slo": {"usd_per_hour": 1},
        "user": "u",
    }
    async with scene(tmp_path) as s:
        s.a.script(plain(completion("Hi")))
        assert (await s.here.post(body)).status == 200
        received = s.a.received[0]
        assert received.request_line == "POST /v1/chat/completions HTTP/1.1"
        assert list(received.json) == ["temperature", "model", "messages", "tools", "user"]
        assert received.json["model"] == "there"
        assert received.json["tools"] == body["tools"]


@pytest.mark.parametrize(
    ("sent", "at_host"),
    [
        ({}, {"include_usage": True}),
        ({"stream_options": None}, {"include_usage": True}),
        ({"stream_options": {"include_usage": False}}, {"include_usage": True}),
        ({"stream_options": {"include_usage": True}}, {"include_usage": True}),
        (
            {"stream_options": {"continuous_usage_stats": True, "x": [1]}},
            {"continuous_usage_stats": True, "x": [1], "include_usage": True},
        ),
    ],
)
async def test_a_stream_asks_the_host_for_usage_and_keeps_other_options(
    tmp_path: Path, sent: dict[str, object], at_host: dict[str, object]
) -> None:
    """The ledger needs usage from every stream; what else the client asked of it stays."""
    async with scene(tmp_path) as s:
        s.a.script(stream(*ANSWER, usage_chunk(3, 2)))
        assert (await s.here.post(chat(stream=True, **sent))).status == 200
        assert s.a.received[0].json["stream_options"] == at_host


async def test_a_plain_call_gets_no_stream_options(tmp_path: Path) -> None:
    """Hosts refuse `stream_options` in a call that is not streamed."""
    async with scene(tmp_path) as s:
        s.a.script(plain(completion("Hi")))
        await s.here.post(chat())
        assert "stream_options" not in s.a.received[0].json
        assert "stream" not in s.a.received[0].json


async def test_a_stream_arrives_unchanged_when_the_client_asked_for_usage(tmp_path: Path) -> None:
    """All events, comments and spaces of the host, its usage chunk included, in its own bytes."""
    events = (
        b": keep-alive\n\n" + sse(*ANSWER) + b"event: x\ndata:{}\r\n\r\n" + sse(usage_chunk(3, 2), "[DONE]")
    )
    async with scene(tmp_path) as s:
        s.a.script(STREAM_HEAD + chunk(events) + STREAM_END)
        answer = await s.here.post(chat(stream=True, stream_options={"include_usage": True}))
        assert answer.body == events
        assert answer.headers["content-type"] == "text/event-stream"
        assert await s.ended() == ["a settle OK"]


async def test_the_usage_chunk_is_hidden_from_a_client_that_did_not_ask_for_it(tmp_path: Path) -> None:
    """Everything else of the stream is unchanged, and the ledger has the usage."""
    before, after = sse(*ANSWER), sse("[DONE]")
    async with scene(tmp_path) as s:
        s.a.script(STREAM_HEAD + chunk(before + sse(usage_chunk(3, 2)) + after) + STREAM_END)
        answer = await s.here.post(chat(stream=True))
        assert answer.body == before + after
        assert await s.ended() == ["a settle OK"]
        assert s.settles()[0].usage.prompt_tokens == 3
        assert s.settles()[0].bill.total_nusd == 3 * 1000 + 2 * 2000


@pytest.mark.parametrize("asked", [True, False])
async def test_a_stream_may_come_one_byte_at_a_time(tmp_path: Path, *, asked: bool) -> None:
    """Wherever the network cuts head, chunk sizes, events and UTF-8, the client gets the same bytes."""
    visible = sse(*ANSWER, delta("ä\u2028😀")) + b": ping\r\n\r\n"
    hidden = sse(usage_chunk(3, 2))
    whole = STREAM_HEAD + chunk(visible) + chunk(hidden + sse("[DONE]")) + STREAM_END
    async with scene(tmp_path) as s:
        s.a.script(*(whole[at : at + 1] for at in range(len(whole))))
        options = {"stream_options": {"include_usage": True}} if asked else {}
        answer = await s.here.post(chat(stream=True, **options))
        assert answer.body == visible + (hidden if asked else b"") + sse("[DONE]")
        assert await s.ended() == ["a settle OK"]
        assert s.settles()[0].usage.output_tokens == 2


async def test_usage_on_a_chunk_with_content_is_not_hidden(tmp_path: Path) -> None:
    """Hosts with `continuous_usage_stats` put usage on every chunk: hiding it would drop content."""
    events = [{**delta(text), "usage": usage_block(3, count)} for count, text in enumerate("abc", start=1)]
    async with scene(tmp_path) as s:
        s.a.script(stream(*events, delta(finish_reason="stop")))
        answer = await s.here.post(chat(stream=True))
        assert answer.body == sse(*events, delta(finish_reason="stop"), "[DONE]")
        assert s.settles()[0].usage.output_tokens == 3


async def test_a_text_that_speaks_of_usage_is_not_hidden(tmp_path: Path) -> None:
    """An answer may quote a usage chunk."""
    quoted = json.dumps(usage_chunk(3, 2))
    async with scene(tmp_path) as s:
        s.a.script(stream(delta("so: "), delta(quoted), delta(finish_reason="stop"), usage_chunk(9, 9)))
        answer = await s.here.post(chat(stream=True))
        assert answer.body == sse(delta("so: "), delta(quoted), delta(finish_reason="stop"), "[DONE]")
        assert s.settles()[0].usage.output_tokens == 9


@pytest.mark.parametrize(
    ("path", "body", "reply"),
    [
        (
            "/v1/completions",
            {"model": MODEL, "prompt": ["a", "b"], "max_tokens": 3},
            {
                "id": "cmpl-1",
                "choices": [{"index": 0, "text": "x", "finish_reason": "length"}],
                "usage": usage_block(2, 6),
            },
        ),
        (
            "/v1/embeddings",
            {"model": MODEL, "input": [[1, 2], [3]]},
            {"object": "list", "data": [{"index": 0, "embedding": [0.1]}], "usage": usage_block(3, 0)},
        ),
    ],
)
async def test_completions_and_embeddings_go_the_same_way(
    tmp_path: Path, path: str, body: dict[str, object], reply: dict[str, object]
) -> None:
    """Each operation reaches its own path at the host and is settled by its usage."""
    async with scene(tmp_path) as s:
        s.a.script(plain(reply))
        answer = await s.here.post(body, path=path)
        assert (answer.status, answer.json) == (200, reply)
        assert s.a.received[0].request_line == f"POST {path} HTTP/1.1"
        assert await s.ended() == ["a settle OK"]


@pytest.mark.parametrize(
    "first",
    [
        delta(reasoning_content="hmm"),
        delta(reasoning="hmm"),
        delta(refusal="no"),
        delta(tool_calls=[{"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}]),
        delta("a"),
    ],
)
async def test_anything_that_a_model_wrote_is_first_content(tmp_path: Path, first: dict[str, object]) -> None:
    """Reasoning, refusals and tool calls start an answer as text does."""
    async with scene(tmp_path) as s:
        s.a.script(STREAM_HEAD + chunk(sse(delta(role="assistant"), first)), "abort")
        answer = await s.here.post(chat(stream=True))
        assert answer.body.startswith(sse(delta(role="assistant"), first))
        assert s.b.received == []


async def test_an_answer_without_any_content_is_an_answer(tmp_path: Path) -> None:
    """A model may say nothing: finish reason and usage make it whole, so no other host is asked."""
    async with scene(tmp_path) as s:
        s.a.script(stream(delta(role="assistant"), delta(finish_reason="stop"), usage_chunk(3, 0)))
        answer = await s.here.post(chat(stream=True))
        assert answer.body == sse(delta(role="assistant"), delta(finish_reason="stop"), "[DONE]")
        assert await s.ended() == ["a settle OK"]


async def test_what_every_answer_carries(tmp_path: Path) -> None:
    """Id, endpoint, model, expected cost, reason; and the actual cost where the answer is not streamed."""
    async with scene(tmp_path) as s:
        s.a.script(plain(completion("Hi", 10, 5)))
        s.a.script(stream(*ANSWER, usage_chunk(3, 2)))
        whole, streamed = await s.here.post(chat()), await s.here.post(chat(stream=True))
        for answer in (whole, streamed):
            assert answer.headers["x-request-id"].startswith("req-")
            assert answer.headers["x-entrepot-endpoint"] == f"{MODEL}@a"
            assert answer.headers["x-entrepot-model"] == MODEL
            assert float(answer.headers["x-entrepot-expected-cost-usd"]) > 0
            assert answer.headers["x-entrepot-reason"].startswith("a: $")
            assert "x-entrepot-max-tokens" not in answer.headers
            assert "x-entrepot-simulated" not in answer.headers
        assert float(whole.headers["x-entrepot-cost-usd"]) == 20e-6  # 10 at 1 and 5 at 2 USD per million
        assert "x-entrepot-cost-usd" not in streamed.headers
