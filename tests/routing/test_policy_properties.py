"""What holds for every set of rules: they only exclude, a header only restricts, and nothing else varies."""

from __future__ import annotations

from datetime import date

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from entrepot.domain.claims import Claims
from entrepot.domain.endpoint import Endpoint
from entrepot.domain.request import Request
from entrepot.routing.choose import Router
from entrepot.routing.decision import Decision
from entrepot.routing.eligible import eligible
from entrepot.routing.policy import PolicySet, RulesInForce
from entrepot.routing.rule import KINDS, OPERATORS, Attribute, Condition, Effect, Kind, Operator, Rule, Status
from entrepot.routing.settings import RoutingSettings
from tests.routing.builders import router_of, seen
from tests.routing.test_choose_properties import fleets, requests

TODAY = date(2026, 11, 26)
NOW_NS = (TODAY - date(1970, 1, 1)).days * 86_400 * 10**9
WORDS = ("a", "b", "phi", "public", "CN", "US", "deepseek", "fp8", "int4")
texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3, unique=True).map(tuple)
word_sets = st.frozensets(st.sampled_from(("phi", "public", "a")), max_size=2)
maybe = st.sampled_from([None, True, False])


@st.composite
def conditions(draw: st.DrawFn, *, of_request: bool) -> Condition:
    """Draw a comparison that the configuration would accept."""
    wanted = [attribute for attribute in Attribute if of_request or not attribute.of_request]
    attribute = draw(st.sampled_from(wanted))
    kind = KINDS[attribute]
    operator = draw(st.sampled_from(OPERATORS[kind]))
    if operator in (Operator.IS, Operator.DECLARED):
        return Condition(attribute, operator, draw(st.booleans()))
    if operator is Operator.AT_LEAST and kind is Kind.QUANTIZATION:
        return Condition(attribute, operator, (draw(st.sampled_from(("int4", "fp8", "fp32"))),))
    if operator in (Operator.IN, Operator.NOT_IN, Operator.OUTSIDE):
        return Condition(attribute, operator, draw(texts))
    return Condition(attribute, operator, draw(st.integers(0, 400)))


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    """Draw a rule."""
    effect = draw(st.sampled_from(Effect))
    when = draw(st.lists(conditions(of_request=True), min_size=effect is Effect.FORBID, max_size=2))
    holds = draw(st.lists(conditions(of_request=False), min_size=1, max_size=2))
    return Rule(
        id=draw(st.sampled_from(("r1", "r2", "r3"))),
        effect=effect,
        status=draw(st.sampled_from(Status)),
        basis="b",
        sentence="s",
        when=tuple(when),
        holds=tuple(holds) if effect is Effect.REQUIRE else (),
        rule_set=draw(st.sampled_from(("", "p"))),
        on_request=draw(st.booleans()),
    )


@st.composite
def claims(draw: st.DrawFn) -> Claims:
    """Draw what a key declares."""
    return Claims(
        country=draw(st.sampled_from([None, "US", "CN"])),
        us_person=draw(maybe),
        defence_contractor=draw(maybe),
        sector=draw(st.sampled_from([None, "a"])),
        tags=draw(word_sets),
        data_classes=draw(st.none() | word_sets),
        purposes=draw(st.none() | word_sets),
    )


@st.composite
def declared(draw: st.DrawFn, fleet: list[Endpoint]) -> list[Endpoint]:
    """Draw the attributes of a fleet; some are not declared."""
    country = st.sampled_from([None, "CN", "US"])
    return [
        replace(
            one,
            owner_country=draw(country),
            origin_country=draw(country),
            region=draw(country),
            major_owners=draw(st.none() | st.frozensets(st.sampled_from(("CN", "US")), max_size=2)),
            zero_data_retention=draw(maybe),
            retention_days=draw(st.sampled_from([None, 0, 30])),
            baa=draw(maybe),
            attested_on=draw(st.sampled_from([None, date(2026, 1, 1), date(2020, 1, 1)])),
        )
        for one in fleet
    ]


fleets_of_hosts = fleets().flatmap(declared)
sets_of_rules = st.lists(rules(), max_size=4)


def in_force(policy: list[Rule]) -> RulesInForce:
    """Return the rules as they are today."""
    return PolicySet(policy).on(NOW_NS)


def left(request: Request, fleet: list[Endpoint], policy: list[Rule]) -> set[int]:
    """Return who is eligible under these rules."""
    return set(eligible(request, enumerate(fleet), rules=in_force(policy))[0])


@settings(deadline=None)
@given(fleets_of_hosts, requests(), claims(), sets_of_rules, rules())
def test_one_rule_more_never_adds_an_endpoint(
    fleet: list[Endpoint], request: Request, sender: Claims, policy: list[Rule], one_more: Rule
) -> None:
    """Neither a forbid nor a require can bring back what another excluded, wherever it stands."""
    request = replace(request, claims=sender)
    before = left(request, fleet, policy)
    assert left(request, fleet, [*policy, one_more]) <= before
    assert left(request, fleet, [one_more, *policy]) <= before


@settings(deadline=None)
@given(fleets_of_hosts, requests(), claims(), sets_of_rules, word_sets, word_sets, st.booleans())
def test_a_header_never_widens_the_eligible_set(
    fleet: list[Endpoint],
    request: Request,
    sender: Claims,
    policy: list[Rule],
    classes: frozenset[str],
    purposes: frozenset[str],
    asks: bool,
) -> None:
    """Whatever data classes, purposes and rule sets a client adds, and however little its key declares."""
    plain = replace(request, claims=sender)
    added = replace(
        sender,
        added_data_classes=classes,
        added_purposes=purposes,
        rule_sets=frozenset({"p"} if asks else ()),
    )
    assert left(replace(request, claims=added), fleet, policy) <= left(plain, fleet, policy)


@settings(deadline=None)
@given(fleets_of_hosts, requests(), claims(), sets_of_rules)
def test_what_a_sender_does_not_declare_never_widens_the_eligible_set(
    fleet: list[Endpoint], request: Request, sender: Claims, policy: list[Rule]
) -> None:
    """To say less is never an advantage, but for rules that ask whether something is declared."""
    policy = [rule for rule in policy if all(of.operator is not Operator.DECLARED for of in rule.conditions)]
    silent = Claims(tags=sender.tags)
    few = left(replace(request, claims=silent), fleet, policy)
    assert few <= left(replace(request, claims=sender), fleet, policy)


@settings(deadline=None)
@given(fleets_of_hosts, requests(), claims(), sets_of_rules)
def test_only_the_facts_that_rules_ask_for_matter(
    fleet: list[Endpoint], request: Request, sender: Claims, policy: list[Rule]
) -> None:
    """Requests may share a plan when they agree in those."""
    reduced = PolicySet(policy).relevant(sender)
    assert left(replace(request, claims=reduced), fleet, policy) == left(
        replace(request, claims=sender), fleet, policy
    )


@settings(deadline=None)
@given(
    fleets_of_hosts,
    requests(),
    st.floats(0, 1, exclude_max=True),
    st.integers(0, 4),
    claims(),
    sets_of_rules,
)
def test_no_candidate_is_one_that_a_rule_excludes(
    fleet: list[Endpoint],
    request: Request,
    draw: float,
    observed: int,
    sender: Claims,
    policy: list[Rule],
) -> None:
    """Fallbacks, explored ones too, never leave the eligible set; the same inputs decide the same."""
    request = replace(request, claims=sender)

    def decided() -> tuple[Router, object]:
        router = router_of(*fleet, settings=RoutingSettings(exploration_share=0.5))
        router.knowledge.observe(seen(observed % len(fleet), 1.0, ttft_s=3.0, tpot_s=0.02, output_tokens=900))
        router.enforce(in_force(policy))
        return router, router.decide(request, now_s=20.0, draw=draw)

    router, decision = decided()
    if isinstance(decision, Decision):
        tried = {candidate.endpoint_index for candidate in decision.candidates}
        assert tried <= left(request, fleet, policy)
        assert all(router.rules.denial(sender, fleet[index]) is None for index in tried)
    assert decided()[1] == decision
