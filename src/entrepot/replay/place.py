"""One endpoint as it truly is at an instant: its figures with all drifts and phases, its load, its cache."""

from __future__ import annotations

from bisect import bisect_right

from entrepot.domain.money import NUSD_PER_USD, TOKENS_PER_MTOK
from entrepot.domain.prices import Prices
from entrepot.replay.draws import log_normal
from entrepot.replay.lengths import STEPS, Lengths, spread_normals
from entrepot.replay.prompt_cache import PromptCache
from entrepot.replay.scenario import ReplayEndpoint, ReplayModel

LIMITED_S = 0.2
"""Until a 429 or a refusal is known: a round trip."""

_USD_PER_TOKEN = 1.0 / (NUSD_PER_USD * TOKENS_PER_MTOK)


class Place:
    """The true figures of one endpoint.

    Units: USD per token, seconds, seconds per token, shares of 1. `in_flight` are our requests that are
    being served there, `others` those of others. `p_limited`, `p_failed` and `p_cut` exclude each other.
    """

    __slots__ = (
        "_normals_tpot",
        "_normals_ttft",
        "_seconds",
        "_steady",
        "cache",
        "cached_usd",
        "context_tokens",
        "endpoint",
        "failure_s",
        "in_flight",
        "input_usd",
        "inverse_capacity",
        "lengths",
        "mean_tokens",
        "model",
        "most",
        "others",
        "output_usd",
        "p_cut",
        "p_failed",
        "p_limited",
        "prefill_s",
        "tpot_s",
        "ttft_s",
        "verbosity_factor",
    )

    def __init__(self, endpoint: ReplayEndpoint, model: ReplayModel, lengths: Lengths) -> None:
        self.endpoint = endpoint
        self.model = model
        self.lengths = lengths
        self.in_flight = 0
        self.cache = None if endpoint.cache is None else PromptCache(endpoint.cache)
        self.context_tokens = endpoint.context_tokens
        self.failure_s = endpoint.failure_s
        self.prefill_s = 1.0 / endpoint.prefill_tokens_per_s
        self.most = float("inf") if endpoint.most_requests is None else float(endpoint.most_requests)
        self._steady = not (endpoint.phases or endpoint.drifts or model.drifts)
        self._seconds: dict[float, list[float]] = {}
        self._normals_ttft, self._normals_tpot = (spread_normals(step) for step in STEPS)
        self.reprice(endpoint.prices)
        self._set(0.0)

    def reprice(self, prices: Prices) -> None:
        """Charge these prices from now on; a cached price that is not honoured is told and never charged."""
        cached = prices.cached_or_input_nusd_per_mtok
        if not self.endpoint.honours_cached_price:
            cached = prices.input_nusd_per_mtok
        self.input_usd = prices.input_nusd_per_mtok * _USD_PER_TOKEN
        self.cached_usd = cached * _USD_PER_TOKEN
        self.output_usd = prices.output_nusd_per_mtok * _USD_PER_TOKEN

    def move(self, now_s: float) -> None:
        """Take on the figures of the instant `now_s`."""
        if not self._steady:
            self._set(now_s)

    def _set(self, now_s: float) -> None:
        of = self.endpoint
        ttft_times, speed_times, capacity_times, verbosity_times = 1.0, 1.0, 1.0, 1.0
        for drift in of.drifts:
            factor = drift.factor(now_s)
            if drift.what == "ttft_s":
                ttft_times *= factor
            elif drift.what == "tokens_per_s":
                speed_times *= factor
            else:
                capacity_times *= factor
        for drift in self.model.drifts:
            verbosity_times *= drift.factor(now_s)
        failed, limited, cut, others = of.failure_share, of.rate_limited_share, of.cut_share, 0.0
        for phase in of.phases:
            if phase.from_s <= now_s < phase.until_s:
                ttft_times *= phase.ttft_times
                speed_times *= phase.tokens_per_s_times
                others += phase.background_requests
                failed = failed if phase.failure_share is None else phase.failure_share
                limited = limited if phase.rate_limited_share is None else phase.rate_limited_share
                cut = cut if phase.cut_share is None else phase.cut_share
                if phase.outage:
                    failed, limited, cut = 1.0, 0.0, 0.0
        self.ttft_s = of.ttft_s * ttft_times
        self.tpot_s = 1.0 / (of.tokens_per_s * speed_times)
        self.inverse_capacity = 1.0 / (of.capacity_requests * capacity_times)
        self.others = others
        self.p_limited = limited
        self.p_failed = min(failed, 1.0 - limited)
        self.p_cut = min(cut, 1.0 - limited - self.p_failed)
        self.verbosity_factor = verbosity_times
        self.mean_tokens = self.lengths.mean * verbosity_times
        self._seconds = {}

    def load(self) -> float:
        """Return what TTFT and TPOT of one more request are multiplied by."""
        return 1.0 + (self.in_flight + self.others) * self.inverse_capacity

    def probability_within(
        self, seconds: float, *, load: float, uncached_tokens: int, part: float = 1.0
    ) -> float:
        """Return how probable it is that an answer, if it comes, is whole after `seconds` at most.

        `part` is how long the answer is expected to be, in proportion to the mean of all.
        """
        idle = self._seconds.get(part)
        if idle is None:
            ttft_spread, tpot_spread = self.endpoint.spread_ttft, self.endpoint.spread_tpot
            tpot_s = self.tpot_s * self.verbosity_factor * part
            idle = self._seconds[part] = sorted(
                self.ttft_s * log_normal(first, ttft_spread)
                + tokens * tpot_s * log_normal(second, tpot_spread)
                for tokens, first, second in zip(
                    self.lengths.samples, self._normals_ttft, self._normals_tpot, strict=True
                )
            )
        idle_s = seconds / load - uncached_tokens * self.prefill_s
        return bisect_right(idle, idle_s) / len(idle)
