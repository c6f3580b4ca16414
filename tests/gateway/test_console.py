"""The control plane: metrics and the admin API want a token of their own, and tell what the gateway did."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette

from entrepot.console.app import console_app
from entrepot.domain.ids import request_id_text
from entrepot.ledger.entries import CorrectReason, Reserve
from entrepot.testing.gateway_here import MODEL
from entrepot.testing.scripted_host import completion, plain
from tests.gateway.scene import DEADLINE_S, Scene, chat, scene

TOKEN = "console-token"
WITH_TOKEN = {"authorization": f"Bearer {TOKEN}"}


async def call(
    app: Starlette, method: str, path: str, *, headers: Mapping[str, str] = WITH_TOKEN, body: bytes = b""
) -> tuple[int, bytes]:
    """Return status and body of an ASGI call."""
    sent: list[Any] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:  # noqa: ANN401 - as ASGI has it
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path.partition("?")[0],
        "raw_path": path.partition("?")[0].encode(),
        "query_string": path.partition("?")[2].encode(),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers.items()],
        "http_version": "1.1",
        "scheme": "http",
        "server": ("127.0.0.1", 8001),
        "client": ("127.0.0.1", 1),
        "root_path": "",
    }
    await app(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


def metrics_in(text: bytes) -> dict[str, float]:
    """Return the samples of a scrape."""
    lines = [line for line in text.decode().splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": TOKEN},
        {"authorization": f"Bearer {TOKEN}x"},
        {"authorization": f"bearer  {TOKEN}"},
        {"authorization": "Bearer "},
        {"authorization": "Bearer \xff"},
        {"cookie": f"authorization=Bearer {TOKEN}"},
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/metrics"),
        ("GET", "/admin/endpoints"),
        ("GET", "/admin/compare"),
        ("POST", "/admin/corrections"),
        ("GET", "/nowhere"),
    ],
)
async def test_every_route_wants_the_token(
    tmp_path: Path, method: str, path: str, headers: dict[str, str]
) -> None:
    """Also unknown ones, so that nobody can look around; an API key is no token."""
    async with scene(tmp_path) as s:
        app = console_app(s.here.gateway, TOKEN)
        for sent in (headers, {"authorization": f"Bearer {s.here.key}"}):
            status, body = await call(app, method, path, headers=sent)
            assert status == 401
            assert TOKEN not in body.decode()


async def test_the_metrics_count_what_happened(tmp_path: Path) -> None:
    """Attempts by endpoint and outcome, tokens, dollars, refusals; gauges for what is open."""
    async with scene(tmp_path) as s:
        app = console_app(s.here.gateway, TOKEN)
        s.a.script(plain(completion("Hi", 10, 5)))
        s.a.script(plain({"error": {}}, status=429))
        s.b.script(plain(completion("Hi", 20, 7)))
        for _ in range(2):
            assert (await s.here.post(chat())).status == 200
        assert (await s.here.post(b"{")).status == 400
        assert (await s.here.exchange(b"GET /v1/models HTTP/1.1\r\n\r\n")).status == 401
        status, text = await call(app, "GET", "/metrics")
        assert status == 200
        found = metrics_in(text)
        a, b = 'endpoint="test/model@a"', 'endpoint="test/model@b"'
        assert found[f'entrepot_attempts_total{{{a},outcome="ok"}}'] == 1
        assert found[f'entrepot_attempts_total{{{a},outcome="rate_limited"}}'] == 1
        assert found[f'entrepot_attempts_total{{{b},outcome="ok"}}'] == 1
        assert found[f'entrepot_tokens_total{{{a},kind="prompt"}}'] == 10
        assert found[f'entrepot_tokens_total{{{b},kind="output"}}'] == 7
        assert found[f"entrepot_spent_usd_total{{{a}}}"] == pytest.approx(20e-6)
        assert found['entrepot_refusals_total{code="invalid_json"}'] == 1
        assert found['entrepot_refusals_total{code="missing_api_key"}'] == 1
        assert found["entrepot_open_reservations"] == 0
        assert found["entrepot_journal_backlog_bytes"] > 0
        assert found["entrepot_journal_segments"] == 1
        assert 0 <= found["entrepot_journal_sync_age_seconds"] < DEADLINE_S
        assert found[f"entrepot_endpoint_in_flight{{{a}}}"] == 0


async def test_requests_that_nobody_answered_are_counted(tmp_path: Path) -> None:
    """An operator has to see what clients saw."""
    async with scene(tmp_path, hosts=1) as s:
        s.a.script(plain({"error": {}}, status=500))
        assert (await s.here.post(chat())).status == 502
        found = metrics_in((await call(console_app(s.here.gateway, TOKEN), "GET", "/metrics"))[1])
        assert found['entrepot_refusals_total{code="no_host_answered"}'] == 1


async def test_a_name_with_quotes_cannot_break_the_metrics(tmp_path: Path) -> None:
    """Labels are escaped by the client library; each line stays one sample."""
    async with scene(tmp_path) as s:
        for name in ('x"} 1\n', "ä"):
            await s.here.post({**chat(), "model": name})
        status, text = await call(console_app(s.here.gateway, TOKEN), "GET", "/metrics")
        assert status == 200
        assert metrics_in(text)['entrepot_refusals_total{code="model_not_found"}'] == 2


async def test_every_estimate_is_a_metric_with_how_sure_it_is(tmp_path: Path) -> None:
    """Value with its basis, both ends of its interval, observations; an age once there is one."""
    async with scene(tmp_path) as s:
        s.a.script(plain(completion("Hi")))
        await s.here.post(chat())
        _, text = await call(console_app(s.here.gateway, TOKEN), "GET", "/metrics")
        found = metrics_in(text)
        for name in (
            "rate_limited_share",
            "truncated_share",
            "cached_share",
            "price_factor",
            "cached_honour",
        ):
            of = f'{{endpoint="{MODEL}@b",estimate="{name}"'
            value = found[f'entrepot_endpoint_estimate{{basis="assumed",{of[1:]}}}']
            low = found[f"entrepot_endpoint_estimate_low{of}}}"]
            assert low <= value <= found[f"entrepot_endpoint_estimate_high{of}}}"]
            assert found[f"entrepot_endpoint_estimate_observations{of}}}"] == 0.0
            assert f"entrepot_endpoint_estimate_age_seconds{of}}}" not in found
        seen = f'{{endpoint="{MODEL}@a",estimate="truncated_share"}}'
        assert 0.0 <= found[f"entrepot_endpoint_estimate_age_seconds{seen}"] < 30.0
        assert found[f"entrepot_endpoint_estimate_observations{seen}"] == pytest.approx(1.0, abs=0.05)


async def test_the_endpoints_of_all_models_can_be_read(tmp_path: Path) -> None:
    """As on the data plane, for tools that have no API key."""
    async with scene(tmp_path) as s:
        status, body = await call(console_app(s.here.gateway, TOKEN), "GET", "/admin/endpoints")
        assert status == 200
        assert [endpoint["host"] for endpoint in json.loads(body)["data"]] == ["a", "b"]


async def expired(s: Scene) -> tuple[Reserve, int]:
    """Return the reservation of a call whose cost nobody knows, and that cost at most."""
    s.a.script("close")
    s.b.script(plain({"error": {}}, status=400))
    await s.here.post(chat(max_tokens=1000))
    reserve = s.reserves()[0]
    assert s.here.gateway.ledger.balances.balance(1).unknown_nusd == reserve.amount_nusd
    return reserve, reserve.amount_nusd


def correction(reserve: Reserve, unknown_nusd: int, **changes: object) -> dict[str, object]:
    """Return a correction that says what the attempt cost: 10 and 5 tokens, 20,000 nano-dollars."""
    return {
        "request_id": request_id_text(reserve.request_id),
        "attempt": reserve.attempt,
        "key_id": reserve.key_id,
        "endpoint_id": reserve.endpoint_id,
        "price_version": reserve.price_version,
        "correction_id": 7,
        "reason": CorrectReason.HOST_LOG.value,
        "usage": {"uncached_tokens": 10, "output_tokens": 5},
        "bill": {"uncached_nusd": 10_000, "output_nusd": 10_000},
        "unknown_nusd": unknown_nusd,
        **changes,
    }


async def test_a_correction_replaces_what_nobody_knew(tmp_path: Path) -> None:
    """The true-up against a host's log: once, however often it is sent."""
    async with scene(tmp_path) as s:
        app = console_app(s.here.gateway, TOKEN)
        reserve, unknown = await expired(s)
        body = json.dumps([correction(reserve, unknown)]).encode()
        for _ in range(2):
            status, reply = await call(app, "POST", "/admin/corrections", body=body)
            assert (status, json.loads(reply)["conflicts"]) == (200, [])
            balance = s.here.gateway.ledger.balances.balance(1)
            assert (balance.spent_nusd, balance.unknown_nusd) == (20_000, 0)
        found = (await s.here.get(f"/v1/generation?id={request_id_text(reserve.request_id)}")).json["data"]
        assert isinstance(found, dict)
        assert found["cost_usd"] == "0.00002"
        assert found["unknown_at_most_usd"] == "0.00"


async def test_a_correction_that_does_not_fit_is_told_and_changes_nothing(tmp_path: Path) -> None:
    """More unknown money than there is, or another content under a known id."""
    async with scene(tmp_path) as s:
        app = console_app(s.here.gateway, TOKEN)
        reserve, unknown = await expired(s)
        body = json.dumps([correction(reserve, unknown + 1)]).encode()
        status, reply = await call(app, "POST", "/admin/corrections", body=body)
        assert status == 200
        assert json.loads(reply)["applied"] == 0
        assert len(json.loads(reply)["conflicts"]) == 1
        assert s.here.gateway.ledger.balances.balance(1).unknown_nusd == unknown


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff", b"{}", b"[1]", b'[{"request_id": "x"}]', b"null", b"[" * 100_000],
)
async def test_what_is_no_list_of_corrections_is_a_400(tmp_path: Path, body: bytes) -> None:
    """In words, without a traceback."""
    async with scene(tmp_path) as s:
        status, reply = await call(
            console_app(s.here.gateway, TOKEN), "POST", "/admin/corrections", body=body
        )
        assert status == 400
        assert "message" in json.loads(reply)["error"]


async def test_a_correction_of_an_id_that_is_not_ours_is_a_400(tmp_path: Path) -> None:
    """The message quotes the id."""
    async with scene(tmp_path) as s:
        reserve, unknown = await expired(s)
        body = json.dumps([correction(reserve, unknown, request_id="chatcmpl-1")]).encode()
        status, reply = await call(
            console_app(s.here.gateway, TOKEN), "POST", "/admin/corrections", body=body
        )
        assert status == 400
        assert "chatcmpl-1" in reply.decode()


async def test_a_comparison_says_who_is_best_and_where_endpoints_swap(tmp_path: Path) -> None:
    """Every endpoint of the model with its dollars and seconds; each pair once; from 0 upwards."""
    async with scene(tmp_path) as s:
        app = console_app(s.here.gateway, TOKEN)
        model = s.here.gateway.targets[0].endpoint.model
        query = f"model={model}&tokens_in=1000&tokens_out=500"
        status, body = await call(app, "GET", f"/admin/compare?{query}")
        told = json.loads(body)
        assert status == 200
        names = {target.endpoint.name for target in s.here.gateway.targets if target.endpoint.model == model}
        assert {one["name"] for one in told["endpoints"]} == names
        assert told["best_from"][0]["usd_per_hour"] == 0.0
        assert len(told["swaps"]) == len(names) * (len(names) - 1) // 2


@pytest.mark.parametrize(
    ("query", "expected", "word"),
    [
        ("", 400, "tokens_in"),
        ("model=a/b&tokens_in=x&tokens_out=1", 400, "tokens_in"),
        ("model=a/b&tokens_in=-1&tokens_out=1", 400, "from 0"),
        ("model=a/b&tokens_in=nan&tokens_out=1", 400, "from 0"),
        ("model=a/b&tokens_in=1&tokens_out=1", 404, "a/b"),
    ],
)
async def test_a_comparison_of_nothing_says_what_to_ask(
    tmp_path: Path, query: str, expected: int, word: str
) -> None:
    """Missing, wrong and unknown values each get a message."""
    async with scene(tmp_path) as s:
        app = console_app(s.here.gateway, TOKEN)
        status, body = await call(app, "GET", f"/admin/compare?{query}")
        assert status == expected
        assert word in body.decode()
