"""Refusals: whose fault, what stands in the way, and what could be had."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from entrepot.domain.endpoint import Model, Operation
from entrepot.domain.request import MaxPrice, Preferences, Request, Slo
from entrepot.routing.choose import Router
from entrepot.routing.kpi.knowledge import Knowledge
from entrepot.routing.settings import RoutingSettings
from tests.routing.builders import R1, chat, endpoint, prices, refuse, router_of

FLEET = (
    replace(endpoint("small", prices("1", "3"), ttft_s=2.0, context_tokens=8192), max_output_tokens=4096),
    replace(endpoint("large", prices("2", "6"), ttft_s=4.0, context_tokens=65_536), max_output_tokens=9000),
)


@pytest.mark.parametrize(
    ("request_", "status", "code", "param", "words"),
    [
        (chat("deepseek/deepseek-r2"), 404, "model_not_found", "model", R1),
        (chat("deepseek-r1"), 404, "model_not_found", "model", R1),
        (chat("zzz"), 404, "model_not_found", "model", "/v1/models"),
        (chat(R1, "deepseek/r9"), 404, "model_not_found", "model", "'deepseek/r9'"),
        (
            replace(chat(), operation=Operation.EMBEDDING),
            404,
            "operation_not_served",
            "model",
            "does not serve this operation",
        ),
        (
            chat(prompt_bytes=10**6),
            400,
            "context_length_exceeded",
            "messages",
            "65536 tokens: deepseek/deepseek-r1@large",
        ),
        (
            chat(max_output_tokens=10_000),
            400,
            "max_tokens_too_large",
            "max_tokens",
            "longest answer available has 9000",
        ),
        (
            chat(slo=Slo(ttft_s=1.0)),
            400,
            "slo_unattainable",
            "slo.ttft_s",
            "after 3.24 s: deepseek/deepseek-r1@small",
        ),
        (
            chat(slo=Slo(tokens_per_s=99.0)),
            400,
            "slo_unattainable",
            "slo.tokens_per_s",
            "fastest may write only 32.4 tokens/s",
        ),
        (chat(slo=Slo(answer_s=9.0)), 400, "slo_unattainable", "slo.answer_s", "soonest answer may take 1"),
        (chat(slo=Slo(max_nusd=1)), 400, "slo_unattainable", "slo.max_usd", "cheapest answer"),
        (
            chat(preferences=Preferences(only=("x",))),
            404,
            "no_eligible_endpoint",
            "provider",
            "provider.only",
        ),
        (
            chat(preferences=Preferences(max_price=MaxPrice(1))),
            404,
            "no_eligible_endpoint",
            "provider",
            "per million input tokens",
        ),
    ],
)
def test_each_refusal_names_the_rule_and_what_could_be_had(
    request_: Request, status: int, code: str, param: str, words: str
) -> None:
    """The message names the endpoints, the rule that stands in the way of each, and the nearest offer."""
    refusal = refuse(router_of(*FLEET), request_)
    assert (refusal.http_status, refusal.code, refusal.param) == (status, code, param)
    assert words in refusal.message


def test_the_rule_that_was_asked_last_speaks() -> None:
    """One endpoint is ignored, the other too small: making the prompt smaller would help, so that is said."""
    refusal = refuse(router_of(*FLEET), chat(prompt_bytes=10**6, preferences=Preferences(ignore=("large",))))
    assert refusal.code == "context_length_exceeded"
    assert "8192" in refusal.message
    assert "large is in provider.ignore" in refusal.message


def test_a_budget_on_unpriced_endpoints_is_refused_as_such() -> None:
    """With a budget and no price nothing can be reserved."""
    router = router_of(*(replace(one, prices=None) for one in FLEET))
    assert refuse(router, chat(), needs_price=True).code == "no_priced_endpoint"


def test_a_model_without_endpoints_is_told_apart_from_an_unknown_one() -> None:
    """A model of the configuration that no host serves is not spelled wrongly."""
    settings, models = RoutingSettings(), {R1: Model(R1)}
    refusal = refuse(Router((), models, settings, Knowledge((), models, settings)), chat())
    assert refusal.http_status == 404
    assert "Nearest" not in refusal.message


def test_a_long_list_of_endpoints_is_cut() -> None:
    """The message names the first few and counts the rest."""
    fleet = [endpoint(f"h{number}", context_tokens=100) for number in range(30)]
    message = refuse(router_of(*fleet), chat(prompt_bytes=10**6)).message
    assert "22 more are excluded" in message
    assert len(message) < 1500
