"""Scenarios made by chance, so that a router is not fitted to the ones that its authors wrote.

Figures lie in the ranges of the written scenarios; what moves, fails or lies is drawn for each endpoint.
A router's constants have to be fixed before seeds of 1000 and more are looked at.
"""

from __future__ import annotations

from random import Random

from entrepot.domain.money import NUSD_PER_USD
from entrepot.domain.prices import Prices
from entrepot.replay.scenario import (
    CacheFigures,
    Drift,
    Phase,
    PriceChange,
    ReplayEndpoint,
    ReplayModel,
    ReplayScenario,
)

FIRST_UNSEEN_SEED = 2000
"""Seeds from 1000 on are for reports, not for tuning. The benchmark begins here: 1000 to 1009 were run
while it was built."""

HORIZON_S = 3600.0
"""Phases and changes fall into the hour that both public traces last."""

_HOSTS = ("harbour", "mole", "quay", "jetty", "wharf", "pier", "basin", "slip", "dock")
_SMALL_REQUESTS = 30.0
_CENT_NUSD = NUSD_PER_USD // 100


def generated_scenario(seed: int) -> ReplayScenario:
    """Return the scenario of this seed: four to nine endpoints of one to three models."""
    rng = Random(f"replay scenario {seed}")
    count = rng.randint(4, len(_HOSTS))
    models = [_model(rng, number) for number in range(rng.choice((1, 1, 2, 3)))]
    endpoints = [
        _endpoint(rng, host, models[number % len(models)]) for number, host in enumerate(_HOSTS[:count])
    ]
    return ReplayScenario(
        name=f"generated:{seed}",
        title=f"{count} endpoints of {len(models)} models, made by chance",
        models=tuple(models),
        endpoints=tuple(endpoints),
    )


def _model(rng: Random, number: int) -> ReplayModel:
    verbosity = _between(rng, 0.5, 4.0) if number else 1.0
    return ReplayModel(
        name=f"generated/model-{number}",
        verbosity=verbosity,
        declared_verbosity_tokens=_between(rng, 100, 2000) if rng.random() < 0.5 else None,
        drifts=_drifts(rng, ("verbosity",), 0.2, 0.3),
    )


def _endpoint(rng: Random, host: str, model: ReplayModel) -> ReplayEndpoint:
    ttft_s, tokens_per_s = _between(rng, 0.2, 8.0), _between(rng, 15, 250)
    prices = _prices(rng, tokens_per_s)
    has_cache = rng.random() < 0.5
    declares = rng.random() < 0.7
    lies = _between(rng, 0.4, 2.5) if rng.random() < 0.4 else 1.0
    capacity = _between(rng, 3, 400)
    return ReplayEndpoint(
        host=host,
        model=model.name,
        prices=prices,
        context_tokens=rng.choice((131_072, 131_072, 163_840, 262_144)),
        ttft_s=ttft_s,
        tokens_per_s=tokens_per_s,
        prefill_tokens_per_s=_between(rng, 2000, 30_000),
        capacity_requests=capacity,
        most_requests=_most_requests(rng, capacity),
        spread_ttft=rng.uniform(0.1, 0.6),
        spread_tpot=rng.uniform(0.05, 0.3),
        failure_share=_between(rng, 0.0005, 0.05) if rng.random() < 0.6 else 0.0,
        failure_s=_between(rng, 0.2, 20.0),
        rate_limited_share=_between(rng, 0.001, 0.1) if rng.random() < 0.3 else 0.0,
        cut_share=_between(rng, 0.0005, 0.02) if rng.random() < 0.3 else 0.0,
        cache=CacheFigures(rng.choice((5000, 50_000, 500_000)), _between(rng, 60, 3600))
        if has_cache
        else None,
        honours_cached_price=rng.random() < 0.8,
        declared_ttft_s=ttft_s * lies if declares else None,
        declared_tokens_per_s=tokens_per_s / lies if declares else None,
        phases=tuple(_phase(rng) for _ in range(rng.choice((0, 0, 0, 1, 1, 2)))),
        drifts=_drifts(rng, ("ttft_s", "tokens_per_s", "capacity_requests"), 0.4, 0.7),
        price_changes=(PriceChange(rng.uniform(0, HORIZON_S), _prices(rng, tokens_per_s)),)
        if rng.random() < 0.2
        else (),
    )


def _most_requests(rng: Random, capacity: float) -> int | None:
    """Return a limit for small endpoints, and for some of the others: nobody queues without end."""
    is_limited = rng.random() < 0.3 or capacity < _SMALL_REQUESTS
    return round(capacity * rng.uniform(3, 10)) + 4 if is_limited else None


def _prices(rng: Random, tokens_per_s: float) -> Prices:
    """Return prices that grow with the root of the speed, roughly: fast hosts ask more, but not all do."""
    output_usd = _between(rng, 0.5, 2.0) * (tokens_per_s / 40.0) ** 0.5 * 2.5
    input_usd = output_usd * rng.uniform(0.15, 0.5)
    cached = _cents(input_usd * rng.choice((0.1, 0.25, 0.5))) if rng.random() < 0.6 else None
    return Prices(_cents(input_usd), _cents(output_usd), cached)


def _phase(rng: Random) -> Phase:
    from_s = rng.uniform(0, 0.9 * HORIZON_S)
    until_s = from_s + _between(rng, 30, 1200)
    kind = rng.choice(("outage", "slow", "failing", "limited", "busy"))
    slower = _between(rng, 2, 10)
    return Phase(
        from_s=from_s,
        until_s=until_s,
        ttft_times=slower if kind == "slow" else 1.0,
        tokens_per_s_times=1.0 / slower if kind == "slow" else 1.0,
        failure_share=rng.uniform(0.1, 0.9) if kind == "failing" else None,
        rate_limited_share=rng.uniform(0.1, 0.9) if kind == "limited" else None,
        background_requests=_between(rng, 5, 200) if kind == "busy" else 0.0,
        outage=kind == "outage",
    )


def _drifts(rng: Random, kinds: tuple[str, ...], share: float, most: float) -> tuple[Drift, ...]:
    return tuple(
        Drift(kind, _between(rng, 300, 7200), rng.uniform(0.1, most), rng.random())
        for kind in kinds
        if rng.random() < share
    )


def _between(rng: Random, least: float, most: float) -> float:
    """Return a number whose logarithm is uniform: as many of small size as of large."""
    return float(least * (most / least) ** rng.random())


def _cents(usd: float) -> int:
    """Return a price in whole cents, at least one. Units: USD in, nano-USD out."""
    return max(round(usd * 100), 1) * _CENT_NUSD
