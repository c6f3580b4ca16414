"""What an engine asks of a step-time model: how long one step takes.

The engine, the prices and the frontier know deployments only through this; a model fitted to measurements,
one calibrated by a host's own records and the simplest arithmetic of a test all answer it.
"""

from typing import Protocol

PIECE_TOKENS = 8192
"""Of prompts that one step reads at most: the default of vLLM and SGLang on large devices."""


class StepClock(Protocol):
    """How long the steps of one replica take, and how many tokens its KV cache holds.

    Units: seconds; `kv_capacity_tokens` tokens of all sequences together.
    """

    @property
    def kv_capacity_tokens(self) -> int:
        """Return how many tokens the KV cache of the replica holds."""
        ...

    def step_s(
        self, decoding: float, held_tokens: float, prompt_tokens: float = 0.0, prompt_pairs: float = 0.0
    ) -> float:
        """Return the seconds of one step.

        `decoding` sequences, which hold `held_tokens` in all, get one token each; `prompt_tokens` of prompts
        are read in the same step, whose attention has `prompt_pairs` pairs (a token of a prompt, a token
        before it). Fractions are allowed: a mean step has them.
        """
        ...
