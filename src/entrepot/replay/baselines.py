"""Routers to compare with: the rules that gateways publish, each seeing only what a router can see.

Every rule ranks all endpoints whose window holds the prompt; the first is tried first, the rest are the
fallbacks in the rule's own order. Where a rule needs a figure that nobody has yet, an endpoint goes first,
so that it is tried: what the originals do where they say anything of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping, Sequence
from math import exp
from random import Random

from entrepot.domain.money import NUSD_PER_USD
from entrepot.domain.outcome import BLAMED, Outcome
from entrepot.domain.prices import Prices
from entrepot.replay.asked import Asked, Terms
from entrepot.routing.kpi.observation import Observation

UNKNOWN_PRICE = Prices(5 * NUSD_PER_USD, 5 * NUSD_PER_USD)
"""USD per million tokens, of an endpoint without prices. Source: LiteLLM's lowest_cost.py, 2025."""

LAST_LATENCIES = 10
KEPT_S = 3600.0
TIMEOUT_COUNTS_S = 1000.0
"""Source: LiteLLM's lowest_latency.py, 2025."""

PEAK_TAU_S = 10.0
"""Source: Finagle's and linkerd's default."""

OUTAGE_S = 30.0
"""An endpoint that failed in the last 30 s is taken to be out. Source: OpenRouter's documentation, 2025."""

BYTES_PER_TOKEN = 4.0
ASSUMED_OUTPUT_TOKENS = 500.0
"""Before the first answer; afterwards the mean of all answers, of whatever model."""

_OK = Outcome.OK


class Baseline(ABC):
    """What all rules share: prices as told, and a count of attempts under way."""

    def __init__(self, terms: Terms) -> None:
        self.prices = [endpoint.prices or UNKNOWN_PRICE for endpoint in terms.endpoints]
        self.in_flight = [0] * len(terms.endpoints)
        self.random = Random(f"{type(self).__name__}/{terms.seed}")

    @abstractmethod
    def choose(self, asked: Asked, now_s: float) -> Sequence[int]:
        """Return the endpoints in the order of the rule."""

    def started(self, endpoint: int, number: int) -> int:
        """Count an attempt as under way; return how many others were."""
        others = self.in_flight[endpoint]
        self.in_flight[endpoint] = others + 1
        return others

    def ended(self, seen: Observation, number: int) -> None:
        """Count an attempt as no longer under way."""
        self.in_flight[seen.endpoint_index] -= 1
        self.learn(seen)

    def learn(self, seen: Observation) -> None:  # noqa: B027 - most rules learn nothing
        """Learn nothing, unless the rule does."""

    def reprice(self, prices: Mapping[int, Prices]) -> None:
        """Go by these prices."""
        for index, new in prices.items():
            self.prices[index] = new


class RoundRobin(Baseline):
    """Each endpoint in turn."""

    def choose(self, asked: Asked, now_s: float) -> Sequence[int]:
        """Return the endpoints from the one whose turn it is."""
        fits = asked.fits
        turn = asked.number % len(fits)
        return [*fits[turn:], *fits[:turn]]


class AtRandom(Baseline):
    """A random order."""

    def choose(self, asked: Asked, now_s: float) -> Sequence[int]:
        """Return the endpoints shuffled."""
        return self.random.sample(asked.fits, len(asked.fits))


class LeastListPrice(Baseline):
    """The least price of the request's tokens by the list, taking every model to write as much as all do."""

    def __init__(self, terms: Terms) -> None:
        super().__init__(terms)
        self._answers, self._tokens = 1.0, ASSUMED_OUTPUT_TOKENS

    def choose(self, asked: Asked, now_s: float) -> Sequence[int]:
        """Return the endpoints by input price × prompt + output price × a mean answer."""
        prompt_tokens, output_tokens = asked.prompt_bytes / BYTES_PER_TOKEN, self._tokens / self._answers
        costs = [
            of.input_nusd_per_mtok * prompt_tokens + of.output_nusd_per_mtok * output_tokens
            for of in self.prices
        ]
        return sorted(asked.fits, key=costs.__getitem__)

    def learn(self, seen: Observation) -> None:
        """Take an answer into the mean."""
        if seen.output_tokens is not None:
            self._answers += 1.0
            self._tokens += seen.output_tokens


class LeastUnitPrices(Baseline):
    """The least sum of input and output price per million tokens: LiteLLM's `cost-based-routing`."""

    def choose(self, asked: Asked, now_s: float) -> Sequence[int]:
        """Return the endpoints by the sum of their two prices."""
        costs = [of.input_nusd_per_mtok + of.output_nusd_per_mtok for of in self.prices]
        return sorted(asked.fits, key=costs.__getitem__)


class LeastMeanTtft(Baseline):
    """The least mean TTFT of all answers so far; endpoints without one first."""

    def __init__(self, terms: Terms) -> None:
        super().__init__(terms)
        self._sums = [0.0] * len(self.prices)
        self._counts = [0] * len(self.prices)
        self._means = [0.0] * len(self.prices)

    def choose(self, asked: Asked, now_s: float) -> Sequence[int]:
        """Return the endpoints by their mean TTFT; equals by what is under way."""
        means, in_flight = self._means, self.in_flight
        return sorted(asked.fits, key=lambda index: (means[index], in_flight[index]))

    def learn(self, seen: Observation) -> None:
        """Take a TTFT into the mean; a failure before it counts with the time it took."""
        waited_s = seen.answer_s if seen.ttft_s is None else seen.ttft_s
        index = seen.endpoint_index
        self._sums[index] += waited_s
        self._counts[index] += 1
        self._means[index] = self._sums[index] / self._counts[index]


class LeastInFlight(Baseline):
    """The fewest of our requests under way; equals at random: LiteLLM's `least-busy`."""

    def choose(self, asked: Asked, now_s: float) -> Sequence[int]:
        """Return the endpoints by their requests under way."""
        in_flight, draw = self.in_flight, self.random.random
        return sorted(asked.fits, key=lambda index: in_flight[index] + draw())


class LatencyOfTen(Baseline):
    """The least mean of the last ten latencies per token, kept an hour: LiteLLM's `latency-based-routing`.

    Seconds per output token, as the original takes them for whole answers. A timeout counts 1000 s, and so
    does any other failure here: the original keeps a failing host away by a cool-down instead.
    """

    def __init__(self, terms: Terms) -> None:
        super().__init__(terms)
        self._last: list[deque[tuple[float, float]]] = [deque(maxlen=LAST_LATENCIES) for _ in self.prices]

    def choose(self, asked: Asked, now_s: float) -> Sequence[int]:
        """Return the endpoints by the mean of what is kept; those without anything first, at random."""
        draw = self.random.random
        return sorted(asked.fits, key=lambda index: (self._mean(index, now_s), draw()))

    def _mean(self, index: int, now_s: float) -> float:
        last = self._last[index]
        while last and last[0][0] < now_s - KEPT_S:
            last.popleft()
        return sum(latency_s for _, latency_s in last) / len(last) if last else 0.0

    def learn(self, seen: Observation) -> None:
        """Keep a latency."""
        latency_s = TIMEOUT_COUNTS_S
        if seen.outcome is _OK:
            latency_s = seen.answer_s / (seen.output_tokens or 1)
        self._last[seen.endpoint_index].append((seen.at_s, latency_s))


class PeakEwma(Baseline):
    """The better of two random endpoints by peak-EWMA of the answer time × (under way + 1): Finagle, linkerd.

    A slower sample replaces the estimate at once, faster ones decay into it with τ = 10 s. A failure
    counts as twice the estimate, since one that comes fast must not attract.
    """

    def __init__(self, terms: Terms) -> None:
        super().__init__(terms)
        self._cost_s = [0.0] * len(self.prices)
        self._at_s = [0.0] * len(self.prices)

    def choose(self, asked: Asked, now_s: float) -> Sequence[int]:
        """Return the better of two, then the rest by the same measure."""
        cost_s, in_flight = self._cost_s, self.in_flight
        loads = {index: cost_s[index] * (in_flight[index] + 1) for index in asked.fits}
        pair = self.random.sample(asked.fits, min(2, len(asked.fits)))
        first = min(pair, key=loads.__getitem__)
        return [first, *sorted((index for index in asked.fits if index != first), key=loads.__getitem__)]

    def learn(self, seen: Observation) -> None:
        """Take in a peak at once and anything less slowly."""
        index = seen.endpoint_index
        kept_s, sample_s = self._cost_s[index], seen.answer_s
        if seen.outcome in BLAMED:
            sample_s = max(sample_s, 2.0 * kept_s)
        if sample_s < kept_s:
            weight = exp((self._at_s[index] - seen.at_s) / PEAK_TAU_S)
            sample_s = kept_s * weight + sample_s * (1.0 - weight)
        self._cost_s[index], self._at_s[index] = sample_s, seen.at_s


class InverseSquarePrice(Baseline):
    """Drawn in proportion to 1/price²; who failed in the last 30 s comes last: OpenRouter's old rule.

    The price is the sum of input and output price; the fallbacks are drawn the same way from those left.
    """

    def __init__(self, terms: Terms) -> None:
        super().__init__(terms)
        self._failed_s = [-OUTAGE_S] * len(self.prices)
        self._weights: list[float] = []
        self._weigh()

    def choose(self, asked: Asked, now_s: float) -> Sequence[int]:
        """Return the endpoints in a weighted random order.

        Each gets draw ** (1 / weight), the greatest first: the same as drawing them one after the other
        (Efraimidis and Spirakis, 2006).
        """
        draw, weights, since_s = self.random.random, self._weights, now_s - OUTAGE_S
        keys = {
            index: (self._failed_s[index] > since_s, -(draw() ** (1.0 / weights[index])))
            for index in asked.fits
        }
        return sorted(asked.fits, key=keys.__getitem__)

    def learn(self, seen: Observation) -> None:
        """Remember when an endpoint failed last."""
        if seen.outcome in BLAMED:
            self._failed_s[seen.endpoint_index] = seen.at_s

    def reprice(self, prices: Mapping[int, Prices]) -> None:
        """Go by these prices."""
        super().reprice(prices)
        self._weigh()

    def _weigh(self) -> None:
        sums = [max(of.input_nusd_per_mtok + of.output_nusd_per_mtok, 1) for of in self.prices]
        least = min(sums)
        self._weights = [(least / total) ** 2 for total in sums]
