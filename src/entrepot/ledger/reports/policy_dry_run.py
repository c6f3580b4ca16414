"""A dry run of rules over the ledger: which calls would have moved or been refused, and at what cost.

Limits, told with the result: only calls whose decision is kept can be judged; what a client's headers added
is not in the ledger; keys and endpoints are judged by what is declared of them today. Money that would have
been spent is an expectation of the stored decision, beside it stands what the calls really cost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import date

from msgspec import Struct, field

from entrepot.domain.claims import Claims
from entrepot.domain.endpoint import Endpoint
from entrepot.domain.ids import REQUEST_ID_BYTES, instant_ns
from entrepot.ledger.entries import NameEndpoint
from entrepot.ledger.history import RequestHistory
from entrepot.ledger.store.store import Store
from entrepot.routing.decision import Decision
from entrepot.routing.dry_run import denials, moved
from entrepot.routing.policy import RulesInForce, day_of

PAGE = 500  # requests that are read at once
_NO_ID = b"\x00" * REQUEST_ID_BYTES


class Sums(Struct):
    """Calls of one kind, and their money.

    Units: USD expected by the stored decisions (before: of the winner, after: of who would have been next,
    both of moved calls), nano-USD that the moved and refused calls really cost.
    """

    calls: int = 0
    moved: int = 0
    refused: int = 0
    expected_usd: float = 0.0
    expected_after_usd: float = 0.0
    cost_nusd: int = 0

    @property
    def difference_usd(self) -> float:
        """Return how much more the moved calls would have been expected to cost."""
        return self.expected_after_usd - self.expected_usd


class DryRun(Struct):
    """What rules would have changed.

    `by_rule` counts a call for each rule that excludes its winner. `other_attempts` are calls whose winner
    stays, but of which a later attempt went where it could not have gone. `partly_known` names endpoints that
    the present configuration does not have: the ledger knows only their countries and region.
    """

    total: Sums = field(default_factory=Sums)
    by_rule: dict[str, Sums] = field(default_factory=dict)
    by_model: dict[str, Sums] = field(default_factory=dict)
    other_attempts: int = 0
    without_decision: int = 0
    partly_known: set[str] = field(default_factory=set)
    unknown_keys: set[int] = field(default_factory=set)


class Past(Struct, frozen=True):
    """By what calls of the past are judged: endpoints by name, senders by key, and the rules of a day."""

    endpoints: Mapping[str, Endpoint]
    claims: Mapping[int, Claims]
    rules_on: Callable[[date], RulesInForce]


def dry_run(histories: Iterator[RequestHistory], past: Past) -> DryRun:
    """Return what the rules would have made of these requests."""
    found = DryRun()
    for history in histories:
        decision = _decision(history)
        if decision is None:
            found.without_decision += 1
        else:
            _count(found, history, decision, past)
    return found


def histories_between(
    store: Store, since_ns: int | None, until_ns: int, told: Callable[[int], None] = lambda _: None
) -> Iterator[RequestHistory]:
    """Yield the requests of a window, the oldest first; `told` hears how far it came.

    Units: Unix nanoseconds.
    """
    first = _NO_ID if since_ns is None else (since_ns << 64).to_bytes(REQUEST_ID_BYTES, "big")
    last = ((until_ns << 64) - 1).to_bytes(REQUEST_ID_BYTES, "big")
    while ids := store.ids_between(first, last, PAGE):
        yield from store.requests(ids).values()
        told(instant_ns(ids[-1]))
        first = (int.from_bytes(ids[-1], "big") + 1).to_bytes(REQUEST_ID_BYTES, "big")


def _decision(history: RequestHistory) -> Decision | None:
    try:
        return history.read_decision()
    except ValueError:
        return None


def _count(found: DryRun, history: RequestHistory, decision: Decision, past: Past) -> None:
    ids = {candidate.endpoint_index for candidate in decision.candidates}
    ids |= {attempt.reserve.endpoint_id for attempt in history.attempts}
    endpoints = {number: _endpoint(found, number, history, past) for number in ids}
    claims = past.claims.get(history.key_id)
    if claims is None:
        found.unknown_keys.add(history.key_id)
        claims = Claims()
    rules = past.rules_on(day_of(history.attempts[0].reserve.at_ns))
    result = moved(decision, endpoints, claims, rules)
    model = endpoints[decision.winner.endpoint_index].model
    sums = [found.total, found.by_model.setdefault(model, Sums())]
    for one in sums:
        one.calls += 1
    if result is None:
        tried = [endpoints[attempt.reserve.endpoint_id] for attempt in history.attempts]
        found.other_attempts += any(denials(endpoint, claims, rules) for endpoint in tried)
        return
    for rule in result.by:
        of_rule = found.by_rule.setdefault(rule, Sums())
        of_rule.calls += 1
        sums.append(of_rule)
    for one in sums:
        one.cost_nusd += history.cost_nusd
        if result.to is None:
            one.refused += 1
        else:
            one.moved += 1
            one.expected_usd += decision.winner.dollars
            one.expected_after_usd += result.to.dollars


def _endpoint(found: DryRun, number: int, history: RequestHistory, past: Past) -> Endpoint:
    named = history.endpoints.get(number) or NameEndpoint(number, f"endpoint {number}", "", "")
    known = past.endpoints.get(named.name)
    if known is not None:
        return known
    found.partly_known.add(named.name)
    return Endpoint(
        name=named.name,
        model=named.model,
        host=named.host,
        prices=None,
        context_tokens=0,
        owner_country=named.owner_country,
        origin_country=named.origin_country,
        region=named.region,
    )
