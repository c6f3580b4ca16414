"""Makes a ledger of ten days and a host's invoice for them with five planted differences.

To see `entrepot ledger reconcile` at work without a host that errs; the tests ask that it finds exactly
these five. Both are made from one list of attempts, and each planted difference says what it adds.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from entrepot.domain.endpoint import Endpoint
from entrepot.domain.ids import RequestIds
from entrepot.domain.money import line_nusd
from entrepot.domain.outcome import Outcome
from entrepot.domain.prices import Prices
from entrepot.domain.usage import Usage
from entrepot.ledger.entries import Reserve, Settle
from entrepot.ledger.ledger import EndpointRef, Ledger

HOST, MODEL, THEIR_MODEL = "deepseek", "deepseek/deepseek-r1", "deepseek-reasoner"
DAYS, ATTEMPTS_A_DAY = 10, 48
START_NS = int(datetime(2025, 11, 1, tzinfo=UTC).timestamp()) * 10**9
HALF_HOUR_NS = 1_800 * 10**9
STANDARD = Prices(
    550_000_000, 2_190_000_000, 140_000_000, source="list", checked="2025-11-01", label="standard"
)
OFF_PEAK = Prices(
    135_000_000, 550_000_000, 35_000_000, source="list", checked="2025-11-01", label="16:30 to 00:30 UTC"
)
OFF_PEAK_FROM_SLOT = 33  # 16:30
MONTHLY_FEE_USD = Decimal("20.00")
COLUMNS = (
    "date",
    "model",
    "requests",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "cost_usd",
    "description",
)


class Made(NamedTuple):
    """One attempt: its day, half hour, whether it retried another, what it used, and at which price."""

    day: int
    slot: int
    retry: bool
    usage: Usage
    prices: Prices

    @property
    def cost_nusd(self) -> int:
        """What it costs."""
        return self.prices.bill(self.usage).total_nusd


def attempts() -> Iterator[Made]:
    """Every attempt, one each half hour; each eighth is the second of its request."""
    for day in range(DAYS):
        for slot in range(ATTEMPTS_A_DAY):
            number = day * ATTEMPTS_A_DAY + slot
            usage = Usage(1_000 + 37 * (number % 29), 640 * (number % 3), 0, 300 + 11 * (number % 53))
            prices = STANDARD if slot < OFF_PEAK_FROM_SLOT else OFF_PEAK
            yield Made(day, slot, number % 8 == 7, usage, prices)


def write_ledger(data_dir: Path) -> None:
    """Write all attempts into a new ledger."""
    ids = RequestIds(1)
    ledger = Ledger.open(data_dir, START_NS)
    try:
        refs = {
            prices.label: ledger.register(
                Endpoint(f"r1@{HOST}", MODEL, HOST, prices, 64_000, owner_country="CN")
            )
            for prices in (STANDARD, OFF_PEAK)
        }
        for made in attempts():
            _write(ledger, ids, made, refs[made.prices.label])
    finally:
        ledger.close()


def _write(ledger: Ledger, ids: RequestIds, made: Made, ref: EndpointRef) -> None:
    at_ns = START_NS + (made.day * ATTEMPTS_A_DAY + made.slot) * HALF_HOUR_NS
    who = (ids.next(at_ns), 2 if made.retry else 1, at_ns, 1, ref.endpoint_id, ref.price_version)
    for conflict in (
        ledger.reserve(Reserve(*who, 10 * made.cost_nusd)),
        ledger.settle(Settle(*who, Outcome.OK, 200, made.usage, made.prices.bill(made.usage))),
    ):
        if conflict is not None:
            raise ValueError(f"the ledger has {conflict}: take a new directory")


def planted() -> dict[str, int]:
    """What each planted difference adds to the invoice, in nano-dollars, by its cause."""
    by_day = [[made for made in attempts() if made.day == day] for day in range(DAYS)]
    return {
        "cached tokens charged in full": sum(
            line_nusd(made.usage.cached_tokens, made.prices.input_nusd_per_mtok)
            - line_nusd(made.usage.cached_tokens, made.prices.cached_or_input_nusd_per_mtok)
            for made in by_day[1]
        ),
        "another price": sum(STANDARD.bill(made.usage).total_nusd - made.cost_nusd for made in by_day[3]),
        "retries billed twice": sum(made.cost_nusd for made in by_day[5] if made.retry),
        "not in the ledger": 3 * STANDARD.bill(ELSEWHERE).total_nusd,
        "fee": int(MONTHLY_FEE_USD * 10**9),
    }


ELSEWHERE = Usage(2_000, 0, 0, 500)  # each of three attempts with the host's key that went around the gateway


def write_invoice(path: Path) -> None:
    """Write the invoice: a line for each day, and one for the fee."""
    more = planted()
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for day in range(DAYS):
            writer.writerow(_day_row(day, [made for made in attempts() if made.day == day], more))
        writer.writerow(("", "", "", "", "", "", f"{MONTHLY_FEE_USD}", "Priority support, November"))


def _day_row(day: int, made: list[Made], more: dict[str, int]) -> tuple[object, ...]:
    counted = list(made)
    cost_nusd = sum(one.cost_nusd for one in made)
    if day == 1:
        cost_nusd += more["cached tokens charged in full"]
    elif day == 3:
        cost_nusd += more["another price"]
    elif day == 5:
        counted += [one for one in made if one.retry]
        cost_nusd += more["retries billed twice"]
    elif day == 7:
        counted += [Made(day, 0, False, ELSEWHERE, STANDARD)] * 3
        cost_nusd += more["not in the ledger"]
    return (
        f"2025-11-{day + 1:02}",
        THEIR_MODEL,
        len(counted),
        sum(one.usage.prompt_tokens for one in counted),
        sum(one.usage.cached_tokens for one in counted),
        sum(one.usage.output_tokens for one in counted),
        f"{Decimal(cost_nusd).scaleb(-9):f}",
        "",
    )


def main() -> int:
    """Write both into the directory that is named; 2 without one."""
    if len(sys.argv) != 2:
        print("usage: python scripts/made_invoice.py NEW_DIRECTORY", file=sys.stderr)
        return 2
    directory = Path(sys.argv[1])
    write_ledger(directory)
    write_invoice(directory / "invoice.csv")
    print(directory / "invoice.csv")
    return 0


if __name__ == "__main__":
    sys.exit(main())
