"""One row per reason for which an endpoint is excluded: the endpoint, the wish, and the reason."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from entrepot.domain.endpoint import Endpoint, Operation
from entrepot.domain.errors import Refusal
from entrepot.domain.outcome import Outcome
from entrepot.domain.request import MaxPrice, Preferences, Request, Slo
from entrepot.routing.decision import Decision, Exclusion, ExclusionReason
from entrepot.routing.eligible import eligible
from entrepot.routing.explain import exclusion_sentence
from entrepot.routing.policy import PolicySet
from entrepot.routing.rule import Attribute, Condition, Effect, Operator, Rule, Status
from tests.routing.builders import R1, chat, endpoint, prices, router_of, seen, virtual_model

Reason = ExclusionReason
HOST = endpoint("acme", prices("1", "3"), ttft_s=2.0, tokens_per_s=50.0, context_tokens=8192)
FAILING = replace(HOST, name=f"{R1}@failing")
FAILURE_S = 200.0
GOOD = replace(
    endpoint("other", prices("0.1", "0.1"), ttft_s=0.0, tokens_per_s=1000.0),
    quantization="FP8",
    trains_on_data=False,
    zero_data_retention=True,
)
USD = 1_000_000_000
NO_TRAINING = Rule(
    id="no-training",
    effect=Effect.REQUIRE,
    status=Status.HOUSE,
    basis="a decision",
    sentence="nobody trains on what we send",
    holds=(Condition(Attribute.ENDPOINT_TRAINS_ON_DATA, Operator.IS, value=False),),
)
POOR = "acme/poor"
VIRTUAL = virtual_model("auto/good", {R1: 0.9, POOR: 0.4}, floor=0.8)

Row = tuple[ExclusionReason, Endpoint, Request, str]
ROWS: list[Row] = [
    (
        Reason.QUALITY,
        replace(HOST, model=POOR),
        chat("auto/good"),
        "40% answers of use, under the floor of 80%",
    ),
    (Reason.OPERATION, replace(HOST, operations=frozenset({Operation.EMBEDDING})), chat(), "operation"),
    (Reason.ONLY, HOST, chat(preferences=Preferences(only=("other",))), "provider.only"),
    (Reason.IGNORED, HOST, chat(preferences=Preferences(ignore=("ACME",))), "provider.ignore"),
    (
        Reason.NOT_IN_ORDER,
        HOST,
        chat(preferences=Preferences(order=("other",), allow_fallbacks=False)),
        "provider.order",
    ),
    (
        Reason.QUANTIZATION,
        replace(HOST, quantization="int4"),
        chat(preferences=Preferences(quantizations=("fp8",))),
        "quantization",
    ),
    (Reason.QUANTIZATION, HOST, chat(preferences=Preferences(quantizations=("fp8",))), "does not declare"),
    (
        Reason.DATA_COLLECTION,
        replace(HOST, trains_on_data=True),
        chat(preferences=Preferences(data_collection="deny")),
        "trains",
    ),
    (Reason.DATA_COLLECTION, HOST, chat(preferences=Preferences(data_collection="deny")), "does not declare"),
    (Reason.ZERO_DATA_RETENTION, HOST, chat(preferences=Preferences(zero_data_retention=True)), "retention"),
    (
        Reason.PARAMETERS,
        replace(HOST, unsupported_parameters=frozenset({"logprobs"})),
        replace(
            chat(preferences=Preferences(require_parameters=True)), parameters=frozenset({"logprobs", "n"})
        ),
        "1 of the parameters",
    ),
    (Reason.RULE, replace(HOST, trains_on_data=True), chat(), "by the rule no-training (house: a decision)"),
    (
        Reason.NO_PRICE,
        replace(HOST, prices=None),
        chat(preferences=Preferences(max_price=MaxPrice(9 * USD))),
        "price",
    ),
    (
        Reason.INPUT_PRICE,
        HOST,
        chat(preferences=Preferences(max_price=MaxPrice(USD // 2, 9 * USD))),
        "$1 per million input",
    ),
    (
        Reason.OUTPUT_PRICE,
        HOST,
        chat(preferences=Preferences(max_price=MaxPrice(9 * USD, 2 * USD))),
        "$3 per million output",
    ),
    (
        Reason.REQUEST_PRICE,
        replace(HOST, prices=replace(prices(), request_nusd=5)),
        chat(preferences=Preferences(max_price=MaxPrice(request_nusd=4))),
        "per request",
    ),
    (Reason.CONTEXT, HOST, chat(prompt_bytes=100_000), "8192 tokens"),
    (Reason.CONTEXT, HOST, chat(max_output_tokens=8192), "8192 tokens"),
    (Reason.MAX_OUTPUT, replace(HOST, max_output_tokens=1000), chat(max_output_tokens=1001), "at most 1000"),
    (
        Reason.ANSWER_COST,
        endpoint("acme", prices("9", "900")),
        chat(slo=Slo(max_nusd=USD // 10)),
        "limit of $0.1",
    ),
    (Reason.TTFT, HOST, chat(slo=Slo(ttft_s=1.9)), "begin only after 3."),
    (Reason.TOKENS_PER_S, HOST, chat(slo=Slo(tokens_per_s=51.0)), "write only 32"),
    (Reason.IN_TIME, HOST, chat(slo=Slo(answer_s=61.9)), "under 90.0%"),
    (Reason.IN_TIME, FAILING, chat(slo=Slo(answer_s=FAILURE_S, probability=0.8)), "failures counted"),
    (Reason.NO_FALLBACKS, HOST, chat(preferences=Preferences(allow_fallbacks=False)), "without fallbacks"),
]


@pytest.mark.parametrize(
    ("reason", "excluded", "request_", "words"), ROWS, ids=lambda value: getattr(value, "name", None)
)
def test_each_rule_excludes_and_says_why(
    reason: ExclusionReason, excluded: Endpoint, request_: Request, words: str
) -> None:
    """The endpoint is excluded for the reason of its row, in one ASCII sentence; the other one serves."""
    router = router_of(excluded, GOOD, virtual=(VIRTUAL,))
    if reason is Reason.RULE:
        router.enforce(PolicySet([NO_TRAINING]).on(0))
    if excluded is FAILING:  # every third attempt, and later than the sender waits
        for step in range(30):
            outcome = Outcome.OK if step % 3 else Outcome.FAILED
            router.knowledge.observe(seen(0, float(step), outcome, answer_s=2 * FAILURE_S))
    decision = router.decide(request_, now_s=30.0, draw=1.0)
    assert isinstance(decision, Decision), decision
    assert [(gone.endpoint_index, gone.reason) for gone in decision.excluded] == [(0, reason)]
    sentence = exclusion_sentence(decision.excluded[0], "acme", router.rules.by_id())
    assert words in sentence
    assert sentence.startswith("acme ")
    assert sentence.isascii()


def test_the_table_has_a_row_for_every_reason() -> None:
    """A reason that is added without a test fails here."""
    assert {reason for reason, *_ in ROWS} == set(ExclusionReason) - {Reason.ANSWER_TIME}


def test_a_refusal_says_within_which_time_an_answer_is_to_be_had() -> None:
    """Where somebody serves the probability is told; the time itself takes long to find."""
    refusal = router_of(HOST).decide(chat(slo=Slo(answer_s=30.0)), now_s=0.0, draw=1.0)
    assert isinstance(refusal, Refusal)
    assert refusal.param == "slo.answer_s"
    assert "over the limit of 30 s" in refusal.message
    assert "the soonest answer may take" in refusal.message


@pytest.mark.parametrize("wish", [request for _, _, request, _ in ROWS])
def test_a_declared_endpoint_that_meets_the_wish_is_not_excluded_by_a_standing_rule(wish: Request) -> None:
    """Rules exclude for what is missing, and for nothing else."""
    assert eligible(wish, [(7, GOOD)], needs_price=True) == ([7], [])


def test_a_budget_needs_a_price() -> None:
    """Where the most that an attempt can cost has to be known, an endpoint without prices is excluded."""
    unpriced = replace(HOST, prices=None)
    assert eligible(chat(), [(0, unpriced)]) == ([0], [])
    assert eligible(chat(), [(0, unpriced)], needs_price=True) == ([], [Exclusion(0, Reason.NO_PRICE)])
