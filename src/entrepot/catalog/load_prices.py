"""Reads what an endpoint costs: its plain card, the rates that replace it at times, a contract's discount.

Where the configuration gives no price, the host's list price stands in (`catalog.list_prices`); where there
is none either, the price is unknown, which is never the same as nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal

from msgspec import Struct
from msgspec.structs import replace

from entrepot.catalog.list_prices import NO_LIST, ListPrices
from entrepot.catalog.load_rates import exact_number, read_rate, read_validity
from entrepot.catalog.price_cards import PRICE_FIELDS, Discount, Priced, labelled, scaled
from entrepot.catalog.reading import Table
from entrepot.catalog.settings import HostSettings
from entrepot.domain.endpoint import Operation
from entrepot.domain.prices import Prices
from entrepot.domain.tariff import BillsBy, Rate, Tariff

_DATE = re.compile(r"\d{4}-\d{2}(-\d{2})?")
_STATED = (*PRICE_FIELDS, "price_source", "price_checked", "price_valid_from", "price_valid_until")
_BILLS_BY: Mapping[str, BillsBy] = {by.value: by for by in BillsBy}
_LARGEST_FACTOR = 1000
_PERCENT = 100


class PriceReader(Struct, frozen=True):
    """Reads the prices of one host's endpoints. `source` names the file, for prices that state no source."""

    host: HostSettings
    lists: ListPrices
    source: str
    discount: Discount | None

    def read(self, table: Table, upstream_model: str, operations: frozenset[Operation]) -> Priced:
        """Return the prices of an endpoint; problems are noted in the table's reading."""
        priced = self._stated(table, operations)
        if priced is None:
            priced = self._listed(upstream_model, operations)
        bills_by = table.choice("bills_by", _BILLS_BY, None)
        if bills_by is not None and priced.tariff is not None:
            priced = replace(priced, tariff=replace(priced.tariff, bills_by=_BILLS_BY[bills_by]))
        discount = read_discount(table, self.discount)
        return priced if discount is None else priced.mapped(discount)

    def _listed(self, upstream_model: str, operations: frozenset[Operation]) -> Priced:
        host = self.host
        if host.simulated or host.price_list == NO_LIST:
            return Priced()
        return self.lists.priced(host.base_url, host.price_list, upstream_model, operations) or Priced()

    def _stated(self, table: Table, operations: frozenset[Operation]) -> Priced | None:
        """Return the prices of the file, None when it states none."""
        amounts = _amounts(table)
        card = None
        if any(key in table for key in _STATED):
            card = _card(table, amounts, operations, "or leave all prices out")
        base = Prices(
            0, 0, source=table.text("price_source", self.source), checked=_day(table, "price_checked")
        )
        if card is not None:
            card = replace(card, source=base.source, checked=base.checked)
        plain = labelled(read_validity(table, card or base, "price_valid_from", "price_valid_until"))
        rates = tuple(self._rate(inner, card, plain, operations) for inner in table.tables("rates"))
        if card is None and not rates:
            return None
        has_end = plain.valid_from_ns is not None or plain.valid_until_ns is not None
        if not rates and not has_end:
            return Priced(card)
        tariff = Tariff(None if card is None else plain, rates)
        return Priced(None if card is None else plain.prices, tariff)

    @staticmethod
    def _rate(table: Table, card: Prices | None, plain: Rate, operations: frozenset[Operation]) -> Rate:
        """Return a rate; `card` are the plain prices, or None, `plain` says their source and validity."""
        factor, amounts = exact_number(table, "factor", _LARGEST_FACTOR), _amounts(table)
        stated = [key for key in PRICE_FIELDS if key in table]
        if "factor" in table:
            prices = _by_factor(table, factor, card) or plain.prices
            if stated:
                table.problem(stated[0], "is a price beside a factor; write one or the other")
        else:
            prices = _card(table, amounts, operations, 'or write factor = "0.5", of the plain prices')
        prices = replace(
            prices,
            source=table.text("source", plain.prices.source),
            checked=_day(table, "checked") or plain.prices.checked,
        )
        rate = labelled(read_rate(table, prices, plain))
        table.finish()
        return rate


def price_reader(table: Table, host: HostSettings, lists: ListPrices, source: str) -> PriceReader:
    """Return the reader of a host's prices; `table` is its `[[hosts]]`."""
    if host.price_list not in (None, NO_LIST):
        problem = lists.problem_of(str(host.price_list))
        if problem is not None:
            table.problem("price_list", problem)
            host = replace(host, price_list=NO_LIST)
    return PriceReader(host, lists, source, read_discount(table, None))


def read_discount(table: Table, default: Discount | None) -> Discount | None:
    """Return the discount that a host or an endpoint states, `default` if none."""
    source = table.text("discount_source", None if default is None else default.source)
    if "discount_percent" in table:
        percent = exact_number(table, "discount_percent", _PERCENT)
        return Discount(percent, source) if percent else None
    table.raw("discount_percent")
    if "discount_source" in table:
        table.require("discount_percent", 'the discount, such as "12.5", or leave discount_source out')
    return default


def _amounts(table: Table) -> dict[str, int | None]:
    return {field: table.usd_nusd(key, None) for key, field in PRICE_FIELDS.items()}


def _card(
    table: Table, amounts: Mapping[str, int | None], operations: frozenset[Operation], otherwise: str
) -> Prices:
    """Return the amounts as prices, without their source; a missing one of input or output is a mistake."""
    table.require("input_usd_per_mtok", f'the price of input, such as "0.55", {otherwise}')
    if operations != {Operation.EMBEDDING}:
        table.require("output_usd_per_mtok", f'the price of output, such as "2.19", {otherwise}')
    return Prices(
        input_nusd_per_mtok=amounts["input_nusd_per_mtok"] or 0,
        output_nusd_per_mtok=amounts["output_nusd_per_mtok"] or 0,
        cached_nusd_per_mtok=amounts["cached_nusd_per_mtok"],
        cache_write_nusd_per_mtok=amounts["cache_write_nusd_per_mtok"],
        request_nusd=amounts["request_nusd"] or 0,
        cache_write_1h_nusd_per_mtok=amounts["cache_write_1h_nusd_per_mtok"],
        reasoning_nusd_per_mtok=amounts["reasoning_nusd_per_mtok"],
    )


def _by_factor(table: Table, factor: Decimal | None, card: Prices | None) -> Prices | None:
    if card is None:
        table.problem("factor", "has no plain prices to multiply: write them into [[hosts.endpoints]]")
    return None if card is None or factor is None else scaled(card, factor)


def _day(table: Table, key: str) -> str:
    value = table.raw(key)
    if value is None:
        return ""
    if isinstance(value, date):
        return value.isoformat()[:10]
    if isinstance(value, str) and _DATE.fullmatch(value):
        return value
    table.problem(key, "expected a date, such as 2026-11-24")
    return ""
