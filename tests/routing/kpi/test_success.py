"""Words of clients about answers: each counts once, can be taken back, and fades."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.domain.endpoint import Model
from entrepot.domain.estimate import Basis
from entrepot.routing.kpi.knowledge import Knowledge
from entrepot.routing.kpi.model import SUCCESS_PSEUDO_COUNT
from entrepot.routing.kpi.success import Successes
from entrepot.routing.kpi.uncertainty import share_interval
from entrepot.routing.kpi.verbosity import HALF_LIFE_S
from entrepot.routing.settings import RoutingSettings
from tests.routing.builders import R1, declared

WORDS = st.lists(st.booleans(), max_size=40)
PARTS = st.floats(0.01, 1.0)


def told(words: list[bool]) -> Successes:
    """Return what was said in one moment."""
    said = Successes()
    for word in words:
        said.tell(succeeded=word, now_s=0.0)
    return said


@given(WORDS, st.booleans(), PARTS, st.floats(0.0, 1e6))
def test_a_word_that_is_taken_back_leaves_what_was_there_before(
    words: list[bool], word: bool, part: float, ago_s: float
) -> None:
    """But for how much it made the others fade: a part in five hundred, at most."""
    said, before = told(words), told(words)
    said.tell(succeeded=word, now_s=0.0, weight=part)
    said.take_back(succeeded=word, now_s=ago_s, ago_s=ago_s, weight=part)
    left = before.count_at(ago_s)
    assert said.weight == pytest.approx(left, rel=0.002, abs=1e-9)
    assert 0.0 <= said.total <= said.weight


@given(WORDS, st.lists(st.booleans(), min_size=1, max_size=200))
def test_who_changes_a_word_often_counts_once_and_fades_nobody(
    words: list[bool], changes: list[bool]
) -> None:
    """As if only the last word had been said."""
    said, once = told([*words, changes[0]]), told([*words, changes[-1]])
    for old, new in pairwise(changes):
        said.take_back(succeeded=old, now_s=0.0, ago_s=0.0)
        said.tell(succeeded=new, now_s=0.0, again=True)
    assert said.weight == pytest.approx(once.weight)
    assert said.total == pytest.approx(once.total)


@given(st.lists(st.tuples(st.booleans(), st.booleans(), PARTS), max_size=60))
def test_there_are_never_more_successes_than_words(steps: list[tuple[bool, bool, float]]) -> None:
    """Even when what is taken back was never learned, as after a crash."""
    said = Successes()
    for back, word, part in steps:
        if back:
            said.take_back(succeeded=word, now_s=0.0, ago_s=0.0, weight=part)
        else:
            said.tell(succeeded=word, now_s=0.0, weight=part)
        assert 0.0 <= said.total <= said.weight + 1e-12


def knowing(words: list[bool], now_s: float = 0.0) -> Knowledge:
    """Return knowledge of one model of which this was said."""
    knowledge = Knowledge((), {R1: Model(R1)}, RoutingSettings())
    for word in words:
        knowledge.judged(R1, succeeded=word, now_s=now_s)
    return knowledge


def test_a_share_of_which_nobody_said_anything_is_not_known() -> None:
    """A declared one stands alone, with its basis, and may be anything."""
    knowledge = knowing([])
    share = knowledge.success_kpis(R1, None, 5.0)
    assert (share.used, share.declared, share.told) == (None, None, None)
    used = knowledge.success_kpis(R1, declared(0.8), 5.0).used
    assert used is not None
    assert (used.value, used.basis, used.count, used.age_s) == (0.8, Basis.DECLARED, 0.0, None)
    assert used.interval == (0.0, 1.0)


@pytest.mark.parametrize(("words", "basis"), [(5, Basis.DECLARED), (40, Basis.MEASURED)])
def test_what_clients_say_is_told_beside_what_was_declared(words: int, basis: Basis) -> None:
    """The choice goes by both, and calls it measured once they outweigh the declaration."""
    knowledge = knowing([True] * words)
    share = knowledge.success_kpis(R1, declared(0.5), 10.0)
    assert share.used is not None
    assert share.told is not None
    assert share.used.value == knowledge.success_share(R1, 0.5)
    assert 0.5 < share.used.value < share.told.value == 1.0
    assert (share.used.basis, share.told.basis) == (basis, Basis.MEASURED)
    assert share.told.count == share.used.count == pytest.approx(words, rel=0.05)
    assert (share.told.age_s, share.declared) == (10.0, declared(0.5))
    assert share.told.interval == pytest.approx(share_interval(1.0, share.told.count), abs=1e-3)


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.floats(0.0, 1e7), st.floats(0.01, 1.0))
def test_the_interval_of_a_success_share_holds_it_and_widens_with_age(
    words: list[bool], age_s: float, share: float
) -> None:
    """What was said last month says less of today."""
    knowledge = knowing(words)
    for one, later in zip(*(_estimates(knowledge, share, at_s) for at_s in (0.0, age_s)), strict=True):
        (low, high), (lowest, highest) = one, later
        assert lowest <= low + 1e-9
        assert highest >= high - 1e-9


def _estimates(knowledge: Knowledge, share: float, at_s: float) -> list[tuple[float, float]]:
    found = knowledge.success_kpis(R1, declared(share), at_s)
    intervals = []
    for one in (found.used, found.told):
        assert one is not None
        assert one.interval is not None
        assert one.interval[0] <= one.value <= one.interval[1]
        intervals.append(one.interval)
    return intervals


def test_words_lose_half_their_count_in_a_day() -> None:
    """Of the pseudo-count as many as a day ago were said remain half."""
    knowledge = knowing([True] * int(SUCCESS_PSEUDO_COUNT))
    now, later = (knowledge.success_kpis(R1, None, at_s).told for at_s in (0.0, HALF_LIFE_S))
    assert now is not None
    assert later is not None
    assert later.count == pytest.approx(now.count / 2.0, abs=0.01)
