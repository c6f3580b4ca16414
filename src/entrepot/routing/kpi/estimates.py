"""The estimates of endpoints and models, each with basis, count and age, for pages, commands and the API.

Apart from the sums that they are made of: these are for people, are made when asked for, and may be slow.
"""

from math import exp2, sqrt

from msgspec import Struct

from entrepot.domain.estimate import Basis, Estimate
from entrepot.routing.kpi.endpoint import LEAST_DOUBT, EndpointMeasures
from entrepot.routing.kpi.model import (
    ANSWER_SPREAD,
    ASSUMED_DOUBT,
    BYTES_SPREAD,
    HALF_LIFE_S,
    SUCCESS_PSEUDO_COUNT,
    ModelMeasures,
)
from entrepot.routing.kpi.outlook import ModelOutlook, Outlook
from entrepot.routing.kpi.priors import ASSUMED_DOUBT as SILENT_DOUBT
from entrepot.routing.kpi.priors import ModelPriors, Priors
from entrepot.routing.kpi.timing import PSEUDO_COUNT, Timing
from entrepot.routing.kpi.uncertainty import (
    Ends,
    doubt_of,
    level_interval,
    quantile_shares,
    share_interval,
)

FAILURE_SPREAD = 1.0
"""Standard deviation of the logarithm of how long a failure takes: an error at once, or a limit of time."""

PRICE_SPREAD = 0.2
"""What is paid over what is listed, before anything was: a host that charges otherwise is a fifth off."""

STREAM_SPREAD = 0.5
"""Tokens per byte of a stream, before any: chunks of one token have from 130 to 330 bytes."""

_NOBODY_SAID = Estimate(0.0, Basis.ASSUMED)


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

    def estimates(self) -> dict[str, Estimate]:
        """Return all that is an estimate, by name, for whoever shows them."""
        fields = ((name, getattr(self, name)) for name in self.__struct_fields__)
        return {name: value for name, value in fields if isinstance(value, Estimate)}


class ModelKpis(Struct, frozen=True):
    """The estimates of one model.

    Units: output tokens per choice; bytes of the request body per prompt token, expected and for limits.
    """

    verbosity_tokens: Estimate
    bytes_per_token: Estimate
    cautious_bytes_per_token: float


class SuccessKpis(Struct, frozen=True):
    """The share of a model's answers that are of use.

    Units: shares of 1. `used` is what the choice goes by: what was told, shrunk to what was declared; None
    while it is not known. `declared` and `told` are its parts, None where nobody said anything.
    """

    used: Estimate | None
    declared: Estimate | None
    told: Estimate | None


def blended(
    value: float, prior: Estimate, *, weight: float, unit: float, age_s: float | None, interval: Ends
) -> Estimate:
    """Return `value` as measured from `PSEUDO_COUNT` observations on, when they outweigh the prior.

    Before, its basis is the prior's. Its count, age and interval are told in both cases.
    """
    count = round(weight / unit, 2)
    age_s = age_s if count > 0 else None
    if count >= PSEUDO_COUNT:
        return Estimate(value, Basis.MEASURED, count, age_s, interval=interval)
    return Estimate(value, prior.basis, count, age_s, prior.source, interval)


class _Of:
    """Makes the estimates of one endpoint; all have the age of its youngest observation.

    Units: `unit` is the weight of an observation made now; `doubt` the standard deviation of the logarithm of
    how fast an endpoint is of which nothing was seen; `half_life_s` seconds.
    """

    def __init__(self, unit: float, age_s: float | None, doubt: float, half_life_s: float) -> None:
        self.unit = unit
        self.age_s = age_s
        self._doubt = doubt
        self._silent = 0.0 if age_s is None else age_s / half_life_s

    def share(self, value: float, weight: float, prior: Estimate = _NOBODY_SAID) -> Estimate:
        """Return a share of 1."""
        return self._blended(value, prior, weight, share_interval(value, weight / self.unit))

    def mean(self, value: float, weight: float, *, spread: float, unseen: float) -> Estimate:
        """Return a positive mean; `spread` and `unseen` as `doubt_of` takes them."""
        doubt = doubt_of(weight / self.unit, spread=spread, unseen=unseen)
        return self._blended(value, _NOBODY_SAID, weight, level_interval(value, doubt))

    def level(self, value: float, timing: Timing, prior: Estimate) -> Estimate:
        """Return an expected time, or a speed."""
        return self._blended(
            value, prior, timing.samples.weight, level_interval(value, self._doubt_of(timing))
        )

    def _doubt_of(self, timing: Timing) -> float:
        """Return the doubt of a level: of what was long not seen as much as of a typical peer, or more."""
        spread = max(timing.log_spread, LEAST_DOUBT)
        doubt = doubt_of(timing.weight / self.unit, spread=spread, unseen=self._doubt)
        return sqrt(doubt * doubt + SILENT_DOUBT * SILENT_DOUBT * self._silent)

    def quantile(self, timing: Timing, expected_s: float, prior: Estimate, share: float) -> Estimate:
        """Return a quantile of samples, the expected value without any.

        It may lie anywhere between the quantiles that so few samples do not tell apart, and all of them have
        moved as far as the level may have.
        """
        samples = timing.samples
        measured = samples.quantile(share)
        value = expected_s if measured is None else measured
        below, above = quantile_shares(share, samples.weight / self.unit)
        low, high = level_interval(value, self._doubt_of(timing))
        lowest, highest = samples.quantile(below), samples.quantile(above)
        interval = (low if lowest is None else min(low, lowest), max(high, highest or 0.0))
        return self._blended(value, prior, samples.weight, interval)

    def _blended(self, value: float, prior: Estimate, weight: float, interval: Ends) -> Estimate:
        return blended(value, prior, weight=weight, unit=self.unit, age_s=self.age_s, interval=interval)


def endpoint_kpis(
    measures: EndpointMeasures,
    outlook: Outlook,
    priors: Priors,
    *,
    unit: float,
    now_s: float,
    half_life_s: float,
) -> EndpointKpis:
    """Return the estimates of one endpoint; `unit` is the weight of an observation made now."""
    age_s = None if measures.last_at_s is None else max(now_s - measures.last_at_s, 0.0)
    load = outlook.in_flight
    ttft_s = measures.ttft.expected(measures.mean_uncached_tokens(), load)
    tpot_s = outlook.tpot_now_s
    of = _Of(unit, age_s, priors.doubt, half_life_s)
    ttft, tpot = measures.ttft, measures.tpot
    rate, bound = measures.stream_tokens_per_byte(unit)
    paid_spread = _usual(measures.price_spread(), measures.priced / unit, PRICE_SPREAD)
    rate_spread = _usual(measures.stream_spread() / rate, measures.streams / unit, STREAM_SPREAD)
    return EndpointKpis(
        ttft_s=of.level(ttft_s, ttft, priors.ttft_s),
        ttft_p50_s=of.quantile(ttft, ttft_s, priors.ttft_s, 0.50),
        ttft_p95_s=of.quantile(ttft, ttft_s, priors.ttft_s, 0.95),
        ttft_per_token_s=outlook.ttft_per_token_s,
        ttft_per_in_flight_s=outlook.ttft_per_in_flight_s,
        tpot_s=of.level(tpot_s, tpot, priors.tpot_s),
        tpot_p50_s=of.quantile(tpot, tpot_s, priors.tpot_s, 0.50),
        tpot_p95_s=of.quantile(tpot, tpot_s, priors.tpot_s, 0.95),
        tpot_per_in_flight_s=outlook.tpot_per_in_flight_s,
        tokens_per_s=of.level(1.0 / tpot_s, tpot, priors.tpot_s),
        failure_share=of.share(outlook.p_failure, measures.trials, priors.failure_share),
        failure_s=of.mean(outlook.failure_s, measures.failed, spread=FAILURE_SPREAD, unseen=FAILURE_SPREAD),
        rate_limited_share=of.share(measures.share_of(measures.rate_limited), measures.observations),
        truncated_share=of.share(measures.share_of(measures.truncated), measures.observations),
        cached_share=of.share(measures.cached_share(), measures.prompts),
        prefix_trust=of.share(outlook.prefix_trust, measures.beginnings),
        cached_honour=of.share(outlook.cached_honour, measures.discounted),
        price_factor=of.mean(outlook.price_factor, measures.priced, spread=paid_spread, unseen=PRICE_SPREAD),
        stream_tokens_per_byte=of.mean(rate, measures.streams, spread=rate_spread, unseen=STREAM_SPREAD),
        stream_tokens_per_byte_bound=bound,
        observations=round(measures.observations / unit, 2),
        in_flight=load,
        uses=outlook.uses,
    )


def _usual(seen: float, count: float, assumed: float) -> float:
    """Return a spread that was seen, taken with the assumed one as if that were of `PSEUDO_COUNT` more."""
    return sqrt((count * seen * seen + PSEUDO_COUNT * assumed * assumed) / (count + PSEUDO_COUNT))


def model_kpis(
    measures: ModelMeasures, outlook: ModelOutlook, priors: ModelPriors, *, unit: float, now_s: float
) -> ModelKpis:
    """Return the estimates of one model; `unit` is the weight of an observation made now."""
    age_s = None if measures.last_at_s is None else max(now_s - measures.last_at_s, 0.0)
    tokens = measures.verbosity.usual_tokens(priors.verbosity_tokens.value)
    ratio = 1.0 / outlook.tokens_per_byte
    whole = measures.verbosity.whole
    answers = whole.weight * exp2(min(whole.at_s - now_s, 0.0) / HALF_LIFE_S)
    doubt = doubt_of(answers, spread=ANSWER_SPREAD, unseen=ASSUMED_DOUBT)
    ratio_doubt = doubt_of(measures.prompts / unit, spread=BYTES_SPREAD, unseen=BYTES_SPREAD)
    return ModelKpis(
        verbosity_tokens=blended(
            tokens,
            priors.verbosity_tokens,
            weight=measures.verbosity.parts.weight,
            unit=unit,
            age_s=age_s,
            interval=level_interval(tokens, doubt),
        ),
        bytes_per_token=blended(
            ratio,
            priors.bytes_per_token,
            weight=measures.prompts,
            unit=unit,
            age_s=age_s,
            interval=level_interval(ratio, ratio_doubt),
        ),
        cautious_bytes_per_token=1.0 / outlook.cautious_tokens_per_byte,
    )


def success_kpis(measures: ModelMeasures, declared: Estimate | None, *, now_s: float) -> SuccessKpis:
    """Return how often the answers of a model are of use; measured once clients outweigh who declared it."""
    said = measures.successes
    count = round(said.count_at(now_s), 2)
    age_s = max(now_s - said.at_s, 0.0) if said.weight > 0.0 else None
    share = measures.success_share(None if declared is None else declared.value)
    told = used = None
    if said.weight > 0.0:
        value = said.total / said.weight
        told = Estimate(value, Basis.MEASURED, count, age_s, interval=share_interval(value, count))
    if share is not None:
        interval = share_interval(share, count)
        if declared is None or said.weight >= SUCCESS_PSEUDO_COUNT:
            used = Estimate(share, Basis.MEASURED, count, age_s, interval=interval)
        else:
            used = Estimate(share, declared.basis, count, age_s, declared.source, interval)
    return SuccessKpis(used, declared, told)
