"""Observations that were kept back teach the same, to the last bit, as those taken in one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from entrepot.domain.endpoint import Model
from entrepot.domain.outcome import Outcome
from entrepot.domain.request import Slo
from entrepot.routing.choose import Router
from entrepot.routing.kpi.knowledge import Knowledge
from entrepot.routing.kpi.observation import Observation
from entrepot.routing.kpi.table import Table
from entrepot.routing.settings import RoutingSettings
from tests.routing.builders import R1, chat, declared, endpoint, seen

SMALL = "qwen/qwen3-8b"
SETTINGS = RoutingSettings(half_life_s=100.0)
MODELS = {R1: Model(R1, verbosity_tokens=declared(700.0)), SMALL: Model(SMALL)}
FLEET = (endpoint("a"), endpoint("b", ttft_s=None, tokens_per_s=None), endpoint("c", model=SMALL))
END_S = 1e6

maybe = st.none() | st.integers(0, 20_000)
observations = st.builds(
    Observation,
    endpoint_index=st.integers(0, len(FLEET) - 1),
    at_s=st.floats(0.0, 30.0),  # since the one before
    outcome=st.sampled_from(list(Outcome)) | st.just(Outcome.OK),
    answer_s=st.floats(0.0, 100.0),
    ttft_s=st.none() | st.floats(0.0, 20.0),
    tpot_s=st.none() | st.floats(0.0, 0.1),
    prompt_bytes=st.integers(0, 90_000),
    prompt_tokens=maybe,
    cached_tokens=st.integers(0, 9000),
    output_tokens=maybe,
    choices=st.integers(1, 3),
    wire_bytes=st.integers(0, 900_000),
    in_flight=st.integers(0, 70),
    censored=st.booleans(),
    known_tokens=st.floats(0.0, 9000.0),
    key_id=st.integers(0, 3),
    tag_id=st.integers(0, 2),
    billed_nusd=st.integers(0, 10**7),
    discount_nusd=st.integers(0, 10**6),
    told_nusd=st.none() | st.integers(0, 10**7),
)
reads: dict[str, Callable[[Knowledge, float], object]] = {
    "nothing": lambda knowledge, now_s: None,
    "kpis": lambda knowledge, now_s: knowledge.kpis(0, now_s),
    "model": lambda knowledge, now_s: knowledge.model_kpis(R1, now_s),
    "stream": lambda knowledge, now_s: knowledge.tokens_per_stream_byte(1, now_s),
    "bytes": lambda knowledge, now_s: knowledge.to_bytes(now_s),
    "take in": lambda knowledge, now_s: knowledge.take_in(),
}


def rows(knowledge: Knowledge) -> Iterator[object]:
    """Yield all that a choice reads, tables as some of what is read off them."""
    for outlook in (*knowledge.outlooks, *knowledge.model_outlooks.values()):
        for name in outlook.__slots__:
            value = getattr(outlook, name)
            if isinstance(value, Table):
                value = (value.mean, value.quantile(0.5), value.quantile(0.99), value.points)
            if name != "verbosity":
                yield type(outlook).__name__, name, value
    for model in knowledge.model_outlooks.values():
        yield model.verbosity.table.mean, model.verbosity.table.points
        yield [model.verbosity.factor(tokens, key, 1) for tokens in (10, 3000) for key in (0, 1, 2)]


@settings(deadline=None)
@given(st.lists(st.tuples(observations, st.sampled_from(list(reads))), max_size=40))
def test_what_was_kept_back_is_learned_as_if_it_had_not_been(
    steps: list[tuple[Observation, str]],
) -> None:
    """Whatever was seen, and whenever it was taken in or asked for: rows, answers and bytes are equal."""
    at_once, kept = (Knowledge(FLEET, MODELS, SETTINGS) for _ in range(2))
    now_s = 0.0
    for step, read in steps:
        now_s += step.at_s
        one = at(step, now_s)
        at_once.observe(one)
        kept.keep(one)
        assert reads[read](at_once, now_s) == reads[read](kept, now_s)
    kept.take_in()
    assert list(rows(kept)) == list(rows(at_once))
    assert kept.to_bytes(END_S) == at_once.to_bytes(END_S)


def at(one: Observation, at_s: float) -> Observation:
    """Return the observation at this instant; of an answer, not more is cached than it had."""
    return replace(one, at_s=at_s, cached_tokens=min(one.cached_tokens, one.prompt_tokens or 0))


@pytest.mark.parametrize("seed", range(3))
def test_a_thousand_answers_with_jumps_are_learned_alike(seed: int) -> None:
    """As many as make tables, fits and jumps many times over between two times of taking in."""
    random = Random(seed)
    at_once, kept = (Knowledge(FLEET, MODELS, SETTINGS) for _ in range(2))
    for number in range(1500):
        slower = 4.0 if number // 300 % 2 else 1.0
        ttft_s, tpot_s = slower * random.lognormvariate(0, 0.3), slower * 0.02 * random.lognormvariate(0, 0.2)
        tokens = int(slower * random.lognormvariate(6, 1))
        one = seen(
            random.randrange(len(FLEET)),
            number * 0.05,
            random.choices([Outcome.OK, Outcome.FAILED, Outcome.RATE_LIMITED], [50, 1, 1])[0],
            answer_s=ttft_s + tokens * tpot_s,
            ttft_s=ttft_s if number % 3 else None,
            tpot_s=tpot_s if number % 3 else None,
            output_tokens=tokens,
            in_flight=random.randrange(30),
            prompt_tokens=random.choice([None, random.randrange(1, 9000)]),
        )
        one = replace(one, prompt_bytes=random.randrange(9000))
        at_once.observe(one)
        kept.keep(one)
        if not random.randrange(60):
            kept.take_in()
    kept.take_in()
    assert list(rows(kept)) == list(rows(at_once))
    assert kept.to_bytes(END_S) == at_once.to_bytes(END_S)


def test_a_choice_when_all_is_due_to_be_made_again_sees_what_was_kept_back() -> None:
    """What fades by time is made again from all that was seen until then, in the order of time."""
    at_once, kept = (Knowledge(FLEET, MODELS, SETTINGS) for _ in range(2))
    slow = [seen(0, 0.01 * n, ttft_s=9.0, tpot_s=0.1, output_tokens=100, prompt_tokens=9) for n in range(99)]
    for one in slow:
        at_once.observe(one)
        kept.keep(one)
    request = chat(slo=Slo(usd_per_hour=5.0))
    before, after = (
        Router(FLEET, MODELS, SETTINGS, knowledge).decide(request, now_s=50.0, draw=0.5)
        for knowledge in (at_once, kept)
    )
    assert before == after


def test_kept_back_are_counted_and_taken_in_once() -> None:
    """`keep` tells how many wait; after `take_in` none does, and taking in nothing changes nothing."""
    knowledge = Knowledge(FLEET, MODELS, SETTINGS)
    assert [knowledge.keep(seen(0, 0.0)) for _ in range(3)] == [1, 2, 3]
    assert knowledge.outlooks[0].observations == 0.0
    knowledge.take_in()
    assert knowledge.outlooks[0].observations == 3.0
    knowledge.take_in()
    assert knowledge.keep(seen(0, 0.0)) == 1
    assert knowledge.outlooks[0].observations == 3.0
