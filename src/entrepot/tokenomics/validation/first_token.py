"""Mean TTFT of measurements that nothing was fitted to, in closed form and by the engine."""

from __future__ import annotations

import numpy as np

from entrepot.tokenomics.arrivals import Ints
from entrepot.tokenomics.coefficients import spread_of
from entrepot.tokenomics.first_token import first_tokens_of, fit_first_tokens
from entrepot.tokenomics.step_terms import Floats
from entrepot.tokenomics.validation.errors import Figures, coverage_figures, error_figures, errors_by
from entrepot.tokenomics.validation.tpot import CrossValidation


def first_token_figures(done: CrossValidation, rng: np.random.Generator) -> dict[str, Figures]:
    """Return the errors of mean TTFT of aggregated deployments whose cache is not full, and by backend.

    Each row is predicted by steps and by waits that were fitted without its fold, and its interval is made
    of the errors of the other folds. `rng` draws the lengths of simulated requests.
    """
    seen = first_tokens_of(done.points, done.unseen.mean, done.unseen.known, rng)
    if not len(seen.rows):
        return {}
    found = fit_first_tokens(seen, done.groups, done.folds)
    rows, weight = seen.rows, done.groups.weight[seen.rows]
    measured = seen.ttft_s[rows]
    backends = [seen.backends[row] for row in rows]
    figures: dict[str, Figures] = {}
    for name, predicted in (("in closed form", found.closed_s[rows]), ("simulated", found.simulated_s[rows])):
        low, high = _intervals(done, rows, backends, measured / predicted)
        covered = coverage_figures(measured, predicted * low, predicted * high, weight)
        figures[name] = {**error_figures(predicted, measured, weight), **covered}
        by_backend = errors_by(lambda at: backends[at], predicted, measured, weight)
        figures |= {f"{name}, {backend}": errors for backend, errors in by_backend.items()}
    return figures


def _intervals(
    done: CrossValidation, rows: Ints, backends: list[str], ratios: Floats
) -> tuple[Floats, Floats]:
    """Return between which factors of each prediction 80 % lie, by the rows of other folds."""
    folds, names = np.array(done.folds)[rows], np.array(backends)
    low, high = np.ones(len(rows)), np.ones(len(rows))
    for fold in sorted(set(folds)):
        for backend in sorted(set(backends)):
            others = np.flatnonzero((folds != fold) & (names == backend))
            own = np.flatnonzero((folds == fold) & (names == backend))
            if len(others) and len(own):
                series = len({done.groups.series[row] for row in rows[others]})
                spread = spread_of(np.log(ratios[others]), done.groups.weight[rows[others]], series=series)
                low[own], high[own] = spread.low, spread.high
    return low, high
