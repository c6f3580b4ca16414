"""Scenarios, traces and worlds for the tests of the replay, with as few words as a test needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from entrepot.domain.money import nusd_from_usd
from entrepot.domain.outcome import Outcome
from entrepot.domain.prices import Prices
from entrepot.domain.request import Slo
from entrepot.replay.asked import Asked, ReplayRouter, Terms
from entrepot.replay.scenario import ReplayEndpoint, ReplayModel, ReplayScenario, told
from entrepot.replay.simulate import RouterMaker, Run, Simulation
from entrepot.replay.trace import Trace, TraceRequest
from entrepot.replay.world import World
from entrepot.routing.kpi.observation import Observation

MODEL = "test/model"
V_USD_PER_HOUR = 36.0
V_USD_PER_S = 0.01


def prices(usd_in: str = "1", usd_out: str = "2", usd_cached: str | None = None) -> Prices:
    """Return prices from dollars per million tokens."""
    return Prices(
        nusd_from_usd(usd_in),
        nusd_from_usd(usd_out),
        None if usd_cached is None else nusd_from_usd(usd_cached),
    )


def endpoint(host: str = "a", **figures: object) -> ReplayEndpoint:
    """Return an endpoint that answers after 1 s with 100 tokens/s, ever the same, unless told otherwise."""
    known: dict[str, object] = {
        "host": host,
        "model": MODEL,
        "prices": prices(),
        "context_tokens": 100_000,
        "ttft_s": 1.0,
        "tokens_per_s": 100.0,
        "prefill_tokens_per_s": 1e9,
        "capacity_requests": 1e9,
    }
    return ReplayEndpoint(**{**known, **figures})  # type: ignore[arg-type]


def scenario(*endpoints: ReplayEndpoint, models: Sequence[ReplayModel] = ()) -> ReplayScenario:
    """Return a scenario of these endpoints; of one model unless models are given."""
    return ReplayScenario("test", "A test", tuple(models) or (ReplayModel(MODEL),), endpoints)


def trace(*rows: tuple[float, int, int], blocks: Mapping[int, tuple[int, ...]] | None = None) -> Trace:
    """Return a trace of (seconds, prompt tokens, output tokens); `blocks` of some requests by number."""
    return Trace(
        "test",
        tuple(
            TraceRequest(at_s, prompt, output, (blocks or {}).get(number, ()))
            for number, (at_s, prompt, output) in enumerate(rows)
        ),
    )


def steady_trace(count: int, every_s: float = 10.0, prompt: int = 1000, output: int = 100) -> Trace:
    """Return equal requests at equal distances."""
    return trace(*((number * every_s, prompt, output) for number in range(count)))


def world(of: ReplayScenario, on: Trace, usd_per_s: float = V_USD_PER_S) -> World:
    """Return the true state at the start."""
    made = World(of, on, usd_per_s)
    made.move(0.0)
    return made


def terms(of: ReplayScenario, on: Trace | None = None, seed: int = 0) -> Terms:
    """Return what a router is made of."""
    endpoints, models = told(of)
    truth = world(of, on or steady_trace(1))
    return Terms(endpoints, models, of.model_names, Slo(usd_per_hour=V_USD_PER_HOUR), seed, truth)


def asked(number: int = 0, *, fits: Sequence[int] = (0, 1, 2), prompt_bytes: int = 4000) -> Asked:
    """Return a request as a router sees it."""
    return Asked(number, prompt_bytes, fits, (), 0, 0, 0)


def seen(
    index: int,
    at_s: float = 0.0,
    outcome: Outcome = Outcome.OK,
    *,
    answer_s: float = 2.0,
    ttft_s: float | None = 1.0,
    output_tokens: int | None = 100,
) -> Observation:
    """Return an ended attempt."""
    return Observation(index, at_s, outcome, answer_s, ttft_s, None, 4000, 1000, 0, output_tokens)


class InOrder:
    """A router that always tries the same order, and keeps what it was shown."""

    def __init__(self, order: Sequence[int]) -> None:
        self.order = order
        self.observations: list[Observation] = []
        self.prices: list[Mapping[int, Prices]] = []

    def choose(self, asked: Asked, now_s: float) -> Sequence[int]:
        """Return the order."""
        return self.order

    def started(self, endpoint: int, number: int) -> int:
        """Count nothing."""
        return 0

    def ended(self, seen: Observation, number: int) -> None:
        """Keep the observation."""
        self.observations.append(seen)

    def reprice(self, prices: Mapping[int, Prices]) -> None:
        """Keep the prices."""
        self.prices.append(prices)


def run_of(
    of: ReplayScenario,
    on: Trace,
    router: ReplayRouter | RouterMaker,
    *,
    seed: int = 0,
    answer_s: float | None = None,
    probability: float = 0.9,
    usd_per_hour: float = V_USD_PER_HOUR,
) -> Run:
    """Return the run of a router that was made, or is made here."""
    slo = Slo(usd_per_hour=usd_per_hour, answer_s=answer_s, probability=probability, serves_nearest=True)
    if isinstance(router, InOrder):
        made = router

        def make(_: Terms) -> ReplayRouter:
            return made

    else:
        make = router  # type: ignore[assignment]
    return Simulation(of, on, slo, seed=seed, router="test", make=make).whole()
