"""What crash runs gave, for people (a table and a histogram) and for `make evidence` (flat figures)."""

from __future__ import annotations

from collections.abc import Sequence

from tests.crash.harness import Outcome
from tests.crash.schedule import Target
from tests.e2e.differences import DOUBLED, LEFT_OPEN, LOST, WRONG

LEAST_SHARE_STREAMING = 0.3  # of the kills: others would show little
_MANY = 1_000_000
_BUCKETS = ((0, 0), (1, 2), (3, 5), (6, 10), (11, _MANY))
_BAR_WIDTH = 40


def figures(outcome: Outcome) -> dict[str, int | float]:
    """Return the figures of a run by name. Units: as the names say, otherwise counts."""
    verdict, counted = outcome.verdict, outcome.deaths.counted
    return {
        "kills": outcome.kills,
        "kills_while_starting": outcome.deaths.starting,
        "kills_with_the_poster": counted[Target.BOTH],
        "kills_of_the_poster_alone": counted[Target.POSTER],
        "sigterms": counted[Target.GENTLY],
        "store_outages": outcome.outages,
        "store_away_s": round(outcome.away_s, 1),
        **{f"kills_with_{name}_streams_open": count for name, count in histogram(outcome).items()},
        "share_with_streams_open": round(outcome.share_streaming, 3),
        "requests_asked": len(outcome.seen),
        "answers_seen_whole": sum(seen.whole and seen.status == 200 for seen in outcome.seen),
        "answers_that_told_usage": sum(seen.usage is not None for seen in outcome.seen),
        "clients_that_left": sum(seen.left for seen in outcome.seen),
        "refused_over_budget": sum(seen.status == 402 for seen in outcome.seen),
        "requests": verdict.requests,
        "attempts": verdict.attempts,
        "attempts_in_the_hosts_log": verdict.host_lines,
        "settled": verdict.states["settled"],
        "void": verdict.states["void"],
        "corrected_on_the_way": verdict.corrected,
        "unknown": verdict.unknown,
        "unknown_after_correction": verdict.never_sent,
        "lost": verdict.count(LOST),
        "doubled": verdict.count(DOUBLED),
        "left_open": verdict.count(LEFT_OPEN),
        "wrong": verdict.count(WRONG),
        "seconds": round(outcome.seconds, 1),
        "seed": outcome.seed,
    }


def histogram(outcome: Outcome) -> dict[str, int]:
    """Return how many kills cut how many streams, by names of ranges."""
    return {
        _name(first, last): sum(first <= cut <= last for cut in outcome.streams_cut)
        for first, last in _BUCKETS
    }


def _name(first: int, last: int) -> str:
    if first == last:
        return str(first)
    return f"{first}_or_more" if last == _MANY else f"{first}_to_{last}"


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the figures of some runs side by side, and below them a histogram of each."""
    columns = [figures(outcome) for outcome in outcomes]
    lines = [f"{'store':<34}" + "".join(f"{outcome.store:>12}" for outcome in outcomes)]
    lines += [
        f"{name:<34}" + "".join(f"{column[name]:>12}" for column in columns)
        for name in columns[0]
        if not name.endswith("_streams_open") or name.startswith("share")
    ]
    for outcome in outcomes:
        lines += ["", f"streams open at a kill, {outcome.store}"]
        for name, count in histogram(outcome).items():
            bar = "█" * round(_BAR_WIDTH * count / max(1, outcome.kills))
            lines.append(f"{name.replace('_', ' '):>12} {count:>5} {bar}")
    return "\n".join(lines)
