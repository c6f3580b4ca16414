"""A fleet's day: from tokens and rates per node to nodes, cost, revenue, prices, and nodes that are free.

A published day can be checked like that without any model of steps: it is arithmetic on what its owner
states. With a model of steps the rates per node are predictions, and everything after them is the same.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from msgspec import Struct

from entrepot.domain.durations import HOURS_PER_DAY, SECONDS_PER_DAY
from entrepot.domain.money import TOKENS_PER_MTOK
from entrepot.tokenomics.price import (
    ANY_CONTEXT,
    Array,
    PriceList,
    Work,
    added,
    price_list,
    split,
)

_MEANS_DIFFER = 0.01  # of nodes: published means of load, rates and nodes are rounded


class Figure(Struct, frozen=True):
    """A number and how it is known. Units: those of its name."""

    value: float
    kind: str
    source: str


class Fleet(Struct, frozen=True, kw_only=True):
    """A fleet and the load of one of its days.

    Units: tokens of the day; tokens/s per node, means over the day (`prefill_tokens_per_s` counts cached
    tokens too); USD. `cached_cost_ratio` is what a cached token costs of an uncached one in prefill,
    `kv_share` the part of decode in which KV is read. `mean_nodes` (when stated) and `hourly_nodes` (a curve
    of the day) are in use, `peak_nodes` at the busiest time. Prices are list prices in USD per million
    tokens. `figures` has each of them with its source, `published` what was published as a result.
    """

    name: str
    title: str = ""
    as_of: str = ""
    model: str = ""
    gpu: str = ""
    uncached_tokens: float
    cached_tokens: float
    output_tokens: float
    gpus_per_node: float
    usd_per_gpu_hour: float
    prefill_tokens_per_s: float
    decode_tokens_per_s: float
    cached_cost_ratio: float = 0.0
    kv_share: float = 0.0
    mean_nodes: float | None = None
    peak_nodes: float | None = None
    hourly_nodes: tuple[float, ...] = ()
    input_usd_per_mtok: float | None = None
    cached_usd_per_mtok: float | None = None
    output_usd_per_mtok: float | None = None
    figures: Mapping[str, Figure] = {}
    published: Mapping[str, Figure] = {}

    @property
    def prefill_nodes(self) -> float:
        """Return the nodes that read the prompts of a mean second."""
        return (self.uncached_tokens + self.cached_tokens) / SECONDS_PER_DAY / self.prefill_tokens_per_s

    @property
    def decode_nodes(self) -> float:
        """Return the nodes that write the output of a mean second."""
        return self.output_tokens / SECONDS_PER_DAY / self.decode_tokens_per_s

    @property
    def needed_nodes(self) -> float:
        """Return the nodes that load and rates come to."""
        return self.prefill_nodes + self.decode_nodes

    @property
    def used_nodes(self) -> float:
        """Return the mean nodes in use: as stated, else of the curve, else as needed."""
        if self.mean_nodes is not None:
            return self.mean_nodes
        return float(np.mean(self.hourly_nodes)) if self.hourly_nodes else self.needed_nodes

    @property
    def most_nodes(self) -> float:
        """Return the nodes at the busiest time: as stated, else of the curve, else the mean."""
        if self.peak_nodes is not None:
            return self.peak_nodes
        return max(self.hourly_nodes, default=self.used_nodes)


class Day(Struct, frozen=True, eq=False):
    """What a day came to.

    Units: nodes, USD, `margin` a part of the cost (at list prices; `at_margin` are those of the one that was
    asked for); `freed_nodes` mean nodes that are not needed beside the
    peak, and `freed_by_hour_nodes` the same by hour where there is a curve. Revenue, margin and prices at the
    margin are None without list prices. `revenue_usd` is theoretical: all tokens at list price.
    """

    fleet: Fleet
    nodes: float
    cost_usd: float
    at_cost: PriceList
    revenue_usd: float | None
    margin: float | None
    at_margin: PriceList | None
    freed_nodes: float
    freed_by_hour_nodes: tuple[float, ...]

    @property
    def freed_gpu_hours(self) -> float:
        """Return the GPU-hours of the day that are free for something else, such as research."""
        return self.freed_nodes * self.fleet.gpus_per_node * HOURS_PER_DAY

    def results(self) -> dict[str, float]:
        """Return the figures of the day by the names under which fleets state what was published."""
        stated = {
            "needed_nodes": self.fleet.needed_nodes,
            "nodes": self.nodes,
            "cost_usd": self.cost_usd,
            "revenue_usd": self.revenue_usd,
            "margin": self.margin,
            "freed_nodes": self.freed_nodes,
        }
        return {name: value for name, value in stated.items() if value is not None}


def day_of(fleet: Fleet, *, nodes: float | None = None, margin: float | None = None) -> Day:
    """Return what the day came to when so many nodes are paid for: those in use unless given.

    More than are needed stand idle, and their cost is a part of the prices. `margin` is that of the list
    prices unless given. Units: mean nodes; a part of the cost.
    Raises: ValueError when fewer are paid for than load and rates come to.
    """
    paid = fleet.used_nodes if nodes is None else nodes
    cost_usd = paid * fleet.gpus_per_node * HOURS_PER_DAY * fleet.usd_per_gpu_hour
    at_cost = _prices(fleet, paid, cost_usd)
    revenue_usd = _revenue_usd(fleet)
    listed = None if revenue_usd is None else revenue_usd / cost_usd - 1
    sold_at = listed if margin is None else margin
    return Day(
        fleet=fleet,
        nodes=paid,
        cost_usd=cost_usd,
        at_cost=at_cost,
        revenue_usd=revenue_usd,
        margin=listed,
        at_margin=None if sold_at is None else at_cost.with_margin(sold_at),
        freed_nodes=fleet.most_nodes - fleet.used_nodes,
        freed_by_hour_nodes=tuple(fleet.most_nodes - used for used in fleet.hourly_nodes),
    )


def _tokens(fleet: Fleet) -> Array:
    return np.array([[fleet.uncached_tokens, fleet.cached_tokens, fleet.output_tokens]])


def _revenue_usd(fleet: Fleet) -> float | None:
    prices = (fleet.input_usd_per_mtok, fleet.cached_usd_per_mtok, fleet.output_usd_per_mtok)
    listed = [price for price in prices if price is not None]
    if len(listed) < len(prices):
        return None
    return float(np.dot(_tokens(fleet)[0], listed)) / TOKENS_PER_MTOK


def _prices(fleet: Fleet, paid: float, cost_usd: float) -> PriceList:
    """Return the prices at cost: prefill and decode are pools of their own."""
    needed = fleet.needed_nodes
    if paid < needed * (1 - _MEANS_DIFFER):
        raise ValueError(
            f"{fleet.name}: {paid:.2f} nodes are paid for, but its load and rates take {needed:.2f}: "
            "a rate per node or the load is misstated"
        )
    uncached, cached, output = _tokens(fleet)[0]
    slack = max(1.0, paid / needed)
    nothing = np.zeros((1, 3))
    prefill = np.array([[uncached, cached * fleet.cached_cost_ratio, 0.0]])
    prefill *= fleet.prefill_nodes / prefill.sum()
    decode = np.array([[0.0, 0.0, fleet.decode_nodes * (1 - fleet.kv_share)]])
    # A prompt is held while its whole answer is written, an output token for the mean of the rest: half.
    held = np.array([[uncached, cached, output / 2]])
    works = (
        Work(prefill, nothing, np.asarray(0.0)),
        Work(decode, held, np.asarray(fleet.decode_nodes * fleet.kv_share)),
    )
    pools = [
        split(cost_usd * pool_nodes / needed, pool_nodes * slack, work)
        for pool_nodes, work in zip((fleet.prefill_nodes, fleet.decode_nodes), works, strict=True)
    ]
    return price_list(added(pools), _tokens(fleet), tiers=ANY_CONTEXT)
