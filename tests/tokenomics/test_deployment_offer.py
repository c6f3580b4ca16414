"""Real deployments on the frontier: monotone, conserved, refused where they do not fit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from entrepot.catalog.architectures import find_architecture
from entrepot.catalog.hardware import find_hardware
from entrepot.catalog.step_times import load_step_times
from entrepot.tokenomics.batching import Batching
from entrepot.tokenomics.closed_loop import closed_loop
from entrepot.tokenomics.deployment import Deployment
from entrepot.tokenomics.deployment_offer import DeploymentOffer
from entrepot.tokenomics.frontier import Grid, Loads, points_of
from entrepot.tokenomics.load import Mix, RequestClass
from entrepot.tokenomics.price import USUAL_TIERS, Kind, PriceList

COEFFICIENTS = load_step_times()
BATCHES = tuple(float(2**power) for power in range(9))


def offer(model: str = "deepseek-ai/DeepSeek-R1", gpu: str = "h200", **sizes: int) -> DeploymentOffer:
    """Return the offer of a deployment that is rented."""
    deployment = Deployment(
        architecture=find_architecture(model).architecture, hardware=find_hardware(gpu), **sizes
    )
    return DeploymentOffer.of(deployment, COEFFICIENTS, tier="rental")


R1 = offer(tp=8, ep=8)


def test_a_point_is_paid_for_and_its_parts_are_positive() -> None:
    """Conserved on a real model, from one request at once to a full cache; input is never free."""
    grid = Grid((R1,), BATCHES, (RequestClass(1024, 512), RequestClass(4096, 512, cached_tokens=8192)))
    points = points_of(grid)
    assert points.shares.sum(axis=1) == pytest.approx(1.0, rel=1e-9)
    assert (points.shares[:, :4] >= 0).all()
    prices = points.usd_per_mtok
    fits = prices[points.fits]
    assert (fits[:, Kind.OUTPUT] > fits[:, Kind.INPUT]).all()
    cached = points.request == 1
    assert (prices[cached, Kind.CACHED] < prices[cached, Kind.INPUT]).all()
    alone, eight = (prices[(points.batch == batch) & ~cached, Kind.INPUT][0] for batch in (1.0, 8.0))
    assert alone == pytest.approx(eight, rel=0.5)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 200), st.integers(2, 4), st.integers(64, 20_000), st.integers(128, 2000))
def test_a_larger_batch_serves_more_and_slower(batch: int, more: int, prompt: int, output: int) -> None:
    """Throughput never falls below the limit of the cache, TPOT never gets better.

    Answers below a hundred tokens to prompts of 16,000 are left out: reading is all there is then, and the
    closed form's TTFT grows by up to 2 % more than it should.
    """
    sizes = [np.full(2, float(size)) for size in (prompt, 0, output)]
    loads = Loads(np.array([batch, batch * more], dtype=float), *sizes)
    times = R1.times(loads)
    if not times.fits.all():
        return
    rates = loads.batch / (times.ttft_s + output * times.tpot_s)
    assert rates[1] >= rates[0] * (1 - 1e-3)
    assert times.tpot_s[1] >= times.tpot_s[0] * (1 - 1e-9)


@settings(deadline=None, max_examples=30)
@given(st.floats(1, 64), st.integers(64, 20_000), st.integers(0, 20_000))
def test_more_bandwidth_is_never_slower_and_more_context_never_faster(
    batch: float, prompt: int, more: int
) -> None:
    """Laws that no coefficient may break."""
    faster = replace(R1.deployment.hardware, bandwidth_bytes_per_s=9e12)
    quick = DeploymentOffer(replace(R1.deployment, hardware=faster), R1.known, R1.usd_per_gpu_hour)

    def loads(asked: float, cached: float) -> Loads:
        return Loads(*(np.array([size]) for size in (batch, asked, cached, 512.0)))

    plain = R1.times(loads(prompt, 0.0))
    assert quick.times(loads(prompt, 0.0)).tpot_s[0] <= plain.tpot_s[0]
    for longer in (loads(prompt + more, 0.0), loads(prompt, more)):
        assert R1.times(longer).ttft_s[0] >= plain.ttft_s[0] * (1 - 1e-9)
    assert R1.times(loads(prompt, more)).tpot_s[0] >= plain.tpot_s[0]


def test_cached_tokens_save_time_against_reading_them() -> None:
    """The point of a prefix cache; and they are not free."""
    read = R1.times(Loads(*(np.array([size]) for size in (16.0, 8192.0, 0.0, 512.0))))
    held = R1.times(Loads(*(np.array([size]) for size in (16.0, 1024.0, 7168.0, 512.0))))
    bare = R1.times(Loads(*(np.array([size]) for size in (16.0, 1024.0, 0.0, 512.0))))
    assert bare.ttft_s[0] < held.ttft_s[0] < read.ttft_s[0]


def test_what_does_not_fit_says_so_with_the_nearest() -> None:
    """671 GB of weights on eight H800."""
    refused = offer(gpu="h800", tp=8).refusal
    assert refused is not None
    assert "nearest that fits" in refused
    assert R1.refusal is None


def test_a_batch_beyond_the_cache_does_not_fit() -> None:
    """Nor a request that is longer than all of it."""
    size = R1.deployment.kv_capacity_tokens
    loads = Loads(
        np.array([1.0, size / 1000, 1.0]), np.array([512.0, 2048, size]), np.zeros(3), np.full(3, 64.0)
    )
    assert list(R1.times(loads).fits) == [True, False, False]


def test_a_replica_of_it_has_prices_at_a_load() -> None:
    """The same coefficients as a clock; by tier, conserved."""
    mix = Mix([RequestClass(1024, 512, share=0.9), RequestClass(40_000, 512, 2000, share=0.1)], USUAL_TIERS)
    replica = R1.replica()
    prices = replica.price(mix, replica.capacity_per_s(mix) / 2)
    assert isinstance(prices, PriceList)
    assert prices.revenue_usd == pytest.approx(R1.usd_per_hour / 3600, rel=1e-9)


def test_the_name_says_hardware_layout_and_precision() -> None:
    """As tables show it."""
    assert R1.name == "h200 tp8 ep8 fp8"
    assert offer(tp=1, dp=8, ep=8).name == "h200 tp1 dp8 ep8 fp8"
    hidden = offer(tp=1, dp=8, ep=8, hides_exchange=True)
    assert hidden.name == "h200 tp1 dp8 ep8 fp8, exchange hidden (assumed)"
    assert offer(tp=8, hides_exchange=True).name == "h200 tp8 fp8"


def test_its_engine_is_as_many_replicas_with_its_clock() -> None:
    """With the limits of a scheduler that were given, else the usual."""
    engine = R1.engine(replicas=3)
    assert (engine.replicas, engine.batching, engine.prefill) == (3, Batching(), None)
    assert engine.clock == R1.replica().clock
    few = Batching(max_sequences=4)
    assert R1.engine(batching=few).batching is few


@pytest.mark.parametrize("at_once", [1, 8, 32])
@pytest.mark.parametrize(
    "model", ["meta-llama/Llama-3.1-70B", "openai/gpt-oss-120b", "deepseek-ai/DeepSeek-R1"]
)
def test_the_point_of_a_frontier_is_what_its_engine_shows(model: str, at_once: int) -> None:
    """Long after the loop began: throughput within a tenth, TTFT within two fifths of the run."""
    made = offer(model, tp=8)
    found = made.times(Loads(*np.array([[at_once, 1024.0, 0.0, 512.0]]).T))
    run = closed_loop(made.service(), RequestClass(1024, 512), at_once)
    rate = at_once / (found.ttft_s[0] + 512 * found.tpot_s[0])
    assert run.requests_per_s == pytest.approx(rate, rel=0.1)
    assert run.ttft.mean == pytest.approx(found.ttft_s[0], rel=0.4)
