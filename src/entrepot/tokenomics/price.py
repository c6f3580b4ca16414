"""The price of a token: one conserved split of what a fleet costs over the tokens that it served.

Benchmarks such as InferenceX divide the same GPU-hour by the input tokens and once more by the output
tokens: a host that sells at those two prices takes its cost twice (`charged_twice_usd_per_mtok`). Here every
second of every pool is given away exactly once, so that Σ price × tokens = cost + margin:

    busy seconds    to the tokens that caused them: prefill, what cached tokens still cost, decode
    KV residence    the busy seconds that reading the KV cache takes, by bytes × seconds held: a long context
                    pays for the room that it takes from others
    idle readiness  the seconds in which nothing ran, as one mark-up on all of these: it serves whoever comes

Pools (prefill and decode of a disaggregated fleet) are split apart and then added: an idle second of the
prefill pool is no concern of output tokens. Marginal costs were not taken as prices: at a batch below the KV
limit they do not add up to the bill.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from math import inf

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from entrepot.domain.money import TOKENS_PER_MTOK

Array = npt.NDArray[np.float64]

ROUNDING = 1e-9  # relative: what sums of floats may be off before it is a mistake
_POSITIONS = (-2, -1)  # the axes of tiers and kinds


class Kind(IntEnum):
    """The kinds of tokens that have a price; their places on the last axis."""

    INPUT = 0
    CACHED = 1
    OUTPUT = 2


class Part(IntEnum):
    """What the money was spent on; places on the last axis of `Split.parts_usd`."""

    PREFILL = 0
    CACHED = 1
    DECODE = 2
    KV = 3
    IDLE = 4


class Tier(Struct, frozen=True):
    """Requests whose context (prompt and output) has at most so many tokens, and more than the tier below."""

    most_tokens: float = inf

    @property
    def label(self) -> str:
        """Return the tier as tables name it: `≤ 32K`."""
        if self.most_tokens == inf:
            return "any"
        thousands = self.most_tokens / 1024
        return f"≤ {thousands:g}K" if thousands >= 1 else f"≤ {self.most_tokens:g}"


ANY_CONTEXT = (Tier(),)
USUAL_TIERS = (Tier(32 * 1024), Tier(128 * 1024), Tier())
"""The tiers that are shown unless others are asked for."""


class Work(Struct, frozen=True, eq=False):
    """What tokens asked of one pool.

    Shapes: `busy_s` and `kv_byte_s` (…, tiers, kinds), `kv_busy_s` (…). Units: seconds of one replica;
    bytes × seconds held (tokens × seconds serve as well: only proportions count). `kv_busy_s` are the busy
    seconds in which KV was read, which are not in `busy_s`.
    """

    busy_s: Array
    kv_byte_s: Array
    kv_busy_s: Array


class Split(Struct, frozen=True, eq=False):
    """Who pays for what of a cost.

    Shapes: `parts_usd` (…, 5) in the order of `Part`, `kinds_usd` (…, tiers, 3) in that of `Kind`.
    Units: USD. Both add up to the cost.
    """

    parts_usd: Array
    kinds_usd: Array

    def __add__(self, other: Split) -> Split:
        return Split(self.parts_usd + other.parts_usd, self.kinds_usd + other.kinds_usd)


def split(cost_usd: npt.ArrayLike, available_s: npt.ArrayLike, work: Work) -> Split:
    """Return how the cost of one pool is borne.

    Shapes: `cost_usd` and `available_s` broadcast with `work.kv_busy_s`. Units: USD, seconds of one replica.
    Raises: ValueError when work is negative, more than the seconds that there were, or none at all (then
    nobody is there to bear the cost).
    """
    cost, available = np.asarray(cost_usd, dtype=float), np.asarray(available_s, dtype=float)
    by_kind = work.busy_s + _residence_s(work)
    busy = by_kind.sum(axis=_POSITIONS)
    _check(work, busy, available)
    carried = by_kind / busy[..., None, None]
    usd_per_s = cost / available
    parts = [*np.moveaxis(work.busy_s.sum(axis=-2), -1, 0), work.kv_busy_s]
    idle_usd = usd_per_s * (available - busy)
    parts_usd = np.stack([*(usd_per_s * part for part in parts), idle_usd], axis=-1)
    return Split(parts_usd, cost[..., None, None] * carried)


def _residence_s(work: Work) -> Array:
    """Return the seconds of KV reading by who held the bytes."""
    held = work.kv_byte_s.sum(axis=_POSITIONS)
    if np.any((held <= 0) & (work.kv_busy_s > 0)):
        raise ValueError("reading KV took time, and nobody held any: give kv_byte_s, or 0 as kv_busy_s")
    per_byte_s = np.divide(work.kv_busy_s, held, out=np.zeros_like(held), where=held > 0)
    return np.asarray(work.kv_byte_s * per_byte_s[..., None, None], dtype=float)


def _check(work: Work, busy: Array, available: Array) -> None:
    if any(np.any(values < 0) for values in (work.busy_s, work.kv_byte_s, work.kv_busy_s)):
        raise ValueError("work is negative: a step-time model says that more tokens take less time")
    if np.any(busy <= 0):
        raise ValueError("nothing was served: an idle fleet has a cost and no price")
    over = float(np.max(busy / available))
    if not over <= 1 + ROUNDING:
        raise ValueError(f"{over:.3g} times the seconds that there were are busy: expected at most 1")


class PriceList(Struct, frozen=True, eq=False):
    """Prices at which the tokens that were served pay the cost and a margin, exactly.

    Shapes: `at_cost_usd_per_mtok` and `tokens` (tiers, kinds), `parts_usd` (parts). Units: USD per million
    tokens (not a number where no such token was served), tokens, USD. `margin` is a part of the cost: 5.45
    for 545 %.
    """

    tiers: tuple[Tier, ...]
    tokens: Array
    at_cost_usd_per_mtok: Array
    parts_usd: Array
    margin: float = 0.0

    @property
    def cost_usd(self) -> float:
        """Return what the fleet cost."""
        return float(self.parts_usd.sum())

    @property
    def due_usd(self) -> float:
        """Return cost and margin."""
        return self.cost_usd * (1 + self.margin)

    @property
    def usd_per_mtok(self) -> Array:
        """Return the prices: shape (tiers, kinds)."""
        return self.at_cost_usd_per_mtok * (1 + self.margin)

    @property
    def revenue_usd(self) -> float:
        """Return Σ price × tokens, added up from the prices."""
        return float(np.nansum(self.usd_per_mtok * self.tokens)) / TOKENS_PER_MTOK

    @property
    def conservation_error(self) -> float:
        """Return how far the revenue is from cost and margin, relative to the cost."""
        return abs(self.revenue_usd - self.due_usd) / self.cost_usd

    @property
    def shares(self) -> Array:
        """Return the part of the cost that each `Part` has."""
        return self.parts_usd / self.cost_usd

    @property
    def flat(self) -> PriceList:
        """Return one price per kind for all contexts, that brings the same."""
        tokens = self.tokens.sum(axis=0, keepdims=True)
        usd = np.nansum(self.at_cost_usd_per_mtok * self.tokens, axis=0, keepdims=True)
        return PriceList(ANY_CONTEXT, tokens, per_token(usd, tokens), self.parts_usd, self.margin)

    def price(self, kind: Kind, tier: int = 0) -> float:
        """Return one price. Units: USD per million tokens."""
        return float(self.usd_per_mtok[tier, kind])

    def with_margin(self, margin: float) -> PriceList:
        """Return the prices at another margin.

        Raises: ValueError below −1, where the host would pay to serve.
        """
        if not margin >= -1:
            raise ValueError(f"a margin of {margin:.0%} of the cost: expected at least -100%")
        return PriceList(self.tiers, self.tokens, self.at_cost_usd_per_mtok, self.parts_usd, margin)


def price_list(of: Split, tokens: Array, *, tiers: tuple[Tier, ...], margin: float = 0.0) -> PriceList:
    """Return the prices that a split of a cost comes to.

    Shapes: `tokens` (tiers, kinds). Units: tokens; `margin` a part of the cost.
    Raises: ValueError when a cost falls on a kind of which no token was served.
    """
    if np.any((tokens <= 0) & (of.kinds_usd > 0)):
        raise ValueError("a cost falls on a kind of token that was not served: work and tokens disagree")
    at_cost = per_token(of.kinds_usd * TOKENS_PER_MTOK, tokens)
    return PriceList(tiers, tokens, at_cost, of.parts_usd).with_margin(margin)


def per_token(amounts: Array, tokens: Array) -> Array:
    """Return amounts over tokens, not a number where there are none. Shapes: equal."""
    return np.divide(amounts, tokens, out=np.full_like(tokens, np.nan), where=tokens > 0)


def added(splits: Sequence[Split]) -> Split:
    """Return the split of the whole cost of several pools."""
    whole, *others = splits
    for other in others:
        whole = whole + other
    return whole


def charged_twice_usd_per_mtok(
    cost_usd: float, input_tokens: float, output_tokens: float
) -> tuple[float, float]:
    """Return the prices of input and output that take the same cost twice, for comparison.

    This is InferenceX's convention: the GPU-hour over the input tokens, and again over the output tokens.
    Whoever sells at both has a revenue of twice the cost. Units: USD, tokens; USD per million tokens.
    """
    return cost_usd / input_tokens * TOKENS_PER_MTOK, cost_usd / output_tokens * TOKENS_PER_MTOK
