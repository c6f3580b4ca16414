"""The mean step, TPOT and TTFT of a deployment under a closed loop of requests, without simulating it.

Simulating every point of a grid takes minutes; this takes microseconds, and it is the form in which
coefficients are fitted, so that nothing between the fit and the answer can drift. It is a fixed point: how
many of the requests in flight are being answered (the others wait or are being read) depends on how long
steps take, which depends on how many are being answered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from entrepot.tokenomics.clock import PIECE_TOKENS
from entrepot.tokenomics.deployment import Deployment
from entrepot.tokenomics.step_terms import (
    PROMPT_TERMS,
    TERMS,
    Floats,
    StepLoad,
    TermScales,
    term_scales,
    terms,
)

USUAL_WAITS = (0.89, 10.6, 0.083, 0.0)
"""How often mean TTFT holds each of `WAITS` while the batch is found: of all engines together, fitted to the
2,215 rows of silicon_measured.csv that are aggregated and whose cache is not full. What TTFT is then said to
be has those of its engine (`first_token`)."""
WAITS = ("reading its prompt alone", "a step per piece", "the prompts of all at once", "a second")
"""What mean TTFT of a closed loop is a sum of; its runs begin with a burst, so that the third is in it."""
BURST = 2
"""The place of the third, which a loop that has gone on for long does not have."""
_NEARLY = 1e-3
_ROUNDS = 12  # halves its error in each; 12 leave less than the model's own
_IS_PROMPT = np.array([name in PROMPT_TERMS for name in TERMS])
_ALONE = 1.0  # least sequences in a batch that answers at all


@dataclass(frozen=True, slots=True)
class Loads:
    """Operating points of one deployment: how many requests at once, and how long they are.

    Shapes: arrays (n,). Units: requests, mean tokens.
    """

    concurrency: Floats
    prompt_tokens: Floats
    output_tokens: Floats


@dataclass(frozen=True, slots=True)
class MeanSteps:
    """What the steps of operating points do on average, and what that takes.

    Shapes: (n,), (n, len(TERMS)) of `parts`, in seconds at peak per output token, and (n, len(WAITS)) of
    `waits`. Units: sequences, seconds. `least_ttft_s` is what requests wait at least, since an engine has no
    time for more than a full batch of them; of split deployments it is all.
    """

    decoding: Floats
    parts: Floats
    tpot_s: Floats
    waits: Floats
    least_ttft_s: Floats
    is_full: NDArray[np.bool_]

    def ttft_s(self, waits: Sequence[float]) -> Floats:
        """Return mean TTFT when it holds so many times each of `WAITS`. Shapes: (len(WAITS),) to (n,)."""
        return np.maximum(self.waits @ np.asarray(waits, dtype=np.float64), self.least_ttft_s)


def mean_steps(deployment: Deployment, weights: Floats, loads: Loads) -> MeanSteps:
    """Return the mean steps of a deployment whose parts take `weights` times their peak.

    Shapes: `weights` (len(TERMS),).
    """
    scales = term_scales(deployment)
    if deployment.mode == "prefill":
        return _reading(scales, weights, loads)
    room = _room(deployment, loads)
    least = np.minimum(_ALONE, loads.concurrency)
    state = _State(scales, weights, loads, with_prompts=deployment.mode == "agg")
    decoding = np.minimum(np.maximum(loads.concurrency, _ALONE), room)
    mean = state.at(decoding)
    for _ in range(_ROUNDS):
        answer_s = loads.output_tokens * mean.tpot_s
        share = answer_s / (answer_s + mean.ttft_s(USUAL_WAITS))
        decoding = 0.5 * (decoding + np.clip(loads.concurrency * share, least, room))
        mean = state.at(decoding)
    is_full = decoding >= room * (1 - _NEARLY)
    most = state.at(np.minimum(np.maximum(loads.concurrency, _ALONE), room))
    no_time_s = loads.concurrency / state.most_requests_per_s(most) - loads.output_tokens * mean.tpot_s
    least_ttft_s = np.maximum(mean.least_ttft_s, no_time_s)
    return MeanSteps(decoding, mean.parts, mean.tpot_s, mean.waits, least_ttft_s, is_full)


@dataclass(frozen=True, slots=True)
class _State:
    """The steps of a deployment at loads, given how many sequences are being answered."""

    scales: TermScales
    weights: Floats
    loads: Loads
    with_prompts: bool

    def at(self, decoding: Floats) -> MeanSteps:
        """Return the mean steps when so many sequences are being answered."""
        parts = _mean_parts(self.scales, self.loads, decoding, with_prompts=self.with_prompts)
        tpot_s: Floats = parts @ self.weights
        own_s = _prompt_s(self.scales, self.weights, self.loads, decoding)
        nothing = np.zeros_like(decoding)
        if self.with_prompts:
            pieces = np.ceil(self.loads.prompt_tokens / PIECE_TOKENS)
            burst_s = self.loads.concurrency * own_s
            waits = np.stack(
                [self.scales.groups * own_s, pieces * self._quiet_s(parts), burst_s, nothing + 1.0], axis=1
            )
            least_ttft_s = nothing
        else:  # read elsewhere, as fast as here, and handed over
            waits, least_ttft_s = np.zeros((len(decoding), len(WAITS))), own_s + tpot_s
        return MeanSteps(
            decoding, parts, tpot_s, waits, least_ttft_s, np.zeros(decoding.shape, dtype=np.bool_)
        )

    def most_requests_per_s(self, mean: MeanSteps) -> Floats:
        """Return the requests/s of a batch at which the engine has no time left: prompts, then steps."""
        steps_s = self.loads.output_tokens / np.maximum(mean.decoding, 1e-9) * self._quiet_s(mean.parts)
        if not self.with_prompts:
            return 1.0 / steps_s
        return 1.0 / (steps_s + _prompt_s(self.scales, self.weights, self.loads, mean.decoding))

    def _quiet_s(self, parts: Floats) -> Floats:
        """Return the seconds of a step without its prompts."""
        seconds: Floats = parts[:, ~_IS_PROMPT] @ self.weights[~_IS_PROMPT]
        return seconds


def _room(deployment: Deployment, loads: Loads) -> Floats:
    """Return how many sequences the cache holds at their mean length."""
    context = loads.prompt_tokens + loads.output_tokens / 2
    lengths, where = np.unique(np.maximum(context, 1.0), return_inverse=True)
    room = np.array([deployment.kv_capacity(max(1, round(length))) / length for length in lengths])
    return np.asarray(np.maximum(room[where], float(deployment.dp)))


def _mean_parts(scales: TermScales, loads: Loads, decoding: Floats, *, with_prompts: bool) -> Floats:
    """Return the parts of the mean step: some steps have a piece of a prompt in them, the others none."""
    nothing = np.zeros_like(decoding)
    held = decoding * (loads.prompt_tokens + loads.output_tokens / 2)
    quiet = terms(scales, StepLoad(decoding, held, nothing, nothing))
    if not with_prompts:
        return quiet
    # nobody waits for their own prompt: the others' are read between their tokens
    others = np.maximum(loads.concurrency - 1.0, 0.0) / np.maximum(loads.concurrency, 1.0)
    prompts = decoding * others / loads.output_tokens
    pieces = np.ceil(loads.prompt_tokens / PIECE_TOKENS)
    share = np.minimum(prompts * pieces, 1.0)
    per_step = prompts * loads.prompt_tokens / np.maximum(share, 1e-12)
    pairs = per_step * loads.prompt_tokens / 2
    busy = terms(scales, StepLoad(decoding, held, per_step, pairs))
    return quiet + share[:, None] * (busy - quiet)


def _prompt_s(scales: TermScales, weights: Floats, loads: Loads, decoding: Floats) -> Floats:
    """Return the seconds that reading one prompt adds to the steps it is in."""
    pieces = np.ceil(loads.prompt_tokens / PIECE_TOKENS)
    tokens = loads.prompt_tokens / pieces
    held = decoding * (loads.prompt_tokens + loads.output_tokens / 2)
    parts = terms(scales, StepLoad(decoding, held, tokens, tokens * loads.prompt_tokens / 2))
    seconds: Floats = pieces * (parts[:, _IS_PROMPT] @ weights[_IS_PROMPT])
    return seconds


def _reading(scales: TermScales, weights: Floats, loads: Loads) -> MeanSteps:
    """Return the steps of a worker that only reads prompts, one after another."""
    nothing = np.zeros_like(loads.prompt_tokens)
    pieces = np.ceil(loads.prompt_tokens / PIECE_TOKENS)
    tokens = loads.prompt_tokens / pieces
    parts = (
        terms(scales, StepLoad(nothing, nothing, tokens, tokens * loads.prompt_tokens / 2)) * pieces[:, None]
    )
    seconds = parts @ weights
    waiting = np.maximum(loads.concurrency, 1.0)
    no_waits = np.zeros((len(seconds), len(WAITS)))
    return MeanSteps(nothing, parts, nothing, no_waits, seconds * waiting, waiting > 1.0)
