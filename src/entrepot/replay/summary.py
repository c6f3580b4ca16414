"""What runs amount to: means over the requests of a seed, and intervals over seeds.

The interval is over seeds because requests of one run share its load and are not independent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


class Means(Struct, frozen=True):
    """What one run came to, per request.

    Units: `score` and `best_score` expected USD, waiting included, of what was chosen and of the best in the same
    state; `dollars` and `seconds` drawn, failed attempts included; shares of 1: `unanswered` requests whose
    sender saw a failure, `attained` those whole within the limit of time, `expected_attained` the mean of its
    probability (None without a limit), `first_choices` by endpoint; microseconds per decision; seconds.
    """

    router: str
    seed: int
    score: float
    best_score: float
    dollars: float
    seconds: float
    unanswered: float
    attained: float | None
    expected_attained: float | None
    first_choices: tuple[float, ...]
    decision_us: float
    elapsed_s: float


class Result(Struct, frozen=True):
    """What one router came to, over seeds. Units: those of `Means`.

    `ratio` is to the oracle's score; `same_state_ratio` to the best order in the state that the router itself
    brought about.
    """

    router: str
    score: Interval
    ratio: Interval
    same_state_ratio: Interval
    dollars: Interval
    seconds: Interval
    unanswered: Interval
    attained: Interval | None
    expected_attained: Interval | None
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


def means(run: Run, answer_s: float | None = None) -> Means:
    """Return the means of a run. Units: `answer_s` seconds, the limit of time, None without one."""
    size = len(run.scores)
    return Means(
        router=run.router,
        seed=run.seed,
        score=fmean(run.scores),
        best_score=fmean(run.best_scores),
        dollars=fmean(run.dollars),
        seconds=fmean(run.seconds),
        unanswered=1.0 - fmean(run.answered),
        attained=None if answer_s is None else attained_share(run, answer_s),
        expected_attained=None if answer_s is None else fmean(run.attained),
        first_choices=tuple(chosen / size for chosen in run.first_choices),
        decision_us=run.decision_s / size * _US_PER_S,
        elapsed_s=run.elapsed_s,
    )


def results(seeds: Sequence[Mapping[str, Means]]) -> list[Result]:
    """Return the result of each router, in their order; each seed has the means of all, the oracle's too."""
    return [_result(name, seeds) for name in seeds[0]]


def _result(name: str, seeds: Sequence[Mapping[str, Means]]) -> Result:
    found = [seed[name] for seed in seeds]
    is_limited = found[0].attained is not None
    return Result(
        router=name,
        score=interval([one.score for one in found]),
        ratio=interval([_ratio(seed[name].score, seed[ORACLE].score) for seed in seeds]),
        same_state_ratio=interval([_ratio(one.score, one.best_score) for one in found]),
        dollars=interval([one.dollars for one in found]),
        seconds=interval([one.seconds for one in found]),
        unanswered=interval([one.unanswered for one in found]),
        attained=interval([one.attained or 0.0 for one in found]) if is_limited else None,
        expected_attained=interval([one.expected_attained or 0.0 for one in found]) if is_limited else None,
        first_choices=tuple(
            fmean(shares) for shares in zip(*(one.first_choices for one in found), strict=True)
        ),
        decision_us=fmean(one.decision_us for one in found),
        elapsed_s=fmean(one.elapsed_s for one in found),
    )


def attained_share(run: Run, answer_s: float) -> float:
    """Return the share of requests that were whole within `answer_s` seconds, failed attempts included."""
    within = [
        answered and seconds <= answer_s for answered, seconds in zip(run.answered, run.seconds, strict=True)
    ]
    return fmean(within)


def cumulative_regret(run: Run, oracle: Run) -> list[float]:
    """Return the expected USD by which a router's choices are worse than the oracle's, up to each request."""
    total, regret = 0.0, []
    for score, best in zip(run.scores, oracle.scores, strict=True):
        total += score - best
        regret.append(total)
    return regret


def _ratio(score: float, best: float) -> float:
    return score / best if best else 1.0
