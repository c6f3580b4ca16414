"""Prices and rates under the keys of the file: absolute and net, whatever factor or discount made them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from entrepot.catalog.price_cards import PRICE_FIELDS
from entrepot.catalog.price_words import WEEKDAYS, clock_text
from entrepot.domain.endpoint import Endpoint
from entrepot.domain.money import usd_text
from entrepot.domain.prices import Prices
from entrepot.domain.tariff import BillsBy, Rate

Fields = dict[str, object]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def price_fields(endpoint: Endpoint) -> Fields:
    """Return what the endpoint's own table says of prices: the plain card and its validity."""
    prices, tariff = endpoint.prices, endpoint.tariff
    fields: Fields = {}
    if prices is not None:
        fields |= _amounts(prices)
        fields |= {"price_source": prices.source or None, "price_checked": prices.checked or None}
    if tariff is None:
        return fields
    if tariff.plain is not None:
        fields["price_valid_from"] = _instant(tariff.plain.valid_from_ns)
        fields["price_valid_until"] = _instant(tariff.plain.valid_until_ns)
    return fields | {"bills_by": tariff.bills_by if tariff.bills_by is not BillsBy.SENT else None}


def rate_tables(endpoint: Endpoint) -> list[Fields]:
    """Return the tables of the endpoint's rates, in the order in which they are asked."""
    return [] if endpoint.tariff is None else [rate_fields(rate) for rate in endpoint.tariff.rates]


def rate_fields(rate: Rate) -> Fields:
    """Return one rate under its keys: its prices, and when it applies."""
    band = rate.band
    return _amounts(rate.prices) | {
        "from": _instant(rate.valid_from_ns),
        "until": _instant(rate.valid_until_ns),
        "daily": None if band is None else f"{clock_text(band.from_minute)}-{clock_text(band.until_minute)}",
        "weekdays": None if band is None else [WEEKDAYS[day] for day in sorted(band.weekdays)] or None,
        "zone": None if band is None else str(band.zone),
        "above_prompt_tokens": rate.above_prompt_tokens or None,
        "source": rate.prices.source or None,
        "checked": rate.prices.checked or None,
    }


def rate_json(rate: Rate) -> Fields:
    """Return one rate under the same keys as JSON, with null for what it does not state."""
    return {
        key: instant_text(value) if isinstance(value, datetime) else value
        for key, value in rate_fields(rate).items()
    }


def instant_text(at: date) -> str:
    """Return a day or an instant as TOML and JSON have it, with Z for UTC."""
    return at.isoformat().replace("+00:00", "Z")


def _amounts(prices: Prices) -> Fields:
    amounts = {key: getattr(prices, field) for key, field in PRICE_FIELDS.items()}
    amounts["request_usd"] = prices.request_nusd or None
    return {key: usd_text(nusd) for key, nusd in amounts.items() if nusd is not None}


def _instant(at_ns: int | None) -> datetime | None:
    return None if at_ns is None else _EPOCH + timedelta(microseconds=at_ns // 1000)
