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
_TAG = re.compile(r"<[^<>]{0,500}>")


class HostError(NamedTuple):
    """What a host says went wrong: a cleaned sentence, and its code where it gave one."""

    message: str
    code: str | None

    def __str__(self) -> str:
        """Return the sentence with its code, as logs show it."""
        return self.message if self.code is None else f"{self.message} ({self.code})"


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
