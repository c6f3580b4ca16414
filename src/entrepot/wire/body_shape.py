"""The fields of a request body that we read, as declarations that msgspec checks in one pass in C.

Hand-written checks would cost ten times as much on the way of each request. Everything that is not
declared here passes through to the host unread. What is declared as `Unsupported` is known from OpenRouter's
API and refused by name, since to ignore a limit in silence would be to break it.
"""

from decimal import Decimal
from typing import Annotated, Literal

from msgspec import Meta, Raw, Struct

from entrepot.domain.endpoint import Operation
from entrepot.domain.request import DataCollection, Sort

MOST_TOKENS = 2**31 - 1  # hosts keep token counts in 32 bits
MOST_CHOICES = 1024  # eight times what OpenAI allows; more is a mistake or an attack on a budget
MOST_NAMES = 100  # entries of one list in `models` or `provider`; each is compared with each endpoint

MOST_NAME_CHARACTERS = 256  # of a model, a host or a role; names are remembered, and compared with known ones

NULL = Raw(b"null")

Text = Annotated[str, Meta(min_length=1)]
Name = Annotated[str, Meta(min_length=1, max_length=MOST_NAME_CHARACTERS)]
Names = Annotated[list[Name], Meta(max_length=MOST_NAMES)]
Tokens = Annotated[int, Meta(ge=1, le=MOST_TOKENS)]
Choices = Annotated[int, Meta(ge=1, le=MOST_CHOICES)]
Number = Annotated[float, Meta(ge=0)]
Probability = Annotated[float, Meta(gt=0, lt=1)]
Prompts = Annotated[list[str | int | list[int]], Meta(min_length=1)]
Inputs = Annotated[list[Text | int | list[int]], Meta(min_length=1)]
Unsupported = Raw
Route = Literal["fallback", "sort"]
Partition = Literal["model", "none"]
Otherwise = Literal["refuse", "nearest"]


class Percentiles(Struct, frozen=True, forbid_unknown_fields=True):
    """A wish per percentile; a bare number means the median, and only the median is honoured."""

    p50: Number | None = None
    p75: Unsupported = NULL
    p90: Unsupported = NULL
    p99: Unsupported = NULL


class SortBy(Struct, frozen=True, forbid_unknown_fields=True):
    """The long form of `sort`; `partition` says whether models are tried in order or are one set."""

    by: Sort | None = None
    partition: Partition | None = None


class MaxPriceShape(Struct, frozen=True, forbid_unknown_fields=True):
    """The dearest unit prices.

    Units: USD per million tokens; `request` USD per request.
    """

    prompt: Decimal | None = None
    completion: Decimal | None = None
    request: Decimal | None = None
    image: Unsupported = NULL
    audio: Unsupported = NULL


class Provider(Struct, frozen=True, forbid_unknown_fields=True):
    """OpenRouter's `provider` object.

    Units: throughput tokens/s/user, latency seconds to the first token.
    Source: openrouter.ai/docs/features/provider-routing, read November 2026.
    """

    order: Names | None = None
    only: Names | None = None
    ignore: Names | None = None
    allow_fallbacks: bool | None = None
    sort: Sort | SortBy | None = None
    max_price: MaxPriceShape | None = None
    quantizations: Names | None = None
    data_collection: DataCollection | None = None
    zdr: bool | None = None
    require_parameters: bool | None = None
    preferred_min_throughput: Number | Percentiles | None = None
    preferred_max_latency: Number | Percentiles | None = None
    enforce_distillable_text: Unsupported = NULL


class SloShape(Struct, frozen=True, forbid_unknown_fields=True):
    """Our `slo` object.

    Units: seconds, tokens/s/user, USD, USD per hour of waiting. `probability` is the one with which the
    limits of time have to hold; `otherwise` says what happens where nobody can.
    """

    ttft_s: Number | None = None
    tokens_per_s: Number | None = None
    answer_s: Number | None = None
    max_usd: Decimal | None = None
    usd_per_hour: Number | None = None
    probability: Probability | None = None
    otherwise: Otherwise | None = None


class StreamOptions(Struct, frozen=True):
    """What we read of `stream_options`; the rest passes."""

    include_usage: bool | None = None


class Message(Struct, frozen=True, gc=False):
    """One message: what it says stays unread."""

    role: Name


class BodyShape(Struct, frozen=True, kw_only=True):
    """The fields that all operations share."""

    model: Name | None = None
    models: Names | None = None
    route: Route | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    n: Choices | None = None
    provider: Provider | None = None
    slo: SloShape | None = None


class ChatShape(BodyShape, frozen=True, kw_only=True):
    """A body of chat/completions."""

    messages: Annotated[list[Message], Meta(min_length=1)]


class CompletionShape(BodyShape, frozen=True, kw_only=True):
    """A body of completions: one prompt, several, or either as tokens."""

    prompt: str | Prompts
    best_of: Choices | None = None


class EmbeddingShape(BodyShape, frozen=True, kw_only=True):
    """A body of embeddings."""

    input: Text | Inputs


SHAPES: dict[Operation, type[BodyShape]] = {
    Operation.CHAT: ChatShape,
    Operation.COMPLETION: CompletionShape,
    Operation.EMBEDDING: EmbeddingShape,
}
