"""What an answer is expected to cost at one endpoint: dollars and seconds, and what a failure would.

A forecast reads rows that were made when observations were taken in (`kpi.outlook`) and does a dozen
multiplications; anything slower would have to be done for each endpoint of each request.
"""

from msgspec import Struct

from entrepot.domain.endpoint import Endpoint, Operation
from entrepot.domain.money import NUSD_PER_USD, TOKENS_PER_MTOK
from entrepot.domain.prices import Prices
from entrepot.domain.request import Request, Slo
from entrepot.routing.kpi.outlook import ModelOutlook, Outlook
from entrepot.routing.kpi.table import WEIGHTS, Table

TEMPLATE_TOKENS = 1024
"""What a host's chat template may add around a prompt (roles, a date, an introduction of the tools)."""

_USD_PER_NUSD_AND_TOKEN = 1.0 / (NUSD_PER_USD * TOKENS_PER_MTOK)
_UNLIMITED = float("inf")


class Option(Struct, frozen=True):
    """An endpoint as the choice reads it for one kind of request: its rows and its prices as floats.

    Units: USD per token, USD per request, tokens. `model_position` is the place of its model in the request.
    Prompts of more than `above_tokens` have the prices of `dearer`. `success_share` of its model's answers
    are of use, 1 where that was not asked for.
    """

    index: int
    model_position: int
    tier: int
    outlook: Outlook
    input_usd: float
    cached_usd: float
    output_usd: float
    request_usd: float
    cached_nusd_per_mtok: int
    context_tokens: int
    max_output_tokens: float
    success_share: float = 1.0
    above_tokens: float = _UNLIMITED
    dearer: "Option | None" = None


class Size(Struct, frozen=True, gc=False):
    """How large a request is for one of its models.

    Units: tokens. `output_tokens` are expected of one choice, `billed_output_tokens` of all.
    `cautious_prompt_tokens` is seldom passed. `context_tokens` is what a window has to hold: one prompt,
    cautiously, and the most that its answer may have (one token where the sender set no limit).
    `mean_tokens` is expected of a choice that nothing cuts, `cap_tokens` what cuts it; `lengths` is the
    distribution around `mean_tokens`, `doubt` the standard deviation of the latter's logarithm.
    """

    prompt_tokens: float
    cautious_prompt_tokens: float
    output_tokens: float
    billed_output_tokens: float
    context_tokens: float
    bound_prompt_tokens: int
    mean_tokens: float
    cap_tokens: float
    lengths: Table
    doubt: float

    def output_quantile(self, share: float) -> float:
        """Return the tokens that a choice has at most with this probability."""
        return min(self.lengths.quantile(share) * self.mean_tokens / self.lengths.mean, self.cap_tokens)

    @classmethod
    def of_tokens(cls, prompt_tokens: float, output_tokens: float, model: ModelOutlook) -> "Size":
        """Return the size of a request whose tokens are known."""
        return cls(
            prompt_tokens,
            prompt_tokens,
            output_tokens,
            output_tokens,
            prompt_tokens + output_tokens,
            round(prompt_tokens),
            output_tokens,
            output_tokens,
            model.verbosity.table,
            0.0,
        )


class Forecast(Struct, frozen=True, gc=False):
    """What is expected of one endpoint. Units: USD, seconds, seconds per token, tokens, a probability."""

    dollars: float
    seconds: float
    ttft_s: float
    tpot_s: float
    p_failure: float
    dollars_wasted: float
    failure_s: float
    cached_tokens: float


PriceTiers = tuple[tuple[int, Prices], ...]
"""The prices of an endpoint at an hour: (prompts of more tokens than this, what they cost), shortest first.
"""


def option(
    index: int,
    endpoint: Endpoint,
    outlook: Outlook,
    tiers: PriceTiers,
    *,
    model_position: int,
    tier: int,
    success_share: float = 1.0,
) -> Option:
    """Return the endpoint as the choice reads it; `tiers` are its own prices, or what stands in for them."""
    limit = endpoint.max_output_tokens
    (_, prices), *longer = tiers
    dearer = None
    if longer:
        dearer = option(
            index,
            endpoint,
            outlook,
            tuple(longer),
            model_position=model_position,
            tier=tier,
            success_share=success_share,
        )
    return Option(
        index=index,
        model_position=model_position,
        tier=tier,
        outlook=outlook,
        input_usd=prices.input_nusd_per_mtok * _USD_PER_NUSD_AND_TOKEN,
        cached_usd=prices.cached_or_input_nusd_per_mtok * _USD_PER_NUSD_AND_TOKEN,
        output_usd=prices.output_nusd_per_mtok * _USD_PER_NUSD_AND_TOKEN,
        request_usd=prices.request_nusd / NUSD_PER_USD,
        cached_nusd_per_mtok=prices.cached_or_input_nusd_per_mtok,
        context_tokens=endpoint.context_tokens,
        max_output_tokens=_UNLIMITED if limit is None else limit,
        success_share=success_share,
        above_tokens=longer[0][0] if longer else _UNLIMITED,
        dearer=dearer,
    )


def size(request: Request, model: ModelOutlook, tokens_per_byte: float | None = None) -> Size:
    """Return how large the request is for a model.

    `tokens_per_byte` is what windows and limits count prompts by, cautiously unless it is given. A request of
    several prompts (completions, embeddings) is taken to share its bytes evenly among them.
    """
    text_bytes, limit, choices = request.text_bytes, request.max_output_tokens, request.choices
    prompt_tokens = text_bytes * model.tokens_per_byte
    one_prompt = text_bytes * (tokens_per_byte or model.cautious_tokens_per_byte)
    cautious_tokens = one_prompt if one_prompt > prompt_tokens else prompt_tokens
    operation = request.operation
    if choices > 1 and operation is not Operation.CHAT:
        one_prompt /= choices
    verbosity = model.verbosity
    lengths = verbosity.table
    cap, room = _UNLIMITED, 1
    mean = model.verbosity_tokens * verbosity.factor(prompt_tokens, request.key_id, request.tag_id)
    output_tokens = mean
    if operation is Operation.EMBEDDING:
        output_tokens = mean = cap = 0.0
        room = 0
    elif limit is not None:
        cap, room = float(limit), limit
        scale = mean / lengths.mean
        output_tokens = min(scale * lengths.mean_capped(cap / scale), mean, cap)
    return Size(
        prompt_tokens,
        cautious_tokens,
        output_tokens,
        output_tokens * choices,
        one_prompt + room,
        request.prompt_bytes + TEMPLATE_TOKENS,
        mean,
        cap,
        lengths,
        model.doubt,
    )


def forecast(at: Option, of: Size, known_tokens: float = 0.0) -> Forecast:
    """Return what the request is expected to cost at this endpoint, now.

    dollars = p_in·(n_in − h) + p_cached·h + p_out·N and seconds = TTFT + N·TPOT at the present load, where N
    counts every choice in dollars and one in seconds: choices are written side by side. The cached part h
    comes from `known_tokens`, the beginning that was sent there lately. Source: DESIGN.md §4.
    """
    outlook, prompt_tokens = at.outlook, of.prompt_tokens
    cached_tokens = prompt_tokens * outlook.cached_share
    if known_tokens:
        known = known_tokens if known_tokens < prompt_tokens else prompt_tokens
        cached_tokens += known * (outlook.prefix_trust - outlook.cached_share)
    uncached, tpot_s = prompt_tokens - cached_tokens, outlook.tpot_now_s
    ttft_s = outlook.ttft_now_s + uncached * outlook.ttft_now_per_token_s
    if prompt_tokens > at.above_tokens:
        at = tier_of(at, of)
    dollars = at.input_usd * uncached + at.output_usd * of.billed_output_tokens + at.request_usd
    if cached_tokens:
        not_given = (1.0 - outlook.cached_honour) * (at.input_usd - at.cached_usd)
        dollars += (at.cached_usd + not_given) * cached_tokens
    dollars *= outlook.price_factor
    return Forecast(
        dollars,
        ttft_s + of.output_tokens * tpot_s,
        ttft_s,
        tpot_s,
        outlook.p_failure_now,
        dollars * outlook.wasted_share,
        outlook.failure_s,
        cached_tokens,
    )


def tier_of(at: Option, of: Size) -> Option:
    """Return the option with the prices that a prompt of this length has."""
    while at.dearer is not None and of.prompt_tokens > at.above_tokens:
        at = at.dearer
    return at


def cautious_dollars(at: Option, of: Size, probability: float, choices: int) -> float:
    """Return what the request costs at most with this probability, its prompt cautiously counted, uncached.

    Units: USD. A hard bound is the ledger's reservation.
    """
    at = tier_of(at, of)
    return (
        max(at.input_usd, at.cached_usd) * of.cautious_prompt_tokens
        + at.output_usd * of.output_quantile(probability) * choices
        + at.request_usd
    )


def share_in_time(at: Option, of: Size, expected: Forecast, answer_s: float) -> float:
    """Return the probability that the whole answer is there after `answer_s` seconds, if nothing fails.

    Over the lengths that the answer may have, each with its share, of how far whole answers lie from what
    their length lets expect: both as distributions, since a mean says nothing of a deadline.
    """
    share_up_to, scale, cap = at.outlook.answers.share_up_to, of.mean_tokens / of.lengths.mean, of.cap_tokens
    late, ttft_s, tpot_s = 0.0, expected.ttft_s, expected.tpot_s
    for point, weight in zip(of.lengths.points, WEIGHTS, strict=True):
        tokens = point * scale
        too_late = 1.0 - share_up_to(answer_s / (ttft_s + (tokens if tokens < cap else cap) * tpot_s))
        if too_late < _NEVER:
            break  # shorter answers are there sooner
        late += weight * too_late
    return 1.0 - late


def seconds_quantile(at: Option, of: Size, expected: Forecast, share: float) -> float:
    """Return the answer time that is not passed with this probability, if nothing fails. Units: seconds."""
    low, high = 0.0, 2.0 * expected.seconds + 1e-3
    while share_in_time(at, of, expected, high) < share and high < _LONGEST_S:
        high *= 2.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        if share_in_time(at, of, expected, middle) < share:
            low = middle
        else:
            high = middle
    return high


def misses(
    at: Option, of: Size, expected: Forecast, slo: Slo, choices: int
) -> dict[str, tuple[float, float]]:
    """Return what can be had of each limit that the endpoint does not keep with the asked probability.

    By the name of the limit: (what is kept with that probability, the limit). Units: those of the `Slo`; USD.
    """
    p = slo.probability
    outlook = at.outlook
    missed = {}
    if slo.max_nusd is not None:
        limit = slo.max_nusd / NUSD_PER_USD
        dollars = cautious_dollars(at, of, p, choices)
        if dollars > limit:
            missed["max_usd"] = (dollars, limit)
    if slo.ttft_s is not None and outlook.ttfts.share_up_to(slo.ttft_s / expected.ttft_s) < p:
        missed["ttft_s"] = (outlook.ttfts.quantile(p) * expected.ttft_s, slo.ttft_s)
    if slo.tokens_per_s and outlook.tpots.share_up_to(1.0 / (slo.tokens_per_s * expected.tpot_s)) < p:
        missed["tokens_per_s"] = (1.0 / (outlook.tpots.quantile(p) * expected.tpot_s), slo.tokens_per_s)
    if slo.answer_s is not None and share_in_time(at, of, expected, slo.answer_s) < p:
        missed["answer_s"] = (seconds_quantile(at, of, expected, p), slo.answer_s)
    return missed


_LONGEST_S = 1e6
_HALVINGS = 24
_NEVER = 1e-4
