"""What runs amount to: means over the requests of a seed, and intervals over seeds.

The interval is over seeds because requests of one run share its load and are not independent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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


class Result(Struct, frozen=True):
    """What one router came to.

    Units: `score` expected USD per request, waiting included; `ratio` to the oracle's; `same_state_ratio`
    to the best order in the state that the router itself brought about; `dollars` and `seconds` drawn, per
    request; `unanswered` share of requests whose sender saw a failure; `attained` share that was whole
    within the limit of time, `expected_attained` the mean of its probability (None without a limit);
    `first_choices` share of requests by endpoint; `decision_us` microseconds per decision, `elapsed_s`
    seconds per run.
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


def results(seeds: Sequence[Mapping[str, Run]], answer_s: float | None) -> list[Result]:
    """Return the result of each router, in their order; each seed has the runs of all, the oracle's too.

    Units: `answer_s` seconds, the limit of time, None without one.
    """
    return [_result(name, seeds, answer_s) for name in seeds[0]]


def _result(name: str, seeds: Sequence[Mapping[str, Run]], answer_s: float | None) -> Result:
    runs = [seed[name] for seed in seeds]
    oracles = [seed[ORACLE] for seed in seeds]
    ratios = [_ratio(run.scores, oracle.scores) for run, oracle in zip(runs, oracles, strict=True)]
    return Result(
        router=name,
        score=_over(runs, lambda run: fmean(run.scores)),
        ratio=interval(ratios),
        same_state_ratio=_over(runs, lambda run: _ratio(run.scores, run.best_scores)),
        dollars=_over(runs, lambda run: fmean(run.dollars)),
        seconds=_over(runs, lambda run: fmean(run.seconds)),
        unanswered=_over(runs, lambda run: 1.0 - fmean(run.answered)),
        attained=None if answer_s is None else _over(runs, lambda run: attained_share(run, answer_s)),
        expected_attained=None if answer_s is None else _over(runs, lambda run: fmean(run.attained)),
        first_choices=tuple(
            fmean(shares)
            for shares in zip(
                *([chosen / len(run.scores) for chosen in run.first_choices] for run in runs), strict=True
            )
        ),
        decision_us=fmean(run.decision_s / len(run.scores) for run in runs) * _US_PER_S,
        elapsed_s=fmean(run.elapsed_s for run in runs),
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


def _over(runs: Sequence[Run], of: Callable[[Run], float]) -> Interval:
    return interval([of(run) for run in runs])


def _ratio(scores: Sequence[float], best: Sequence[float]) -> float:
    least = sum(best)
    return sum(scores) / least if least else 1.0
