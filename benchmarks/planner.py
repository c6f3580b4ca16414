"""What a sweep of the planner costs. Run by `make bench-planner`; prints and writes build/planner.json.

Ten thousand operating points in closed form, on one core: latencies with intervals of real deployments, the
split of the bill, the Pareto front in TTFT, interactivity, context and price, and what limits cost. Of
several rounds the best, in CPU seconds: other processes on the same core would add to a clock's.
"""

import argparse
import json
from itertools import product
from pathlib import Path
from time import process_time

import numpy as np

from entrepot.catalog.architectures import find_architecture
from entrepot.catalog.hardware import find_hardware
from entrepot.catalog.step_times import load_step_times
from entrepot.tokenomics.choice import PointLimits, limit_costs
from entrepot.tokenomics.deployment import Deployment
from entrepot.tokenomics.deployment_offer import DeploymentOffer
from entrepot.tokenomics.frontier import Grid, points_of
from entrepot.tokenomics.load import RequestClass

BUILD = Path(__file__).resolve().parent.parent / "build"
MODEL = "deepseek-ai/DeepSeek-R1"
GPUS = ("h200", "b200", "b300", "gb200", "mi300x")
LAYOUTS = ({"tp": 8}, {"tp": 8, "ep": 8}, {"dp": 8, "ep": 8}, {"dp": 16, "ep": 16})
BATCHES, CONTEXTS, REPLICAS = 50, (1024, 2048, 4096, 8192, 16384), (1, 2)
ROUNDS, QUICK_ROUNDS = 5, 2
TARGET_S = 2.0

Figures = dict[str, object]


def grid() -> Grid:
    """20 deployments × 50 batches × 5 contexts × 2 numbers of replicas: 10,000 points."""
    shape, coefficients = find_architecture(MODEL).architecture, load_step_times()
    offers = tuple(
        DeploymentOffer.of(
            Deployment(architecture=shape, hardware=find_hardware(gpu), **layout), coefficients, tier="rental"
        )
        for gpu, layout in product(GPUS, LAYOUTS)
    )
    batches = tuple(float(batch) for batch in np.geomspace(1, 512, BATCHES))
    return Grid(offers, batches, tuple(RequestClass(tokens, 512) for tokens in CONTEXTS), REPLICAS)


def measure(rounds: int) -> Figures:
    """CPU seconds of each step of a sweep, the best of some rounds."""
    of = grid()
    best: dict[str, float] = {}
    on_front = 0
    for _ in range(rounds):
        times = [process_time()]
        points = points_of(of)
        times.append(process_time())
        on_front = int(points.front().sum())
        times.append(process_time())
        limit_costs(points, PointLimits(ttft_s=2.0, tokens_per_s=30.0, context_tokens=4096))
        times.append(process_time())
        names = ("points s", "pareto s", "slo costs s")
        found = dict(zip(names, np.diff(times), strict=True)) | {"all s": times[-1] - times[0]}
        best = {name: min(best.get(name, float("inf")), float(value)) for name, value in found.items()}
    return {
        "points": of.size,
        "on the front": on_front,
        **{name: round(value, 4) for name, value in best.items()},
        "target s": TARGET_S,
        "reached": of.size >= 10_000 and best["all s"] <= TARGET_S,
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
