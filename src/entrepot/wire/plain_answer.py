"""A whole JSON reply, read for its id, its usage and how it ended; its bytes go to the client untouched.

Nearly all replies are ordinary: OpenAI's fields with whole numbers that agree. Those are read by a typed
decoder that skips the text, in a third of the time; whatever is not ordinary is read thoroughly.
"""

from msgspec import UNSET, DecodeError, Raw, Struct, UnsetType
from msgspec.json import Decoder

from entrepot.domain.endpoint import Operation
from entrepot.domain.usage import Usage
from entrepot.wire.stream_event import (
    CUT_REASONS,
    MOST_ID_CHARACTERS,
    error_of,
    finish_reason,
    read_chunk,
    short_text,
    usage_of,
)
from entrepot.wire.usage import MOST_TOKENS


class PlainAnswer(Struct, frozen=True):
    """What a whole reply says of itself; `finish_reason` is that of a cut choice, if any was cut."""

    id: str | None
    model: str | None
    usage: Usage | None
    finish_reason: str | None

    @property
    def cut_by_length(self) -> bool:
        """Return whether a choice ended at the limit of output tokens."""
        return self.finish_reason in CUT_REASONS


def plain_answer(body: bytes, operation: Operation) -> PlainAnswer | None:
    """Return what a whole reply says, or None when it is no answer: not JSON, an error, or without choices.

    The words of an error are those of `host_error(body)`.
    """
    ordinary = None if operation is Operation.EMBEDDING else ordinary_answer(body)
    return any_answer(body, operation) if ordinary is None else ordinary


class _PromptDetails(Struct, gc=False):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _OutputDetails(Struct, gc=False):
    reasoning_tokens: int | None = None


class _OrdinaryUsage(Struct, gc=False):
    """OpenAI's block; the last three fields are signs of other conventions."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _OutputDetails | None = None
    cached_tokens: Raw | UnsetType = UNSET
    prompt_cache_hit_tokens: Raw | UnsetType = UNSET
    prompt_cache_miss_tokens: Raw | UnsetType = UNSET


class _OrdinaryChoice(Struct, gc=False):
    finish_reason: str


class _OrdinaryReply(Struct, gc=False):
    id: str
    model: str
    choices: list[_OrdinaryChoice]
    usage: _OrdinaryUsage
    error: None = None
    object: str = ""


_decode_ordinary = Decoder(_OrdinaryReply).decode


def ordinary_answer(body: bytes) -> PlainAnswer | None:
    """Return what an ordinary reply says, or None when anything about it asks for a closer look."""
    try:
        reply = _decode_ordinary(body)
    except (DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if len(reply.choices) != 1 or reply.object == "error" or reply.choices[0].finish_reason == "error":
        return None
    usage = _ordinary_usage(reply.usage)
    if usage is None or not 0 < len(reply.id) <= MOST_ID_CHARACTERS or not reply.model:
        return None
    return PlainAnswer(reply.id, reply.model[:MOST_ID_CHARACTERS], usage, reply.choices[0].finish_reason)


def _ordinary_usage(block: _OrdinaryUsage) -> Usage | None:
    prompt, output = block.prompt_tokens, block.completion_tokens
    details, output_details = block.prompt_tokens_details, block.completion_tokens_details
    cached = write = reasoning = 0
    if details is not None:
        cached, write = details.cached_tokens or 0, details.cache_write_tokens or 0
    if output_details is not None:
        reasoning = output_details.reasoning_tokens or 0
    ordinary = (
        0 <= prompt <= MOST_TOKENS
        and 0 <= output <= MOST_TOKENS
        and block.total_tokens == prompt + output
        and cached >= 0
        and write >= 0
        and cached + write <= prompt
        and 0 <= reasoning <= output
        and block.cached_tokens is UNSET
        and block.prompt_cache_hit_tokens is UNSET
        and block.prompt_cache_miss_tokens is UNSET
    )
    return Usage(prompt - cached - write, cached, write, output, reasoning) if ordinary else None


def any_answer(body: bytes, operation: Operation) -> PlainAnswer | None:
    """Return what a reply of any shape says, or None when it is no answer."""
    chunk = read_chunk(body)
    if chunk is None or error_of(chunk) is not None:
        return None
    if operation is Operation.EMBEDDING:
        if not isinstance(chunk.data, list):
            return None
    elif chunk.choices is None:
        return None
    return PlainAnswer(
        id=short_text(chunk.id),
        model=short_text(chunk.model),
        usage=usage_of(chunk),
        finish_reason=finish_reason(chunk),
    )
