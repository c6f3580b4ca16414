"""Workers that read prompts: alone, together, behind others, never above their rate."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entrepot.tokenomics.price import Kind
from entrepot.tokenomics.reading import Reading, Workers, reading_of
from tests.tokenomics.splits import DP8, TP8, split_offer

WORKERS = split_offer((2, TP8), (1, TP8)).prefill
ALL = np.ones(1)


def of(uncached: float, cached: float = 0.0, workers: Workers = WORKERS) -> Reading:
    """Return how prompts of one size are read."""
    return reading_of(workers, np.array([float(uncached)]), np.array([float(cached)]))


def test_a_lone_prompt_takes_as_long_as_the_clock_says() -> None:
    """The closed form and the engine read with one clock; long prompts in pieces."""
    alone = WORKERS.clock.step_s(0.0, 0.0, 2048, 2048 * 1024)
    assert of(2048).alone_s[0] == pytest.approx(alone, rel=1e-9)
    piece = WORKERS.clock.step_s(0.0, 0.0, 8000, 8000 * 8000)
    assert of(16_000).alone_s[0] == pytest.approx(2 * piece, rel=1e-9)


def test_a_full_step_reads_as_many_prompts_as_fit_in_it() -> None:
    """8,192 tokens of each attention group; what a step costs once is shared."""
    read = of(1024)
    full = WORKERS.clock.step_s(0.0, 0.0, 8192, 8 * 1024 * 512)
    assert read.most[0] == 8
    assert read.full_s[0] == pytest.approx(full, rel=1e-9)
    assert read.most_per_s[0] == pytest.approx(2 * 8 / full, rel=1e-9)
    groups = of(1024, workers=split_offer((1, DP8), (1, TP8)).prefill)
    assert groups.most_per_s[0] == pytest.approx(8 * 8 / groups.full_s[0], rel=1e-9)


@pytest.mark.parametrize("used", [0.2, 0.5, 0.9])
def test_one_worker_that_reads_one_prompt_at_a_time_is_a_queue(used: float) -> None:
    """Of random arrivals and constant service: s + s·u / 2(1 − u), by Pollaczek and Khinchine."""
    one = np.array([1.0])
    read = Reading(1, 1, np.array([2.0]), np.array([2.0]), one, np.eye(3)[:1])
    expected = 2.0 + 2.0 * used / (2 * (1 - used))
    assert read.latency_s(np.array([used / 2.0]), ALL)[0] == pytest.approx(expected)


@settings(deadline=None)
@given(st.floats(1, 30_000), st.floats(0, 30_000), st.floats(0.001, 1.0), st.floats(1.0, 10.0))
def test_reading_is_never_faster_than_full_steps_and_slower_under_load(
    uncached: float, cached: float, part: float, more: float
) -> None:
    """Seconds per prompt fall to those of full steps, the wait grows, nobody works more than all the time."""
    read = of(uncached, cached)
    rate = read.most_per_s * part
    quiet = rate / more
    assert read.worker_s(rate)[0] >= read.least_s[0] * (1 - 1e-9)
    assert read.worker_s(rate)[0] <= read.worker_s(quiet)[0] * (1 + 1e-9)
    assert rate[0] * read.worker_s(rate)[0] <= read.workers * (1 + 1e-9)
    assert read.latency_s(rate, ALL)[0] >= read.latency_s(quiet, ALL)[0] >= read.alone_s[0]


def test_the_time_is_for_the_tokens_that_were_read_and_a_part_for_those_looked_at() -> None:
    """A prompt that is cached whole has only cached tokens to bear it, an empty one only its answer."""
    assert of(1000).kinds[0] == pytest.approx([1, 0, 0])
    looked = of(1000, 60_000).kinds[0]
    assert 0 < looked[Kind.CACHED] < looked[Kind.INPUT]
    assert looked.sum() == pytest.approx(1)
    assert of(0, 1000).kinds[0] == pytest.approx([0, 1, 0])
    assert of(0).kinds[0] == pytest.approx([0, 0, 1])


def test_a_mix_of_one_size_is_read_as_that_size() -> None:
    """The mean of equal ones; and that of two lies between them."""
    both = reading_of(WORKERS, np.array([1000.0, 1000.0]), np.zeros(2)).mean(np.array([0.3, 0.7]))
    for name in ("alone_s", "full_s", "most"):
        assert getattr(both, name)[0] == pytest.approx(getattr(of(1000), name)[0])
    mixed = reading_of(WORKERS, np.array([500.0, 20_000.0]), np.zeros(2)).mean(np.array([0.9, 0.1]))
    assert of(20_000).most_per_s[0] < mixed.most_per_s[0] < of(500).most_per_s[0]


def test_a_pool_of_none_is_refused() -> None:
    """Nobody would read."""
    with pytest.raises(ValueError, match="0 prefill workers"):
        split_offer((0, TP8), (1, TP8))
