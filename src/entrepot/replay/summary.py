"""What runs amount to: means over the requests of a seed, and intervals over seeds.

The interval is over seeds because requests of one run share its load and are not independent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import compress
from math import sqrt
from statistics import fmean, stdev

from msgspec import Struct

from entrepot.replay.routers import ORACLE
from entrepot.replay.simulate import Run

# Student's t at 97.5 %, by degrees of freedom from 1 on; beyond the table the normal distribution's is
# near.
_T975: tuple[float, ...] = (
    12.706,
    4.303,
    3.182,
    2.776,
    2.571,
    2.447,
    2.365,
    2.306,
    2.262,
    2.228,
    2.201,
    2.179,
    2.160,
    2.145,
)
_T975 += (2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048)
_NORMAL975 = 1.96
_US_PER_S = 1e6


class Interval(Struct, frozen=True):
    """A mean over seeds; the true one lies within `half` of it with 95 %. `half` is None for one seed."""

    mean: float
    half: float | None = None


class InTime(Struct, frozen=True):
    """How a limit of time was kept. Units: shares of requests.

    `share` were whole in time, failed attempts included, and `expected` is the mean of how probable that
    was. `possible` are the requests that the oracle, in its own run, could serve as probably as was asked;
    of those `where_possible` were whole in time (None where there are none).
    """

    share: float
    expected: float
    possible: float
    where_possible: float | None


class Means(Struct, frozen=True):
    """What one run came to, per request.

    Units: `score` and `best_score` expected USD, waiting included, of what was chosen and of the best in
    the same state; `dollars` and `seconds` drawn, failed attempts included; `unanswered` the share of
    requests whose sender saw a failure; `first_choices` shares by endpoint; microseconds per decision;
    seconds per run.
    """

    router: str
    seed: int
    score: float
    best_score: float
    dollars: float
    seconds: float
    unanswered: float
    in_time: InTime | None
    first_choices: tuple[float, ...]
    decision_us: float
    elapsed_s: float


class Result(Struct, frozen=True):
    """What one router came to, over seeds. Units: those of `Means` and `InTime`.

    `ratio` is to the oracle's score; `same_state_ratio` to the best order in the state that the router
    itself brought about. What is None has no limit of time, or nothing that could be served within it.
    """

    router: str
    score: Interval
    ratio: Interval
    same_state_ratio: Interval
    dollars: Interval
    seconds: Interval
    unanswered: Interval
    in_time: Interval | None
    expected_in_time: Interval | None
    possible: Interval | None
    in_time_where_possible: Interval | None
    first_choices: tuple[float, ...]
    decision_us: float
    elapsed_s: float


def interval(values: Sequence[float]) -> Interval:
    """Return the mean of independent values and its 95 % interval, by Student's t."""
    if len(values) < 2:
        return Interval(fmean(values))
    degrees = len(values) - 1
    t = _T975[degrees - 1] if degrees <= len(_T975) else _NORMAL975
    return Interval(fmean(values), t * stdev(values) / sqrt(len(values)))


def means(runs: Mapping[str, Run], answer_s: float | None = None) -> dict[str, Means]:
    """Return the means of the runs of one seed, the oracle's among them.

    Units: `answer_s` seconds, the limit of time, None without one.
    """
    possible = runs[ORACLE].attainable
    return {
        name: Means(
            router=name,
            seed=run.seed,
            score=fmean(run.scores),
            best_score=fmean(run.best_scores),
            dollars=fmean(run.dollars),
            seconds=fmean(run.seconds),
            unanswered=1.0 - fmean(run.answered),
            in_time=None if answer_s is None else in_time(run, answer_s, possible),
            first_choices=tuple(chosen / len(run.scores) for chosen in run.first_choices),
            decision_us=run.decision_s / len(run.scores) * _US_PER_S,
            elapsed_s=run.elapsed_s,
        )
        for name, run in runs.items()
    }


def in_time(run: Run, answer_s: float, possible: Sequence[bool]) -> InTime:
    """Return how a run kept the limit of `answer_s` seconds, of all requests and of the possible ones."""
    within = [
        answered and seconds <= answer_s for answered, seconds in zip(run.answered, run.seconds, strict=True)
    ]
    where = list(compress(within, possible))
    return InTime(fmean(within), fmean(run.attained), fmean(possible), fmean(where) if where else None)


def results(seeds: Sequence[Mapping[str, Means]]) -> list[Result]:
    """Return the result of each router, in their order; each seed has the means of all, the oracle's too."""
    return [_result(name, seeds) for name in seeds[0]]


def _result(name: str, seeds: Sequence[Mapping[str, Means]]) -> Result:
    found = [seed[name] for seed in seeds]
    times = [one.in_time for one in found if one.in_time is not None]
    return Result(
        router=name,
        score=interval([one.score for one in found]),
        ratio=interval([_ratio(seed[name].score, seed[ORACLE].score) for seed in seeds]),
        same_state_ratio=interval([_ratio(one.score, one.best_score) for one in found]),
        dollars=interval([one.dollars for one in found]),
        seconds=interval([one.seconds for one in found]),
        unanswered=interval([one.unanswered for one in found]),
        in_time=_known([one.share for one in times]),
        expected_in_time=_known([one.expected for one in times]),
        possible=_known([one.possible for one in times]),
        in_time_where_possible=_known(
            [one.where_possible for one in times if one.where_possible is not None]
        ),
        first_choices=tuple(
            fmean(shares) for shares in zip(*(one.first_choices for one in found), strict=True)
        ),
        decision_us=fmean(one.decision_us for one in found),
        elapsed_s=fmean(one.elapsed_s for one in found),
    )


def cumulative_regret(run: Run, oracle: Run) -> list[float]:
    """Return the expected USD by which a router's choices are worse than the oracle's, up to each request."""
    total, regret = 0.0, []
    for score, best in zip(run.scores, oracle.scores, strict=True):
        total += score - best
        regret.append(total)
    return regret


def _ratio(score: float, best: float) -> float:
    return score / best if best else 1.0


def _known(values: Sequence[float]) -> Interval | None:
    return interval(values) if values else None
