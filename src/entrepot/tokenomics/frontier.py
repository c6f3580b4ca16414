"""Every operating point of a grid, as arrays: what a batch size buys, on which hardware, at which context.

Each point is a closed loop: so many requests at once on each replica, the next one sent when one is answered.
Then throughput follows from the latencies (Little's law), the price from the throughput, and nothing here
knows how latencies come about: that is asked of each offer, once for all of its points. Simulating every
point would be truer at the knee and ten thousand times slower; `engine` does so for the few that are left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from entrepot.domain.durations import SECONDS_PER_HOUR
from entrepot.domain.money import TOKENS_PER_MTOK
from entrepot.tokenomics.load import RequestClass
from entrepot.tokenomics.pareto import Mask, pareto
from entrepot.tokenomics.price import Array, Split, Work, added, per_token, split

BASKET = (3.0, 0.0, 1.0)
"""Three tokens of input to one of output: the blend that Artificial Analysis compares hosts by."""


class Loads(NamedTuple):
    """Operating points that an offer is asked about.

    Shapes: (n,). Units: requests per replica; tokens of each request.
    """

    batch: Array
    uncached_tokens: Array
    cached_tokens: Array
    output_tokens: Array


class PoolSeconds(NamedTuple):
    """What one request takes of one pool: the workers of a replica that do the same, all of it or a part.

    Shapes: (n,). Units: seconds of one worker, for reading the uncached prompt, for what the cached prompt
    still costs, for decoding without KV and for reading KV; `workers` of one replica, and USD per hour of
    all of these.
    """

    workers: float
    usd_per_hour: float
    prefill_s: Array
    cached_s: Array
    decode_s: Array
    kv_s: Array


class Times(NamedTuple):
    """What an offer answers. Shapes: (n,).

    Units: seconds. `*_high_s` are the upper ends of the stated interval, equal to the others where there is
    none. `fits` says whether the batch fits in the KV cache. The bills of `pools` add up to the offer's.
    """

    ttft_s: Array
    tpot_s: Array
    ttft_high_s: Array
    tpot_high_s: Array
    fits: Mask
    pools: tuple[PoolSeconds, ...]


class Offer(Protocol):
    """A deployment that could be rented: a model on hardware, in a layout and precision."""

    @property
    def name(self) -> str:
        """Return what tables call it."""
        ...

    @property
    def gpus(self) -> int:
        """Return the devices of one replica."""
        ...

    @property
    def usd_per_hour(self) -> float:
        """Return what an hour of one replica costs."""
        ...

    @property
    def refusal(self) -> str | None:
        """Return why it cannot serve at all, with the nearest that can; None when it can."""
        ...

    def times(self, loads: Loads) -> Times:
        """Return latencies and the replica's seconds at operating points."""
        ...


class Grid(Struct, frozen=True):
    """All combinations of these. `requests` are sizes: contexts."""

    offers: tuple[Offer, ...]
    batches: tuple[float, ...]
    requests: tuple[RequestClass, ...]
    replicas: tuple[int, ...] = (1,)

    @property
    def size(self) -> int:
        """Return how many operating points there are."""
        return len(self.offers) * len(self.batches) * len(self.requests) * len(self.replicas)


class Points(Struct, frozen=True, eq=False):
    """Operating points, a column each.

    Shapes: (n,); `usd_per_mtok` (n, kinds), `shares` (n, parts). Units: seconds; requests/s of all replicas;
    USD per hour of all replicas; USD per million tokens. `offer` and `request` are places in the grid.
    `sold_per_s` are the requests that pay: the demand where one was given, else all that can be served.
    """

    grid: Grid
    offer: npt.NDArray[np.int64]
    request: npt.NDArray[np.int64]
    batch: Array
    replicas: Array
    context_tokens: Array
    fits: Mask
    ttft_s: Array
    tpot_s: Array
    ttft_high_s: Array
    tpot_high_s: Array
    answer_s: Array
    answer_high_s: Array
    capacity_per_s: Array
    sold_per_s: Array
    gpus: Array
    usd_per_hour: Array
    usd_per_request: Array
    usd_per_mtok: Array
    shares: Array

    def __len__(self) -> int:
        return len(self.batch)

    def blended_usd_per_mtok(self, basket: Sequence[float] = BASKET) -> Array:
        """Return the price of a basket of uncached input, cached input and output, per million tokens."""
        weights = np.asarray(basket) / np.sum(basket)
        return np.asarray(np.nansum(self.usd_per_mtok * weights, axis=1))

    def front(self, basket: Sequence[float] = BASKET) -> Mask:
        """Return the Pareto front in TTFT, interactivity, context and price of the basket."""
        costs = np.stack(
            [self.ttft_s, self.tpot_s, -self.context_tokens, self.blended_usd_per_mtok(basket)], axis=1
        )
        costs[~self.fits] = np.inf
        return pareto(costs)


def points_of(
    grid: Grid,
    *,
    demand_per_s: float | None = None,
    margin: float = 0.0,
    progress: Callable[[int], None] | None = None,
) -> Points:
    """Return all operating points of a grid.

    With a demand, points pay for their idle time out of it, and those that cannot serve it do not fit. Offers
    that refuse altogether have only points that do not fit. `progress` is called with the number of points
    done after each offer. Units: requests/s; `margin` a part of the cost.
    """
    shapes = list(product(range(len(grid.requests)), grid.batches, grid.replicas))
    request = np.array([one[0] for one in shapes])
    batch, replicas = (np.array([one[at] for one in shapes], dtype=float) for at in (1, 2))
    sizes = np.array([(r.uncached_tokens, r.cached_tokens, r.output_tokens) for r in grid.requests])[request]
    loads = Loads(batch, *sizes.T)
    # Replicas of a point are equal in all but their number: each is asked for once.
    alike = slice(None, None, len(grid.replicas))
    once = Loads(*(column[alike] for column in loads))
    found = []
    for place, offer in enumerate(grid.offers):
        times = offer.times(once) if offer.refusal is None else _no_times(offer, once)
        times = _repeated(times, len(grid.replicas))
        found.append(_priced(offer, times, loads, replicas, demand_per_s, margin))
        if progress is not None:
            progress((place + 1) * len(batch))
    columns = {name: np.concatenate([one[name] for one in found]) for name in found[0]}
    count = len(grid.offers)
    return Points(
        grid=grid,
        offer=np.repeat(np.arange(count), len(batch)),
        request=np.tile(request, count),
        batch=np.tile(batch, count),
        replicas=np.tile(replicas, count),
        context_tokens=np.tile(sizes.sum(axis=1), count),
        **columns,
    )


def _priced(
    offer: Offer, times: Times, loads: Loads, replicas: Array, demand_per_s: float | None, margin: float
) -> dict[str, Array | Mask]:
    """Return the columns that follow from an offer's latencies."""
    output = loads.output_tokens
    answer_s = times.ttft_s + output * times.tpot_s
    each_per_s = loads.batch / answer_s
    capacity = replicas * each_per_s
    sold = capacity if demand_per_s is None else np.minimum(demand_per_s, capacity)
    fits = times.fits if demand_per_s is None else times.fits & (capacity >= demand_per_s)
    usd_per_hour = offer.usd_per_hour * replicas
    usd_per_s = usd_per_hour / SECONDS_PER_HOUR
    of_second = added([_pool_split(pool, loads, sold, replicas) for pool in times.pools])
    tokens = sold[:, None] * np.stack(loads[1:], axis=1)
    at_cost = per_token(of_second.kinds_usd[:, 0, :] * TOKENS_PER_MTOK, tokens)
    return {
        "fits": fits,
        "ttft_s": times.ttft_s,
        "tpot_s": times.tpot_s,
        "ttft_high_s": times.ttft_high_s,
        "tpot_high_s": times.tpot_high_s,
        "answer_s": answer_s,
        "answer_high_s": times.ttft_high_s + output * times.tpot_high_s,
        "capacity_per_s": capacity,
        "sold_per_s": sold,
        "gpus": offer.gpus * replicas,
        "usd_per_hour": usd_per_hour,
        "usd_per_request": usd_per_s / sold * (1 + margin),
        "usd_per_mtok": at_cost * (1 + margin),
        "shares": of_second.parts_usd / usd_per_s[:, None],
    }


def whole_replica(
    usd_per_hour: float,
    loads: Loads,
    answer_s: Array,
    *,
    prefill_s: Array,
    cached_s: Array,
    kv_s: Array,
) -> PoolSeconds:
    """Return the one pool of a replica that reads and answers: what is not prompt or KV is decode.

    Shapes: (n,). Units: USD per hour of the replica; seconds of a request, and of the replica per request.
    """
    request_s = answer_s / loads.batch
    prompts = prefill_s + cached_s + kv_s
    scale = np.minimum(
        1.0, request_s / np.maximum(prompts, 1e-300)
    )  # interval ends may overlap: never above 1
    prefill, cached, kv = (scale * part for part in (prefill_s, cached_s, kv_s))
    decode = np.maximum(request_s - prefill - cached - kv, 0.0)
    return PoolSeconds(1.0, usd_per_hour, prefill, cached, decode, kv)


def _pool_split(pool: PoolSeconds, loads: Loads, sold_per_s: Array, replicas: Array) -> Split:
    """Return who bears the bill of a second of one pool."""
    busy = sold_per_s[:, None] * np.stack([pool.prefill_s, pool.cached_s, pool.decode_s], axis=1)
    output = loads.output_tokens
    held = np.stack([loads.uncached_tokens, loads.cached_tokens, output / 2], axis=1) * output[:, None]
    work = Work(busy[:, None, :], held[:, None, :], sold_per_s * pool.kv_s)
    return split(pool.usd_per_hour * replicas / SECONDS_PER_HOUR, pool.workers * replicas, work)


def _repeated(times: Times, count: int) -> Times:
    """Return each of the times so often, one after the other."""

    def repeated(column: Array) -> Array:
        return np.repeat(column, count)

    return Times(
        ttft_s=repeated(times.ttft_s),
        tpot_s=repeated(times.tpot_s),
        ttft_high_s=repeated(times.ttft_high_s),
        tpot_high_s=repeated(times.tpot_high_s),
        fits=np.repeat(times.fits, count),
        pools=tuple(
            PoolSeconds(pool.workers, pool.usd_per_hour, *(repeated(column) for column in pool[2:]))
            for pool in times.pools
        ),
    )


def _no_times(offer: Offer, loads: Loads) -> Times:
    """Return the times of an offer that cannot serve: none that would win anything."""
    ones, no = np.ones_like(loads.batch), np.zeros_like(loads.batch)
    pool = whole_replica(
        offer.usd_per_hour, loads, ones + loads.output_tokens, prefill_s=no, cached_s=no, kv_s=no
    )
    return Times(ones, ones, ones, ones, np.zeros(no.shape, dtype=bool), (pool,))
