"""What ended attempts teach is taken in beside the answers: soon, bad news at once, none of it lost."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from entrepot.domain.endpoint import Endpoint
from entrepot.domain.outcome import Outcome
from entrepot.domain.prices import Prices
from entrepot.gateway.lessons import MOST_KEPT, Lessons
from entrepot.routing.kpi.knowledge import Knowledge
from entrepot.routing.kpi.observation import Observation
from entrepot.routing.settings import RoutingSettings
from entrepot.testing.scripted_host import completion, plain
from tests.gateway.scene import chat, scene, until

MODEL = "a/model"
FLEET = (Endpoint(f"{MODEL}@host", MODEL, "host", Prices(10**8, 10**9), context_tokens=8192),)


def ended(outcome: Outcome = Outcome.OK) -> Observation:
    """Return an ended attempt."""
    return Observation(0, 1.0, outcome, 1.0, prompt_tokens=10, output_tokens=10)


def learning() -> tuple[Knowledge, Lessons]:
    """Return knowledge of one endpoint, and what feeds it."""
    knowledge = Knowledge(FLEET, {}, RoutingSettings())
    return knowledge, Lessons(knowledge, asyncio.get_running_loop())


async def test_a_good_answer_is_learned_soon() -> None:
    """Not at once, and without another one to push it."""
    knowledge, lessons = learning()
    row = knowledge.outlooks[0]
    for count in (1.0, 2.0):  # a second time, after the first was taken in
        lessons.learn(ended())
        assert row.observations == count - 1.0
        await until(lambda: row.observations == count)  # noqa: B023 - awaited before it changes


@pytest.mark.parametrize(
    "outcome",
    [Outcome.FAILED, Outcome.RATE_LIMITED, Outcome.TIMED_OUT, Outcome.TRUNCATED, Outcome.CANCELLED],
)
async def test_bad_news_is_learned_at_once_and_after_what_was_before(outcome: Outcome) -> None:
    """The next choice must not send a request where the last one failed for want of some milliseconds."""
    knowledge, lessons = learning()
    lessons.learn(ended())
    lessons.learn(ended(outcome))
    assert knowledge.outlooks[0].observations == 2.0


async def test_many_are_not_kept_for_long() -> None:
    """What is taken in at once must not hold up the streams."""
    knowledge, lessons = learning()
    for _ in range(MOST_KEPT):
        lessons.learn(ended())
    assert knowledge.outlooks[0].observations == MOST_KEPT


async def test_what_is_kept_back_is_in_the_bytes_that_a_stop_writes() -> None:
    """A gateway that stops right after an answer has learned from it."""
    knowledge, lessons = learning()
    lessons.learn(ended())
    again = Knowledge.from_bytes(knowledge.to_bytes(1.0), FLEET, {}, RoutingSettings(), now_s=1.0)
    assert again.kpis(0, 1.0).observations == 1.0


async def test_a_call_shows_in_the_estimates_once_it_is_answered(tmp_path: Path) -> None:
    """Pages and metrics ask for estimates, which have in them what was kept back."""
    async with scene(tmp_path) as s:
        s.a.script(plain(completion("Hi")))
        await s.here.post(chat())
        gateway = s.here.gateway
        now_s = asyncio.get_running_loop().time()
        assert sum(gateway.knowledge.kpis(at.index, now_s).observations for at in gateway.targets) > 0.99
