"""Capacity: what closed form says can be served for ever is what the engine serves."""

from __future__ import annotations

import numpy as np
import pytest

from entrepot.tokenomics.arrivals import poisson_arrivals_s, requests_of
from entrepot.tokenomics.batching import Batching, Engine, PrefillPool
from entrepot.tokenomics.capacity import Lengths, capacity_rps, lengths_of, sustained_rps, verdict
from entrepot.tokenomics.engine import simulate
from entrepot.tokenomics.linear_clock import LinearClock

CLOCK = LinearClock(
    kv_capacity_tokens=200_000, base_s=6e-3, sequence_s=6e-5, held_s=3e-8, prompt_s=3e-5, reading_s=2e-3
)
DEPLOYMENTS = {
    "chunked": Engine(clock=CLOCK),
    "prefill first": Engine(clock=CLOCK, batching=Batching(prefill_first=True, max_sequences=200)),
    "few sequences": Engine(clock=CLOCK, batching=Batching(max_sequences=48)),
    "room reserved": Engine(clock=CLOCK, batching=Batching(reserved_output=1.0)),
    "three replicas": Engine(clock=CLOCK, replicas=3),
    "disaggregated": Engine(
        clock=CLOCK, batching=Batching(max_sequences=200), prefill=PrefillPool(clock=CLOCK)
    ),
}
PROMPT, OUTPUT = 512, 256


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_the_closed_form_is_what_an_overloaded_engine_serves(name: str) -> None:
    """At twice the capacity the engine is always full; what it recomputes is missing from the capacity."""
    engine = DEPLOYMENTS[name]
    capacity = capacity_rps(engine, Lengths(prompt=PROMPT, output=OUTPUT))
    arrivals = poisson_arrivals_s(2.0 * capacity, 6000, np.random.default_rng(2))
    run = simulate(engine, requests_of(arrivals, PROMPT, OUTPUT))

    ended = np.sort(run.finished_s)
    middle = ended[2000:5000]
    served = (len(middle) - 1) / (middle[-1] - middle[0])
    assert served == pytest.approx(capacity, rel=0.12 if run.preemptions else 0.06)


@pytest.mark.parametrize(("load", "grows"), [(0.7, False), (1.3, True)])
def test_ttft_grows_with_the_run_only_above_capacity(load: float, grows: bool) -> None:
    """What the verdict says is what a longer run shows."""
    engine = DEPLOYMENTS["few sequences"]
    rate = load * capacity_rps(engine, Lengths(prompt=PROMPT, output=OUTPUT))
    means = []
    for count in (2000, 4000):
        requests = requests_of(poisson_arrivals_s(rate, count, np.random.default_rng(7)), PROMPT, OUTPUT)
        said = verdict(engine, requests)
        assert said.is_saturated is grows
        assert said.sentence.startswith("saturated: TTFT grows" if grows else "steady: 7")
        means.append(float(simulate(engine, requests).ttft_s.mean()))
    assert (means[1] > 1.7 * means[0]) is grows


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_a_backlog_says_what_is_served(name: str) -> None:
    """Replicas, limits and recomputing are in it, whatever the arrivals were."""
    engine = DEPLOYMENTS[name]
    requests = requests_of(np.zeros(3), PROMPT, OUTPUT)
    bound = capacity_rps(engine, Lengths(prompt=PROMPT, output=OUTPUT))
    assert 0.85 * bound < sustained_rps(engine, requests) < 1.06 * bound


def test_answers_of_unequal_length_hold_more_and_are_preempted_more() -> None:
    """The verdict is not that of the mean request, at which a third more seems to be served."""
    engine = Engine(
        clock=LinearClock(kv_capacity_tokens=50_000, base_s=6e-3, sequence_s=6e-5, held_s=3e-8, prompt_s=3e-5)
    )
    output = np.maximum(1, np.random.default_rng(3).gamma(1.0, 1000.0, 3000)).astype(np.int64)
    requests = requests_of(np.arange(3000) / 100.0, 500, output)
    mean = Lengths(prompt=500.0, output=float(output.mean()))
    assert lengths_of(requests).held > 1.3 * mean.held
    assert sustained_rps(engine, requests) < 0.75 * capacity_rps(engine, mean)
    between = 0.85 * capacity_rps(engine, mean)
    slower = requests_of(np.arange(3000) / between, 500, output)
    assert verdict(engine, slower).is_saturated


def test_cached_prompts_leave_more_capacity() -> None:
    """What is not read again costs no prompt tokens, though it is held."""
    engine = DEPLOYMENTS["chunked"]
    whole, cached = (
        capacity_rps(engine, Lengths(prompt=PROMPT, output=OUTPUT, cached=cached)) for cached in (0, 400)
    )
    assert cached > 1.1 * whole


def test_answers_of_one_token_need_no_decode() -> None:
    """Then capacity is that of reading alone, together and apart."""
    for name in ("chunked", "disaggregated"):
        rate = capacity_rps(DEPLOYMENTS[name], Lengths(prompt=512, output=1))
        assert rate == pytest.approx(16 / CLOCK.step_s(0, 0, 8192, 16 * 512 * 511 / 2))
