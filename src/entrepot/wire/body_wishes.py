"""What a request body asks of the choice: models, preferences, limits, in the words of routing.

Declarations say what a value may be; what they cannot say is here: caps, exact amounts, fields that
contradict each other or that we know and do not honour.
"""

from collections.abc import Collection, Mapping
from decimal import ROUND_CEILING, Context, Decimal

from msgspec import Raw, Struct
from msgspec.structs import replace

from entrepot.domain.errors import Refusal
from entrepot.domain.money import NUSD_PER_USD
from entrepot.domain.request import DEFAULT_PROBABILITY, MaxPrice, Preferences, SenderFacts, Slo, Sort
from entrepot.wire.body_refusal import contradictory, invalid, missing, too_large, unsupported
from entrepot.wire.body_shape import (
    BodyShape,
    ChatShape,
    CompletionShape,
    EmbeddingShape,
    Percentiles,
    Provider,
    SloShape,
    SortBy,
)
from entrepot.wire.model_suffix import without_suffixes

NO_PREFERENCES = Preferences()
NO_SLO = Slo()
_NULL = b"null"
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


class Wishes(Struct):
    """What the sender of a body asks of the choice."""

    models: tuple[str, ...]
    choices: int
    preferences: Preferences
    slo: Slo
    in_order: bool


def wishes_of(
    shape: BodyShape,
    fields: Mapping[str, Raw],
    *,
    caps: Caps,
    sender: SenderFacts,
    known_models: Collection[str],
) -> Wishes | Refusal:
    """Return the wishes in a body, or the first that is wrong."""
    models = _models(shape)
    if not models:
        return missing("model")
    checks = _Checks(fields, caps, sender)
    sort: Sort | None = None
    if len(models) > 1 or ":" in models[0]:
        models, sort = checks.models(models, known_models)
    choices = shape.n or 1
    if not isinstance(shape, ChatShape):
        choices = checks.choices(shape)
    preferences, in_order = NO_PREFERENCES, False
    if shape.provider is not None:
        preferences = checks.preferences(shape.provider)
    if shape.provider is not None or shape.route is not None:
        in_order = checks.in_order(shape)
    if sort is not None:
        preferences = checks.sorted_by(preferences, sort)
    slo = checks.no_slo() if shape.slo is None else checks.slo(shape.slo)
    return checks.refusal or Wishes(models, choices, preferences, slo, in_order)


def _models(shape: BodyShape) -> tuple[str, ...]:
    if not shape.models:
        return () if shape.model is None else (shape.model,)
    first = () if shape.model is None else (shape.model,)
    return tuple(dict.fromkeys((*first, *shape.models)))


class _Checks:
    """What declarations cannot say: caps, exact amounts, fields that we know and do not honour.

    Keeps the first refusal, so that a caller reads all values and looks once.
    """

    __slots__ = ("_caps", "_fields", "_sender", "refusal")

    def __init__(self, fields: Mapping[str, Raw], caps: Caps, sender: SenderFacts) -> None:
        self._fields = fields
        self._caps = caps
        self._sender = sender
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
        caps = self._caps
        usd_per_hour = self._capped("slo.usd_per_hour", slo.usd_per_hour, caps.usd_per_hour)
        return Slo(
            ttft_s=self._capped("slo.ttft_s", slo.ttft_s, caps.seconds),
            tokens_per_s=self._capped("slo.tokens_per_s", slo.tokens_per_s, caps.tokens_per_s),
            answer_s=self._capped("slo.answer_s", slo.answer_s, caps.seconds),
            max_nusd=self._nusd("slo.max_usd", slo.max_usd),
            usd_per_hour=self._own_usd_per_hour() if usd_per_hour is None else usd_per_hour,
            probability=DEFAULT_PROBABILITY if slo.probability is None else slo.probability,
            serves_nearest=slo.otherwise == "nearest",
        )

    def no_slo(self) -> Slo:
        """Return the limits of a request that names none: the sender's value of time, if it has one."""
        usd_per_hour = self._own_usd_per_hour()
        return NO_SLO if usd_per_hour is None else Slo(usd_per_hour=usd_per_hour)

    def _own_usd_per_hour(self) -> float | None:
        """Return the sender's value of time in USD per hour, as much of it as a request may name."""
        own = self._sender.usd_per_hour
        return None if own is None else min(own, self._caps.usd_per_hour)

    def models(self, names: tuple[str, ...], known: Collection[str]) -> tuple[tuple[str, ...], Sort | None]:
        """Return the models without suffixes, and by what the suffixes sort."""
        models, sorts = without_suffixes(names, known)
        if len(sorts) > 1:
            told = " and ".join(f"{name} by {sort}" for sort, name in sorts.items())
            self._refuse(contradictory("models", f"models ask for {told}; give all the same suffix, or none"))
        return models, next(iter(sorts), None)

    def sorted_by(self, preferences: Preferences, sort: Sort) -> Preferences:
        """Return the preferences with the sort that a suffix of a model asks for."""
        if preferences.sort is None:
            return replace(preferences, sort=sort)
        if preferences.sort != sort:
            asked = f"a suffix of a model sorts by {sort}, provider.sort by {preferences.sort}"
            self._refuse(contradictory("provider.sort", f"{asked}; leave one of them out"))
        return preferences

    def in_order(self, shape: BodyShape) -> bool:
        """Return whether the models are tried one after the other: `route` or `provider.sort.partition`."""
        sort = None if shape.provider is None else shape.provider.sort
        by_route = None if shape.route is None else shape.route == "fallback"
        partition = sort.partition if isinstance(sort, SortBy) else None
        by_partition = None if partition is None else partition == "model"
        if by_route is not None and by_partition is not None and by_route is not by_partition:
            said = f'route "{shape.route}" and provider.sort.partition "{partition}" contradict each other'
            self._refuse(contradictory("route", f"{said}; send one of them"))
        return bool(by_route or by_partition)

    def _sort(self, provider: Provider) -> Sort | None:
        sort = provider.sort
        return sort.by if isinstance(sort, SortBy) else sort

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
