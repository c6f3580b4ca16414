"""The step times of one deployment: a clock for the engine, and operating points in closed form.

Both evaluate the same sum of parts. The clock folds everything that does not change with a step into a few
numbers when it is made, since an engine asks it millions of times; a test holds it to the array form.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from entrepot.tokenomics.coefficients import DeploymentCoefficients, StepCoefficients
from entrepot.tokenomics.deployment import Deployment
from entrepot.tokenomics.operating_point import Loads, MeanSteps, mean_steps
from entrepot.tokenomics.step_terms import LEAST_PIECE, TERMS, Floats, TermScales, term_scales

_US = 1e-6


@dataclass(frozen=True, slots=True)
class StepTime:
    """How long steps of one replica take: a `StepClock`.

    Units: tokens; seconds, per step, sequence, held token, token in a window, prompt token and pair. `pace`
    is how many of its sequences' tokens a step yields (speculative decoding); an engine's step is one token
    of each.
    """

    kv_capacity_tokens: int
    base_s: float
    sequence_s: float
    held_s: float
    selected_s: float
    selected_tokens: float
    window_s: float
    window_tokens: float
    experts_s: float
    unchosen: float
    verified: float
    prompt_s: float
    pair_s: float
    selected_pair_s: float
    window_pair_s: float
    piece_s: float
    piece_experts_s: float
    least_piece: float

    @classmethod
    def of(cls, deployment: Deployment, values: Floats) -> StepTime:
        """Return the clock of a deployment whose parts take `values` times their peak.

        Shapes: `values` (len(TERMS),).
        """
        scales = term_scales(deployment)
        times = dict(zip(TERMS, (float(value) for value in values), strict=True))
        kv, pairs = times["kv"], times["attention_flops"] * scales.verified
        share, pace = scales.stage_share, scales.stage_share / scales.tokens_per_step
        is_sparse, has_window = scales.selected_tokens < np.inf, scales.window_tokens > 0
        selected = scales.full_kv_s * kv + scales.full_pair_s * pairs
        prompt_selected = scales.prompt_full_pair_s * times["prompt_attention"] * share
        return cls(
            kv_capacity_tokens=deployment.kv_capacity_tokens,
            base_s=_fixed_s(scales, times) / scales.tokens_per_step,
            sequence_s=_sequence_s(scales, times) * pace,
            held_s=(scales.index_kv_s * kv + scales.index_pair_s * pairs + (0.0 if is_sparse else selected))
            * pace,
            selected_s=selected * pace if is_sparse else 0.0,
            selected_tokens=scales.selected_tokens,
            window_s=(scales.window_kv_s * kv + scales.window_pair_s * pairs) * pace if has_window else 0.0,
            window_tokens=scales.window_tokens,
            experts_s=scales.experts_s * times["experts"] / scales.tokens_per_step,
            unchosen=1.0 - scales.chosen_share,
            verified=scales.verified * share,
            prompt_s=_prompt_s(scales, times) * share,
            pair_s=scales.index_pair_s * times["prompt_attention"] * share
            + (0.0 if is_sparse else prompt_selected),
            selected_pair_s=prompt_selected if is_sparse else 0.0,
            window_pair_s=scales.prompt_window_pair_s * times["prompt_attention"] * share
            if has_window
            else 0.0,
            piece_s=scales.layers * _US * times["prompt_layer"],
            piece_experts_s=scales.experts_s * times["prompt_experts"],
            least_piece=LEAST_PIECE / share,
        )

    def step_s(
        self, decoding: float, held_tokens: float, prompt_tokens: float = 0.0, prompt_pairs: float = 0.0
    ) -> float:
        """Return the seconds of one step; see `StepClock`."""
        seconds = self.base_s + self.sequence_s * decoding + self.held_s * held_tokens
        if self.window_s:
            most = decoding * self.window_tokens
            seconds += self.window_s * (held_tokens if held_tokens < most else most)
        if self.selected_s:
            most = decoding * self.selected_tokens
            seconds += self.selected_s * (held_tokens if held_tokens < most else most)
        left = 1.0
        if self.experts_s:
            left = self.unchosen ** (decoding * self.verified)
            seconds += self.experts_s * (1.0 - left)
        if prompt_tokens > 0.0:
            seconds += self._prompt(prompt_tokens, prompt_pairs, left)
        return seconds

    def _prompt(self, tokens: float, pairs: float, left: float) -> float:
        """Return the seconds that prompt tokens add; `left` is the share of experts not read anyway."""
        share = min(tokens / self.least_piece, 1.0)
        seconds = self.prompt_s * tokens + self.pair_s * pairs + self.piece_s * share
        if self.window_pair_s:
            seconds += self.window_pair_s * min(pairs, tokens * self.window_tokens)
        if self.selected_pair_s:
            seconds += self.selected_pair_s * min(pairs, tokens * self.selected_tokens)
        if self.piece_experts_s:
            more = self.unchosen ** (max(tokens, self.least_piece) * LEAST_PIECE / self.least_piece)
            seconds += self.piece_experts_s * share * left * (1.0 - more)
        return seconds


@dataclass(frozen=True, slots=True)
class OperatingPoints:
    """What closed loops of requests get from one deployment.

    Shapes: (n,). Units: seconds; requests and tokens per second of the whole replica; sequences. `*_low_s`
    and `*_high_s` hold 80 % of measurements. `is_full` says that the cache limits the batch: requests wait.
    """

    decoding: Floats
    tpot_s: Floats
    tpot_low_s: Floats
    tpot_high_s: Floats
    ttft_s: Floats
    ttft_low_s: Floats
    ttft_high_s: Floats
    requests_per_s: Floats
    output_tokens_per_s: Floats
    output_tokens_per_s_gpu: Floats
    is_full: NDArray[np.bool_]


def operating_points(deployment: Deployment, coefficients: StepCoefficients, loads: Loads) -> OperatingPoints:
    """Return the operating points of a deployment at loads, with their intervals."""
    return points_of(deployment, coefficients.of(deployment), loads)


def points_of(deployment: Deployment, known: DeploymentCoefficients, loads: Loads) -> OperatingPoints:
    """Return the operating points of a deployment whose coefficients are known."""
    mean: MeanSteps = mean_steps(deployment, known.values, loads)
    ttft_s = mean.ttft_s(known.first_token.waits)
    cycle_s = ttft_s + loads.output_tokens * mean.tpot_s
    requests = loads.concurrency / cycle_s
    output = requests * loads.output_tokens
    return OperatingPoints(
        decoding=mean.decoding,
        tpot_s=mean.tpot_s,
        tpot_low_s=mean.tpot_s * known.spread.low,
        tpot_high_s=mean.tpot_s * known.spread.high,
        ttft_s=ttft_s,
        ttft_low_s=ttft_s * known.first_token.spread.low,
        ttft_high_s=ttft_s * known.first_token.spread.high,
        requests_per_s=requests,
        output_tokens_per_s=output,
        output_tokens_per_s_gpu=output / deployment.gpus,
        is_full=mean.is_full,
    )


def _fixed_s(scales: TermScales, times: dict[str, float]) -> float:
    at_peak_s = {
        "weights": scales.weights_s,
        "link_latency": scales.link_latency_s,
        "layer": scales.layers * _US,
        "moe_layer": scales.moe_layers * _US,
        "linear_layer": scales.linear_layers * _US,
        "index_layer": scales.index_layers * _US,
        "step": 1e3 * _US,
        "stage": scales.stages_s,
    }
    return sum(seconds * times[name] for name, seconds in at_peak_s.items())


def _sequence_s(scales: TermScales, times: dict[str, float]) -> float:
    """Return the seconds per sequence of a batch, without its cache and its experts."""
    return (
        scales.state_s_per_sequence * times["kv"]
        + scales.flops_s_per_token * scales.verified * times["flops"]
        + scales.links_s_per_token * scales.verified * times["links"]
        + scales.exchange_s_per_token * scales.verified * times["exchange"]
        + _US * times["request"]
        + 1e-2 * _US * scales.layers / scales.groups * times["request_layer"]
    )


def _prompt_s(scales: TermScales, times: dict[str, float]) -> float:
    return (
        scales.flops_s_per_token * times["prompt_flops"]
        + scales.links_s_per_token * times["prompt_links"]
        + scales.prompt_exchange_s_per_token * times["prompt_exchange"]
    )
