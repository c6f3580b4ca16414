"""What stands in until there are measures: what was declared, else a typical peer, else what is assumed.

A new endpoint that started as the best or the worst of its kind would take all traffic or none; the
typical peer gives it what its price deserves.
"""

from collections.abc import Sequence

from msgspec import Struct

from entrepot.domain.endpoint import Endpoint, Model
from entrepot.domain.estimate import Basis, Estimate
from entrepot.routing.kpi.timing import PSEUDO_COUNT, Timing
from entrepot.routing.settings import RoutingSettings


class Priors(Struct, frozen=True):
    """What stands in for the measures of one endpoint, with its basis.

    Units: seconds, seconds per token, a share of 1.
    """

    ttft_s: Estimate
    tpot_s: Estimate
    failure_share: Estimate


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
    return Priors(
        ttft_s=ttft or _assumed(settings.assumed_ttft_s),
        tpot_s=_inverse(speed or _assumed(settings.assumed_tokens_per_s)),
        failure_share=_assumed(settings.assumed_failure_share),
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
        ttft_s, tpot_s = typical[endpoint.model]
        priors.append(
            Priors(
                ttft_s=_typical(own.ttft_s, ttft_s, declared=endpoint.declared_ttft_s),
                tpot_s=_typical(own.tpot_s, tpot_s, declared=_positive(endpoint.declared_tokens_per_s)),
                failure_share=own.failure_share,
            )
        )
    return priors


def _typical(own: Estimate, median: float | None, *, declared: Estimate | None) -> Estimate:
    if declared is not None or median is None:
        return own
    return Estimate(median, Basis.ASSUMED, source="median of the measured endpoints of this model")


def _median(timings: list[Timing], least: float) -> float | None:
    means = sorted(
        timing.samples.total / timing.samples.weight for timing in timings if timing.samples.weight >= least
    )
    if not means:
        return None
    middle = len(means) // 2
    return means[middle] if len(means) % 2 else (means[middle - 1] + means[middle]) / 2


def _positive(estimate: Estimate | None) -> Estimate | None:
    return estimate if estimate is not None and estimate.value > 0 else None


def _inverse(estimate: Estimate) -> Estimate:
    return Estimate(1.0 / estimate.value, estimate.basis, source=estimate.source)


def _assumed(value: float) -> Estimate:
    return Estimate(value, Basis.ASSUMED, source="settings")
