"""What a virtual model picks of 22 measured models, beside $/M tokens. Run by `make bench-virtual-model`.

The routing sees every measured answer end, is told which were right, and then chooses among all models; the
table beside it is plain arithmetic on the same answers. Prints tables and writes build/virtual_model.json.
Prices and answers are of August 2025 (data/tokens/README.md), speeds are assumed to be equal.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from math import log
from pathlib import Path
from statistics import fmean, pstdev
from typing import NamedTuple

from measured_answers import (
    KINDS,
    Answer,
    Price,
    Sums,
    bare,
    ended_s,
    learned,
    measured_answers,
    measured_prices,
    request_for,
    sums_of,
    virtual_name,
)
from rich.console import Console
from rich.table import Table

from entrepot.domain.errors import Refusal
from entrepot.routing.choose import Router
from entrepot.routing.decision import Candidate

BUILD = Path(__file__).resolve().parent.parent / "build"
VALUES_USD_PER_HOUR = (0.0, 5.0)
FLOORS = (0.0, 0.88, 0.94)
"""Between the shares that occur (multiples of 1/40, 1/30, 1/95): a floor on one would turn on the order."""

ORDERS = 10
ALL = "all"

Figures = dict[str, object]


class Pick(NamedTuple):
    """Who would answer by $/M, by arithmetic and by the router. Units: USD per successful answer."""

    by_price: Sums
    least: Sums
    by_price_usd: float
    least_usd: float
    by_router: Counter[str]
    router_usd: float
    forecast_usd: float | None

    @property
    def dearer(self) -> float:
        """How many times as much the pick by $/M costs as the least."""
        return self.by_price_usd / self.least_usd


def first(router: Router, name: str, answers: int, usd_per_hour: float, kind: str = "") -> Candidate:
    """The router's pick after so many answers."""
    request = request_for(name, usd_per_hour=usd_per_hour, kind=kind)
    decision = router.decide(request, now_s=ended_s(answers), draw=0.5)
    if isinstance(decision, Refusal):
        raise SystemExit(f"the router refuses: {decision.message}")
    return decision.candidates[0]


def picks_of(answers: Sequence[Answer], sums: Sequence[Sums], routers: Sequence[Router]) -> list[Pick]:
    """The picks at each floor and value of time."""
    by_model = {one.model: one for one in sums}
    found = []
    for floor in FLOORS:
        above = [one for one in sums if one.success_share >= floor]
        by_price = min(above, key=lambda one: (one.usd_out, one.usd_in))
        for value in VALUES_USD_PER_HOUR:
            costs = {one.model: one.usd_per_success(value) for one in above}
            chosen = [first(router, virtual_name(floor), len(answers), value) for router in routers]
            names = [
                router.endpoints[one.endpoint_index].model
                for router, one in zip(routers, chosen, strict=True)
            ]
            least = min(costs, key=costs.__getitem__)
            right = [one.score for one, name in zip(chosen, names, strict=True) if name == least]
            found.append(
                Pick(
                    by_price,
                    by_model[least],
                    costs[by_price.model],
                    costs[least],
                    Counter(names),
                    fmean(by_model[name].usd_per_success(value) for name in names),
                    fmean(right) if right else None,
                )
            )
    return found


def models_table(sums: Sequence[Sums]) -> tuple[Table, Figures]:
    """Every model: what tokens, answers and successful answers cost, its rank by both."""
    columns = (
        "model",
        "$/M output",
        "tokens",
        "successful",
        "$/answer",
        "$/successful answer",
        "rank by $/M",
        "rank",
    )
    table = Table(*columns, title="all answers, the least cost of a successful one first")
    figures: Figures = {}
    by_price = sorted(one.usd_out for one in sums)
    for rank, one in enumerate(sums, 1):
        price_rank = by_price.index(one.usd_out) + 1
        cells = (f"{one.usd_out:.2f}", f"{one.tokens:,.0f}", f"{one.success_share:.1%}")
        costs = (f"{one.usd:.5f}", f"{one.usd_per_success():.5f}")
        table.add_row(bare(one.model), *cells, *costs, str(price_rank), str(rank))
        figures |= {
            f"{bare(one.model)} usd per successful answer": round(one.usd_per_success(), 6),
            f"{bare(one.model)} rank by usd per Mtok": price_rank,
            f"{bare(one.model)} rank": rank,
        }
    return table, figures


def misleading(sums: Sequence[Sums]) -> Figures:
    """Of all pairs with different prices, those whose cheaper token has the dearer successful answer."""
    pairs = [
        (cheap, dear)
        for one, other in combinations(sums, 2)
        if one.usd_out != other.usd_out
        for cheap, dear in [sorted((one, other), key=lambda at: at.usd_out)]
    ]
    turned = [pair for pair in pairs if pair[0].usd_per_success() > pair[1].usd_per_success()]
    cheap, dear = max(turned, key=lambda pair: pair[0].usd_per_success() / pair[1].usd_per_success())
    return {
        "pairs of models": len(pairs),
        "pairs in which USD/Mtok misleads": len(turned),
        "worst pair": ", ".join(f"{bare(one.model)} at {one.usd_out:g} USD/Mtok" for one in (cheap, dear)),
        "worst pair times": round(cheap.usd_per_success() / dear.usd_per_success(), 3),
    }


def picks_table(found: Mapping[str, Sequence[Pick]]) -> tuple[Table, Figures]:
    """The picks of each kind, floor and value of time; figures in USD per successful answer."""
    columns = ("answers", "floor", "USD/h", "by $/M", "$", "least", "$", "times", "router", "its $")
    table = Table(*columns, title="who answers; $ per successful answer, waiting included at USD/h")
    figures: Figures = {}
    cases = [(floor, value) for floor in FLOORS for value in VALUES_USD_PER_HOUR]
    for kind, picks in found.items():
        for (floor, value), pick in zip(cases, picks, strict=True):
            name = f"{kind} floor {floor:g} {value:g} USD/h"
            (chosen, times), orders = pick.by_router.most_common(1)[0], pick.by_router.total()
            table.add_row(
                kind,
                f"{floor:.0%}" if floor else "–",
                f"{value:g}",
                bare(pick.by_price.model),
                f"{pick.by_price_usd:.5f}",
                bare(pick.least.model),
                f"{pick.least_usd:.5f}",
                f"{pick.dearer:.2f}",
                f"{bare(chosen)} {times}/{orders}",
                f"{pick.router_usd:.5f}",
            )
            figures |= {
                f"{name} by usd per Mtok": bare(pick.by_price.model),
                f"{name} least": bare(pick.least.model),
                f"{name} by usd per Mtok over least": round(pick.dearer, 4),
                f"{name} router": bare(chosen),
                f"{name} router picks the least, share of orders": pick.by_router[pick.least.model] / orders,
                f"{name} router over least": round(pick.router_usd / pick.least_usd, 4),
            }
            if pick.forecast_usd is not None:
                over = round(pick.forecast_usd / pick.least_usd, 4)
                figures[f"{name} router forecast of the least over arithmetic"] = over
        table.add_section()
    return table, figures


def forecasts(sums: Sequence[Sums], routers: Sequence[Router], answers: int) -> Figures:
    """How far the router's tokens per answer lie from the plain mean, over models and orders."""
    tokens = {one.model: one.tokens for one in sums}
    ratios: dict[str, list[float]] = {}
    for router in routers:
        decision = router.decide(request_for(virtual_name(0.0)), now_s=ended_s(answers), draw=0.5)
        assert not isinstance(decision, Refusal)
        for at in decision.candidates:
            model = router.endpoints[at.endpoint_index].model
            ratios.setdefault(model, []).append(at.output_tokens / tokens[model])
    return {
        "forecast tokens over mean": round(fmean(map(fmean, ratios.values())), 4),
        "forecast tokens, deviation by order": round(
            fmean(pstdev(map(log, of)) for of in ratios.values()), 4
        ),
    }


def mixed_table(answers: Sequence[Answer], prices: Mapping[str, Price], routers: Sequence[Router]) -> Figures:
    """One gateway for all kinds: tags tell lengths of answers apart, successes are known of all together."""
    title = "one gateway for all kinds, told apart by tags: cost of its pick, over the least of the kind"
    table = Table("tag", "USD/h", "router", "over the least", title=title)
    figures: Figures = {}
    for kind in KINDS:
        sums = {one.model: one for one in sums_of((a for a in answers if a.kind == kind), prices)}
        for value in VALUES_USD_PER_HOUR:
            chosen = [
                router.endpoints[first(router, virtual_name(0.0), len(answers), value, kind).endpoint_index]
                for router in routers
            ]
            least = min(one.usd_per_success(value) for one in sums.values())
            over = fmean(sums[one.model].usd_per_success(value) / least for one in chosen)
            name, times = Counter(one.model for one in chosen).most_common(1)[0]
            table.add_row(kind, f"{value:g}", f"{bare(name)} {times}/{len(chosen)}", f"{over:.3f}")
            figures |= {
                f"tag {kind} {value:g} USD/h router": bare(name),
                f"tag {kind} {value:g} USD/h router over least": round(over, 4),
            }
    show(table)
    return figures


def show(table: Table) -> None:
    """Prints a table, whole where it goes to a file."""
    Console(width=None if sys.stdout.isatty() else 190).print(table)


def main() -> int:
    """Prints the tables and writes their figures down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=ORDERS, help="random orders in which the answers end")
    args = parser.parse_args()
    prices = measured_prices()
    answers = measured_answers(prices)
    sums = sums_of(answers, prices)
    table, figures = models_table(sums)
    show(table)
    figures = {"what": f"{len(answers)} measured answers of {len(sums)} models, prices of Aug 2025"} | figures
    figures |= misleading(sums)
    found: dict[str, list[Pick]] = {}
    mixed: list[Router] = []
    for kind in (ALL, *KINDS):
        of = [answer for answer in answers if kind in (ALL, answer.kind)]
        routers = [learned(of, prices, seed=seed, floors=FLOORS) for seed in range(args.orders)]
        of_kind = sums_of(of, prices)
        found[kind] = picks_of(of, of_kind, routers)
        figures |= {f"{kind} {key}": value for key, value in forecasts(of_kind, routers, len(of)).items()}
        mixed = mixed or routers
    table, picked = picks_table(found)
    show(table)
    figures |= picked | mixed_table(answers, prices, mixed)
    turned, pairs = figures["pairs in which USD/Mtok misleads"], figures["pairs of models"]
    print(f"the cheaper token gives the dearer successful answer in {turned} of {pairs} pairs; at most:")
    print(f"{figures['worst pair times']} times ({figures['worst pair']})")
    BUILD.mkdir(exist_ok=True)
    (BUILD / "virtual_model.json").write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
