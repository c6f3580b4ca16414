"""Bad input: each mistake is a clear 4xx in OpenAI's shape, and nothing is reserved or sent."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from entrepot.catalog.settings import EndpointSettings
from entrepot.domain.endpoint import Operation
from entrepot.testing.gateway_here import MODEL
from tests.gateway.scene import chat, scene

MESSAGES = chat()["messages"]
DEEP = b'{"model":"test/model","messages":' + b"[" * 5000 + b"]" * 5000 + b"}"

# What is sent, and: the status, the code, the parameter, a word that the message has to contain.
CHAT: dict[str, tuple[object, int, str, str | None, str]] = {
    "nothing": (b"", 400, "invalid_json", None, "empty"),
    "not JSON": (b"model=test", 400, "invalid_json", None, "JSON"),
    "half a JSON": (b'{"model": "test/mod', 400, "invalid_json", None, "ends early"),
    "JSON and more": (json.dumps(chat()).encode() + b"x", 400, "invalid_json", None, "JSON"),
    "not UTF-8": (json.dumps(chat("@")).encode().replace(b"@", b"\xff"), 400, "invalid_json", None, "UTF-8"),
    "nested too deep": (DEEP, 400, "", None, ""),
    "an array": ([chat()], 400, "invalid_value", None, "object"),
    "a string": ("hello", 400, "invalid_value", None, "object"),
    "null": (None, 400, "invalid_value", None, "object"),
    "no model": ({"messages": MESSAGES}, 400, "missing_field", "model", "model"),
    "model null": ({"model": None, "messages": MESSAGES}, 400, "missing_field", "model", "model"),
    "model a number": ({"model": 1, "messages": MESSAGES}, 400, "invalid_value", "model", "1"),
    "model empty": ({"model": "", "messages": MESSAGES}, 400, "invalid_value", "model", "model"),
    "model unknown": ({"model": "test/modle", "messages": MESSAGES}, 404, "model_not_found", "model", MODEL),
    "model without developer": (
        {"model": "model", "messages": MESSAGES},
        404,
        "model_not_found",
        "model",
        MODEL,
    ),
    "a fallback unknown": (chat(models=["test/x"]), 404, "model_not_found", "model", "test/x"),
    "no messages": ({"model": MODEL}, 400, "missing_field", "messages", "messages"),
    "empty messages": ({"model": MODEL, "messages": []}, 400, "invalid_value", "messages", "empty array"),
    "messages a string": ({"model": MODEL, "messages": "Hi"}, 400, "invalid_value", "messages", "array"),
    "a message a string": ({"model": MODEL, "messages": ["Hi"]}, 400, "invalid_value", "messages[0]", "role"),
    "a message without role": ({"model": MODEL, "messages": [{"content": "Hi"}]}, 400, "", None, "role"),
    "max_tokens a string": (chat(max_tokens="7"), 400, "invalid_value", "max_tokens", '"7"'),
    "max_tokens zero": (chat(max_tokens=0), 400, "invalid_value", "max_tokens", "at least 1"),
    "max_tokens negative": (chat(max_tokens=-1), 400, "invalid_value", "max_tokens", "-1"),
    "max_tokens a fraction": (chat(max_tokens=1.5), 400, "invalid_value", "max_tokens", "1.5"),
    "max_tokens huge": (chat(max_tokens=10**30), 400, "invalid_value", "max_tokens", "31 bits"),
    "n zero": (chat(n=0), 400, "invalid_value", "n", "from 1"),
    "n huge": (chat(n=10**6), 400, "invalid_value", "n", "1024"),
    "stream a string": (chat(stream="yes"), 400, "invalid_value", "stream", "true or false"),
    "stream a number": (chat(stream=1), 400, "invalid_value", "stream", "true or false"),
    "stream_options a list": (
        chat(stream=True, stream_options=[]),
        400,
        "invalid_value",
        "stream_options",
        "object",
    ),
    "a prompt above every window": (
        chat("word " * 200_000),
        400,
        "context_length_exceeded",
        "messages",
        "100000 tokens",
    ),
    "a limit above every window": (
        chat(max_tokens=10**6),
        400,
        "context_length_exceeded",
        "messages",
        "100000",
    ),
    "provider a string": (chat(provider="a"), 400, "invalid_value", "provider", "object"),
    "provider unknown field": (
        chat(provider={"onyl": ["a"]}),
        400,
        "unknown_field",
        "provider.onyl",
        "provider.only",
    ),
    "provider nobody": (
        chat(provider={"only": ["nobody"]}),
        404,
        "no_eligible_endpoint",
        "provider",
        "provider.only",
    ),
    "provider sort": (chat(provider={"sort": "best"}), 400, "invalid_value", "provider.sort", '"price"'),
    "a price below all": (
        chat(provider={"max_price": {"prompt": 0.01}}),
        404,
        "no_eligible_endpoint",
        "provider",
        "over the limit",
    ),
    "slo unknown field": (chat(slo={"tfft_s": 1}), 400, "unknown_field", "slo.tfft_s", "slo.ttft_s"),
    "slo.probability": (
        chat(slo={"probability": 1}),
        400,
        "invalid_value",
        "slo.probability",
        "below 1",
    ),
    "slo negative": (chat(slo={"ttft_s": -1}), 400, "invalid_value", "slo.ttft_s", "at least 0"),
    "slo infinite": (
        b'{"model":"test/model","messages":[{"role":"user"}],"slo":{"ttft_s":1e999}}',
        400,
        "",
        None,
        "",
    ),
    "slo NaN": (
        b'{"model":"test/model","messages":[{"role":"user"}],"slo":{"ttft_s":NaN}}',
        400,
        "",
        None,
        "",
    ),
    "slo above its cap": (
        chat(slo={"usd_per_hour": 1e9}),
        400,
        "invalid_value",
        "slo.usd_per_hour",
        "at most",
    ),
    "slo that nobody meets": (chat(slo={"ttft_s": 0}), 400, "slo_unattainable", "slo.ttft_s", "may begin"),
    "slo too cheap": (chat(slo={"max_usd": "0"}), 400, "slo_unattainable", "slo.max_usd", "cheapest"),
}
OTHERS: dict[str, tuple[str, object, int, str, str | None, str]] = {
    "no prompt": ("completions", {"model": MODEL}, 400, "missing_field", "prompt", "prompt"),
    "empty prompts": ("completions", {"model": MODEL, "prompt": []}, 400, "invalid_value", "prompt", "empty"),
    "mixed prompts": (
        "completions",
        {"model": MODEL, "prompt": ["a", 1]},
        400,
        "invalid_value",
        "prompt[1]",
        "one kind",
    ),
    "no input": ("embeddings", {"model": MODEL}, 400, "missing_field", "input", "input"),
    "empty input": (
        "embeddings",
        {"model": MODEL, "input": ""},
        400,
        "invalid_value",
        "input",
        "empty string",
    ),
    "an object": ("embeddings", {"model": MODEL, "input": {}}, 400, "invalid_value", "input", "string"),
    "streamed": (
        "embeddings",
        {"model": MODEL, "input": "a", "stream": True},
        400,
        "invalid_value",
        "stream",
        "never",
    ),
    "chat's body": ("completions", chat(), 400, "missing_field", "prompt", "prompt"),
    "an embedding's body": (
        "chat/completions",
        {"model": MODEL, "input": "a"},
        400,
        "missing_field",
        "messages",
        "",
    ),
}


@pytest.mark.parametrize("row", [*CHAT, *OTHERS])
async def test_a_mistake_is_told_and_nothing_is_reserved(tmp_path: Path, row: str) -> None:
    """Status, code, parameter and a message that names the thing; the connection stays open."""
    path, body, status, code, param, word = OTHERS[row] if row in OTHERS else ("chat/completions", *CHAT[row])
    async with scene(tmp_path) as s:
        answer = await s.here.post(body, path=f"/v1/{path}")
        assert answer.status == status
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-request-id"].startswith("req-")
        assert list(answer.json) == ["error"]
        error = answer.json["error"]
        assert isinstance(error, dict)
        assert {"message", "type", "param", "code"} <= set(error)
        assert error["code"] == code or not code
        assert error["param"] == param or param is None
        assert word in error["message"]
        assert "Traceback" not in error["message"]
        assert "connection" not in answer.headers
        assert s.reserves() == []
        assert (s.a.connections, s.b.connections) == (0, 0)
        assert s.here.log.getvalue() == ""


async def test_a_message_never_repeats_what_a_user_wrote(tmp_path: Path) -> None:
    """Errors end up in logs of clients: the prompt is not quoted, however it is misplaced."""
    secret = "the patient is called Alice"
    bodies: list[tuple[str, object]] = [
        ("chat/completions", {"model": MODEL, "messages": secret}),
        ("chat/completions", {"model": MODEL, "messages": [secret]}),
        ("chat/completions", {"model": MODEL, "messages": [{"role": 1, "content": secret}]}),
        ("completions", {"model": MODEL, "prompt": {"text": secret}}),
        ("embeddings", {"model": MODEL, "input": [secret, 1]}),
        ("chat/completions", json.dumps(chat(secret)).encode()[:-3]),
    ]
    async with scene(tmp_path) as s:
        for path, body in bodies:
            answer = await s.here.post(body, path=f"/v1/{path}")
            assert answer.status == 400
            assert "Alice" not in answer.body.decode()


async def test_an_operation_that_no_endpoint_serves_is_told(tmp_path: Path) -> None:
    """The model exists, and not for this."""

    def change(endpoint: EndpointSettings) -> EndpointSettings:
        only_chat = msgspec.structs.replace(endpoint.endpoint, operations=frozenset({Operation.CHAT}))
        return msgspec.structs.replace(endpoint, endpoint=only_chat)

    async with scene(tmp_path, change=change) as s:
        answer = await s.here.post({"model": MODEL, "input": "a"}, path="/v1/embeddings")
        assert answer.status == 404
        assert "operation_not_served" in answer.body.decode()


async def test_a_name_in_a_message_cannot_break_the_reply(tmp_path: Path) -> None:
    """A model's name with quotes, line breaks and HTML comes back within one JSON string."""
    async with scene(tmp_path) as s:
        answer = await s.here.post({**chat(), "model": '"}\r\n<script>\u2028' + "x" * 200})
        assert answer.status == 404
        error = answer.json["error"]
        assert isinstance(error, dict)
        assert error["code"] == "model_not_found"
        assert "\n" not in error["message"]


@pytest.mark.parametrize("field", ["model", "models", "provider.only", "role"])
async def test_names_are_bounded(tmp_path: Path, field: str) -> None:
    """Names are compared with known ones and remembered: megabytes of them would stop the gateway."""
    name = "x" * 1_000_000
    body = {
        "model": {**chat(), "model": name},
        "models": chat(models=[name]),
        "provider.only": chat(provider={"only": [name]}),
        "role": {"model": MODEL, "messages": [{"role": name, "content": "Hi"}]},
    }[field]
    async with scene(tmp_path) as s:
        answer = await s.here.post(body)
        assert answer.status == 400
        assert len(answer.body) < 1000
