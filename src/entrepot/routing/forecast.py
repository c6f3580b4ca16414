"""What an answer is expected to cost at one endpoint: dollars and seconds, and what a failure would.

A forecast reads rows that were made when the last observation arrived (`kpi.outlook`) and does a dozen
multiplications; anything slower would have to be done for each endpoint of each request.
"""

from msgspec import Struct

from entrepot.domain.endpoint import Endpoint, Operation
from entrepot.domain.money import NUSD_PER_USD, TOKENS_PER_MTOK
from entrepot.domain.prices import Prices
from entrepot.domain.request import Request
from entrepot.routing.kpi.outlook import ModelOutlook, Outlook

TEMPLATE_TOKENS = 1024
"""What a host's chat template may add around a prompt (roles, a date, an introduction of the tools)."""

_USD_PER_NUSD_AND_TOKEN = 1.0 / (NUSD_PER_USD * TOKENS_PER_MTOK)
_UNLIMITED = float("inf")


class Option(Struct, frozen=True):
    """An endpoint as the choice reads it for one kind of request: its rows and its prices as floats.

    Units: USD per token, USD per request, tokens. `model_position` is the place of its model in the request.
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


class Size(Struct, frozen=True, gc=False):
    """How large a request is for one of its models.

    Units: tokens. `output_tokens` are expected of one choice, `billed_output_tokens` of all.
    `cautious_prompt_tokens` is seldom passed. `context_tokens` is what a window has to hold: one prompt,
    cautiously, and the most that its answer may have (one token where the sender set no limit).
    """

    prompt_tokens: float
    cautious_prompt_tokens: float
    output_tokens: float
    billed_output_tokens: float
    context_tokens: float
    bound_prompt_tokens: int


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


def option(
    index: int, endpoint: Endpoint, outlook: Outlook, prices: Prices, *, model_position: int, tier: int
) -> Option:
    """Return the endpoint as the choice reads it; `prices` are its own, or what stands in for them."""
    limit = endpoint.max_output_tokens
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
    )


def size(request: Request, model: ModelOutlook, *, cautious: bool = True) -> Size:
    """Return how large the request is for a model; not `cautious`: limits take the expected count as well.

    A request of several prompts (completions, embeddings) is taken to share its bytes evenly among them.
    """
    text_bytes, limit, choices = request.text_bytes, request.max_output_tokens, request.choices
    prompt_tokens = text_bytes * model.tokens_per_byte
    cautious_tokens = text_bytes * model.cautious_tokens_per_byte if cautious else prompt_tokens
    one_prompt = cautious_tokens
    operation = request.operation
    if choices > 1 and operation is not Operation.CHAT:
        one_prompt /= choices
    if operation is Operation.EMBEDDING:
        output_tokens, room = 0.0, 0
    elif limit is None:
        output_tokens, room = model.verbosity_tokens, 1
    else:
        output_tokens, room = min(model.verbosity_tokens, limit), limit
    return Size(
        prompt_tokens,
        cautious_tokens,
        output_tokens,
        output_tokens * choices,
        one_prompt + room,
        request.prompt_bytes + TEMPLATE_TOKENS,
    )


def forecast(at: Option, of: Size) -> Forecast:
    """Return what the request is expected to cost at this endpoint, now.

    dollars = p_in·(n_in − h) + p_cached·h + p_out·N and seconds = TTFT + N·TPOT at the present load, where N
    counts every choice in dollars and one in seconds: choices are written side by side. Source: DESIGN.md §4.
    """
    outlook = at.outlook
    load = outlook.in_flight
    ttft_s = outlook.ttft_s + load * outlook.ttft_per_in_flight_s
    tpot_s = outlook.tpot_s + load * outlook.tpot_per_in_flight_s
    cached_tokens = of.prompt_tokens * outlook.cached_share
    dollars = (
        at.input_usd * (of.prompt_tokens - cached_tokens)
        + at.cached_usd * cached_tokens
        + at.output_usd * of.billed_output_tokens
        + at.request_usd
    )
    return Forecast(
        dollars,
        ttft_s + of.output_tokens * tpot_s,
        ttft_s,
        tpot_s,
        outlook.p_failure,
        dollars * outlook.wasted_share,
        outlook.failure_s,
        cached_tokens,
    )


def cautious_dollars(at: Option, of: Size) -> float:
    """Return what the request costs with its prompt at the cautious count and nothing of it cached.

    Units: USD. The output is the expected one; a hard bound is the ledger's reservation.
    """
    return (
        max(at.input_usd, at.cached_usd) * of.cautious_prompt_tokens
        + at.output_usd * of.billed_output_tokens
        + at.request_usd
    )
