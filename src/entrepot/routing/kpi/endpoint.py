"""What is measured of one endpoint: decayed sums, from which its forecast and its estimates are made."""

from math import exp2, sqrt

from entrepot.domain.outcome import Outcome
from entrepot.routing.kpi.distribution import Distribution
from entrepot.routing.kpi.load_limit import LoadLimit
from entrepot.routing.kpi.observation import Observation
from entrepot.routing.kpi.outlook import Outlook
from entrepot.routing.kpi.priors import ASSUMED_DOUBT, Priors
from entrepot.routing.kpi.regression import TOKENS_PER_UNIT
from entrepot.routing.kpi.table import Table, log_normal_shares
from entrepot.routing.kpi.timing import ASSUMED_SPREAD, LOWEST_PART, LOWEST_S, PSEUDO_COUNT, Timing

FAILURE_FLOOR_S = 1.0
"""A failure is charged at least this much waiting, and this much until one was seen: if it cost only what it
took, an endpoint that refuses at once would be free to try, and every request would try it first."""

OUTAGE_SHARE = 0.003
"""How often an attempt is the first of an outage. Failures since the last success are judged by it: of an
endpoint that seldom fails two in a row are an outage, of one that fails at every seventh attempt four may be
chance. One success ends it."""

RUN_HALF_LIFE_S = 60.0
"""A run of failures loses half its count in this time, so that a silent endpoint is tried again."""

MOST_TRIALS = 64.0
"""The failure share rests on at most about as many attempts: hosts break and are mended within minutes."""

MOST_DOUBTED_TRIALS = 24.0
"""However often an endpoint failed, it may have been mended since: as sure as after so many attempts, at
most."""

DOUBTFUL_FAILURE_SHARE = 0.02
"""Below it nobody is avoided for failing, so that there is nothing to find out."""

LATE = 1.0 / 16.0
"""How much the latest attempt counts in the late failure share: it rests on about thirty attempts."""

LATE_DEVIATIONS = 3.5
"""When the late share is as many standard deviations off the long one, what was before is forgotten."""

LATE_SPREAD = 5.6
"""The square root of the attempts that the late share rests on."""

LEAST_DOUBT = 0.15
"""Spread of a single observation at the least, when it is asked how much another one would teach."""

TABLE_PART = 1.0 / 12.0
"""Tables are made again when their samples have grown, or faded, by this part."""

ASSUMED_TOKENS_PER_BYTE = 1 / 200
"""Of a stream: a chunk of a chat answer with one token has about 200 bytes."""

BOUND_TOKENS_PER_BYTE = 1 / 48
"""The shortest event that we know, `data: {"choices":[{"text":" a","index":0}]}` and a blank line."""

ASSUMED_PREFIX_TRUST = 0.5
"""Of a beginning that was sent to the endpoint lately: what the first prompts are blended with that had one.
Before any had, nothing is taken to be there."""

_LATE_KNOWN = LATE_SPREAD * LATE_SPREAD
_RAREST = 1e-4
_OK = Outcome.OK
_CANCELLED = Outcome.CANCELLED
_TIMED_OUT = Outcome.TIMED_OUT
_REFUSED = Outcome.REFUSED
_RATE_LIMITED = Outcome.RATE_LIMITED
_TRUNCATED = Outcome.TRUNCATED

_SHARES = log_normal_shares(LOWEST_PART, 1.0, ASSUMED_SPREAD)

_SUMS = (
    "observations",
    "trials",
    "failures",
    "failed",
    "failed_s",
    "rate_limited",
    "truncated",
    "wasted",
    "prompts",
    "rest_tokens",
    "rest_cached",
    "known_tokens",
    "known_cached",
    "listed",
    "told",
    "discounts",
    "honoured",
    "streams",
    "stream_rate",
    "stream_rate_square",
    "late_share",
    "beginnings",
    "discounted",
    "priced",
    "price_square",
)
"""The decayed sums that are plain numbers, in the order in which they are kept."""


class EndpointMeasures:
    """The decayed sums of one endpoint; the holder gives each observation its weight.

    Units: weights of the holder, times seconds, tokens, nano-USD, or tokens per byte of a stream. `failures`
    are those among `trials`, which are never many; `failed` are all, as `failed_s` and `wasted` are.
    `beginnings` are prompts with a known beginning, `discounted` and `priced` answers whose host told what it
    charged, with and without cached tokens. `run` is
    the count of failures since the last success, which decays on its own; `late_share` is that of failures
    lately.
    """

    __slots__ = (
        *_SUMS,
        "_tabled",
        "_tabled_until",
        "answers",
        "last_at_s",
        "limit",
        "run",
        "run_at_s",
        "tpot",
        "ttft",
    )

    observations: float
    trials: float
    failures: float
    failed: float
    failed_s: float
    rate_limited: float
    truncated: float
    wasted: float
    prompts: float
    rest_tokens: float
    rest_cached: float
    known_tokens: float
    known_cached: float
    listed: float
    told: float
    discounts: float
    honoured: float
    streams: float
    stream_rate: float
    stream_rate_square: float
    late_share: float
    beginnings: float
    discounted: float
    priced: float
    price_square: float

    def __init__(self, priors: Priors) -> None:
        self.ttft = Timing(priors.ttft)
        self.tpot = Timing(priors.tpot)
        self.answers = Distribution(LOWEST_PART)
        self.limit: LoadLimit | None = None
        self.last_at_s: float | None = None
        self.run = 0.0
        self.run_at_s = 0.0
        self._tabled = self._tabled_until = 0.0
        self.restore_sums([0.0] * len(_SUMS))

    def observe(self, seen: Observation, weight: float, prompt_tokens: float) -> None:
        """Count one ended attempt.

        Units: `prompt_tokens` as the host told them, else as expected by the bytes.
        """
        outcome = seen.outcome
        if outcome is _REFUSED:
            return
        self.last_at_s = seen.at_s
        self.observations += weight
        ttft_s, tpot_s, in_flight = seen.ttft_s, seen.tpot_s, seen.in_flight
        cached = seen.cached_tokens
        uncached = prompt_tokens - cached if prompt_tokens > cached else 0.0
        expected = self.ttft.expected(uncached, in_flight), self.tpot.expected(0.0, in_flight)
        if outcome is _OK:
            self._observe_trial(weight, seen, failed=False)
            self.run = 0.0
            ttft_s, tpot_s = self._observe_answer(seen, weight, expected)
            self._observe_tokens(seen, weight)
        elif outcome is not _CANCELLED:
            self._observe_failure(seen, weight)
        elif ttft_s is not None:  # it had begun to answer; before that nobody knows whether it would have
            self._observe_trial(weight, seen, failed=False)
            self.run = 0.0
        if ttft_s is not None:
            self.ttft.add(ttft_s, weight, uncached, in_flight, expected[0])
        elif outcome is _CANCELLED or outcome is _TIMED_OUT:
            self.ttft.add_at_least(seen.answer_s, weight, uncached, in_flight)
        if tpot_s is not None:
            self.tpot.add(tpot_s, weight, 0.0, in_flight, expected[1])

    def _observe_failure(self, seen: Observation, weight: float) -> None:
        self.failed += weight
        self.failed_s += weight * seen.answer_s
        if seen.ttft_s is not None:  # what was written before the failure is billed
            self.wasted += weight
        if seen.outcome is _TRUNCATED:
            self.truncated += weight
        by_our_load = False
        if seen.outcome is _RATE_LIMITED:
            self.rate_limited += weight
            by_our_load = seen.in_flight > 0
            if by_our_load and self.limit is None:
                self.limit = LoadLimit()
        self._observe_trial(weight, seen, failed=True, by_our_load=by_our_load)
        self.run = self.run_at(seen.at_s) + 1.0
        self.run_at_s = seen.at_s

    def _observe_trial(
        self, weight: float, seen: Observation, *, failed: bool, by_our_load: bool = False
    ) -> None:
        """Count an attempt that shows whether the endpoint works; a 429 under our load shows its capacity."""
        if self.limit is not None and (by_our_load or not failed):
            self.limit.add(seen.in_flight, weight, weight, refused=by_our_load)
        if by_our_load:
            return
        trials, failures = self.trials + weight, self.failures + weight * failed
        most = MOST_TRIALS * weight
        if trials > most:
            failures *= most / trials
            trials = most
        self.late_share = late = self.late_share + LATE * (failed - self.late_share)
        if (late or failures) and trials > _LATE_KNOWN * weight:
            share = failures / trials
            spread = (share * (1.0 - share) + 0.01) ** 0.5 / LATE_SPREAD
            if abs(late - share) > LATE_DEVIATIONS * spread:
                trials = weight / LATE
                failures = late * trials
        self.trials, self.failures = trials, failures

    def _observe_answer(
        self, seen: Observation, weight: float, expected: tuple[float, float]
    ) -> tuple[float | None, float | None]:
        """Count how long the whole answer took in proportion to what its tokens let expect.

        Return TTFT and TPOT. Of an answer that came whole only their sum was seen: it is split in the
        expected proportions. Without a token count it is all one part unknown, and teaches nothing.
        """
        output_tokens = seen.output_tokens
        if output_tokens is None:
            return seen.ttft_s, None if seen.ttft_s is None else seen.tpot_s
        ttft_s, tpot_s = expected
        tokens = output_tokens / seen.choices
        ratio = seen.answer_s / (ttft_s + tokens * tpot_s)
        self.answers.add(ratio, weight)
        if seen.ttft_s is not None:
            return seen.ttft_s, seen.tpot_s
        return (ttft_s * ratio, tpot_s * ratio) if tokens else (seen.answer_s, None)

    def _observe_tokens(self, seen: Observation, weight: float) -> None:
        prompt_tokens, output_tokens = seen.prompt_tokens, seen.output_tokens
        if prompt_tokens:
            self.prompts += weight
            known, cached = seen.known_tokens, seen.cached_tokens
            if known > 0.0 or cached:
                self._observe_cached(weight, prompt_tokens, min(known, prompt_tokens), cached)
            else:
                self.rest_tokens += weight * prompt_tokens
        if output_tokens and seen.wire_bytes:
            rate = output_tokens / seen.wire_bytes
            self.streams += weight
            self.stream_rate += weight * rate
            self.stream_rate_square += weight * rate * rate
        if seen.told_nusd is None:
            return
        if seen.discount_nusd > 0:
            given = seen.billed_nusd + seen.discount_nusd - seen.told_nusd
            self.discounted += weight
            self.discounts += weight * seen.discount_nusd
            self.honoured += weight * min(max(given, 0), seen.discount_nusd)
        else:
            self.listed += weight * seen.billed_nusd
            self.told += weight * seen.told_nusd
            if seen.billed_nusd > 0:
                self.priced += weight
                self.price_square += weight * seen.told_nusd * (seen.told_nusd / seen.billed_nusd)

    def _observe_cached(self, weight: float, prompt_tokens: int, known: float, cached: int) -> None:
        if known > 0.0:
            self.beginnings += weight
        known_cached = min(cached, known)
        self.known_tokens += weight * known
        self.known_cached += weight * known_cached
        self.rest_tokens += weight * (prompt_tokens - known)
        self.rest_cached += weight * (cached - known_cached)

    def refresh(
        self, outlook: Outlook, priors: Priors, unit: float, now_s: float, half_life_s: float
    ) -> None:
        """Write the present forecast into `outlook`; `unit` is the weight of an observation made now."""
        self.remake(outlook, priors, unit)
        self.write(outlook, priors, unit, now_s, half_life_s)

    def remake(self, outlook: Outlook, priors: Priors, unit: float) -> None:
        """Make the fits and the tables again of which enough is new: what is learned next goes by them."""
        if self.ttft.is_stale():
            self.ttft.refit(priors.ttft, unit)
        if self.tpot.is_stale():
            self.tpot.refit(priors.tpot, unit)
        weight = self.answers.weight
        if weight - self._tabled > TABLE_PART * weight or unit > self._tabled_until:
            self._tabled, self._tabled_until = weight, unit * (1.0 + TABLE_PART)
            self.tabulate(outlook, unit)

    def write(self, outlook: Outlook, priors: Priors, unit: float, now_s: float, half_life_s: float) -> None:
        """Write what follows from the sums, the fits and the tables, and changes none of them."""
        self._write_timing(outlook)
        silent = 0.0 if self.last_at_s is None else max(now_s - self.last_at_s, 0.0) / half_life_s
        self._refresh_precision(outlook, priors.doubt, unit, silent)
        pseudo = PSEUDO_COUNT * unit
        outlook.observations = (
            int(100.0 * self.observations / unit + 0.5) / 100.0
        )  # round() takes ten times as long
        prior = priors.failure_share.value
        p_failure = (self.failures + pseudo * prior) / (self.trials + pseudo)
        failed = self.failed
        if failed > 0.0:
            known_s = (self.failed_s + pseudo * FAILURE_FLOOR_S) / (failed + pseudo)
            outlook.failure_s = max(known_s, FAILURE_FLOOR_S)
            outlook.wasted_share = self.wasted / (failed + pseudo)
            p_failure = max(p_failure, self._outage(self.run_at(now_s), prior, unit))
        outlook.p_failure = p_failure
        outlook.p_doubt = 0.0
        if p_failure > DOUBTFUL_FAILURE_SHARE:
            tried = min(self.trials / unit, MOST_DOUBTED_TRIALS) + 1.0
            outlook.p_doubt = (p_failure * (1.0 - p_failure) / tried) ** 0.5
        outlook.refused = None if self.limit is None else self.limit.shares
        if self.prompts > 0.0:
            self._refresh_cached(outlook, pseudo)
        outlook.at_load()

    def _outage(self, run: float, prior: float, unit: float) -> float:
        """Return the failure share that a run of failures lets expect, by what was usual before it."""
        usual = (max(self.failures / unit - run, 0.0) + PSEUDO_COUNT * prior) / (
            max(self.trials / unit - run, 0.0) + PSEUDO_COUNT
        )
        outage = OUTAGE_SHARE / (OUTAGE_SHARE + max(usual, _RAREST) ** run)
        return outage + (1.0 - outage) * usual if run else 0.0

    def _refresh_cached(self, outlook: Outlook, pseudo: float) -> None:
        if self.rest_cached > 0.0:
            trust = self.prompts / (self.prompts + pseudo)
            outlook.cached_share = min(trust * self.rest_cached / self.rest_tokens, 1.0)
        if self.known_tokens > 0.0:
            few = pseudo * self.known_tokens / self.prompts
            outlook.prefix_trust = (self.known_cached + few * ASSUMED_PREFIX_TRUST) / (
                self.known_tokens + few
            )
        if self.discounts > 0.0:
            outlook.cached_honour = self.honoured / self.discounts
        if self.listed > 0.0:
            outlook.price_factor = self.told / self.listed

    def _write_timing(self, outlook: Outlook) -> None:
        level, per_unit, outlook.ttft_per_in_flight_s, per_both = self.ttft.fit
        outlook.ttft_s = level if level > LOWEST_S else LOWEST_S
        outlook.ttft_per_token_s = per_unit / TOKENS_PER_UNIT
        outlook.ttft_per_both_s = per_both / TOKENS_PER_UNIT
        level, _, outlook.tpot_per_in_flight_s, _ = self.tpot.fit
        outlook.tpot_s = level if level > LOWEST_S else LOWEST_S

    def _refresh_precision(self, outlook: Outlook, doubt: float, unit: float, silent: float) -> None:
        """Say how sure the level is: of what was not seen for a half-life no more than of a typical peer.

        Units: `silent` in half-lives since the last observation.
        """
        ttft = self.ttft
        spread = max(ttft.log_spread, self.tpot.log_spread, LEAST_DOUBT)
        outlook.precision_per_use = 1.0 / (spread * spread)
        precision = 1.0 / doubt**2 + ttft.weight / unit * outlook.precision_per_use
        outlook.precision = 1.0 / (1.0 / precision + ASSUMED_DOUBT**2 * silent)

    def refit(self, priors: Priors, unit: float) -> None:
        """Make the fits again though nothing was observed: what was has faded."""
        self.ttft.refit(priors.ttft, unit)
        self.tpot.refit(priors.tpot, unit)

    def tabulate(self, outlook: Outlook, unit: float) -> None:
        """Make the tables of the distributions again."""
        pseudo = PSEUDO_COUNT * unit
        outlook.answers = Table(self.answers, _SHARES, pseudo)
        outlook.ttfts = Table(self.ttft.parts, _SHARES, pseudo)
        outlook.tpots = Table(self.tpot.parts, _SHARES, pseudo)

    def mean_uncached_tokens(self) -> float:
        """Return how many tokens of a prompt were not cached, on average."""
        cached = self.known_cached + self.rest_cached
        return (self.known_tokens + self.rest_tokens - cached) / self.prompts if self.prompts else 0.0

    def cached_share(self) -> float:
        """Return which part of all prompt tokens was cached."""
        tokens = self.known_tokens + self.rest_tokens
        return (self.known_cached + self.rest_cached) / tokens if tokens else 0.0

    def price_spread(self) -> float:
        """Return how far what single answers cost lies from `price_factor`, in proportion to it."""
        if self.listed <= 0.0 or self.told <= 0.0:
            return 0.0
        factor = self.told / self.listed
        return sqrt(max(self.price_square / self.listed - factor * factor, 0.0)) / factor

    def stream_spread(self) -> float:
        """Return the standard deviation of the tokens per byte of single streams."""
        if self.streams <= 0.0:
            return 0.0
        mean = self.stream_rate / self.streams
        return sqrt(max(self.stream_rate_square / self.streams - mean * mean, 0.0))

    def share_of(self, count: float) -> float:
        """Return a decayed count in proportion to all attempts."""
        return count / self.observations if count else 0.0

    def run_at(self, now_s: float) -> float:
        """Return the failures since the last success, as many as still count."""
        return self.run * exp2((self.run_at_s - now_s) / RUN_HALF_LIFE_S) if self.run else 0.0

    def stream_tokens_per_byte(self, unit: float) -> tuple[float, float]:
        """Return the output tokens per byte of a streamed answer: expected, and seldom passed.

        The bound is the mean and two standard deviations; both are shrunk to what is assumed.
        """
        pseudo = PSEUDO_COUNT * unit
        whole = self.streams + pseudo
        expected = (self.stream_rate + pseudo * ASSUMED_TOKENS_PER_BYTE) / whole
        if self.streams <= 0.0:
            return expected, BOUND_TOKENS_PER_BYTE
        mean = self.stream_rate / self.streams
        bound = (self.streams * (mean + 2.0 * self.stream_spread()) + pseudo * BOUND_TOKENS_PER_BYTE) / whole
        return expected, max(bound, expected)

    def scale(self, factor: float) -> None:
        """Multiply all weights, when the holder moves its landmark."""
        self.ttft.scale(factor)
        self.tpot.scale(factor)
        self.answers.scale(factor)
        self._tabled *= factor
        self._tabled_until *= factor
        if self.limit is not None:
            self.limit.scale(factor)
        late = self.late_share  # a share, not a weight
        self.restore_sums([factor * kept for kept in self.sums()])
        self.late_share = late

    def sums(self) -> list[float]:
        """Return the plain decayed sums, for keeping."""
        return [getattr(self, name) for name in _SUMS]

    def restore_sums(self, sums: list[float]) -> None:
        """Take kept sums in place of the present ones.

        Raises: ValueError when they are not as many as expected, or one is not finite and ≥ 0.
        """
        if len(sums) != len(_SUMS) or not all(0 <= kept < float("inf") for kept in sums):
            raise ValueError(f"sums {sums!r}: expected {len(_SUMS)} finite numbers ≥ 0")
        for name, kept in zip(_SUMS, sums, strict=True):
            setattr(self, name, kept)
