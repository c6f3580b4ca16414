"""One replica of a split deployment under a steady load: two pools, each with its own bill.

What `load` is for a replica that reads and answers. The decode workers are such replicas without a prompt in
their steps; the prefill workers carry what they can read. Whichever ends first is the capacity.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from entrepot.domain.durations import SECONDS_PER_HOUR
from entrepot.tokenomics.load import Mix, Overloaded, PricedReplica, Steady
from entrepot.tokenomics.price import Array, PriceList, Work, added, price_list, split
from entrepot.tokenomics.reading import Reading, Workers, reading_of

_DIGITS = 1e-12  # relative: how exactly a capacity is met


class SplitSteady(Steady, frozen=True, eq=False):
    """A split replica under a load that it can carry: what `Steady` says is of its decode pool.

    Except `in_flight`, which has those too that wait or are read. Units: `reading_share` part of the time in
    which a prefill worker reads; `reading` the prefill pool's work of one second.
    """

    reading_share: float
    reading: Work


class SplitReplica(Struct, frozen=True):
    """Prefill workers and decode workers, with what an hour of them costs."""

    prefill: Workers
    decode: Workers

    @property
    def usd_per_hour(self) -> float:
        """Return what an hour of both pools costs."""
        return self.prefill.usd_per_hour + self.decode.usd_per_hour

    def capacity_per_s(self, mix: Mix) -> float:
        """Return the requests per second that the slower pool finishes; 0 where one cannot hold a request."""
        return min(self._most_read_per_s(mix), self.decode.count * self._answering.capacity_per_s(mix))

    def steady(self, mix: Mix, rate_per_s: float) -> SplitSteady | Overloaded:
        """Return the state under a load, or which pool cannot carry it.

        Units: requests per second, above 0.
        """
        workers = self.decode.count
        read_per_s = self._most_read_per_s(mix)
        if rate_per_s > read_per_s * (1 + _DIGITS) and read_per_s <= self.capacity_per_s(mix):
            return Overloaded(rate_per_s, read_per_s, self._not_read(mix, read_per_s))
        written = self._answering.steady(mix, rate_per_s / workers)
        if isinstance(written, Overloaded):
            most, pool = workers * written.most_per_s, _pool_name(self.decode)
            return Overloaded(rate_per_s, most, f"{pool}: in each {written.reason}")
        return self._at(mix, rate_per_s, written)

    def price(self, mix: Mix, rate_per_s: float, *, margin: float = 0.0) -> PriceList | Overloaded:
        """Return the prices at a load: those that pay for both pools and a margin.

        Units: requests per second; `margin` a part of the cost.
        """
        state = self.steady(mix, rate_per_s)
        if isinstance(state, Overloaded):
            return state
        pools = ((self.prefill, state.reading), (self.decode, state.work))
        bills = [split(pool.usd_per_hour / SECONDS_PER_HOUR, pool.count, work) for pool, work in pools]
        return price_list(added(bills), state.tokens, tiers=mix.tiers, margin=margin)

    @property
    def _answering(self) -> PricedReplica:
        """Return one decode worker."""
        usd_per_hour = self.decode.usd_per_hour / self.decode.count
        return PricedReplica(self.decode.clock, usd_per_hour, reads_prompts=False)

    def _reading(self, mix: Mix) -> tuple[Reading, Array]:
        """Return how the mix is read, and the seconds at least of a worker by tier and kind of token."""
        uncached, cached, share = (
            np.array([getattr(one, name) for one in mix.classes], dtype=float)
            for name in ("uncached_tokens", "cached_tokens", "share")
        )
        each = reading_of(self.prefill, uncached, cached)
        return each.mean(share), mix.by_tier(each.least_s[:, None] * each.kinds)

    def _most_read_per_s(self, mix: Mix) -> float:
        longest = mix.longest_prompt_tokens
        of = self.prefill.deployment
        if of.kv_capacity(max(1, round(longest))) < longest * of.dp:
            return 0.0
        return float(self._reading(mix)[0].most_per_s[0])

    def _not_read(self, mix: Mix, most_per_s: float) -> str:
        pool = _pool_name(self.prefill)
        if most_per_s == 0:
            longest = f"the longest prompt of {mix.longest_prompt_tokens:,.0f} tokens"
            return f"{pool} cannot hold {longest}: use more GPUs or a shorter context"
        return f"{pool} reads {most_per_s:.4g} requests/s"

    def _at(self, mix: Mix, rate_per_s: float, written: Steady) -> SplitSteady:
        workers = self.decode.count
        reading, by_token = self._reading(mix)
        rate = np.array([rate_per_s])
        busy = rate_per_s * float(reading.worker_s(rate)[0])
        read = rate_per_s * float(reading.latency_s(rate, np.ones(1))[0])
        nothing = np.zeros_like(by_token)
        of_one = written.work
        return SplitSteady(
            rate_per_s=rate_per_s,
            in_flight=read + workers * written.in_flight,
            batch=written.batch,
            step_s=written.step_s,
            busy_share=written.busy_share,
            tokens=workers * written.tokens,
            work=Work(workers * of_one.busy_s, of_one.kv_byte_s, workers * of_one.kv_busy_s),
            reading_share=busy / self.prefill.count,
            reading=Work(busy * by_token / by_token.sum(), nothing, np.asarray(0.0)),
        )


def _pool_name(workers: Workers) -> str:
    return f"the {workers.deployment.mode} pool of {workers.count}"
