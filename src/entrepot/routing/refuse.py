"""Refusals of the choice: which rule stands in the way, per endpoint, and what could be had instead.

A bare "no endpoints found" makes users guess which of their limits to loosen.
"""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

from msgspec import Struct

from entrepot.domain.endpoint import Endpoint
from entrepot.domain.errors import Refusal
from entrepot.domain.request import Request
from entrepot.routing.decision import Exclusion, ExclusionReason
from entrepot.routing.explain import NO_RULES_KNOWN, exclusion_sentence, rules_sentences
from entrepot.routing.forbidden import Forbidden, Grounds
from entrepot.routing.policy import RulesInForce
from entrepot.routing.rule import Rule

MAX_NAMED = 8
"""Endpoints that a message names; a long one would be cut by the reader's log anyway."""

INVALID_REQUEST = "invalid_request_error"
NOT_FOUND = "not_found_error"
POLICY_FORBIDDEN = "policy_forbidden"


class _Kind(Struct, frozen=True):
    """How a rule speaks to the client when no endpoint passes it."""

    http_status: int
    type: str
    code: str
    param: str
    next_step: str


def _slo(limit: str) -> _Kind:
    return _Kind(400, INVALID_REQUEST, "slo_unattainable", f"slo.{limit}", f"Loosen `slo.{limit}`.")


_PREFERENCE = _Kind(
    404, NOT_FOUND, "no_eligible_endpoint", "provider", "Loosen the preferences in `provider`."
)
_KINDS = {
    ExclusionReason.OPERATION: _Kind(
        404, NOT_FOUND, "operation_not_served", "model", "Ask another model, or another path."
    ),
    ExclusionReason.NO_PRICE: _Kind(404, NOT_FOUND, "no_priced_endpoint", "model", "Or use no limit."),
    ExclusionReason.CONTEXT: _Kind(
        400,
        INVALID_REQUEST,
        "context_length_exceeded",
        "messages",
        "Shorten the prompt or lower `max_tokens`.",
    ),
    ExclusionReason.MAX_OUTPUT: _Kind(
        400, INVALID_REQUEST, "max_tokens_too_large", "max_tokens", "Lower `max_tokens`."
    ),
    ExclusionReason.ANSWER_COST: _slo("max_usd"),
    ExclusionReason.TTFT: _slo("ttft_s"),
    ExclusionReason.TOKENS_PER_S: _slo("tokens_per_s"),
    ExclusionReason.ANSWER_TIME: _slo("answer_s"),
    ExclusionReason.IN_TIME: _slo("answer_s"),
}


def unknown_model(name: str, known: Iterable[str]) -> Refusal:
    """Return the refusal of a model that no endpoint serves, with the nearest names."""
    names = sorted(known)
    near = get_close_matches(name, names, n=3, cutoff=0.5) or [
        known_name for known_name in names if known_name.rpartition("/")[2] == name
    ]
    hint = f"Nearest: {', '.join(near)}." if near else "GET /v1/models lists what is served."
    return Refusal(
        404, NOT_FOUND, "model_not_found", f"No endpoint serves the model {name!r}. {hint}", "model"
    )


def nothing_eligible(
    request: Request,
    endpoints: Sequence[Endpoint],
    excluded: Sequence[Exclusion],
    rules: Mapping[str, Rule] = NO_RULES_KNOWN,
) -> Refusal:
    """Return the refusal of a request that every endpoint of its models is excluded from.

    The rule that was asked last speaks: whatever it excluded came nearest to being served.
    """
    if not excluded:
        message = (
            f"No endpoint serves {' or '.join(request.models)} at present. GET /v1/models lists what is."
        )
        return Refusal(404, NOT_FOUND, "model_not_found", message, "model")
    last = max(exclusion.reason for exclusion in excluded)
    nearest = [exclusion for exclusion in excluded if exclusion.reason == last]
    kind = _KINDS.get(last, _PREFERENCE)
    sentences = [
        exclusion_sentence(gone, endpoints[gone.endpoint_index].name, rules) for gone in excluded[:MAX_NAMED]
    ]
    if len(excluded) > MAX_NAMED:
        sentences.append(f"{len(excluded) - MAX_NAMED} more are excluded")
    message = f"No endpoint of {' or '.join(request.models)} may serve this request"
    message += f"{_offer(last, nearest, endpoints)}: {'; '.join(sentences)}. "
    if last is ExclusionReason.NO_PRICE:
        message += f"{how_to_price(endpoints[nearest[0].endpoint_index])} "
    message += kind.next_step
    return Refusal(kind.http_status, kind.type, kind.code, message, kind.param)


def policy_forbidden(
    request: Request,
    endpoints: Sequence[Endpoint],
    excluded: Sequence[Exclusion],
    named: Sequence[Exclusion],
    rules: RulesInForce,
) -> Forbidden:
    """Return the refusal of a request that would be served but for the rules.

    It names the rules of `named`, the exclusions that stand in the way; its grounds hold all `excluded`.
    """
    names = {gone.endpoint_index: endpoints[gone.endpoint_index].name for gone in named}
    sentences = rules_sentences(named[:MAX_NAMED], names, rules.by_id())
    if len(named) > MAX_NAMED:
        sentences.append(f"{len(named) - MAX_NAMED} more are excluded")
    return Forbidden(
        403,
        "permission_error",
        POLICY_FORBIDDEN,
        f"Rules forbid every endpoint of {' or '.join(request.models)} that could serve this request: "
        f"{'; '.join(sentences)}. Ask another model, or have the operator look at `entrepot policy check`.",
        "model",
        grounds=Grounds(request.models, request.claims, tuple(excluded), rules.digest),
    )


def how_to_price(endpoint: Endpoint) -> str:
    """Return what to write in the configuration so that the price of an endpoint is known."""
    place = f"the [[hosts.endpoints]] of {endpoint.model} at the host {endpoint.host}"
    if endpoint.tariff is not None:
        return (
            f"No price in {place} is valid at present: "
            "look at its price_valid_from, price_valid_until and rates."
        )
    return (
        f"In the configuration, write input_usd_per_mtok and output_usd_per_mtok into {place}, or "
        'price_list = "…" into its [[hosts]] for the list prices of a provider (they need pip install '
        '"entrepot[prices]").'
    )


def _offer(last: ExclusionReason, nearest: Sequence[Exclusion], endpoints: Sequence[Endpoint]) -> str:
    """Return what could be had, for the limits where more or less of something could."""
    match last:
        case ExclusionReason.CONTEXT:
            best = max(nearest, key=lambda gone: gone.limit)
            text = f"the largest context window available has {best.limit:.0f} tokens"
        case ExclusionReason.MAX_OUTPUT:
            best = max(nearest, key=lambda gone: gone.limit)
            text = f"the longest answer available has {best.limit:.0f} tokens"
        case ExclusionReason.ANSWER_COST:
            best = min(nearest, key=lambda gone: gone.seen)
            text = f"the cheapest answer may cost up to ${best.seen:.3g}"
        case ExclusionReason.TTFT:
            best = min(nearest, key=lambda gone: gone.seen)
            text = f"the first to begin may do so only after {best.seen:.3g} s"
        case ExclusionReason.TOKENS_PER_S:
            best = max(nearest, key=lambda gone: gone.seen)
            text = f"the fastest may write only {best.seen:.3g} tokens/s"
        case ExclusionReason.ANSWER_TIME:
            best = min(nearest, key=lambda gone: gone.seen)
            text = f"the soonest answer may take {best.seen:.3g} s"
        case _:
            return ""
    return f" ({text}: {endpoints[best.endpoint_index].name})"
