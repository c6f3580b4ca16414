"""Where a request goes: eligible → forecast → score → order, as one `Decision`.

The clock and the random draws are arguments and nothing else varies, so the same knowledge and the same
arguments give the same decision: in the gateway, in a replay and in a test. (`decide` refreshes rows of
knowledge that are due; that changes what is stored of an estimate, never what it says.)
"""

from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from entrepot.domain.claims import Claims
from entrepot.domain.endpoint import Endpoint, Model, Operation
from entrepot.domain.errors import Refusal
from entrepot.domain.prices import Prices
from entrepot.domain.request import Preferences, Request, Slo
from entrepot.routing.decision import Candidate, Decision, Exclusion, ExclusionReason, Ranking
from entrepot.routing.eligible import eligible, names_endpoint, size_exclusion, slo_exclusion
from entrepot.routing.forecast import Forecast, Option, Size, forecast, option, size
from entrepot.routing.kpi.knowledge import Knowledge
from entrepot.routing.kpi.outlook import ModelOutlook
from entrepot.routing.policy import NO_RULES, RulesInForce
from entrepot.routing.rank import moved_to_front, ordered, to_explore, two_least
from entrepot.routing.refuse import nothing_eligible, policy_forbidden, unknown_model
from entrepot.routing.score import SECONDS_PER_HOUR, score
from entrepot.routing.settings import RoutingSettings

MAX_PLANS = 1024
"""Kinds of requests whose standing exclusions are remembered; senders choose them, so they are bounded."""

_RANKINGS = {
    None: Ranking.SCORE,
    "price": Ranking.PRICE,
    "throughput": Ranking.THROUGHPUT,
    "latency": Ranking.LATENCY,
}
TIERS_PER_PLACE = 2
"""Each place in the sender's orders has two: for endpoints that meet its preferred speed, and the others."""

_MAX_TIER = 0xFFFE
_FREE = Prices(input_nusd_per_mtok=0, output_nusd_per_mtok=0)

_PlanKey = tuple[Operation, tuple[str, ...], bool, Preferences, frozenset[str] | None, Claims]


class Plan(Struct, frozen=True):
    """What is the same for all requests of one kind: the options, the rows of the models, the exclusions.

    Units: `windows` tokens; per model the largest context window of all its endpoints, eligible or not.
    """

    options: tuple[Option, ...]
    models: tuple[ModelOutlook, ...]
    windows: tuple[int, ...]
    excluded: tuple[Exclusion, ...]
    ranking: Ranking
    explores: bool
    tries_one: bool


class Survey(Struct):
    """The options that a request fits, what is expected of each, and the exclusions of the others."""

    sizes: list[Size]
    options: list[Option]
    forecasts: list[Forecast]
    excluded: list[Exclusion]


class Router:
    """Decides where requests go, among these endpoints, by this knowledge.

    The models of a request are tried in the order of its list: every endpoint of the first before any of the
    next. (The issue "The choice" makes the list a set under the objective.) An endpoint without prices
    is scored at the dearest price of its model's other endpoints: unknown must not look cheap.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        models: Mapping[str, Model],
        settings: RoutingSettings,
        knowledge: Knowledge,
    ) -> None:
        self.endpoints = tuple(endpoints)
        self.models = dict(models)
        self.settings = settings
        self.knowledge = knowledge
        self._usd_per_s = settings.value_of_time_usd_per_hour / SECONDS_PER_HOUR
        self._plans: dict[_PlanKey, Plan] = {}
        self.rules = NO_RULES
        self._index()

    def enforce(self, rules: RulesInForce) -> None:
        """Go by these rules from now on."""
        self.rules = rules
        self._plans.clear()

    def reprice(self, prices: Mapping[int, Prices | None]) -> None:
        """Go by these prices from now on, at the endpoints of these indexes; None is unknown.

        They are those of an ordinary prompt at the present hour; dearer tiers of long prompts are not yet
        in the score. (The issue "The choice" adds them.)
        """
        changed = {index: new for index, new in prices.items() if new != self.endpoints[index].prices}
        if changed:
            self.endpoints = tuple(
                replace(endpoint, prices=changed[index]) if index in changed else endpoint
                for index, endpoint in enumerate(self.endpoints)
            )
            self._plans.clear()
            self._index()

    def _index(self) -> None:
        self._by_model: dict[str, list[tuple[int, Endpoint]]] = {name: [] for name in self.models}
        for index, endpoint in enumerate(self.endpoints):
            self._by_model.setdefault(endpoint.model, []).append((index, endpoint))
        self._prices = [endpoint.prices or self._dearest(endpoint.model) for endpoint in self.endpoints]

    def decide(
        self, request: Request, *, now_s: float, draw: float, draw_pick: float, needs_price: bool = False
    ) -> Decision | Refusal:
        """Return where the request goes and why, or why nowhere.

        `draw` and `draw_pick` are random numbers in [0, 1): the first says whether to explore, the second
        which of several equally unknown endpoints. `needs_price`: the key has a budget.
        Units: `now_s` is the monotonic clock that the knowledge is fed with.
        """
        knowledge = self.knowledge
        if now_s >= knowledge.refresh_due_s:
            knowledge.refresh(now_s)
        plan = self._plan(request, needs_price=needs_price)
        if isinstance(plan, Refusal):
            return plan
        survey = surveyed(request, plan)
        if not survey.options:
            return self._refused(request, (*plan.excluded, *survey.excluded), needs_price=needs_price)
        usd_per_s = self._value_of_time(request.slo, plan.ranking)
        candidates = ordered(scored(request, survey, usd_per_s, alone=plan.tries_one), plan.ranking)
        explored = False
        share = self.settings.exploration_share
        if draw < share and plan.explores and len(candidates) > 1:
            candidates, explored = with_exploration(candidates, draw / share, draw_pick)
        excluded = plan.excluded
        if survey.excluded:
            excluded += tuple(survey.excluded)
        if plan.tries_one:
            excluded += tuple(_not_tried(candidate, candidates[0]) for candidate in candidates[1:])
            del candidates[1:]
        return Decision(
            usd_per_s,
            (draw, draw_pick),
            tuple(candidates),
            excluded,
            explored,
            plan.ranking,
            self.rules.digest,
        )

    def _refused(self, request: Request, excluded: tuple[Exclusion, ...], *, needs_price: bool) -> Refusal:
        """Return the refusal; of the rules' own kind where a request is served but for them."""
        ruled = [gone for gone in excluded if gone.reason is ExclusionReason.RULE]
        if ruled:
            plan = self._made_plan(request, needs_price=needs_price, rules=NO_RULES)
            served = {at.index for at in surveyed(request, plan).options} if isinstance(plan, Plan) else set()
            named = [gone for gone in ruled if gone.endpoint_index in served]
            if named:
                return policy_forbidden(request, self.endpoints, named, self.rules.by_id())
        return nothing_eligible(request, self.endpoints, excluded, self.rules.by_id())

    def _value_of_time(self, slo: Slo, ranking: Ranking) -> float:
        if ranking is Ranking.PRICE:
            return 0.0
        return self._usd_per_s if slo.usd_per_hour is None else slo.usd_per_hour / SECONDS_PER_HOUR

    def _plan(self, request: Request, *, needs_price: bool) -> Plan | Refusal:
        preferences = request.preferences
        key = (
            request.operation,
            request.models,
            needs_price or request.slo.max_nusd is not None,
            preferences,
            request.parameters if preferences.require_parameters else None,
            request.claims,
        )
        plan = self._plans.get(key)
        if plan is not None:
            return plan
        made = self._made_plan(request, needs_price=needs_price, rules=self.rules)
        if isinstance(made, Plan):
            if len(self._plans) >= MAX_PLANS:
                self._plans.clear()
            self._plans[key] = made
        return made

    def _made_plan(self, request: Request, *, needs_price: bool, rules: RulesInForce) -> Plan | Refusal:
        preferences = request.preferences
        options: list[Option] = []
        excluded: list[Exclusion] = []
        names = tuple(dict.fromkeys(request.models))
        for position, name in enumerate(names):
            if name not in self._by_model:
                return unknown_model(name, self._by_model)
            indexes, rejected = eligible(request, self._by_model[name], needs_price=needs_price, rules=rules)
            excluded += rejected
            options += [self._option(index, position, preferences) for index in indexes]
        if not options:
            if rules is NO_RULES:
                return nothing_eligible(request, self.endpoints, excluded)
            return self._refused(request, tuple(excluded), needs_price=needs_price)
        ranking = _RANKINGS[preferences.sort]
        return Plan(
            options=tuple(options),
            models=tuple(self.knowledge.model_outlooks[name] for name in names),
            windows=tuple(max(at.context_tokens for _, at in self._by_model[name]) for name in names),
            excluded=tuple(excluded),
            ranking=ranking,
            explores=not preferences.order and preferences.sort is None and preferences.allow_fallbacks,
            tries_one=not preferences.order and not preferences.allow_fallbacks,
        )

    def _option(self, index: int, model_position: int, preferences: Preferences) -> Option:
        order = preferences.order
        place = names_endpoint(order, self.endpoints[index])
        listed = len(order) if place is None else place
        return option(
            index,
            self.endpoints[index],
            self.knowledge.outlooks[index],
            self._prices[index],
            model_position=model_position,
            tier=min((model_position * (len(order) + 1) + listed) * TIERS_PER_PLACE, _MAX_TIER),
        )

    def _dearest(self, model: str) -> Prices:
        known = [endpoint.prices for _, endpoint in self._by_model[model] if endpoint.prices is not None]
        if not known:
            return _FREE
        return Prices(
            input_nusd_per_mtok=max(prices.input_nusd_per_mtok for prices in known),
            output_nusd_per_mtok=max(prices.output_nusd_per_mtok for prices in known),
            request_nusd=max(prices.request_nusd for prices in known),
        )


def surveyed(request: Request, plan: Plan) -> Survey:
    """Return which options the request fits within its limits, and what is expected of each.

    When no window of the models holds it at the cautious count of tokens, the expected count decides: a doubt
    is settled for the sender. It must not depend on who is eligible, or a preference could add an endpoint.
    """
    sizes = [size(request, model) for model in plan.models]
    if all(of.context_tokens > window for of, window in zip(sizes, plan.windows, strict=True)):
        sizes = [size(request, model, cautious=False) for model in plan.models]
    survey = Survey(sizes, [], [], [])
    slo, most = request.slo, request.max_output_tokens
    limited = slo.ttft_s is not None or slo.tokens_per_s is not None
    limited = limited or slo.answer_s is not None or slo.max_nusd is not None
    for at in plan.options:
        of = sizes[at.model_position]
        exclusion = size_exclusion(at, of, most)
        if exclusion is None:
            expected = forecast(at, of)
            if limited:
                exclusion = slo_exclusion(at, of, expected, slo)
            if exclusion is None:
                survey.options.append(at)
                survey.forecasts.append(expected)
                continue
        survey.excluded.append(exclusion)
    return survey


def scored(request: Request, survey: Survey, usd_per_s: float, *, alone: bool) -> list[Candidate]:
    """Return the candidates with their scores, in the order of the survey.

    The fallback of each is the one of the others that would cost least if it answered, of whatever model
    was asked for. One that is alone, or may have no fallback (`alone`), falls back to itself: the sender
    has to try again.
    """
    bases = [expected.dollars + usd_per_s * expected.seconds for expected in survey.forecasts]
    least, second = two_least(bases)
    preferences, sizes = request.preferences, survey.sizes
    demotes = preferences.min_tokens_per_s is not None or preferences.max_ttft_s is not None
    candidates = []
    for at, expected, base in zip(survey.options, survey.forecasts, bases, strict=True):
        of, outlook = sizes[at.model_position], at.outlook
        fallback_score = base if alone else second if base == least else least
        candidates.append(
            Candidate(
                at.index,
                at.tier + _demotion(expected, preferences) if demotes else at.tier,
                expected.dollars,
                expected.ttft_s,
                expected.tpot_s,
                of.output_tokens,
                expected.p_failure,
                expected.dollars_wasted,
                expected.failure_s,
                score(
                    expected.dollars,
                    expected.seconds,
                    usd_per_s,
                    expected.p_failure,
                    expected.dollars_wasted,
                    expected.failure_s,
                    fallback_score,
                ),
                of.prompt_tokens,
                expected.cached_tokens,
                at.cached_nusd_per_mtok,
                outlook.uses,
                outlook.observations + outlook.in_flight,
                of.bound_prompt_tokens,
            )
        )
    return candidates


def with_exploration(
    candidates: list[Candidate], draw: float, draw_pick: float
) -> tuple[list[Candidate], bool]:
    """Return the candidates with the least known before the others, and whether that changed them.

    `draw` is uniform in [0, 1). An endpoint that is expected to cost n times the best is explored n times
    more rarely, so that exploring is expected to cost at most the share that it was given of the best score.
    """
    unknown = to_explore(candidates, draw_pick)
    if unknown is None or unknown is candidates[0] or draw * unknown.score > candidates[0].score:
        return candidates, False
    return moved_to_front(candidates, unknown), True


def _demotion(expected: Forecast, preferences: Preferences) -> int:
    slow, late = preferences.min_tokens_per_s, preferences.max_ttft_s
    is_slow = slow is not None and expected.tpot_s * slow > 1.0
    is_late = late is not None and expected.ttft_s > late
    return 1 if is_slow or is_late else 0


def _not_tried(candidate: Candidate, winner: Candidate) -> Exclusion:
    return Exclusion(
        candidate.endpoint_index, ExclusionReason.NO_FALLBACKS, seen=candidate.score, limit=winner.score
    )
