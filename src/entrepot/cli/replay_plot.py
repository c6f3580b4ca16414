"""Draws what routers lose to the oracle over the time of a trace."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from entrepot.cli.plots import COLOURS, drawing_of, open_frame, save
from entrepot.replay.routers import ORACLE, OURS
from entrepot.replay.scenario import ReplayScenario
from entrepot.replay.simulate import Run
from entrepot.replay.summary import cumulative_regret
from entrepot.replay.trace import Trace

_POINTS = 600  # of a line: more than a screen shows
_LINES = ("-", "--", ":")  # for more routers than there are colours
_LINEAR_SHARE = 0.01  # of the axis that is linear around 0; beyond, logarithmic: regrets differ by hundreds
_S_PER_MIN = 60.0


def draw_regret(runs: Mapping[str, Run], scenario: ReplayScenario, trace: Trace, path: Path) -> None:
    """Draw the cumulative regret of each router, the one that lost most first in the legend.

    Raises: ConfigError when matplotlib is missing, or the file cannot be of that kind or written.
    """
    figure_class, formatter = drawing_of(path)
    oracle = runs[ORACLE]
    lines = {name: cumulative_regret(run, oracle) for name, run in runs.items() if name != ORACLE}
    ordered = sorted(lines, key=lambda name: -lines[name][-1])
    figure = figure_class(figsize=(11, 5.5), layout="constrained")
    axes = figure.subplots()
    step = max(1, len(oracle.at_s) // _POINTS)
    minutes = [at_s / _S_PER_MIN for at_s in oracle.at_s[::step]]
    for place, name in enumerate(ordered):
        axes.plot(
            minutes,
            lines[name][::step],
            label=f"{name}  {lines[name][-1]:,.2f}",
            color="black" if name == OURS else COLOURS[place % len(COLOURS)],
            linestyle="-" if name == OURS else _LINES[place // len(COLOURS) % len(_LINES)],
            linewidth=2.5 if name == OURS else 1.2,
        )
    most = max((abs(value) for line in lines.values() for value in line), default=0.0)
    if most:
        axes.set_yscale("symlog", linthresh=most * _LINEAR_SHARE)
    axes.yaxis.set_major_formatter(formatter(lambda usd, _: f"{usd:g}"))
    axes.set_xlabel("minutes")
    axes.set_ylabel("expected USD lost to the oracle, waiting included")
    axes.set_title(f"Regret on {trace.name} at {scenario.name} (simulated)")
    axes.grid(axis="y", alpha=0.3)
    open_frame(axes)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0), title="lost in all, USD")
    save(figure, path)
