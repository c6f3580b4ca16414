"""`entrepot catalog`: what a configuration and the lists beside it say, and where they have it from."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

import typer

from entrepot.catalog.list_prices import INSTALL, PACKAGE, Listed, ListPrices
from entrepot.catalog.load import load_settings
from entrepot.catalog.price_cards import Priced
from entrepot.catalog.price_words import ALWAYS, instant_words
from entrepot.catalog.settings import EndpointSettings
from entrepot.catalog.show_prices import rate_json
from entrepot.cli.options import AsJson
from entrepot.cli.tables import NOTHING, echo_wrapped, print_columns
from entrepot.domain.money import usd_text
from entrepot.domain.prices import Prices
from entrepot.domain.tariff import Rate, Tariff
from entrepot.routing.refuse import how_to_price

app = typer.Typer(help="Look at prices, and at where each comes from.", no_args_is_help=True)

Json = dict[str, object]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@app.callback()
def group() -> None:
    """Look at prices, and at where each comes from."""


@app.command()
def prices(
    model: Annotated[str, typer.Argument(help="The model, as clients write it: developer/name.")],
    config: Annotated[Path, typer.Option("--config", help="The configuration file.")] = Path("entrepot.toml"),
    at: Annotated[
        str | None, typer.Option("--at", metavar="INSTANT", help="What applies then: 2026-08-24T02:00Z.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show all prices of a model: at its endpoints, and what genai-prices lists at any provider.

    USD per million tokens. Every card with its source, the day of its check, and when it applies.
    """
    at_ns = time.time_ns() if at is None else _instant_ns(at)
    settings = load_settings(config, os.environ, reads_secrets=False)
    entries = [entry for entry in settings.endpoints if entry.endpoint.model == model]
    lists = ListPrices()
    names = dict.fromkeys((*(entry.upstream_model for entry in entries), model, model.rpartition("/")[2]))
    listed = list(lists.of_all_providers(tuple(names)))
    if not entries and not listed:
        _unknown(model, sorted({entry.endpoint.model for entry in settings.endpoints}))
    if as_json:
        typer.echo(json.dumps(_as_json(model, at_ns, entries, listed, lists), indent=2))
        return
    for entry in entries:
        _print_endpoint(entry, at_ns)
    _print_listed(listed, lists, at_ns)


def _unknown(model: str, known: Sequence[str]) -> None:
    near = get_close_matches(model, known, n=3, cutoff=0.4) or list(known[:3])
    hint = f"; nearest: {', '.join(near)}" if near else ""
    typer.echo(f"no model {model!r} in the configuration or the lists{hint}", err=True)
    raise typer.Exit(1)


def _instant_ns(text: str) -> int:
    """Return an instant of ISO 8601 as Unix nanoseconds; without an offset it is in UTC."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not an instant such as 2026-08-24T02:00Z") from None
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return (at - _EPOCH) // timedelta(microseconds=1) * 1000


def rates_of(priced: Priced) -> tuple[Rate, ...]:
    """Return every rate in the order in which they are asked; a plain card without a tariff is one."""
    if priced.tariff is not None:
        return priced.tariff.all_rates
    return () if priced.prices is None else (Rate(priced.prices),)


def _applying(rates: Iterable[Rate], at_ns: int) -> set[Rate]:
    """Return the rates that some length of prompt has at the instant."""
    asked = Tariff(None, tuple(rates))
    lengths = (0, *(rate.above_prompt_tokens + 1 for rate in asked.rates if rate.above_prompt_tokens))
    first = (next((rate for rate in asked.rates if rate.applies(at_ns, length)), None) for length in lengths)
    return {rate for rate in first if rate is not None}


# -- as text


def _print_endpoint(entry: EndpointSettings, at_ns: int) -> None:
    endpoint = entry.endpoint
    typer.echo(f"{endpoint.name}, USD per million tokens at {instant_words(at_ns)}")
    rates = rates_of(Priced(endpoint.prices, endpoint.tariff))
    if not rates:
        echo_wrapped(f"unknown: keys with a budget cannot use it. {how_to_price(endpoint)}", indent=2)
        typer.echo()
        return
    sources = list(dict.fromkeys(_source(rate.prices) for rate in rates))
    marks = _applying(rates, at_ns)
    columns = {
        "when": [rate.prices.label or ALWAYS for rate in rates],
        "applies": ["now" if rate in marks else "" for rate in rates],
        **_amount_columns([rate.prices for rate in rates]),
        "source": [str(sources.index(_source(rate.prices)) + 1) for rate in rates],
    }
    print_columns(columns, left=("when", "applies"), optional=("reasoning", "write 1h", "request"))
    if not marks:
        echo_wrapped("No price is valid at this instant: keys with a budget cannot use it.", indent=2)
    if endpoint.tariff is not None and len(rates) > 1:
        echo_wrapped(
            f"The first that applies at the instant a request is {_by(endpoint.tariff)} counts.", indent=2
        )
    for number, source in enumerate(sources, start=1):
        echo_wrapped(f"source {number}: {source}", indent=2, hanging=2)
    typer.echo()


def _by(tariff: Tariff) -> str:
    return tariff.bills_by.value


def _amount_columns(cards: Sequence[Prices]) -> dict[str, list[str]]:
    """Return the prices in columns; those that no card declares are left out."""
    amounts: dict[str, list[int | None]] = {
        "input": [card.input_nusd_per_mtok for card in cards],
        "cached": [card.cached_nusd_per_mtok for card in cards],
        "write": [card.cache_write_nusd_per_mtok for card in cards],
        "write 1h": [card.cache_write_1h_nusd_per_mtok for card in cards],
        "output": [card.output_nusd_per_mtok for card in cards],
        "reasoning": [card.reasoning_nusd_per_mtok for card in cards],
        "request": [card.request_nusd or None for card in cards],
    }
    return {
        name: [NOTHING if nusd is None else usd_text(nusd) for nusd in column]
        for name, column in amounts.items()
        if any(nusd is not None for nusd in column)
    }


def _source(prices: Prices) -> str:
    checked = f"checked {prices.checked}" if prices.checked else "day of check not stated"
    return f"{prices.source or 'not stated'}, {checked}"


def _print_listed(listed: Sequence[Listed], lists: ListPrices, at_ns: int) -> None:
    if not lists.is_installed:
        typer.echo(f"list prices need the package {PACKAGE}: {INSTALL}", err=True)
        return
    rows = [(one, rate) for one in listed for rate in rates_of(one.priced)]
    marks = {rate for one in listed for rate in _applying(rates_of(one.priced), at_ns)}
    if not rows:
        typer.echo(f"not listed by {lists.name}")
    else:
        typer.echo(f"listed by {lists.name}, which states no days of checks")
        columns = {
            "provider/model": [f"{one.provider}/{one.model}" for one, _ in rows],
            "when": [rate.prices.label or ALWAYS for _, rate in rows],
            "applies": ["now" if rate in marks else "" for _, rate in rows],
            **_amount_columns([rate.prices for _, rate in rows]),
        }
        print_columns(columns, left=("provider/model", "when", "applies"), optional=("write 1h", "request"))


# -- as JSON


def _as_json(
    model: str, at_ns: int, entries: Sequence[EndpointSettings], listed: Sequence[Listed], lists: ListPrices
) -> Json:
    endpoints = [
        {
            "name": entry.endpoint.name,
            "upstream_model": entry.upstream_model,
            "bills_by": None if entry.endpoint.tariff is None else _by(entry.endpoint.tariff),
            "rates": _rates_json(Priced(entry.endpoint.prices, entry.endpoint.tariff), at_ns),
        }
        for entry in entries
    ]
    return {
        "model": model,
        "at": instant_words(at_ns),
        "endpoints": endpoints,
        "list": {"package": lists.name} if lists.is_installed else {"package": None, "install": INSTALL},
        "listed": [
            {"provider": one.provider, "model": one.model, "rates": _rates_json(one.priced, at_ns)}
            for one in listed
        ],
    }


def _rates_json(priced: Priced, at_ns: int) -> list[Json]:
    rates = rates_of(priced)
    marks = _applying(rates, at_ns)
    return [
        {"when": rate.prices.label or ALWAYS, "applies": rate in marks, **rate_json(rate)} for rate in rates
    ]
