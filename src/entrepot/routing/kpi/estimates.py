"""The estimates of endpoints and models, each with basis, count and age, for pages, commands and the API.

Apart from the sums that they are made of: these are for people, are made when asked for, and may be slow.
"""

from msgspec import Struct

from entrepot.domain.estimate import Basis, Estimate
from entrepot.routing.kpi.distribution import Distribution
from entrepot.routing.kpi.endpoint import EndpointMeasures
from entrepot.routing.kpi.model import ModelMeasures
from entrepot.routing.kpi.outlook import ModelOutlook, Outlook
from entrepot.routing.kpi.priors import ModelPriors, Priors
from entrepot.routing.kpi.timing import PSEUDO_COUNT


class EndpointKpis(Struct, frozen=True):
    """The estimates of one endpoint.

    Units: seconds, seconds per token, tokens/s/user, shares of 1, tokens per byte of a stream. `ttft_s` and
    `tpot_s` are expected values at the present load, of a prompt like the average one there. A `_p50` or
    `_p95` is the quantile of what was measured, or the expected value before anything was. Of a beginning
    that was sent there lately `prefix_trust` is cached, of the discount on cached tokens `cached_honour` is
    given, and `price_factor` is what is paid over what is listed. `stream_tokens_per_byte_bound` is seldom
    passed. `observations` is decayed, `uses` is not.
    """

    ttft_s: Estimate
    ttft_p50_s: Estimate
    ttft_p95_s: Estimate
    ttft_per_token_s: float
    ttft_per_in_flight_s: float
    tpot_s: Estimate
    tpot_p50_s: Estimate
    tpot_p95_s: Estimate
    tpot_per_in_flight_s: float
    tokens_per_s: Estimate
    failure_share: Estimate
    failure_s: Estimate
    rate_limited_share: Estimate
    truncated_share: Estimate
    cached_share: Estimate
    prefix_trust: Estimate
    cached_honour: Estimate
    price_factor: Estimate
    stream_tokens_per_byte: Estimate
    stream_tokens_per_byte_bound: float
    observations: float
    in_flight: int
    uses: int


class ModelKpis(Struct, frozen=True):
    """The estimates of one model.

    Units: output tokens per choice; bytes of the request body per prompt token, expected and for limits.
    """

    verbosity_tokens: Estimate
    bytes_per_token: Estimate
    cautious_bytes_per_token: float


def blended(value: float, prior: Estimate, *, weight: float, unit: float, age_s: float | None) -> Estimate:
    """Return `value` as measured from `PSEUDO_COUNT` observations on, when they outweigh the prior.

    Before, its basis is the prior's. Its count and age are told in both cases.
    """
    count = round(weight / unit, 2)
    age_s = age_s if count > 0 else None
    if count >= PSEUDO_COUNT:
        return Estimate(value, Basis.MEASURED, count, age_s)
    return Estimate(value, prior.basis, count, age_s, prior.source)


def endpoint_kpis(
    measures: EndpointMeasures, outlook: Outlook, priors: Priors, *, unit: float, now_s: float
) -> EndpointKpis:
    """Return the estimates of one endpoint; `unit` is the weight of an observation made now."""
    age_s = None if measures.last_at_s is None else max(now_s - measures.last_at_s, 0.0)
    load = outlook.in_flight
    prompt_tokens = measures.mean_uncached_tokens()
    ttft_s = measures.ttft.expected(prompt_tokens, load)
    tpot_s = outlook.tpot_now_s
    assumed = Estimate(0.0, Basis.ASSUMED)

    def estimate(value: float, prior: Estimate, weight: float) -> Estimate:
        return blended(value, prior, weight=weight, unit=unit, age_s=age_s)

    def timed(samples: Distribution, expected_s: float, prior: Estimate, share: float | None) -> Estimate:
        measured = None if share is None else samples.quantile(share)
        return estimate(expected_s if measured is None else measured, prior, samples.weight)

    ttft, tpot = measures.ttft.samples, measures.tpot.samples
    rate, bound = measures.stream_tokens_per_byte(unit)
    return EndpointKpis(
        ttft_s=timed(ttft, ttft_s, priors.ttft_s, None),
        ttft_p50_s=timed(ttft, ttft_s, priors.ttft_s, 0.50),
        ttft_p95_s=timed(ttft, ttft_s, priors.ttft_s, 0.95),
        ttft_per_token_s=outlook.ttft_per_token_s,
        ttft_per_in_flight_s=outlook.ttft_per_in_flight_s,
        tpot_s=timed(tpot, tpot_s, priors.tpot_s, None),
        tpot_p50_s=timed(tpot, tpot_s, priors.tpot_s, 0.50),
        tpot_p95_s=timed(tpot, tpot_s, priors.tpot_s, 0.95),
        tpot_per_in_flight_s=outlook.tpot_per_in_flight_s,
        tokens_per_s=estimate(1.0 / tpot_s, priors.tpot_s, tpot.weight),
        failure_share=estimate(outlook.p_failure, priors.failure_share, measures.trials),
        failure_s=estimate(outlook.failure_s, assumed, measures.failed),
        rate_limited_share=estimate(measures.share_of(measures.rate_limited), assumed, measures.trials),
        truncated_share=estimate(measures.share_of(measures.truncated), assumed, measures.trials),
        cached_share=estimate(measures.cached_share(), assumed, measures.prompts),
        prefix_trust=estimate(outlook.prefix_trust, assumed, measures.prompts),
        cached_honour=estimate(outlook.cached_honour, assumed, measures.discounts and measures.prompts),
        price_factor=estimate(outlook.price_factor, assumed, measures.listed and measures.prompts),
        stream_tokens_per_byte=estimate(rate, assumed, measures.streams),
        stream_tokens_per_byte_bound=bound,
        observations=round(measures.observations / unit, 2),
        in_flight=load,
        uses=outlook.uses,
    )


def model_kpis(
    measures: ModelMeasures, outlook: ModelOutlook, priors: ModelPriors, *, unit: float, now_s: float
) -> ModelKpis:
    """Return the estimates of one model; `unit` is the weight of an observation made now."""
    age_s = None if measures.last_at_s is None else max(now_s - measures.last_at_s, 0.0)
    return ModelKpis(
        verbosity_tokens=blended(
            measures.verbosity.usual_tokens(priors.verbosity_tokens.value),
            priors.verbosity_tokens,
            weight=measures.verbosity.parts.weight,
            unit=unit,
            age_s=age_s,
        ),
        bytes_per_token=blended(
            1.0 / outlook.tokens_per_byte,
            priors.bytes_per_token,
            weight=measures.prompts,
            unit=unit,
            age_s=age_s,
        ),
        cautious_bytes_per_token=1.0 / outlook.cautious_tokens_per_byte,
    )
