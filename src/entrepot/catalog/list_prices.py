"""List prices of providers, from the data that the package genai-prices carries.

They stand in where a configuration states no price, so that a new endpoint is not refused to keys with a
budget until somebody copies numbers. The package is an extra, is imported only when an endpoint needs it (it
costs 0.2 s), and is never let to fetch: a price must not change between two starts without a new version.
Its rule "the last condition that holds counts" becomes ours, "the first rate that applies".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from difflib import get_close_matches
from importlib.metadata import version
from importlib.util import find_spec
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from msgspec import Struct

from entrepot.catalog.price_cards import Priced, labelled, rounded
from entrepot.domain.endpoint import Operation
from entrepot.domain.money import NUSD_PER_USD
from entrepot.domain.prices import Prices
from entrepot.domain.tariff import NS_PER_S, Band, Rate, Tariff

if TYPE_CHECKING:
    from genai_prices.data_snapshot import DataSnapshot
    from genai_prices.types import ConditionalPrice, ModelInfo, ModelPrice, Provider

NO_LIST = "none"
"""What `price_list` says to have no list price at all."""

INSTALL = "pip install 'entrepot[prices]'"
PACKAGE = "genai-prices"
_PRIVATE = (".local", ".internal", ".localhost", ".example", ".test")  # ends of names that no provider has
_CALLS_PER_LISTED = 1000  # the package states the price of a thousand requests


class Listed(Struct, frozen=True):
    """What the package lists for a model at a provider."""

    provider: str
    model: str
    priced: Priced


class ListPrices:
    """The list prices of all providers; the package is imported when the first is asked for."""

    def __init__(self) -> None:
        self._data: DataSnapshot | None = None

    @property
    def is_installed(self) -> bool:
        """Return whether the package is there."""
        return find_spec("genai_prices") is not None

    @property
    def name(self) -> str:
        """Return the package with its version, as sources of prices name it."""
        return f"{PACKAGE} {version(PACKAGE)}"

    def problem_of(self, provider: str) -> str | None:
        """Return why there can be no list prices of the provider, None if there can."""
        if not self.is_installed:
            return f"needs the package {PACKAGE}: {INSTALL}"
        known = [one.id for one in self._snapshot.providers]
        if provider in known:
            return None
        near = get_close_matches(provider, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f'write one of {", ".join(known)}, or "{NO_LIST}"'
        return f"{provider!r} is no provider of {self.name}; {hint}"

    def priced(
        self, base_url: str, provider: str | None, model: str, operations: frozenset[Operation]
    ) -> Priced | None:
        """Return the list prices of a host's model; None where there are none.

        `provider` is an id of the package; without one the URL tells it. `model` is the host's name of it.
        """
        if (provider is None and not _may_be_listed(base_url)) or not self.is_installed:
            return None
        snapshot = self._snapshot
        try:
            seller = snapshot.find_provider(None, provider, None if provider else base_url)
        except LookupError:
            return None
        info = seller.find_model(model, all_providers=snapshot.providers)
        if info is None:
            return None
        return converted(info, self._source(self._owner(info, seller), info), operations)

    def of_all_providers(self, models: Sequence[str]) -> Iterator[Listed]:
        """Yield what every provider lists under any of these names of a model, its first match each."""
        if not self.is_installed:
            return
        for provider in self._snapshot.providers:
            found = (provider.find_model(name) for name in models)
            info = next((one for one in found if one is not None), None)
            if info is None:
                continue
            priced = converted(info, self._source(provider, info), frozenset({Operation.CHAT}))
            if priced is not None:
                yield Listed(provider.id, info.id, priced)

    def models(self) -> Iterator[ModelInfo]:
        """Yield every model of every provider."""
        for provider in self._snapshot.providers:
            yield from provider.models

    @property
    def _snapshot(self) -> DataSnapshot:
        if self._data is None:
            from genai_prices.data import providers
            from genai_prices.data_snapshot import DataSnapshot

            # what the package carries, whatever was fetched by others in this process
            self._data = DataSnapshot(providers=providers, from_auto_update=False)
        return self._data

    def _source(self, provider: Provider, info: ModelInfo) -> str:
        return f"{self.name}, {provider.id}/{info.id}"

    def _owner(self, info: ModelInfo, seller: Provider) -> Provider:
        """Return the provider whose price it is: some fall back to another's, and the source says so."""
        owners = (one for one in self._snapshot.providers if any(model is info for model in one.models))
        return seller if any(model is info for model in seller.models) else next(owners, seller)


def converted(info: ModelInfo, source: str, operations: frozenset[Operation]) -> Priced | None:
    """Return what the package lists for a model as ours; None where text has no price in it."""
    prices = info.prices if isinstance(info.prices, list) else [_unconditional(info.prices)]
    last = next((at for at in reversed(range(len(prices))) if prices[at].constraint is None), 0)
    rates: list[Rate] = []
    for entry in reversed(prices[last:]):
        found = tuple(_rates(entry, source, operations, is_plain=entry is prices[last]))
        if not found:
            return None
        rates += found
    if not rates:
        return None
    *conditional, plain = rates
    return Priced(plain.prices, Tariff(plain, tuple(conditional)) if conditional else None)


def _unconditional(prices: ModelPrice) -> ConditionalPrice:
    from genai_prices.types import ConditionalPrice

    return ConditionalPrice(prices=prices)


def _rates(
    entry: ConditionalPrice, source: str, operations: frozenset[Operation], *, is_plain: bool
) -> Iterator[Rate]:
    """Yield the rates of an entry, that of the longest prompts first; none if text has no price in it."""
    if not _is_complete(entry.prices, operations):
        return
    band, from_ns = (None, None) if is_plain else _condition(entry)
    for above in (*_tiers(entry.prices), 0):
        yield labelled(Rate(_card(entry.prices, above, source), from_ns, None, above, band))


def _condition(entry: ConditionalPrice) -> tuple[Band | None, int | None]:
    from genai_prices.types import StartDateConstraint, TimeOfDateConstraint

    match entry.constraint:
        case StartDateConstraint(start_date=day):
            return None, round(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * NS_PER_S
        case TimeOfDateConstraint(start_time=begin, end_time=end):
            return Band(ZoneInfo("UTC"), _utc_minute(begin), _utc_minute(end)), None
        case None:
            return None, None


def _utc_minute(at: time) -> int:
    """Return the minute of the day in UTC; a time without a zone is meant in UTC."""
    if at.tzinfo is not None:
        at = datetime.combine(date(2000, 1, 1), at).astimezone(UTC).time()
    return at.hour * 60 + at.minute


def _is_complete(prices: ModelPrice, operations: frozenset[Operation]) -> bool:
    has_output = prices.output_mtok is not None or operations == {Operation.EMBEDDING}
    return prices.input_mtok is not None and has_output


def _tiers(prices: ModelPrice) -> list[int]:
    """Return the lengths of prompt above which something has another price, the longest first."""
    from genai_prices.types import TieredPrices

    tiered = [value for value in vars(prices).values() if isinstance(value, TieredPrices)]
    return sorted({tier.start for value in tiered for tier in value.tiers if tier.start > 0}, reverse=True)


def _card(prices: ModelPrice, above: int, source: str) -> Prices:
    """Return the card of prompts of more than `above` tokens. Prices of other media have no line here."""
    calls = _nusd(prices, "requests_kcount", above)
    return Prices(
        input_nusd_per_mtok=_nusd(prices, "input_mtok", above) or 0,
        output_nusd_per_mtok=_nusd(prices, "output_mtok", above) or 0,
        cached_nusd_per_mtok=_nusd(prices, "cache_read_mtok", above),
        cache_write_nusd_per_mtok=_nusd(prices, "cache_write_mtok", above),
        request_nusd=0 if calls is None else rounded(Decimal(calls) / _CALLS_PER_LISTED),
        source=source,
        cache_write_1h_nusd_per_mtok=_nusd(prices, "cache_write_1h_mtok", above),
        reasoning_nusd_per_mtok=_nusd(prices, "output_reasoning_mtok", above),
    )


def _nusd(prices: ModelPrice, key: str, above: int) -> int | None:
    """Return a price of prompts of more than `above` tokens, rounded half up to a nano-dollar."""
    from genai_prices.types import TieredPrices

    value = vars(prices).get(key)
    if isinstance(value, TieredPrices):
        reached = [tier.price for tier in value.tiers if tier.start <= above]
        value = reached[-1] if reached else value.base
    return None if value is None else rounded(value * NUSD_PER_USD)


def _may_be_listed(base_url: str) -> bool:
    """Return whether a URL may be a provider's: not this machine, an address, or a private network's name."""
    try:
        name = urlsplit(base_url).hostname or ""
    except ValueError:  # which the reader of the URL reports
        return False
    try:
        ip_address(name)
    except ValueError:
        return "." in name and not name.endswith(_PRIVATE)
    return False
