"""Sentences about decisions, for a header and for `why`."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from entrepot.domain.request import Preferences, Slo
from entrepot.routing.explain import reason, sentences
from entrepot.routing.settings import RoutingSettings
from tests.routing.builders import R1, chat, decide, endpoint, prices, router_of

FLEET = (
    endpoint("lambda", prices("0.5", "1"), ttft_s=1.0),
    endpoint("nebius", prices("0.5", "2"), ttft_s=1.0),
)
NAMES = {0: "r1@lambda", 1: "r1@nebius"}


def test_the_reason_tells_cost_time_and_lead() -> None:
    """One line: who, how many dollars and seconds, how much better than whom, at which value of time."""
    router = router_of(*FLEET)
    text = reason(decide(router, chat(usd_per_hour=5.0)), router.endpoints)
    assert text == "lambda: $0.0035 and 61 s expected; 3% below the next (nebius) at $5.00/h"


@pytest.mark.parametrize(
    ("preferences", "usd_per_hour", "words"),
    [
        (Preferences(only=("lambda",)), 5.0, "the only candidate"),
        (
            Preferences(order=("nebius",)),
            5.0,
            "nebius: $0.0065 and 61 s expected; before the next (lambda) as asked for",
        ),
        (Preferences(sort="throughput"), 5.0, "fastest, before the next"),
        (Preferences(sort="latency"), 5.0, "first to begin, before the next"),
        (Preferences(sort="price"), 5.0, "45% below the next (nebius) at $0.00/h"),
        (Preferences(), 5000.0, "0.00% below the next (nebius) at $5000.00/h"),
    ],
)
def test_the_reason_tells_what_the_sender_s_wish_did(
    preferences: Preferences, usd_per_hour: float, words: str
) -> None:
    """An order, a sort or a sole candidate is named as what decided."""
    router = router_of(*FLEET)
    request = chat(usd_per_hour=usd_per_hour, preferences=preferences)
    assert words in reason(decide(router, request), router.endpoints)


def test_a_tie_and_an_exploration_are_told() -> None:
    """Chance and equality are not passed off as merit."""
    router = router_of(endpoint("a"), endpoint("b"))
    assert "equal to the next (b)" in reason(decide(router, chat()), router.endpoints)
    router = router_of(endpoint("a"), endpoint("b"), settings=RoutingSettings(exploration_share=0.5))
    decisions = [decide(router, chat(), draw=number / 50) for number in range(50)]
    explored = next(decision for decision in decisions if decision.explored)
    assert "explored, as it may be better than is known" in reason(explored, router.endpoints)
    assert "(explored" in sentences(explored, {})[0]


def test_the_reason_is_fit_for_a_header() -> None:
    """No name of a host can break the line or leave ASCII."""
    router = router_of(endpoint("zürich\r\nset-cookie: x"), endpoint("b", prices("9", "9")))
    text = reason(decide(router, chat()), router.endpoints)
    assert text.isascii()
    assert text.isprintable()


def test_a_tiny_price_is_not_told_as_nothing() -> None:
    """Only what is free reads $0.0000."""
    router = router_of(endpoint("a", prices("0.000001", "0.000001")), verbosity=100.0)
    assert "under $0.0000001 and" in reason(decide(router, chat()), router.endpoints)
    small = router_of(endpoint("a", prices("0.01", "0.01")), verbosity=100.0)
    assert "$0.0000110 and" in reason(decide(small, chat()), small.endpoints)
    free = router_of(endpoint("a", prices("0", "0")))
    assert "$0.0000 and" in reason(decide(free, chat()), free.endpoints)


def test_why_has_a_sentence_for_each_candidate_and_each_exclusion() -> None:
    """Candidates in the order of trying with the parts of their scores; then who was excluded, and why."""
    router = router_of(*FLEET, replace(FLEET[1], name=f"{R1}@late", host="late", declared_ttft_s=None))
    told = sentences(
        decide(router, chat(slo=Slo(ttft_s=2.0), preferences=Preferences(ignore=("late",)))), NAMES
    )
    assert len(told) == 3
    assert told[0].startswith("1. r1@lambda: $0.0035 and 61 s expected (1000 prompt tokens and 3000 output")
    assert told[1].startswith("2. r1@nebius: ")
    assert told[2] == "endpoint 2 is in provider.ignore."
