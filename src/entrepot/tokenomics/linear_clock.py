"""The plainest step-time model: a sum of terms, each linear in what a step does.

Calibration fits it, since a host's records tell a few coefficients and no more; a model that is fitted to
many systems (`step_time`) answers the same protocol. A `max` of compute and memory was not taken: measured
steps follow sums, and a sum keeps a run of decode steps an arithmetic progression, which the engine jumps
over.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearClock:
    """A clock whose step costs a constant, something per sequence, per held token and per prompt token.

    Units: seconds, seconds per sequence, held token, prompt token and pair of tokens; `reading_s` is added to
    a step that reads any prompt (its kernels are launched one by one, without a recorded graph); `floor_s` is
    the shortest step with work (a processor that launches kernels one by one hides what the accelerator does
    meanwhile). `experts_s` is the time to read all routed experts of a mixture, of which `expert_share` serve
    one token: a step reads the expected union, experts_s · (1 − (1 − expert_share)^tokens).
    """

    kv_capacity_tokens: int
    base_s: float = 0.0
    sequence_s: float = 0.0
    held_s: float = 0.0
    prompt_s: float = 0.0
    reading_s: float = 0.0
    pair_s: float = 0.0
    experts_s: float = 0.0
    expert_share: float = 0.0
    floor_s: float = 0.0

    def step_s(
        self, decoding: float, held_tokens: float, prompt_tokens: float = 0.0, prompt_pairs: float = 0.0
    ) -> float:
        """Return the seconds of one step; see `StepClock`."""
        seconds = (
            self.base_s
            + self.sequence_s * decoding
            + self.held_s * held_tokens
            + self.prompt_s * prompt_tokens
            + self.pair_s * prompt_pairs
        )
        if prompt_tokens:
            seconds += self.reading_s
        if self.experts_s:
            seconds += self.experts_s * (1.0 - (1.0 - self.expert_share) ** (decoding + prompt_tokens))
        return seconds if seconds > self.floor_s else self.floor_s
