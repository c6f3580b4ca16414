"""Points of `entrepot plan validate` that rest on step times: TPOT unseen and calibrated, context, nodes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import cast
from zlib import crc32

import numpy as np

from entrepot.catalog.fleets import load_fleet
from entrepot.catalog.measured import SiliconRow, published_points, silicon_rows
from entrepot.catalog.silicon import answerable
from entrepot.catalog.step_times import load_step_times
from entrepot.catalog.throughput import deepseek_fleet, throughput_rows
from entrepot.cli.validation_points import Check, Point, at_least, at_most, between, near, part
from entrepot.tokenomics.fleet import day_of
from entrepot.tokenomics.validation.calibration import calibration_figures
from entrepot.tokenomics.validation.errors import Figures
from entrepot.tokenomics.validation.first_token import first_token_figures
from entrepot.tokenomics.validation.published import context_figures, fleet_figures
from entrepot.tokenomics.validation.split import split_figures
from entrepot.tokenomics.validation.tpot import CrossValidation, cross_validated, tpot_figures

FLEET = "deepseek-2025"
_QUICK_PART = 30  # of the configurations one in so many; whole ones, since series need their loads
_BIAS = 0.02
_SEED = 1  # of the lengths of simulated requests
_CONSERVED = 1e-9


class StepEvidence:
    """The measurements of silicon_measured.csv and what fits without a part of them predict of that part.

    Both points that need it share one run, which takes a while; `is_quick` takes a few configurations.
    """

    def __init__(self, *, is_quick: bool) -> None:
        """Read nothing yet."""
        self._is_quick = is_quick

    @cached_property
    def crossed(self) -> tuple[CrossValidation, int]:
        """Return the cross-validation and the number of rows of its source."""
        rows = silicon_rows()
        if self._is_quick:
            rows = tuple(row for row in rows if _is_quick(row))
        points, _ = answerable(rows)
        return cross_validated(points), len(rows)


def deepseek_day() -> Point:
    """Return point 1: the arithmetic of a published day, and its rates per node as predicted."""
    day = day_of(load_fleet(FLEET))
    found = day.results()
    predicted = fleet_figures(*deepseek_fleet(), load_step_times())
    lost = abs(day.at_cost.conservation_error)
    rates: dict[str, float | str] = dict(predicted)
    return Point(
        1,
        "DeepSeek's day: arithmetic on what was published, and the rates per node as predicted",
        (
            near("nodes needed", found["needed_nodes"], 226.75, 0.01),
            near("cost, $", found["cost_usd"], 87_072, 0.001),
            near("theoretical revenue, $", found["revenue_usd"], 562_027, 0.001),
            near("margin, %", found["margin"] * 100, 545, 0.005),
            near("nodes freed on average", found["freed_nodes"], 51, 0.01),
            Check("Σ price × tokens off cost, part of it", lost, f"≤ {_CONSERVED:g}", lost <= _CONSERVED),
            part("predicted prefill rate per node, error", predicted["prefill_error"]),
            part("predicted decode rate per node, error", predicted["decode_error"]),
            part("the same, exchange of experts hidden, error", predicted["decode_overlapped_error"]),
        ),
        {"predicted of a node (8 H800)": {"DeepSeek-R1": rates}},
        (
            "no coefficient was fitted to these rates, but the form of three terms was chosen knowing them",
            "published: 73,700 and 14,800 tokens/s per node",
        ),
    )


def tpot_unseen(evidence: StepEvidence) -> Point:
    """Return point 2: TPOT of series, devices and models that the fit did not see."""
    crossed, rows = evidence.crossed
    found = tpot_figures(crossed, rows=rows)
    whole, split, every = (
        _figures(found[name]) for name in ("aggregated", "split_known_workers", "all_rows")
    )
    spread = _figures(found["intervals"])
    checks = [
        Check(
            "pairs of nearly equal rows across folds",
            float(cast(int, found["straddling_pairs"])),
            "0",
            found["straddling_pairs"] == 0,
        ),
        *_errors("5-fold over series, aggregated", whole, 0.075, 0.26),
        between("5-fold over series, aggregated: bias", whole["bias"], -_BIAS, _BIAS),
    ]
    for name, shown in (("gpu_left_out", "one GPU left out"), ("model_left_out", "one model left out")):
        checks += _errors(shown, _figures(found[name]), 0.14, 0.42)
    checks += _errors("disaggregated, workers known", split, 0.10, 0.46)
    checks += [
        at_most("all rows: median", every.get("median", 0.0), 0.10),
        at_least("all rows: answered", every["answered"], 0.98),
        between("80 % intervals: covered", spread["covered"], 0.75, 0.85),
        Check("80 % intervals: width, p90/p10", spread["width"]),
    ]
    ttft = first_token_figures(crossed, np.random.default_rng(_SEED))
    for name in ("in closed form", "simulated"):
        if name in ttft:
            checks.append(part(f"mean TTFT {name}: median error", ttft[name]["median"]))
            checks.append(part(f"mean TTFT {name}: 80 % intervals covered", ttft[name]["covered"]))
    checks += _of_split(_figures(found["intervals_split"]))
    offers = split_figures(crossed.points, load_step_times(), np.random.default_rng(_SEED))
    for name, figures in offers.items():
        if name != "TPOT":
            checks.append(part(f"split as an offer: {name}: median error", figures["median"]))
    others = ("split_assumed_workers", "intervals_split")
    return Point(
        2,
        "TPOT without calibration",
        tuple(checks),
        {
            **{f"by {name}": rows for name, rows in _tables(found["by"]).items()},
            "mean TTFT": ttft,
            "split as an offer": offers,
            "others": {name: _figures(found[name]) for name in others},
        },
        ("errors are parts of what was measured; bias is the median with its sign",),
    )


def tpot_calibrated(evidence: StepEvidence) -> Point:
    """Return point 3: TPOT of a series calibrated by a few of its own loads."""
    found = calibration_figures(evidence.crossed[0])
    return Point(
        3,
        "TPOT calibrated by loads of the series itself",
        (
            *_errors("between its lowest and highest load", found["between"], 0.04, 0.15),
            *_errors("its highest load, from the two lowest", found["beyond"], 0.10, 0.30),
            at_most("others, from one middle load: median", found["around_middle"]["median"], 0.06),
        ),
        {"all, and a straight line in concurrency": found},
    )


def context_factors() -> Point:
    """Return point 6: by which factor throughput falls with the length of prompts."""
    rows = context_figures(throughput_rows(published_points()), load_step_times())
    names = [
        f"{row['model']} on {row['gpu']}, {row['from_tokens']:g} to {row['to_tokens']:g}" for row in rows
    ]
    longest = [
        at_most(f"{name}: error of the factor", abs(float(row["error"])), 0.25)
        for name, row in zip(names, rows, strict=True)
        if row["to_tokens"] == max(other["to_tokens"] for other in rows)
    ]
    shown = (
        "factor",
        "predicted",
        "error",
        "error_cache_only",
        "output_tokens_per_s_gpu",
        "predicted_tokens_per_s_gpu",
    )
    table = {name: {key: row[key] for key in shown} for name, row in zip(names, rows, strict=True)}
    return Point(
        6,
        "Context: output tokens/s per GPU from 1K to 32K of input",
        tuple(longest),
        {"factors": table},
        (
            "no coefficient was fitted to these, but the form of three terms was chosen knowing them",
            "the batch is limited to 512, as nobody publishes it; error_cache_only is without that limit",
        ),
    )


def _of_split(intervals: Figures) -> list[Check]:
    """Return the coverage of disaggregated rows, unless there are none."""
    if "covered" not in intervals:
        return []
    return [between("80 % intervals, disaggregated: covered", intervals["covered"], 0.75, 0.85)]


def _is_quick(row: SiliconRow) -> bool:
    name = f"{row.system} {row.model_path} {row.backend} {row.isl} {row.osl}"
    return crc32(name.encode()) % _QUICK_PART == 0


def _errors(name: str, figures: Figures, median: float, p90: float) -> list[Check]:
    """Return the two checks of a group; of a group without rows, that there are none."""
    if "median" not in figures:
        return [Check(f"{name}: rows", 0.0)]
    return [
        at_most(f"{name}: median", figures["median"], median),
        at_most(f"{name}: p90", figures["p90"], p90),
    ]


def _figures(found: object) -> Figures:
    return cast(Figures, found)


def _tables(found: object) -> Mapping[str, Mapping[str, Figures]]:
    return cast("Mapping[str, Mapping[str, Figures]]", found)
