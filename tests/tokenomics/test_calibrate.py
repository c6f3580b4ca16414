"""Calibration from records: an engine's own records give back its clock, and say how far to trust it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from entrepot.tokenomics.arrivals import poisson_arrivals_s, requests_of
from entrepot.tokenomics.batching import Batching, Engine
from entrepot.tokenomics.calibrate import ScaledClock, calibrate
from entrepot.tokenomics.engine import simulate
from entrepot.tokenomics.linear_clock import LinearClock
from entrepot.tokenomics.records import Records, work_of

CLOCK = LinearClock(kv_capacity_tokens=400_000, base_s=8e-3, sequence_s=5e-5, held_s=4e-8, prompt_s=3e-5)


def records_at(rate: float, *, count: int = 600, seed: int = 3, max_sequences: int = 256) -> Records:
    """Return the records of an engine at this rate, with lengths of all sizes."""
    rng = np.random.default_rng(seed)
    requests = requests_of(
        poisson_arrivals_s(rate, count, rng), rng.integers(50, 3000, count), rng.integers(20, 500, count)
    )
    engine = Engine(clock=CLOCK, batching=Batching(max_sequences=max_sequences), request_s=0.02)
    run = simulate(engine, requests)
    return Records(
        start_s=run.arrival_s,
        prompt_tokens=requests.prompt_tokens,
        output_tokens=requests.output_tokens,
        ttft_s=run.ttft_s,
        duration_s=run.answer_s,
    )


def test_an_engine_s_records_give_its_clock_back() -> None:
    """Terms that the load moves are found; TPOT in a batch that was seen is within 5 %."""
    fitted = calibrate(records_at(6.0))

    assert isinstance(fitted.clock, LinearClock)
    assert fitted.clock.base_s == pytest.approx(CLOCK.base_s, rel=0.1)
    assert fitted.clock.prompt_s == pytest.approx(CLOCK.prompt_s, rel=0.15)
    for batch in (5.0, 15.0):
        truth = CLOCK.step_s(batch, batch * 1500)
        said = fitted.tpot(batch=batch, context_tokens=1500)
        assert said.expected == pytest.approx(truth, rel=0.05)
        assert said.low <= truth <= said.high


def test_intervals_widen_outside_the_loads_seen() -> None:
    """Ten times the batch that was seen is a guess and looks like one."""
    fitted = calibrate(records_at(4.0))
    most = fitted.batches[1]
    inside, outside = (fitted.tpot(batch=batch, context_tokens=1500) for batch in (most / 2, most * 10))

    assert (outside.high - outside.low) / outside.expected > 2 * (inside.high - inside.low) / inside.expected
    assert outside.low <= CLOCK.step_s(most * 10, most * 15_000) <= outside.high


@pytest.mark.parametrize(("rate", "reached"), [(2.0, False), (60.0, True)])
def test_records_say_whether_they_reach_saturation(rate: float, reached: bool) -> None:
    """What is served at most is a capacity only if more was asked for."""
    reach = calibrate(records_at(rate, max_sequences=32)).reach

    assert reach.is_reached is reached
    assert ("do not reach" in reach.sentence) is not reached


def test_a_shape_leaves_only_its_scales_to_find() -> None:
    """A model of the step time that is 20 % slow everywhere is set right by few records."""
    slow = LinearClock(
        kv_capacity_tokens=400_000, base_s=9.6e-3, sequence_s=6e-5, held_s=4.8e-8, prompt_s=3.6e-5
    )
    fitted = calibrate(records_at(5.0, count=60), shape=slow)

    assert isinstance(fitted.clock, ScaledClock)
    assert fitted.clock.kv_capacity_tokens == 400_000
    for batch in (1.0, 10.0):
        assert fitted.clock.step_s(batch, batch * 1500) == pytest.approx(
            CLOCK.step_s(batch, batch * 1500), rel=0.1
        )
    assert fitted.clock.step_s(4, 6000, 512, 130_000) == pytest.approx(
        CLOCK.step_s(4, 6000, 512, 130_000), rel=0.15
    )


def test_a_few_stalls_do_not_move_the_clock() -> None:
    """A network that hangs for seconds is not a slower host."""
    records = records_at(5.0)
    stalled = records.duration_s.copy()
    stalled[::25] += 5.0
    fitted = calibrate(replace(records, duration_s=stalled))

    assert fitted.tpot(batch=10, context_tokens=1500).expected == pytest.approx(
        CLOCK.step_s(10, 15_000), rel=0.15
    )


def test_requests_of_others_count_when_somebody_counted_them() -> None:
    """A half of a host's records with all requests in flight show the load of all."""
    records = records_at(6.0)
    whole = work_of(records)
    own = np.array([np.sum((records.start_s <= at) & (records.end_s > at)) for at in records.start_s])
    half = Records(
        start_s=records.start_s[::2],
        prompt_tokens=records.prompt_tokens[::2],
        output_tokens=records.output_tokens[::2],
        ttft_s=records.ttft_s[::2],
        duration_s=records.duration_s[::2],
        in_flight=own[::2].astype(np.float64),
    )
    assert work_of(half).batch.mean() == pytest.approx(whole.batch[::2].mean(), rel=0.15)


def test_what_cannot_be_records_is_refused() -> None:
    """The message says which record is wrong and what to do."""
    records = records_at(5.0)
    with pytest.raises(ValueError, match="leave failed requests out"):
        replace(records, duration_s=records.ttft_s / 2)
    with pytest.raises(ValueError, match="one length"):
        replace(records, ttft_s=records.ttft_s[1:])
    with pytest.raises(ValueError, match="too few"):
        Records(
            **{
                name: getattr(records, name)[:3]
                for name in ("start_s", "prompt_tokens", "output_tokens", "ttft_s", "duration_s")
            }
        )
