"""A ledger whose monthly shares are known: those that DeepSeek's own platform had of its model in 2025."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from entrepot.catalog.data_files import data_path
from entrepot.domain.endpoint import Endpoint
from entrepot.domain.ids import RequestIds
from entrepot.domain.outcome import Outcome
from entrepot.domain.prices import Prices
from entrepot.domain.usage import Usage
from entrepot.ledger.entries import Reserve, Settle
from entrepot.ledger.ledger import EndpointRef, Ledger
from tests.ledger.traffic import write

MODEL = "deepseek/deepseek-r1"
_OTHER_MODEL = "deepseek/deepseek-v3"
_STEP_NS = 7_200 * 10**9  # 300 requests in 25 days
OTHERS = {"azure": "US", "lambda": "US", "nebius": "NL", "together": "US"}
_TURNS = ("azure", "lambda", "azure", "nebius", "lambda", "together")
_OWN = "own-platform share of DeepSeek models' tokens"
_PRICES = Prices(550_000_000, 2_190_000_000, source="test", checked="2025-05-31")


def own_shares() -> dict[str, Decimal]:
    """Return the published share of the own platform by month, in percent: 84, 42, 16."""
    with data_path("market/market_2025.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["what"] == _OWN]
    return {row["when"]: Decimal(row["value"]) for row in sorted(rows, key=lambda row: row["when"])}


def write_shares(data_dir: Path, *, requests_per_percent: int = 3) -> dict[str, int]:
    """Write requests of three months into a new ledger, and return the tokens of each month.

    Each percent of a month's tokens is so many requests of equal size; the other hosts take turns. A request
    of another model in each month belongs into no share of this one.
    """
    hosts = {"deepseek": "CN", **OTHERS}
    months = own_shares()
    ids, totals = RequestIds(7), dict.fromkeys(months, 0)
    ledger = Ledger.open(data_dir, _month_ns(next(iter(months))))
    try:
        refs = {
            host: ledger.register(
                Endpoint(f"r1@{host}", MODEL, host, _PRICES, 64_000, owner_country=country, simulated=True)
            )
            for host, country in hosts.items()
        }
        other = ledger.register(Endpoint("v3@azure", _OTHER_MODEL, "azure", _PRICES, 64_000, simulated=True))
        for number, (month, own) in enumerate(months.items(), start=1):
            tokens, at_ns = 700 * number**2, _month_ns(month)
            _write_request(ledger, ids.next(at_ns), at_ns, other, tokens)
            for percent in range(100):
                host = "deepseek" if percent < own else _TURNS[percent % len(_TURNS)]
                for _ in range(requests_per_percent):
                    _write_request(ledger, ids.next(at_ns), at_ns, refs[host], tokens)
                    at_ns += _STEP_NS
                    totals[month] += tokens
    finally:
        ledger.close()
    return totals


def _write_request(ledger: Ledger, request: bytes, at_ns: int, ref: EndpointRef, tokens: int) -> None:
    ids = (1, ref.endpoint_id, ref.price_version)
    usage = Usage(tokens - 100, 0, 0, 100)
    write(ledger, Reserve(request, 1, at_ns, *ids, 10**9))
    write(ledger, Settle(request, 1, at_ns + 1, *ids, Outcome.OK, 200, usage, _PRICES.bill(usage)))


def _month_ns(month: str) -> int:
    return int(datetime.fromisoformat(f"{month}-01").replace(tzinfo=UTC).timestamp()) * 10**9
