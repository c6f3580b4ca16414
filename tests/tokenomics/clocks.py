"""The simplest arithmetic that answers what an engine asks of a step-time model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LinearClock:
    """A step is a constant and something per sequence, held token, prompt token and pair. Units: seconds."""

    kv_capacity_tokens: int = 400_000
    fixed_s: float = 0.010
    sequence_s: float = 0.000_05
    held_s: float = 0.000_000_05
    prompt_s: float = 0.000_05
    pair_s: float = 0.000_000_001

    def step_s(
        self, decoding: float, held_tokens: float, prompt_tokens: float = 0.0, prompt_pairs: float = 0.0
    ) -> float:
        """Return the seconds of one step."""
        return (
            self.fixed_s
            + self.sequence_s * decoding
            + self.held_s * held_tokens
            + self.prompt_s * prompt_tokens
            + self.pair_s * prompt_pairs
        )
