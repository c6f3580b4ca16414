"""How a host is called is what the configuration says, and its secret stays out of everything else."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from entrepot.catalog.settings import EndpointSettings, HostSettings, Secret
from entrepot.testing.gateway_here import MODEL, endpoint_at, gateway_here
from entrepot.testing.scripted_host import ScriptedHost, completion, plain
from tests.gateway.scene import Scene, chat, scene, until

SECRET = Secret("sk-host-secret-0123456789", "environment variable A_KEY")


def with_host(endpoint: EndpointSettings, **changes: object) -> EndpointSettings:
    """Return the endpoint with other host settings."""
    return msgspec.structs.replace(endpoint, host=msgspec.structs.replace(endpoint.host, **changes))


async def called(s: Scene, **fields: object) -> Mapping[str, str]:
    """Return the headers with which host a is called."""
    s.a.script(plain(completion("Hi")))
    assert (await s.here.post(chat(**fields))).status == 200
    return s.a.received[-1].headers


@pytest.mark.parametrize(
    ("auth", "secret", "expected"),
    [
        ("bearer", SECRET, {"authorization": "Bearer sk-host-secret-0123456789"}),
        ("api-key", SECRET, {"api-key": "sk-host-secret-0123456789"}),
        ("none", None, {}),
        ("bearer", None, {}),
    ],
)
async def test_the_key_is_sent_in_the_hosts_own_style(
    tmp_path: Path, auth: str, secret: Secret | None, expected: dict[str, str]
) -> None:
    """As a bearer token, as Azure wants it, or not at all."""
    async with scene(tmp_path, change=lambda e: with_host(e, auth=auth, secret=secret)) as s:
        headers = await called(s)
        assert {n: v for n, v in headers.items() if n in ("authorization", "api-key")} == expected


async def test_each_host_gets_its_own_key_alone(tmp_path: Path) -> None:
    """A fallback does not take the first host's key to the second."""

    def change(endpoint: EndpointSettings) -> EndpointSettings:
        secret = Secret(f"key-of-{endpoint.host.name}", "a test")
        return with_host(endpoint, auth="bearer", secret=secret)

    async with scene(tmp_path, change=change) as s:
        s.a.script("close")
        s.b.script(plain(completion("Hi")))
        await s.here.post(chat())
        assert s.a.received[0].headers["authorization"] == "Bearer key-of-a"
        assert s.b.received[0].headers["authorization"] == "Bearer key-of-b"
        assert "key-of" not in s.here.log.getvalue()


async def test_extra_headers_and_query_are_sent(tmp_path: Path) -> None:
    """For hosts that want a version or a project in each call; values are escaped in the query."""

    def change(endpoint: EndpointSettings) -> EndpointSettings:
        return with_host(
            endpoint, headers={"X-Title": "ours, truly"}, query={"api-version": "2025-01-01", "q": "a b&c"}
        )

    async with scene(tmp_path, change=change) as s:
        headers = await called(s)
        assert headers["x-title"] == "ours, truly"
        line = "POST /v1/chat/completions?api-version=2025-01-01&q=a+b%26c HTTP/1.1"
        assert s.a.received[0].request_line == line


@pytest.mark.parametrize(
    ("path", "expected"), [("", ""), ("/", ""), ("/openai/v1/", "/openai/v1"), ("/a/b", "/a/b")]
)
async def test_the_path_of_the_base_url_comes_first(tmp_path: Path, path: str, expected: str) -> None:
    """With or without a slash at its end."""

    def change(endpoint: EndpointSettings) -> EndpointSettings:
        return with_host(endpoint, base_url=endpoint.host.base_url.removesuffix("/v1") + path)

    async with scene(tmp_path, change=change) as s:
        await called(s)
        assert s.a.received[0].request_line == f"POST {expected}/chat/completions HTTP/1.1"


@pytest.mark.parametrize(
    ("sent", "dropped", "left"),
    [
        ({"logit_bias": {}, "top_k": 1}, {"logit_bias"}, {"top_k": 1}),
        ({"max_tokens": 7}, {"max_tokens"}, {"max_completion_tokens": 7}),
        ({"max_completion_tokens": 7}, {"max_completion_tokens"}, {"max_tokens": 7}),
        ({"max_tokens": 7}, {"max_tokens", "max_completion_tokens"}, {}),
    ],
)
async def test_parameters_that_a_host_does_not_take_are_left_out(
    tmp_path: Path, sent: dict[str, object], dropped: set[str], left: dict[str, object]
) -> None:
    """A limit moves to its other name, so that it still holds."""

    def change(endpoint: EndpointSettings) -> EndpointSettings:
        return msgspec.structs.replace(endpoint, drop_parameters=frozenset(dropped))

    async with scene(tmp_path, change=change) as s:
        await called(s, **sent)
        body = s.a.received[0].json
        assert {name: body[name] for name in body if name not in ("model", "messages")} == left


async def test_a_limit_that_does_not_reach_the_host_does_not_bound_the_reservation(tmp_path: Path) -> None:
    """Where the host takes neither name of it, the answer may be as long as the endpoint lets it."""

    def change(endpoint: EndpointSettings) -> EndpointSettings:
        both = frozenset({"max_tokens", "max_completion_tokens"})
        return msgspec.structs.replace(
            endpoint, drop_parameters=both if endpoint.host.name == "a" else frozenset()
        )

    async with scene(tmp_path, change=change) as s:
        s.a.script("close")
        s.b.script(plain(completion("Hi")))
        await s.here.post(chat(max_tokens=7))
        unlimited, limited = s.reserves()
        assert unlimited.amount_nusd > 100_000 * 2000  # its context window at 2 USD per million
        assert limited.amount_nusd < 100_000 * 2000


async def test_a_host_may_live_at_an_ipv6_address(tmp_path: Path) -> None:
    """In brackets in the URL and in the Host header."""
    host = ScriptedHost(address="::1")
    try:
        await host.__aenter__()
    except OSError as error:
        pytest.skip(f"this machine has no IPv6 loopback: {error}")
    try:
        async with gateway_here([endpoint_at(host.base_url, "a")], tmp_path) as here:
            host.script(plain(completion("Hi")))
            assert (await here.post(chat())).status == 200
            assert host.received[0].headers["host"] == f"[::1]:{host.port}"
    finally:
        await host.__aexit__()


async def test_a_name_that_does_not_resolve_is_a_host_that_cannot_be_reached(tmp_path: Path) -> None:
    """The next endpoint answers; the log names the host."""

    def change(endpoint: EndpointSettings) -> EndpointSettings:
        if endpoint.host.name == "a":
            return with_host(endpoint, base_url="http://no-such-host.invalid/v1")
        return endpoint

    async with scene(tmp_path, change=change) as s:
        s.b.script(plain(completion("Hi")))
        assert (await s.here.post(chat())).status == 200
        assert await s.ended() == ["a void FAILED NO_CONNECTION", "b settle OK"]
        assert "no-such-host.invalid" in s.here.log.getvalue()


async def test_a_host_that_does_not_accept_is_given_up_after_the_connect_timeout(tmp_path: Path) -> None:
    """A full backlog drops the handshake in silence, as a dead machine does."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(deaf.getsockname())
            fillers.append(filler)
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/v1"

        def change(endpoint: EndpointSettings) -> EndpointSettings:
            return with_host(endpoint, base_url=url) if endpoint.host.name == "a" else endpoint

        async with scene(tmp_path, change=change, connect_timeout_s=0.2) as s:
            s.b.script(plain(completion("Hi")))
            assert (await s.here.post(chat())).status == 200
            assert await s.ended() == ["a void FAILED NO_CONNECTION", "b settle OK"]
            assert "in 0.2 s" in s.here.log.getvalue()
            assert s.here.gateway.pools["a"].open_connections == 0
        for filler in fillers:
            filler.close()


async def test_no_more_connections_than_the_host_allows(tmp_path: Path) -> None:
    """What is above goes to the next endpoint at once, at no cost; a free place is used again."""
    go_on = asyncio.Event()
    async with scene(tmp_path, max_connections=2) as s:
        for _ in range(2):
            s.a.script(go_on, plain(completion("from a")))
        calls = [asyncio.create_task(s.here.post(chat())) for _ in range(2)]
        await until(lambda: len(s.a.received) == 2)
        s.b.script(plain(completion("from b")))
        assert (await s.here.post(chat())).json == completion("from b")
        assert s.a.connections == 2
        assert s.here.gateway.pools["a"].open_connections == 2
        go_on.set()
        assert [(await call).json for call in calls] == [completion("from a")] * 2
        await s.ended()
        s.a.script(plain(completion("from a")))
        answer = await s.here.post(chat(provider={"only": ["a"]}))
        assert answer.json == completion("from a")
        assert s.a.connections == 2
        assert "void FAILED NO_CONNECTION" in str(await s.ended())


async def test_two_endpoints_of_a_host_share_its_connections(tmp_path: Path) -> None:
    """The limit is the host's, whatever models it serves."""
    async with ScriptedHost() as host:
        endpoint = endpoint_at(host.base_url, "a", max_connections=1)
        other = msgspec.structs.replace(
            endpoint,
            endpoint=msgspec.structs.replace(endpoint.endpoint, name="test/other@a", model="test/other"),
            upstream_model="other",
        )
        async with gateway_here([endpoint, other], tmp_path) as here:
            for model in (MODEL, "test/other", MODEL):
                host.script(plain(completion("Hi")))
                assert (await here.post({**chat(), "model": model})).status == 200
            assert host.connections == 1
            assert [received.json["model"] for received in host.received] == ["there", "other", "there"]


def test_a_secret_shows_itself_to_nobody() -> None:
    """Neither its repr nor that of the settings around it tells more than where it came from."""
    host = HostSettings(name="a", base_url="http://a/v1", secret=SECRET)
    assert "sk-host" not in f"{SECRET} {SECRET!r} {host} {host!r}"
    assert "A_KEY" in repr(host)
