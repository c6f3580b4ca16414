"""A budget is never passed: each attempt reserves the most that it can cost before it is sent."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from time import time_ns

import msgspec
import pytest

from entrepot.catalog.settings import EndpointSettings
from entrepot.domain.money import nusd_from_usd
from entrepot.ledger.keys.log import set_budget
from entrepot.testing.gateway_here import MODEL
from entrepot.testing.scripted_host import (
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
from tests.gateway.scene import Scene, chat, scene, until

USD = nusd_from_usd(1)
CENT = nusd_from_usd("0.01")
DEFAULT_LIMIT = 8192


def left(s: Scene) -> int:
    """Return what is left of the key's budget."""
    remaining = s.here.gateway.ledger.remaining_nusd(1)
    assert remaining is not None
    return remaining


def changed(**facts: object) -> object:
    """Return a change of the endpoints' facts."""

    def change(endpoint: EndpointSettings) -> EndpointSettings:
        return msgspec.structs.replace(endpoint, endpoint=msgspec.structs.replace(endpoint.endpoint, **facts))

    return change


async def bound_of(data_dir: Path, **fields: object) -> int:
    """Return what a call reserves at host a."""
    async with scene(data_dir, hosts=1) as s:
        s.a.script(plain(completion("Hi")))
        await s.here.post(chat(**fields))
        return s.reserves()[0].amount_nusd


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_request_that_may_cost_more_than_is_left_is_refused(
    tmp_path: Path, *, streamed: bool
) -> None:
    """402 with what is left and what it may cost; nothing is sent, and nothing stays reserved."""
    async with scene(tmp_path, budget_nusd=CENT) as s:
        answer = await s.here.post(chat(stream=streamed, max_tokens=10_000))
        assert answer.status == 402
        error = answer.json["error"]
        assert isinstance(error, dict)
        assert (error["type"], error["code"]) == ("insufficient_quota", "insufficient_quota")
        assert "the budget of this key is $0.01" in error["message"]
        assert "$0.01 is left" in error["message"]
        assert "may cost up to $0.0" in error["message"]
        assert (s.a.connections, s.b.connections) == (0, 0)
        assert s.reserves() == []
        assert left(s) == CENT


async def test_a_budget_of_exactly_the_bound_is_enough_and_one_less_is_not(tmp_path: Path) -> None:
    """The limit is exact to the nano-dollar."""
    bound = await bound_of(tmp_path / "measured", max_tokens=100)
    for name, budget, status in (("enough", bound, 200), ("short", bound - 1, 402)):
        async with scene(tmp_path / name, hosts=1, budget_nusd=budget) as s:
            s.a.script(plain(completion("Hi")))
            assert (await s.here.post(chat(max_tokens=100))).status == status


async def test_the_dearest_answer_within_the_limits_costs_no_more_than_was_reserved(tmp_path: Path) -> None:
    """A token for each byte, a chat template on top, and every choice as long as it may be."""
    async with scene(tmp_path, hosts=1) as s:
        body = chat("x" * 500, max_tokens=100, n=3)
        tokens = len(json.dumps(body)) + 1000
        s.a.script(plain(completion("Hi", tokens, 300)))
        assert (await s.here.post(body)).status == 200
        assert s.settles()[0].bill.total_nusd <= s.reserves()[0].amount_nusd


async def test_a_limit_is_set_where_the_client_set_none(tmp_path: Path) -> None:
    """Without one no reservation could be a bound; the host gets it, and the header tells."""
    async with scene(tmp_path, budget_nusd=USD) as s:
        s.a.script(plain(completion("Hi")))
        s.a.script(stream(delta("Hi"), delta(finish_reason="stop"), usage_chunk(10, 5)))
        for streamed in (False, True):
            answer = await s.here.post(chat(stream=streamed))
            assert answer.headers["x-entrepot-max-tokens"] == str(DEFAULT_LIMIT)
        assert [received.json["max_tokens"] for received in s.a.received] == [DEFAULT_LIMIT] * 2
        assert s.reserves()[0].amount_nusd < 2 * DEFAULT_LIMIT * 2000


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
async def test_the_clients_own_limit_is_kept(tmp_path: Path, field: str) -> None:
    """And no header says that we had set one."""
    async with scene(tmp_path, budget_nusd=USD) as s:
        s.a.script(plain(completion("Hi")))
        answer = await s.here.post(chat(**{field: 50}))
        assert "x-entrepot-max-tokens" not in answer.headers
        body = s.a.received[0].json
        assert {name: body[name] for name in body if "max" in name} == {field: 50}


async def test_a_key_without_a_budget_gets_no_limit(tmp_path: Path) -> None:
    """Its answers may be as long as the model wants."""
    async with scene(tmp_path) as s:
        s.a.script(plain(completion("Hi")))
        answer = await s.here.post(chat())
        assert "x-entrepot-max-tokens" not in answer.headers
        assert "max_tokens" not in s.a.received[0].json


async def test_an_embedding_needs_no_limit(tmp_path: Path) -> None:
    """It has no output; hosts would refuse the field."""
    reply = {"object": "list", "data": [{"index": 0, "embedding": [0.5]}], "usage": usage_block(3, 0)}
    async with scene(tmp_path, budget_nusd=USD) as s:
        s.a.script(plain(reply))
        answer = await s.here.post({"model": MODEL, "input": "x"}, path="/v1/embeddings")
        assert answer.status == 200
        assert "x-entrepot-max-tokens" not in answer.headers
        assert "max_tokens" not in s.a.received[0].json
        assert s.reserves()[0].amount_nusd < CENT


@pytest.mark.parametrize(
    ("facts", "most"), [({"context_tokens": 4000}, 4000), ({"max_output_tokens": 1000}, 1000)]
)
async def test_the_limit_that_is_set_fits_the_endpoint(
    tmp_path: Path, facts: dict[str, int], most: int
) -> None:
    """Hosts refuse a limit that does not fit into the window behind the prompt."""
    text = "word " * 400
    async with scene(tmp_path, budget_nusd=USD, change=changed(**facts)) as s:
        s.a.script(plain(completion("Hi")))
        assert (await s.here.post(chat(text))).status == 200
        limit = s.a.received[0].json["max_tokens"]
        assert isinstance(limit, int)
        room = most - (400 if "context_tokens" in facts else 0)
        assert 0 < limit <= room


async def test_the_limit_of_a_fallback_fits_the_fallback(tmp_path: Path) -> None:
    """Each endpoint has its own window."""

    def change(endpoint: EndpointSettings) -> EndpointSettings:
        most = 2000 if endpoint.host.name == "a" else 500
        return msgspec.structs.replace(
            endpoint, endpoint=msgspec.structs.replace(endpoint.endpoint, max_output_tokens=most)
        )

    async with scene(tmp_path, budget_nusd=USD, change=change) as s:
        s.a.script(plain({"error": {}}, status=500))
        s.b.script(plain(completion("Hi")))
        answer = await s.here.post(chat())
        assert s.a.received[0].json["max_tokens"] == 2000
        assert s.b.received[0].json["max_tokens"] == 500
        assert answer.headers["x-entrepot-max-tokens"] == "500"


async def test_a_fallback_that_does_not_fit_is_not_sent(tmp_path: Path) -> None:
    """What the first attempt may have cost counts, since nobody knows; the second has to fit beside it."""
    bound = await bound_of(tmp_path / "measured", max_tokens=1000)
    async with scene(tmp_path / "here", budget_nusd=2 * bound) as s:
        s.a.script("close")
        answer = await s.here.post(chat(max_tokens=1000))
        assert answer.status == 402
        assert await s.ended() == ["a expire FAILED NO_REPORT"]
        assert s.b.connections == 0
        assert left(s) == bound


async def test_a_cheaper_endpoint_is_taken_when_the_first_does_not_fit(tmp_path: Path) -> None:
    """A refusal would be a phantom while there is money for an answer; the decision is stored with it."""
    bound = await bound_of(tmp_path / "measured", max_tokens=1000)
    async with scene(tmp_path / "here", budget_nusd=bound + CENT // 10) as s:
        s.a.script(plain(completion("from a")))
        answer = await s.here.post(chat(max_tokens=1000, provider={"order": ["b", "a"]}))
        assert answer.json == completion("from a")
        assert answer.headers["x-entrepot-reason"].startswith("the first that fits the budget; b: ")
        assert await s.ended() == ["a settle OK"]
        assert [(reserve.attempt, bool(reserve.decision)) for reserve in s.reserves()] == [(1, True)]


async def test_calls_at_once_never_pass_the_budget(tmp_path: Path) -> None:
    """Fifty calls, money for seven: seven are sent, and after them exactly what they cost is gone."""
    bound = await bound_of(tmp_path / "measured", max_tokens=1000)
    go_on = asyncio.Event()
    async with scene(tmp_path / "here", hosts=1, budget_nusd=7 * bound + bound // 2) as s:
        for _ in range(50):
            s.a.script(go_on, plain(completion("Hi")))
        calls = [asyncio.create_task(s.here.post(chat(max_tokens=1000))) for _ in range(50)]
        await until(lambda: len(s.a.received) + sum(call.done() for call in calls) == 50)
        assert left(s) == bound // 2
        go_on.set()
        answers = [await call for call in calls]
        assert sorted(answer.status for answer in answers) == [200] * 7 + [402] * 43
        assert len(s.a.received) == 7
        await s.ended()
        assert left(s) == 7 * bound + bound // 2 - sum(settle.bill.total_nusd for settle in s.settles())
        assert (await s.here.post(chat(max_tokens=1000))).status == 200


@pytest.mark.parametrize("how", ["500", "close", "cut", "refused"])
async def test_no_reservation_leaks(tmp_path: Path, how: str) -> None:
    """After a hundred failures of any kind a call fits as long as the money does."""
    acts = {
        "500": (plain({"error": {}}, status=500),),
        "close": ("close",),
        "cut": (STREAM_HEAD + chunk(sse(delta("Hi"))), "close"),
        "refused": (plain({"error": {}}, status=400),),
    }[how]
    async with scene(tmp_path, hosts=1, budget_nusd=100 * USD) as s:
        for _ in range(100):
            s.a.script(*acts)
            await s.here.post(chat(max_tokens=1000, stream=True))
        balance = s.here.gateway.ledger.balances.balance(1)
        assert balance.reserved_nusd == 0
        assert left(s) == 100 * USD - balance.spent_nusd - balance.unknown_nusd
        if how in ("500", "refused"):
            assert left(s) == 100 * USD


async def test_a_budget_may_be_changed_while_the_gateway_runs(tmp_path: Path) -> None:
    """Within a second, and what was spent stays spent."""
    async with scene(tmp_path, hosts=1, budget_nusd=CENT) as s:
        s.a.script(plain(completion("Hi")))
        assert (await s.here.post(chat(max_tokens=1000))).status == 200
        spent = CENT - left(s)
        assert spent > 0
        assert (await s.here.post(chat(max_tokens=10_000))).status == 402
        set_budget(tmp_path, "test", USD, time_ns())
        await until(lambda: left(s) == USD - spent)
        s.a.script(plain(completion("Hi")))
        assert (await s.here.post(chat(max_tokens=10_000))).status == 200
        set_budget(tmp_path, "test", 0, time_ns())
        await until(lambda: left(s) < 0)
        assert (await s.here.post(chat(max_tokens=1))).status == 402


async def test_an_endpoint_without_a_price_is_not_for_a_key_with_a_budget(tmp_path: Path) -> None:
    """What nobody can bound is not sent; a key without a budget may use it."""
    change = changed(prices=None)
    async with scene(tmp_path / "budget", budget_nusd=USD, change=change) as s:
        answer = await s.here.post(chat())
        assert answer.status == 404
        assert "no declared price" in answer.body.decode()
        assert s.a.connections == 0
    async with scene(tmp_path / "none", change=change) as s:
        s.a.script(plain(completion("Hi")))
        assert (await s.here.post(chat())).status == 200
        assert s.settles()[0].bill.total_nusd == 0
