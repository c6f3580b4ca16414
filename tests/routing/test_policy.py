"""Rules: one row per attribute, operator and effect; what is undeclared excludes; what time changes."""

from __future__ import annotations

from datetime import date

import pytest
from msgspec.structs import replace

from entrepot.domain.claims import NO_CLAIMS, Claims
from entrepot.domain.endpoint import Endpoint
from entrepot.domain.request import Preferences, Request, Slo
from entrepot.routing.choose import Router
from entrepot.routing.decision import Decision, ExclusionReason, pack, unpack, with_rule_names
from entrepot.routing.explain import exclusion_sentence
from entrepot.routing.policy import (
    NS_PER_DAY,
    PolicySet,
    RulesInForce,
    Verdict,
    day_of,
    in_force_always,
    judge,
    undeclared,
)
from entrepot.routing.rule import (
    KINDS,
    OPERATORS,
    Attribute,
    Condition,
    Effect,
    Operator,
    Rule,
    Status,
    Value,
)
from tests.routing.builders import chat, decide, endpoint, hosts, refuse, router_of

A, Op = Attribute, Operator
DAY = date(2026, 11, 26)
HOST = replace(
    endpoint("acme"),
    origin_country="CN",
    owner_country="US",
    major_owners=frozenset({"US", "AE"}),
    region="eu-central-1",
    country="DE",
    quantization="FP8",
    trains_on_data=False,
    retention_days=30,
    zero_data_retention=False,
    baa=True,
    attested_on=date(2026, 1, 1),
    evidence="https://acme.example/soc2",
)
BARE = endpoint("bare")
SENDER = Claims(
    country="DE",
    us_person=False,
    defence_contractor=True,
    sector="health",
    tags=frozenset({"research", "research/eu"}),
    data_classes=frozenset({"pii"}),
    purposes=frozenset({"support"}),
)


def condition(attribute: Attribute, operator: Operator, *value: str | int | bool) -> Condition:
    """Return a condition; texts are a tuple, a number or a truth stands alone."""
    texts = tuple(one for one in value if isinstance(one, str))
    alone: Value = texts if texts else value[0]  # type: ignore[assignment]
    return Condition(attribute, operator, alone)


def forbid(*when: Condition, rule_id: str = "no", **fields: object) -> Rule:
    """Return a house rule that forbids."""
    made = Rule(rule_id, Effect.FORBID, Status.HOUSE, "a decision", "this is not done", when=when)
    return replace(made, **fields)


def require(*holds: Condition, rule_id: str = "must", **fields: object) -> Rule:
    """Return a house rule that requires."""
    made = Rule(rule_id, Effect.REQUIRE, Status.HOUSE, "a decision", "this has to be", holds=holds)
    return replace(made, **fields)


# attribute, operator, a value that makes it true of HOST and SENDER, one that makes it false
ROWS: list[tuple[Attribute, Operator, tuple[str | int | bool, ...], tuple[str | int | bool, ...]]] = [
    (A.TENANT_TAGS, Op.IN, ("research/eu", "x"), ("sales",)),
    (A.TENANT_TAGS, Op.NOT_IN, ("sales",), ("research",)),
    (A.TENANT_TAGS, Op.DECLARED, (True,), (False,)),
    (A.TENANT_COUNTRY, Op.IN, ("DE", "FR"), ("US",)),
    (A.TENANT_COUNTRY, Op.NOT_IN, ("US",), ("DE",)),
    (A.TENANT_COUNTRY, Op.DECLARED, (True,), (False,)),
    (A.TENANT_US_PERSON, Op.IS, (False,), (True,)),
    (A.TENANT_US_PERSON, Op.DECLARED, (True,), (False,)),
    (A.TENANT_DEFENCE_CONTRACTOR, Op.IS, (True,), (False,)),
    (A.TENANT_DEFENCE_CONTRACTOR, Op.DECLARED, (True,), (False,)),
    (A.TENANT_SECTOR, Op.IN, ("Health",), ("finance",)),
    (A.TENANT_SECTOR, Op.NOT_IN, ("finance",), ("health",)),
    (A.TENANT_SECTOR, Op.DECLARED, (True,), (False,)),
    (A.REQUEST_DATA_CLASS, Op.IN, ("pii", "phi"), ("phi",)),
    (A.REQUEST_DATA_CLASS, Op.OUTSIDE, ("public",), ("public", "pii")),
    (A.REQUEST_PURPOSE, Op.IN, ("support",), ("billing",)),
    (A.REQUEST_PURPOSE, Op.OUTSIDE, ("billing",), ("support",)),
    (A.MODEL_NAME, Op.IN, ("DeepSeek/DeepSeek-R1",), ("a/b",)),
    (A.MODEL_NAME, Op.NOT_IN, ("a/b",), ("deepseek/deepseek-r1",)),
    (A.MODEL_NAME, Op.DECLARED, (True,), (False,)),
    (A.MODEL_DEVELOPER, Op.IN, ("deepseek",), ("qwen",)),
    (A.MODEL_DEVELOPER, Op.NOT_IN, ("qwen",), ("deepseek",)),
    (A.MODEL_DEVELOPER, Op.DECLARED, (True,), (False,)),
    (A.MODEL_ORIGIN_COUNTRY, Op.IN, ("CN",), ("FR",)),
    (A.MODEL_ORIGIN_COUNTRY, Op.NOT_IN, ("FR",), ("CN",)),
    (A.MODEL_ORIGIN_COUNTRY, Op.DECLARED, (True,), (False,)),
    (A.HOST_NAME, Op.IN, ("acme",), ("bare",)),
    (A.HOST_NAME, Op.NOT_IN, ("bare",), ("ACME",)),
    (A.HOST_NAME, Op.DECLARED, (True,), (False,)),
    (A.HOST_OWNER_COUNTRY, Op.IN, ("US",), ("CN",)),
    (A.HOST_OWNER_COUNTRY, Op.NOT_IN, ("CN",), ("US",)),
    (A.HOST_OWNER_COUNTRY, Op.DECLARED, (True,), (False,)),
    (A.HOST_MAJOR_OWNERS, Op.IN, ("AE",), ("CN",)),
    (A.HOST_MAJOR_OWNERS, Op.NOT_IN, ("CN",), ("AE",)),
    (A.HOST_MAJOR_OWNERS, Op.DECLARED, (True,), (False,)),
    (A.ENDPOINT_REGION, Op.IN, ("EU-central-1",), ("us-east-1",)),
    (A.ENDPOINT_REGION, Op.NOT_IN, ("us-east-1",), ("eu-central-1",)),
    (A.ENDPOINT_REGION, Op.DECLARED, (True,), (False,)),
    (A.ENDPOINT_COUNTRY, Op.IN, ("DE",), ("CN",)),
    (A.ENDPOINT_COUNTRY, Op.NOT_IN, ("CN",), ("DE",)),
    (A.ENDPOINT_COUNTRY, Op.DECLARED, (True,), (False,)),
    (A.ENDPOINT_QUANTIZATION, Op.IN, ("fp8",), ("int4",)),
    (A.ENDPOINT_QUANTIZATION, Op.NOT_IN, ("int4",), ("fp8",)),
    (A.ENDPOINT_QUANTIZATION, Op.AT_LEAST, ("int8",), ("bf16",)),
    (A.ENDPOINT_QUANTIZATION, Op.DECLARED, (True,), (False,)),
    (A.ENDPOINT_TRAINS_ON_DATA, Op.IS, (False,), (True,)),
    (A.ENDPOINT_TRAINS_ON_DATA, Op.DECLARED, (True,), (False,)),
    (A.ENDPOINT_RETENTION_DAYS, Op.AT_MOST, (30,), (29,)),
    (A.ENDPOINT_RETENTION_DAYS, Op.AT_LEAST, (30,), (31,)),
    (A.ENDPOINT_RETENTION_DAYS, Op.DECLARED, (True,), (False,)),
    (A.ENDPOINT_ZERO_DATA_RETENTION, Op.IS, (False,), (True,)),
    (A.ENDPOINT_ZERO_DATA_RETENTION, Op.DECLARED, (True,), (False,)),
    (A.ENDPOINT_BAA, Op.IS, (True,), (False,)),
    (A.ENDPOINT_BAA, Op.DECLARED, (True,), (False,)),
    (A.ENDPOINT_ATTESTED_ON, Op.NOT_OLDER_THAN_DAYS, (329,), (328,)),
    (A.ENDPOINT_ATTESTED_ON, Op.DECLARED, (True,), (False,)),
    (A.ENDPOINT_EVIDENCE, Op.IN, ("https://acme.example/soc2",), ("x",)),
    (A.ENDPOINT_EVIDENCE, Op.NOT_IN, ("x",), ("https://acme.example/soc2",)),
    (A.ENDPOINT_EVIDENCE, Op.DECLARED, (True,), (False,)),
]
ALWAYS_KNOWN = {A.TENANT_TAGS, A.MODEL_NAME, A.MODEL_DEVELOPER, A.HOST_NAME}


def verdict(rule: Rule, claims: Claims = SENDER, at: Endpoint = HOST) -> Verdict:
    """Return what a rule says on the day of these tests."""
    return judge(rule, claims, at, DAY).verdict


def test_the_table_has_a_row_for_every_attribute_and_operator() -> None:
    """A comparison that is added without a test fails here."""
    possible = {(attribute, operator) for attribute, kind in KINDS.items() for operator in OPERATORS[kind]}
    assert {(attribute, operator) for attribute, operator, *_ in ROWS} == possible
    assert set(KINDS) == set(Attribute)


@pytest.mark.parametrize(("attribute", "operator", "met", "unmet"), ROWS, ids=str)
def test_each_comparison_forbids_and_requires(
    attribute: Attribute,
    operator: Operator,
    met: tuple[str | int | bool, ...],
    unmet: tuple[str | int | bool, ...],
) -> None:
    """A forbid denies what meets it; a require allows what meets it, and denies what does not."""
    yes, no = condition(attribute, operator, *met), condition(attribute, operator, *unmet)
    assert verdict(forbid(yes)) is Verdict.DENIES
    assert verdict(forbid(no)) is Verdict.APPLIES_NOT
    found = judge(require(no), SENDER, HOST, DAY)
    assert (found.verdict, found.by, found.is_known) == (Verdict.DENIES, no, True)
    assert verdict(require(yes)) is Verdict.ALLOWS
    assert verdict(require(no, when=(no,))) is Verdict.APPLIES_NOT


@pytest.mark.parametrize(
    ("attribute", "operator", "met", "unmet"),
    [row for row in ROWS if row[1] is not Op.DECLARED and row[0] not in ALWAYS_KNOWN],
    ids=str,
)
def test_what_nobody_declared_excludes(
    attribute: Attribute,
    operator: Operator,
    met: tuple[str | int | bool, ...],
    unmet: tuple[str | int | bool, ...],
) -> None:
    """Whatever it is compared with, of a forbid and of a require; the finding says that it is unknown."""
    for value in (met, unmet):
        asked = condition(attribute, operator, *value)
        for rule in (forbid(asked), require(asked)):
            found = judge(rule, NO_CLAIMS, BARE, DAY)
            assert (found.verdict, found.by, found.is_known) == (Verdict.DENIES, asked, False)


def test_a_rule_is_out_of_play_by_one_condition_that_is_known_to_be_false() -> None:
    """An undeclared attribute does not matter beside one that settles the question."""
    us, cn = condition(A.TENANT_US_PERSON, Op.IS, True), condition(A.MODEL_ORIGIN_COUNTRY, Op.IN, "CN")
    assert verdict(forbid(us, cn), SENDER, BARE) is Verdict.APPLIES_NOT
    assert verdict(forbid(us, cn), NO_CLAIMS, replace(BARE, origin_country="FR")) is Verdict.APPLIES_NOT
    assert verdict(forbid(us, cn), NO_CLAIMS, BARE) is Verdict.DENIES


def test_a_rule_applies_to_a_sender_of_whom_nothing_is_declared() -> None:
    """The protective answer: the rule is enforced, and the finding says which answer was assumed."""
    rule = require(
        condition(A.ENDPOINT_BAA, Op.IS, True), when=(condition(A.REQUEST_DATA_CLASS, Op.IN, "phi"),)
    )
    assert verdict(rule, NO_CLAIMS, BARE) is Verdict.DENIES
    found = judge(rule, NO_CLAIMS, HOST, DAY)
    assert (found.verdict, found.assumed) == (Verdict.ALLOWS, rule.when)
    public = replace(NO_CLAIMS, data_classes=frozenset({"public"}))
    assert verdict(rule, public, BARE) is Verdict.APPLIES_NOT


def test_a_client_cannot_declare_its_way_out() -> None:
    """Values of a header never make an undeclared attribute known; they count where they restrict."""
    phi = forbid(condition(A.REQUEST_DATA_CLASS, Op.IN, "phi"))
    other = forbid(condition(A.REQUEST_PURPOSE, Op.OUTSIDE, "support"))
    harmless = replace(
        NO_CLAIMS, added_data_classes=frozenset({"public"}), added_purposes=frozenset({"support"})
    )
    assert verdict(phi, harmless) is Verdict.DENIES
    assert verdict(other, harmless) is Verdict.DENIES
    assert verdict(phi, replace(SENDER, added_data_classes=frozenset({"PHI"}))) is Verdict.DENIES
    assert verdict(other, replace(SENDER, added_purposes=frozenset({"sales"}))) is Verdict.DENIES


@pytest.mark.parametrize(
    ("floor", "served", "expected"),
    [
        ("int4", "nf4", True),
        ("fp4", "int4", False),
        ("fp4", "MXFP4", True),
        ("fp6", "fp4", False),
        ("int8", "fp6", False),
        ("int8", "fp8", True),
        ("fp8", "int8", False),
        ("fp8", "bf16", True),
        ("bf16", "fp16", True),
        ("fp32", "bf16", False),
        ("int4", "q2_k", None),
    ],
)
def test_the_order_of_quantizations(floor: str, served: str, *, expected: bool | None) -> None:
    """int4 < fp4 < fp6 < int8 < fp8 < bf16 = fp16 < fp32; what is not in it counts as undeclared."""
    asked = require(condition(A.ENDPOINT_QUANTIZATION, Op.AT_LEAST, floor))
    found = judge(asked, SENDER, replace(HOST, quantization=served), DAY)
    assert (found.verdict is Verdict.ALLOWS) is (expected is True)
    assert found.is_known is (expected is not None)


def test_zero_retention_is_a_retention_of_no_days() -> None:
    """A host that keeps nothing need not say for how long."""
    rule = require(condition(A.ENDPOINT_RETENTION_DAYS, Op.AT_MOST, 0))
    assert verdict(rule, at=replace(BARE, zero_data_retention=True)) is Verdict.ALLOWS


@pytest.mark.parametrize(
    ("region", "country", "denied"),
    [
        ("CN", None, True),
        ("cn", None, True),
        ("DE", None, False),
        ("us", None, False),
        ("eu", None, True),
        (None, None, True),
        ("EU", None, True),
        ("us-east-1", None, True),
        ("us-east-1", "US", False),
        ("cn-north-1", None, True),
    ],
)
def test_the_country_of_a_region_is_known_where_the_region_is_one(
    region: str | None, country: str | None, *, denied: bool
) -> None:
    """Names of providers' regions tell nothing of themselves: nobody declared a country, so it is denied."""
    rule = forbid(condition(A.ENDPOINT_COUNTRY, Op.IN, "CN"))
    assert (verdict(rule, at=replace(BARE, region=region, country=country)) is Verdict.DENIES) is denied


def test_an_attestation_of_a_day_to_come_attests_nothing() -> None:
    """A slip of the year must not count as fresh."""
    rule = require(condition(A.ENDPOINT_ATTESTED_ON, Op.NOT_OLDER_THAN_DAYS, 365))
    assert verdict(rule, at=replace(HOST, attested_on=date(2027, 1, 1))) is Verdict.DENIES


# -- sets of rules


def at_ns(day: date) -> int:
    """Return the first instant of a day in UTC, Unix nanoseconds."""
    return (day - day_of(0)).days * NS_PER_DAY


def test_a_rule_counts_from_its_first_day_to_the_day_before_its_end() -> None:
    """To the nanosecond, in UTC; and the set says when that will be."""
    policy = PolicySet([forbid(valid_from=date(2026, 12, 1), valid_until=date(2027, 1, 1))])
    first, end = at_ns(date(2026, 12, 1)), at_ns(date(2027, 1, 1))
    counts = [len(policy.on(instant).rules) for instant in (first - 1, first, end - 1, end)]
    assert counts == [0, 1, 1, 0]
    assert [policy.changes_after(instant) for instant in (first - 1, first, end - 1, end)] == [
        *(first, end, end, None)
    ]


def test_attestations_age_every_day() -> None:
    """So a set that asks for their age changes at each midnight."""
    policy = PolicySet([require(condition(A.ENDPOINT_ATTESTED_ON, Op.NOT_OLDER_THAN_DAYS, 9))])
    assert policy.changes_after(at_ns(DAY) + 5) == at_ns(DAY) + NS_PER_DAY
    assert PolicySet([forbid()]).changes_after(at_ns(DAY)) is None


def test_drafts_are_not_enforced_unless_the_configuration_says_so() -> None:
    """What is no law excludes nobody."""
    draft = forbid(condition(A.HOST_NAME, Op.IN, "acme"), status=Status.DRAFT, enforced=False)
    assert PolicySet([draft]).on(at_ns(DAY)) == RulesInForce(day=DAY)
    assert PolicySet([replace(draft, enforced=True)]).on(at_ns(DAY)).denial(SENDER, HOST) is not None
    assert in_force_always([draft], DAY).denial(SENDER, HOST) is not None


def test_a_pack_on_request_counts_for_those_who_ask() -> None:
    """And for nobody else."""
    rules = PolicySet([forbid(rule_set="strict", on_request=True)]).on(at_ns(DAY))
    assert rules.denial(SENDER, HOST) is None
    assert rules.denial(replace(SENDER, rule_sets=frozenset({"strict"})), HOST) is not None


def test_forbid_wins_and_law_speaks_first() -> None:
    """Of several rules that exclude, a forbid is named before a require, a law before the house."""
    of_name = condition(A.HOST_NAME, Op.IN, "acme")
    house = forbid(of_name, rule_id="house")
    law = forbid(of_name, rule_id="law", status=Status.LAW)
    must = require(condition(A.HOST_NAME, Op.IN, "x"), rule_id="must", status=Status.LAW)
    fine = require(of_name, rule_id="fine")
    found = PolicySet([fine, must, house, law]).on(at_ns(DAY))
    assert [rule.id for rule in found.rules] == ["law", "house", "must", "fine"]
    assert PolicySet([fine, house]).on(at_ns(DAY)).denial(SENDER, HOST) is not None


def test_what_rules_miss_of_an_endpoint_can_be_told_before_they_deny() -> None:
    """So that a configuration is checked and not found out."""
    needs = require(condition(A.ENDPOINT_BAA, Op.IS, True), condition(A.ENDPOINT_EVIDENCE, Op.DECLARED, True))
    assert undeclared([needs, forbid(condition(A.TENANT_COUNTRY, Op.IN, "US"))], BARE) == (A.ENDPOINT_BAA,)
    assert undeclared([needs], HOST) == ()


def test_the_version_follows_what_is_enforced() -> None:
    """The order in which rules are written does not matter; every word of them does."""
    one, two = forbid(rule_id="a"), require(rule_id="b")
    version = PolicySet([one, two]).digest
    assert PolicySet([two, one]).digest == version
    assert PolicySet([one, replace(two, sentence="else")]).digest != version
    assert PolicySet([one, replace(two, enforced=False)]).digest != version
    assert len(version) == 12


def test_facts_that_no_rule_asks_for_make_no_other_plan() -> None:
    """The facts of a request are reduced to those that can change its plan."""
    policy = PolicySet([forbid(condition(A.TENANT_TAGS, Op.IN, "Research"))])
    assert policy.relevant(SENDER) == Claims(tags=frozenset({"research"}))
    assert PolicySet().relevant(SENDER) is NO_CLAIMS


# -- in the choice

ONLY_US = forbid(condition(A.HOST_OWNER_COUNTRY, Op.IN, "CN"), rule_id="no-cn")


def ruled(*rules: Rule, fleet: tuple[Endpoint, ...] = ()) -> Router:
    """Return a router that obeys the rules; of a host in China and one in the US unless others are given."""
    router = router_of(*(fleet or (replace(BARE, host="cn", owner_country="CN"), HOST)))
    router.enforce(PolicySet(rules).on(at_ns(DAY)))
    return router


def test_an_excluded_endpoint_is_no_fallback_either() -> None:
    """The candidates are all that will ever be tried: retries, hedges and resumes choose among them."""
    decision = decide(ruled(ONLY_US), chat())
    assert [candidate.endpoint_index for candidate in decision.candidates] == [1]
    assert [(gone.reason, gone.rule) for gone in decision.excluded] == [(ExclusionReason.RULE, "no-cn")]


def test_a_decision_names_its_rules_and_their_version() -> None:
    """In the names that the ledger numbers; without any rule there is nothing to name."""
    version = PolicySet([ONLY_US]).digest
    assert decide(ruled(ONLY_US), chat()).rules == (f"policy:{version}", "rule:no-cn")
    assert decide(ruled(), chat()).rules == ()


def test_a_stored_decision_finds_its_rules_by_the_names_beside_it() -> None:
    """What is packed is the place among the names, and which attribute decided."""
    missing = require(condition(A.ENDPOINT_BAA, Op.IS, True), rule_id="baa")
    fleet = (replace(BARE, owner_country="US"), replace(HOST, owner_country="CN"), HOST)
    decision = decide(ruled(ONLY_US, missing, fleet=fleet), chat(slo=Slo(usd_per_hour=1.0)))
    stored = with_rule_names(unpack(pack(decision, [10, 20, 30])), decision.rules)
    assert [(gone.endpoint_index, gone.rule, gone.limit) for gone in stored.excluded] == [
        (10, "baa", -A.ENDPOINT_BAA),
        (20, "no-cn", A.HOST_OWNER_COUNTRY),
    ]
    assert stored.policy == decision.policy
    assert stored.rules == decision.rules
    nameless = with_rule_names(unpack(pack(decision, [10, 20, 30])), ())
    assert [gone.rule for gone in nameless.excluded] == ["", ""]


def test_the_sentence_names_rule_status_basis_and_attribute() -> None:
    """And without the rule at hand, its name and the attribute."""
    router = ruled(replace(ONLY_US, status=Status.CONTRACT))
    (gone,) = decide(router, chat()).excluded
    assert exclusion_sentence(gone, "cn", router.rules.by_id()) == (
        "cn is excluded by the rule no-cn (contract: a decision): this is not done"
        " - host.owner_country decides"
    )
    assert exclusion_sentence(gone, "cn") == "cn is excluded by the rule no-cn - host.owner_country decides"


def test_a_refusal_by_rules_is_a_403_that_names_them() -> None:
    """Every endpoint that would have served is named with the rule that forbids it."""
    missing = require(condition(A.ENDPOINT_EVIDENCE, Op.IN, "x"), rule_id="audited", status=Status.LAW)
    refusal = refuse(ruled(ONLY_US, missing), chat())
    assert (refusal.http_status, refusal.type, refusal.code) == (
        403,
        "permission_error",
        "policy_forbidden",
    )
    for words in ("no-cn", "audited", "law: a decision", "endpoint.evidence decides", "policy check"):
        assert words in refusal.message


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (chat(prompt_bytes=10_000_000), "context_length_exceeded"),
        (chat(preferences=Preferences(only=("nobody",))), "no_eligible_endpoint"),
        (chat(slo=Slo(ttft_s=0.001)), "slo_unattainable"),
    ],
)
def test_rules_are_not_blamed_for_what_would_be_refused_without_them(request_: Request, code: str) -> None:
    """A 403 says: but for the rules it would have been served."""
    everything = forbid(condition(A.HOST_NAME, Op.NOT_IN, "nobody"))
    served_by_one = forbid(condition(A.HOST_NAME, Op.IN, "acme"))
    for rule in (everything, served_by_one):
        refusal = refuse(ruled(rule), request_)
        assert refusal.code != "policy_forbidden"
    assert refuse(ruled(served_by_one), request_).code == code


def test_requests_of_two_senders_have_plans_of_their_own() -> None:
    """What was planned for one is not served to the other."""
    router = ruled(forbid(condition(A.TENANT_COUNTRY, Op.IN, "US"), condition(A.HOST_NAME, Op.IN, "acme")))
    american = replace(chat(), claims=Claims(country="US"))
    german = replace(chat(), claims=Claims(country="DE"))
    assert set(hosts(router, decide(router, german))) == {"cn", "acme"}
    assert hosts(router, decide(router, american)) == ["cn"]
    assert set(hosts(router, decide(router, german))) == {"cn", "acme"}


def test_rules_that_change_change_the_plans() -> None:
    """A rule that begins is obeyed by the next request."""
    router = ruled()
    assert len(decide(router, chat()).candidates) == 2
    router.enforce(PolicySet([ONLY_US]).on(at_ns(DAY)))
    decision = router.decide(chat(), now_s=0.0, draw=1.0)
    assert isinstance(decision, Decision)
    assert len(decision.candidates) == 1
