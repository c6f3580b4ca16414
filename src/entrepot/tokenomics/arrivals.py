"""What an engine is asked to serve: requests with their lengths, and when they arrive.

Arrivals are arrays that the caller draws with a generator of its own, or takes from a trace: the engine draws
nothing, so a run is repeated by repeating its input.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]

BLOCK_TOKENS = 512
"""Of a prefix block, as in the Mooncake trace: blocks of equal number have equal content up to their end."""


@dataclass(frozen=True, slots=True, eq=False)
class Requests:
    """Requests in the order of their arrival.

    Shapes: every array (requests,). Units: seconds since the start of the run; tokens. `cached_tokens` of
    each prompt are found in the prefix cache whatever happened before; with `prefix_blocks`, one tuple of
    block numbers per request, the engine finds out by itself which leading blocks it still has. Raises:
    ValueError when arrays differ in length, arrivals are not in order, or a length is impossible.
    """

    arrival_s: Floats
    prompt_tokens: Ints
    output_tokens: Ints
    cached_tokens: Ints
    prefix_blocks: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        """Refuse what no engine could run."""
        lengths = {len(self.arrival_s), len(self.prompt_tokens), len(self.output_tokens)}
        lengths.add(len(self.cached_tokens))
        if self.prefix_blocks:
            lengths.add(len(self.prefix_blocks))
        if len(lengths) != 1:
            raise ValueError(f"arrays of one length are needed, these have {sorted(lengths)}")
        if not len(self.arrival_s):
            raise ValueError("there is no request to run: give at least one")
        if not np.isfinite(self.arrival_s).all() or np.any(np.diff(self.arrival_s) < 0):
            raise ValueError("arrival_s must be finite and in order: sort the requests by their arrival")
        if self.prompt_tokens.min() < 1 or self.output_tokens.min() < 1:
            raise ValueError("every prompt and every output needs a token: leave empty requests out")
        if self.cached_tokens.min() < 0 or np.any(self.cached_tokens >= self.prompt_tokens):
            raise ValueError("cached_tokens must be less than the prompt: its last token is always computed")

    def __len__(self) -> int:
        """Return the number of requests."""
        return len(self.arrival_s)

    @property
    def rate(self) -> float:
        """Return requests per second: all but the first over the time in which they came (inf at once)."""
        span_s = float(self.arrival_s[-1] - self.arrival_s[0])
        return (len(self) - 1) / span_s if span_s > 0 else float("inf")


def requests_of(
    arrival_s: Floats,
    prompt_tokens: Ints | int,
    output_tokens: Ints | int,
    *,
    cached_share: float = 0.0,
    prefix_blocks: Sequence[Sequence[int]] = (),
) -> Requests:
    """Return requests at these times; lengths are arrays, or one number for all.

    Shapes: arrays (requests,). `cached_share`: the part of every prompt that the prefix cache holds.
    Raises: ValueError as `Requests` does, and for a share outside 0…1.
    """
    if not 0.0 <= cached_share <= 1.0:
        raise ValueError(f"cached_share is {cached_share}: give a part of the prompt between 0 and 1")
    shape = np.shape(arrival_s)
    prompts = np.array(np.broadcast_to(np.asarray(prompt_tokens, dtype=np.int64), shape))
    outputs = np.array(np.broadcast_to(np.asarray(output_tokens, dtype=np.int64), shape))
    cached = np.minimum((prompts * cached_share).astype(np.int64), prompts - 1)
    return Requests(
        np.asarray(arrival_s, dtype=np.float64),
        prompts,
        outputs,
        cached,
        tuple(tuple(blocks) for blocks in prefix_blocks),
    )


def even_arrivals_s(rate: float, count: int) -> Floats:
    """Return `count` arrivals at one distance, the first at 0. Units: 1/s, s."""
    return np.arange(count, dtype=np.float64) / rate


def poisson_arrivals_s(rate: float, count: int, rng: np.random.Generator) -> Floats:
    """Return `count` arrivals of a Poisson process, the first at 0. Units: 1/s, s."""
    return gamma_arrivals_s(rate, count, 1.0, rng)


def gamma_arrivals_s(rate: float, count: int, cv: float, rng: np.random.Generator) -> Floats:
    """Return `count` arrivals whose distances are of a Gamma distribution, the first at 0.

    `cv` is the distances' standard deviation over their mean: 1 is Poisson, more comes in bursts.
    Raises: ValueError unless rate and cv are above 0.
    """
    if rate <= 0 or cv <= 0:
        raise ValueError(f"rate {rate} and cv {cv} must both be above 0")
    shape = 1.0 / cv**2
    gaps = rng.gamma(shape, 1.0 / (rate * shape), count)
    gaps[0] = 0.0
    return np.asarray(np.cumsum(gaps), dtype=np.float64)


def stretched_s(arrival_s: Floats, last_s: float) -> Floats:
    """Return the arrivals scaled so that the last comes at `last_s`.

    vLLM's `bench serve` does so with its random arrivals: n requests at rate r take n/r seconds exactly.
    """
    return np.asarray(arrival_s * (last_s / arrival_s[-1]), dtype=np.float64)
