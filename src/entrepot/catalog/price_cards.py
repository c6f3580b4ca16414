"""Cards of prices as the catalog works on them: their keys in a file, exact scaling, discounts.

Scaling is decimal and rounds half up to a nano-dollar per million tokens: the last digit of a contract's
price must not depend on how a float was printed.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal

from msgspec import Struct
from msgspec.structs import replace

from entrepot.catalog.price_words import rate_words
from entrepot.domain.prices import Prices
from entrepot.domain.tariff import Rate, Tariff

PRICE_FIELDS = {
    "input_usd_per_mtok": "input_nusd_per_mtok",
    "cached_input_usd_per_mtok": "cached_nusd_per_mtok",
    "cache_write_usd_per_mtok": "cache_write_nusd_per_mtok",
    "cache_write_1h_usd_per_mtok": "cache_write_1h_nusd_per_mtok",
    "output_usd_per_mtok": "output_nusd_per_mtok",
    "reasoning_usd_per_mtok": "reasoning_nusd_per_mtok",
    "request_usd": "request_nusd",
}
"""Keys of a configuration and the fields of `Prices` that they fill."""

_HUNDRED = Decimal(100)


class Priced(Struct, frozen=True):
    """The prices of an endpoint: its plain card, and its tariff where there is more to say."""

    prices: Prices | None = None
    tariff: Tariff | None = None

    def mapped(self, change: Callable[[Prices], Prices]) -> Priced:
        """Return the same with every card changed."""
        prices, tariff = self.prices, self.tariff
        if tariff is not None:
            plain = None if tariff.plain is None else _with_card(tariff.plain, change)
            rates = tuple(_with_card(rate, change) for rate in tariff.rates)
            tariff = replace(tariff, plain=plain, rates=rates)
        return Priced(None if prices is None else change(prices), tariff)


def _with_card(rate: Rate, change: Callable[[Prices], Prices]) -> Rate:
    return replace(rate, prices=change(rate.prices))


class Discount(Struct, frozen=True):
    """What a contract takes off listed prices. Units: percent."""

    percent: Decimal
    source: str | None = None

    def __call__(self, prices: Prices) -> Prices:
        """Return the prices less the discount, which their source then names."""
        note = f"less {self.percent.normalize():f} %" + ("" if self.source is None else f" ({self.source})")
        source = f"{prices.source}, {note}" if prices.source else note
        return replace(scaled(prices, 1 - self.percent / _HUNDRED), source=source)


def scaled(prices: Prices, factor: Decimal) -> Prices:
    """Return the prices times a factor, each rounded half up; what is not declared stays so."""
    amounts = {name: getattr(prices, name) for name in PRICE_FIELDS.values()}
    return replace(
        prices,
        **{name: rounded(amount * factor) for name, amount in amounts.items() if amount is not None},
    )


def rounded(amount: Decimal) -> int:
    """Return an amount rounded half up."""
    return int(amount.to_integral_value(ROUND_HALF_UP))


def labelled(rate: Rate) -> Rate:
    """Return the rate with a card that says when it applies."""
    return replace(rate, prices=replace(rate.prices, label=rate_words(rate)))
