"""A whole JSON reply, read for its id, its usage and how it ended; its bytes go to the client untouched.

Nearly all replies are ordinary: OpenAI's fields with whole numbers that agree. Those are read by a typed
decoder that skips the text, in a third of the time; whatever is not ordinary is read thoroughly.
"""

from msgspec import DecodeError, Struct
from msgspec.json import Decoder

from entrepot.domain.endpoint import Operation
from entrepot.domain.usage import Usage
from entrepot.wire.stream_event import (
    CUT_REASONS,
    MOST_ID_CHARACTERS,
    Chunk,
    content_bytes,
    error_of,
    finish_reason,
    read_chunk,
    short_text,
    usage_of,
)
from entrepot.wire.usage import OrdinaryUsage, usage_from_ordinary


class PlainAnswer(Struct, frozen=True):
    """What a whole reply says of itself; `finish_reason` is that of a cut choice, if any was cut.

    Units: `text_bytes` bytes of generated text. They are counted only where the reply reports no output, to
    estimate its tokens; None where it does, and where it has no text either.
    """

    id: str | None
    model: str | None
    usage: Usage | None
    finish_reason: str | None
    text_bytes: int | None = None

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


class _OrdinaryChoice(Struct, gc=False):
    finish_reason: str


class _OrdinaryReply(Struct, gc=False):
    id: str
    model: str
    choices: list[_OrdinaryChoice]
    usage: OrdinaryUsage
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
    usage = usage_from_ordinary(reply.usage)
    if (
        usage is None
        or not usage.output_tokens
        or not 0 < len(reply.id) <= MOST_ID_CHARACTERS
        or not reply.model
    ):
        return None
    return PlainAnswer(reply.id, reply.model[:MOST_ID_CHARACTERS], usage, reply.choices[0].finish_reason)


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
    usage = usage_of(chunk)
    return PlainAnswer(
        id=short_text(chunk.id),
        model=short_text(chunk.model),
        usage=usage,
        finish_reason=finish_reason(chunk),
        text_bytes=None if usage is not None and usage.output_tokens else _text_bytes(chunk, operation),
    )


def _text_bytes(chunk: Chunk, operation: Operation) -> int | None:
    if operation is Operation.EMBEDDING:
        return 0  # numbers, which cost nothing beside the prompt
    sizes = [size for choice in chunk.choices or () if (size := content_bytes(choice)) is not None]
    return sum(sizes) if sizes else None
