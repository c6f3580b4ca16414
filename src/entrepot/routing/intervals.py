"""What an answer may cost and how long it may take, as quantiles: how sure a forecast is.

For pages, commands and the replay's calibration; a choice reads tables and single shares instead. An answer
that fails is not among the outcomes: the score has its cost.
"""

from collections.abc import Sequence

from msgspec import Struct

from entrepot.routing.forecast import Forecast, Option, Size, tier_of
from entrepot.routing.kpi.outlook import ModelOutlook

PROMPTS = 15
LENGTHS = 64
ANSWERS = 32
"""Equally likely prompts (their tokens are not known before they are sent), lengths of the answer, and
proportions to what those let expect."""


class Interval(Struct, frozen=True):
    """Where `share` of the outcomes lie, as much below as above. Units: USD, seconds."""

    share: float
    dollars: tuple[float, float]
    seconds: tuple[float, float]


def intervals(
    at: Option, of: Size, expected: Forecast, model: ModelOutlook, *, choices: int, shares: Sequence[float]
) -> list[Interval]:
    """Return the intervals of the cost and the time of an answer, one for each of `shares`."""
    prompts, lengths = _prompt_parts(model), _lengths(of)
    answers = [at.outlook.answers.quantile((place + 0.5) / ANSWERS) for place in range(ANSWERS)]
    priced, outlook = tier_of(at, of), at.outlook
    per_prompt = expected.dollars - outlook.price_factor * (
        priced.output_usd * of.billed_output_tokens + priced.request_usd
    )
    steady = outlook.price_factor * priced.request_usd
    per_token = outlook.price_factor * priced.output_usd * choices
    dollars = sorted(
        steady + part * per_prompt + tokens * per_token for part in prompts for tokens in lengths
    )
    uncached = of.prompt_tokens - expected.cached_tokens
    per_part_s = uncached * outlook.ttft_now_per_token_s
    seconds = sorted(
        (expected.ttft_s + (part - 1.0) * per_part_s + tokens * expected.tpot_s) * answer
        for part in prompts
        for tokens in lengths
        for answer in answers
    )
    return [Interval(share, _inner(dollars, share), _inner(seconds, share)) for share in shares]


def _prompt_parts(model: ModelOutlook) -> list[float]:
    """Return how many tokens a prompt may have, in proportion to what is expected by its bytes."""
    table = model.bytes_per_token
    return [
        1.0 / (model.tokens_per_byte * table.quantile((place + 0.5) / PROMPTS)) for place in range(PROMPTS)
    ]


def _lengths(of: Size) -> list[float]:
    return [of.output_quantile((place + 0.5) / LENGTHS) for place in range(LENGTHS)]


def _inner(values: Sequence[float], share: float) -> tuple[float, float]:
    outside = (1.0 - share) / 2.0
    last = len(values) - 1
    return values[round(outside * last)], values[round((1.0 - outside) * last)]
