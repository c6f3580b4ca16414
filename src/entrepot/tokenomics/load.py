"""One replica under a steady load: how large its batch grows, and which tokens its seconds go to.

Between two extremes that others plan with: a batch that is always full (prices of a benchmark, with no queue
and no idle second) and requests that never meet. Arrivals are random, so that a replica whose mean number of
requests is N is empty for e^−N of the time (M/G/∞), and the batch that it decodes while it works is the mean
of the rest. Queueing and the spread of latencies are the engine's; this is for prices and for sweeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import expm1, inf
from typing import Protocol

import numpy as np
from msgspec import Struct

from entrepot.domain.durations import SECONDS_PER_HOUR
from entrepot.tokenomics.bracket import largest
from entrepot.tokenomics.clock import PIECE_TOKENS, StepClock
from entrepot.tokenomics.price import ANY_CONTEXT, Array, Kind, PriceList, Tier, Work, price_list, split

_DIGITS = 1e-12  # relative: how exactly the batch is found


class RequestClass(Struct, frozen=True):
    """Requests of one size. Units: tokens per request; `share` a part of all requests."""

    uncached_tokens: float
    output_tokens: float
    cached_tokens: float = 0.0
    share: float = 1.0

    @property
    def context_tokens(self) -> float:
        """Return the tokens that the last step of such a request sees."""
        return self.uncached_tokens + self.cached_tokens + self.output_tokens


class Overloaded(Struct, frozen=True):
    """Why a replica cannot carry a load. Units: requests per second; `most` is the nearest that it can."""

    asked_per_s: float
    most_per_s: float
    reason: str


class Steady(Struct, frozen=True, eq=False):
    """A replica under a load that it can carry.

    Units: requests per second; `in_flight` mean requests that decode, `batch` the same while any does;
    `step_s` seconds per token of every one of them (TPOT); `busy_share` a part of the time. `work` is that of
    one second and `tokens` those of one second: shape (tiers, kinds).
    """

    rate_per_s: float
    in_flight: float
    batch: float
    step_s: float
    busy_share: float
    tokens: Array
    work: Work


class Mix:
    """The sizes of the requests of a load, on average and by context tier.

    Raises: ValueError for shares that do not add up to 1, and for requests without a token.
    """

    def __init__(self, classes: Sequence[RequestClass], tiers: tuple[Tier, ...] = ANY_CONTEXT) -> None:
        self.classes, self.tiers = tuple(classes), tiers
        share, uncached, cached, output = (
            np.array([getattr(one, name) for one in classes], dtype=float)
            for name in ("share", "uncached_tokens", "cached_tokens", "output_tokens")
        )
        if abs(share.sum() - 1) > 1e-9 or (share < 0).any():
            raise ValueError(f"shares of requests add up to {share.sum():g}: expected 1")
        if (uncached < 0).any() or (cached < 0).any() or (output < 1).any():
            raise ValueError("a request has fewer than 0 prompt tokens or than 1 of output")
        places = [
            next(place for place, tier in enumerate(tiers) if one.context_tokens <= tier.most_tokens)
            for one in classes
        ]
        member = np.zeros((len(tiers), len(places)))
        member[places, range(len(places))] = share
        self.tokens = _by_kind(member, uncached, cached, output)
        self.held = _by_kind(member, uncached * output, cached * output, output * output / 2)
        self.own_pairs, self.cached_pairs = member @ (uncached * uncached / 2), member @ (uncached * cached)
        self.output_tokens = float(self.tokens[:, Kind.OUTPUT].sum())
        self.held_per_sequence = float(self.held.sum()) / self.output_tokens
        self.pieces = float(share @ np.ceil(uncached / PIECE_TOKENS))
        self.longest_tokens = float(max((uncached + cached + output)[share > 0]))
        self.longest_prompt_tokens = float(max((uncached + cached)[share > 0]))
        self._member = member

    def by_tier(self, amounts: Array) -> Array:
        """Return the mean of what classes have per request, by tier. Shapes: (classes, n), (tiers, n)."""
        return np.asarray(self._member @ amounts)


def _by_kind(member: Array, *of_kinds: Array) -> Array:
    return np.stack([member @ amounts for amounts in of_kinds], axis=-1)


class ReplicaUnderLoad(Protocol):
    """What has a state and prices at a load with random arrivals: one that reads and answers, or a split."""

    @property
    def usd_per_hour(self) -> float:
        """Return what an hour of all its GPUs costs."""
        ...

    def capacity_per_s(self, mix: Mix) -> float:
        """Return the most requests per second; 0 when not one fits."""
        ...

    def steady(self, mix: Mix, rate_per_s: float) -> Steady | Overloaded:
        """Return the state under a load, or why it cannot be carried. Units: requests per second."""
        ...

    def price(self, mix: Mix, rate_per_s: float, *, margin: float = 0.0) -> PriceList | Overloaded:
        """Return the prices at a load. Units: requests per second; `margin` a part of the cost."""
        ...


class PricedReplica(Struct, frozen=True):
    """A replica: its clock, what an hour of it costs, and how many requests it may decode at once.

    Units: USD per hour of all its GPUs. Without `reads_prompts` these come read, from other workers.
    """

    clock: StepClock
    usd_per_hour: float
    most_batch: float = inf
    reads_prompts: bool = True

    def batch_limit(self, mix: Mix) -> float:
        """Return the largest batch of such requests: what KV holds, or what is allowed."""
        return min(self.most_batch, self.clock.kv_capacity_tokens / mix.held_per_sequence)

    def step_s(self, mix: Mix, batch: float) -> float:
        """Return the seconds of a mean step at a batch, in which as much is read as is finished."""
        return sum(self._pieces(mix, batch))

    def capacity_per_s(self, mix: Mix) -> float:
        """Return the requests per second that a full batch finishes; 0 when not one request fits."""
        limit = self.batch_limit(mix)
        if limit < 1 or mix.longest_tokens > self.clock.kv_capacity_tokens:
            return 0.0
        return limit / self.step_s(mix, limit) / mix.output_tokens

    def steady(self, mix: Mix, rate_per_s: float) -> Steady | Overloaded:
        """Return the state under a load, or why the replica cannot carry it.

        Units: requests per second, above 0.
        """
        most = self.capacity_per_s(mix)
        if most == 0:
            held = f"the KV cache holds {self.clock.kv_capacity_tokens:,} tokens"
            longest = f"the longest request {mix.longest_tokens:,.0f}"
            return Overloaded(rate_per_s, 0.0, f"{held}, {longest}: use more GPUs or a shorter context")
        limit = self.batch_limit(mix)
        if rate_per_s > most * (1 + _DIGITS):
            reason = f"a full batch of {limit:,.0f} finishes {most:.4g} requests/s"
            return Overloaded(rate_per_s, most, reason)

        def is_carried(in_flight: float) -> bool:
            step_s = self.step_s(mix, _working_batch(in_flight, limit))
            return in_flight / step_s <= rate_per_s * mix.output_tokens

        in_flight = largest(is_carried, 0.0, limit)
        return self._at(mix, rate_per_s, _working_batch(in_flight, limit))

    def price(self, mix: Mix, rate_per_s: float, *, margin: float = 0.0) -> PriceList | Overloaded:
        """Return the prices at a load: those that pay for the replica and a margin.

        Units: requests per second; `margin` a part of the cost.
        """
        state = self.steady(mix, rate_per_s)
        if isinstance(state, Overloaded):
            return state
        of_second = split(self.usd_per_hour / SECONDS_PER_HOUR, 1.0, state.work)
        return price_list(of_second, state.tokens, tiers=mix.tiers, margin=margin)

    def _pieces(self, mix: Mix, batch: float) -> tuple[float, ...]:
        return _step_pieces(self.clock, mix, batch, prompts=mix.pieces if self.reads_prompts else 0.0)

    def _at(self, mix: Mix, rate_per_s: float, batch: float) -> Steady:
        pieces = self._pieces(mix, batch)
        step_s = sum(pieces)
        steps = rate_per_s * mix.output_tokens / batch  # per second
        tokens = rate_per_s * mix.tokens
        return Steady(
            rate_per_s=rate_per_s,
            in_flight=steps * step_s * batch,
            batch=batch,
            step_s=step_s,
            busy_share=steps * step_s,
            tokens=tokens,
            work=_work(mix, pieces, steps, tokens),
        )


def _step_pieces(clock: StepClock, mix: Mix, batch: float, *, prompts: float) -> tuple[float, ...]:
    """Return what each thing adds to a mean step; the pieces add up to it.

    Some steps read one of the `prompts` pieces of a request, the others none: what a piece costs once counts
    for those only.

    Units: seconds of: decoding, reading KV, reading prompts, their own attention, that on cached tokens.
    """
    held = batch * mix.held_per_sequence
    finished = batch / mix.output_tokens  # requests per step
    with_prompt = min(1.0, finished * prompts)  # the part of the steps that reads a piece of a prompt
    per_piece = finished / with_prompt if with_prompt > 0 else 0.0
    prompt = per_piece * float(mix.tokens[:, Kind.INPUT].sum())
    own, cached = per_piece * float(mix.own_pairs.sum()), per_piece * float(mix.cached_pairs.sum())
    until = (
        clock.step_s(batch, 0.0),
        clock.step_s(batch, held),
        clock.step_s(batch, held, prompt),
        clock.step_s(batch, held, prompt, own),
        clock.step_s(batch, held, prompt, own + cached),
    )
    return (
        until[0],
        until[1] - until[0],
        *(with_prompt * (later - earlier) for earlier, later in pairwise(until[1:])),
    )


def _work(mix: Mix, pieces: tuple[float, ...], steps: float, tokens: Array) -> Work:
    decoding, reading, prompts, own, cached = (steps * piece for piece in pieces)
    # A pair needs both its tokens: half of it is the cached one's, half that of the one that looks at it.
    across = cached / 2 * _shares(mix.cached_pairs)
    busy = np.stack(
        [
            prompts * _shares(tokens[:, Kind.INPUT]) + own * _shares(mix.own_pairs) + across,
            across,
            decoding * _shares(tokens[:, Kind.OUTPUT]),
        ],
        axis=-1,
    )
    return Work(busy, mix.held, np.asarray(reading))


def _shares(amounts: Array) -> Array:
    whole = amounts.sum()
    return amounts / whole if whole > 0 else np.zeros_like(amounts)


def _working_batch(in_flight: float, limit: float) -> float:
    """Return the mean batch while there is one: N over the part of the time that is not empty."""
    return min(limit, in_flight / -expm1(-in_flight)) if in_flight > 0 else 1.0
