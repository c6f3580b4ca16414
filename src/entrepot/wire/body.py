"""Request bodies: read once for what routing and the ledger need, written once for the host that was chosen.

The values stay the bytes that the client sent (`msgspec.Raw`), so a field that we have never heard of
reaches the host untouched and large prompts are not decoded. A model of the whole API as types
would be slower and would lag behind every host's new parameter.
"""

from collections.abc import Callable, Mapping
from decimal import ROUND_CEILING, Context, Decimal
from typing import Literal

from msgspec import DecodeError, Raw, Struct
from msgspec.json import Decoder, Encoder

from entrepot.domain.endpoint import Operation
from entrepot.domain.errors import Refusal
from entrepot.domain.money import NUSD_PER_USD
from entrepot.domain.request import MaxPrice, Preferences, Request, Slo
from entrepot.wire.body_refusal import invalid, missing, too_large, unreadable, unsupported
from entrepot.wire.body_shape import (
    SHAPES,
    BodyShape,
    CompletionShape,
    EmbeddingShape,
    Percentiles,
    Provider,
    SloShape,
    SortBy,
)

OUR_FIELDS = ("provider", "models", "slo")
LIMIT_FIELDS = ("max_tokens", "max_completion_tokens")
# Fields that every endpoint takes, or that we answer for: never a reason to exclude one.
NOT_PARAMETERS = frozenset(
    {"model", "messages", "prompt", "input", "stream", "stream_options", "user", *OUR_FIELDS}
)
NO_PREFERENCES = Preferences()
NO_SLO = Slo()

_decode_fields = Decoder(dict[str, Raw]).decode
_SHAPE_DECODERS: Mapping[Operation, Callable[[bytes], BodyShape]] = {
    operation: Decoder(shape).decode for operation, shape in SHAPES.items()
}
_encode = Encoder().encode
_NULL = b"null"
_TRUE = Raw(b"true")
_USAGE_WANTED = Raw(b'{"include_usage":true}')
_ATTACHMENT_MARKERS = (b";base64,", b'"data":"', b'"data": "')
_NANO_DOLLAR = Decimal(1).scaleb(-9)
_ROOMY = Context(prec=60)  # digits: the largest capped amount needs 25


class Caps(Struct, frozen=True):
    """The largest values that a sender may ask for; what is above is refused, not lowered in silence.

    Units: seconds, USD per hour of waiting, tokens/s/user, USD (also of unit prices).
    """

    seconds: float = 86_400.0
    usd_per_hour: float = 100_000.0
    tokens_per_s: float = 1_000_000.0
    usd: float = 1_000_000.0


DEFAULT_CAPS = Caps()


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


def parse_body(body: bytes, operation: Operation, *, caps: Caps = DEFAULT_CAPS) -> Body | Refusal:
    """Return the request in `body`, or the 400 that says what is wrong with it. Never raises."""
    try:
        fields = _decode_fields(body)
        shape = _SHAPE_DECODERS[operation](body)
        if not body.isascii():
            body.decode()  # msgspec leaves the strings that it skips unchecked
    except (DecodeError, UnicodeDecodeError, RecursionError) as error:
        return unreadable(error, body)
    models = _models(shape)
    choices = shape.n or 1
    checks = _Checks(fields, caps)
    if not models:
        return missing("model")
    if operation is not Operation.CHAT:
        choices = checks.choices(shape)
    preferences = NO_PREFERENCES if shape.provider is None else checks.preferences(shape.provider)
    slo = NO_SLO if shape.slo is None else checks.slo(shape.slo)
    if checks.refusal is not None:
        return checks.refusal
    stream = shape.stream is True
    options = shape.stream_options
    return Body(
        operation,
        fields,
        stream,
        options is not None and options.include_usage is True,
        Request(
            operation,
            models,
            len(body),
            _output_limit(shape),
            choices,
            stream,
            frozenset(fields).difference(NOT_PARAMETERS),
            slo,
            preferences,
            _attachment_bytes(body),
        ),
    )


def _attachment_bytes(body: bytes) -> int:
    """Return the bytes of files that are written into the body: images in `data:` URLs, audio.

    Found by what stands before them, in one pass whatever the body is: their tokens depend on pixels and
    seconds, so as text they would fill any context window.
    """
    found = 0
    for marker in _ATTACHMENT_MARKERS:
        start = body.find(marker)
        while start >= 0:
            start += len(marker)
            end = body.find(b'"', start)
            end = len(body) if end < 0 else end
            found += end - start
            start = body.find(marker, end)
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


def _models(shape: BodyShape) -> tuple[str, ...]:
    if not shape.models:
        return () if shape.model is None else (shape.model,)
    first = () if shape.model is None else (shape.model,)
    return tuple(dict.fromkeys((*first, *shape.models)))


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


class _Checks:
    """What declarations cannot say: caps, exact amounts, fields that we know and do not honour.

    Keeps the first refusal, so that a caller reads all values and looks once.
    """

    __slots__ = ("_caps", "_fields", "refusal")

    def __init__(self, fields: Mapping[str, Raw], caps: Caps) -> None:
        self._fields = fields
        self._caps = caps
        self.refusal: Refusal | None = None

    def choices(self, shape: BodyShape) -> int:
        """Return how many answers a completion asks for; an embedding is always one."""
        if isinstance(shape, EmbeddingShape):
            self._one_kind("input", shape.input)
            if shape.stream:
                self._refuse(invalid("stream", self._fields))
            return 1
        assert isinstance(shape, CompletionShape)
        prompts = self._one_kind("prompt", shape.prompt)
        return prompts * max(shape.n or 1, shape.best_of or 1)

    def preferences(self, provider: Provider) -> Preferences:
        """Return the `provider` object in the words of routing."""
        self._unsupported(
            "provider.enforce_distillable_text", provider.enforce_distillable_text, "leave it out"
        )
        return Preferences(
            order=tuple(provider.order or ()),
            only=tuple(provider.only or ()),
            ignore=tuple(provider.ignore or ()),
            allow_fallbacks=provider.allow_fallbacks is not False,
            sort=self._sort(provider),
            max_price=self._max_price(provider),
            quantizations=tuple(provider.quantizations or ()),
            data_collection=provider.data_collection or "allow",
            zero_data_retention=provider.zdr is True,
            require_parameters=provider.require_parameters is True,
            min_tokens_per_s=self._median(
                "provider.preferred_min_throughput",
                provider.preferred_min_throughput,
                self._caps.tokens_per_s,
            ),
            max_ttft_s=self._median(
                "provider.preferred_max_latency", provider.preferred_max_latency, self._caps.seconds
            ),
        )

    def slo(self, slo: SloShape) -> Slo:
        """Return the `slo` object in the words of routing."""
        self._unsupported(
            "slo.probability", slo.probability, "leave it out: limits are held against what is expected"
        )
        caps = self._caps
        return Slo(
            ttft_s=self._capped("slo.ttft_s", slo.ttft_s, caps.seconds),
            tokens_per_s=self._capped("slo.tokens_per_s", slo.tokens_per_s, caps.tokens_per_s),
            answer_s=self._capped("slo.answer_s", slo.answer_s, caps.seconds),
            max_nusd=self._nusd("slo.max_usd", slo.max_usd),
            usd_per_hour=self._capped("slo.usd_per_hour", slo.usd_per_hour, caps.usd_per_hour),
        )

    def _sort(self, provider: Provider) -> Literal["price", "throughput", "latency"] | None:
        sort = provider.sort
        if not isinstance(sort, SortBy):
            return sort
        self._unsupported("provider.sort.partition", sort.partition, "send sort.by alone")
        return sort.by

    def _max_price(self, provider: Provider) -> MaxPrice | None:
        price = provider.max_price
        if price is None:
            return None
        for name, raw in (("image", price.image), ("audio", price.audio)):
            self._unsupported(
                f"provider.max_price.{name}", raw, "limit prompt, completion or request, or slo.max_usd"
            )
        return MaxPrice(
            input_nusd_per_mtok=self._nusd("provider.max_price.prompt", price.prompt),
            output_nusd_per_mtok=self._nusd("provider.max_price.completion", price.completion),
            request_nusd=self._nusd("provider.max_price.request", price.request),
        )

    def _median(self, param: str, wish: float | Percentiles | None, most: float) -> float | None:
        if not isinstance(wish, Percentiles):
            return self._capped(param, wish, most)
        for name, raw in (("p75", wish.p75), ("p90", wish.p90), ("p99", wish.p99)):
            self._unsupported(f"{param}.{name}", raw, "send a number or p50, which mean the median")
        return self._capped(f"{param}.p50", wish.p50, most)

    def _capped(self, param: str, value: float | None, most: float) -> float | None:
        if value is not None and value > most:
            self._refuse(too_large(param, self._fields, most))
        return value

    def _nusd(self, param: str, usd: Decimal | None) -> int | None:
        """Return nano-dollars, rounded up: a limit finer than we count must not shut out its own amount."""
        if usd is None:
            return None
        if not usd.is_finite() or usd < 0:
            self._refuse(invalid(param, self._fields))
            return None
        if usd > self._caps.usd:
            self._refuse(too_large(param, self._fields, self._caps.usd))
            return None
        return int(usd.quantize(_NANO_DOLLAR, ROUND_CEILING, _ROOMY) * NUSD_PER_USD)

    def _one_kind(self, param: str, value: str | list[str] | list[str | int | list[int]]) -> int:
        """Return the number of prompts; an array has to hold strings, or tokens, or arrays of tokens."""
        if isinstance(value, str):
            return 1
        kind = type(value[0])
        if len(set(map(type, value))) > 1 or (kind is list and [] in value):
            wrong = (at for at, entry in enumerate(value) if type(entry) is not kind or entry == [])
            self._refuse(invalid(f"{param}[{next(wrong)}]", self._fields))
        return 1 if kind is int else len(value)

    def _unsupported(self, param: str, raw: Raw, next_step: str) -> None:
        if bytes(raw) != _NULL:
            self._refuse(unsupported(param, next_step))

    def _refuse(self, refusal: Refusal) -> None:
        if self.refusal is None:
            self.refusal = refusal
