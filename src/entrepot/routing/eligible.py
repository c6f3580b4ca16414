"""Which endpoints a request may use, and which rule excludes each of the others.

Rules are asked in the order of `ExclusionReason`, and an endpoint is excluded by the first that it fails.
Typed rules (`routing.policy`) are one of them, for every endpoint that may ever be tried: fallbacks, hedges
and resumes choose among the candidates of a decision. What depends on the kind of request alone is asked once
per kind (`standing_exclusion`); what depends on its size and on forecasts is asked for each request.
"""

from collections.abc import Iterable

from entrepot.domain.endpoint import Endpoint
from entrepot.domain.money import NUSD_PER_USD
from entrepot.domain.request import Preferences, Request, Slo
from entrepot.routing.decision import Exclusion, ExclusionReason
from entrepot.routing.forecast import Forecast, Option, Size, misses
from entrepot.routing.policy import NO_RULES, RulesInForce


def eligible(
    request: Request,
    endpoints: Iterable[tuple[int, Endpoint]],
    *,
    needs_price: bool = False,
    rules: RulesInForce = NO_RULES,
) -> tuple[list[int], list[Exclusion]]:
    """Return the indexes of the endpoints that no standing rule excludes, and the exclusions of the others.

    `needs_price`: the key has a budget, so that what an attempt may cost has to be known.
    """
    indexes, excluded = [], []
    if rules.rules:
        rules = rules.applying(request.claims)
    for index, endpoint in endpoints:
        exclusion = standing_exclusion(index, endpoint, request, needs_price=needs_price, rules=rules)
        if exclusion is None:
            indexes.append(index)
        else:
            excluded.append(exclusion)
    return indexes, excluded


def standing_exclusion(
    index: int,
    endpoint: Endpoint,
    request: Request,
    *,
    needs_price: bool,
    rules: RulesInForce = NO_RULES,
) -> Exclusion | None:
    """Return the first rule that excludes the endpoint whatever the size of the request, or None."""
    if request.operation not in endpoint.operations:
        return Exclusion(index, ExclusionReason.OPERATION)
    preferences = request.preferences
    reason = _excluded_by_name(endpoint, preferences) or _excluded_by_attribute(endpoint, preferences)
    if reason is not None:
        return Exclusion(index, reason)
    unsupported = endpoint.unsupported_parameters & request.parameters
    if preferences.require_parameters and unsupported:
        return Exclusion(index, ExclusionReason.PARAMETERS, seen=len(unsupported))
    denial = rules.denial(request.claims, endpoint) if rules.rules else None
    if denial is not None:
        number = 0 if denial.by is None else denial.by.attribute
        limit = float(number if denial.is_known else -number)
        return Exclusion(index, ExclusionReason.RULE, limit=limit, rule=denial.rule.id)
    return _excluded_by_price(index, endpoint, request, needs_price=needs_price)


def names_endpoint(names: Iterable[str], endpoint: Endpoint) -> int | None:
    """Return the place in `names` of the endpoint's host or own name, whatever their case, or None."""
    own = (endpoint.host.casefold(), endpoint.name.casefold())
    return next((place for place, name in enumerate(names) if name.casefold() in own), None)


def _excluded_by_name(endpoint: Endpoint, preferences: Preferences) -> ExclusionReason | None:
    if preferences.only and names_endpoint(preferences.only, endpoint) is None:
        return ExclusionReason.ONLY
    if names_endpoint(preferences.ignore, endpoint) is not None:
        return ExclusionReason.IGNORED
    closed = preferences.order and not preferences.allow_fallbacks
    if closed and names_endpoint(preferences.order, endpoint) is None:
        return ExclusionReason.NOT_IN_ORDER
    return None


def _excluded_by_attribute(endpoint: Endpoint, preferences: Preferences) -> ExclusionReason | None:
    """An attribute that nobody declared is read as the answer that protects the sender."""
    if preferences.quantizations:
        accepted = {name.casefold() for name in preferences.quantizations}
        if (endpoint.quantization or "").casefold() not in accepted:
            return ExclusionReason.QUANTIZATION
    if preferences.data_collection == "deny" and endpoint.trains_on_data is not False:
        return ExclusionReason.DATA_COLLECTION
    if preferences.zero_data_retention and endpoint.zero_data_retention is not True:
        return ExclusionReason.ZERO_DATA_RETENTION
    return None


def _excluded_by_price(
    index: int, endpoint: Endpoint, request: Request, *, needs_price: bool
) -> Exclusion | None:
    limits, prices = request.preferences.max_price, endpoint.prices
    if prices is None:
        limited = needs_price or limits is not None or request.slo.max_nusd is not None
        return Exclusion(index, ExclusionReason.NO_PRICE) if limited else None
    if limits is None:
        return None
    for reason, price, limit in (
        (ExclusionReason.INPUT_PRICE, prices.input_nusd_per_mtok, limits.input_nusd_per_mtok),
        (ExclusionReason.OUTPUT_PRICE, prices.output_nusd_per_mtok, limits.output_nusd_per_mtok),
        (ExclusionReason.REQUEST_PRICE, prices.request_nusd, limits.request_nusd),
    ):
        if limit is not None and price > limit:
            return Exclusion(index, reason, price / NUSD_PER_USD, limit / NUSD_PER_USD)
    return None


def size_exclusion(at: Option, of: Size, max_output_tokens: int | None) -> Exclusion | None:
    """Return why the request does not fit the endpoint, or None.

    The window has to hold the prompt at the cautious count of tokens: what a host truncates in silence is
    worse than a window that was left unused.
    """
    if of.context_tokens > at.context_tokens:
        return Exclusion(at.index, ExclusionReason.CONTEXT, of.context_tokens, at.context_tokens)
    if max_output_tokens is not None and max_output_tokens > at.max_output_tokens:
        return Exclusion(at.index, ExclusionReason.MAX_OUTPUT, max_output_tokens, at.max_output_tokens)
    return None


def slo_exclusion(at: Option, of: Size, expected: Forecast, slo: Slo, choices: int) -> Exclusion | None:
    """Return the first limit of the sender that the endpoint does not keep with the asked probability."""
    for name, (seen, limit) in misses(at, of, expected, slo, choices).items():
        return Exclusion(at.index, _LIMITS[name], seen, limit)
    return None


_LIMITS = {
    "max_usd": ExclusionReason.ANSWER_COST,
    "ttft_s": ExclusionReason.TTFT,
    "tokens_per_s": ExclusionReason.TOKENS_PER_S,
    "answer_s": ExclusionReason.ANSWER_TIME,
}
