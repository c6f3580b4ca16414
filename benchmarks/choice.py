"""What a choice costs. Run by `make bench-choice`; prints a table and writes build/choice.json.

One router per number of endpoints, each with knowledge of a few thousand attempts; the same requests in
turns, and of several rounds the best: other processes only ever add time. What is measured is the CPU time of
`Router.decide`, with and without a limit on the answer time, of `Knowledge.observe`, and of as many
observations that were kept back and are taken in together, as the gateway does.
"""

import argparse
import gc
import json
import random
from pathlib import Path
from time import process_time

from rich.console import Console
from rich.table import Table

from entrepot.domain.endpoint import Endpoint, Model, Operation
from entrepot.domain.estimate import Basis, Estimate
from entrepot.domain.outcome import Outcome
from entrepot.domain.prices import Prices
from entrepot.domain.request import Request, Slo
from entrepot.routing.choose import Router
from entrepot.routing.decision import Decision
from entrepot.routing.kpi.knowledge import Knowledge
from entrepot.routing.kpi.observation import Observation
from entrepot.routing.settings import RoutingSettings

BUILD = Path(__file__).resolve().parent.parent / "build"
MODEL = "developer/model"
COUNTS = (5, 20, 100, 500)
OBSERVATIONS_EACH = 60
ROUNDS, REQUESTS = 15, 40  # per round and number of endpoints; fewer requests where there are many endpoints
QUICK_ROUNDS = 5
SECONDS_PER_OBSERVATION = 0.01
KINDS = {  # limits on the answer time: none, one that all keep, one that most miss
    "choice": Slo(),
    "choice with a limit": Slo(answer_s=600.0, probability=0.5),
    "choice with a limit that most miss": Slo(answer_s=30.0, probability=0.9, serves_nearest=True),
}
OBSERVING = {"observation": False, "observations together": True}
TARGET_20_US = 60.0
LINEAR_WITHIN = 1.25  # of the cost of one more endpoint between 20 and 100, that between 100 and 500

Figures = dict[str, object]


def fleet(count: int, rng: random.Random) -> tuple[Endpoint, ...]:
    """Hosts of one model, no two alike."""
    return tuple(
        Endpoint(
            name=f"{MODEL}@host-{number}",
            model=MODEL,
            host=f"host-{number}",
            prices=Prices(rng.randrange(10**8, 10**9), rng.randrange(10**9, 4 * 10**9), 10**8),
            context_tokens=131_072,
            declared_ttft_s=Estimate(rng.uniform(0.3, 3.0), Basis.DECLARED),
            declared_tokens_per_s=Estimate(rng.uniform(30.0, 120.0), Basis.DECLARED),
        )
        for number in range(count)
    )


def seen(index: int, at_s: float, rng: random.Random) -> Observation:
    """An attempt as a streaming host answers it; one in fifty fails."""
    if rng.random() < 0.02:
        return Observation(index, at_s, Outcome.FAILED, 1.0, in_flight=rng.randrange(4))
    prompt_tokens, tokens = rng.randrange(200, 8000), rng.randrange(50, 1500)
    ttft_s, tpot_s = rng.uniform(0.3, 3.0), rng.uniform(0.008, 0.03)
    return Observation(
        index,
        at_s,
        Outcome.OK,
        ttft_s + tokens * tpot_s,
        ttft_s=ttft_s,
        tpot_s=tpot_s,
        prompt_bytes=4 * prompt_tokens,
        prompt_tokens=prompt_tokens,
        output_tokens=tokens,
        wire_bytes=200 * tokens,
        in_flight=rng.randrange(4),
        key_id=rng.randrange(1, 20),
    )


class Subject:
    """A router with knowledge, and what it is asked."""

    def __init__(self, count: int, seed: int = 1) -> None:
        """Makes the endpoints and observes each of them."""
        self._rng = random.Random(seed)
        self.count = count
        self.endpoints = fleet(count, self._rng)
        models, settings = {MODEL: Model(MODEL)}, RoutingSettings()
        self.knowledge = Knowledge(self.endpoints, models, settings)
        self.router = Router(self.endpoints, models, settings, self.knowledge)
        self.now_s = 0.0
        self.observed(OBSERVATIONS_EACH * count)

    def observed(self, count: int, *, together: bool = False) -> float:
        """Takes in so many attempts, one at a time or all together; the seconds that it took."""
        rows = []
        for _ in range(count):
            self.now_s += SECONDS_PER_OBSERVATION
            rows.append(seen(self._rng.randrange(self.count), self.now_s, self._rng))
        observe = self.knowledge.keep if together else self.knowledge.observe
        start = process_time()
        for row in rows:
            observe(row)
        self.knowledge.take_in()
        return process_time() - start

    def decided(self, count: int, slo: Slo) -> float:
        """Chooses for so many requests, no two alike; the seconds that it took."""
        requests = [
            Request(
                Operation.CHAT,
                (MODEL,),
                self._rng.randrange(400, 30_000),
                max_output_tokens=2000,
                slo=slo,
                key_id=self._rng.randrange(1, 20),
            )
            for _ in range(count)
        ]
        decide, now_s, draws = self.router.decide, self.now_s, [self._rng.random() for _ in requests]
        first = decide(requests[0], now_s=now_s, draw=0.5)  # what is due by time is refreshed before
        if not isinstance(first, Decision):
            raise RuntimeError(f"the benchmark's requests should be served, not {first}")
        start = process_time()
        for request, draw in zip(requests, draws, strict=True):
            decide(request, now_s=now_s, draw=draw)
        return process_time() - start


def measure(rounds: int) -> Figures:
    """Every figure, the numbers of endpoints in turns within each round."""
    subjects = [Subject(count) for count in COUNTS]
    best: dict[str, float] = {}
    gc.collect()
    gc.disable()
    for _ in range(rounds):
        for subject in subjects:
            asked = max(5, REQUESTS * COUNTS[0] // subject.count)
            found = {name: subject.decided(asked, slo) / asked for name, slo in KINDS.items()}
            for name, together in OBSERVING.items():
                found[name] = subject.observed(REQUESTS, together=together) / REQUESTS
            for name, seconds in found.items():
                key = f"{name} us at {subject.count}"
                best[key] = min(best.get(key, float("inf")), seconds * 1e6)
    gc.enable()
    figures: Figures = {key: round(value, 2) for key, value in sorted(best.items())}
    for name in KINDS:
        few, many = (
            (best[f"{name} us at {high}"] - best[f"{name} us at {low}"]) / (high - low)
            for low, high in ((20, 100), (100, 500))
        )
        figures[f"{name} us per endpoint 20 to 100"] = round(few, 3)
        figures[f"{name} us per endpoint 100 to 500"] = round(many, 3)
        figures[f"{name} linear"] = many <= LINEAR_WITHIN * few
    figures["choice target"] = f"{TARGET_20_US:g} us at 20"
    figures["choice reached"] = best["choice us at 20"] <= TARGET_20_US
    return figures


def show(figures: Figures) -> None:
    """One row per number of endpoints."""
    names = (*KINDS, *OBSERVING)
    table = Table("endpoints", *names, title="µs of CPU, best round")
    for count in COUNTS:
        table.add_row(str(count), *(f"{figures[f'{name} us at {count}']:.1f}" for name in names))
    Console().print(table)
    for name in KINDS:
        few, many = (figures[f"{name} us per endpoint {span}"] for span in ("20 to 100", "100 to 500"))
        word = "linear" if figures[f"{name} linear"] else "NOT linear"
        print(f"{name}: {few} µs for each endpoint from 20 to 100, {many} µs from 100 to 500: {word}")
    reached = "reached" if figures["choice reached"] else "NOT reached"
    print(f"target {figures['choice target']}: {reached}")


def main() -> None:
    """Measures, prints and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROUNDS} rounds instead of {ROUNDS}")
    figures = measure(QUICK_ROUNDS if parser.parse_args().quick else ROUNDS)
    show(figures)
    BUILD.mkdir(exist_ok=True)
    (BUILD / "choice.json").write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
