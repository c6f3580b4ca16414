"""What the choice reads of an endpoint and of a model: a few floats, made when observations are taken in.

Computing means, shrinkage and load terms for each request would cost more than the request; the choice
reads these rows instead. They are the only mutable values that `choose` touches.
"""

from math import sqrt

from entrepot.routing.kpi.load_limit import load_class
from entrepot.routing.kpi.table import Table
from entrepot.routing.kpi.verbosity import Verbosity


class Outlook:
    """The present forecast of one endpoint.

    Units: seconds, seconds per token, shares of 1. `ttft_s` and `tpot_s` are those of a prompt without
    uncached tokens and with nothing of ours under way; each uncached token adds `ttft_per_token_s`, each of
    our attempts under way `ttft_per_in_flight_s` and, per uncached token, `ttft_per_both_s`; to the TPOT
    `tpot_per_in_flight_s`. `observations` is the decayed count behind them, `uses` the attempts ever started.
    `cached_share` is that of prompts of which no beginning is known; of a known beginning `prefix_trust` is
    cached. `price_factor` is what was paid over what the price list says, `cached_honour` the part of the
    discount on cached tokens that was really given. `refused` has the share of 429s per class of load, None
    where there were none. `precision` is the inverse variance of the logarithm of the level,
    `precision_per_use` what another observation adds; `p_doubt` the standard deviation of `p_failure`, 0
    while it hardly matters. What ends in `_now` holds at the present load, `doubt_now` is the doubt of the
    level there: `at_load` makes them, whenever an attempt starts or ends. The tables are of durations in
    proportion to what is expected, those of `answers` for whole answers.
    """

    __slots__ = (
        "answers",
        "cached_honour",
        "cached_share",
        "doubt_now",
        "failure_s",
        "in_flight",
        "observations",
        "p_doubt",
        "p_failure",
        "p_failure_now",
        "precision",
        "precision_per_use",
        "prefix_trust",
        "price_factor",
        "refused",
        "tpot_now_s",
        "tpot_per_in_flight_s",
        "tpot_s",
        "tpots",
        "ttft_now_per_token_s",
        "ttft_now_s",
        "ttft_per_both_s",
        "ttft_per_in_flight_s",
        "ttft_per_token_s",
        "ttft_s",
        "ttfts",
        "uses",
        "wasted_share",
    )

    answers: Table
    ttfts: Table
    tpots: Table

    def __init__(self) -> None:
        self.in_flight = 0
        self.uses = 0
        self.observations = 0.0
        self.ttft_s = 0.0
        self.ttft_per_token_s = 0.0
        self.ttft_per_in_flight_s = 0.0
        self.ttft_per_both_s = 0.0
        self.tpot_s = 0.0
        self.tpot_per_in_flight_s = 0.0
        self.p_failure = 0.0
        self.p_doubt = 0.0
        self.failure_s = 0.0
        self.wasted_share = 0.0
        self.cached_share = 0.0
        self.prefix_trust = 0.0
        self.price_factor = 1.0
        self.cached_honour = 1.0
        self.refused: list[float] | None = None
        self.precision = 1.0
        self.precision_per_use = 1.0
        self.at_load()

    def at_load(self) -> None:
        """Make what holds at the present load again: after a change of the load, or of what was learned."""
        load = self.in_flight
        self.ttft_now_s = self.ttft_s + load * self.ttft_per_in_flight_s
        self.ttft_now_per_token_s = self.ttft_per_token_s + load * self.ttft_per_both_s
        self.tpot_now_s = self.tpot_s + load * self.tpot_per_in_flight_s
        self.doubt_now = 1.0 / sqrt(self.precision + load * self.precision_per_use)
        p_failure = self.p_failure
        if self.refused is not None:
            p_failure += (1.0 - p_failure) * self.refused[load_class(load)]
        self.p_failure_now = p_failure


class ModelOutlook:
    """The present forecast of what a model does with a prompt, wherever it is served.

    Units: `verbosity_tokens` output tokens per choice, to which `verbosity.factor` is in proportion;
    `cautious_verbosity_tokens` such that one answer in a hundred has more; tokens per byte of the request
    body, expected and such that a prompt seldom (1 in 20) has more, or less; `bytes_per_token` is how they
    are distributed; `doubt` is the standard deviation of the logarithm of the mean verbosity.
    """

    __slots__ = (
        "bytes_per_token",
        "cautious_tokens_per_byte",
        "cautious_verbosity_tokens",
        "doubt",
        "least_tokens_per_byte",
        "tokens_per_byte",
        "verbosity",
        "verbosity_tokens",
    )

    bytes_per_token: Table

    def __init__(self, verbosity: Verbosity) -> None:
        self.verbosity = verbosity
        self.verbosity_tokens = 0.0
        self.cautious_verbosity_tokens = 0.0
        self.tokens_per_byte = 0.0
        self.cautious_tokens_per_byte = 0.0
        self.least_tokens_per_byte = 0.0
        self.doubt = 0.0
