"""How long answers are: by model, prompt, key and task; cut ones as at least; jumps followed."""

from __future__ import annotations

from random import Random
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entrepot.routing.kpi.verbosity import (
    MOST_LEVELS,
    PROMPT_CLASSES,
    PSEUDO_COUNT,
    Classes,
    Level,
    Verbosity,
    prompt_class,
)

PRIOR = 500.0
PROMPT = 1000.0
NOBODY = (0, 0)


class Answers:
    """A model whose answers are observed one after the other, a second apart."""

    def __init__(self, common: Classes | None = None, seed: int = 1) -> None:
        self.verbosity = Verbosity(common or Classes())
        self._now_s = 0.0
        self._random = Random(seed)

    def see(
        self,
        tokens: float,
        count: int = 1,
        *,
        sender: tuple[int, int] = NOBODY,
        prompt_tokens: float = PROMPT,
        spread: float = 0.0,
        cut_at: float = float("inf"),
    ) -> Answers:
        """Observe answers of this mean, cut where they are longer."""
        for _ in range(count):
            self._now_s += 1.0
            length = tokens * self._random.lognormvariate(-spread * spread / 2, spread)
            self.verbosity.observe(
                min(length, cut_at),
                prompt_tokens=prompt_tokens,
                sender=sender,
                prior_tokens=PRIOR,
                weight=1.0,
                now_s=self._now_s,
                censored=length >= cut_at,
            )
            if self.verbosity.parts.weight % 16 == 0:
                self.verbosity.table = self.verbosity.tabled(1.0)
        return self

    def expected(self, sender: tuple[int, int] = NOBODY, prompt_tokens: float = PROMPT) -> float:
        """Return the tokens that an answer to such a prompt of this key and tag is expected to have."""
        verbosity = self.verbosity
        return verbosity.mean_tokens(PRIOR) * verbosity.factor(prompt_tokens, *sender)


def test_before_any_answer_the_prior_stands() -> None:
    """For every prompt and every key."""
    assert Answers().expected() == PRIOR
    assert Answers().expected((7, 9), 100_000.0) == PRIOR


def test_a_model_s_mean_moves_from_the_prior_to_its_answers() -> None:
    """A few answers weigh as much as the prior, a thousand leave nothing of it."""
    assert 600.0 < Answers().see(1000.0, 3).verbosity.mean_tokens(PRIOR) < 900.0
    assert Answers().see(1000.0, 1000).expected() == pytest.approx(1000.0, rel=0.02)


@pytest.mark.parametrize("sender", [NOBODY, (3, 0), (3, 2)])
@pytest.mark.parametrize("tokens", [10.0, 1000.0, 5000.0, 20_000.0])
def test_one_surprise_is_not_counted_at_every_level(tokens: float, sender: tuple[int, int]) -> None:
    """5,000 tokens where 500 were expected let expect at most as many, however many levels learn."""
    answers = Answers().see(tokens, sender=sender)
    between = sorted((PRIOR, tokens))
    assert between[0] <= answers.expected(sender) <= between[1]
    for _ in range(20):
        answers.see(tokens, sender=sender)
        assert between[0] / 2 <= answers.expected(sender) <= between[1] * 1.5


def test_a_key_shrinks_to_its_model_and_a_task_to_its_key() -> None:
    """A few answers of a level count in part, many in full; who is unknown is like the level above."""
    answers = Answers().see(1000.0, 400, spread=0.5)
    usual = answers.expected()
    assert answers.expected((3, 0)) == usual
    assert usual / 2 < answers.see(100.0, int(PSEUDO_COUNT), sender=(3, 0)).expected((3, 0)) < usual
    answers.see(100.0, 100, sender=(3, 0))
    of_key = answers.expected((3, 0))
    assert of_key == pytest.approx(100.0, rel=0.3)
    assert answers.expected((3, 8)) == of_key
    answers.see(1000.0, 30, sender=(3, 8))
    assert answers.expected((3, 8)) > 1.2 * answers.expected((3, 9))


def test_a_key_that_sent_all_the_answers_is_like_the_model() -> None:
    """Its own level and that of its task know little that the mean does not, in whatever order they came."""
    lengths = [50.0] * 60 + [4000.0] * 30 + [20_000.0] * 6
    for seed in range(20):
        Random(seed).shuffle(lengths)
        answers = Answers()
        for tokens in lengths:
            answers.see(tokens, sender=(3, 2))
        assert answers.expected((3, 2)) == pytest.approx(answers.expected(), rel=0.2)


def test_a_key_that_jumps_is_followed_though_it_sent_all_the_answers() -> None:
    """What was seen before the jump is no longer its own, so that it differs from the mean again."""
    answers = Answers().see(1000.0, 300, spread=0.5, sender=(3, 0)).see(5000.0, 60, spread=0.5, sender=(3, 0))
    assert answers.expected((3, 0)) == pytest.approx(5000.0, rel=0.3)


def test_a_key_does_not_change_what_is_expected_of_another() -> None:
    """Beyond what it changes of the model, in which all its answers are."""
    answers = Answers()
    for _ in range(200):
        answers.see(1000.0, sender=(1, 0)).see(100.0, sender=(2, 0))
    assert answers.expected((1, 0)) == pytest.approx(1000.0, rel=0.2)
    assert answers.expected((2, 0)) == pytest.approx(100.0, rel=0.3)


def test_what_long_prompts_say_is_shared_by_all_models() -> None:
    """A model that was asked short prompts only is expected to do with long ones what others do."""
    common = Classes()
    one, other = Answers(common), Answers(common)
    for _ in range(300):
        one.see(1000.0, prompt_tokens=200.0).see(100.0, prompt_tokens=20_000.0)
        other.see(300.0, prompt_tokens=200.0)
    long, short = other.expected(prompt_tokens=20_000.0), other.expected(prompt_tokens=200.0)
    assert one.expected(prompt_tokens=20_000.0) == pytest.approx(100.0, rel=0.25)
    assert short == pytest.approx(300.0, rel=0.15)
    assert long < 0.35 * short


def test_a_model_of_its_own_mind_about_long_prompts_is_known_for_it() -> None:
    """The common proportion is only where it starts from."""
    common = Classes()
    one, other = Answers(common), Answers(common)
    for _ in range(400):
        one.see(1000.0, prompt_tokens=200.0).see(100.0, prompt_tokens=20_000.0)
        other.see(300.0, prompt_tokens=200.0).see(300.0, prompt_tokens=20_000.0)
    assert one.expected(prompt_tokens=20_000.0) == pytest.approx(100.0, rel=0.4)
    assert other.expected(prompt_tokens=20_000.0) == pytest.approx(300.0, rel=0.4)


def test_a_change_of_all_traffic_moves_a_silent_model_too() -> None:
    """When everybody asks for answers half as long again, a model that got none is not cheap for it."""
    growth = []
    for seed in range(8):
        common = Classes()
        busy, silent = Answers(common, seed), Answers(common, 100 + seed)
        for _ in range(300):
            busy.see(400.0, spread=1.0)
            silent.see(800.0, spread=1.0)
        before = silent.expected()
        busy.see(600.0, 300, spread=1.0)
        growth.append(silent.expected() / before)
    assert 1.15 < fmean(growth) < 1.5


def test_a_jump_of_a_key_is_followed_within_some_dozens() -> None:
    """Who asks for essays now is not expected to want words, however long it did."""
    answers = Answers().see(1000.0, 500, spread=0.4, sender=(1, 0))
    answers.see(1000.0, 200, spread=0.4, sender=(2, 0)).see(5000.0, 40, spread=0.4, sender=(2, 0))
    assert answers.expected((2, 0)) == pytest.approx(5000.0, rel=0.5)


def test_a_jump_of_a_model_is_followed_within_some_dozens() -> None:
    """A host has changed the weights behind a name: answers have a fifth of the tokens."""
    answers = Answers().see(2000.0, 1000, spread=0.5).see(400.0, 60, spread=0.5)
    assert answers.expected() == pytest.approx(400.0, rel=0.35)


@pytest.mark.parametrize("cut_at", [150.0, 300.0, 600.0])
def test_cut_answers_count_as_at_least(cut_at: float) -> None:
    """The mean of answers that a limit cuts at less than it is found far better than by what is left."""
    expected = fmean(
        Answers(seed=seed).see(600.0, 300, spread=1.0).see(600.0, 1200, spread=1.0, cut_at=cut_at).expected()
        for seed in range(8)
    )
    random = Random(2)
    taken_for_final = fmean(min(600.0 * random.lognormvariate(-0.5, 1.0), cut_at) for _ in range(5000))
    assert taken_for_final < 0.7 * 600.0
    assert expected == pytest.approx(600.0, rel=0.15)


def test_a_model_whose_every_answer_is_cut_is_not_taken_to_be_terse() -> None:
    """A thousand answers cut at 64 tokens say nothing against the prior."""
    assert Answers().see(500.0, 1000, cut_at=64.0).expected() == pytest.approx(500.0, rel=0.05)


def test_cut_answers_longer_than_all_others_raise_the_estimate() -> None:
    """At least 4,000 tokens is news for a model that was thought to write 500; more is not made of it."""
    for sender in (NOBODY, (3, 0), (3, 2)):
        answers = Answers().see(9000.0, 1000, cut_at=4000.0, sender=sender)
        assert answers.expected(sender) == pytest.approx(4000.0, rel=0.1)


def test_how_far_answers_lie_from_their_mean_is_learned() -> None:
    """The table of parts: a model of regular answers is expected to have no long ones."""
    regular, wild = (Answers().see(600.0, 1500, spread=spread) for spread in (0.2, 1.3))
    long = [
        answers.verbosity.table.quantile(0.99) / answers.verbosity.table.mean for answers in (regular, wild)
    ]
    assert long[0] < 2.0
    assert long[1] > 4.0


def test_keys_and_tags_are_bounded() -> None:
    """The least recently seen is forgotten first."""
    answers = Answers()
    for key in range(1, MOST_LEVELS + 100):
        answers.see(100.0, sender=(key, 0))
        if key % 50 == 0:
            answers.see(5000.0, sender=(1, 0))
    assert len(answers.verbosity.levels) == MOST_LEVELS
    assert (1, 0) in answers.verbosity.levels
    assert (2, 0) not in answers.verbosity.levels


def test_a_tag_without_a_key_is_nobody_s() -> None:
    """Tags belong to keys: without one there is no level to keep it at."""
    assert not Answers().see(100.0, 50, sender=(0, 5)).verbosity.levels


@given(st.floats(0, 1e9))
def test_prompts_are_classed_by_doublings(prompt_tokens: float) -> None:
    """Below 64 tokens is the first; each further one is twice as long; the last has no end."""
    place = prompt_class(prompt_tokens)
    assert 0 <= place < PROMPT_CLASSES
    if 0 < place < PROMPT_CLASSES - 1:
        assert 2 ** (place + 5) <= prompt_tokens < 2 ** (place + 6)


def test_a_level_rests_on_its_latest_answers() -> None:
    """A window of answers, and a half-life of a day for one that is seldom asked."""
    level = Level()
    for step in range(5000):
        level.add(1.0, float(step))
    assert level.weight == pytest.approx(512.0, rel=0.1)
    level.add(3.0, 5000.0 + 86_400.0)
    assert level.weight == pytest.approx(512.0 / 2 + 1, rel=0.1)


answered = st.lists(
    st.tuples(
        st.floats(0.001, 1e6),
        st.integers(0, 3),
        st.integers(0, 2),
        st.floats(0, 1e6),
        st.booleans(),
        st.floats(0, 1e5),
    ),
    max_size=60,
)


@settings(deadline=None)
@given(answered)
def test_every_expectation_is_a_finite_number_above_nothing(
    rows: list[tuple[float, int, int, float, bool, float]],
) -> None:
    """Whatever hosts report."""
    verbosity, now_s = Verbosity(Classes()), 0.0
    for tokens, key, tag, prompt_tokens, censored, later_s in rows:
        now_s += later_s
        verbosity.observe(
            tokens,
            prompt_tokens=prompt_tokens,
            sender=(key, tag),
            prior_tokens=PRIOR,
            weight=1.0,
            now_s=now_s,
            censored=censored,
        )
    for key, tag in ((0, 0), (1, 0), (1, 1), (2, 2), (9, 9)):
        for prompt_tokens in (0.0, 100.0, 1e6):
            expected = verbosity.mean_tokens(PRIOR) * verbosity.factor(prompt_tokens, key, tag)
            assert 0.0 < expected < 1e12
