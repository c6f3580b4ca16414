"""Errors on the wire: ours in the shape that OpenAI's clients read, and a host's, read for its words alone.

A host's error is never passed on as it is: its 401 would tell a client that *its* key is wrong, and some
hosts quote the key that they were given. Only the sentence and the code are taken out, bounded and cleaned.
"""

import re
from typing import NamedTuple

from msgspec import DecodeError
from msgspec.json import Decoder, Encoder

from entrepot.domain.errors import Refusal
from entrepot.wire.sse import data_event

MOST_MESSAGE_CHARACTERS = 300  # a sentence or two; what is longer is a page or a stack trace
MOST_CODE_CHARACTERS = 64
MOST_READ_BYTES = 64 * 1024

_encode = Encoder().encode
_decode = Decoder().decode
_SECRET = re.compile(r"(?i)\b(bearer\s+|(?:api[-_ ]?)?key\s*[=:]\s*)[^\s\"',;]+|\bsk-[^\s\"',;]+")
_TOO_LONG = re.compile(
    r"(?i)context[ _-](length|window|size)[ _-]exceeded\b|\bexceed_context_size_error\b"
    r"|\b(maximum|max|exceed(s|ed)?|longer|greater)\b.*\bcontext (length|window|size|limit)\b"
    r"|\bcontext (length|window|size|limit)\b.*\b(maximum|max|exceed(s|ed)?|longer)\b"
    r"|\b(prompt|input) is too long\b|\btoo many tokens\b.*\bprompt\b|\bmodel token limit\b"
    r"|\breduce the length of the (messages|prompt|input)\b|\binput length \d+ exceeds\b"
    r"|\bmaximum (prompt|input) length\b|\b(prompt|input) exceeds max(imum)? length\b"
    r"|\brange of input length\b|\binput tokens? (count )?.*\bexceeds?\b"
    r"|`inputs` (tokens \+ `max_new_tokens`|must have less than \d+ tokens)"
)
"""That a prompt is longer than a context window, in codes and in prose: a code and a parameter have their
words joined by underscores, so that parameters with such names are not taken for it. Source: errors of
OpenAI, Anthropic, Google, Groq, Mistral, xAI, Cohere, Bedrock, Alibaba, Moonshot, MiniMax, Z.ai, vLLM,
SGLang, TGI, llama.cpp, LM Studio and Ollama in public reports, 2023 to 2026; tests have a row for each.
"""

_TAG = re.compile(r"<[^<>]{0,500}>")


class HostError(NamedTuple):
    """What a host says went wrong: a cleaned sentence, and its code where it gave one."""

    message: str
    code: str | None

    def __str__(self) -> str:
        """Return the sentence with its code, as logs show it."""
        return self.message if self.code is None else f"{self.message} ({self.code})"

    @property
    def is_too_long(self) -> bool:
        """Return whether it says that the prompt, or it and the output, is longer than the context window.

        Not whether it is: a host's words are all there is to go by.
        """
        return _TOO_LONG.search(str(self)) is not None


def error_body(refusal: Refusal, request_id: str | None) -> bytes:
    """Return the JSON body of a refusal, as OpenAI's clients expect it, with the id that support asks for."""
    error: dict[str, str | None] = {
        "message": refusal.message,
        "type": refusal.type,
        "param": refusal.param,
        "code": refusal.code,
    }
    if request_id is not None:
        error["request_id"] = request_id
    return _encode({"error": error})


def sse_error_event(refusal: Refusal) -> bytes:
    """Return the refusal as an event, for a stream that had already begun."""
    return data_event(error_body(refusal, None))


def host_error(body: bytes) -> HostError:
    """Return the words of a host's error body; empty ones when it has none."""
    try:
        value = _decode(body[:MOST_READ_BYTES])
    except (DecodeError, UnicodeDecodeError, RecursionError):
        return HostError(_plain_text(body[:MOST_READ_BYTES]), None)
    return host_error_of(value)


def host_error_of(value: object) -> HostError:
    """Return the words of a decoded error: OpenAI's shape, a bare string, or FastAPI's `detail`."""
    if isinstance(value, list) and value:
        value = value[0]  # Google's gateways answer with an array of one
    if not isinstance(value, dict):
        return HostError(_cleaned(value, MOST_MESSAGE_CHARACTERS) or "", None)
    error = value.get("error")
    inner = error if isinstance(error, dict) else value
    message = None
    for candidate in (inner.get("message"), error, inner.get("detail"), inner.get("msg"), inner.get("type")):
        message = message or _cleaned(candidate, MOST_MESSAGE_CHARACTERS)
    code = None
    for candidate in (inner.get("code"), inner.get("type"), inner.get("status")):
        code = code or _cleaned(candidate, MOST_CODE_CHARACTERS)
    return HostError(message or "", code)


def _plain_text(body: bytes) -> str:
    text = body.decode("utf-8", "replace")
    if text.lstrip()[:1] == "<":
        text = _TAG.sub(" ", text)
    return _cleaned(text, MOST_MESSAGE_CHARACTERS) or ""


def _cleaned(value: object, most_characters: int) -> str | None:
    """Return text or a number as one bounded printable line without secrets, None for anything else."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        value = value[0].get("msg")  # FastAPI's list of problems: the first one
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    if isinstance(value, int):
        return str(value) if value.bit_length() < 64 else None
    text = value[: 8 * most_characters]
    text = _SECRET.sub("[secret]", text)
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= most_characters else text[: most_characters - 1] + "…"
