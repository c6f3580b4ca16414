"""All endpoints as they truly are, and what an order of trying them is truly expected to cost.

Expectations, not draws: a router is judged by what its choice was worth when it made it, so that luck is no
merit and few requests suffice. Source of the objective: DESIGN.md §4.
"""

from __future__ import annotations

from collections.abc import Sequence

from entrepot.domain.prices import Prices
from entrepot.replay.lengths import Lengths
from entrepot.replay.place import LIMITED_S, Place
from entrepot.replay.scenario import ReplayScenario
from entrepot.replay.trace import Trace, TraceRequest

ROW_S = 1.0
"""True figures hold still for a second: drifts are slower, and all requests of it share the work."""

LEAST_ANSWERED = 0.01
"""Of all rounds through an order that cannot answer (all in outage): a hundred rounds, not for ever."""

_UNREACHED = 1e-4
_HALF = 0.5
_REFUSED = -1
_NEVER_USD = 1e12


class World:
    """The true state, as it follows from the trace and one router's choices.

    `parts` and `failures` are those of the last `expect`, by endpoint: what one attempt there adds to the
    score (success and failure, each with its probability), and how probable its failure is.
    Units: USD; shares of 1; `usd_per_s` the value of time.
    """

    def __init__(self, scenario: ReplayScenario, trace: Trace, usd_per_s: float) -> None:
        self.usd_per_s = usd_per_s
        lengths = {
            model.name: Lengths(model, place, trace) for place, model in enumerate(scenario.models, start=1)
        }
        models = {model.name: model for model in scenario.models}
        self.places = [Place(one, models[one.model], lengths[one.model]) for one in scenario.endpoints]
        self.parts = [0.0] * len(self.places)
        self.failures = [0.0] * len(self.places)
        self._uncached = [0] * len(self.places)
        self._all = list(range(len(self.places)))
        self._fits = self._all
        self._least_window = min(place.context_tokens for place in self.places)
        self._changes = sorted(
            (
                (change.at_s, index, change.prices)
                for index, one in enumerate(scenario.endpoints)
                for change in one.price_changes
            ),
            key=lambda change: change[:2],
        )
        self._row_until_s = 0.0
        self._number = 0
        self._request, self._now_s = TraceRequest(0.0, 1, 1), 0.0

    def move(self, now_s: float) -> dict[int, Prices]:
        """Take on the figures of the instant `now_s`; return the prices that are new, by endpoint."""
        if now_s < self._row_until_s:
            return {}
        row_s = now_s // ROW_S * ROW_S
        self._row_until_s = row_s + ROW_S
        changed: dict[int, Prices] = {}
        while self._changes and self._changes[0][0] <= row_s:
            _, index, prices = self._changes.pop(0)
            self.places[index].reprice(prices)
            changed[index] = prices
        for place in self.places:
            place.move(row_s)
        return changed

    def expect(self, number: int, request: TraceRequest, now_s: float) -> None:
        """Work out what each endpoint is truly expected to cost now, with the load of the present moment."""
        prompt_tokens, usd_per_s = request.prompt_tokens, self.usd_per_s
        self._number = number
        self._request, self._now_s = request, now_s
        self._fits = self._all
        if prompt_tokens >= self._least_window:
            self._fits = [index for index in self._all if prompt_tokens < self.places[index].context_tokens]
        for index, at in enumerate(self.places):
            if prompt_tokens >= at.context_tokens or at.in_flight + at.others >= at.most:
                self.parts[index], self.failures[index] = usd_per_s * LIMITED_S, 1.0
                self._uncached[index] = _REFUSED
                continue
            p_limited, p_failed, p_cut = at.p_limited, at.p_failed, at.p_cut
            p_failure = p_limited + p_failed + p_cut
            read, write = self._answer(index, at)
            self.parts[index] = (
                (1.0 - p_failure) * (read + write)
                + usd_per_s * (p_limited * LIMITED_S + p_failed * at.failure_s)
                + p_cut * (read + _HALF * write)
            )
            self.failures[index] = p_failure

    def _answer(self, index: int, at: Place) -> tuple[float, float]:
        """Return what an answer to the present request costs there, waiting included: to read and to write.

        Units: USD.
        """
        request, usd_per_s = self._request, self.usd_per_s
        cached = self.cached_tokens(at, request, self._now_s)
        uncached = request.prompt_tokens - cached
        self._uncached[index] = uncached
        v = usd_per_s * (1.0 + (at.in_flight + at.others) * at.inverse_capacity)
        read = at.input_usd * uncached + at.cached_usd * cached + v * (at.ttft_s + uncached * at.prefill_s)
        tokens = at.mean_tokens * at.lengths.expected_part(self._number)
        return read, tokens * (at.output_usd + v * at.tpot_s)

    def cached_tokens(self, at: Place, request: TraceRequest, now_s: float) -> int:
        """Return how many leading tokens of the prompt are cached there; never all, the last is computed."""
        if at.cache is None or not request.blocks:
            return 0
        return min(at.cache.cached_tokens(request.blocks, now_s), request.prompt_tokens - 1)

    def is_full(self, index: int) -> bool:
        """Return whether one more request there gets a 429 now."""
        at = self.places[index]
        return at.in_flight + at.others >= at.most

    def tried(self, order: Sequence[int]) -> Sequence[int]:
        """Return the order without those that are passed over, as the gateway does it.

        An endpoint whose window does not hold the prompt says so, and from then on only larger windows are
        tried. The prompt is that of the last `expect`.
        """
        if len(self._fits) == len(self._all):
            return order
        kept, outgrown_tokens, prompt_tokens = [], 0, self._request.prompt_tokens
        for index in order:
            window = self.places[index].context_tokens
            if window > outgrown_tokens:
                kept.append(index)
                outgrown_tokens = window if window <= prompt_tokens else outgrown_tokens
        return kept

    def order_score(self, order: Sequence[int]) -> float:
        """Return the expected USD and seconds, in USD, of trying endpoints in this order.

        An order that leaves endpoints out goes on with those, the best first: else whoever names one endpoint
        would seem to do better than who names its fallbacks as well. After the last the sender starts again,
        as often as it takes. The state is that of the last `expect`.
        """
        parts, failures = self.parts, self.failures
        total, reached = 0.0, 1.0
        for index in order:
            total += reached * parts[index]
            reached *= failures[index]
            if not reached:
                return total
        if len(order) < len(self._fits):
            for index in self.best_order():
                if index not in order:
                    total += reached * parts[index]
                    reached *= failures[index]
        if 1.0 - reached >= LEAST_ANSWERED:
            return total / (1.0 - reached)
        return self._after_many_rounds(total, 1.0 - reached)

    def _after_many_rounds(self, round_usd: float, answered: float) -> float:
        """Return the score where a round through all endpoints hardly ever answers: all are full, or out.

        What a round lacks to `LEAST_ANSWERED` is answered by the endpoint that would cost least if it could.
        Without that an answer that nobody gives would cost no dollars.
        """
        uncached = list(self._uncached)
        least = min(sum(self._answer(index, self.places[index])) for index in self._fits)
        self._uncached = uncached
        return (round_usd + (LEAST_ANSWERED - answered) * least) / LEAST_ANSWERED

    def best_order(self) -> list[int]:
        """Return the order of least score, of the endpoints whose window holds the prompt.

        Swapping two neighbours shows that it is the one by cost per answer: part / (1 − failure).
        """
        costs = [
            part / (1.0 - failure) if failure < 1.0 else _NEVER_USD + part
            for part, failure in zip(self.parts, self.failures, strict=True)
        ]
        return sorted(self._fits, key=costs.__getitem__)

    def best_order_within(self, answer_s: float, probability: float) -> tuple[list[int], float]:
        """Return the order of least score among those that hold a limit of time, and how probably it does.

        Orders differ by their first here; the rest follows by cost. Where none holds the limit of `answer_s`
        seconds with `probability`, it is the one that comes nearest.
        """
        order = self.best_order()
        nearest, most = order, -1.0
        for first in order:
            candidate = [first, *(index for index in order if index != first)]
            reached = self.attainment(candidate, answer_s)
            if reached >= probability:
                return candidate, reached
            if reached > most:
                nearest, most = candidate, reached
        return nearest, most

    def attainment(self, order: Sequence[int], answer_s: float) -> float:
        """Return how probable it is that trying in this order gives a whole answer within `answer_s` seconds.

        Each kind of failure leaves the next endpoint the time that it does not take; a cut stream takes its
        mean. What happens once in ten thousand times is left out.
        """
        return self._attainment(order, 0, 1.0, answer_s)

    def _attainment(self, order: Sequence[int], place: int, reached: float, left_s: float) -> float:
        """Return the part of the probability that comes from `order[place:]`, reached with `reached`."""
        if place == len(order) or reached < _UNREACHED or left_s <= 0.0:
            return 0.0
        index = order[place]
        at, p_failure, uncached = self.places[index], self.failures[index], self._uncached[index]
        if uncached == _REFUSED:
            return self._attainment(order, place + 1, reached, left_s - LIMITED_S)
        load = at.load()
        total, part = 0.0, at.lengths.expected_part(self._number)
        if p_failure < 1.0:
            within = at.probability_within(left_s, load=load, uncached_tokens=uncached, part=part)
            total = reached * (1.0 - p_failure) * within
        if at.p_limited:
            total += self._attainment(order, place + 1, reached * at.p_limited, left_s - LIMITED_S)
        if at.p_failed:
            total += self._attainment(order, place + 1, reached * at.p_failed, left_s - at.failure_s)
        if at.p_cut:
            cut_s = (at.ttft_s + uncached * at.prefill_s + _HALF * part * at.mean_tokens * at.tpot_s) * load
            total += self._attainment(order, place + 1, reached * at.p_cut, left_s - cut_s)
        return total
