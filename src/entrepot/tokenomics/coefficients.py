"""How many times its peak each part of a step takes: fitted, with what was seen of it and how far it erred.

Two sets of coefficients, and a rule for which: where both the model's shape and the device were measured,
effects of backend, device, shape and precision apply. Where one of them never was, effects of the other
mislead (they carry what was odd about that pair), and coefficients that were fitted without any effect are
nearer.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from msgspec import Struct

from entrepot.domain.errors import DataError
from entrepot.tokenomics.deployment import TYPICAL, Deployment
from entrepot.tokenomics.hardware import Hardware
from entrepot.tokenomics.measured_point import shape_key
from entrepot.tokenomics.operating_point import BURST, USUAL_WAITS
from entrepot.tokenomics.step_fit import HIGHEST, LOWEST
from entrepot.tokenomics.step_terms import TERMS, Floats

FACTORS = ("backend", "generation", "system", "model", "precision", "mode")
"""What coefficients depend on, as far as it was measured."""

FEW_SERIES = 20.0  # at as many series a group's own errors count as much as everybody's
_LITTLE = 0.5  # of one series an interval is half as wide again; the error of the mode is in it besides
ASSUMED_MODE = "decode, assumed"


class Spread(Struct, frozen=True, kw_only=True):
    """How far measurements were from predictions that had not seen them.

    Units: `low`, `high` factors of the prediction between which 80 % lie; `series` measured series, `rows`
    rows.
    """

    low: float
    high: float
    series: int = 0
    rows: int = 0


class FirstToken(Struct, frozen=True, kw_only=True):
    """How the first token of an engine waits, beyond what its steps explain.

    `waits` are how often mean TTFT of a closed loop holds each of `operating_point.WAITS`. `simulated` are
    how often TTFT holds what `engine.simulate` says of it, a step, and a second: engines look for new
    requests every few steps, and send tokens in packets. Each with how far measurements were from it.
    """

    waits: tuple[float, ...]
    spread: Spread
    simulated: tuple[float, ...] = (1.0, 0.0, 0.0)
    simulated_spread: Spread

    @property
    def steady_waits(self) -> tuple[float, ...]:
        """Return `waits` without the burst with which measured runs begin: what users see of a host."""
        return tuple(0.0 if at == BURST else value for at, value in enumerate(self.waits))


NO_SPREAD = Spread(low=1.0, high=1.0)
UNFITTED = FirstToken(waits=USUAL_WAITS, spread=NO_SPREAD, simulated_spread=NO_SPREAD)
"""Of all engines, while nothing is known yet of any."""


class StepCoefficients(Struct, frozen=True, kw_only=True):
    """What `scripts/fit_step_times.py` makes of measurements.

    `overall` and `base` are logarithms of coefficients by term, fitted without and with effects; `effects`
    what a level of a factor adds to them; `versions` the logarithm of a factor of the whole step by
    `version_key`. `series` counts how many measured series each level had. `spreads` are by `spread_key`,
    of TPOT, and by mode alone; `unseen` is that of devices and models which were left out. `first_tokens` are
    by backend.
    """

    terms: tuple[str, ...]
    overall: tuple[float, ...]
    base: tuple[float, ...]
    effects: Mapping[str, Mapping[str, tuple[float, ...]]]
    versions: Mapping[str, float]
    series: Mapping[str, Mapping[str, int]]
    spreads: Mapping[str, Spread]
    everything: Spread
    unseen: Spread
    first_tokens: Mapping[str, FirstToken]
    source: str = ""

    def of(self, deployment: Deployment, *, is_assumed: bool = False) -> DeploymentCoefficients:
        """Return what holds for a deployment.

        Raises: DataError when the file was made for other terms.
        """
        if self.terms != TERMS:
            raise DataError("the step-time coefficients are for other terms; run scripts/fit_step_times.py")
        levels = levels_of(deployment, is_assumed=is_assumed)
        seen = self.series
        first = self.first_tokens.get(deployment.backend) or self.first_tokens.get(TYPICAL, UNFITTED)
        if levels["system"] not in seen["system"] or levels["model"] not in seen["model"]:
            values = np.exp(np.clip(self.overall, LOWEST, HIGHEST))
            return DeploymentCoefficients(values, self.unseen, first, False)
        total = np.array(self.base)
        for factor, level in levels.items():
            effect = self.effects.get(factor, {}).get(level)
            if effect is not None:
                total += np.array(effect)
        shift = self.versions.get(version_key(deployment), 0.0)
        values = np.exp(np.clip(total, LOWEST, HIGHEST) + shift)
        spread = spread_for(self.spreads, deployment, self.everything)
        return DeploymentCoefficients(values, spread, first, True)


class DeploymentCoefficients(Struct, frozen=True):
    """How many times its peak each part takes on one deployment, and how sure that is.

    Shapes: `values` (len(TERMS),). `is_seen` says that both model and device were measured.
    """

    values: Floats
    spread: Spread
    first_token: FirstToken
    is_seen: bool


def levels_of(deployment: Deployment, *, is_assumed: bool = False) -> dict[str, str]:
    """Return the level of each factor for a deployment; a typical backend has none."""
    mode = "agg" if deployment.mode == "prefill" else deployment.mode  # its parts are those of prompts
    levels = {
        "backend": deployment.backend,
        "generation": generation(deployment.hardware),
        "system": deployment.hardware.name,
        "model": shape_key(deployment.architecture),
        "precision": deployment.precision,
        "mode": ASSUMED_MODE if is_assumed else mode,
    }
    if deployment.backend == TYPICAL:
        del levels["backend"]
    return levels


def generation(hardware: Hardware) -> str:
    """Return by what narrowest floats a device computes: Ampere 16 bits, Hopper 8, Blackwell 4."""
    return next((name for name in ("fp4", "fp8") if name in hardware.peak_flops), "bf16")


def version_key(deployment: Deployment) -> str:
    """Return what a version's factor is known by: it differs by model and generation of devices."""
    return "|".join(
        (
            deployment.backend,
            deployment.backend_version,
            shape_key(deployment.architecture),
            generation(deployment.hardware),
        )
    )


def spread_key(deployment: Deployment) -> str:
    """Return what the errors of a deployment are known by."""
    return f"{deployment.hardware.name}|{deployment.backend}|{deployment.mode}"


def spread_for(spreads: Mapping[str, Spread], deployment: Deployment, everything: Spread) -> Spread:
    """Return the errors of a deployment: its own, else those of its mode, else everybody's."""
    own = spreads.get(spread_key(deployment))
    return own or spreads.get(deployment.mode, everything)


def spread_of(residuals: Floats, weight: Floats, *, series: int, everything: Spread | None = None) -> Spread:
    """Return between which factors 80 % of measurements lie: shrunk to everybody's, wider if few.

    Shapes: (n,) `residuals` log(measured / predicted), `weight`.
    """
    low, high = (weighted_quantile(residuals, weight, part) for part in (0.1, 0.9))
    if everything is not None:
        trust = series / (series + FEW_SERIES)
        low = trust * low + (1 - trust) * float(np.log(everything.low))
        high = trust * high + (1 - trust) * float(np.log(everything.high))
        wider = 1 + _LITTLE / max(series, 1) if series < FEW_SERIES else 1.0
        low, high = low * wider, high * wider
    return Spread(
        low=round(float(np.exp(low)), 4),
        high=round(float(np.exp(high)), 4),
        series=series,
        rows=len(residuals),
    )


def weighted_quantile(values: Floats, weight: Floats, part: float) -> float:
    """Return the value below which `part` of the weight lies. Shapes: (n,), n ≥ 1."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weight[order])
    at = int(np.searchsorted(reached, part * reached[-1]))
    return float(values[order][min(at, len(values) - 1)])
