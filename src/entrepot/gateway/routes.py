"""What can be read over `/v1`: models, their endpoints, a request's account; and health.

Rare next to calls, so they are written for reading. A key sees only its own requests.
"""

from __future__ import annotations

import asyncio
import difflib
from time import monotonic
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote

import msgspec

from entrepot.catalog.kept_rules import kept_rules
from entrepot.domain.endpoint import Endpoint, Operation
from entrepot.domain.errors import Refusal
from entrepot.domain.estimate import INTERVAL_SHARE, Estimate
from entrepot.domain.prices import Prices
from entrepot.domain.virtual import Member, VirtualModel
from entrepot.gateway.exchange import Exchange
from entrepot.gateway.feedback import FEEDBACK_PATH, answer_feedback
from entrepot.gateway.refusals import invalid_request, wrong_method
from entrepot.ledger.history import Names, RefusalHistory, RequestHistory, Told, told
from entrepot.ledger.history_json import history_json, refusal_json
from entrepot.ledger.keys.keys import Key
from entrepot.routing.decision_json import decision_json, grounds_json
from entrepot.routing.members import declared_share

if TYPE_CHECKING:
    from entrepot.gateway.gateway import Gateway

CALLS = {f"/v1/{operation.value}".encode(): operation for operation in Operation}
READ_METHODS = frozenset({b"GET", b"HEAD"})
READ_PATHS = ("/v1/models", "/v1/generation")
Json = dict[str, object]


async def answer_read(gateway: Gateway, exchange: Exchange) -> None:
    """Answer anything that is not a call."""
    path = unquote(exchange.path.decode("latin-1"))
    is_read = exchange.method in READ_METHODS
    if path == "/health" and is_read:
        exchange.reply(200, b'{"status":"ok"}')
        return
    if not path.startswith("/v1/"):
        known = path == "/health"
        exchange.refuse(wrong_method(exchange, "GET") if known else _not_found(path))
        return
    key = gateway.admission.key_of(exchange)
    if isinstance(key, Refusal):
        gateway.counters.refused(key)
        exchange.refuse(key)
        return
    if path == FEEDBACK_PATH:
        await answer_feedback(gateway, exchange, key)
        return
    if not is_read:
        known = path.startswith(READ_PATHS)
        exchange.refuse(wrong_method(exchange, "GET") if known else _not_found(path))
        return
    if path == "/v1/generation":
        await _answer_generation(gateway, exchange, key)
        return
    found = _models(gateway, path)
    if isinstance(found, Refusal):
        exchange.refuse(found)
    else:
        exchange.reply(200, msgspec.json.encode(found))


def _models(gateway: Gateway, path: str) -> Json | Refusal:
    parts = path.removeprefix("/v1/").split("/")
    match parts:
        case ["models"]:
            names = sorted(gateway.model_names)
            return {"object": "list", "data": [model_json(gateway, name) for name in names]}
        case ["models", developer, name] if f"{developer}/{name}" in gateway.model_names:
            return model_json(gateway, f"{developer}/{name}")
        case ["models", developer, name, "endpoints"] if f"{developer}/{name}" in gateway.model_names:
            model = f"{developer}/{name}"
            return {"data": {**model_json(gateway, model), "endpoints": endpoints_json(gateway, model)}}
        case ["models", *rest]:
            return _unknown_model(gateway, "/".join(rest).removesuffix("/endpoints"))
        case _:
            pass
    return _not_found(path)


def _served_by(gateway: Gateway, name: str) -> frozenset[str]:
    """Return the models that answer for a name: itself, or the members of a virtual model."""
    virtual = gateway.virtual_models.get(name)
    return frozenset({name}) if virtual is None else frozenset(member.model for member in virtual.members)


def model_json(gateway: Gateway, name: str) -> Json:
    """Return a model in OpenAI's shape, with what its endpoints offer at best."""
    models = _served_by(gateway, name)
    endpoints = [target.endpoint for target in gateway.targets if target.endpoint.model in models]
    origins = {endpoint.origin_country for endpoint in endpoints}
    virtual = gateway.virtual_models.get(name)
    return {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": name.partition("/")[0],
        "context_length": max(endpoint.context_tokens for endpoint in endpoints),
        "endpoints": len(endpoints),
        "simulated": all(endpoint.simulated for endpoint in endpoints),
        "origin_country": origins.pop() if len(origins) == 1 else None,
    } | ({} if virtual is None else {"entrepot": _virtual_json(gateway, virtual)})


def _virtual_json(gateway: Gateway, virtual: VirtualModel) -> Json:
    now_s = monotonic()
    return {
        "virtual": True,
        "members": [_member_json(gateway, member, now_s) for member in virtual.members],
        "min_success_share": virtual.min_success_share,
    }


def _member_json(gateway: Gateway, member: Member, now_s: float) -> Json:
    """Return a member with the share of useful answers: what the choice goes by, and what it is made of."""
    declared = declared_share(member, gateway.router.models.get(member.model))
    share = gateway.knowledge.success_kpis(member.model, declared, now_s)
    return {
        "model": member.model,
        "success_share": None if share.used is None else _estimate(share.used),
        "declared_success_share": None if share.declared is None else _estimate(share.declared),
        "measured_success_share": None if share.told is None else _estimate(share.told),
    }


def endpoints_json(gateway: Gateway, model: str | None = None) -> list[Json]:
    """Return the endpoints of a model, or of all: prices, context, and all KPIs with how sure they are."""
    now_s = monotonic()
    models = None if model is None else _served_by(gateway, model)
    return [
        _endpoint_json(gateway, target.index, target.endpoint, now_s)
        for target in gateway.targets
        if models is None or target.endpoint.model in models
    ]


def _endpoint_json(gateway: Gateway, index: int, endpoint: Endpoint, now_s: float) -> Json:
    kpis = gateway.knowledge.kpis(index, now_s)
    prices = gateway.router.endpoints[index].prices  # those of the present hour
    return {
        "name": endpoint.name,
        "model": endpoint.model,
        "host": endpoint.host,
        "owner_country": endpoint.owner_country,
        "region": endpoint.region,
        **_handling_json(endpoint),
        "context_length": endpoint.context_tokens,
        "max_completion_tokens": endpoint.max_output_tokens,
        "quantization": endpoint.quantization,
        "simulated": endpoint.simulated,
        "pricing": None if prices is None else _prices_json(prices),
        "rates": [] if endpoint.tariff is None else [_prices_json(card) for card in endpoint.tariff.cards],
        "kpis": {
            **{name: _estimate(estimate) for name, estimate in kpis.estimates().items()},
            "in_flight": kpis.in_flight,
        },
    }


def _handling_json(endpoint: Endpoint) -> Json:
    """Return what rules ask of an endpoint; None where nobody declared it."""
    owners = endpoint.major_owners
    return {
        "country": endpoint.country,
        "major_owners": None if owners is None else sorted(owners),
        "trains_on_data": endpoint.trains_on_data,
        "zero_data_retention": endpoint.zero_data_retention,
        "retention_days": endpoint.retention_days,
        "baa": endpoint.baa,
        "attested_on": endpoint.attested_on,
        "evidence": endpoint.evidence,
    }


def _prices_json(prices: Prices) -> Json:
    return {
        "input_usd_per_mtok": _usd(prices.input_nusd_per_mtok),
        "cached_input_usd_per_mtok": _usd(prices.cached_or_input_nusd_per_mtok),
        "cache_write_usd_per_mtok": _usd(prices.write_or_input_nusd_per_mtok),
        "output_usd_per_mtok": _usd(prices.output_nusd_per_mtok),
        "request_usd": _usd(prices.request_nusd),
        "label": prices.label,
        "source": prices.source,
        "checked": prices.checked,
    }


def _usd(nusd: int) -> str:
    return f"{nusd / 1e9:.9f}".rstrip("0").rstrip(".")


def _estimate(estimate: Estimate) -> Json:
    interval = estimate.interval
    return {
        "value": estimate.value,
        "basis": estimate.basis.value,
        "count": round(estimate.count, 2),
        "age_s": None if estimate.age_s is None else round(estimate.age_s, 1),
        "interval": None if interval is None else _interval_json(*interval),
        "source": estimate.source,
    }


def _interval_json(low: float, high: float) -> Json:
    return {"share": INTERVAL_SHARE, "low": low, "high": high}


async def _answer_generation(gateway: Gateway, exchange: Exchange, key: Key) -> None:
    wanted = parse_qs(exchange.query.decode("latin-1")).get("id", [""])[0]
    if not wanted:
        exchange.refuse(
            invalid_request(400, "missing_id", "say which: /v1/generation?id=req-… (or the answer's own id)")
        )
        return
    names = Names.of(gateway.ledger.balances)
    found = await asyncio.to_thread(told, gateway.ledger.path, wanted, names=names, key_id=key.key_id)
    if found is None:
        exchange.refuse(invalid_request(404, "unknown_request", f"this key has no request {wanted!r}"))
        return
    data = await asyncio.to_thread(_generation_json, gateway, found)
    exchange.reply(200, msgspec.json.encode({"data": data}))


def _generation_json(gateway: Gateway, found: Told) -> Json:
    if isinstance(found, RefusalHistory):
        return {**refusal_json(found), "refusal": _grounds(gateway, found)}
    return {**history_json(found), "decision": _decision(gateway, found)}


def _grounds(gateway: Gateway, found: RefusalHistory) -> Json | None:
    """Return what a refusal was decided by, None where that cannot be read any more."""
    try:
        grounds = found.read_grounds()
    except ValueError:
        return None
    return grounds_json(grounds, found.endpoint_names, kept_rules(gateway.ledger.path, grounds.policy))


def _decision(gateway: Gateway, found: RequestHistory) -> Json | None:
    """Return why the request went where it went, None where that is not kept or cannot be read any more."""
    try:
        decision = found.read_decision()
    except ValueError:
        return None
    if decision is None:
        return None
    return decision_json(decision, found.endpoint_names, kept_rules(gateway.ledger.path, decision.policy))


def _not_found(path: str) -> Refusal:
    return invalid_request(
        404,
        "not_found",
        f"there is no {path!r}; the API is /v1/chat/completions, /v1/completions, /v1/embeddings, "
        "/v1/models, /v1/generation, /v1/feedback and /health",
    )


def _unknown_model(gateway: Gateway, name: str) -> Refusal:
    names = sorted(gateway.model_names)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.3) or names[:3]
    return invalid_request(404, "model_not_found", f"no model {name!r} here; nearest: {', '.join(near)}")
