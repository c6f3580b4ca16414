"""What is expected of each endpoint that a request fits, and the candidates that follow from it.

Apart from `choose`, which says in what order things are asked; here they are worked out, once for each option
of each request, so that this is where time is spent.
"""

from collections.abc import Mapping, Sequence
from math import hypot

from msgspec import Struct
from msgspec.structs import replace

from entrepot.domain.request import Preferences, Request, Slo
from entrepot.routing.decision import Candidate, Exclusion, ExclusionReason, Ranking
from entrepot.routing.eligible import size_exclusion, slo_exclusion
from entrepot.routing.forecast import Forecast, Option, Size, forecast, misses, share_in_time, size
from entrepot.routing.kpi.outlook import ModelOutlook
from entrepot.routing.rank import two_least
from entrepot.routing.score import score

_LEAST = 1e-12
_SELDOM = 0.005
"""Below it a failure and what comes after it cannot decide whether a limit of time is kept."""


class Plan(Struct, frozen=True):
    """What is the same for all requests of one kind: the options, the rows of the models, the exclusions.

    Units: tokens. `windows` has, per model, the largest context window of all its endpoints, eligible or not;
    what is within the least window and the least limit of an answer of all options fits each of them.
    """

    options: tuple[Option, ...]
    models: tuple[ModelOutlook, ...]
    windows: tuple[int, ...]
    least_window: float
    least_max_output: float
    excluded: tuple[Exclusion, ...]
    ranking: Ranking
    explores: bool
    tries_one: bool


class Survey(Struct):
    """The options that a request fits, what is expected of each, and the exclusions of the others.

    `in_time` has the probability of an answer within the limit for each option, or nothing without a limit;
    `missed` by what factor each misses its limits, when it is served all the same.
    """

    sizes: list[Size]
    options: list[Option]
    forecasts: list[Forecast]
    excluded: list[Exclusion]
    in_time: list[float]
    missed: list[float]


def surveyed(request: Request, plan: Plan, known: Mapping[int, float], *, tells: bool = False) -> Survey:
    """Return which options the request fits within its limits, and what is expected of each.

    `known` has the bytes of its beginning that endpoints were sent lately, by index; `tells` has the
    exclusions say what could be had.
    """
    survey = Survey(_sizes(request, plan), [], [], [], [], [])
    sizes, slo, most = survey.sizes, request.slo, request.max_output_tokens
    limited = slo.ttft_s is not None or slo.tokens_per_s is not None or slo.max_nusd is not None
    fits_all = (most or 0) <= plan.least_max_output
    for of in sizes:
        fits_all = fits_all and of.context_tokens <= plan.least_window
    for at in plan.options:
        of = sizes[at.model_position]
        exclusion = None if fits_all else size_exclusion(at, of, most)
        if exclusion is None:
            expected = forecast(at, of, _known_tokens(request, of, known.get(at.index)) if known else 0.0)
            if limited:
                exclusion = slo_exclusion(at, of, expected, slo, request.choices)
            if exclusion is None:
                survey.options.append(at)
                survey.forecasts.append(expected)
                continue
        survey.excluded.append(exclusion)
    if slo.answer_s is not None:
        _keep_in_time(request, survey, slo.answer_s, tells=tells)
    return survey


def _sizes(request: Request, plan: Plan) -> list[Size]:
    """Return how large the request is for each model.

    When no window of the models holds it at the cautious count of tokens, the expected count decides: a doubt
    is settled for the sender. When none holds that either, a model's widest are still tried, unless not one
    prompt in twenty has so few tokens: a host counts exactly and charges nothing for what it refuses. It must
    not depend on who is eligible, or a preference could add an endpoint.
    """
    models, windows = plan.models, plan.windows
    sizes = [size(request, model) for model in models]
    if _fits_nowhere(sizes, windows):
        sizes = [size(request, model, model.tokens_per_byte) for model in models]
        if _fits_nowhere(sizes, windows):
            least = [size(request, model, model.least_tokens_per_byte) for model in models]
            sizes = [
                replace(of, context_tokens=window) if few.context_tokens <= window else of
                for of, few, window in zip(sizes, least, windows, strict=True)
            ]
    return sizes


def _fits_nowhere(sizes: Sequence[Size], windows: Sequence[int]) -> bool:
    for of, window in zip(sizes, windows, strict=True):  # noqa: SIM110 - all() of a generator takes longer
        if of.context_tokens <= window:
            return False
    return True


def _known_tokens(request: Request, of: Size, known: float | None) -> float:
    return 0.0 if known is None else of.prompt_tokens * known / request.text_bytes


def _keep_in_time(request: Request, survey: Survey, answer_s: float, *, tells: bool) -> None:
    """Leave the options that answer in time with the asked probability, a failure and its fallback counted.

    After a failure the best of the others still has to be in time; who comes too late alone may not be saved
    by a faster fallback, or the slow one would be tried first for nothing. With `tells` each exclusion says
    within which time the endpoint does answer with that probability: that takes as long as a choice, and is
    for refusals.
    """
    slo, options, forecasts = request.slo, survey.options, survey.forecasts
    survey.options, survey.forecasts = [], []

    def share(place: int, seconds: float) -> float:
        of = survey.sizes[options[place].model_position]
        return share_in_time(options[place], of, forecasts[place], seconds)

    shares = [share(place, answer_s) for place in range(len(options))]
    first, second = _two_highest(shares)
    for place, (at, expected) in enumerate(zip(options, forecasts, strict=True)):
        in_time, p_failure = (1.0 - expected.p_failure) * shares[place], expected.p_failure
        fallback = second if place == first else first
        left_s = answer_s - expected.failure_s
        if p_failure > _SELDOM and fallback is not None and left_s > 0.0:
            in_time += p_failure * min(share(fallback, left_s), shares[place])
        if in_time >= slo.probability - (0.0 if p_failure > _SELDOM else p_failure):
            survey.options.append(at)
            survey.forecasts.append(expected)
            survey.in_time.append(in_time)
            continue
        late = None
        if tells:
            late = slo_exclusion(at, survey.sizes[at.model_position], expected, slo, request.choices)
        survey.excluded.append(late or Exclusion(at.index, ExclusionReason.IN_TIME, in_time, slo.probability))


def _two_highest(values: Sequence[float]) -> tuple[int | None, int | None]:
    """Return the places of the two highest values, None where there are not as many."""
    places = sorted(range(len(values)), key=values.__getitem__, reverse=True)[:2]
    return (places[0] if places else None), (places[1] if len(places) > 1 else None)


def nearest_survey(request: Request, plan: Plan, known: Mapping[int, float]) -> Survey | None:
    """Return the survey of what the request fits but for its limits, with how far they are missed."""
    unlimited = replace(request, slo=Slo(usd_per_hour=request.slo.usd_per_hour))
    survey = surveyed(unlimited, plan, known)
    if not survey.options:
        return None
    for at, expected in zip(survey.options, survey.forecasts, strict=True):
        missed = misses(at, survey.sizes[at.model_position], expected, request.slo, request.choices)
        factors = [
            limit / seen if name == "tokens_per_s" else seen / max(limit, _LEAST)
            for name, (seen, limit) in missed.items()
        ]
        survey.missed.append(max(factors, default=1.0))
    return survey


def served_by(request: Request, plan: Plan) -> frozenset[int]:
    """Return the indexes of the endpoints that would be tried by this plan, nothing known of beginnings."""
    survey = surveyed(request, plan, {})
    if not survey.options and request.slo.serves_nearest:
        survey = nearest_survey(request, plan, {}) or survey
    return frozenset(at.index for at in survey.options)


def scored(request: Request, survey: Survey, usd_per_s: float, *, alone: bool) -> list[Candidate]:
    """Return the candidates with their scores, in the order of the survey.

    The fallback of each is the one of the others that would cost least if it answered, of whatever model
    was asked for; one that may have none (`alone`) is asked again. The doubt of an endpoint is in the
    waiting, that of a model's verbosity in all.
    """
    both = list(zip(survey.options, survey.forecasts, strict=True))
    bases = [(now.dollars + usd_per_s * now.seconds) / at.success_share for at, now in both]
    least, second = two_least(bases)
    sizes, several, in_time, missed = survey.sizes, len(survey.sizes) > 1, survey.in_time, survey.missed
    preferences = request.preferences
    demotes = preferences.min_tokens_per_s is not None or preferences.max_ttft_s is not None
    candidates = []
    for place, ((at, expected), base) in enumerate(zip(both, bases, strict=True)):
        of, outlook, success = sizes[at.model_position], at.outlook, at.success_share
        fallback = (base if alone else second if base == least else least) * success
        dollars, seconds, p_failure = expected.dollars, expected.seconds, expected.p_failure
        wasted, failure_s = expected.dollars_wasted, expected.failure_s
        doubt = outlook.doubt_now
        if several or outlook.p_doubt:
            failed = wasted + usd_per_s * failure_s + fallback
            of_model = of.doubt if several else None
            doubt = _whole_doubt(doubt, outlook.p_doubt, of_model, (dollars, usd_per_s * seconds, failed))
        candidates.append(
            Candidate(
                at.index,
                at.tier + _demotion(expected, preferences) if demotes else at.tier,
                dollars,
                expected.ttft_s,
                expected.tpot_s,
                of.output_tokens,
                p_failure,
                wasted,
                failure_s,
                score(dollars, seconds, usd_per_s, p_failure, wasted, failure_s, fallback) / success,
                of.prompt_tokens,
                expected.cached_tokens,
                at.cached_nusd_per_mtok,
                outlook.uses,
                outlook.observations + outlook.in_flight,
                of.bound_prompt_tokens,
                success,
                0.0 if several else dollars,
                doubt,
                in_time[place] if in_time else 1.0,
                missed[place] if missed else 0.0,
            )
        )
    return candidates


def _whole_doubt(
    doubt: float, p_doubt: float, of_model: float | None, costs: tuple[float, float, float]
) -> float:
    """Return the doubt of what is unsure in a score: the waiting, failing, the model's verbosity.

    Units: `costs` are the dollars of an answer, its waiting and a failure, all in USD. `of_model` is None
    where all candidates are of one model, whose answers are as long everywhere.
    """
    dollars, waiting, failed = costs
    failing = p_doubt * (failed - dollars) / (waiting + failed + _LEAST)
    if of_model is None:
        return hypot(doubt, failing)
    return hypot(doubt * waiting / (dollars + waiting + _LEAST), failing, of_model)


def _demotion(expected: Forecast, preferences: Preferences) -> int:
    slow, late = preferences.min_tokens_per_s, preferences.max_ttft_s
    is_slow = slow is not None and expected.tpot_s * slow > 1.0
    is_late = late is not None and expected.ttft_s > late
    return 1 if is_slow or is_late else 0
