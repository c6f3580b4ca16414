"""Knowledge as a whole: decay, peers, attempts under way, and what survives a restart."""

from __future__ import annotations

from random import Random
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.msgpack import encode
from msgspec.structs import replace

from entrepot.domain.endpoint import Endpoint, Model
from entrepot.domain.estimate import Basis
from entrepot.domain.outcome import Outcome
from entrepot.domain.request import Request, Slo
from entrepot.routing.choose import Router
from entrepot.routing.decision import Decision
from entrepot.routing.kpi.knowledge import Knowledge
from entrepot.routing.kpi.observation import Observation
from entrepot.routing.kpi.state import FORMAT_VERSION, MOST_KEPT_LEVELS, KnowledgeState
from entrepot.routing.settings import RoutingSettings
from tests.routing.builders import R1, chat, declared, endpoint, seen

SETTINGS = RoutingSettings(half_life_s=100.0)
MODELS = {R1: Model(R1, verbosity_tokens=declared(700.0))}
FLEET = (endpoint("a"), endpoint("b"), endpoint("new", ttft_s=None, tokens_per_s=None))


def knowing(*observations: Observation, fleet: tuple[Endpoint, ...] = FLEET) -> Knowledge:
    """Return knowledge that took in these observations."""
    knowledge = Knowledge(fleet, MODELS, SETTINGS)
    for one in observations:
        knowledge.observe(one)
    return knowledge


def answers(index: int, count: int, *, at_s: float = 0.0, ttft_s: float = 3.0) -> list[Observation]:
    """Return good answers of one endpoint, all at one instant."""
    full = replace(seen(index, at_s, ttft_s=ttft_s, tpot_s=0.01, output_tokens=300), prompt_bytes=900)
    return [replace(full, prompt_tokens=300, cached_tokens=30, wire_bytes=60_000)] * count


def test_declared_stands_until_measured_and_says_so() -> None:
    """Basis, count and age are told with every estimate."""
    before = knowing().kpis(0, 0.0).ttft_s
    assert (before.value, before.basis, before.count, before.age_s) == (1.0, Basis.DECLARED, 0.0, None)
    few = knowing(*answers(0, 2)).kpis(0, 7.0).ttft_s
    assert (few.basis, few.age_s) == (Basis.DECLARED, 7.0)
    many = knowing(*answers(0, 50)).kpis(0, 7.0).ttft_s
    assert (many.basis, many.age_s) == (Basis.MEASURED, 7.0)
    assert many.value == pytest.approx(3.0, rel=0.1)


def test_an_endpoint_that_declared_nothing_is_assumed_to_be_like_its_measured_peers() -> None:
    """The median of the measured ones; before there are any, the settings."""
    assert knowing().kpis(2, 0.0).ttft_s.value == SETTINGS.assumed_ttft_s
    knowledge = knowing(*answers(0, 200, ttft_s=3.0), *answers(1, 200, ttft_s=5.0))
    knowledge.refresh(1.0)
    peer = knowledge.kpis(2, 1.0).ttft_s
    assert peer.value == pytest.approx(4.0, rel=0.1)
    assert peer.basis is Basis.ASSUMED
    assert "median" in peer.source


def test_a_half_life_halves_the_count() -> None:
    """Counts fade with age, and the estimate goes back to the prior."""
    knowledge = knowing(*answers(0, 64))
    assert knowledge.kpis(0, 0.0).ttft_s.count == 64.0
    assert knowledge.kpis(0, 100.0).ttft_s.count == 32.0
    assert knowledge.kpis(0, 600.0).ttft_s.count == 1.0
    assert knowledge.kpis(0, 5000.0).ttft_s.value == pytest.approx(1.0, rel=0.05)


def test_recent_answers_outweigh_old_ones() -> None:
    """After a change the estimate follows within a few half-lives."""
    knowledge = knowing(*answers(0, 100, ttft_s=1.0), *answers(0, 100, at_s=500.0, ttft_s=9.0))
    assert knowledge.kpis(0, 500.0).ttft_s.value > 8.0


def test_quantiles_are_told_beside_the_mean() -> None:
    """A tenth of slow answers is in the 95th percentile and not in the median."""
    knowledge = knowing(*answers(0, 90, ttft_s=1.0), *answers(0, 10, ttft_s=20.0))
    kpis = knowledge.kpis(0, 0.0)
    assert kpis.ttft_p50_s.value == pytest.approx(1.0, rel=0.03)
    assert kpis.ttft_p95_s.value == pytest.approx(20.0, rel=0.03)


def test_weights_stay_in_range_for_as_long_as_a_gateway_runs() -> None:
    """Three hundred thousand half-lives later nothing has overflowed, and new answers are learned."""
    knowledge = knowing(*answers(0, 3))
    for step in range(1, 400):
        knowledge.observe(answers(0, 1, at_s=step * 80_000.0)[0])
    last_s = 399 * 80_000.0
    for one in answers(0, 100, at_s=last_s, ttft_s=3.0):
        knowledge.observe(one)
    assert knowledge.kpis(0, last_s).ttft_s.value == pytest.approx(3.0, rel=0.1)


def test_attempts_under_way_are_counted() -> None:
    """`started` tells how many others were under way; ended ones are no longer."""
    knowledge = knowing()
    assert [knowledge.started(0), knowledge.started(0), knowledge.started(1)] == [0, 1, 0]
    knowledge.ended(0)
    kpis = knowledge.kpis(0, 0.0)
    assert (kpis.in_flight, kpis.uses) == (1, 2)


def test_a_row_changes_when_its_observation_arrives_and_others_do_not() -> None:
    """The choice reads rows; they are current after each observation without any refresh."""
    knowledge = knowing()
    before = knowledge.outlooks[1].ttft_s
    for one in answers(0, 50, ttft_s=9.0):
        knowledge.observe(one)
    assert knowledge.outlooks[0].ttft_s > 7.0
    assert knowledge.outlooks[1].ttft_s == before


def test_verbosity_is_learned_per_model_from_all_endpoints() -> None:
    """Answers of any host of the model count."""
    kpis = knowing(*answers(0, 300), *answers(1, 300)).model_kpis(R1, 0.0)
    assert kpis.verbosity_tokens.value == pytest.approx(300.0, rel=0.05)
    assert kpis.verbosity_tokens.basis is Basis.MEASURED
    assert kpis.bytes_per_token.value == pytest.approx(3.0, rel=0.02)


def test_a_cut_stream_without_a_count_says_at_least_by_its_bytes() -> None:
    """A client that leaves after 400 kB of a stream (200 bytes a token) had 2,000 tokens, and no fewer."""
    cut = Observation(0, 0.0, Outcome.CANCELLED, 9.0, ttft_s=1.0, wire_bytes=400_000)
    assert knowing(*[cut] * 500).model_kpis(R1, 0.0).verbosity_tokens.value == pytest.approx(2000.0, rel=0.03)
    short = replace(cut, wire_bytes=2000)
    assert knowing(*[short] * 500).model_kpis(R1, 0.0).verbosity_tokens.value == pytest.approx(
        700.0, rel=0.03
    )


observations = st.lists(
    st.builds(
        Observation,
        endpoint_index=st.integers(0, 2),
        at_s=st.floats(0, 300),
        outcome=st.sampled_from(Outcome),
        answer_s=st.floats(0, 400),
        ttft_s=st.none() | st.floats(0, 300),
        tpot_s=st.none() | st.floats(0, 1),
        prompt_bytes=st.integers(0, 10**6),
        prompt_tokens=st.none() | st.integers(0, 10**6),
        output_tokens=st.none() | st.integers(0, 10**5),
        choices=st.integers(1, 4),
        wire_bytes=st.integers(0, 10**7),
        in_flight=st.integers(0, 100),
        censored=st.booleans(),
    ),
    max_size=30,
)


@settings(deadline=None)
@given(observations)
def test_what_was_kept_comes_back_after_a_restart(seen_: list[Observation]) -> None:
    """A new process, with another clock, forecasts as the old one did, older by the time it was away."""
    old = knowing(*seen_)
    kept = old.to_bytes(300.0)
    new = Knowledge.from_bytes(kept, FLEET, MODELS, SETTINGS, now_s=5050.0, away_s=50.0)
    for index in range(len(FLEET)):
        before, after = old.kpis(index, 350.0), new.kpis(index, 5050.0)
        assert after.ttft_s.value == pytest.approx(before.ttft_s.value)
        assert after.tpot_p95_s.value == pytest.approx(before.tpot_p95_s.value)
        assert after.failure_share.value == pytest.approx(before.failure_share.value)
        assert after.ttft_s.age_s == pytest.approx(before.ttft_s.age_s)
    assert new.model_kpis(R1, 5050.0).verbosity_tokens.value == pytest.approx(
        old.model_kpis(R1, 350.0).verbosity_tokens.value
    )


@settings(deadline=None)
@given(observations)
def test_every_forecast_is_a_finite_number(seen_: list[Observation]) -> None:
    """Whatever the relay reports, no row becomes negative, infinite or a NaN."""
    knowledge = knowing(*seen_)
    for outlook in knowledge.outlooks:
        values = (outlook.ttft_s, outlook.tpot_s, outlook.failure_s, outlook.observations)
        assert all(0.0 <= value < 1e9 for value in values)
        assert 0.0 <= outlook.p_failure <= 1.0
        assert 0.0 <= outlook.wasted_share <= 1.0
        assert 0.0 <= outlook.cached_share <= 1.0


def test_endpoints_are_matched_by_name() -> None:
    """After a change of the configuration each endpoint finds its own; what is gone is dropped."""
    kept = knowing(*answers(0, 100), *answers(1, 100, ttft_s=8.0)).to_bytes(0.0)
    changed = (endpoint("other"), FLEET[1])
    knowledge = Knowledge.from_bytes(kept, changed, MODELS, SETTINGS)
    assert knowledge.kpis(0, 0.0).ttft_s.count == 0.0
    assert knowledge.kpis(1, 0.0).ttft_s.count == 100.0


def test_knowledge_is_small() -> None:
    """With every bucket filled an endpoint takes less than 64 KiB."""
    knowledge = knowing(fleet=FLEET[:1])
    for step in range(1000):
        value = 1e-4 * 1.02**step
        knowledge.observe(replace(answers(0, 1)[0], ttft_s=value, tpot_s=value, output_tokens=step + 1))
    assert len(knowledge.to_bytes(0.0)) < 64 * 1024


def test_knowledge_of_another_format_is_refused() -> None:
    """Whole, but written by another version: the message names both."""
    other = encode(KnowledgeState(FORMAT_VERSION + 1, 1.04, 480, [], [], []))
    with pytest.raises(ValueError, match=f"format {FORMAT_VERSION + 1}"):
        Knowledge.from_bytes(crc32(other).to_bytes(4, "big") + other, FLEET, MODELS, SETTINGS)
    foreign = encode({"other": "program"})
    with pytest.raises(ValueError, match="cannot be read"):
        Knowledge.from_bytes(crc32(foreign).to_bytes(4, "big") + foreign, FLEET, MODELS, SETTINGS)


def test_a_gateway_that_slept_for_a_year_still_tells_its_estimates() -> None:
    """Weights do not overflow in thousands of half-lives of silence; a model is as wordy as it was."""
    year_s = 365 * 86_400.0
    assert knowing(*answers(0, 50)).kpis(0, year_s).ttft_s.count == 0.0
    assert knowing(*answers(0, 50)).model_kpis(R1, 100 * year_s).verbosity_tokens.value == pytest.approx(
        300.0, rel=0.05
    )


@pytest.mark.parametrize("damage", [b"", b"\xff", b"not msgpack at all", b"\x95\x09\xcb"])
def test_bytes_that_are_not_knowledge_are_refused(damage: bytes) -> None:
    """A message says what could not be read; the caller starts afresh."""
    with pytest.raises(ValueError, match="kept knowledge"):
        Knowledge.from_bytes(damage, FLEET, MODELS, SETTINGS)


@given(st.data())
def test_a_flipped_byte_is_refused(data: st.DataObject) -> None:
    """Damage anywhere is reported as such; no number is believed that was not written."""
    kept = bytearray(knowing(*answers(0, 3)).to_bytes(0.0))
    place = data.draw(st.integers(0, len(kept) - 1))
    kept[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ValueError, match="checksum"):
        Knowledge.from_bytes(bytes(kept), FLEET, MODELS, SETTINGS)


def busy(seed: int, count: int, *, keys: int = 50) -> Knowledge:
    """Return knowledge of traffic as it comes: three hosts, keys and tags, failures, cuts, cached prompts."""
    random = Random(seed)
    knowledge = Knowledge(FLEET, MODELS, SETTINGS)
    for step in range(count):
        index, key = random.randrange(3), random.randrange(1, keys + 1)
        outcome = random.choices(
            [Outcome.OK, Outcome.FAILED, Outcome.CANCELLED, Outcome.RATE_LIMITED], [90, 4, 4, 2]
        )
        begun = outcome[0] in (Outcome.OK, Outcome.CANCELLED)
        tokens, prompt_tokens = int(300 * random.lognormvariate(0, 0.8)) + 1, random.randrange(20, 30_000)
        knowledge.observe(
            Observation(
                index,
                0.05 * step,
                outcome[0],
                3.0 * random.lognormvariate(0, 0.5),
                ttft_s=(1.0 + index) * random.lognormvariate(0, 0.4) if begun else None,
                tpot_s=0.01 * random.lognormvariate(0, 0.3) if begun else None,
                prompt_bytes=4 * prompt_tokens,
                prompt_tokens=prompt_tokens if begun else None,
                cached_tokens=prompt_tokens // 3 if begun else 0,
                output_tokens=tokens if begun else None,
                wire_bytes=200 * tokens if begun else 0,
                in_flight=random.randrange(40),
                known_tokens=prompt_tokens / 2,
                censored=random.random() < 0.1,
                key_id=key,
                tag_id=random.randrange(3),
            )
        )
    return knowledge


def asked(random: Random) -> Request:
    """Return a request of some key, with or without limits."""
    slo = Slo(answer_s=random.choice([None, 8.0]), usd_per_hour=random.choice([0.0, 5.0]), probability=0.5)
    limit = random.choice([None, 64, 2000])
    request = chat(prompt_bytes=random.randrange(100, 90_000), max_output_tokens=limit, slo=slo)
    return replace(request, key_id=random.randrange(60), tag_id=random.randrange(3))


@pytest.mark.parametrize("seed", range(4))
def test_decisions_are_the_same_before_and_after_a_restart(seed: int) -> None:
    """Candidates, exclusions and the winner; scores to a hundredth, since all is fitted anew."""
    old, random = busy(seed, 2000), Random(seed)
    new = Knowledge.from_bytes(old.to_bytes(100.0), FLEET, MODELS, SETTINGS, now_s=100.0)
    old.refresh(100.0)
    routers = [Router(FLEET, MODELS, SETTINGS, knowledge) for knowledge in (old, new)]
    for _ in range(100):
        request, draw = asked(random), random.random()
        before, after = (router.decide(request, now_s=100.0, draw=draw) for router in routers)
        assert type(before) is type(after)
        if isinstance(before, Decision) and isinstance(after, Decision):
            assert before.rules == after.rules
            scores = {one.endpoint_index: one.score for one in before.candidates}
            assert {one.endpoint_index: one.score for one in after.candidates} == pytest.approx(
                scores, rel=0.01
            )
            if min(scores.values()) * 1.02 < sorted([*scores.values(), 1e9])[1]:
                assert before.winner.endpoint_index == after.winner.endpoint_index


def test_knowledge_stays_small_under_heavy_use() -> None:
    """At most 64 KiB for each endpoint and each model, though ten thousand keys have asked."""
    knowledge = busy(1, 30_000, keys=10_000)
    assert len(knowledge.to_bytes(1500.0)) <= 64 * 1024 * (len(FLEET) + len(MODELS))
    only_model = Knowledge((), MODELS, SETTINGS)
    only_model._model_measures = knowledge._model_measures
    assert len(only_model.to_bytes(1500.0)) <= 64 * 1024


def test_the_keys_that_asked_last_are_kept() -> None:
    """Of more keys than are kept the latest come back with what was learned of them, the first do not."""
    knowledge = knowing()
    for key in range(1, MOST_KEPT_LEVELS + 500):
        for one in answers(0, 1):
            knowledge.observe(replace(one, key_id=key, output_tokens=3000))
    new = Knowledge.from_bytes(knowledge.to_bytes(0.0), FLEET, MODELS, SETTINGS)
    levels = new._model_measures[R1].verbosity.levels
    assert len(levels) == MOST_KEPT_LEVELS
    assert (MOST_KEPT_LEVELS + 499, 0) in levels
    assert (1, 0) not in levels


def test_what_senders_told_of_answers_survives_a_restart() -> None:
    """The share of useful answers is as dear as what it divides."""
    knowledge = knowing()
    for number in range(100):
        knowledge.judged(R1, succeeded=number % 4 > 0, now_s=0.0)
    new = Knowledge.from_bytes(knowledge.to_bytes(0.0), FLEET, MODELS, SETTINGS)
    assert new.success_share(R1, None) == knowledge.success_share(R1, None) == pytest.approx(0.75, abs=0.02)
    knowledge.judged("nobody/knows", succeeded=True, now_s=0.0)
