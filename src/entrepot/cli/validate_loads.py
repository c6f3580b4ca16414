"""Points of `entrepot plan validate` that rest on the engine: cost by load, and TTFT as queueing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np

from entrepot.catalog.load_lessons import load_configurations, load_deployments, load_lessons
from entrepot.catalog.step_times import load_step_times
from entrepot.cli.trace_requests import trace_requests
from entrepot.cli.validation_points import Check, Point, Rows, at_most, part
from entrepot.replay.trace_files import load_trace
from entrepot.tokenomics.cost_by_load import Configuration, fit_two, unit_draws
from entrepot.tokenomics.cost_by_load_report import RowError, Spread, row_errors, summarise
from entrepot.tokenomics.deployment_offer import DeploymentOffer
from entrepot.tokenomics.trace_run import run_trace
from entrepot.tokenomics.validation.promises import PromiseError, promise_errors, promise_figures

TRACE = "azure_2023_conv"
SPEEDS = (1.0, 2.0, 4.0)
"""How many times faster than it was the trace is sent."""
_SEED = 1
QUICK_CONFIGS, _QUICK_REQUESTS = 1, 1_000  # of a trial of the command
_DRAWS = 2
_NEAR_TPOT, _NEAR_TTFT = 0.25, 0.30


class LoadEvidence:
    """The rows of cost_by_load_measured.csv as they are predicted; two points share the runs."""

    def __init__(self, *, is_quick: bool, advance: Callable[[], None]) -> None:
        """Read nothing yet; `advance` is called after each configuration."""
        self.is_quick, self._advance = is_quick, advance

    @cached_property
    def configurations(self) -> tuple[Configuration, ...]:
        """Return the configurations that are predicted."""
        found = load_configurations()
        return found[:QUICK_CONFIGS] if self.is_quick else found

    @cached_property
    def plain(self) -> tuple[RowError, ...]:
        """Return the rows predicted from those at 1 and 10 requests/s."""
        return self._errors(capacity=False)

    @cached_property
    def with_capacity(self) -> tuple[RowError, ...]:
        """Return the rows predicted with the throughput at 100 requests/s as well."""
        return self._errors(capacity=True)

    @cached_property
    def promises(self) -> Rows:
        """Return the errors of the same rows as step times and waits of other hosts predict them."""
        deployments, coefficients = load_deployments(), load_step_times()
        found: list[PromiseError] = []
        for configuration in self.configurations:
            offer = DeploymentOffer.of(deployments[configuration.name], coefficients, tier="rental")
            draws = unit_draws(np.random.default_rng(_SEED), _DRAWS)
            found += promise_errors(configuration, offer.service(), draws)
        return promise_figures(found)

    def _errors(self, *, capacity: bool) -> tuple[RowError, ...]:
        lessons = load_lessons()
        found: list[RowError] = []
        for configuration in self.configurations:
            rng = np.random.default_rng(_SEED)
            found += row_errors(configuration, lessons, rng, capacity=capacity)
            self._advance()
        return tuple(found)


def cost_by_load(evidence: LoadEvidence) -> Point:
    """Return point 4: every row of a configuration from two of its rows, and from its capacity too."""
    plain, known = summarise(evidence.plain), summarise(evidence.with_capacity)
    slow = [abs(row.tpot_p50_error) for row in evidence.plain if row.is_below]
    return Point(
        4,
        "Cost by load: rows at 1 and 10 requests/s given, all others predicted",
        (
            at_most("$/M output: median error", plain.cost.median, 0.10),
            at_most("$/M output at the knee: median error", plain.cost_at_knee.median, 0.15),
            at_most("$/M output at the knee: greatest error", plain.cost_at_knee.greatest, 0.15),
            at_most("median TPOT below saturation: median error", plain.tpot_p50.median, _NEAR_TPOT),
            at_most("median TPOT below saturation: greatest error", plain.tpot_p50.greatest, _NEAR_TPOT),
            part("median TPOT below saturation: rows within 25 %", _share(slow, _NEAR_TPOT)),
            part("80 % intervals of $/M: covered", plain.cost_coverage),
            Check("80 % intervals of $/M: width, p90/p10", plain.cost_width),
            at_most("capacity known, $/M output: mean error", known.cost.mean, 0.05),
            at_most("capacity known, at the knee: mean error", known.cost_at_knee.mean, 0.08),
            at_most("capacity known, at the knee: greatest error", known.cost_at_knee.greatest, 0.08),
            part("min(rate, capacity) at the knee: greatest error", known.trivial_at_knee.greatest),
        ),
        {
            "from two rows": _table(evidence.plain),
            "with the capacity": _table(evidence.with_capacity),
        },
    )


def ttft_is_queueing(evidence: LoadEvidence) -> Point:
    """Return point 5: TTFT of the same rows below saturation, verdicts, and a real trace at three loads."""
    found = summarise(evidence.plain)
    below = [row for row in evidence.plain if row.is_below]
    shares = {
        "p50": _share([abs(row.ttft_p50_error) for row in below], _NEAR_TTFT),
        "p90": _share([abs(row.ttft_p90_error) for row in below], _NEAR_TTFT),
    }
    checks = [*_ttft_checks("p50", found.ttft_p50), *_ttft_checks("p90", found.ttft_p90)]
    checks += [part(f"{name} TTFT below saturation: rows within 30 %", shares[name]) for name in shares]
    checks.append(part("verdicts of saturation that are right", found.verdicts_right))
    above = [row for row in evidence.plain if row.saturation.is_saturated]
    notes = tuple(
        f"{row.config} at {row.offered_rps:g} requests/s: {row.saturation.sentence}" for row in above[:1]
    )
    return Point(
        5,
        "TTFT is queueing",
        tuple(checks),
        {
            "before any calibration, below saturation": evidence.promises,
            f"{TRACE} on one H100, an 8B model (C1)": trace_rows(evidence),
        },
        notes,
    )


def trace_rows(evidence: LoadEvidence) -> Rows:
    """Return what the trace shows at three loads on the first configuration, as two of its rows fit it."""
    draws = unit_draws(np.random.default_rng(_SEED), _DRAWS)
    engine = fit_two(evidence.configurations[0], load_lessons(), draws).engine
    trace = load_trace(TRACE).first(_QUICK_REQUESTS if evidence.is_quick else None)
    rows: dict[str, dict[str, float | str]] = {}
    for faster in SPEEDS:
        requests = trace_requests(trace, faster=faster)
        shown = run_trace(engine, requests)
        rows[f"{requests.rate:.1f} requests/s"] = {
            "TTFT p50 s": shown.ttft.p50,
            "TTFT p90 s": shown.ttft.p90,
            "TTFT p99 s": shown.ttft.p99,
            "TPOT p50 ms": shown.tpot.p50 * 1e3,
            "TPOT p90 ms": shown.tpot.p90 * 1e3,
            "busy": shown.utilisation,
            "verdict": shown.saturation.sentence,
        }
    return rows


def _ttft_checks(name: str, spread: Spread) -> list[Check]:
    what = f"{name} TTFT below saturation"
    return [
        at_most(f"{what}: median error", spread.median, _NEAR_TTFT),
        at_most(f"{what}: greatest error", spread.greatest, _NEAR_TTFT),
    ]


def _share(errors: Sequence[float], limit: float) -> float:
    return float(np.mean(np.array(errors) <= limit)) if errors else float("nan")


def _table(errors: Sequence[RowError]) -> Rows:
    return {
        f"{row.config} at {row.offered_rps:g}/s": {
            "$/M": row.cost_usd_per_mtok,
            "predicted": row.predicted_usd_per_mtok,
            "error": row.cost_error,
            "TPOT p50": row.tpot_p50_error,
            "TTFT p50": row.ttft_p50_error,
            "TTFT p90": row.ttft_p90_error,
            "saturated": "yes" if row.saturation.is_saturated else "no",
            "was": "no" if row.is_below else "yes",
        }
        for row in errors
    }
