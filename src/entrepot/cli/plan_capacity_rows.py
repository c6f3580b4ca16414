"""The loads of a replica and the fleet of a demand, as columns and as JSON."""

from __future__ import annotations

from math import isnan, nan

from msgspec import Struct

from entrepot.cli.plan_options import PlannedOffer
from entrepot.cli.plan_slo import Promise
from entrepot.cli.tables import NOTHING, seconds_text, share_text
from entrepot.domain.durations import SECONDS_PER_DAY, SECONDS_PER_HOUR
from entrepot.domain.money import TOKENS_PER_MTOK
from entrepot.tokenomics.hosting import Freed
from entrepot.tokenomics.load import Steady
from entrepot.tokenomics.results import Distribution
from entrepot.tokenomics.slo_capacity import Sized, SloCapacity, Trial

GIVEN, WITHIN, FULL = "as given", "most within the SLO", "full batch"
OPTIONAL = ("batch", "TTFT p99", "Mtok/day", "answer p90", "goodput", "TTFT p50")
GROWS = "grows"  # a time that is the length of the run


class Row(Struct, frozen=True):
    """A load: the mean state of a replica, and what requests get where that was simulated."""

    name: str
    state: Steady
    trial: Trial | None


class Fleet(Struct, frozen=True):
    """What a demand takes. Units: requests/s."""

    demand_per_s: float
    sized: Sized
    free: Freed


class Capacity(Struct, frozen=True):
    """What was found of a deployment."""

    offer: PlannedOffer
    promise: Promise
    within: SloCapacity
    rows: tuple[Row, ...]
    fleet: Fleet | None


def capacity_columns(shown: Capacity) -> dict[str, list[str]]:
    """Return a row per load."""
    rows = shown.rows
    columns = {
        "load": [row.name for row in rows],
        "req/s": [f"{_rate(row):.3g}" for row in rows],
        "batch": [f"{row.state.batch:.1f}" for row in rows],
        "TTFT p50": [_time(row, "p50") for row in rows],
        "TTFT p90": [_time(row, "p90") for row in rows],
        "TTFT p99": [_time(row, "p99") for row in rows],
        "tokens/s/user p50": [_speed(row, "p50") for row in rows],
        "p90": [_speed(row, "p90") for row in rows],
        "answer p90": [_time(row, "p90", "answer") for row in rows],
    }
    if shown.promise.has_limits:
        columns["keep the SLO"] = [_share(row.trial) for row in rows]
        columns["goodput"] = [_goodput(row.trial) for row in rows]
    columns["Mtok/day"] = [f"{_mtok_per_day(shown, row):,.0f}" for row in rows]
    columns["$/M all tokens"] = [f"{_usd_per_mtok(shown, row):.3g}" for row in rows]
    return columns


def _mtok_per_day(shown: Capacity, row: Row) -> float:
    tokens = float(shown.promise.mix.tokens.sum())
    return row.state.rate_per_s * tokens * SECONDS_PER_DAY / TOKENS_PER_MTOK


def _usd_per_mtok(shown: Capacity, row: Row) -> float:
    """Return what a day of the replica costs over all of its tokens."""
    return shown.offer.usd_per_hour * SECONDS_PER_DAY / SECONDS_PER_HOUR / _mtok_per_day(shown, row)


def capacity_json(shown: Capacity) -> dict[str, object]:
    """Return what was found, for programs."""
    offer, promise, fleet = shown.offer, shown.promise, shown.fleet
    return {
        "deployment": offer.name,
        "gpus": offer.gpus,
        "usd_per_hour": offer.usd_per_hour,
        "tokens_per_request": float(promise.mix.tokens.sum()),
        "slo": {
            "ttft_s": promise.limits.ttft_s,
            "tpot_s": promise.limits.tpot_s,
            "answer_s": promise.limits.answer_s,
            "share": promise.share,
            "is_cautious": promise.is_cautious,
        },
        "loads": {row.name: _row_json(shown, row) for row in shown.rows},
        "fleet": None
        if fleet is None
        else {
            "demand_per_s": fleet.demand_per_s,
            "replicas": fleet.sized.replicas,
            "gpus": fleet.sized.replicas * offer.gpus,
            "usd_per_hour": fleet.sized.replicas * offer.usd_per_hour,
            "simulated": None if fleet.sized.trial is None else trial_json(fleet.sized.trial),
        },
        "freed_gpus": None
        if fleet is None
        else {
            "by_batching": fleet.free.by_batching,
            "by_hour": list(fleet.free.by_hour),
            "mean_by_curve": fleet.free.mean_by_curve,
        },
    }


def trial_json(trial: Trial) -> dict[str, object]:
    """Return what requests got, for programs: times are None where they grow with the run."""
    is_saturated = trial.saturation.is_saturated
    return {
        "ttft_s": _distribution(trial.ttft, is_saturated=is_saturated),
        "tpot_s": _distribution(trial.tpot, is_saturated=False),
        "answer_s": _distribution(trial.answer, is_saturated=is_saturated),
        "met_share": None if is_saturated else trial.met_share,
        "goodput_per_s": None if is_saturated else trial.goodput_per_s,
        "refused": trial.refused,
        "capacity_per_s": trial.saturation.capacity_rps,
        "verdict": trial.saturation.sentence,
    }


def _row_json(shown: Capacity, row: Row) -> dict[str, object]:
    state = row.state
    return {
        "requests_per_s": _rate(row),
        "batch": state.batch,
        "mean_tpot_s": state.step_s,
        "busy_share": state.busy_share,
        "mtok_per_day": _mtok_per_day(shown, row),
        "usd_per_mtok_of_all_tokens": _usd_per_mtok(shown, row),
        "simulated": None if row.trial is None else trial_json(row.trial),
    }


def _rate(row: Row) -> float:
    return row.state.rate_per_s if row.trial is None else row.trial.rate_per_s


def _share(trial: Trial | None) -> str:
    if trial is None or trial.saturation.is_saturated:
        return NOTHING
    return share_text(trial.met_share)


def _goodput(trial: Trial | None) -> str:
    if trial is None or trial.saturation.is_saturated:
        return NOTHING
    return f"{trial.goodput_per_s:.3g}"


def _time(row: Row, percentile: str, what: str = "ttft") -> str:
    """Return a time of a load in seconds: of one that is beyond what can be served, that it grows."""
    if row.trial is None or row.trial.saturation.is_saturated:
        return GROWS
    return seconds_text(float(getattr(getattr(row.trial, what), percentile)))


def _speed(row: Row, percentile: str) -> str:
    """Return the tokens/s that so many users have at least."""
    tpot_s = nan if row.trial is None else float(getattr(row.trial.tpot, percentile))
    return NOTHING if isnan(tpot_s) else f"{1 / tpot_s:.1f}"


def _distribution(times: Distribution, *, is_saturated: bool) -> dict[str, float | None]:
    named = {"mean": times.mean, "p50": times.p50, "p90": times.p90, "p99": times.p99}
    return {name: None if is_saturated or isnan(value) else value for name, value in named.items()}
