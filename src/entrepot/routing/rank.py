"""The order in which candidates are tried, from what a `Decision` stores of them and nothing else.

The choice and its replay call the same functions; a replay that had to ask for prices or rows again
could only agree with itself.
"""

from collections.abc import Sequence
from math import isnan
from operator import attrgetter

from msgspec.structs import replace

from entrepot.routing.decision import Candidate, Decision, Ranking
from entrepot.routing.explore import to_explore
from entrepot.routing.score import score

TIE = 1e-12
"""Scores that differ by less than this part are equal: that much is rounding."""

STORED = 1e-5
"""A stored score may differ by this part from what its seven-digit parts give."""

_METRICS = {
    Ranking.SCORE: "score",
    Ranking.PRICE: "score",
    Ranking.THROUGHPUT: "tpot_s",
    Ranking.LATENCY: "ttft_s",
    Ranking.NEAREST: "miss",
}
_TIER = attrgetter("tier")
_VALUES = {ranking: attrgetter(metric) for ranking, metric in _METRICS.items()}
_TIE_BREAKERS = {
    Ranking.SCORE: attrgetter("cached_nusd_per_mtok", "uses"),
    Ranking.PRICE: attrgetter("cached_nusd_per_mtok", "uses"),
    Ranking.THROUGHPUT: attrgetter("score", "cached_nusd_per_mtok", "uses"),
    Ranking.LATENCY: attrgetter("score", "cached_nusd_per_mtok", "uses"),
    Ranking.NEAREST: attrgetter("score", "cached_nusd_per_mtok", "uses"),
}


def two_least(values: Sequence[float]) -> tuple[float, float]:
    """Return the least value and the least of the others; a single value is both."""
    least = second = float("inf")
    for value in values:
        if value < least:
            least, second = value, least
        elif value < second:
            second = value
    return (least, least) if len(values) == 1 else (least, second)


def ordered(candidates: list[Candidate], ranking: Ranking) -> list[Candidate]:
    """Return the candidates by tier and metric; ties by cached price, then by least use.

    For speed and latency a tie goes to the lower score first. Sorts the given list in place.
    """
    value = _VALUES[ranking]
    candidates.sort(key=value)
    candidates.sort(key=_TIER)  # keeps the order inside a tier; two plain keys sort faster than pairs
    start, least = 0, value(candidates[0])
    for place, metric in enumerate([*map(value, candidates), float("inf")]):
        if metric - least <= TIE * metric < float("inf") and candidates[place].tier == candidates[start].tier:
            continue
        if place - start > 1:
            candidates[start:place] = sorted(candidates[start:place], key=_TIE_BREAKERS[ranking])
        start, least = place, metric
    return candidates


def moved_to_front(candidates: list[Candidate], first: Candidate) -> list[Candidate]:
    """Return the candidates with `first` before the others."""
    return [first, *(candidate for candidate in candidates if candidate is not first)]


def expected_score(candidate: Candidate, usd_per_s: float, fallback_usd: float) -> float:
    """Return the score of a candidate: per answer of use, with what a failure costs.

    The candidate that is tried after a failure has its own share of answers of use in `fallback_usd` already.
    Units: USD per second, USD.
    """
    success = candidate.success_share
    return (
        score(
            candidate.dollars,
            candidate.seconds,
            usd_per_s,
            candidate.p_failure,
            candidate.dollars_wasted,
            candidate.failure_s,
            fallback_usd * success,
        )
        / success
    )


def winner_of(decision: Decision) -> Candidate:
    """Return the candidate that ought to have won, recomputed from the stored inputs alone.

    It carries the recomputed score. Compare it with `decision.winner`: a difference means that the record was
    changed, or that the code which wrote it chose by another rule.
    Raises: ValueError when it was explored by the rule of the first version, which nothing is left of.
    """
    if decision.explored and isnan(decision.allowance_usd):
        raise ValueError("it was explored by the rule of an earlier version, which is not kept")
    candidates, usd_per_s = decision.candidates, decision.usd_per_s
    bases = [(c.dollars + usd_per_s * c.seconds) / c.success_share for c in candidates]
    least, second = two_least(bases)
    rescored = [
        _rescored(candidate, usd_per_s, second if base == least else least)
        for candidate, base in zip(candidates, bases, strict=True)
    ]
    if decision.explored:
        return _explored(rescored, decision)
    return ordered(rescored, decision.ranking)[0]


def _explored(rescored: list[Candidate], decision: Decision) -> Candidate:
    """Return what exploring would have picked from candidates of which it moved the first one to the front.

    Among its equals that one may have stood at several places, and at each another number is drawn for it: it
    is right if it is at any of them.
    """
    first = rescored[0]
    order = ordered(rescored, decision.ranking)
    picked = found = to_explore(order, decision.draw, decision.allowance_usd) or order[0]
    for place in range(order.index(first) + 1, len(order)):
        if found is first:
            return found
        order[place - 1 : place + 1] = order[place], first
        if ordered(order.copy(), decision.ranking) != order:
            break
        found = to_explore(order, decision.draw, decision.allowance_usd) or order[0]
    return first if found is first else picked


def _rescored(candidate: Candidate, usd_per_s: float, fallback_usd: float) -> Candidate:
    """Return the candidate with the score that its parts give, unless the stored one is the same rounded."""
    score_usd = expected_score(candidate, usd_per_s, fallback_usd)
    if abs(score_usd - candidate.score) <= STORED * abs(score_usd):
        return candidate
    return replace(candidate, score=score_usd)
