"""What can be read over /v1: models, endpoints with what is known of them, and the account of a request."""

from __future__ import annotations

import asyncio
from pathlib import Path
from time import time_ns
from typing import Any
from urllib.parse import quote

import pytest
from msgspec.structs import replace

from entrepot.catalog.settings import EndpointSettings
from entrepot.domain.estimate import Basis, Estimate
from entrepot.domain.virtual import Member, VirtualModel
from entrepot.ledger.keys.log import create_key
from entrepot.testing.gateway_here import MODEL, Answer, GatewayHere
from entrepot.testing.scripted_host import (
    STREAM_HEAD,
    chunk,
    completion,
    delta,
    plain,
    sse,
    stream,
    usage_chunk,
)
from tests.gateway.scene import chat, scene, until


async def data_at(here: GatewayHere, path: str) -> Any:  # noqa: ANN401 - JSON
    """Return the `data` of a read that must succeed."""
    answer = await here.get(path)
    assert answer.status == 200
    return answer.json["data"]


async def get_with(here: GatewayHere, path: str, key: str) -> Answer:
    """Return the reply to a read with another key."""
    return await here.exchange(f"GET {path} HTTP/1.1\r\nauthorization: Bearer {key}\r\n\r\n".encode())


async def test_the_models_are_listed_as_openai_lists_them(tmp_path: Path) -> None:
    """One entry for a model, however many endpoints it has."""
    async with scene(tmp_path) as s:
        answer = await s.here.get("/v1/models")
        assert answer.json["object"] == "list"
        (model,) = await data_at(s.here, "/v1/models")
        assert model["id"] == MODEL
        assert (model["object"], model["owned_by"], model["endpoints"]) == ("model", "test", 2)
        assert model["context_length"] == 100_000
        assert (await s.here.get(f"/v1/models/{MODEL}")).json == model
        assert (await s.here.get(f"/v1/models/{MODEL}?x=1")).json == model


async def test_a_virtual_model_is_listed_with_its_members(tmp_path: Path) -> None:
    """In OpenAI's shape as any other, with what its members offer together; what is ours has our name."""
    share = Estimate(0.82, Basis.DECLARED, source="entrepot.toml")
    declared = {"value": 0.82, "basis": "declared", "count": 0.0, "age_s": None, "source": "entrepot.toml"}
    virtual = VirtualModel("auto/coder", (Member("b/y", share), Member(MODEL)), 0.7)

    def other(entry: EndpointSettings) -> EndpointSettings:
        if entry.host.name == "a":
            return entry
        endpoint = replace(entry.endpoint, model="b/y", name="b/y@b", context_tokens=200_000)
        return replace(entry, endpoint=endpoint)

    async with scene(tmp_path, virtual_models=(virtual,), change=other) as s:
        listed = {model["id"]: model for model in await data_at(s.here, "/v1/models")}
        assert list(listed) == ["auto/coder", "b/y", MODEL]
        assert listed["auto/coder"] == {
            "id": "auto/coder",
            "object": "model",
            "created": 0,
            "owned_by": "auto",
            "context_length": 200_000,
            "endpoints": 2,
            "simulated": False,
            "origin_country": None,
            "entrepot": {
                "virtual": True,
                "members": [
                    {
                        "model": "b/y",
                        "success_share": {**declared, "interval": {"share": 0.9, "low": 0.0, "high": 1.0}},
                        "declared_success_share": {**declared, "interval": None},
                        "measured_success_share": None,
                    },
                    {
                        "model": MODEL,
                        "success_share": None,
                        "declared_success_share": None,
                        "measured_success_share": None,
                    },
                ],
                "min_success_share": 0.7,
            },
        }
        assert "entrepot" not in listed[MODEL]
        assert (await s.here.get("/v1/models/auto/coder")).json == listed["auto/coder"]
        data = await data_at(s.here, "/v1/models/auto/coder/endpoints")
        assert [endpoint["name"] for endpoint in data["endpoints"]] == [f"{MODEL}@a", "b/y@b"]


@pytest.mark.parametrize(
    "path", ["/v1/models/test/modle", "/v1/models/test/modle/endpoints", "/v1/models/model"]
)
async def test_an_unknown_model_is_a_404_with_the_nearest_names(tmp_path: Path, path: str) -> None:
    """So that a typing mistake needs no second look-up."""
    async with scene(tmp_path) as s:
        answer = await s.here.get(path)
        assert answer.status == 404
        assert MODEL in answer.body.decode()
        assert "model_not_found" in answer.body.decode()


async def test_an_endpoint_tells_what_it_costs_and_what_is_known_of_it(tmp_path: Path) -> None:
    """Prices as exact decimals; each KPI with its basis, count and age, assumed before there is traffic."""
    async with scene(tmp_path) as s:
        before, other = (await data_at(s.here, f"/v1/models/{MODEL}/endpoints"))["endpoints"]
        assert (before["name"], other["name"]) == (f"{MODEL}@a", f"{MODEL}@b")
        assert before["pricing"]["input_usd_per_mtok"] == "1"
        assert before["pricing"]["output_usd_per_mtok"] == "2"
        assert before["kpis"].keys() - {"in_flight"} >= {
            *("ttft_s", "tpot_s", "tokens_per_s", "failure_share", "rate_limited_share", "truncated_share"),
            *("cached_share", "prefix_trust", "cached_honour", "price_factor"),
        }
        for kpi in before["kpis"].keys() - {"in_flight"}:
            assert before["kpis"][kpi]["basis"] == "assumed"
            assert before["kpis"][kpi]["count"] == 0
            assert before["kpis"][kpi]["age_s"] is None
            interval = before["kpis"][kpi]["interval"]
            assert interval["share"] == 0.9
            assert interval["low"] <= before["kpis"][kpi]["value"] <= interval["high"]
        for _ in range(8):
            s.a.script(
                STREAM_HEAD + chunk(sse(delta("Hel"))),
                chunk(sse(delta("lo"), delta(finish_reason="stop"), usage_chunk(3, 40), "[DONE]"))
                + b"0\r\n\r\n",
            )
            await s.here.post(chat(stream=True))
        after, other = (await data_at(s.here, f"/v1/models/{MODEL}/endpoints"))["endpoints"]
        for kpi in ("ttft_s", "tpot_s", "failure_share"):
            assert after["kpis"][kpi]["basis"] == "measured"
            assert 7.9 < after["kpis"][kpi]["count"] <= 8
            assert 0 <= after["kpis"][kpi]["age_s"] < 10
        assert after["kpis"]["in_flight"] == 0
        assert after["kpis"]["ttft_s"]["value"] < before["kpis"]["ttft_s"]["value"]
        assert other["kpis"]["ttft_s"]["basis"] == "assumed"


async def test_what_is_under_way_is_counted_at_its_endpoint(tmp_path: Path) -> None:
    """In-flight attempts are part of the forecast, so they are shown."""
    go_on = asyncio.Event()
    async with scene(tmp_path) as s:
        s.a.script(go_on, plain(completion("Hi")))
        calling = asyncio.create_task(s.here.post(chat()))
        await until(lambda: s.a.received)
        endpoint = (await data_at(s.here, f"/v1/models/{MODEL}/endpoints"))["endpoints"][0]
        assert endpoint["kpis"]["in_flight"] == 1
        go_on.set()
        await calling


async def test_a_request_can_be_looked_up_the_moment_it_ends(tmp_path: Path) -> None:
    """By our id and by the host's own id of the answer: attempts, tokens, dollars."""
    async with scene(tmp_path) as s:
        s.a.script(plain({"error": {}}, status=500))
        s.b.script(stream(delta("Hi"), delta(finish_reason="stop"), usage_chunk(10, 5)))
        request_id = (await s.here.post(chat(stream=True))).headers["x-request-id"]
        by_ours = await data_at(s.here, f"/v1/generation?id={request_id}")
        assert by_ours["id"] == request_id
        assert by_ours["upstream_id"] == "chatcmpl-scripted"
        assert (by_ours["endpoint"], by_ours["state"], by_ours["outcome"]) == (f"{MODEL}@b", "settled", "ok")
        assert (by_ours["tokens_prompt"], by_ours["tokens_completion"]) == (10, 5)
        assert by_ours["cost_usd"] == "0.00004"
        assert by_ours["total_cost"] == 0.00004
        assert [(a["host"], a["state"], a["http_status"]) for a in by_ours["attempts"]] == [
            ("a", "void", 500),
            ("b", "settled", 200),
        ]
        assert await data_at(s.here, "/v1/generation?id=chatcmpl-scripted") == by_ours
        bare = request_id.removeprefix("req-")
        assert await data_at(s.here, f"/v1/generation?id={bare}") == by_ours


async def test_a_request_under_way_is_open(tmp_path: Path) -> None:
    """The reservation is in the journal before the first byte goes out."""
    go_on = asyncio.Event()
    async with scene(tmp_path) as s:
        s.a.script(go_on, plain(completion("Hi")))
        calling = asyncio.create_task(s.here.post(chat()))
        await until(lambda: s.a.received)
        request_id = s.a.received[0].headers["x-request-id"].removesuffix("-1")
        assert (await data_at(s.here, f"/v1/generation?id={request_id}"))["state"] == "open"
        go_on.set()
        await calling


async def test_a_cut_stream_says_that_it_is_estimated_and_cancelled(tmp_path: Path) -> None:
    """The row is there, and honest."""
    async with scene(tmp_path) as s:
        s.a.script(STREAM_HEAD + chunk(sse(delta("Hello"))), "wait for close")
        reader, writer = await s.here.open()
        writer.write(s.here.request(chat(stream=True)))
        await reader.readuntil(b"Hello")
        writer.close()
        await s.ended()
        found = await data_at(s.here, "/v1/generation?id=chatcmpl-scripted")
        assert found["cancelled"] is True
        assert found["attempts"][0]["estimated"] is True
        assert found["total_cost"] > 0


async def test_another_keys_request_is_not_found(tmp_path: Path) -> None:
    """By neither id; and where two keys have answers of one id, each finds its own."""
    async with scene(tmp_path) as s:
        other = create_key(tmp_path, "other", None, time_ns())
        s.here.gateway.ledger.refresh_keys()
        s.a.script(plain(completion("Hi")))
        mine = (await s.here.post(chat())).headers["x-request-id"]
        for wanted in (mine, "chatcmpl-scripted"):
            answer = await get_with(s.here, f"/v1/generation?id={wanted}", other)
            assert answer.status == 404
            assert "unknown_request" in answer.body.decode()
        s.a.script(plain(completion("Hi")))
        request = s.here.request(chat()).replace(s.here.key.encode(), other.encode())
        theirs = (await s.here.exchange(request)).headers["x-request-id"]
        found = await get_with(s.here, "/v1/generation?id=chatcmpl-scripted", other)
        assert found.json["data"]["id"] == theirs  # type: ignore[index]
        assert (await data_at(s.here, "/v1/generation?id=chatcmpl-scripted"))["id"] == mine


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("", 400, "missing_id"),
        ("?id=", 400, "missing_id"),
        ("?ID=req-1", 400, "missing_id"),
        ("?id=req-00000000000000000000000000000000", 404, "unknown_request"),
        ("?id=req-zz", 404, "unknown_request"),
        ("?id=" + quote("ä\r\n\0"), 404, "unknown_request"),
        ("?id=" + "x" * 9000, 404, "unknown_request"),
        ("?id=%00", 404, "unknown_request"),
    ],
)
async def test_an_id_that_nobody_has_is_told(tmp_path: Path, query: str, status: int, code: str) -> None:
    """Whatever stands there; a refused request has no account either."""
    async with scene(tmp_path) as s:
        s.a.script(plain({**completion("Hi"), "id": ""}))
        await s.here.post(chat())
        answer = await s.here.get(f"/v1/generation{query}")
        assert answer.status == status
        assert code in answer.body.decode()


async def test_an_answer_id_with_odd_letters_is_found(tmp_path: Path) -> None:
    """Hosts make their ids as they like."""
    odd = "gen/ä 1+2&x=%41"
    async with scene(tmp_path) as s:
        s.a.script(plain({**completion("Hi"), "id": odd}))
        await s.here.post(chat())
        assert (await data_at(s.here, f"/v1/generation?id={quote(odd, safe='')}"))["upstream_id"] == odd
