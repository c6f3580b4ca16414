"""What choices are worth. Run by `make bench-routing`; prints tables and writes build/routing.json.

Every router on every scenario and both traces, at several values of time and with several seeds, on a
simulated clock; then limits of time; then scenarios made by chance, of seeds kept for reports. All figures
are simulated.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from itertools import product
from pathlib import Path
from statistics import fmean
from time import perf_counter
from typing import NamedTuple

from rich.console import Console
from rich.progress import track
from rich.table import Table

from entrepot.domain.request import Slo
from entrepot.replay.asked import Terms
from entrepot.replay.calibration import SHARES, Coverage, Witness
from entrepot.replay.generated import FIRST_UNSEEN_SEED
from entrepot.replay.routers import ORACLE, OURS, ROUTERS
from entrepot.replay.scenario_file import load_replay_scenario, replay_scenario_names
from entrepot.replay.simulate import Simulation
from entrepot.replay.summary import Means, Result, means, results
from entrepot.replay.trace import Trace
from entrepot.replay.trace_files import load_trace

BUILD = Path(__file__).resolve().parent.parent / "build"
AZURE, MOONCAKE = "azure_2023_conv", "mooncake_conversation"
ONLY_ON = {"long-context-prefix": (MOONCAKE,)}  # short prompts without blocks would show nothing of it
VALUES_USD_PER_HOUR = (0.0, 1.0, 5.0, 50.0)
SEEDS = 5
LIMITS_S = (5.0, 10.0, 20.0)
SLO_PROBABILITY, SLO_USD_PER_HOUR = 0.9, 5.0
SLO_ROUTERS = (OURS, "peak-ewma-p2c", ORACLE)
SLO_SEEDS = 2  # a share of ten thousand answers hardly moves between seeds
CALIBRATION_SEEDS = 3
GENERATED, GENERATED_SEEDS = 10, 2
TARGET_STEADY, TARGET = 1.05, 1.15
SHOWN = 0.001  # of a ratio: two that print alike are equal
SLACK = 0.01  # of a probability: one point
LEAST_POSSIBLE = 0.5  # below it the oracle is in another state than whoever is measured by its requests
REPLAY_TARGET_S = 3.0  # a whole trace of 19,366 requests and six endpoints
SECTIONS = ("score", "slo", "calibration", "generated")
CALIBRATED = ("steady", "drift")
CALIBRATION_SLACK = 0.03

Figures = dict[str, object]


class Job(NamedTuple):
    """One trace at one scenario with one seed: all routers meet the same luck."""

    scenario: str
    trace: str
    usd_per_hour: float
    seed: int
    routers: tuple[str, ...] = tuple(ROUTERS)
    answer_s: float | None = None
    limit: int | None = None


@cache
def trace_of(name: str, limit: int | None) -> Trace:
    """The trace, read once per process."""
    return load_trace(name).first(limit)


def done(job: Job) -> tuple[Job, dict[str, Means]]:
    """What each router came to; runs in a process of the pool."""
    slo = Slo(
        usd_per_hour=job.usd_per_hour,
        answer_s=job.answer_s,
        probability=SLO_PROBABILITY,
        serves_nearest=True,
    )
    scenario, trace = load_replay_scenario(job.scenario), trace_of(job.trace, job.limit)
    runs = {
        name: Simulation(scenario, trace, slo, seed=job.seed, router=name, make=ROUTERS[name]).whole()
        for name in job.routers
    }
    return job, means(runs, job.answer_s)


def all_done(jobs: Sequence[Job], processes: int, what: str) -> dict[Job, list[Result]]:
    """The results of all jobs, those that differ by their seed only put together."""
    groups: dict[Job, list[Mapping[str, Means]]] = {}
    console = Console(stderr=True)
    with ProcessPoolExecutor(processes) as pool:
        finished = pool.map(done, jobs)
        for job, found in track(
            finished, what, total=len(jobs), console=console, disable=not console.is_terminal
        ):
            groups.setdefault(job._replace(seed=0), []).append(found)
    return {job: results(seeds) for job, seeds in groups.items()}


def traces_for(scenario: str, wanted: Iterable[str]) -> list[str]:
    """The traces on which a scenario says something."""
    return [trace for trace in wanted if trace in ONLY_ON.get(scenario, (AZURE, MOONCAKE))]


def score_section(args: argparse.Namespace) -> Figures:
    """Mean expected score over the oracle's, of every router on every scenario."""
    jobs = [
        Job(scenario, trace, value, seed, limit=args.limit)
        for scenario in args.scenarios
        for trace, value, seed in product(traces_for(scenario, args.traces), args.values, range(args.seeds))
    ]
    found = all_done(jobs, args.processes, "scores")
    figures: Figures = {}
    table = Table("scenario", "trace", "USD/h", OURS, "best of the others", "verdict", title="vs oracle")
    for job, of in found.items():
        name = f"{job.scenario} {job.trace} {job.usd_per_hour:g} USD/h"
        figures |= {f"{name} {one.router}": round(one.ratio.mean, 4) for one in of if one.router != ORACLE}
        ours, best, verdict = judged(of, TARGET_STEADY if job.scenario == "steady" else TARGET)
        figures |= {f"{name} interval": round(ours.ratio.half or 0.0, 4), f"{name} verdict": verdict}
        table.add_row(
            job.scenario,
            job.trace,
            f"{job.usd_per_hour:g}",
            shown(ours),
            f"{best.router} {shown(best)}",
            verdict,
        )
    show(table)
    show(every_router(found))
    figures |= times(found)
    return figures


def judged(of: Sequence[Result], target: float) -> tuple[Result, Result, str]:
    """Ours, the best of the others but the oracle, and whether ours is within the target and the best."""
    ours = next(one for one in of if one.router == OURS)
    best = min((one for one in of if one.router not in (OURS, ORACLE)), key=lambda one: one.ratio.mean)
    is_best = ours.ratio.mean <= best.ratio.mean + (best.ratio.half or 0.0) + SHOWN / 2
    faults = [] if ours.ratio.mean <= target else [f"above {target}"]
    faults += [] if is_best else [f"behind {best.router}"]
    return ours, best, ", ".join(faults) or "ok"


def every_router(found: Mapping[Job, list[Result]]) -> Table:
    """Each router's mean ratio by value of time, over scenarios and traces; one row each."""
    values = sorted({job.usd_per_hour for job in found})
    table = Table("router", *(f"{value:g} USD/h" for value in values), title="mean over scenarios, vs oracle")
    for name in ROUTERS:
        cells = []
        for value in values:
            ratios = [
                one.ratio.mean
                for job, of in found.items()
                if job.usd_per_hour == value
                for one in of
                if one.router == name
            ]
            cells.append(f"{fmean(ratios):.3f}")
        table.add_row(name, *cells)
    return table


def times(found: Mapping[Job, list[Result]]) -> Figures:
    """Seconds that each router takes for a whole trace at six endpoints, and per decision."""
    of_azure = [of for job, of in found.items() if job.trace == AZURE and job.limit is None]
    if not of_azure:
        return {}
    table = Table("router", "seconds per 19,366 requests", "µs per decision")
    figures: Figures = {}
    for place, name in enumerate(ROUTERS):
        elapsed_s = fmean(of[place].elapsed_s for of in of_azure)
        decision_us = fmean(of[place].decision_us for of in of_azure)
        figures |= {
            f"replay s {name}": round(elapsed_s, 3),
            f"decision us {name}": round(decision_us, 2),
        }
        table.add_row(name, f"{elapsed_s:.2f}", f"{decision_us:.1f}")
    slowest = max(fmean(of[place].elapsed_s for of in of_azure) for place in range(len(ROUTERS)))
    figures["replay verdict"] = "ok" if slowest <= REPLAY_TARGET_S else f"above {REPLAY_TARGET_S:g} s"
    show(table)
    return figures


def slo_section(args: argparse.Namespace) -> Figures:
    """The share of answers that are whole in time, of the requests that the oracle can serve as asked."""
    jobs = [
        Job(scenario, trace, SLO_USD_PER_HOUR, seed, SLO_ROUTERS, answer_s, args.limit)
        for scenario in args.scenarios
        for trace, answer_s, seed in product(
            traces_for(scenario, args.traces), LIMITS_S, range(min(args.seeds, SLO_SEEDS))
        )
    ]
    figures: Figures = {}
    columns = ("scenario", "trace", "limit", "possible", *SLO_ROUTERS, "score vs oracle", "verdict")
    title = f"whole answers in time where the oracle can; asked for {SLO_PROBABILITY:.0%}"
    table = Table(*columns, title=title)
    for job, of in all_done(jobs, args.processes, "limits").items():
        name = f"{job.scenario} {job.trace} {job.answer_s:g} s in time"
        by_name = {one.router: one for one in of}
        shares = {router: by_name[router].in_time_where_possible for router in SLO_ROUTERS}
        figures |= {f"{name} {router}": round(of.mean, 4) for router, of in shares.items() if of is not None}
        ours, possible = shares[OURS], by_name[ORACLE].possible
        is_judged = ours is not None and possible is not None and possible.mean >= LEAST_POSSIBLE
        verdict = "too few are possible"
        if is_judged:
            verdict = "ok" if ours.mean >= SLO_PROBABILITY - SLACK else "too seldom in time"
            figures[f"{name} verdict"] = verdict
        table.add_row(
            job.scenario,
            job.trace,
            f"{job.answer_s:g} s",
            "" if possible is None else f"{possible.mean:.1%}",
            *("–" if share is None else f"{share.mean:.1%}" for share in shares.values()),
            shown(by_name[OURS]),
            verdict,
        )
    show(table)
    return figures


def watched(job: Job) -> tuple[Job, Coverage]:
    """How many outcomes lay inside the intervals that were given for them; runs in a process of the pool."""
    witnesses: list[Witness] = []

    def make(terms: Terms) -> Witness:
        witnesses.append(Witness(terms))
        return witnesses[0]

    slo = Slo(usd_per_hour=job.usd_per_hour)
    scenario, trace = load_replay_scenario(job.scenario), trace_of(job.trace, job.limit)
    Simulation(scenario, trace, slo, seed=job.seed, router=OURS, make=make).whole()
    return job, witnesses[0].coverage


def calibration_section(args: argparse.Namespace) -> Figures:
    """The shares of costs and times that lie inside intervals of 50, 90 and 99 %, all seeds together."""
    jobs = [
        Job(scenario, trace, SLO_USD_PER_HOUR, seed, limit=args.limit)
        for scenario in CALIBRATED
        for trace, seed in product(args.traces, range(min(args.seeds, CALIBRATION_SEEDS)))
    ]
    of: dict[tuple[str, str], list[Coverage]] = {}
    with ProcessPoolExecutor(args.processes) as pool:
        for job, coverage in pool.map(watched, jobs):
            of.setdefault((job.scenario, job.trace), []).append(coverage)
    table = Table(
        "scenario", "trace", "answers", *(f"{what} {share:.0%}" for what in ("$", "s") for share in SHARES)
    )
    figures: Figures = {}
    for (scenario, trace), found in of.items():
        count = sum(coverage.watched for coverage in found)
        inside = [
            sum(getattr(coverage, what)[share] for coverage in found) / count
            for what in ("dollars", "seconds")
            for share in SHARES
        ]
        name = f"calibration {scenario} {trace}"
        for key, share in zip(product(("dollars", "seconds"), SHARES), inside, strict=True):
            figures[f"{name} {key[0]} {key[1]:.0%}"] = round(share, 4)
        wanted = [*SHARES, *SHARES]
        off = max(abs(share - asked) for share, asked in zip(inside, wanted, strict=True))
        figures[f"{name} verdict"] = "ok" if off <= CALIBRATION_SLACK else f"off by {off:.3f}"
        table.add_row(scenario, trace, f"{count:,}", *(f"{share:.1%}" for share in inside))
    show(table)
    return figures


def generated_section(args: argparse.Namespace) -> Figures:
    """The same ratios on scenarios made by chance, of seeds that are for reports only."""
    seeds = range(args.first_generated, args.first_generated + args.generated)
    jobs = [
        Job(f"generated:{number}", trace, 5.0, seed, limit=args.limit)
        for number in seeds
        for trace, seed in product(args.traces, range(min(args.seeds, GENERATED_SEEDS)))
    ]
    found = all_done(jobs, args.processes, "generated")
    figures: Figures = {}
    table = Table("scenario", "trace", OURS, "best of the others", "verdict", title="made by chance, 5 USD/h")
    ratios = []
    for job, of in found.items():
        ours, best, verdict = judged(of, TARGET)
        ratios.append(ours.ratio.mean)
        name = f"{job.scenario} {job.trace}"
        figures |= {
            f"{name} {OURS}": round(ours.ratio.mean, 4),
            f"{name} best other": f"{best.router} {best.ratio.mean:.4f}",
            f"{name} verdict": verdict,
        }
        table.add_row(job.scenario, job.trace, shown(ours), f"{best.router} {shown(best)}", verdict)
    show(table)
    show(every_router(found))
    if ratios:
        figures["generated mean ratio"] = round(fmean(ratios), 4)
    return figures


def shown(one: Result) -> str:
    """A ratio with its interval."""
    half = one.ratio.half
    return f"{one.ratio.mean:.3f}" if half is None else f"{one.ratio.mean:.3f} ±{half:.3f}"


def show(table: Table) -> None:
    """Prints a table, whole where it goes to a file."""
    Console(width=None if sys.stdout.isatty() else 150).print(table)


def parsed() -> argparse.Namespace:
    """The arguments, with everything that there is where nothing was picked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help=f"sections, with commas between: {', '.join(SECTIONS)}")
    parser.add_argument("--scenarios", help="with commas between; all of data/replay unless given")
    parser.add_argument("--traces", default=f"{AZURE},{MOONCAKE}")
    parser.add_argument("--values", default=",".join(f"{value:g}" for value in VALUES_USD_PER_HOUR))
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--generated", type=int, default=GENERATED, help="how many scenarios made by chance")
    parser.add_argument("--first-generated", type=int, default=FIRST_UNSEEN_SEED)
    parser.add_argument("--limit", type=int, help="only the first requests of each trace")
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--quick", action="store_true", help="two seeds and 3,000 requests, 5 USD/h")
    parser.add_argument("--check", action="store_true", help="exit 1 when a target is missed")
    args = parser.parse_args()
    if args.quick:
        args.seeds, args.limit, args.values, args.generated = 2, 3000, "5", 3
    args.sections = args.only.split(",") if args.only else list(SECTIONS)
    if unknown := [name for name in args.sections if name not in SECTIONS]:
        parser.error(f"unknown section {unknown[0]}: there are {', '.join(SECTIONS)}")
    args.scenarios = args.scenarios.split(",") if args.scenarios else list(replay_scenario_names())
    args.traces = args.traces.split(",")
    args.values = [float(value) for value in args.values.split(",")]
    return args


def main() -> int:
    """Runs the sections, prints their tables and writes their figures down."""
    args = parsed()
    started = perf_counter()
    figures: Figures = {
        "part": f"{', '.join(args.sections)}; {len(args.scenarios)} scenarios, {args.seeds} seeds, "
        f"values of time {args.values}, "
        f"{'whole traces' if args.limit is None else f'first {args.limit} requests'}",
        "what": "simulated: mean expected score (dollars and waiting, failures included) over the oracle's",
    }
    sections = {
        "score": score_section,
        "slo": slo_section,
        "calibration": calibration_section,
        "generated": generated_section,
    }
    for name in args.sections:
        figures |= sections[name](args)
    figures["seconds"] = round(perf_counter() - started)
    missed = [key for key, value in figures.items() if key.endswith("verdict") and value != "ok"]
    figures["missed"] = len(missed)
    print(f"{figures['part']}: {figures['seconds']} s, {len(missed)} targets missed")
    BUILD.mkdir(exist_ok=True)
    (BUILD / "routing.json").write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n")
    return 1 if args.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
