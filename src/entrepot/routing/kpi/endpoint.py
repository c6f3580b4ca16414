"""What is measured of one endpoint: decayed sums, from which its forecast and its estimates are made."""

from math import exp2

from entrepot.domain.outcome import Outcome
from entrepot.routing.kpi.observation import Observation
from entrepot.routing.kpi.outlook import Outlook
from entrepot.routing.kpi.priors import Priors
from entrepot.routing.kpi.timing import PSEUDO_COUNT, Timing

FAILURE_FLOOR_S = 1.0
"""A failure is charged at least this much waiting, and this much until one was seen: if it cost only what it
took, an endpoint that refuses at once would be free to try, and every request would try it first."""

RUN_PSEUDO_COUNT = 1.0
"""The failures since the last success are judged on their own with this much of the prior: an outage is not
an average. Ten in a row give 0.91, a hundred 0.99; one success ends it."""

RUN_HALF_LIFE_S = 60.0
"""A run of failures loses half its count in this time, so that a silent endpoint is tried again."""

ASSUMED_TOKENS_PER_BYTE = 1 / 200
"""Of a stream: a chunk of a chat answer with one token has about 200 bytes."""

BOUND_TOKENS_PER_BYTE = 1 / 48
"""The shortest event that we know, `data: {"choices":[{"text":" a","index":0}]}` and a blank line."""

_OK = Outcome.OK
_CANCELLED = Outcome.CANCELLED
_TIMED_OUT = Outcome.TIMED_OUT
_REFUSED = Outcome.REFUSED


_SUMS = (
    "observations",
    "trials",
    "failures",
    "failed_s",
    "wasted",
    "prompts",
    "prompt_tokens",
    "cached_tokens",
    "streams",
    "stream_rate",
    "stream_rate_square",
)
"""The decayed sums that are plain numbers, in the order in which they are kept."""


class EndpointMeasures:
    """The decayed sums of one endpoint; the holder gives each observation its weight.

    Units: weights of the holder, times seconds, tokens, or tokens per byte of a stream. `run` is the count of
    failures since the last success, which decays on its own.
    """

    __slots__ = (*_SUMS, "last_at_s", "run", "run_at_s", "tpot", "ttft")

    observations: float
    trials: float
    failures: float
    failed_s: float
    wasted: float
    prompts: float
    prompt_tokens: float
    cached_tokens: float
    streams: float
    stream_rate: float
    stream_rate_square: float

    def __init__(self) -> None:
        self.ttft = Timing()
        self.tpot = Timing()
        self.last_at_s: float | None = None
        self.run = 0.0
        self.run_at_s = 0.0
        self.restore_sums([0.0] * len(_SUMS))

    def observe(self, seen: Observation, weight: float, outlook: Outlook) -> None:
        """Count one ended attempt; `outlook` is the forecast before it, which places what was censored."""
        outcome = seen.outcome
        if outcome is _REFUSED:
            return
        self.last_at_s = seen.at_s
        self.observations += weight
        ttft_s, tpot_s = seen.ttft_s, seen.tpot_s
        if outcome is _OK:
            self.trials += weight
            self.run = 0.0
            if ttft_s is None:
                ttft_s, tpot_s = split_whole_answer(seen, outlook)
            self._observe_tokens(seen, weight)
        elif outcome is not _CANCELLED:
            self._observe_failure(seen, weight)
        elif ttft_s is not None:  # it had begun to answer; before that nobody knows whether it would have
            self.trials += weight
            self.run = 0.0
        if ttft_s is not None:
            self.ttft.add(ttft_s, weight, seen.in_flight)
        elif outcome is _CANCELLED or outcome is _TIMED_OUT:
            self.ttft.add_at_least(seen.answer_s, weight, seen.in_flight, expected=outlook.ttft_s)
        if tpot_s is not None:
            self.tpot.add(tpot_s, weight, seen.in_flight)

    def _observe_failure(self, seen: Observation, weight: float) -> None:
        self.trials += weight
        self.failures += weight
        self.failed_s += weight * seen.answer_s
        if seen.ttft_s is not None:  # what was written before the failure is billed
            self.wasted += weight
        self.run = self.run_at(seen.at_s) + 1.0
        self.run_at_s = seen.at_s

    def _observe_tokens(self, seen: Observation, weight: float) -> None:
        prompt_tokens, output_tokens = seen.prompt_tokens, seen.output_tokens
        if prompt_tokens:
            self.prompts += weight
            self.prompt_tokens += weight * prompt_tokens
            self.cached_tokens += weight * seen.cached_tokens
        if output_tokens and seen.wire_bytes:
            rate = output_tokens / seen.wire_bytes
            self.streams += weight
            self.stream_rate += weight * rate
            self.stream_rate_square += weight * rate * rate

    def refresh(self, outlook: Outlook, priors: Priors, unit: float, now_s: float) -> None:
        """Write the present forecast into `outlook`; `unit` is the weight of an observation made now."""
        pseudo = PSEUDO_COUNT * unit
        outlook.ttft_s, outlook.ttft_per_in_flight_s = self.ttft.forecast(priors.ttft_s.value, unit)
        outlook.tpot_s, outlook.tpot_per_in_flight_s = self.tpot.forecast(priors.tpot_s.value, unit)
        outlook.observations = (
            int(100.0 * self.observations / unit + 0.5) / 100.0
        )  # round() takes ten times as long
        prior = priors.failure_share.value
        p_failure = (self.failures + pseudo * prior) / (self.trials + pseudo)
        if self.failures > 0.0:
            known_s = (self.failed_s + pseudo * FAILURE_FLOOR_S) / (self.failures + pseudo)
            outlook.failure_s = max(known_s, FAILURE_FLOOR_S)
            outlook.wasted_share = self.wasted / (self.failures + pseudo)
            run = self.run_at(now_s)
            p_failure = max(p_failure, (run + RUN_PSEUDO_COUNT * prior) / (run + RUN_PSEUDO_COUNT))
        outlook.p_failure = p_failure
        if self.cached_tokens > 0.0:
            trust = self.prompts / (self.prompts + pseudo)
            outlook.cached_share = min(trust * self.cached_tokens / self.prompt_tokens, 1.0)

    def run_at(self, now_s: float) -> float:
        """Return the failures since the last success, as many as still count."""
        return self.run * exp2((self.run_at_s - now_s) / RUN_HALF_LIFE_S) if self.run else 0.0

    def stream_tokens_per_byte(self, unit: float) -> tuple[float, float]:
        """Return the output tokens per byte of a streamed answer: expected, and seldom passed.

        The bound is the mean and two standard deviations; both are shrunk to what is assumed.
        """
        pseudo = PSEUDO_COUNT * unit
        whole = self.streams + pseudo
        expected = (self.stream_rate + pseudo * ASSUMED_TOKENS_PER_BYTE) / whole
        if self.streams <= 0.0:
            return expected, BOUND_TOKENS_PER_BYTE
        mean = self.stream_rate / self.streams
        deviation = max(self.stream_rate_square / self.streams - mean * mean, 0.0) ** 0.5
        bound = (self.streams * (mean + 2.0 * deviation) + pseudo * BOUND_TOKENS_PER_BYTE) / whole
        return expected, max(bound, expected)

    def scale(self, factor: float) -> None:
        """Multiply all weights, when the holder moves its landmark."""
        self.ttft.scale(factor)
        self.tpot.scale(factor)
        self.restore_sums([factor * kept for kept in self.sums()])

    def sums(self) -> list[float]:
        """Return the plain decayed sums, for keeping."""
        return [getattr(self, name) for name in _SUMS]

    def restore_sums(self, sums: list[float]) -> None:
        """Take kept sums in place of the present ones.

        Raises: ValueError when they are not as many as expected, or one is not finite and ≥ 0.
        """
        if len(sums) != len(_SUMS) or not all(0 <= kept < float("inf") for kept in sums):
            raise ValueError(f"sums {sums!r}: expected {len(_SUMS)} finite numbers ≥ 0")
        for name, kept in zip(_SUMS, sums, strict=True):
            setattr(self, name, kept)


def split_whole_answer(seen: Observation, outlook: Outlook) -> tuple[float | None, float | None]:
    """Return TTFT and TPOT of an answer that came in one piece: its time, split in the expected proportions.

    Only the sum was seen. Without a token count it is all one part unknown, and teaches nothing.
    """
    if seen.output_tokens is None:
        return None, None
    load = seen.in_flight
    ttft_s = outlook.ttft_s + load * outlook.ttft_per_in_flight_s
    if not seen.output_tokens:
        return seen.answer_s, None
    tpot_s = outlook.tpot_s + load * outlook.tpot_per_in_flight_s
    ratio = seen.answer_s / (ttft_s + seen.output_tokens / seen.choices * tpot_s)
    return ttft_s * ratio, tpot_s * ratio
