"""How long answers are: drawn per request and model, with the distribution that an oracle may know."""

from __future__ import annotations

from entrepot.replay.draws import LENGTH_PLACE, PROMPT_BYTES_PLACE, Draws, log_normal, normal_quantile
from entrepot.replay.scenario import ReplayModel
from entrepot.replay.trace import Trace

SAMPLES = 256
"""Of a distribution of lengths: probabilities come out in steps of 0.4 %."""

AT_ONCE = 500
"""Requests over whose answers a mean is taken: it is then known to about four percent."""

STEPS = (0.7548776662466927, 0.5698402909980532)
"""Of the second and third coordinate of evenly spread points: 1/ρ and 1/ρ², where ρ³ = ρ + 1."""

BYTES_PER_TOKEN = 4.0
BYTES_SPREAD = 0.15
"""Bytes of a request per prompt token, and how much that differs between requests: about English prose."""

_HALF = 0.5


class Lengths:
    """The output tokens of one model on a trace.

    Units: tokens; `factor` is the drift of the model's verbosity at that time. What is expected of a request
    is the mean over those of the trace that came at about its time with a prompt of about its length: both
    tell something of the answer, and everybody sees them before it.
    """

    def __init__(self, model: ReplayModel, place: int, trace: Trace) -> None:
        self._place = LENGTH_PLACE + place
        self._outputs = [request.output_tokens for request in trace.requests]
        self._verbosity = model.verbosity
        self._mean_tokens, self._spread = model.verbosity_tokens, model.verbosity_spread
        self.mean = self._mean_tokens or sum(
            _whole(output * self._verbosity) for output in self._outputs
        ) / max(len(self._outputs), 1)
        self.samples = self._sorted_samples()
        self._expected = None if self._mean_tokens is not None else expected_outputs(trace)
        self._mean_output = sum(self._outputs) / max(len(self._outputs), 1) or 1.0

    def expected_part(self, request: int) -> float:
        """Return how long the answer to this request is expected to be, in proportion to the mean of all."""
        return 1.0 if self._expected is None else self._expected[request] / self._mean_output

    def drawn(self, draws: Draws, request: int, factor: float) -> int:
        """Return the tokens of this request's answer: of at least one."""
        if self._mean_tokens is None:
            return _whole(self._outputs[request] * self._verbosity * factor)
        normal, _, _ = draws.of(request, self._place)
        return _whole(self._mean_tokens * log_normal(normal, self._spread) * factor)

    def _sorted_samples(self) -> list[float]:
        if self._mean_tokens is not None:
            return [
                self._mean_tokens * log_normal(normal_quantile((part + _HALF) / SAMPLES), self._spread)
                for part in range(SAMPLES)
            ]
        ordered = sorted(self._outputs) or [1]
        return [
            self._verbosity * ordered[int((part + _HALF) / SAMPLES * len(ordered))] for part in range(SAMPLES)
        ]


def expected_outputs(trace: Trace) -> list[float]:
    """Return the expected output tokens of each request: of its prompt's length, at its time.

    Prompts of one class are within a factor of two; of those the mean is taken over the stretch of
    `AT_ONCE` that the request is in.
    """
    classes: dict[int, list[int]] = {}
    for number, request in enumerate(trace.requests):
        classes.setdefault(request.prompt_tokens.bit_length(), []).append(number)
    expected = [0.0] * len(trace.requests)
    for numbers in classes.values():
        stretches = max(1, round(len(numbers) / AT_ONCE))
        for stretch in range(stretches):
            inside = numbers[len(numbers) * stretch // stretches : len(numbers) * (stretch + 1) // stretches]
            mean = sum(trace.requests[number].output_tokens for number in inside) / len(inside)
            for number in inside:
                expected[number] = mean
    return expected


def prompt_bytes(trace: Trace, draws: Draws) -> list[int]:
    """Return the bytes of each request's body: its tokens times what is usual, with noise of its own."""
    return [
        max(
            1,
            round(
                request.prompt_tokens
                * BYTES_PER_TOKEN
                * log_normal(draws.of(number, PROMPT_BYTES_PLACE)[0], BYTES_SPREAD)
            ),
        )
        for number, request in enumerate(trace.requests)
    ]


def spread_normals(step: float) -> list[float]:
    """Return as many standard normal draws as there are samples of a length, evenly spread beside those.

    `step` is one of `STEPS`, by which points are put down. Source: Roberts, "The Unreasonable
    Effectiveness of Quasirandom Sequences", 2018: three coordinates are covered by 256 points as by
    thousands of random ones.
    """
    return [normal_quantile((_HALF + place * step) % 1.0) for place in range(SAMPLES)]


def _whole(tokens: float) -> int:
    return int(tokens + 0.5) or 1
