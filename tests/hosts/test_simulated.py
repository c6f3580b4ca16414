"""Simulated hosts over a real socket: pace, exact usage, honest bills, and the label on everything."""

from __future__ import annotations

import asyncio
import json
import struct
from base64 import b64decode
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path

import pytest
import uvloop
from msgspec.json import decode

from entrepot.domain.prices import Prices
from entrepot.domain.usage import Usage
from entrepot.hosts.scenario import Scenario, load_scenario, scenario_settings
from entrepot.hosts.simulated import SimulatedHosts, serving
from tests.hosts.raw_http import Client, Reply, chat, until
from tests.hosts.scenarios import scenario

Act = Callable[[Client, SimulatedHosts], Awaitable[None]]
FAST = 1000.0


def run(act: Act, described: Scenario, *, speedup: float = FAST, log_path: Path | None = None) -> None:
    """Serve a scenario, connect, and let `act` do something with both."""

    async def body() -> None:
        async with serving(described, speedup=speedup, log_path=log_path) as (base_url, hosts):
            client = await Client.connect(base_url)
            try:
                await act(client, hosts)
            finally:
                client.close()

    uvloop.run(body())


def test_a_stream_has_its_words_its_end_and_its_usage() -> None:
    """Role first, a word per token, the reason, the usage in a chunk without choices, then the end."""

    async def act(client: Client, hosts: SimulatedHosts) -> None:
        asked = chat("x" * 40, stream=True, max_tokens=7, stream_options={"include_usage": True})
        reply = await client.ask("/h/v1/chat/completions", asked)
        assert (reply.status, reply.whole) == (200, True)
        assert reply.headers["x-entrepot-simulated"] == "true"
        assert reply.body.endswith(b"data: [DONE]\n\n")
        events = reply.events
        assert events[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
        assert reply.text == "This answer is simulated by the host"
        assert events[-2]["choices"][0]["finish_reason"] == "length"
        assert events[-1]["choices"] == []
        assert events[-1]["usage"] == {
            "prompt_tokens": 10,
            "completion_tokens": 7,
            "total_tokens": 17,
            "prompt_tokens_details": {"cached_tokens": 0},
        }
        assert {event["system_fingerprint"] for event in events} == {"simulated"}
        assert len({event["id"] for event in events}) == 1
        assert all(event["usage"] is None for event in events[:-1])

    run(act, scenario())


def test_usage_is_sent_only_to_those_who_ask() -> None:
    """OpenAI's rule for streams."""

    async def act(client: Client, hosts: SimulatedHosts) -> None:
        reply = await client.ask("/h/v1/chat/completions", chat(stream=True))
        assert b'"usage"' not in reply.body
        assert reply.events[-1]["choices"][0]["finish_reason"] == "stop"
        assert len(reply.text.split(" ")) == 20

    run(act, scenario())


def test_a_plain_answer_says_the_same_as_a_stream() -> None:
    """Two ways to ask, one answer."""

    async def act(client: Client, hosts: SimulatedHosts) -> None:
        plain = (await client.ask("/h/v1/chat/completions", chat())).json
        streamed = await client.ask("/h/v1/chat/completions", chat(stream=True))
        assert plain["choices"][0]["message"]["content"] == streamed.text
        assert plain["choices"][0]["finish_reason"] == "stop"
        assert plain["usage"]["completion_tokens"] == 20
        assert plain["system_fingerprint"] == "simulated"

    run(act, scenario())


@pytest.mark.parametrize("stream", [False, True])
def test_several_choices_are_written_side_by_side_and_all_billed(stream: bool) -> None:
    """`n` choices for each of several prompts."""

    async def act(client: Client, hosts: SimulatedHosts) -> None:
        asked = {"model": "deepseek/deepseek-r1", "prompt": ["a", "b"], "n": 2, "max_tokens": 3}
        asked |= {"stream": stream, "stream_options": {"include_usage": True}}
        reply = await client.ask("/h/v1/completions", asked)
        answers = reply.events if stream else [reply.json]
        texts = ["", "", "", ""]
        for answer in answers:
            for choice in answer["choices"]:
                texts[choice["index"]] += choice["text"]
        assert texts == ["This answer is"] * 4
        assert answers[-1]["usage"]["completion_tokens"] == 12
        assert answers[-1]["usage"]["prompt_tokens"] == 2
        assert hosts.log.records[0].completion_tokens == 12

    run(act, scenario())


def test_the_log_is_the_bill_to_the_last_decimal(tmp_path: Path) -> None:
    """The host's own arithmetic and `domain.prices` agree on cached and uncached tokens."""
    log = tmp_path / "hosts.jsonl"
    described = load_scenario("deepseek-r1-2025")
    _, _, entries = scenario_settings(described, "http://127.0.0.1:1")
    prices = {entry.host.name: entry.endpoint.prices for entry in entries}

    async def act(client: Client, hosts: SimulatedHosts) -> None:
        for name in ("deepseek", "azure", "deepseek", "azure"):
            reply = await client.ask(f"/{name}/v1/chat/completions", chat("w" * 1000, max_tokens=30))
            while reply.status == 500:
                reply = await client.ask(f"/{name}/v1/chat/completions", chat("w" * 1000, max_tokens=30))
        assert decode((await client.get("/_log")).body) == [json.loads(line) for line in _lines(log)]

    run(act, described, log_path=log)
    cached = []
    for line in _lines(log):
        record = json.loads(line)
        if record["outcome"] == "ok":
            assert record["request_id"] == "req-1-1"
            cached.append((record["host"], record["cached_tokens"]))
            assert _bill(prices[record["host"]], record) == Decimal(record["cost_usd"])
    assert cached == [("deepseek", 0), ("azure", 0), ("deepseek", 192), ("azure", 0)]


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def _bill(prices: Prices | None, record: dict[str, int]) -> Decimal:
    assert prices is not None
    usage = Usage(
        uncached_tokens=record["prompt_tokens"] - record["cached_tokens"],
        cached_tokens=record["cached_tokens"],
        output_tokens=record["completion_tokens"],
    )
    return Decimal(prices.bill(usage).total_nusd) / 10**9


def test_a_client_that_leaves_is_billed_for_what_was_written() -> None:
    """The host stops and bills the prompt and the tokens until it saw the disconnect, no more."""

    async def act(client: Client, hosts: SimulatedHosts) -> None:
        client.send("POST", "/h/v1/chat/completions", json.dumps(chat("x" * 40, stream=True)).encode())
        received = b""
        while received.count(b'"content":" ') < 3:
            received += await client.reader.read(65536)
        client.close()
        await until(lambda: hosts.log.records)
        record = hosts.log.records[0]
        assert (record.outcome, record.stream, record.prompt_tokens) == ("cancelled", True, 10)
        assert 4 <= record.completion_tokens < 800
        assert record.cost_usd == str(
            Decimal(10 * 550 + record.completion_tokens * 2190).scaleb(-9).normalize()
        )
        assert hosts.hosts["h"].totals.in_flight == 0

    run(act, scenario(verbosity=800), speedup=20)


def test_a_client_that_leaves_a_plain_call_is_billed_for_what_was_made() -> None:
    """Nothing was sent, but the prompt was taken: a host bills what it made until it saw the disconnect."""

    async def act(client: Client, hosts: SimulatedHosts) -> None:
        client.send("POST", "/h/v1/chat/completions", json.dumps(chat("x" * 40)).encode())
        await until(lambda: hosts.hosts["h"].totals.in_flight == 1)
        client.close()
        await until(lambda: hosts.log.records)
        record = hosts.log.records[0]
        assert (record.outcome, record.stream, record.prompt_tokens) == ("cancelled", False, 10)
        assert record.completion_tokens < 800

    run(act, scenario(verbosity=800), speedup=20)


def test_a_cut_stream_ends_without_its_end_and_bills_what_it_sent() -> None:
    """The connection closes inside of the chunked body."""

    async def act(client: Client, hosts: SimulatedHosts) -> None:
        reply = await client.ask("/h/v1/chat/completions", chat(stream=True))
        assert (reply.status, reply.whole) == (200, False)
        assert b"[DONE]" not in reply.body
        record = hosts.log.records[0]
        assert (record.outcome, record.completion_tokens) == ("error", len(reply.text.split(" ")))

    run(act, scenario(cut_share=1))


@pytest.mark.parametrize(
    ("figures", "status"), [({"failure_share": 1}, 500), ({"rate_limited_share": 1}, 429)]
)
def test_a_drawn_failure_comes_before_the_first_byte_and_is_free(
    figures: dict[str, object], status: int
) -> None:
    """An error in OpenAI's shape; 429 says when to come back."""

    async def act(client: Client, hosts: SimulatedHosts) -> None:
        reply = await client.ask("/h/v1/chat/completions", chat(stream=True))
        assert reply.status == status
        assert reply.json["error"]["message"].startswith("simulated: ")
        assert ("retry-after" in reply.headers) == (status == 429)
        assert hosts.log.records[0].cost_usd == "0"
        assert (hosts.log.records[0].outcome, hosts.log.records[0].status) == ("error", status)

    run(act, scenario(**figures))


def test_load_slows_everybody_down() -> None:
    """Eleven at once on a capacity of ten take about twice as long each: seen in what is left to write."""

    async def act(client: Client, hosts: SimulatedHosts) -> None:
        host = hosts.hosts["h"]
        alone_s = host.step_s()
        base_url = "http://{}:{}".format(*client.writer.get_extra_info("peername"))
        clients = [await Client.connect(base_url) for _ in range(11)]
        for each in clients:
            each.send("POST", "/h/v1/chat/completions", json.dumps(chat(stream=True)).encode())
        await until(lambda: host.totals.in_flight == 11)
        assert host.step_s() == pytest.approx(2 * alone_s)
        for each in clients:
            each.close()
        await until(lambda: host.totals.in_flight == 0)

    run(act, scenario(verbosity=800), speedup=1)


def test_a_client_that_does_not_read_stops_the_tokens() -> None:
    """Backpressure: what nobody reads is not made, so neither memory nor bill grows."""

    async def act(client: Client, hosts: SimulatedHosts) -> None:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.send("POST", "/h/v1/chat/completions", json.dumps(chat(stream=True)).encode())
        (connection,) = hosts.connections
        await until(lambda: connection._serving is not None and connection._serving._asleep)  # type: ignore[attr-defined]
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        reply = await client.receive()
        assert reply.whole
        assert hosts.log.records[0].completion_tokens == 90_000

    run(act, scenario(verbosity=90_000, context_tokens=200_000))


def test_embeddings_are_vectors_of_length_one_made_of_a_hash() -> None:
    """Equal texts have equal vectors; the SDK's base64 form holds the same numbers."""

    async def act(client: Client, hosts: SimulatedHosts) -> None:
        asked = {"model": "simulated/embedding", "input": ["a", "b", "a"]}
        reply = (await client.ask("/simulated/v1/embeddings", asked)).json
        one, other, again = (item["embedding"] for item in reply["data"])
        assert len(one) == 256
        assert one == again != other
        assert sum(number * number for number in one) == pytest.approx(1)
        assert reply["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
        coded = (await client.ask("/simulated/v1/embeddings", asked | {"encoding_format": "base64"})).json
        numbers = struct.unpack("<256f", b64decode(coded["data"][0]["embedding"]))
        assert list(numbers) == pytest.approx(one, rel=1e-6)
        assert hosts.log.records[0].cost_usd == "0.00000006"

    run(act, load_scenario("deepseek-r1-2025"))


@pytest.mark.parametrize(
    ("method", "path", "fields", "status", "code"),
    [
        ("POST", "/g/v1/chat/completions", chat(), 404, "unknown_host"),
        ("POST", "/h/chat/completions", chat(), 404, "unknown_path"),
        ("POST", "/h/v1/responses", chat(), 404, "unknown_path"),
        ("PUT", "/h/v1/chat/completions", chat(), 405, "wrong_method"),
        ("POST", "/h/v1/chat/completions", {"model": "deepseek/deepseek-r1"}, 400, "bad_request"),
        ("POST", "/h/v1/chat/completions", chat() | {"model": "r1"}, 404, "model_not_found"),
        ("POST", "/h/v1/chat/completions", chat("x" * 3997), 400, "context_length_exceeded"),
        ("POST", "/h/v1/chat/completions", chat(max_tokens=1000), 400, "context_length_exceeded"),
        (
            *("POST", "/h/v1/embeddings", {"model": "deepseek/deepseek-r1", "input": "a"}),
            *(400, "unsupported_operation"),
        ),
    ],
)
def test_what_a_host_cannot_serve_it_refuses_and_goes_on(
    method: str, path: str, fields: dict[str, object], status: int, code: str
) -> None:
    """A row per refusal; the connection stays usable."""

    async def act(client: Client, hosts: SimulatedHosts) -> None:
        client.send(method, path, json.dumps(fields).encode())
        reply = await client.receive()
        assert (reply.status, reply.json["error"]["code"]) == (status, code)
        assert (await client.get("/h/v1/models")).json["data"][0]["id"] == "deepseek/deepseek-r1"
        assert all(record.cost_usd == "0" for record in hosts.log.records)

    run(act, scenario())


def test_pipelined_requests_are_answered_in_order() -> None:
    """One at a time on each connection."""

    async def act(client: Client, hosts: SimulatedHosts) -> None:
        for limit in (3, 1, 2):
            client.send("POST", "/h/v1/chat/completions", json.dumps(chat(max_tokens=limit)).encode())
        replies: list[Reply] = [await client.receive() for _ in range(3)]
        assert [reply.json["usage"]["completion_tokens"] for reply in replies] == [3, 1, 2]

    run(act, scenario())


def test_nonsense_on_the_wire_closes_the_connection() -> None:
    """Not HTTP: nothing to answer."""

    async def act(client: Client, hosts: SimulatedHosts) -> None:
        client.writer.write(b"\x16\x03\x01nonsense\r\n\r\n")
        async with asyncio.timeout(20):
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await client.reader.readexactly(1)

    run(act, scenario())


def test_a_server_that_ends_bills_what_is_under_way() -> None:
    """Nothing that a host made goes unlogged."""
    seen: list[SimulatedHosts] = []

    async def act(client: Client, hosts: SimulatedHosts) -> None:
        seen.append(hosts)
        client.send("POST", "/h/v1/chat/completions", json.dumps(chat(stream=True)).encode())
        await until(lambda: hosts.hosts["h"].totals.in_flight == 1)
        hosts.close()

    run(act, scenario(verbosity=800), speedup=1)
    assert [record.outcome for record in seen[0].log.records] == ["error"]


def test_totals_add_up_per_host() -> None:
    """`GET /_stats` is the sum of the log."""

    async def act(client: Client, hosts: SimulatedHosts) -> None:
        for limit in (1, 2, 3):
            await client.ask("/h/v1/chat/completions", chat("x" * 4, max_tokens=limit))
        totals = (await client.get("/_stats")).json["h"]
        assert (totals["requests"], totals["ok"], totals["in_flight"]) == (3, 3, 0)
        assert (totals["prompt_tokens"], totals["completion_tokens"]) == (3, 6)
        assert Decimal(totals["cost_usd"]) == sum(Decimal(record.cost_usd) for record in hosts.log.records)

    run(act, scenario())
