"""Headers pass by name: a client's secrets never reach a host, and a host's never return."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from entrepot.catalog.settings import EndpointSettings
from entrepot.testing.gateway_here import MODEL
from entrepot.testing.scripted_host import STREAM_END, chunk, completion, delta, plain, sse
from tests.gateway.scene import chat, scene

ALWAYS_SENT = {
    "host",
    "user-agent",
    "accept",
    "accept-encoding",
    "content-type",
    "content-length",
    "x-request-id",
}
FROM_A_CLIENT = [
    ("Cookie", "session=1"),
    ("Accept-Encoding", "gzip, br"),
    ("X-Forwarded-For", "10.0.0.1"),
    ("X-Forwarded-Host", "evil.example"),
    ("X-Real-IP", "10.0.0.1"),
    ("Forwarded", "for=10.0.0.1"),
    ("Via", "1.1 proxy"),
    ("Proxy-Authorization", "Basic eDp5"),
    ("X-Api-Key", "secret"),
    ("Api-Key", "secret"),
    ("OpenAI-Organization", "org-1"),
    ("User-Agent", "client/1"),
    ("Host", "evil.example"),
    ("X-Request-Id", "theirs"),
    ("Te", "trailers"),
    ("X-Whatever", "1"),
]
FROM_A_HOST = [
    ("Set-Cookie", "a=b"),
    ("Server", "vllm"),
    ("Via", "1.1 varnish"),
    ("X-Request-Id", "host's"),
    ("OpenAI-Organization", "org-of-the-operator"),
    ("X-RateLimit-Remaining-Requests", "3"),
    ("Access-Control-Allow-Origin", "*"),
    ("Strict-Transport-Security", "max-age=1"),
    ("Location", "http://evil.example"),
    ("X-Entrepot-Simulated", "true"),
    ("X-Entrepot-Cost-Usd", "0"),
    ("X-Entrepot-Reason", "buy more"),
    ("Alt-Svc", 'h3=":443"'),
]


def as_lines(headers: list[tuple[str, str]]) -> str:
    """Return header lines."""
    return "".join(f"{name}: {value}\r\n" for name, value in headers)


async def test_of_a_clients_headers_only_those_on_the_list_reach_a_host(tmp_path: Path) -> None:
    """Its key, cookies, addresses and whatever nobody has heard of stay here."""
    async with scene(tmp_path) as s:
        s.a.script(plain(completion("Hi")))
        assert (await s.here.post(chat(), headers=as_lines(FROM_A_CLIENT))).status == 200
        received = s.a.received[0].headers
        assert set(received) == ALWAYS_SENT
        assert received["accept-encoding"] == "identity"
        assert received["host"] == f"127.0.0.1:{s.a.port}"
        assert received["x-request-id"].startswith("req-")
        assert s.here.key not in str(s.a.received)


async def test_trace_context_reaches_the_host(tmp_path: Path) -> None:
    """So that a trace that begins at the client goes on at the host."""
    traced = [
        ("TraceParent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("tracestate", "congo=t61rcWkgMzE"),
        ("OpenAI-Beta", "assistants=v2"),
    ]
    async with scene(tmp_path) as s:
        s.a.script(plain(completion("Hi")))
        await s.here.post(chat(), headers=as_lines(traced))
        received = s.a.received[0].headers
        assert {name: received.get(name) for name in ("traceparent", "tracestate", "openai-beta")} == {
            name.lower(): value for name, value in traced
        }


@pytest.mark.parametrize("streamed", [True, False])
async def test_of_a_hosts_headers_only_those_on_the_list_return(tmp_path: Path, *, streamed: bool) -> None:
    """Cookies, the operator's account and claims in our name do not."""
    lines = as_lines([*FROM_A_HOST, ("OpenAI-Processing-Ms", "12"), ("OpenAI-Version", "2020-10-01")])
    body = sse(delta("Hi"), delta(finish_reason="stop"), "[DONE]")
    head = f"HTTP/1.1 200 OK\r\n{lines}transfer-encoding: chunked\r\n\r\n".encode()
    async with scene(tmp_path) as s:
        s.a.script(head + chunk(body) + STREAM_END if streamed else plain(completion("Hi"), headers=lines))
        answer = await s.here.post(chat(stream=streamed))
        ours = {
            "content-type",
            "x-request-id",
            "x-entrepot-endpoint",
            "x-entrepot-model",
            "x-entrepot-expected-cost-usd",
            "x-entrepot-reason",
            "openai-processing-ms",
            "openai-version",
        }
        more = (
            {"cache-control", "x-accel-buffering", "transfer-encoding"}
            if streamed
            else {"content-length", "x-entrepot-cost-usd"}
        )
        assert set(answer.headers) == ours | more
        assert answer.headers["x-request-id"].startswith("req-")
        assert answer.headers["x-entrepot-reason"].startswith("a: ")
        assert answer.headers.get("x-entrepot-cost-usd") != "0"


async def test_a_reply_of_an_error_carries_no_header_of_a_host(tmp_path: Path) -> None:
    """Neither does a 502."""
    async with scene(tmp_path, hosts=1) as s:
        s.a.script(plain({"error": {}}, status=500, headers=as_lines(FROM_A_HOST)))
        answer = await s.here.post(chat())
        assert set(answer.headers) == {"content-type", "x-request-id", "content-length"}


async def test_a_simulated_host_is_labelled_by_its_configuration(tmp_path: Path) -> None:
    """A host cannot call itself simulated, nor forget to."""

    def change(endpoint: EndpointSettings) -> EndpointSettings:
        simulated = msgspec.structs.replace(endpoint.endpoint, simulated=True)
        return msgspec.structs.replace(endpoint, endpoint=simulated)

    async with scene(tmp_path, change=change) as s:
        s.a.script(plain(completion("Hi")))
        assert (await s.here.post(chat())).headers["x-entrepot-simulated"] == "true"


async def test_values_of_a_host_that_are_not_ascii_do_not_pass(tmp_path: Path) -> None:
    """HTTP permits them, and many clients fail on them."""
    body = b'{"choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}]}'
    head = b"HTTP/1.1 200 OK\r\nopenai-version: \xe4\xff\r\ncontent-length: %d\r\n\r\n" % len(body)
    async with scene(tmp_path) as s:
        s.a.script(head + body)
        answer = await s.here.post(chat())
        assert answer.status == 200
        assert "openai-version" not in answer.headers


async def test_names_of_the_configuration_cannot_break_our_headers(tmp_path: Path) -> None:
    """Line breaks and letters beyond ASCII become question marks, in endpoint, model and reason."""
    name = "hö\r\nset-cookie: a=b\r\n\r\n<html>"

    def change(endpoint: EndpointSettings) -> EndpointSettings:
        renamed = msgspec.structs.replace(endpoint.endpoint, name=f"{MODEL}@{name}", host=name)
        return msgspec.structs.replace(endpoint, endpoint=renamed)

    async with scene(tmp_path, hosts=1, change=change) as s:
        s.a.script(plain(completion("Hi")))
        answer = await s.here.post(chat())
        assert answer.json == completion("Hi")
        assert "set-cookie" not in answer.headers
        assert answer.headers["x-entrepot-endpoint"] == f"{MODEL}@h???set-cookie: a=b????<html>"
        assert answer.headers["x-entrepot-reason"].startswith("h???set-cookie: a=b????<html>: $")


@pytest.mark.parametrize("value", [b"a\r\n b", b"a\rb: c", b"a\nb: c", b"a\x00b"])
async def test_a_line_break_in_a_clients_header_is_refused(tmp_path: Path, value: bytes) -> None:
    """Header injection ends at the parser: the request is malformed, and nothing is sent."""
    async with scene(tmp_path) as s:
        request = s.here.request(chat(), headers="traceparent: VALUE\r\n").replace(b"VALUE", value)
        answer = await s.here.exchange(request)
        assert answer.status == 400
        assert s.reserves() == []


async def test_a_clients_value_that_is_not_ascii_does_not_reach_a_host(tmp_path: Path) -> None:
    """As for a host's values."""
    async with scene(tmp_path) as s:
        s.a.script(plain(completion("Hi")))
        request = s.here.request(chat(), headers="traceparent: VALUE\r\n").replace(b"VALUE", b"\xe4\xff")
        assert (await s.here.exchange(request)).status == 200
        assert "traceparent" not in s.a.received[0].headers


async def test_trailers_of_a_client_are_no_headers(tmp_path: Path) -> None:
    """What comes behind a chunked body cannot become a credential or an encoding afterwards."""
    body = msgspec.json.encode(chat())
    async with scene(tmp_path) as s:
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: here\r\ntransfer-encoding: chunked\r\n\r\n"
        chunked = head + chunk(body) + b"0\r\n"
        answer = await s.here.exchange(chunked + f"authorization: Bearer {s.here.key}\r\n\r\n".encode())
        assert answer.status == 401
