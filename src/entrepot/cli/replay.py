"""`entrepot replay`: routers on a trace, with simulated endpoints and a simulated clock."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from entrepot.cli.options import AsJson
from entrepot.cli.plots import drawing_of
from entrepot.cli.progress import named_progress_bar
from entrepot.cli.replay_plot import draw_regret
from entrepot.cli.tables import print_columns, seconds_text, share_text
from entrepot.domain.request import DEFAULT_PROBABILITY, Slo
from entrepot.replay.routers import ORACLE, OURS, ROUTERS, picked_routers
from entrepot.replay.scenario import ReplayScenario
from entrepot.replay.scenario_file import load_replay_scenario
from entrepot.replay.simulate import Run, Simulation, fitting
from entrepot.replay.summary import Interval, Result, means, results
from entrepot.replay.trace import Trace
from entrepot.replay.trace_files import load_trace

_ROUTERS = f"One of {', '.join(ROUTERS)}, or all; may be repeated. The oracle always runs."


def replay(
    trace: Annotated[str, typer.Argument(help="A trace of data/traces by its name, or a file.")],
    *,
    scenario: Annotated[
        str, typer.Option(help="A scenario of data/replay by its name, a TOML file, or generated:SEED.")
    ],
    router: Annotated[list[str] | None, typer.Option(help=_ROUTERS)] = None,
    value_of_time: Annotated[
        float, typer.Option(min=0, help="What an hour of waiting is worth, in USD.")
    ] = 5.0,
    answer_s: Annotated[
        float | None, typer.Option(min=0.001, help="A limit on the seconds of a whole answer.")
    ] = None,
    probability: Annotated[
        float, typer.Option(min=0, max=1, help="How probably that limit has to hold.")
    ] = DEFAULT_PROBABILITY,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws; the first of several.")] = 0,
    seeds: Annotated[int, typer.Option(min=1, help="Run so many seeds, for intervals.")] = 1,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first requests of the trace.")] = None,
    as_json: AsJson = False,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the regret over time into a .png, .svg or .pdf.")
    ] = None,
) -> None:
    """Run routers over a trace on a simulated clock; compare what their choices are expected to cost.

    Every figure is simulated. Ratios are to an oracle that knows each endpoint's true state.
    """
    picked = picked_routers(router or [OURS])
    if plot is not None:
        drawing_of(plot)  # a wrong suffix or a missing library is said before the work
    of = load_replay_scenario(scenario)
    whole = load_trace(trace).first(limit)
    fits = fitting(whole, of)
    if not fits.requests:
        raise typer.BadParameter(f"no endpoint of {of.name} has a window that holds a prompt of {whole.name}")
    slo = Slo(usd_per_hour=value_of_time, answer_s=answer_s, probability=probability, serves_nearest=True)
    runs = _runs(of, fits, slo, list(picked), range(seed, seed + seeds))
    found = results([means(of_seed, answer_s) for of_seed in runs])
    if plot is not None:
        draw_regret(runs[0], of, fits, plot)
        typer.echo(f"drawn in {plot}", err=True)
    unfit = len(whole.requests) - len(fits.requests)
    if as_json:
        typer.echo(json.dumps(_as_json(of, fits, slo, found, unfit=unfit, seeds=seeds), indent=2))
    else:
        _print(of, found)
        _say_what_it_is(of, fits, slo, unfit=unfit)


def _runs(
    scenario: ReplayScenario, trace: Trace, slo: Slo, names: Sequence[str], seeds: Sequence[int]
) -> list[dict[str, Run]]:
    """Return the runs of each seed."""
    size = len(trace.requests)
    with named_progress_bar(size * len(names) * len(seeds)) as show:
        runs = []
        for place, seed in enumerate(seeds):
            done = {}
            for number, name in enumerate(names):
                before = (place * len(names) + number) * size
                simulation = Simulation(scenario, trace, slo, seed=seed, router=name, make=ROUTERS[name])
                done[name] = simulation.whole(_Advance(show, before, f"{name}, seed {seed}"))
            runs.append(done)
    return runs


class _Advance:
    """Moves the bar: to how many requests are done in this run and those before it."""

    def __init__(self, show: Callable[[int, str], None], before: int, what: str) -> None:
        self._show, self._before, self._what = show, before, what
        self(0)

    def __call__(self, done: int) -> None:
        self._show(self._before + done, self._what)


def _print(scenario: ReplayScenario, found: Sequence[Result]) -> None:
    ordered = sorted(found, key=lambda one: one.ratio.mean)
    columns = {
        "router": [one.router for one in ordered],
        "vs oracle": [_text(one.ratio, "{:.3f}") for one in ordered],
        "score $/1000": [_text(one.score, "{:.3f}", 1000.0) for one in ordered],
        "$/1000": [_text(one.dollars, "{:.3f}", 1000.0) for one in ordered],
        "seconds": [seconds_text(one.seconds.mean) for one in ordered],
        "failed": [f"{one.unanswered.mean:.2%}" for one in ordered],
    }
    if ordered[0].in_time is not None:
        columns["in time"] = [_text(one.in_time, "{:.1%}") for one in ordered]
        columns["where possible"] = [_text(one.in_time_where_possible, "{:.1%}") for one in ordered]
    columns |= {
        endpoint.host: [share_text(one.first_choices[index]) for one in ordered]
        for index, endpoint in enumerate(scenario.endpoints)
    }
    columns["µs"] = [f"{one.decision_us:.1f}" if one.router != ORACLE else "" for one in ordered]
    hosts = [endpoint.host for endpoint in scenario.endpoints]
    print_columns(columns, left=("router",), optional=("µs", *reversed(hosts), "failed"))


def _say_what_it_is(scenario: ReplayScenario, trace: Trace, slo: Slo, *, unfit: int) -> None:
    limit = "" if slo.answer_s is None else f", whole within {slo.answer_s:g} s with {slo.probability:.0%}"
    typer.echo(
        f"simulated: {len(trace.requests):,} requests of {trace.name} at the endpoints of {scenario.name}; "
        f"an hour of waiting is worth ${slo.usd_per_hour:g}{limit}",
        err=True,
    )
    if unfit:
        typer.echo(f"left out, as they fit in no endpoint's window: {unfit:,} requests", err=True)
    if trace.skipped:
        typer.echo(trace.skipped, err=True)


def _text(value: Interval | None, form: str, times: float = 1.0) -> str:
    if value is None:
        return ""
    text = form.format(value.mean * times)
    return text if value.half is None else f"{text} ±{form.format(value.half * times)}"


def _as_json(
    scenario: ReplayScenario, trace: Trace, slo: Slo, found: Sequence[Result], *, unfit: int, seeds: int
) -> dict[str, object]:
    return {
        "simulated": True,
        "scenario": scenario.name,
        "trace": trace.name,
        "requests": len(trace.requests),
        "left_out_as_too_long": unfit,
        "seeds": seeds,
        "usd_per_hour": slo.usd_per_hour,
        "answer_s": slo.answer_s,
        "probability": None if slo.answer_s is None else slo.probability,
        "endpoints": [endpoint.name for endpoint in scenario.endpoints],
        "routers": [msgspec.to_builtins(one) for one in found],
    }
