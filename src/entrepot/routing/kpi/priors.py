"""What stands in until there are measures: what was declared, else a typical peer, else what is assumed.

A new endpoint that started as the best or the worst of its kind would take all traffic or none; the
typical peer gives it what its price deserves.
"""

from collections.abc import Sequence
from statistics import median

from msgspec import Struct
from msgspec.structs import replace

from entrepot.domain.endpoint import Endpoint, Model
from entrepot.domain.estimate import Basis, Estimate
from entrepot.routing.kpi.regression import TOKENS_PER_UNIT, Coefficients
from entrepot.routing.kpi.timing import PSEUDO_COUNT, Timing, level_of
from entrepot.routing.settings import RoutingSettings

ASSUMED_DOUBT = 0.5
"""Of a level that is that of a typical peer: two hosts of three lie within 1.6 times of it."""

DECLARED_DOUBT = 0.3
"""Of one that was declared or published: two of three within 1.35 times."""


class Priors(Struct, frozen=True):
    """What stands in for the measures of one endpoint, with its basis.

    Units: seconds, seconds per token, a share of 1. `ttft` and `tpot` are the same as coefficients of the
    fit; `doubt` is the standard deviation of the logarithm of both.
    """

    ttft_s: Estimate
    tpot_s: Estimate
    failure_share: Estimate
    ttft: Coefficients
    tpot: Coefficients
    doubt: float = ASSUMED_DOUBT


class ModelPriors(Struct, frozen=True):
    """What stands in for the measures of one model, with its basis.

    Units: output tokens per choice, bytes of the request body per prompt token.
    """

    verbosity_tokens: Estimate
    bytes_per_token: Estimate


def model_priors(model: Model | None, settings: RoutingSettings) -> ModelPriors:
    """Return what was declared of a model, else what the settings assume."""
    verbosity = model.verbosity_tokens if model else None
    ratio = model.bytes_per_token if model else None
    return ModelPriors(
        verbosity_tokens=_positive(verbosity) or _assumed(settings.assumed_verbosity_tokens),
        bytes_per_token=_positive(ratio) or _assumed(settings.assumed_bytes_per_token),
    )


def declared_priors(endpoint: Endpoint, settings: RoutingSettings) -> Priors:
    """Return what was declared of an endpoint, else what the settings assume."""
    ttft, speed = endpoint.declared_ttft_s, _positive(endpoint.declared_tokens_per_s)
    ttft_s = ttft or _assumed(settings.assumed_ttft_s)
    tpot_s = _inverse(speed or _assumed(settings.assumed_tokens_per_s))
    per_unit_s = TOKENS_PER_UNIT / settings.assumed_prefill_tokens_per_s
    return Priors(
        ttft_s=ttft_s,
        tpot_s=tpot_s,
        failure_share=_assumed(settings.assumed_failure_share),
        ttft=(ttft_s.value, per_unit_s, 0.0, 0.0),
        tpot=(tpot_s.value, 0.0, 0.0, 0.0),
        doubt=DECLARED_DOUBT if ttft is not None and speed is not None else ASSUMED_DOUBT,
    )


def typical_priors(
    endpoints: Sequence[Endpoint],
    declared: Sequence[Priors],
    timings: Sequence[tuple[Timing, Timing]],
    unit: float,
) -> list[Priors]:
    """Return the priors of all endpoints, the median of measured peers in place of what is merely assumed.

    Peers are endpoints of the same model with at least `PSEUDO_COUNT` observations, itself included.
    Units: `timings` are TTFT and TPOT of each endpoint; `unit` is the weight of an observation made now.
    """
    least = PSEUDO_COUNT * unit
    peers: dict[str, list[tuple[Timing, Timing]]] = {}
    for endpoint, timing in zip(endpoints, timings, strict=True):
        peers.setdefault(endpoint.model, []).append(timing)
    typical = {
        model: (
            _median([ttft for ttft, _ in group], least),
            _median([tpot for _, tpot in group], least),
        )
        for model, group in peers.items()
    }
    priors = []
    for endpoint, own in zip(endpoints, declared, strict=True):
        ttft, tpot = typical[endpoint.model]
        of = own
        if ttft is not None and endpoint.declared_ttft_s is None:
            of = replace(of, ttft_s=_of_peers(level_of(ttft)), ttft=ttft)
        if tpot is not None and _positive(endpoint.declared_tokens_per_s) is None:
            of = replace(of, tpot_s=_of_peers(tpot[0]), tpot=tpot)
        priors.append(of)
    return priors


def _of_peers(value: float) -> Estimate:
    return Estimate(value, Basis.ASSUMED, source="median of the measured endpoints of this model")


def _median(timings: list[Timing], least: float) -> Coefficients | None:
    """Return the median of each coefficient over the timings that are measured, None when none is."""
    fits = [timing.fit for timing in timings if timing.samples.weight >= least]
    if not fits:
        return None
    level, per_unit, per_attempt, per_both = (median(column) for column in zip(*fits, strict=True))
    return level, per_unit, per_attempt, per_both


def _positive(estimate: Estimate | None) -> Estimate | None:
    return estimate if estimate is not None and estimate.value > 0 else None


def _inverse(estimate: Estimate) -> Estimate:
    return Estimate(1.0 / estimate.value, estimate.basis, source=estimate.source)


def _assumed(value: float) -> Estimate:
    return Estimate(value, Basis.ASSUMED, source="settings")
