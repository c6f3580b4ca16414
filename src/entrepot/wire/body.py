"""Request bodies: read once for what routing and the ledger need, written once for the host that was chosen.

The values stay the bytes that the client sent (`msgspec.Raw`), so a field that we have never heard of
reaches the host untouched and large prompts are not decoded. A model of the whole API as types
would be slower and would lag behind every host's new parameter.
"""

import re
from collections.abc import Callable, Collection, Mapping

from msgspec import DecodeError, Raw, Struct
from msgspec.json import Decoder, Encoder

from entrepot.domain.endpoint import Operation
from entrepot.domain.errors import Refusal
from entrepot.domain.ids import session_of
from entrepot.domain.request import BLOCK_BYTES, Request, SenderFacts
from entrepot.wire.beginning import LEAST_BLOCKS, blocks_of
from entrepot.wire.body_refusal import unreadable
from entrepot.wire.body_shape import SHAPES, BodyShape
from entrepot.wire.body_wishes import DEFAULT_CAPS, Caps, wishes_of

OUR_FIELDS = ("provider", "models", "route", "slo")
LIMIT_FIELDS = ("max_tokens", "max_completion_tokens")
# Fields that every endpoint takes, or that we answer for: never a reason to exclude one.
NOT_PARAMETERS = frozenset(
    {"model", "messages", "prompt", "input", "stream", "stream_options", "user", *OUR_FIELDS}
)
# Where a sender may name its conversation; the first counts: OpenRouter's, OpenAI's, OpenAI's older one.
SESSION_FIELDS = ("session_id", "prompt_cache_key", "user")
NOBODY = SenderFacts()

_decode_fields = Decoder(dict[str, Raw]).decode
_SHAPE_DECODERS: Mapping[Operation, Callable[[bytes], BodyShape]] = {
    operation: Decoder(shape).decode for operation, shape in SHAPES.items()
}
_encode = Encoder().encode
_NULL = b"null"
_TRUE = Raw(b"true")
_USAGE_WANTED = Raw(b'{"include_usage":true}')
# What stands before a file that is written into the body: of a `data:` URL, and of audio. Each pattern begins
# with a character that is rare in text, which `re` looks for first; both in one would be tried at every byte.
_DATA_URL = re.compile(rb";(?=base64,)base64,")
_DATA_FIELD = re.compile(rb':(?<="data":) ?"(?!data:)')
_SMALL_BYTES = LEAST_BLOCKS * BLOCK_BYTES
_PROMPTS = {Operation.CHAT: "messages", Operation.COMPLETION: "prompt"}


class Body(Struct):
    """A request body that has been checked.

    `fields` are the top-level fields as the client wrote them; `include_usage` says that the client asked
    for usage in its stream.
    """

    operation: Operation
    fields: dict[str, Raw]
    stream: bool
    include_usage: bool
    request: Request


def parse_body(
    body: bytes,
    operation: Operation,
    *,
    caps: Caps = DEFAULT_CAPS,
    sender: SenderFacts = NOBODY,
    session: int = 0,
    known_models: Collection[str] = (),
) -> Body | Refusal:
    """Return the request in `body`, or the 400 that says what is wrong with it. Never raises.

    `session` is what a header named (0: none; then the body may name one). A name in `known_models` is taken
    as it stands; others may be one of those with a suffix.
    """
    try:
        fields = _decode_fields(body)
        shape = _SHAPE_DECODERS[operation](body)
        if not body.isascii():
            body.decode()  # msgspec leaves the strings that it skips unchecked
    except (DecodeError, UnicodeDecodeError, RecursionError) as error:
        return unreadable(error, body)
    wishes = wishes_of(shape, fields, caps=caps, sender=sender, known_models=known_models)
    if isinstance(wishes, Refusal):
        return wishes
    stream = shape.stream is True
    options = shape.stream_options
    return Body(
        operation,
        fields,
        stream,
        options is not None and options.include_usage is True,
        Request(
            operation,
            wishes.models,
            len(body),
            _output_limit(shape),
            wishes.choices,
            stream,
            frozenset(fields).difference(NOT_PARAMETERS),
            wishes.slo,
            wishes.preferences,
            _attachment_bytes(body),
            wishes.in_order,
            sender.key_id,
            sender.tag_id,
            session or _session(fields, sender.key_id),
            _blocks(fields, operation) if len(body) >= _SMALL_BYTES else (),
        ),
    )


def _session(fields: Mapping[str, Raw], key_id: int) -> int:
    """Return the number of the conversation that the body names, 0 for none."""
    for name in SESSION_FIELDS:
        raw = fields.get(name)
        if raw is not None:
            text = bytes(raw)
            if text[:1] == b'"' and len(text) > 2:  # other values are the host's to refuse
                return session_of(key_id, text[1:-1])
    return 0


def _blocks(fields: Mapping[str, Raw], operation: Operation) -> tuple[int, ...]:
    name = _PROMPTS.get(operation)
    return () if name is None else blocks_of(fields[name], fields.get("tools"))


def _attachment_bytes(body: bytes) -> int:
    """Return the bytes of files that are written into the body: images in `data:` URLs, audio.

    Found by what stands before them, whatever the body is: their tokens depend on pixels and seconds, so as
    text they would fill any context window. A `data:` URL in a field of that name is counted once.
    """
    found = 0
    for pattern in (_DATA_URL, _DATA_FIELD):
        marker = pattern.search(body)
        while marker is not None:
            start = marker.end()
            end = body.find(b'"', start)
            end = len(body) if end < 0 else end
            found += end - start
            marker = pattern.search(body, end)
    return found


def host_body(
    body: Body,
    *,
    model: str,
    usage_in_stream: bool,
    force_stream: bool = False,
    max_output_tokens: int | None = None,
    drop: frozenset[str] = frozenset(),
) -> bytes:
    """Return the JSON for a host that calls the model `model`.

    Our own fields are removed; a stream asks for usage when `usage_in_stream`; `force_stream` makes
    a plain call a stream. `max_output_tokens` (tokens) replaces the limit under the name that the
    client used. Fields in `drop` are left out, but a limit moves to its other name if the host takes that.
    """
    fields: dict[str, object] = dict(body.fields)
    fields["model"] = model
    for name in OUR_FIELDS:
        fields.pop(name, None)
    if body.stream or force_stream:
        fields["stream"] = _TRUE
        if usage_in_stream:  # written anew even where the client asked: it may have said two things
            fields["stream_options"] = _with_usage(body.fields.get("stream_options"))
    if max_output_tokens is not None and body.operation is not Operation.EMBEDDING:
        for name in [name for name in LIMIT_FIELDS if name in fields] or LIMIT_FIELDS[:1]:
            fields[name] = max_output_tokens
    if drop:
        _drop(fields, drop)
    return _encode(fields)


def _output_limit(shape: BodyShape) -> int | None:
    """Return the larger of the two limits: a host may know only one, and a reservation has to hold."""
    older, newer = shape.max_tokens, shape.max_completion_tokens
    if newer is None or older is None:
        return older if newer is None else newer
    return max(older, newer)


def _with_usage(options: Raw | None) -> Raw | dict[str, Raw]:
    if options is None or bytes(options) == _NULL:
        return _USAGE_WANTED
    try:
        return _decode_fields(options) | {"include_usage": _TRUE}
    except RecursionError:  # the same depth passed when it was parsed, from higher up the stack
        return _USAGE_WANTED


def _drop(fields: dict[str, object], drop: frozenset[str]) -> None:
    for name, other in zip(LIMIT_FIELDS, reversed(LIMIT_FIELDS), strict=True):
        if name in drop and name in fields and other not in drop:
            limit = fields.pop(name)
            fields.setdefault(other, limit)
    for name in drop:
        fields.pop(name, None)
