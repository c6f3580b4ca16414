"""What a sweep of the planner costs. Run by `make bench-planner`; prints and writes build/planner.json.

Ten thousand operating points in closed form, on one core: latencies, the split of the bill, the Pareto
front in TTFT, interactivity, context and price. Of several rounds the best: other processes only add time.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np

from entrepot.tokenomics.choice import PointLimits, limit_costs
from entrepot.tokenomics.frontier import Grid, Loads, Times, points_of
from entrepot.tokenomics.load import RequestClass

BUILD = Path(__file__).resolve().parent.parent / "build"
OFFERS, BATCHES = 20, 50
CONTEXTS = (1024, 2048, 4096, 8192, 16384)
REPLICAS = (1, 2)
ROUNDS, QUICK_ROUNDS = 5, 2
TARGET_S = 2.0

Figures = dict[str, object]


@dataclass(frozen=True)
class PlainOffer:
    """A deployment whose step is a sum of a constant, sequences, KV and prompts."""

    name: str
    usd_per_hour: float
    speed: float
    gpus: int = 8
    refusal: str | None = None

    def times(self, loads: Loads) -> Times:
        """Latencies of all its points."""
        output, prompt = loads.output_tokens, loads.uncached_tokens + loads.cached_tokens
        prefill_s = loads.uncached_tokens * 5e-5 / self.speed
        kv_s = output * (prompt + output / 2) * 5e-8 / self.speed
        step_s = (0.01 + loads.batch * 5e-5) / self.speed + loads.batch * kv_s / output
        tpot_s = step_s + loads.batch * prefill_s / output
        ttft_s = prefill_s + step_s
        fits = np.asarray(loads.batch * (prompt + output) <= 2e6)
        nothing = np.zeros_like(ttft_s)
        return Times(ttft_s, tpot_s, ttft_s * 1.2, tpot_s * 1.2, prefill_s, nothing, kv_s, fits)


def grid() -> Grid:
    """20 deployments × 50 batches × 5 contexts × 2 numbers of replicas: 10,000 points."""
    speeds = np.geomspace(0.5, 4.0, OFFERS)
    return Grid(
        offers=tuple(
            PlainOffer(f"deployment {at}", 12.0 * float(speed) ** 0.8, float(speed))
            for at, speed in enumerate(speeds)
        ),
        batches=tuple(float(batch) for batch in np.geomspace(1, 512, BATCHES)),
        requests=tuple(RequestClass(tokens, 512) for tokens in CONTEXTS),
        replicas=REPLICAS,
    )


def measure(rounds: int) -> Figures:
    """Seconds of each step of a sweep, the best of some rounds."""
    of = grid()
    best: dict[str, float] = {}
    on_front = 0
    for _ in range(rounds):
        times = [perf_counter()]
        points = points_of(of)
        times.append(perf_counter())
        on_front = int(points.front().sum())
        times.append(perf_counter())
        limit_costs(points, PointLimits(ttft_s=1.0, tokens_per_s=40.0, context_tokens=4096))
        times.append(perf_counter())
        names = ("points s", "pareto s", "slo costs s")
        found = dict(zip(names, np.diff(times), strict=True)) | {"all s": times[-1] - times[0]}
        best = {name: min(best.get(name, float("inf")), float(value)) for name, value in found.items()}
    return {
        "points": of.size,
        "on the front": on_front,
        **{name: round(value, 4) for name, value in best.items()},
        "target s": TARGET_S,
        "reached": best["all s"] <= TARGET_S,
    }


def main() -> None:
    """Measures, prints and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROUNDS} rounds instead of {ROUNDS}")
    figures = measure(QUICK_ROUNDS if parser.parse_args().quick else ROUNDS)
    for name, value in figures.items():
        print(f"{name:14} {value}")
    BUILD.mkdir(exist_ok=True)
    (BUILD / "planner.json").write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
