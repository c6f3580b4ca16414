"""Host or buy, and what a fleet gives back: from which load hosting is cheaper, and which GPUs are free.

Replicas come whole, so that hosting is a staircase and its crossing with a straight bill is not one number:
beyond the first crossing the second replica can make it dearer again. Both loads are said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil

from msgspec import Struct

from entrepot.domain.durations import HOURS_PER_DAY
from entrepot.domain.errors import ConfigError
from entrepot.domain.money import TOKENS_PER_MTOK


class BreakEven(Struct, frozen=True):
    """From which load hosting costs less than buying.

    Units: tokens per day of the whole basket. From `first_tokens_per_day` on one replica is cheaper while it
    has room, from `always_tokens_per_day` on hosting is cheaper at every load. Both are None when a full
    replica costs more per token than the bill: `full_usd_per_mtok` against `api_usd_per_mtok`.
    """

    tier: str
    usd_per_day: float
    capacity_tokens_per_day: float
    full_usd_per_mtok: float
    api_usd_per_mtok: float
    first_tokens_per_day: float | None
    always_tokens_per_day: float | None

    def replicas(self, tokens_per_day: float) -> int:
        """Return the replicas that a load takes."""
        return max(1, ceil(tokens_per_day / self.capacity_tokens_per_day))

    def hosting_usd(self, tokens_per_day: float) -> float:
        """Return what a day of hosting that load costs."""
        return self.replicas(tokens_per_day) * self.usd_per_day

    def buying_usd(self, tokens_per_day: float) -> float:
        """Return what the API bills for that load."""
        return tokens_per_day * self.api_usd_per_mtok / TOKENS_PER_MTOK


def break_even(
    *, usd_per_hour: Mapping[str, float], capacity_tokens_per_day: float, api_usd_per_mtok: float
) -> tuple[BreakEven, ...]:
    """Return the break-even of each ownership tier, the cheapest first.

    `usd_per_hour` is that of one replica by tier, `capacity_tokens_per_day` what it serves within the SLO,
    `api_usd_per_mtok` the bill for the same basket of tokens.
    Raises: ConfigError unless all of them are above 0.
    """
    if not (capacity_tokens_per_day > 0 and api_usd_per_mtok > 0 and min(usd_per_hour.values()) > 0):
        least = min(usd_per_hour.values())
        replica = f"a replica of ${least:g} an hour that serves {capacity_tokens_per_day:g} tokens a day"
        bill = f"a bill of ${api_usd_per_mtok:g} per million"
        raise ConfigError((f"{replica}, against {bill}: all three have to be above 0",))
    found = [
        _of_tier(tier, hour * HOURS_PER_DAY, capacity_tokens_per_day, api_usd_per_mtok)
        for tier, hour in usd_per_hour.items()
    ]
    return tuple(sorted(found, key=lambda one: one.usd_per_day))


def _of_tier(tier: str, usd_per_day: float, capacity: float, api_usd_per_mtok: float) -> BreakEven:
    full = usd_per_day / capacity * TOKENS_PER_MTOK
    first = usd_per_day / api_usd_per_mtok * TOKENS_PER_MTOK
    always = None
    if full < api_usd_per_mtok:
        # n replicas are cheaper from the load at which n − 1 are full, once n·c ≤ p·(n − 1)·capacity.
        earned = api_usd_per_mtok / full
        steady = ceil(earned / (earned - 1) * (1 - 1e-12))
        always = max(1, steady - 1) * first
    return BreakEven(
        tier=tier,
        usd_per_day=usd_per_day,
        capacity_tokens_per_day=capacity,
        full_usd_per_mtok=full,
        api_usd_per_mtok=api_usd_per_mtok,
        first_tokens_per_day=first if always is not None else None,
        always_tokens_per_day=always,
    )


class Freed(Struct, frozen=True):
    """GPUs that a fleet leaves for something else, such as research.

    Units: GPUs. `by_batching` are those that a harder batch saves at the peak, `by_hour` those of the harder
    fleet that the hour's load leaves idle, `mean_by_curve` their mean.
    """

    peak_gpus: float
    by_batching: float
    by_hour: tuple[float, ...]

    @property
    def mean_by_curve(self) -> float:
        """Return the mean GPUs that the curve of the day leaves."""
        return sum(self.by_hour) / len(self.by_hour)

    @property
    def mean(self) -> float:
        """Return the mean GPUs that both free."""
        return self.by_batching + self.mean_by_curve


def freed(hourly_load: Sequence[float], *, now: tuple[float, float], harder: tuple[float, float]) -> Freed:
    """Return the GPUs that batching harder and the day's curve free.

    `hourly_load` is the load by hour; `now` and `harder` are the GPUs of a replica and the load that it
    carries, before and after. Units: any measure of load, the same for both. Replicas come whole.
    Raises: ValueError when there is no load.
    """
    if not hourly_load or max(hourly_load) <= 0:
        raise ValueError("no load at any hour: nothing is served, and everything is free")
    before, after = (
        [max(0, ceil(load / carries * (1 - 1e-12))) * gpus for load in hourly_load]
        for gpus, carries in (now, harder)
    )
    peak = max(after)
    return Freed(
        peak_gpus=peak,
        by_batching=max(before) - peak,
        by_hour=tuple(peak - used for used in after),
    )
