"""Verbosity and bytes per token of a model: shrunk to what was declared, cautious for limits."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from entrepot.domain.estimate import Basis, Estimate
from entrepot.domain.outcome import Outcome
from entrepot.routing.kpi.model import CAUTIOUS_PRIOR, ModelMeasures
from entrepot.routing.kpi.observation import Observation
from entrepot.routing.kpi.outlook import ModelOutlook
from entrepot.routing.kpi.priors import ModelPriors
from entrepot.routing.kpi.verbosity import Classes
from tests.routing.builders import seen

PRIORS = ModelPriors(
    verbosity_tokens=Estimate(500.0, Basis.DECLARED), bytes_per_token=Estimate(4.0, Basis.ASSUMED)
)

PROMPT_TOKENS = 1000.0


def expected(outlook: ModelOutlook) -> float:
    """Return the tokens that an answer to such a prompt is expected to have."""
    return outlook.verbosity_tokens * outlook.verbosity.factor(PROMPT_TOKENS, 0, 0)


def after(*observations: Observation) -> ModelOutlook:
    """Return the outlook after these observations, all of the same weight."""
    measures = ModelMeasures(PRIORS, Classes())
    outlook = ModelOutlook(measures.verbosity)
    measures.refresh(outlook, PRIORS, 1.0)
    measures.refresh_caution(outlook, PRIORS, 1.0)
    for one in observations:
        measures.observe(one, 1.0, PRIORS, output_tokens=one.output_tokens or 0, prompt_tokens=PROMPT_TOKENS)
        measures.refresh(outlook, PRIORS, 1.0)
        measures.refresh_caution(outlook, PRIORS, 1.0)
    return outlook


def prompt(prompt_bytes: int, prompt_tokens: int) -> Observation:
    """Return an answered prompt of these sizes."""
    return replace(seen(), prompt_bytes=prompt_bytes, prompt_tokens=prompt_tokens)


def test_verbosity_moves_from_what_was_declared_to_what_is_measured() -> None:
    """Five answers outweigh the declaration, a thousand leave nothing of it."""
    assert after().verbosity_tokens == 500.0
    assert 1000.0 < expected(after(*[seen(output_tokens=1500)] * 5)) < 1600.0
    assert expected(after(*[seen(output_tokens=1500)] * 1000)) == pytest.approx(1500.0, rel=0.02)


@pytest.mark.parametrize(
    "cut",
    [
        replace(seen(output_tokens=64), censored=True),
        seen(outcome=Outcome.CANCELLED, output_tokens=64),
        seen(outcome=Outcome.TRUNCATED, output_tokens=64),
        seen(outcome=Outcome.TIMED_OUT, output_tokens=64),
    ],
)
def test_an_answer_that_was_cut_says_at_least(cut: Observation) -> None:
    """A thousand answers cut at 64 tokens do not make a model terse."""
    assert expected(after(*[cut] * 1000)) == pytest.approx(500.0, rel=0.02)


def test_cut_answers_longer_than_all_others_raise_the_estimate() -> None:
    """At least 4,000 tokens is news for a model that was thought to write 500."""
    assert expected(after(*[replace(seen(output_tokens=4000), censored=True)] * 100)) > 3500


def test_verbosity_is_that_of_one_choice() -> None:
    """Four choices of 900 tokens in all are answers of 225."""
    four = replace(seen(output_tokens=900), choices=4)
    assert expected(after(*[four] * 1000)) == pytest.approx(225.0, rel=0.02)


def test_an_embedding_says_nothing_about_verbosity() -> None:
    """No output is no short answer."""
    assert after(*[seen(output_tokens=0)] * 100).verbosity_tokens == 500.0


def test_long_prompts_decide_the_bytes_per_token() -> None:
    """The fixed bytes around a short prompt (12 per token) do not count for a long one (3 per token)."""
    rows = [prompt(120, 10), prompt(30_000, 10_000)] * 200
    assert 1.0 / after(*rows).tokens_per_byte == pytest.approx(3.0, rel=0.05)


def test_limits_take_the_prompts_with_many_tokens() -> None:
    """One prompt in ten has two bytes per token: limits reckon with it, forecasts with the mean."""
    outlook = after(*([prompt(4000, 1000)] * 9 + [prompt(2000, 1000)]) * 100)
    assert 1.0 / outlook.tokens_per_byte == pytest.approx(3.8, rel=0.03)
    assert 1.0 / outlook.cautious_tokens_per_byte == pytest.approx(2.0, rel=0.1)


def test_limits_take_no_less_care_with_a_model_of_which_little_is_known() -> None:
    """Ten prompts alike say next to nothing of how one in twenty is: what is assumed of it stays."""
    few, many = after(*[prompt(4000, 1000)] * 10), after(*[prompt(4000, 1000)] * 1000)
    assert 1.0 / few.cautious_tokens_per_byte == pytest.approx(4.0 * CAUTIOUS_PRIOR, rel=0.06)
    assert 1.0 / many.cautious_tokens_per_byte == pytest.approx(4.0, rel=0.06)


def test_fewer_tokens_than_the_least_are_seldom() -> None:
    """One prompt in ten has eight bytes per token: one that needs as many to fit may still fit."""
    outlook = after(*([prompt(4000, 1000)] * 9 + [prompt(8000, 1000)]) * 100)
    assert 1.0 / outlook.least_tokens_per_byte == pytest.approx(8.0, rel=0.1)
    assert outlook.least_tokens_per_byte <= outlook.tokens_per_byte


def test_before_any_prompt_limits_take_a_stated_part_of_the_prior() -> None:
    """Cautious from the start, and never less cautious than the forecast."""
    assert 1.0 / after().cautious_tokens_per_byte == pytest.approx(4.0 * CAUTIOUS_PRIOR)
    uniform = after(*[prompt(1000, 1000)] * 500)
    assert uniform.cautious_tokens_per_byte >= uniform.tokens_per_byte


def test_the_cautious_verbosity_is_that_of_a_long_answer() -> None:
    """One answer in a hundred is longer: before any, by the assumed spread; later, by what was seen."""
    assert after().cautious_verbosity_tokens > 3 * 500.0
    regular = after(*[seen(output_tokens=500)] * 1000)
    assert regular.cautious_verbosity_tokens < 1.2 * 500.0


def test_the_doubt_of_a_mean_shrinks_with_its_answers() -> None:
    """Among models the one that little is known of may be the terser one; after some hundreds it is known."""
    assert after().doubt == pytest.approx(0.7)
    assert after(*[seen(output_tokens=500)] * 300).doubt < 0.1


def told(successes: int, failures: int) -> ModelMeasures:
    """Return a model of whose answers so many were called of use, and so many were not."""
    measures = ModelMeasures(PRIORS, Classes())
    for number in range(successes + failures):
        measures.successes.add(float(number < successes), 0.0)
    return measures


def test_the_share_of_useful_answers_is_what_was_declared_until_senders_tell() -> None:
    """A declaration counts as twenty of them; without one it takes twenty to be known at all."""
    assert told(0, 0).success_share(0.9) == 0.9
    assert told(0, 0).success_share(None) is None
    assert told(0, 18).success_share(None) is None
    assert told(11, 11).success_share(None) == pytest.approx(0.5, abs=0.02)
    assert told(0, 20).success_share(0.9) == pytest.approx(0.45, abs=0.02)
    assert told(0, 400).success_share(0.9) < 0.07
