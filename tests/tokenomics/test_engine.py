"""The engine: what goes in comes out once, jumps equal steps, queues grow as theory says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entrepot.tokenomics.arrivals import (
    Requests,
    even_arrivals_s,
    gamma_arrivals_s,
    poisson_arrivals_s,
    requests_of,
    stretched_s,
)
from entrepot.tokenomics.batching import Batching, Engine, PrefillPool, Spread
from entrepot.tokenomics.engine import simulate
from entrepot.tokenomics.linear_clock import LinearClock
from entrepot.tokenomics.results import Limits, Run, distribution


def clock(kv_tokens: int = 1_000_000, **terms: float) -> LinearClock:
    """Return a clock of a small model; `terms` replace its coefficients."""
    usual = {"base_s": 6e-3, "sequence_s": 3e-5, "held_s": 1e-7, "prompt_s": 3e-5, "pair_s": 1e-9}
    return LinearClock(kv_capacity_tokens=kv_tokens, **(usual | terms))


@st.composite
def workloads(draw: st.DrawFn) -> Requests:
    """Requests in bursts, short and long, some of which do not fit."""
    count = draw(st.integers(1, 25))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    arrivals = gamma_arrivals_s(draw(st.sampled_from([0.5, 10.0, 1e4])), count, 1.5, rng)
    return requests_of(
        arrivals,
        rng.integers(1, 300, count),
        rng.integers(1, 120, count),
        cached_share=draw(st.sampled_from([0.0, 0.5, 1.0])),
    )


@st.composite
def engines(draw: st.DrawFn) -> Engine:
    """Deployments of every kind, with KV caches so small that sequences are preempted."""
    batching = Batching(
        max_sequences=draw(st.sampled_from([1, 4, 64])),
        max_batched_tokens=draw(st.sampled_from([64, 100, 2048])),
        prefill_first=draw(st.booleans()),
        reserved_output=draw(st.sampled_from([0.0, 0.5, 1.0])),
        steps_ahead=draw(st.sampled_from([0, 1, 2])),
    )
    small = clock(draw(st.sampled_from([410, 1000, 100_000])))
    prefill = PrefillPool(clock=clock(1000), replicas=draw(st.integers(1, 2)), transfer_s=0.01)
    return Engine(
        clock=small,
        batching=batching,
        replicas=draw(st.integers(1, 3)),
        spread=draw(st.sampled_from(Spread)),
        prefill=prefill if draw(st.booleans()) else None,
        request_s=draw(st.sampled_from([0.0, 0.02])),
    )


def tokens_of(run: Run) -> int:
    """Return the tokens of the prompts and of their answers."""
    return int((run.requests.prompt_tokens + run.requests.output_tokens).sum())


@settings(max_examples=150, deadline=None)
@given(workloads(), engines(), st.sampled_from([None, 1, 7]))
def test_every_request_is_answered_once_or_refused(
    requests: Requests, engine: Engine, concurrency: int | None
) -> None:
    """Nothing is lost in preemption, hand-over or a full cache, and time only goes forward."""
    run = simulate(engine, requests, concurrency=concurrency)

    fits = requests.prompt_tokens + requests.output_tokens <= engine.clock.kv_capacity_tokens
    if engine.prefill is not None:
        fits &= requests.prompt_tokens <= engine.prefill.clock.kv_capacity_tokens
    assert (~np.isnan(run.finished_s) == fits).all()
    served = run.served
    assert (run.first_s[served] > run.arrival_s[served]).all()
    assert (run.finished_s[served] >= run.first_s[served]).all()
    assert 0.0 <= run.kv_peak_share <= 1.0
    assert run.busy_s <= run.replicas * run.duration_s * (1 + 1e-9)


@settings(max_examples=100, deadline=None)
@given(workloads(), engines())
def test_prompt_tokens_are_conserved(requests: Requests, engine: Engine) -> None:
    """What is read and what is found cached are the prompts, and more only if sequences were recomputed."""
    run = simulate(engine, requests)

    passed = run.read_tokens + run.cached_tokens
    prompts = int(requests.prompt_tokens[run.served].sum())
    assert passed == prompts if not run.preemptions else passed > prompts


@settings(max_examples=150, deadline=None)
@given(workloads(), engines())
def test_a_jump_over_equal_steps_is_the_sum_of_the_steps(requests: Requests, engine: Engine) -> None:
    """The engine is fast because it does not walk; it must not be another engine."""
    jumped = simulate(engine, requests)
    walked = simulate(engine, requests, single_steps=True)

    assert jumped.steps == walked.steps
    assert jumped.preemptions == walked.preemptions
    np.testing.assert_allclose(jumped.first_s, walked.first_s, rtol=1e-9)
    np.testing.assert_allclose(jumped.finished_s, walked.finished_s, rtol=1e-9)


def test_a_clock_that_is_not_straight_is_jumped_in_shorter_runs() -> None:
    """A floor bends the step time; what the jumps lose of it is less than anybody could measure."""
    bent = Engine(clock=clock(held_s=2e-6, floor_s=9e-3))
    requests = requests_of(poisson_arrivals_s(3.0, 60, np.random.default_rng(2)), 200, 400)
    jumped, walked = (simulate(bent, requests, single_steps=single) for single in (False, True))

    np.testing.assert_allclose(jumped.answer_s, walked.answer_s, rtol=2e-3)


def test_one_request_alone_takes_what_the_clock_says() -> None:
    """A prompt of 100 and 11 tokens: one step of prefill and ten of decode, by hand."""
    plain = clock()
    run = simulate(Engine(clock=plain), requests_of(np.array([2.0]), 100, 11))

    first_s = plain.step_s(0, 0, 100, 100 * 99 / 2)
    decode_s = sum(plain.step_s(1, 100 + step) for step in range(10))
    assert run.ttft_s[0] == pytest.approx(first_s)
    assert run.answer_s[0] == pytest.approx(first_s + decode_s)
    assert run.tpot_s[0] == pytest.approx(decode_s / 10)


def test_a_queue_of_prompts_waits_as_in_an_m_d_1_system() -> None:
    """One prompt per step and no decode is a server of constant time: the wait is known."""
    service_s, load = 0.01, 0.7
    one = Engine(clock=clock(base_s=service_s, prompt_s=0.0, pair_s=0.0), batching=Batching(max_sequences=1))
    rng = np.random.default_rng(11)
    run = simulate(one, requests_of(poisson_arrivals_s(load / service_s, 60_000, rng), 10, 1))

    waiting_s = load * service_s / (2 * (1 - load))
    assert run.ttft_s.mean() == pytest.approx(waiting_s + service_s, rel=0.04)
    assert run.utilisation == pytest.approx(load, rel=0.02)


def test_chunked_prefill_spares_those_who_decode() -> None:
    """A long prompt that is read first stops everyone; in chunks it only slows them."""
    arrivals, prompts = np.array([0.0, 0.1]), np.array([10, 60_000])
    runs = [
        simulate(
            Engine(clock=clock(), batching=Batching(max_batched_tokens=2048, prefill_first=first)),
            requests_of(arrivals, prompts, np.array([200, 2])),
        )
        for first in (False, True)
    ]
    assert runs[0].tpot_s[0] < runs[1].tpot_s[0]
    assert runs[0].ttft_s[1] > runs[1].ttft_s[1]


def test_a_full_cache_preempts_the_latest_and_room_reserved_does_not() -> None:
    """Both answer everyone; recomputing costs prompt tokens, reserving costs waiting."""
    requests = requests_of(np.zeros(20), 100, 100)
    preempting, reserving = (
        simulate(Engine(clock=clock(1500), batching=Batching(reserved_output=share)), requests)
        for share in (0.0, 1.0)
    )
    assert preempting.preemptions > 0
    assert reserving.preemptions == 0
    assert preempting.kv_peak_share <= 1.0
    assert distribution(preempting.ttft_s).p50 < distribution(reserving.ttft_s).p50


def test_blocks_that_were_read_before_are_not_read_again() -> None:
    """The second prompt shares two blocks of 512; a cache of one block keeps the first of them."""
    arrivals = np.array([0.0, 10.0])
    requests = requests_of(arrivals, 1600, 5, prefix_blocks=((1, 2, 3), (1, 2, 4)))
    runs = [simulate(Engine(clock=clock(), prefix_cache_tokens=tokens), requests) for tokens in (10_000, 512)]
    assert [run.cached_tokens for run in runs] == [1024, 512]
    assert runs[0].ttft_s[1] < runs[0].ttft_s[0]


def test_decode_workers_do_not_feel_prompts() -> None:
    """The point of disaggregation: TPOT is that of the decode batch, TTFT of the readers."""
    rng = np.random.default_rng(3)
    requests = requests_of(poisson_arrivals_s(8.0, 400, rng), 2000, 100)
    together = simulate(Engine(clock=clock(), replicas=2), requests)
    pool = PrefillPool(clock=clock(), transfer_s=0.005)
    apart = simulate(Engine(clock=clock(), prefill=pool), requests)

    assert distribution(apart.tpot_s).p90 < distribution(together.tpot_s).p90
    assert len(apart.served) == 400


def test_the_second_token_waits_for_the_transfer() -> None:
    """The first is sent by the prefill worker; the cache must arrive before the next step."""
    pool = PrefillPool(clock=clock(), transfer_s=0.5, transfer_token_s=0.001)
    run = simulate(Engine(clock=clock(), prefill=pool), requests_of(np.array([0.0]), 100, 2))

    assert run.finished_s[0] - run.first_s[0] == pytest.approx(0.6 + clock().step_s(1, 100))


def test_least_loaded_is_no_worse_than_turns_when_lengths_differ() -> None:
    """With one long answer in two, turns would send every long one to the same replica."""
    outputs = np.where(np.arange(200) % 2, 400, 4)
    requests = requests_of(even_arrivals_s(20.0, 200), 50, outputs)
    turns, least = (
        simulate(Engine(clock=clock(), replicas=2, spread=spread), requests)
        for spread in (Spread.ROUND_ROBIN, Spread.LEAST_LOADED)
    )
    assert distribution(least.tpot_s).p90 < distribution(turns.tpot_s).p90


def test_a_closed_loop_keeps_so_many_in_flight() -> None:
    """By Little's law the rate times the answer time is the concurrency."""
    requests = requests_of(np.zeros(800), 100, 50)
    run = simulate(Engine(clock=clock()), requests, concurrency=16)

    rate = len(run.served) / run.duration_s
    assert rate * run.answer_s.mean() == pytest.approx(16, rel=0.03)
    assert run.arrival_s.max() < run.duration_s


def test_goodput_counts_the_refused() -> None:
    """A request that can never fit is a failure of its SLO, not one fewer request."""
    requests = requests_of(np.array([0.0, 1.0, 2.0, 3.0]), np.array([10, 10, 10, 5000]), 10)
    run = simulate(Engine(clock=clock(1000)), requests)

    assert run.met_share(Limits(ttft_s=1.0, tpot_s=1.0, answer_s=5.0)) == 0.75
    assert run.met_share(Limits(tpot_s=1e-4)) == 0.0
    assert run.goodput(Limits()) == pytest.approx(3 / run.duration_s)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: requests_of(np.array([1.0, 0.0]), 10, 10), "in order"),
        (lambda: requests_of(np.array([0.0]), 10, 0), "needs a token"),
        (lambda: requests_of(np.array([]), 10, 10), "no request"),
        (lambda: requests_of(np.array([0.0]), 10, 10, cached_share=1.5), "cached_share"),
        (lambda: Batching(max_sequences=512, max_batched_tokens=256), "overfill"),
        (lambda: Batching(reserved_output=2.0), "reserved_output"),
        (lambda: Engine(clock=clock(), replicas=0), "at least one replica"),
        (lambda: gamma_arrivals_s(0.0, 10, 1.0, np.random.default_rng(1)), "above 0"),
    ],
)
def test_what_no_engine_could_run_is_refused(make: object, words: str) -> None:
    """The message names the value and the way out."""
    assert callable(make)
    with pytest.raises(ValueError, match=words):
        make()


def test_arrivals_have_the_rate_and_the_bursts_asked_for() -> None:
    """The mean distance is 1/rate at any cv, its spread is cv; stretched ones end on time."""
    for cv in (0.5, 1.0, 3.0):
        gaps = np.diff(gamma_arrivals_s(20.0, 100_000, cv, np.random.default_rng(5)))
        assert gaps.mean() == pytest.approx(0.05, rel=0.03)
        assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.05)
    assert stretched_s(poisson_arrivals_s(5.0, 100, np.random.default_rng(1)), 20.0)[-1] == 20.0
