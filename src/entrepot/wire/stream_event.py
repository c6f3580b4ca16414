"""One event of an answer's stream, read for what the relay and the ledger need and for nothing else.

Only the few events at both ends of a stream are read this way, so it may be thorough. Content is a closed
list of fields: to count any delta would let an empty role delta pass for a first token.
"""

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import DecodeError, Struct
from msgspec.json import Decoder, Encoder

from entrepot.domain.usage import Usage
from entrepot.wire.error_body import HostError, host_error_of
from entrepot.wire.usage import OrdinaryUsage, usage_from_block, usage_from_ordinary

MOST_ID_CHARACTERS = 200  # of ids and model names, which are the host's and go into the ledger
CUT_REASONS = frozenset({"length", "max_tokens", "max_output_tokens", "MAX_TOKENS"})

_encode = Encoder().encode


class Choice(Struct, gc=False):
    """One choice of a chunk or of a whole reply; fields of any type, since hosts differ."""

    delta: Any = None
    message: Any = None
    text: Any = None
    finish_reason: Any = None


class Chunk(Struct):
    """A chunk or a whole reply."""

    id: Any = None
    model: Any = None
    object: Any = None
    choices: list[Choice] | None = None
    data: Any = None
    usage: Any = None
    timings: Any = None
    error: Any = None
    message: Any = None
    detail: Any = None
    code: Any = None


class StreamEvent(Struct, frozen=True):
    """What one event tells.

    `has_reasoning` says that its content is reasoning.

    Units: `text_bytes` bytes of generated text in it (of the longest field: some hosts send one text under
    two names).
    """

    has_content: bool
    has_reasoning: bool
    text_bytes: int
    finish_reason: str | None
    usage: Usage | None
    error: HostError | None
    answer_id: str | None
    model: str | None


_decode_chunk = Decoder(Chunk).decode


def read_chunk(data: bytes) -> Chunk | None:
    """Return the chunk or the reply in `data`, or None when it is not a JSON object of that shape."""
    try:
        return _decode_chunk(data)
    except (DecodeError, UnicodeDecodeError, RecursionError):
        return None


def read_event(data: bytes, *, is_error: bool = False) -> StreamEvent | None:
    """Return what an event with this data tells, or None when its data are no chunk.

    `is_error` says that the event was named `error`, which makes its data the words of one.
    """
    ordinary = None if is_error else _ordinary_event(data)
    if ordinary is not None:
        return ordinary
    chunk = read_chunk(data)
    if chunk is None:
        return None
    has_content, has_reasoning, text_bytes = False, False, 0
    for choice in chunk.choices or ():
        size = content_bytes(choice)
        if size is not None:
            has_content = True
            has_reasoning = has_reasoning or _reasons(choice)
            text_bytes += size
    return StreamEvent(
        has_content,
        has_reasoning,
        text_bytes,
        finish_reason(chunk),
        usage_of(chunk),
        error_of(chunk, is_error=is_error),
        short_text(chunk.id),
        short_text(chunk.model),
    )


class _OrdinaryDelta(Struct, gc=False):
    """A delta with text at most; any other kind of content is read thoroughly."""

    content: str | None = None
    reasoning_content: None = None
    reasoning: None = None
    reasoning_details: None = None
    refusal: None = None
    tool_calls: None = None
    function_call: None = None
    audio: None = None


class _OrdinaryChoice(Struct, gc=False):
    delta: _OrdinaryDelta
    finish_reason: str | None = None
    message: None = None
    text: None = None


class _OrdinaryChunk(Struct, gc=False):
    id: str
    model: str
    choices: list[_OrdinaryChoice]
    object: str = ""
    usage: OrdinaryUsage | None = None
    timings: None = None
    error: None = None


_decode_ordinary = Decoder(_OrdinaryChunk).decode


def _ordinary_event(data: bytes) -> StreamEvent | None:
    """Return what an ordinary chunk tells, in half the time, or None when it asks for a closer look."""
    try:
        chunk = _decode_ordinary(data)
    except (DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if len(chunk.choices) > 1 or chunk.object == "error" or not (chunk.id and chunk.model):
        return None
    usage = None
    if chunk.usage is not None:
        usage = usage_from_ordinary(chunk.usage)
        if usage is None:
            return None
    text_bytes, reason = 0, None
    if chunk.choices:
        choice = chunk.choices[0]
        reason = choice.finish_reason
        if reason == "error":
            return None
        if choice.delta.content:
            text_bytes = len(choice.delta.content.encode())
    answer_id, model = chunk.id[:MOST_ID_CHARACTERS], chunk.model[:MOST_ID_CHARACTERS]
    return StreamEvent(text_bytes > 0, False, text_bytes, reason, usage, None, answer_id, model)


def content_bytes(choice: Choice) -> int | None:
    """Return the bytes of generated text in a choice, or None when it has no content of any kind."""
    most: int | None = _text_bytes(choice.text) if choice.text else None
    delta = choice.delta if choice.delta is not None else choice.message
    if isinstance(delta, dict):
        for name, value in delta.items():
            measure = _CONTENT_FIELDS.get(name)
            if measure is not None and value:
                most = max(most or 0, measure(value))
    return most


def finish_reason(chunk: Chunk) -> str | None:
    """Return why the answer ended; of several choices one that was cut, since the answer then was."""
    found = None
    for choice in chunk.choices or ():
        reason = choice.finish_reason
        if isinstance(reason, str) and found not in CUT_REASONS:
            found = reason
    return found


def usage_of(chunk: Chunk) -> Usage | None:
    """Return the usage that a chunk or a reply reports, from llama.cpp's timings when it has no block."""
    usage = None if chunk.usage is None else usage_from_block(chunk.usage)
    return usage if usage is not None or chunk.timings is None else usage_from_block(chunk.timings)


def error_of(chunk: Chunk, *, is_error: bool = False) -> HostError | None:
    """Return the error that an event or a reply carries, in any of the shapes that hosts use."""
    if chunk.error:
        return host_error_of({"error": chunk.error})
    if is_error or chunk.object == "error":
        return host_error_of({"message": chunk.message, "detail": chunk.detail, "code": chunk.code})
    for choice in chunk.choices or ():
        if choice.finish_reason == "error":
            return HostError("the host ended the answer with finish_reason 'error'", None)
    return None


def short_text(value: object) -> str | None:
    """Return a host's id or name within bounds, or None when it is no text."""
    return value[:MOST_ID_CHARACTERS] if isinstance(value, str) and value else None


def _reasons(choice: Choice) -> bool:
    """Return whether the content of this choice is reasoning that the client can see."""
    delta = choice.delta
    if not isinstance(delta, dict):
        return False
    return bool(delta.get("reasoning_content") or delta.get("reasoning") or delta.get("reasoning_details"))


def _text_bytes(value: object) -> int:
    return len(value.encode()) if isinstance(value, str) else len(_encode(value))


def _tool_bytes(value: object) -> int:
    """Return the bytes of a tool call that the model wrote: names and arguments, without ids and braces."""
    calls = value if isinstance(value, list) else [value]
    written = 0
    for call in calls:
        function = call.get("function", call) if isinstance(call, dict) else None
        if isinstance(function, dict):
            texts = (function.get(name) for name in ("name", "arguments", "text"))
            written += sum(len(text.encode()) for text in texts if isinstance(text, str))
    return written


# What counts as content, and how many bytes of it the model wrote.
_CONTENT_FIELDS: Mapping[str, Callable[[object], int]] = {
    "content": _text_bytes,
    "reasoning_content": _text_bytes,
    "reasoning": _text_bytes,
    "refusal": _text_bytes,
    "reasoning_details": _text_bytes,
    "audio": _text_bytes,
    "tool_calls": _tool_bytes,
    "function_call": _tool_bytes,
}
