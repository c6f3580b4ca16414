"""Hosts behind TLS and behind proxies: who is trusted, and what a proxy gets to see."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest

from entrepot.catalog.settings import EndpointSettings, Secret, ServerSettings
from entrepot.testing.gateway_here import GatewayHere, endpoint_at, gateway_here, read_answer
from entrepot.testing.scripted_host import (
    STREAM_HEAD,
    ScriptedHost,
    chunk,
    completion,
    delta,
    plain,
    sse,
    stream,
)
from tests.gateway.certificates import Certificates
from tests.gateway.scene import attempts_in, chat, host_that, scene, until

Change = Callable[[EndpointSettings], EndpointSettings]


def with_host(**changes: object) -> Change:
    """Return a change of host settings."""

    def change(endpoint: EndpointSettings) -> EndpointSettings:
        return msgspec.structs.replace(endpoint, host=msgspec.structs.replace(endpoint.host, **changes))

    return change


@asynccontextmanager
async def secure(
    tmp_path: Path, certificates: Certificates, *changes: Change, name: str = "127.0.0.1"
) -> AsyncIterator[tuple[GatewayHere, ScriptedHost]]:
    """Run a gateway before one host that speaks TLS and is called by `name`."""
    async with ScriptedHost(tls=certificates.server_context()) as host:
        endpoint = endpoint_at(host.base_url.replace("127.0.0.1", name), "a")
        for change in changes:
            endpoint = change(endpoint)
        async with gateway_here([endpoint], tmp_path) as here:
            yield here, host


@dataclass
class ScriptedProxy:
    """Notes the head of each request. Tunnels to where it is told, or gives one answer for all."""

    tunnel_to_port: int | None = None
    answer: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n"
    heads: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        writer.write(self.answer)
        await writer.drain()
        if self.tunnel_to_port is None:
            return
        there = await asyncio.open_connection("127.0.0.1", self.tunnel_to_port)
        await asyncio.gather(self._pass_on(reader, there[1]), self._pass_on(there[0], writer))

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
async def test_a_host_whose_authority_is_configured_is_trusted(
    tmp_path: Path, certificates: Certificates, name: str
) -> None:
    """Plain and streamed, on one connection that is kept."""
    async with secure(tmp_path, certificates, with_host(ca_file=certificates.authority), name=name) as (
        here,
        host,
    ):
        host.script(plain(completion("Hi")))
        host.script(stream(delta("Hi"), delta(finish_reason="stop")))
        assert (await here.post(chat())).json == completion("Hi")
        answer = await here.post(chat(stream=True))
        assert answer.body == sse(delta("Hi"), delta(finish_reason="stop"), "[DONE]")
        assert host.connections == 1


async def test_a_host_with_an_unknown_certificate_is_refused(
    tmp_path: Path, certificates: Certificates
) -> None:
    """Neither the prompt nor our key goes to who cannot prove itself."""
    async with secure(tmp_path, certificates, with_host(secret=Secret("k", "test"), auth="bearer")) as (
        here,
        host,
    ):
        answer = await here.post(chat())
        assert answer.status == 502
        assert "certificate" in answer.body.decode().lower()
        assert host.received == []
        assert attempts_in(here.entries()) == ["a void FAILED NO_CONNECTION"]
        assert here.gateway.pools["a"].open_connections == 0


async def test_a_certificate_for_another_name_is_refused(tmp_path: Path, certificates: Certificates) -> None:
    """127.0.0.2 is this machine too, and not in the certificate."""
    trusting = with_host(ca_file=certificates.authority)
    async with secure(tmp_path, certificates, trusting, name="127.0.0.2") as (here, host):
        assert (await here.post(chat())).status == 502
        assert host.received == []


async def test_a_client_that_leaves_is_noticed_behind_tls(tmp_path: Path, certificates: Certificates) -> None:
    """The cancel reaches a host through TLS as well."""
    async with secure(tmp_path, certificates, with_host(ca_file=certificates.authority)) as (here, host):
        host.script(STREAM_HEAD + chunk(sse(delta("Hel"))), "wait for close")
        reader, writer = await here.open()
        writer.write(here.request(chat(stream=True)))
        await reader.readuntil(b"Hel")
        writer.close()
        await until(lambda: host.closed_by_client == 1)
        assert attempts_in(here.entries()) == ["a settle CANCELLED estimated"]


async def test_clients_may_come_through_tls(tmp_path: Path, certificates: Certificates) -> None:
    """A stream, a refusal with the body still on its way, and a client that leaves: all as without it."""
    trusting = ssl.create_default_context(cafile=certificates.authority)
    async with (
        scene(tmp_path, hosts=1, server=ServerSettings(max_body_bytes=65536)) as s,
        AsyncExitStack() as stack,
    ):
        protocol = s.here.gateway.listener.protocol
        loop = asyncio.get_running_loop()
        listening = await loop.create_server(protocol, "127.0.0.1", 0, ssl=certificates.server_context())
        stack.callback(listening.close)
        port = listening.sockets[0].getsockname()[1]

        async def open_secure() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            return await asyncio.open_connection("127.0.0.1", port, ssl=trusting)

        s.a.script(stream(delta("Hi"), delta(finish_reason="stop")))
        reader, writer = await open_secure()
        writer.write(s.here.request(chat(stream=True)))
        assert (await read_answer(reader)).body == sse(delta("Hi"), delta(finish_reason="stop"), "[DONE]")
        writer.write(s.here.request(b" " * 1_000_000))
        assert (await read_answer(reader)).status == 413
        writer.close()
        s.a.script(STREAM_HEAD + chunk(sse(delta("Hel"))), "wait for close")
        reader, writer = await open_secure()
        writer.write(s.here.request(chat(stream=True)))
        await reader.readuntil(b"Hel")
        writer.close()
        await until(lambda: s.a.closed_by_client == 1)
        assert await s.ended() == ["a settle OK estimated", "a settle CANCELLED estimated"]


async def test_a_plain_http_host_is_asked_through_a_proxy_by_its_whole_url(tmp_path: Path) -> None:
    """The proxy gets the absolute form and its own credentials; the host's name stays in Host."""
    proxy = ScriptedProxy(answer=plain(completion("Hi")))
    async with AsyncExitStack() as stack:
        url = urlsplit(await stack.enter_async_context(host_that(proxy.serve)))
        endpoint = with_host(proxy=f"http://me:p%40ss@127.0.0.1:{url.port}")(
            endpoint_at("http://host.invalid:8080/api", "a")
        )
        here = await stack.enter_async_context(gateway_here([endpoint], tmp_path))
        assert (await here.post(chat())).json == completion("Hi")
    request_line, *lines = proxy.heads[0].split("\r\n")
    assert request_line == "POST http://host.invalid:8080/api/chat/completions HTTP/1.1"
    assert "host: host.invalid:8080" in lines
    assert f"proxy-authorization: Basic {base64.b64encode(b'me:p@ss').decode()}" in lines


async def test_an_https_host_is_reached_through_a_tunnel(tmp_path: Path, certificates: Certificates) -> None:
    """The proxy sees the name and nothing else; its credentials do not reach the host."""
    proxy = ScriptedProxy()
    async with AsyncExitStack() as stack:
        url = urlsplit(await stack.enter_async_context(host_that(proxy.serve)))
        change = with_host(ca_file=certificates.authority, proxy=f"http://me:pw@127.0.0.1:{url.port}")
        here, host = await stack.enter_async_context(secure(tmp_path, certificates, change))
        proxy.tunnel_to_port = host.port
        host.script(plain(completion("one")))
        host.script(plain(completion("two")))
        assert (await here.post(chat())).json == completion("one")
        assert (await here.post(chat())).json == completion("two")
        assert len(proxy.heads) == 1
        head = proxy.heads[0].split("\r\n")
        assert head[0] == f"CONNECT 127.0.0.1:{host.port} HTTP/1.1"
        assert f"proxy-authorization: Basic {base64.b64encode(b'me:pw').decode()}" in head
        assert not any("authorization: Bearer" in line for line in head)
        assert "proxy-authorization" not in host.received[0].headers
        assert host.received[0].request_line == "POST /v1/chat/completions HTTP/1.1"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "407"),
        (b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n", "502"),
        (b"", "nothing"),
        (b"\x00garbage\r\n\r\n", "garbage"),
    ],
)
async def test_a_proxy_that_refuses_is_a_host_that_cannot_be_reached(
    tmp_path: Path, certificates: Certificates, answer: bytes, told: str
) -> None:
    """Nothing was sent, so it costs nothing; the log quotes the proxy."""
    proxy = ScriptedProxy(answer=answer)
    async with AsyncExitStack() as stack:
        url = urlsplit(await stack.enter_async_context(host_that(proxy.serve)))
        change = with_host(proxy=f"http://127.0.0.1:{url.port}")
        here, host = await stack.enter_async_context(secure(tmp_path, certificates, change))
        assert (await here.post(chat())).status == 502
        assert attempts_in(here.entries()) == ["a void FAILED NO_CONNECTION"]
        assert told in here.log.getvalue()
        assert host.connections == 0
        assert here.gateway.pools["a"].open_connections == 0


async def test_a_bad_certificate_is_refused_through_a_tunnel_too(
    tmp_path: Path, certificates: Certificates
) -> None:
    """A proxy that opens the tunnel to somebody else gains nothing, and the place is free again."""
    proxy = ScriptedProxy()
    async with AsyncExitStack() as stack:
        url = urlsplit(await stack.enter_async_context(host_that(proxy.serve)))
        change = with_host(proxy=f"http://127.0.0.1:{url.port}")
        here, host = await stack.enter_async_context(secure(tmp_path, certificates, change))
        proxy.tunnel_to_port = host.port
        assert (await here.post(chat())).status == 502
        assert host.received == []
        assert here.gateway.pools["a"].open_connections == 0


async def test_a_proxy_that_does_not_answer_is_given_up(tmp_path: Path, certificates: Certificates) -> None:
    """The connect timeout bounds the whole way: proxy, tunnel, TLS."""

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with AsyncExitStack() as stack:
        url = urlsplit(await stack.enter_async_context(host_that(say_nothing)))
        change = with_host(proxy=f"http://127.0.0.1:{url.port}", connect_timeout_s=0.2)
        here, _ = await stack.enter_async_context(secure(tmp_path, certificates, change))
        assert (await here.post(chat())).status == 502
        assert attempts_in(here.entries()) == ["a void FAILED NO_CONNECTION"]
        assert here.gateway.pools["a"].open_connections == 0
