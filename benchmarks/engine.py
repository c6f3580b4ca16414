"""How fast the planner's engine simulates, and what it says of a trace. Run by `make bench-engine`.

Prints tables and writes build/engine.json: output tokens simulated per second of a saturated replica, whether
the time is linear in requests, and the TTFT of the Azure trace on an H100 with an 8B model at several loads.
The clock is that of vLLM with Llama 3.1 8B on one H100 (configuration C1 of cost_by_load_measured.csv, fitted
whole).
"""

import argparse
import json
import sys
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
from rich.console import Console
from rich.table import Table

from entrepot.replay.trace_files import load_trace
from entrepot.tokenomics.arrivals import Requests, poisson_arrivals_s, requests_of
from entrepot.tokenomics.batching import Batching, Deployment
from entrepot.tokenomics.capacity import Lengths, capacity_rps
from entrepot.tokenomics.engine import simulate
from entrepot.tokenomics.linear_clock import LinearClock
from entrepot.tokenomics.trace_run import run_trace

BUILD = Path(__file__).resolve().parent.parent / "build"
AZURE = "azure_2023_conv"
CLOCK = LinearClock(
    kv_capacity_tokens=544_000,
    base_s=6.3e-3,
    sequence_s=54e-6,
    held_s=3.4e-8,
    prompt_s=34e-6,
    reading_s=0.8e-3,
)
H100 = Deployment(clock=CLOCK, batching=Batching(max_sequences=256, steps_ahead=1), request_s=6e-3)
PROMPT, OUTPUT = 512, 256
COUNTS = (5_000, 10_000, 20_000, 40_000)
TARGET_TOKENS_PER_S = 1e6
LINEAR = 1.25  # four times the requests may take so much more than four times the time
ROUNDS = 3
SPEEDS = (1.0, 2.0, 4.0)

Figures = dict[str, object]


def main() -> int:
    """Measure, print, write; return 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round, fewer requests")
    quick = parser.parse_args().quick
    console = Console()
    counts = COUNTS[:2] if quick else COUNTS
    speed = measure_speed(counts, rounds=1 if quick else ROUNDS)
    azure = [replay_azure(faster) for faster in SPEEDS]
    print_speed(console, speed)
    print_azure(console, azure)
    BUILD.mkdir(exist_ok=True)
    (BUILD / "engine.json").write_text(json.dumps({"speed": speed, "azure": azure}, indent=1) + "\n")
    return 0 if speed["is_fast"] and speed["is_linear"] else 1


def measure_speed(counts: tuple[int, ...], *, rounds: int) -> Figures:
    """Return output tokens per second of an overloaded replica, by the number of requests."""
    rate = 2.0 * capacity_rps(H100, Lengths(prompt=PROMPT, output=OUTPUT))
    seconds = {}
    for count in counts:
        requests = requests_of(poisson_arrivals_s(rate, count, np.random.default_rng(1)), PROMPT, OUTPUT)
        seconds[count] = median(timed(requests) for _ in range(rounds))
    each = [seconds[count] / count for count in counts]
    tokens_per_s = [count * OUTPUT / seconds[count] for count in counts]
    return {
        "requests": list(counts),
        "seconds": [seconds[count] for count in counts],
        "output_tokens_per_s": tokens_per_s,
        "is_fast": min(tokens_per_s) >= TARGET_TOKENS_PER_S,
        "is_linear": each[-1] <= LINEAR * each[0],
    }


def timed(requests: Requests) -> float:
    """Return the seconds that a simulation takes."""
    began = perf_counter()
    simulate(H100, requests)
    return perf_counter() - began


def replay_azure(faster: float) -> Figures:
    """Return what the trace shows, sent so many times faster than it was."""
    trace = load_trace(AZURE)
    instants = np.array([request.at_s for request in trace.requests])
    requests = requests_of(
        instants / faster,
        np.array([request.prompt_tokens for request in trace.requests]),
        np.array([request.output_tokens for request in trace.requests]),
    )
    began = perf_counter()
    shown = run_trace(H100, requests)
    return {
        "faster": faster,
        "requests_per_s": requests.rate,
        "ttft_s": [shown.ttft.p50, shown.ttft.p90, shown.ttft.p99],
        "tpot_s": [shown.tpot.p50, shown.tpot.p90, shown.tpot.p99],
        "utilisation": shown.utilisation,
        "refused": shown.refused,
        "verdict": shown.saturation.sentence,
        "seconds": perf_counter() - began,
    }


def print_speed(console: Console, speed: Figures) -> None:
    """Print the table of speeds."""
    table = Table("requests", "seconds", "output tokens/s", title="a saturated replica, simulated")
    columns = (speed["requests"], speed["seconds"], speed["output_tokens_per_s"])
    assert all(isinstance(column, list) for column in columns)
    for count, seconds, rate in zip(*columns, strict=True):  # type: ignore[call-overload]
        table.add_row(f"{count:,}", f"{seconds:.2f}", f"{rate:,.0f}")
    console.print(table)
    console.print(
        f"at least {TARGET_TOKENS_PER_S:,.0f} tokens/s: {speed['is_fast']}; linear: {speed['is_linear']}"
    )


def print_azure(console: Console, azure: list[Figures]) -> None:
    """Print the table of the trace."""
    table = Table("requests/s", "TTFT p50, p90, p99 (s)", "TPOT p50, p90, p99 (ms)", "verdict", title=AZURE)
    for row in azure:
        ttft, tpot = row["ttft_s"], row["tpot_s"]
        assert isinstance(ttft, list)
        assert isinstance(tpot, list)
        table.add_row(
            f"{row['requests_per_s']:.1f}",
            ", ".join(f"{value:.3f}" for value in ttft),
            ", ".join(f"{1e3 * value:.1f}" for value in tpot),
            str(row["verdict"]),
        )
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
