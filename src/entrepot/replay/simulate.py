"""Runs one router over one trace on a simulated clock: arrivals, attempts, endings, what is learned of them.

A loop over a heap of endings and not a framework of events: there are two kinds of them, and 19,366
requests have to pass in three seconds. What a router learns reaches it when an attempt ends, never before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from time import perf_counter

from msgspec import Struct

from entrepot.domain.durations import SECONDS_PER_HOUR
from entrepot.domain.outcome import Outcome
from entrepot.domain.request import Slo
from entrepot.replay.asked import Asked, ReplayRouter, Terms
from entrepot.replay.draws import Draws, log_normal, mixed
from entrepot.replay.lengths import prompt_bytes
from entrepot.replay.place import LIMITED_S, Place
from entrepot.replay.scenario import ReplayScenario, told
from entrepot.replay.trace import Trace
from entrepot.replay.world import World
from entrepot.routing.kpi.observation import Observation

WIRE_BYTES_PER_TOKEN = 200
"""Of a stream: what a chunk of a chat answer with one token has."""

PROGRESS_EVERY = 256

_OK = Outcome.OK
_PER_UNIT = 1.0 / (1 << 32)
_NEVER_S = float("inf")

RouterMaker = Callable[[Terms], ReplayRouter]
Progress = Callable[[int], None]


class Run(Struct):
    """What came of one router on one trace with one seed, request by request in the order of arrival.

    Units: `scores` and `best_scores` expected USD, waiting included, of the order that was chosen and of
    the best one in the same state; with a limit of time (empty without), `attained` the probability that
    the order meets it, `attainable` whether the best one does as probably as was asked; `seconds` and
    `dollars` are drawn, failed attempts included; `answered` whether any attempt was. By endpoint,
    `attempts` counts all attempts and `first_choices` the requests that tried it first; `decision_s` is
    the time of all decisions, `in_flight` what is under way at the end, `sent_on` how often a request came
    where it was full.
    """

    router: str
    seed: int
    at_s: list[float]
    scores: list[float]
    best_scores: list[float]
    attained: list[float]
    attainable: list[bool]
    seconds: list[float]
    dollars: list[float]
    answered: list[bool]
    attempts: list[int]
    first_choices: list[int]
    decision_s: float = 0.0
    elapsed_s: float = 0.0
    in_flight: int = 0
    sent_on: int = 0


class _Flight(Struct):
    """A request under way: where it is in its order."""

    number: int
    order: Sequence[int]
    place: int
    dollars: float
    is_unscored: bool = False


class Simulation:
    """One router, one trace, one seed."""

    def __init__(
        self, scenario: ReplayScenario, trace: Trace, slo: Slo, *, seed: int, router: str, make: RouterMaker
    ) -> None:
        usd_per_hour = slo.usd_per_hour or 0.0
        trace = fitting(trace, scenario)
        self._trace = trace
        self._slo = slo
        self._world = World(scenario, trace, usd_per_hour / SECONDS_PER_HOUR)
        self._draws = Draws(seed)
        self._bytes = prompt_bytes(trace, self._draws)
        endpoints, models = told(scenario)
        self._router = make(Terms(endpoints, models, scenario.model_names, slo, seed, self._world))
        self._windows = [endpoint.context_tokens for endpoint in scenario.endpoints]
        self._all = tuple(range(len(self._windows)))
        self._least_window = min(self._windows)
        self._endings: list[tuple[float, int, _Flight, Observation, Place | None]] = []
        self._count = 0
        size, places = len(trace.requests), len(self._all)
        self.run = Run(
            router,
            seed,
            [request.at_s for request in trace.requests],
            [0.0] * size,
            [0.0] * size,
            [],
            [],
            [0.0] * size,
            [0.0] * size,
            [False] * size,
            [0] * places,
            [0] * places,
        )

    def whole(self, on_progress: Progress | None = None) -> Run:
        """Return the run, after every request has come and every attempt has ended."""
        started = perf_counter()
        for number, request in enumerate(self._trace.requests):
            self._end_until(request.at_s)
            self._arrive(number, request.at_s)
            if on_progress is not None and number % PROGRESS_EVERY == 0:
                on_progress(number)
        self._end_until(_NEVER_S)
        self.run.elapsed_s = perf_counter() - started
        self.run.in_flight = sum(place.in_flight for place in self._world.places)
        return self.run

    def _end_until(self, now_s: float) -> None:
        endings = self._endings
        while endings and endings[0][0] <= now_s:
            at_s, _, flight, seen, place = heappop(endings)
            if place is not None:
                place.in_flight -= 1
            self._router.ended(seen, flight.number)
            if seen.outcome is _OK:
                self._finish(flight, at_s, answered=True)
            elif flight.place + 1 < len(flight.order):
                flight.place += 1
                self._move(at_s)
                if flight.is_unscored:
                    self._world.expect(flight.number, self._trace.requests[flight.number], at_s)
                    self._score(flight)
                self._attempt(flight, at_s)
            else:
                self._finish(flight, at_s, answered=False)

    def _finish(self, flight: _Flight, at_s: float, *, answered: bool) -> None:
        run, number = self.run, flight.number
        run.seconds[number] = at_s - run.at_s[number]
        run.dollars[number] = flight.dollars
        run.answered[number] = answered

    def _move(self, now_s: float) -> None:
        changed = self._world.move(now_s)
        if changed:
            self._router.reprice(changed)

    def _arrive(self, number: int, now_s: float) -> None:
        world, run = self._world, self.run
        self._move(now_s)
        request = self._trace.requests[number]
        fits: Sequence[int] = self._all
        if request.prompt_tokens >= self._least_window:
            fits = [index for index in fits if request.prompt_tokens < self._windows[index]]
        asked = Asked(
            number,
            self._bytes[number],
            fits,
            request.blocks,
            request.session,
            request.key_id,
            request.tag_id,
        )
        world.expect(number, request, now_s)
        before = perf_counter()
        order = self._router.choose(asked, now_s)
        run.decision_s += perf_counter() - before
        order = world.tried(order)
        run.best_scores[number] = world.order_score(self._best(order))
        if order:
            run.first_choices[order[0]] += 1
            flight = _Flight(number, order, 0, 0.0)
            self._score(flight)
            self._attempt(flight, now_s)
        else:
            run.scores[number] = world.order_score(fits)

    def _score(self, flight: _Flight) -> None:
        """Add what the rest of the order is expected to cost to the score of its request.

        Where its next endpoint is full, only the round trip until that is known: the rest is scored when
        it is tried. By the present state, all who are sent on meanwhile would count on the same free place.
        """
        world, rest = self._world, flight.order[flight.place :]
        flight.is_unscored = len(rest) > 1 and world.is_full(rest[0])
        if flight.is_unscored:
            self.run.sent_on += 1
            self.run.scores[flight.number] += world.parts[rest[0]]
        else:
            self.run.scores[flight.number] += world.order_score(rest)

    def _best(self, order: Sequence[int]) -> Sequence[int]:
        """Return the best order in this state, and note how it and the chosen one meet the limit of time."""
        world, run, answer_s = self._world, self.run, self._slo.answer_s
        if answer_s is None:
            return world.best_order()
        best, reached = world.best_order_within(answer_s, self._slo.probability)
        run.attained.append(world.attainment(order, answer_s))
        run.attainable.append(reached >= self._slo.probability)
        return best

    def _attempt(self, flight: _Flight, now_s: float) -> None:
        """Draw what becomes of the next attempt of this request, and when it ends."""
        number, index = flight.number, flight.order[flight.place]
        at = self._world.places[index]
        request = self._trace.requests[number]
        self.run.attempts[index] += 1
        others = self._router.started(index, number)
        first, second, luck = self._draws.of(number, index)
        failure = _failure(at, luck, prompt_tokens=request.prompt_tokens)
        if failure is not None:
            outcome, after_s = failure
            seen = Observation(index, now_s + after_s, outcome, after_s, None, None, self._bytes[number])
            self._push(flight, seen, None)
            return
        cached = self._world.cached_tokens(at, request, now_s)
        load = at.load()
        spreads = at.endpoint
        ttft_s = at.ttft_s * log_normal(first, spreads.spread_ttft)
        ttft_s = (ttft_s + (request.prompt_tokens - cached) * at.prefill_s) * load
        tpot_s = at.tpot_s * log_normal(second, spreads.spread_tpot) * load
        tokens = at.lengths.drawn(self._draws, number, at.verbosity_factor)
        cut = luck < at.p_limited + at.p_failed + at.p_cut
        if cut:
            tokens = max(1, round(tokens * mixed(int(luck / _PER_UNIT)) / 2.0**64))
        flight.dollars += (
            at.input_usd * (request.prompt_tokens - cached) + at.cached_usd * cached + at.output_usd * tokens
        )
        answer_s = ttft_s + tokens * tpot_s
        seen = Observation(
            index,
            now_s + answer_s,
            Outcome.TRUNCATED if cut else _OK,
            answer_s,
            ttft_s,
            tpot_s if tokens > 1 else None,
            self._bytes[number],
            None if cut else request.prompt_tokens,
            0 if cut else cached,
            None if cut else tokens,
            1,
            tokens * WIRE_BYTES_PER_TOKEN,
            others,
        )
        if at.cache is not None:
            at.cache.add(request.blocks, now_s)
        at.in_flight += 1
        self._push(flight, seen, at)

    def _push(self, flight: _Flight, seen: Observation, place: Place | None) -> None:
        self._count += 1
        heappush(self._endings, (seen.at_s, self._count, flight, seen, place))


def fitting(trace: Trace, scenario: ReplayScenario) -> Trace:
    """Return the trace without the requests whose prompt no endpoint's window holds."""
    widest = max(endpoint.context_tokens for endpoint in scenario.endpoints)
    fit = tuple(request for request in trace.requests if request.prompt_tokens < widest)
    return trace if len(fit) == len(trace.requests) else Trace(trace.name, fit, trace.skipped)


def _failure(at: Place, luck: float, *, prompt_tokens: int) -> tuple[Outcome, float] | None:
    """Return how an attempt fails before it answers, and after how many seconds; None when it answers."""
    if prompt_tokens >= at.context_tokens:
        return Outcome.REFUSED, LIMITED_S
    if luck < at.p_limited or at.in_flight + at.others >= at.most:
        return Outcome.RATE_LIMITED, LIMITED_S
    if luck < at.p_limited + at.p_failed:
        return Outcome.FAILED, at.failure_s
    return None
