"""Prices of one replica at several loads, as columns and as JSON."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from entrepot.cli.plan_capacity_rows import GIVEN, GROWS, WITHIN, trial_json
from entrepot.cli.plan_figures import KIND_NAMES, PART_NAMES
from entrepot.cli.plan_options import PlannedOffer
from entrepot.cli.plan_points import number, usd_text
from entrepot.cli.tables import seconds_text, share_text
from entrepot.tokenomics.load import Mix, Overloaded, Steady
from entrepot.tokenomics.price import Kind, Part, PriceList
from entrepot.tokenomics.priced_load import PricesByLoad
from entrepot.tokenomics.slo_capacity import Trial

MEETING = "that the price brings"


def rows_by_load(offer: PlannedOffer, mix: Mix, prices: PricesByLoad) -> dict[str, tuple[Steady, PriceList]]:
    """Return state and prices at each load that has them."""
    listed = {GIVEN: prices.given, WITHIN: prices.at_slo, MEETING: prices.at_meeting}
    replica = offer.replica()
    found = {}
    for name, one in listed.items():
        if isinstance(one, PriceList):
            state = replica.steady(mix, rate_of(one, mix))
            if isinstance(state, Steady):
                found[name] = (state, one)
    return found


def rate_of(prices: PriceList, mix: Mix) -> float:
    """Return the requests per second that the tokens of a price list come from."""
    return float(prices.tokens[:, Kind.OUTPUT].sum()) / mix.output_tokens


def load_columns(
    offer: PlannedOffer, mix: Mix, prices: PricesByLoad, trials: Mapping[str, Trial]
) -> dict[str, list[str]]:
    """Return a row per load and context tier that has requests; `trials` are the loads as simulated."""
    rows = [
        (name, state, one, tier)
        for name, (state, one) in rows_by_load(offer, mix, prices).items()
        for tier in np.flatnonzero(one.tokens.sum(axis=1) > 0)
    ]
    return {
        "load": [name for name, *_ in rows],
        "context": [one.tiers[tier].label for *_, one, tier in rows],
        "req/s": [f"{state.rate_per_s:.3g}" for _, state, *_ in rows],
        "batch": [f"{state.batch:.1f}" for _, state, *_ in rows],
        "TTFT p90 s": [_ttft_text(trials[name]) for name, *_ in rows],
        "tokens/s/user": [f"{1 / state.step_s:.1f}" for _, state, *_ in rows],
        **{
            f"{KIND_NAMES[kind]} $/M": [usd_text(one.usd_per_mtok[tier, kind]) for *_, one, tier in rows]
            for kind in Kind
        },
        "KV": [share_text(float(one.shares[Part.KV])) for *_, one, _ in rows],
        "idle": [share_text(max(0.0, float(one.shares[Part.IDLE]))) for *_, one, _ in rows],
    }


def _ttft_text(trial: Trial) -> str:
    return GROWS if trial.saturation.is_saturated else seconds_text(trial.ttft.p90)


def loads_json(
    offer: PlannedOffer, mix: Mix, prices: PricesByLoad, trials: Mapping[str, Trial]
) -> dict[str, object]:
    """Return the prices for programs; `trials` are the loads as simulated."""
    meeting = prices.meeting
    return {
        "deployment": offer.name,
        "gpus": offer.gpus,
        "usd_per_hour": offer.usd_per_hour,
        "slo_capacity_per_s": prices.slo_per_s,
        "loads": {
            name: {**_load_json(state, one), "simulated": trial_json(trials[name])}
            for name, (state, one) in rows_by_load(offer, mix, prices).items()
        },
        "refused": prices.given.reason if isinstance(prices.given, Overloaded) else None,
        "meeting": None
        if meeting is None
        else {
            "kind": meeting.meeting.value,
            "load_per_s": meeting.load,
            "price_usd": meeting.price_usd,
            "clearing_usd": number(meeting.clearing_usd),
            "least_load_per_s": meeting.least_load,
            "gap": number(meeting.gap),
            "sentence": meeting.sentence,
        },
    }


def _load_json(state: Steady, prices: PriceList) -> dict[str, object]:
    return {
        "requests_per_s": state.rate_per_s,
        "in_flight": state.in_flight,
        "batch": state.batch,
        "tpot_s": state.step_s,
        "busy_share": state.busy_share,
        "usd_per_mtok": {
            tier.label: {KIND_NAMES[kind]: number(prices.usd_per_mtok[at, kind]) for kind in Kind}
            for at, tier in enumerate(prices.tiers)
        },
        "shares": {PART_NAMES[part]: float(prices.shares[part]) for part in Part},
        "conservation_error": prices.conservation_error,
    }
