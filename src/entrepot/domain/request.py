"""What routing knows of a request: never its text, only sizes, wishes and limits."""

from typing import Literal

from msgspec import Struct

from entrepot.domain.claims import NO_CLAIMS, Claims
from entrepot.domain.endpoint import Operation

DataCollection = Literal["allow", "deny"]
Sort = Literal["price", "throughput", "latency"]

BLOCK_BYTES = 2048
"""Of a prompt, for what is known of cached beginnings: about 512 tokens, as coarse as most hosts' caches."""


DEFAULT_PROBABILITY = 0.9
"""With which probability a limit holds whose sender said nothing of it."""


class Slo(Struct, frozen=True):
    """Limits and the value of time that the sender set; None where it set none.

    Units: seconds, tokens/s/user, nano-USD, USD per hour of waiting. `probability` is the one with which the
    limits of time have to hold; with `serves_nearest` a request that nobody can serve within them goes to
    the endpoint that comes nearest, instead of being refused.
    """

    ttft_s: float | None = None
    tokens_per_s: float | None = None
    answer_s: float | None = None
    max_nusd: int | None = None
    usd_per_hour: float | None = None
    probability: float = DEFAULT_PROBABILITY
    serves_nearest: bool = False


class SenderFacts(Struct, frozen=True):
    """What the choice goes by of whoever sends a request, whatever the request says.

    Units: `usd_per_hour` USD per hour of waiting where the request names none, None for the configured one.
    `key_id` and `tag_id` (the task tag; 0: none) are those of the ledger.
    """

    key_id: int = 0
    tag_id: int = 0
    usd_per_hour: float | None = None


class MaxPrice(Struct, frozen=True):
    """The dearest unit prices that the sender accepts.

    Units: nano-USD per million tokens, nano-USD per request.
    """

    input_nusd_per_mtok: int | None = None
    output_nusd_per_mtok: int | None = None
    request_nusd: int | None = None


class Preferences(Struct, frozen=True):
    """OpenRouter's `provider` object, parsed; its defaults where the sender said nothing.

    Units: `min_tokens_per_s` tokens/s/user and `max_ttft_s` seconds; both demote, they never exclude.
    """

    order: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    allow_fallbacks: bool = True
    sort: Sort | None = None
    max_price: MaxPrice | None = None
    quantizations: tuple[str, ...] = ()
    data_collection: DataCollection = "allow"
    zero_data_retention: bool = False
    require_parameters: bool = False
    min_tokens_per_s: float | None = None
    max_ttft_s: float | None = None


class Request(Struct, frozen=True):
    """One request as routing sees it.

    Units: `prompt_bytes` bytes of the request body, of which `attachment_bytes` are files written into it
    (images, audio): those bound what it can cost, and say nothing of its tokens; `max_output_tokens` tokens
    per choice, None where the sender set no limit; `choices` answers asked for (`n` times the prompts).
    `models` are one set under the objective, or with `in_order` tried one after the other. `key_id` and
    `tag_id` (0: none) say whose verbosity counts. `session` is a digest of what the sender calls its
    conversation (0: none), `blocks` those of the leading whole blocks of its prompt, `BLOCK_BYTES` each, of
    every one with all that stands before it: equal digests are equal beginnings. `claims` are what rules go
    by.
    """

    operation: Operation
    models: tuple[str, ...]
    prompt_bytes: int
    max_output_tokens: int | None = None
    choices: int = 1
    stream: bool = False
    parameters: frozenset[str] = frozenset()
    slo: Slo = Slo()
    preferences: Preferences = Preferences()
    attachment_bytes: int = 0
    in_order: bool = False
    key_id: int = 0
    tag_id: int = 0
    session: int = 0
    blocks: tuple[int, ...] = ()
    claims: Claims = NO_CLAIMS

    @property
    def text_bytes(self) -> int:
        """Return the bytes of the body that are not attachments."""
        return self.prompt_bytes - self.attachment_bytes
