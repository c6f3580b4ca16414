"""Split deployments on the frontier: as an engine simulates them, monotone, conserved, refused by pool."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entrepot.tokenomics.arrivals import requests_of
from entrepot.tokenomics.batching import Batching, Spread
from entrepot.tokenomics.engine import simulate
from entrepot.tokenomics.frontier import Grid, Loads, Times, points_of
from entrepot.tokenomics.load import RequestClass
from entrepot.tokenomics.price import Kind, Part
from entrepot.tokenomics.reading import reading_of
from entrepot.tokenomics.split_offer import FIRST_TOKEN, SIMULATED, SplitOffer
from tests.tokenomics.splits import (
    COEFFICIENTS,
    DEEPSEEK,
    DP8,
    DP16,
    LLAMA,
    TP2,
    TP4,
    TP8,
    deployed,
    split_offer,
)

R1 = split_offer((2, TP8), (1, DP16))
SMALL = split_offer((3, TP2), (2, TP4), LLAMA)
SIZES = (RequestClass(2048, 512), RequestClass(1000, 300, cached_tokens=7000), RequestClass(0, 64, 500))


def times(offer: SplitOffer, batch: float, uncached: float, cached: float, output: float) -> Times:
    """Return the times of one point."""
    return offer.times(Loads(*(np.array([float(size)]) for size in (batch, uncached, cached, output))))


def per_s(offer: SplitOffer, batch: float, uncached: float, output: float) -> float:
    """Return the requests per second of a closed loop."""
    found = times(offer, batch, uncached, 0.0, output)
    return float(batch / (found.ttft_s[0] + output * found.tpot_s[0]))


@pytest.mark.parametrize("at_once", [1, 4, 16, 64, 256, 1024])
@pytest.mark.parametrize(
    ("offer", "prompt", "output"),
    [
        (R1, 2048, 512),
        (split_offer((1, DP8), (1, DP16)), 2048, 512),
        (split_offer((1, TP2), (2, TP4), LLAMA), 1024, 256),
        (split_offer((3, TP2), (1, TP4), LLAMA), 8000, 300),
    ],
    ids=["reading in steps of four", "by groups", "bound by one reader", "one prompt a step"],
)
def test_the_closed_form_is_what_an_engine_does(
    offer: SplitOffer, prompt: int, output: int, at_once: int
) -> None:
    """Requests/s within 8 %, TPOT within 3 %, of ten times as many requests in lengths of ± a half."""
    rng, count = np.random.default_rng(1), max(400, 10 * at_once)
    lengths = (rng.integers(size // 2, size * 3 // 2, count) for size in (prompt, output))
    run = simulate(offer.engine(), requests_of(np.zeros(count), *lengths), concurrency=at_once)
    closed = times(offer, at_once, prompt, 0.0, output)
    assert closed.fits[0]
    rate = at_once / float(run.answer_s.mean())  # Little's law: a run's end, when it empties, is no part
    assert per_s(offer, at_once, prompt, output) == pytest.approx(rate, rel=0.08)
    assert closed.tpot_s[0] == pytest.approx(float(run.tpot_s.mean()), rel=0.03)


def test_a_lone_request_is_read_handed_over_and_answered() -> None:
    """By hand: KV of 61 layers × 576 values of 16 bits over 50 GB/s; a run begins with a burst besides."""
    found = times(R1, 1, 2048, 0.0, 512)
    read = R1.prefill.clock.step_s(0.0, 0.0, 2048, 2048 * 1024)
    assert R1.transfer_token_s == pytest.approx(61 * 576 * 2 / 50e9)
    assert R1.transfer_s == 0
    own, steps, burst, second = R1.known.first_token.waits
    all_at_once = reading_of(R1.prefill, np.array([2048.0]), np.zeros(1)).least_s[0] / 2
    waits = own * read + steps * found.tpot_s[0] + second
    assert found.ttft_s[0] == pytest.approx(waits + 2048 * R1.transfer_token_s, rel=1e-6)
    run = R1.run_times(Loads(*np.array([[1.0, 2048.0, 0.0, 512.0]]).T))
    assert run.ttft_s[0] == pytest.approx(found.ttft_s[0] + burst * all_at_once, rel=1e-6)
    assert found.tpot_s[0] == pytest.approx(R1.decode.clock.step_s(1, 2048 + 256), rel=1e-6)
    assert found.ttft_high_s[0] == pytest.approx(found.ttft_s[0] * FIRST_TOKEN.high)
    assert found.tpot_high_s[0] == pytest.approx(found.tpot_s[0] * R1.known.spread.high)


loads = {
    "batch": st.floats(1, 2000),
    "prompt": st.integers(16, 30_000),
    "output": st.integers(16, 4000),
}


@settings(deadline=None, max_examples=60)
@given(**loads, workers=st.integers(1, 6), more=st.integers(1, 6))
def test_more_workers_never_lower_throughput(
    batch: float, prompt: int, output: int, workers: int, more: int
) -> None:
    """Of either kind; nor is a rate above what the prefill workers can read."""
    few, many = (split_offer((count, TP8), (1, DP16)) for count in (workers, workers + more))
    rate = per_s(few, batch, prompt, output)
    assert per_s(many, batch, prompt, output) >= rate * (1 - 1e-9)
    also = split_offer((workers, TP8), (1 + more, DP16))
    assert per_s(also, batch, prompt, output) >= rate * (1 - 1e-9)
    most = reading_of(few.prefill, np.array([float(prompt)]), np.zeros(1)).most_per_s[0]
    assert rate <= most * (1 + 1e-9)


@settings(deadline=None, max_examples=60)
@given(**loads, more=st.floats(1.01, 8.0))
def test_more_requests_at_once_serve_more_and_none_faster(
    batch: float, prompt: int, output: int, more: float
) -> None:
    """Within what the cache holds."""
    few, many = (times(R1, count, prompt, 0.0, output) for count in (batch, batch * more))
    if few.fits[0] and many.fits[0]:
        assert per_s(R1, batch * more, prompt, output) >= per_s(R1, batch, prompt, output) * (1 - 1e-9)
        assert many.tpot_s[0] >= few.tpot_s[0] * (1 - 1e-9)
        assert many.ttft_s[0] >= few.ttft_s[0] * (1 - 1e-9)


@settings(deadline=None, max_examples=60)
@given(**loads, faster=st.floats(1.0, 4.0))
def test_more_bandwidth_is_never_slower(batch: float, prompt: int, output: int, faster: float) -> None:
    """Memory of either pool for the answer, the decode pool's for TPOT; the link between nodes for both."""
    plain = times(R1, batch, prompt, 0.0, output)
    answer_s = plain.ttft_s[0] + output * plain.tpot_s[0]
    for pool in ("prefill", "decode"):
        for field in ("bandwidth_bytes_per_s", "node_link_bytes_per_s"):
            workers = getattr(R1, pool)
            device = workers.deployment.hardware
            quick = msgspec.structs.replace(device, **{field: getattr(device, field) * faster})
            deployment = msgspec.structs.replace(workers.deployment, hardware=quick)
            offer = replace(R1, **{pool: replace(workers, deployment=deployment)})
            found = times(offer, batch, prompt, 0.0, output)
            assert found.ttft_s[0] + output * found.tpot_s[0] <= answer_s * (1 + 1e-9)
            if pool == "decode" and field == "bandwidth_bytes_per_s":
                assert found.tpot_s[0] <= plain.tpot_s[0] * (1 + 1e-9)


def paid(offers: tuple[SplitOffer, ...], demand: float | None, margin: float = 0.0) -> None:
    """Assert that every point's prices bring its cost and a margin, to 1e-9."""
    grid = Grid(offers, (1.0, 7.0, 60.0, 700.0, 5000.0), SIZES, (1, 3))
    points = points_of(grid, demand_per_s=demand, margin=margin)
    sizes = np.array([(r.uncached_tokens, r.cached_tokens, r.output_tokens) for r in SIZES])[points.request]
    earned = np.nansum(points.usd_per_mtok * sizes, axis=1) * points.sold_per_s / 1e6
    assert earned == pytest.approx(points.usd_per_hour / 3600 * (1 + margin), rel=1e-9)
    assert points.shares.sum(axis=1) == pytest.approx(1.0, rel=1e-9)
    assert (points.shares >= -1e-9).all()


@settings(deadline=None, max_examples=40)
@given(st.floats(0, 4), st.one_of(st.none(), st.floats(0.001, 5)))
def test_every_point_pays_for_both_pools(margin: float, demand: float | None) -> None:
    """Σ price × tokens = cost + margin to 1e-9: with idle time of either, cached and empty prompts."""
    paid((R1, SMALL), demand, margin)


def test_pools_of_equal_hardware_and_price_are_one_bill() -> None:
    """Conserved; their GPUs, and what an hour of them costs, are those of both."""
    equal = split_offer((1, TP8), (1, TP8))
    assert equal.gpus == 16
    assert equal.usd_per_hour == pytest.approx(2 * equal.prefill.usd_per_hour)
    assert equal.usd_per_hour_by_tier["rental"] == pytest.approx(equal.usd_per_hour)
    for demand in (None, 0.2):
        paid((equal,), demand)


def test_what_the_prefill_pool_idles_is_no_concern_of_output() -> None:
    """Eight workers where one would do: input is dearer by that, and output costs the same."""
    grid = Grid((split_offer((1, TP8), (1, DP16)), split_offer((8, TP8), (1, DP16))), (64.0,), SIZES[:1])
    points = points_of(grid, demand_per_s=2.0)
    one, eight = points.usd_per_mtok
    assert eight[Kind.INPUT] == pytest.approx(8 * one[Kind.INPUT], rel=0.02)
    assert eight[Kind.OUTPUT] == pytest.approx(one[Kind.OUTPUT], rel=0.02)
    assert points.shares[1, Part.IDLE] > points.shares[0, Part.IDLE]


def test_cached_tokens_save_reading_and_are_held() -> None:
    """They wait in the decode workers' cache as others do, and travel there."""
    read, held, bare = (times(R1, 16, *size, 512) for size in ((8192, 0), (1024, 7168), (1024, 0)))
    assert bare.ttft_s[0] < held.ttft_s[0] < read.ttft_s[0]
    assert bare.tpot_s[0] < held.tpot_s[0]


def test_a_batch_beyond_the_decode_pools_cache_does_not_fit() -> None:
    """Nor a request that no worker holds; requests that wait to be read need no room."""
    tight = split_offer((1, TP8), (1, TP8))
    assert times(tight, 64, 4096, 0, 1024).fits[0]
    assert not times(tight, 1024, 4096, 0, 1024).fits[0]
    assert not times(tight, 1, 2_000_000, 0, 64).fits[0]
    slow = split_offer((1, TP8), (1, DP16))
    assert times(slow, 5000, 20_000, 0, 64).fits[0]


def test_a_refusal_names_the_pool_that_does_not_fit_and_its_nearest() -> None:
    """Each pool has layouts of its own."""
    assert R1.refusal is None
    refused = split_offer((1, TP2), (1, TP8)).refusal
    assert refused is not None
    assert refused.startswith("prefill workers: ")
    assert "decode workers" not in refused
    assert "nearest that fits" in refused
    both = split_offer((1, TP2), (1, TP4)).refusal
    assert both is not None
    assert "; decode workers: " in both


def test_the_name_says_workers_layouts_and_what_differs() -> None:
    """As tables show it."""
    assert R1.name == "h200 2×tp8 → 1×dp16 ep16 fp8"
    assert split_offer((1, {}), (2, TP2), LLAMA).name == "h200 1×tp1 → 2×tp2 fp8"
    hidden = msgspec.structs.replace(deployed(**DP16), hides_exchange=True)
    mixed = SplitOffer.of((1, deployed(gpu="h100", tp=16)), (1, hidden), COEFFICIENTS, tier="rental")
    assert mixed.name == "h100 1×tp16 fp8 → h200 1×dp16 ep16 fp8, exchange hidden (assumed)"


def test_two_models_cannot_share_a_replica() -> None:
    """A cache of one means nothing to the other."""
    with pytest.raises(ValueError, match="cannot hand over to"):
        SplitOffer.of((1, deployed(DEEPSEEK, tp=8)), (1, deployed(LLAMA, tp=8)), COEFFICIENTS, tier="rental")


def test_its_engine_has_both_pools_and_the_way_between_them() -> None:
    """A reader per attention group, the decode pool's own limits, as many replicas as asked for."""
    offer = split_offer((2, DP8), (3, TP8))
    engine = offer.engine(replicas=2)
    assert engine.prefill is not None
    assert (engine.prefill.replicas, engine.replicas) == (2 * 8 * 2, 3 * 2)
    assert engine.spread is Spread.LEAST_LOADED
    assert engine.prefill.transfer_token_s == offer.transfer_token_s
    assert engine.prefill.clock.step_s(0, 0, 1024, 1024 * 512) == pytest.approx(
        offer.prefill.clock.step_s(0, 0, 8192, 8192 * 512)
    )
    few = Batching(max_sequences=3)
    assert offer.engine(batching=few).batching is few


def test_users_see_its_runs_with_the_waits_of_its_engine_and_carefully_at_the_upper_ends() -> None:
    """As those of a whole deployment, with errors of its own."""
    sent = requests_of(np.zeros(4), 1000, 50)
    plain, careful = (R1.service(is_cautious=cautious) for cautious in (False, True))
    seen, late = (one.seen(simulate(one.engine, sent)) for one in (plain, careful))
    assert late.ttft_s == pytest.approx(seen.ttft_s * SIMULATED.high)
    assert late.tpot_s == pytest.approx(seen.tpot_s * R1.known.spread.high)
