"""The largest load that keeps an SLO, by running the engine."""

from __future__ import annotations

import re

import numpy as np
import pytest

from entrepot.tokenomics.arrivals import Requests, poisson_arrivals_s
from entrepot.tokenomics.batching import Engine, Spread
from entrepot.tokenomics.load import Mix, Overloaded, RequestClass
from entrepot.tokenomics.results import Limits
from entrepot.tokenomics.slo_capacity import (
    TRIALS,
    Service,
    SloCapacity,
    Workload,
    drawn_workload,
    replicas_for,
    slo_capacity,
    trace_workload,
    tried,
)
from tests.tokenomics.clocks import LinearClock

MIX = Mix([RequestClass(1000, 200, share=0.8), RequestClass(3000, 400, 1000, share=0.2)])
WORK = drawn_workload(MIX, np.random.default_rng(1))
NOTHING = Limits()


def service(replicas: int = 1) -> Service:
    """Return replicas whose runs are seen as they are."""
    engine = Engine(clock=LinearClock(), replicas=replicas, spread=Spread.LEAST_LOADED)
    return Service(engine, lambda run: run)


def found(limits: Limits, *, share: float = 0.9, work: Workload = WORK) -> SloCapacity:
    """Return the capacity of one replica, which there is."""
    capacity = slo_capacity(service(), work, limits, share=share)
    assert isinstance(capacity, SloCapacity)
    return capacity


@pytest.mark.parametrize("limits", [Limits(ttft_s=0.2), Limits(tpot_s=0.016), Limits(answer_s=7.0)])
def test_the_slo_is_kept_at_its_capacity_and_missed_above(limits: Limits) -> None:
    """Nine in ten keep it there; two hundredths of the full capacity further on they do not."""
    capacity = found(limits)
    assert capacity.trial.met_share >= 0.9
    assert capacity.rate_per_s < capacity.full_per_s
    above = tried(service(), WORK, capacity.rate_per_s + 0.02 * capacity.full_per_s, limits)
    assert above.met_share < 0.9
    assert capacity.trial.goodput_per_s == pytest.approx(capacity.rate_per_s * capacity.trial.met_share)


def test_a_tighter_limit_or_a_larger_share_is_a_smaller_load() -> None:
    """Promises cost capacity."""
    loose = found(Limits(ttft_s=0.5, tpot_s=0.02))
    assert found(Limits(ttft_s=0.5, tpot_s=0.014)).rate_per_s < loose.rate_per_s
    assert found(Limits(ttft_s=0.5, tpot_s=0.02), share=0.99).rate_per_s < loose.rate_per_s


def test_without_limits_the_capacity_is_short_of_saturation() -> None:
    """A load that grows a queue is nobody's promise."""
    capacity = found(NOTHING)
    assert not capacity.trial.saturation.is_saturated
    assert capacity.rate_per_s > 0.95 * capacity.full_per_s


def test_an_slo_below_the_floor_is_refused_with_what_a_lone_request_gets() -> None:
    """The floor of the limit that was asked for, and of no other."""
    refused = slo_capacity(service(), WORK, Limits(ttft_s=0.001))
    assert isinstance(refused, Overloaded)
    assert "where requests hardly meet" in refused.reason
    assert re.search(r"TTFT of 0\.1\d+ s \(asked: 0\.001\)", refused.reason)
    assert "answer time" not in refused.reason


def test_the_same_requests_are_the_same_answer_and_runs_are_counted() -> None:
    """Nothing is drawn in the search, which ends after so many runs."""
    done: list[int] = []
    first = slo_capacity(service(), WORK, Limits(ttft_s=0.2), advance=lambda: done.append(1))
    assert isinstance(first, SloCapacity)
    assert len(done) == TRIALS
    assert found(Limits(ttft_s=0.2)).rate_per_s == first.rate_per_s


def test_bursts_lower_what_can_be_promised() -> None:
    """The same mean load, three times as uneven."""
    bursts = drawn_workload(MIX, np.random.default_rng(1), cv=3.0)
    limits = Limits(ttft_s=0.6)
    assert found(limits, work=bursts).rate_per_s < found(limits).rate_per_s


def test_a_trace_keeps_its_lengths_and_its_bursts_at_every_rate() -> None:
    """Only the time between its requests is stretched."""
    rng = np.random.default_rng(2)
    sent = Requests(
        poisson_arrivals_s(3.0, 500, rng),
        rng.integers(10, 900, 500),
        rng.integers(1, 300, 500),
        np.zeros(500, dtype=np.int64),
    )
    work = trace_workload(sent)
    faster = work.sent(6.0, 10)
    assert len(faster) == 500
    assert faster.rate == pytest.approx(6.0)
    assert faster.arrival_s == pytest.approx(sent.arrival_s * sent.rate / 6.0)
    assert (faster.prompt_tokens == sent.prompt_tokens).all()
    assert found(Limits(ttft_s=0.3), work=work).trial.met_share >= 0.9


def test_replicas_behind_one_queue_share_their_bursts() -> None:
    """A demand gets its SLO of no more replicas than each alone would need, nor of fewer than serve it."""
    limits = Limits(ttft_s=0.2)
    one = found(limits)
    demand = 6.5 * one.rate_per_s
    sized = replicas_for(demand, one, service, WORK, limits)
    assert sized.trial is not None
    assert sized.trial.met_share >= 0.9
    assert demand / one.full_per_s <= sized.replicas <= 7


def test_a_fleet_that_is_too_large_to_simulate_is_filled_as_single_replicas() -> None:
    """It says so by having no trial."""
    one = found(NOTHING)
    sized = replicas_for(1000 * one.rate_per_s, one, service, WORK, NOTHING)
    assert sized.trial is None
    assert sized.replicas == 1000


def test_a_share_of_nobody_is_refused() -> None:
    """It would promise nothing."""
    with pytest.raises(ValueError, match="above 0"):
        slo_capacity(service(), WORK, NOTHING, share=0.0)
