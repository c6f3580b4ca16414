"""The ledger against the hosts' own log: after a hundred mixed requests they agree to the nano-dollar."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from tests.e2e.gateways import EMBEDDING, R1, Running, chat, make_key, serve
from tests.e2e.host_logs import Hosts, Sums, booked, ledger_sums, simulated_hosts, sums_of
from tests.e2e.programs import until

CONCURRENCY = 20
GOOD = 97  # and one cancelled, one with a bad key, one with a bad body: a hundred
SPEEDUP = 50
SEEN_BEFORE_LEAVING = 5
# Longer than the 64 tokens in which DeepSeek's host caches, so that there are cached tokens to bill.
LONG_PROMPT = "Tell me about ports that take in goods from many makers. " * 40


@dataclass
class Scene:
    """A gateway over simulated hosts and one that refuses connections, and what was sent through it."""

    here: Running
    hosts: Hosts
    good: list[str] = field(default_factory=list)
    cancelled: str = ""
    refused: list[int] = field(default_factory=list)
    before: list[dict[str, Any]] = field(default_factory=list)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Send the hundred requests, and wait until the hosts have written down all that they did."""
    directory = tmp_path_factory.mktemp("ledger")
    data_dir, config = directory / "data", directory / "entrepot.toml"
    with simulated_hosts(directory, speedup=SPEEDUP) as hosts, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and never listens: whoever connects is refused
        config.write_text(configuration(hosts, closed.getsockname()[1]), encoding="utf-8")
        with serve(data_dir, config, make_key(data_dir, "tests")) as here:
            scene = Scene(here, hosts)
            asyncio.run(_send(scene))
            hosts.wait_until_idle()
            until(lambda: not here.ask("ledger", "audit")["open"], "all reservations are closed")
            scene.before = here.ask("requests", "--limit", "1000")
            yield scene


@pytest.fixture(scope="module")
def corrected(scene: Scene) -> dict[str, Any]:
    """Return what the true-up by the hosts' own log says, made while the gateway runs."""
    told = scene.here.ask("ledger", "correct", str(scene.hosts.log))
    assert told["problems"] == []
    assert isinstance(told, dict)
    return told


def configuration(hosts: Hosts, refusing_port: int) -> str:
    """Return a configuration of the simulated hosts and of one that looks best and refuses connections."""
    return f"""
[routing]
time_scale = {hosts.speedup}
exploration_share = 0

{hosts.config}

[[hosts]]
name = "refusing"
base_url = "http://127.0.0.1:{refusing_port}/v1"

[[hosts.endpoints]]
model = "{R1}"
input_usd_per_mtok = "0.01"
output_usd_per_mtok = "0.01"
context_tokens = 100000
ttft_s = 0.1
tokens_per_s = 1000
"""


def good_request(number: int) -> dict[str, Any]:
    """Return one of the mix: with and without a limit, patient and not, of several shapes."""
    fields = chat(f"Question {number}.")
    if number % 2:
        fields["max_tokens"] = 20 + number
    if number % 3 == 0:
        fields = chat(LONG_PROMPT + str(number), max_tokens=50)
        fields["extra_body"] = {"slo": {"usd_per_hour": 0}, "provider": {"ignore": ["refusing"]}}
    if number % 10 == 5:
        fields["n"] = 2
    return fields


async def _send(scene: Scene) -> None:
    free = asyncio.Semaphore(CONCURRENCY)

    async def limited(number: int) -> None:
        async with free:
            scene.good.append(await _good(client, number))

    async with scene.here.async_client() as client, scene.here.async_client("sk-ent-wrong") as stranger:
        await asyncio.gather(
            *(limited(number) for number in range(GOOD)),
            _cancel(client, scene),
            _refused(stranger, chat(), scene),
            _refused(client, {**chat(), "messages": []}, scene),
        )


async def _good(client: AsyncOpenAI, number: int) -> str:
    """Send one request and read its answer; return its id."""
    if number % 20 == 7:
        vectors = client.embeddings.with_raw_response
        return (await vectors.create(model=EMBEDDING, input=["one", f"{number}"])).headers["x-request-id"]
    create = client.chat.completions.with_raw_response.create
    answer = await create(**good_request(number), stream=number % 4 < 2)
    parsed = answer.parse()
    if number % 4 < 2:
        chunks = [chunk async for chunk in parsed]
        assert chunks[-1].choices[0].finish_reason in ("stop", "length")
    else:
        assert parsed.usage.completion_tokens > 0
    return answer.headers["x-request-id"]


async def _cancel(client: AsyncOpenAI, scene: Scene) -> None:
    """Leave in the middle of a stream that would have been long."""
    create = client.chat.completions.with_raw_response.create
    answer = await create(**chat("Go on for long.", n=8), stream=True)
    scene.cancelled = answer.headers["x-request-id"]
    seen = 0
    async for chunk in (stream := answer.parse()):
        seen += any(choice.delta.content for choice in chunk.choices)
        if seen == SEEN_BEFORE_LEAVING:
            break
    await stream.close()


async def _refused(client: AsyncOpenAI, fields: dict[str, Any], scene: Scene) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        await client.chat.completions.create(**fields)
    scene.refused.append(caught.value.status_code)


def test_all_that_was_well_asked_was_answered_in_spite_of_a_host_that_refuses_connections(
    scene: Scene,
) -> None:
    """The refusing host was tried, cost nothing, and another one answered."""
    assert len(set(scene.good)) == GOOD
    assert sorted(scene.refused) == [400, 401]
    assert {request["id"] for request in scene.before} == {*scene.good, scene.cancelled}
    attempts = [attempt for request in scene.before for attempt in request["attempts"]]
    turned_away = [attempt for attempt in attempts if attempt["host"] == "refusing"]
    assert turned_away
    assert {(attempt["state"], attempt["cost_usd"]) for attempt in turned_away} == {("void", "0.00")}


def test_before_the_true_up_only_the_cancelled_request_differs_and_it_says_so(scene: Scene) -> None:
    """What a host reported is booked as the host has it in its log; what it could not report is estimated."""
    told = {line["request_id"]: line for line in scene.hosts.lines()}
    estimated, different = set(), set()
    for request in scene.before:
        for attempt in request["attempts"]:
            line = told.pop(f"{request['id']}-{attempt['attempt']}", None)
            if attempt["estimated"]:
                estimated.add(request["id"])
            if booked(attempt) != (Sums() if line is None else sums_of(line)):
                different.add(request["id"])
    assert told == {}, "the hosts worked on what the ledger does not know"
    assert estimated == {scene.cancelled}
    assert different <= {scene.cancelled}


def test_after_the_true_up_the_totals_are_those_of_the_hosts(scene: Scene, corrected: dict[str, Any]) -> None:
    """Tokens and nano-dollars of each host are equal, those of the cached prompts included."""
    assert {correction["request_id"] for correction in corrected["corrections"]} <= {scene.cancelled}
    of_hosts, of_ledger = scene.hosts.sums(), ledger_sums(scene.here.ask("ledger", "report", "--by", "host"))
    assert of_ledger == of_hosts
    assert of_hosts["deepseek"].cached_tokens > 0
    assert of_hosts["simulated"].prompt_tokens > 0


def test_a_second_true_up_by_the_same_log_changes_nothing(scene: Scene, corrected: dict[str, Any]) -> None:
    """Corrections are differences to what is booked, so the same log twice gives none."""
    assert scene.here.ask("ledger", "correct", str(scene.hosts.log))["corrections"] == []
    attempt = scene.here.ask("why", scene.cancelled)["attempts"][-1]
    assert len(attempt["corrections"]) == corrected["corrected"]
    assert attempt["estimated"] is not bool(attempt["corrections"])


def test_nothing_is_reserved_and_the_audit_agrees(scene: Scene, corrected: dict[str, Any]) -> None:
    """Every reservation is closed, whatever became of its request, and the books are right."""
    total = scene.here.ask("ledger", "report", "--by", "host")["total"]
    assert total["reserved_nusd"] == 0
    assert total["unknown_nusd"] == 0
    assert total["requests"] == GOOD + 1
    audit = scene.here.ask("ledger", "audit")
    assert audit["ok"], (audit, corrected)
    assert audit["open"] == []
