"""What endpoints truly do in a replay, drifting as it goes, and what a router is told of them.

Apart from `hosts.scenario`, which describes hosts that are served over sockets: those say where each figure
comes from and hold still; these exist to move, lie and fail, which is what tells routers apart.
"""

from __future__ import annotations

from math import exp, pi, sin

from msgspec import Struct

from entrepot.domain.endpoint import Endpoint, Model
from entrepot.domain.estimate import Basis, Estimate
from entrepot.domain.prices import Prices

ALWAYS_S = float("inf")
_TOLD = "the scenario"


class Drift(Struct, frozen=True):
    """A figure that swings: multiplied by exp(amplitude × sin(2π(t / period + phase))).

    Units: seconds; `amplitude` of the logarithm, `phase` in periods.
    """

    what: str
    period_s: float
    amplitude: float
    phase: float = 0.0

    def factor(self, at_s: float) -> float:
        """Return what the figure is multiplied by, `at_s` seconds after the start."""
        return exp(self.amplitude * sin(2.0 * pi * (at_s / self.period_s + self.phase)))


class Phase(Struct, frozen=True):
    """What is different for a while. Shares of 1 replace those of the endpoint; None leaves them.

    Units: seconds since the start; `ttft_times` and `tokens_per_s_times` multiply; `background_requests` of
    others are in flight besides ours.
    """

    from_s: float
    until_s: float = ALWAYS_S
    ttft_times: float = 1.0
    tokens_per_s_times: float = 1.0
    failure_share: float | None = None
    rate_limited_share: float | None = None
    cut_share: float | None = None
    background_requests: float = 0.0
    outage: bool = False


class PriceChange(Struct, frozen=True):
    """New prices of an endpoint, known to all from `at_s` seconds after the start."""

    at_s: float
    prices: Prices


class CacheFigures(Struct, frozen=True):
    """How much of prompts' beginnings is kept. Units: blocks of 512 tokens; seconds since last used."""

    most_blocks: int
    ttl_s: float = ALWAYS_S


class ReplayModel(Struct, frozen=True):
    """A model: how many tokens it spends on the answers of the trace.

    Units: `verbosity` times the trace's output tokens; or, where `verbosity_tokens` is given, answers are
    drawn anew with that mean and `verbosity_spread` of the logarithm. `declared_verbosity_tokens` is what
    is told.
    """

    name: str
    verbosity: float = 1.0
    verbosity_tokens: float | None = None
    verbosity_spread: float = 0.0
    declared_verbosity_tokens: float | None = None
    drifts: tuple[Drift, ...] = ()


class ReplayEndpoint(Struct, frozen=True):
    """An endpoint: its true figures, and what is declared of it.

    Units: seconds; tokens per second; `ttft_s` idle and without prefill; `capacity_requests` in flight
    double TTFT and TPOT; above `most_requests` there is a 429; spreads of the logarithm (mean 1); shares
    of 1.
    """

    host: str
    model: str
    prices: Prices
    context_tokens: int
    ttft_s: float
    tokens_per_s: float
    prefill_tokens_per_s: float
    capacity_requests: float
    most_requests: int | None = None
    spread_ttft: float = 0.0
    spread_tpot: float = 0.0
    failure_share: float = 0.0
    failure_s: float = 1.0
    rate_limited_share: float = 0.0
    cut_share: float = 0.0
    cache: CacheFigures | None = None
    honours_cached_price: bool = True
    declared_ttft_s: float | None = None
    declared_tokens_per_s: float | None = None
    phases: tuple[Phase, ...] = ()
    drifts: tuple[Drift, ...] = ()
    price_changes: tuple[PriceChange, ...] = ()

    @property
    def name(self) -> str:
        """Return `model@host`."""
        return f"{self.model}@{self.host}"


class ReplayScenario(Struct, frozen=True):
    """Endpoints and their models; every request asks for all models, as one set."""

    name: str
    title: str
    models: tuple[ReplayModel, ...]
    endpoints: tuple[ReplayEndpoint, ...]

    @property
    def model_names(self) -> tuple[str, ...]:
        """Return what every request asks for."""
        return tuple(model.name for model in self.models)


def told(scenario: ReplayScenario) -> tuple[tuple[Endpoint, ...], dict[str, Model]]:
    """Return what a router knows at the start: prices, windows, what is declared."""
    endpoints = tuple(
        Endpoint(
            name=one.name,
            model=one.model,
            host=one.host,
            prices=one.prices,
            context_tokens=one.context_tokens,
            declared_ttft_s=_declared(one.declared_ttft_s),
            declared_tokens_per_s=_declared(one.declared_tokens_per_s),
            simulated=True,
        )
        for one in scenario.endpoints
    )
    models = {
        model.name: Model(model.name, verbosity_tokens=_declared(model.declared_verbosity_tokens))
        for model in scenario.models
    }
    return endpoints, models


def _declared(value: float | None) -> Estimate | None:
    return None if value is None else Estimate(value, Basis.DECLARED, source=_TOLD)
