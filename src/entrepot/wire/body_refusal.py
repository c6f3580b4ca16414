"""Says what is wrong with a request body: the field, the value seen, what was expected, the next step.

msgspec stops at the first mistake and names its path; its words name Python's types. Here the path is looked
up in a table of ours, so that the sentence does not depend on how the check was declared. Nothing of this
runs for a body that is right.
"""

import re
from collections.abc import Mapping
from difflib import get_close_matches

from msgspec import DecodeError, Raw, ValidationError
from msgspec.json import Decoder
from msgspec.structs import fields as struct_fields

from entrepot.domain.errors import Refusal
from entrepot.wire.body_shape import (
    MOST_CHOICES,
    MOST_NAME_CHARACTERS,
    MOST_NAMES,
    MaxPriceShape,
    Percentiles,
    Provider,
    SloShape,
    SortBy,
)

MOST_SHOWN_CHARACTERS = 60  # of a value, in a message
MOST_LOOKED_INTO_BYTES = 1024 * 1024  # to quote a value; a refusal must not cost more than an answer
_PRIVATE = frozenset({"messages", "prompt", "input"})  # never quoted: they are what the user wrote

_NAMES = f"an array of at most {MOST_NAMES} non-empty strings of at most {MOST_NAME_CHARACTERS} characters"
_TOKENS = "an integer of at least 1 that fits in 31 bits; leave it out for no limit"
_SWITCH = "true or false"
_PRICE = "a finite number of at least 0"
_SORTS = '"price", "throughput" or "latency"'

# What is expected of each field, by its path without array positions.
EXPECTED: Mapping[str, str] = {
    "": "a JSON object with the fields of the request",
    "model": 'the name of a model, such as "deepseek/deepseek-r1"; GET /v1/models lists them',
    "models": f"{_NAMES}, the models that may answer",
    "models[]": "the name of a model; GET /v1/models lists them",
    "route": '"fallback" (the models are tried in order) or "sort" (they are one set)',
    "messages": 'an array of at least one message, such as {"role": "user", "content": "Hello"}',
    "messages[]": 'an object such as {"role": "user", "content": "Hello"}',
    "messages[].role": 'a non-empty string such as "user", "assistant", "system" or "tool"',
    "prompt": "a string, a non-empty array of strings, or a non-empty array of tokens",
    "prompt[]": "a string, a token, or an array of tokens, all entries of one kind",
    "prompt[][]": "a token, which is an integer",
    "input": "a non-empty string, a non-empty array of them, or a non-empty array of tokens",
    "input[]": "a non-empty string, a token, or an array of tokens, all entries of one kind",
    "input[][]": "a token, which is an integer",
    "stream": f"{_SWITCH}; embeddings are never streamed",
    "stream_options": 'an object such as {"include_usage": true}',
    "stream_options.include_usage": _SWITCH,
    "max_tokens": _TOKENS,
    "max_completion_tokens": _TOKENS,
    "n": f"an integer from 1 to {MOST_CHOICES}",
    "best_of": f"an integer from 1 to {MOST_CHOICES}",
    "provider": "an object of routing preferences",
    "provider.order": f"{_NAMES}, the hosts to try first, in order",
    "provider.only": f"{_NAMES}, the hosts that may be used",
    "provider.ignore": f"{_NAMES}, the hosts that may not be used",
    "provider.quantizations": f'{_NAMES}, such as ["fp8", "bf16"]',
    "provider.allow_fallbacks": _SWITCH,
    "provider.require_parameters": _SWITCH,
    "provider.zdr": _SWITCH,
    "provider.data_collection": '"allow" or "deny"',
    "provider.sort": f'{_SORTS}, or {{"by": …}} with one of them',
    "provider.sort.by": _SORTS,
    "provider.sort.partition": '"model" (the models are tried in order) or "none" (they are one set)',
    "provider.max_price": "an object with prompt, completion (USD per million tokens) or request (USD)",
    "provider.max_price.prompt": f"{_PRICE}, in USD per million tokens",
    "provider.max_price.completion": f"{_PRICE}, in USD per million tokens",
    "provider.max_price.request": f"{_PRICE}, in USD per request",
    "provider.preferred_min_throughput": "a finite number of at least 0, in tokens per second",
    "provider.preferred_min_throughput.p50": "a finite number of at least 0, in tokens per second",
    "provider.preferred_max_latency": "a finite number of at least 0, in seconds to the first token",
    "provider.preferred_max_latency.p50": "a finite number of at least 0, in seconds to the first token",
    "slo": "an object of limits",
    "slo.ttft_s": "a finite number of at least 0, in seconds",
    "slo.tokens_per_s": "a finite number of at least 0, in tokens per second",
    "slo.answer_s": "a finite number of at least 0, in seconds",
    "slo.max_usd": f"{_PRICE}, in USD",
    "slo.usd_per_hour": "a finite number of at least 0, in USD per hour of waiting",
    "slo.probability": "a number above 0 and below 1, such as 0.95",
    "slo.otherwise": '"refuse" or "nearest"',
}

_KNOWN_FIELDS: Mapping[str, tuple[str, ...]] = {
    path: tuple(field.name for field in struct_fields(shape))
    for path, shape in (
        ("provider", Provider),
        ("provider.sort", SortBy),
        ("provider.max_price", MaxPriceShape),
        ("provider.preferred_min_throughput", Percentiles),
        ("provider.preferred_max_latency", Percentiles),
        ("slo", SloShape),
    )
}
_ARTICLES = {b'"': "a string", b"{": "an object", b"[": "an array"}
_PATH = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<path>.*)`)?$", re.DOTALL)
_QUOTED = re.compile(r"field `(?P<name>.*)`$", re.DOTALL)
_INDEX = re.compile(r"\[(?:\d+|\.\.\.)\]")
_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")
_decode_object = Decoder(dict[str, Raw]).decode
_decode_array = Decoder(list[Raw]).decode


def unreadable(error: Exception, body: bytes) -> Refusal:
    """Return why `body` could not be read; `error` is what msgspec or the UTF-8 decoder raised."""
    if isinstance(error, ValidationError):
        return _misshapen(str(error), body)
    if not body.strip():
        return _not_json("the request body is empty; send a JSON object")
    if isinstance(error, RecursionError):
        return _not_json("the request body is nested too deep; put fewer objects or arrays inside each other")
    if isinstance(error, UnicodeDecodeError):
        at = f" (byte {error.start})" if len(error.object) == len(body) else ""
        return _not_json(f"the request body is not valid UTF-8{at}; encode it as UTF-8")
    detail = str(error).removeprefix("JSON is malformed: ")
    detail = detail.replace("Input data was truncated", f"it ends early (byte {len(body)})")
    return _not_json(f"the request body is not valid JSON: {detail}; send a JSON object")


def invalid(param: str, fields: Mapping[str, Raw]) -> Refusal:
    """Return that the value of `param` (a path such as `slo.ttft_s`) is not what is expected there."""
    path = _INDEX.sub("[]", param)
    expected = EXPECTED.get(path, "another value; see the API reference")
    message = f"{param or 'the request body'} is {seen(param, fields)}; expected {expected}"
    return _refusal("invalid_value", message, param or None)


def missing(param: str) -> Refusal:
    """Return that a required field is not there."""
    expected = EXPECTED.get(_INDEX.sub("[]", param), "a value")
    return _refusal("missing_field", f"{param} is missing; expected {expected}", param)


def unsupported(param: str, next_step: str) -> Refusal:
    """Return that a field is known and cannot be honoured, so that it is refused and not ignored."""
    return _refusal("unsupported_field", f"{param} is not supported yet; {next_step}", param)


def contradictory(param: str, message: str) -> Refusal:
    """Return that `param` says the opposite of another field: neither is ignored in silence."""
    return _refusal("contradictory_values", message, param)


def too_large(param: str, fields: Mapping[str, Raw], most: float) -> Refusal:
    """Return that a number is above what this key may ask for."""
    message = f"{param} is {seen(param, fields)}; at most {most:,.15g} is allowed. Send a smaller value"
    return _refusal("invalid_value", message, param)


def seen(param: str, fields: Mapping[str, Raw]) -> str:
    """Return what the body holds at a path, in words: its JSON type, and its value unless it is private."""
    steps = _STEP.findall(param)
    if not steps:
        return "not an object"
    raw = fields.get(steps[0][0])
    for name, index in steps[1:]:
        raw = _inside(raw, name, index)
    if raw is None:
        return "not right"
    text = bytes(raw)
    article = _ARTICLES.get(text[:1])
    if text[:1] in b"{[":
        empty = text[1:-1].strip() == b""
        return (article or "").replace("an ", "an empty ") if empty else article or ""
    if steps[0][0] in _PRIVATE and article is not None:
        return "an empty string" if text == b'""' else article
    shown = text[: 4 * MOST_SHOWN_CHARACTERS].decode("utf-8", "ignore")
    shown = shown if len(shown) <= MOST_SHOWN_CHARACTERS else shown[:MOST_SHOWN_CHARACTERS] + "…"
    return shown if article is None else f"the string {shown}"


def _inside(raw: Raw | None, name: str, index: str) -> Raw | None:
    if raw is None or memoryview(raw).nbytes > MOST_LOOKED_INTO_BYTES:
        return None
    try:
        return _decode_object(raw).get(name) if name else _decode_array(raw)[int(index)]
    except (DecodeError, UnicodeDecodeError, RecursionError, IndexError):
        return None


def _misshapen(text: str, body: bytes) -> Refusal:
    """Return the refusal for msgspec's sentence `text`: a wrong value, a missing or an unknown field."""
    found = _PATH.match(text)
    path, what = ("", text) if found is None else (found["path"] or "", found["what"])
    quoted = _QUOTED.search(what)
    if quoted is None:
        return invalid(path, _fields_or_none(body))
    name = quoted["name"]
    param = f"{path}.{name}" if path else name
    if "missing required" in what:
        return missing(param)
    return _unknown(path, name)


def _fields_or_none(body: bytes) -> Mapping[str, Raw]:
    try:
        return _decode_object(body)
    except (DecodeError, UnicodeDecodeError, RecursionError):
        return {}


def _unknown(path: str, name: str) -> Refusal:
    known = _KNOWN_FIELDS.get(path, ())
    near = get_close_matches(name[:MOST_SHOWN_CHARACTERS], known, n=1, cutoff=0.5)
    advice = f"did you mean {path}.{near[0]}?" if near else f"known are {', '.join(known)}"
    shown = name if len(name) <= MOST_SHOWN_CHARACTERS else name[:MOST_SHOWN_CHARACTERS] + "…"
    param = f"{path}.{shown}"
    return _refusal("unknown_field", f"{param} is not a known field; {advice}", param)


def _not_json(message: str) -> Refusal:
    return _refusal("invalid_json", message, None)


def _refusal(code: str, message: str, param: str | None) -> Refusal:
    return Refusal(
        http_status=400,
        type="invalid_request_error",
        code=code,
        message=message if message.endswith("?") else message + ".",
        param=param,
    )
