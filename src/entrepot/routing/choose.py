"""Where a request goes: eligible → forecast → score → order, as one `Decision`.

The clock and the random draws are arguments and nothing else varies, so the same knowledge and the same
arguments give the same decision: in the gateway, in a replay and in a test. (`decide` refreshes rows of
knowledge that are due; that changes what is stored of an estimate, never what it says.)
"""

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from entrepot.domain.claims import Claims
from entrepot.domain.durations import SECONDS_PER_HOUR
from entrepot.domain.endpoint import Endpoint, Model, Operation
from entrepot.domain.errors import Refusal
from entrepot.domain.prices import Prices
from entrepot.domain.request import Preferences, Request, Slo
from entrepot.domain.virtual import VirtualModel
from entrepot.routing.compare import Quote
from entrepot.routing.decision import Candidate, Decision, Exclusion, ExclusionReason, Ranking
from entrepot.routing.eligible import eligible, names_endpoint
from entrepot.routing.explore import Allowances, to_explore
from entrepot.routing.forecast import Forecast, Option, PriceTiers, Size, forecast, option
from entrepot.routing.intervals import Interval, intervals
from entrepot.routing.kpi.knowledge import Knowledge
from entrepot.routing.members import Asked, asked_of
from entrepot.routing.policy import NO_RULES, RulesInForce
from entrepot.routing.rank import moved_to_front, ordered
from entrepot.routing.refuse import nothing_eligible, policy_forbidden, unknown_model
from entrepot.routing.settings import RoutingSettings
from entrepot.routing.survey import Plan, nearest_survey, scored, served_by, surveyed

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

_PlanKey = tuple[Operation, tuple[str, ...], bool, bool, Preferences, frozenset[str] | None, Claims]


class Router:
    """Decides where requests go, among these endpoints, by this knowledge.

    The models of a request are one set under the objective, unless it asks for their order: then every
    endpoint of the first is tried before any of the next. An endpoint without prices is scored at the dearest
    price of its model's other endpoints: unknown must not look cheap.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        models: Mapping[str, Model],
        settings: RoutingSettings,
        knowledge: Knowledge,
        virtual_models: Sequence[VirtualModel] = (),
    ) -> None:
        self._virtual = {virtual.name: virtual for virtual in virtual_models}
        self.endpoints = tuple(endpoints)
        self.models = dict(models)
        self.settings = settings
        self.knowledge = knowledge
        self._usd_per_s = settings.value_of_time_usd_per_hour / SECONDS_PER_HOUR
        self._allowances = Allowances(settings.exploration_share)
        self._plans: dict[_PlanKey, Plan] = {}
        self._longer: dict[int, PriceTiers] = {}
        self.rules = NO_RULES
        self._index()

    def enforce(self, rules: RulesInForce) -> None:
        """Go by these rules from now on."""
        self.rules = rules
        self._plans.clear()

    def reprice(self, tiers: Mapping[int, PriceTiers | None]) -> None:
        """Go by these prices from now on, at the endpoints of these indexes; None is unknown.

        The first tier of each is that of ordinary prompts.
        """
        now: dict[int, PriceTiers] = {index: new or () for index, new in tiers.items()}
        changed = {
            index: new
            for index, new in now.items()
            if (new[0][1] if new else None) != self.endpoints[index].prices
            or new[1:] != self._longer.get(index, ())
        }
        if changed:
            self.endpoints = tuple(
                replace(endpoint, prices=changed[index][0][1] if changed[index] else None)
                if index in changed
                else endpoint
                for index, endpoint in enumerate(self.endpoints)
            )
            self._longer.update((index, new[1:]) for index, new in changed.items())
            self._plans.clear()
            self._index()

    def _index(self) -> None:
        self._by_model: dict[str, list[tuple[int, Endpoint]]] = {name: [] for name in self.models}
        for index, endpoint in enumerate(self.endpoints):
            self._by_model.setdefault(endpoint.model, []).append((index, endpoint))
        self._prices: list[PriceTiers] = [
            ((0, endpoint.prices or self._dearest(endpoint.model)), *self._longer.get(index, ()))
            for index, endpoint in enumerate(self.endpoints)
        ]

    def decide(
        self, request: Request, *, now_s: float, draw: float, needs_price: bool = False
    ) -> Decision | Refusal:
        """Return where the request goes and why, or why nowhere.

        `draw` is a random number in [0, 1), for what is explored. `needs_price`: the key has a budget.
        Units: `now_s` is the monotonic clock that the knowledge is fed with.
        """
        knowledge = self.knowledge
        if now_s >= knowledge.refresh_due_s:
            knowledge.refresh_if_due(now_s)
        plan = self._plan(request, needs_price=needs_price)
        if isinstance(plan, Refusal):
            return plan
        known = knowledge.known_bytes(request, now_s) if request.blocks or request.session else {}
        survey, ranking = surveyed(request, plan, known), plan.ranking
        if not survey.options:
            nearest = nearest_survey(request, plan, known) if request.slo.serves_nearest else None
            if nearest is None:
                told = survey if request.slo.answer_s is None else surveyed(request, plan, known, tells=True)
                excluded = (*plan.excluded, *told.excluded)
                return self._refused(request, excluded, needs_price=needs_price)
            survey, ranking = nearest, Ranking.NEAREST
        usd_per_s = self._value_of_time(request.slo, plan.ranking)
        candidates = ordered(scored(request, survey, usd_per_s, alone=plan.tries_one), ranking)
        allowance, explored = 0.0, None
        if plan.explores and ranking is Ranking.SCORE:
            allowance = self._allowances.of(request.key_id, candidates[0].score)
            if allowance > 0.0:
                explored = to_explore(candidates, draw, allowance)
            if explored is not None:
                self._allowances.spend(request.key_id, explored.score - candidates[0].score)
                candidates = moved_to_front(candidates, explored)
        excluded = plan.excluded
        if survey.excluded:
            excluded += tuple(survey.excluded)
        if plan.tries_one:
            excluded += tuple(_not_tried(candidate, candidates[0]) for candidate in candidates[1:])
            del candidates[1:]
        return Decision(
            usd_per_s,
            draw,
            allowance,
            tuple(candidates),
            excluded,
            explored is not None,
            ranking,
            self.rules.digest,
        )

    def _refused(self, request: Request, excluded: tuple[Exclusion, ...], *, needs_price: bool) -> Refusal:
        """Return the refusal; of the rules' own kind where a request is served but for them."""
        ruled = [gone for gone in excluded if gone.reason is ExclusionReason.RULE]
        if ruled:
            plan = self._made_plan(request, needs_price=needs_price, rules=NO_RULES)
            served = served_by(request, plan) if isinstance(plan, Plan) else frozenset()
            named = [gone for gone in ruled if gone.endpoint_index in served]
            if named:
                return policy_forbidden(request, self.endpoints, excluded, named, self.rules)
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
            request.in_order,
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
        members = self._members(request)
        if isinstance(members, Refusal):
            return members
        for position, member in enumerate(members):
            indexes, rejected = eligible(
                request, self._by_model[member.model], needs_price=needs_price, rules=rules
            )
            if member.falls_short:
                rejected += [
                    Exclusion(index, ExclusionReason.QUALITY, member.told or 0.0, member.floor)
                    for index in indexes
                ]
                indexes = []
            excluded += rejected
            options += [
                self._option(index, position, preferences, member.success_share, in_order=request.in_order)
                for index in indexes
            ]
        if not options:
            if rules is NO_RULES:
                return nothing_eligible(request, self.endpoints, excluded)
            return self._refused(request, tuple(excluded), needs_price=needs_price)
        ranking = _RANKINGS[preferences.sort]
        names = [member.model for member in members]
        return Plan(
            options=tuple(options),
            models=tuple(self.knowledge.model_outlooks[name] for name in names),
            windows=tuple(max(at.context_tokens for _, at in self._by_model[name]) for name in names),
            least_window=min(at.context_tokens for at in options),
            least_max_output=min(at.max_output_tokens for at in options),
            excluded=tuple(excluded),
            ranking=ranking,
            explores=not preferences.order and preferences.sort is None and preferences.allow_fallbacks,
            tries_one=not preferences.order and not preferences.allow_fallbacks,
        )

    def _members(self, request: Request) -> list[Asked] | Refusal:
        """Return the models that the request is for, virtual ones as what they stand for, each once."""
        members: dict[str, Asked] = {}
        for name in request.models:
            virtual = self._virtual.get(name)
            if virtual is not None:
                for asked in asked_of(virtual, self.models, self.knowledge):
                    members.setdefault(asked.model, asked)
            elif name in self._by_model:
                members.setdefault(name, Asked(name))
            else:
                return unknown_model(name, [*self._by_model, *self._virtual])
        return list(members.values())

    def intervals(
        self, request: Request, endpoint_index: int, *, now_s: float, shares: Sequence[float]
    ) -> list[Interval]:
        """Return where the cost and the time of an answer of an endpoint lie, none where it may not answer.

        Units: `now_s` as for `decide`; shares of all outcomes.
        """
        plan = self._plan(request, needs_price=False)
        if isinstance(plan, Refusal):
            return []
        known = self.knowledge.known_bytes(request, now_s)
        survey = surveyed(replace(request, slo=Slo()), plan, known)
        for at, expected in zip(survey.options, survey.forecasts, strict=True):
            if at.index == endpoint_index:
                of, model = survey.sizes[at.model_position], plan.models[at.model_position]
                return intervals(at, of, expected, model, choices=request.choices, shares=shares)
        return []

    def quotes(self, model: str, *, prompt_tokens: float, output_tokens: float, now_s: float) -> list[Quote]:
        """Return what an answer of so many tokens is expected to cost at each endpoint of a model, now.

        Units: tokens; `now_s` as for `decide`. A virtual model's endpoints are those of its members.
        """
        self.knowledge.refresh(now_s)
        virtual = self._virtual.get(model)
        names = [model] if virtual is None else [member.model for member in virtual.members]
        found = []
        for name in names:
            of = Size.of_tokens(prompt_tokens, output_tokens, self.knowledge.model_outlooks[name])
            for index, endpoint in self._by_model.get(name, ()):
                if endpoint.context_tokens >= of.context_tokens:
                    at = self._option(index, 0, Preferences(), 1.0, in_order=False)
                    found.append(quote(at, forecast(at, of)))
        return found

    def judged(
        self, model: str, *, succeeded: bool, now_s: float, weight: float = 1.0, again: bool = False
    ) -> None:
        """Take in that an answer of a model was of use to its sender, or was not; as `Knowledge.judged`."""
        self.knowledge.judged(model, succeeded=succeeded, now_s=now_s, weight=weight, again=again)
        if self._virtual:
            self._plans.clear()

    def unjudged(
        self, model: str, *, succeeded: bool, now_s: float, ago_s: float, weight: float = 1.0
    ) -> None:
        """Take back what was said of an answer of a model; as `Knowledge.unjudged`."""
        self.knowledge.unjudged(model, succeeded=succeeded, now_s=now_s, ago_s=ago_s, weight=weight)
        if self._virtual:
            self._plans.clear()

    def _option(
        self,
        index: int,
        model_position: int,
        preferences: Preferences,
        success_share: float,
        *,
        in_order: bool,
    ) -> Option:
        order = preferences.order
        place = names_endpoint(order, self.endpoints[index])
        listed = len(order) if place is None else place
        if in_order:
            listed += model_position * (len(order) + 1)
        return option(
            index,
            self.endpoints[index],
            self.knowledge.outlooks[index],
            self._prices[index],
            model_position=model_position,
            tier=min(listed * TIERS_PER_PLACE, _MAX_TIER),
            success_share=success_share,
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


def quote(at: Option, expected: Forecast) -> Quote:
    """Return a forecast as a comparison tells it."""
    return Quote(
        at.index,
        expected.dollars,
        expected.seconds,
        expected.ttft_s,
        1.0 / expected.tpot_s,
        expected.p_failure,
        expected.dollars_wasted,
        expected.failure_s,
    )


def _not_tried(candidate: Candidate, winner: Candidate) -> Exclusion:
    return Exclusion(
        candidate.endpoint_index, ExclusionReason.NO_FALLBACKS, seen=candidate.score, limit=winner.score
    )
