"""How fast the planner's engine simulates, and what it says of a trace. Run by `make bench-engine`.

Prints tables and writes build/engine.json: output tokens simulated per second of a saturated replica, whether
the time is linear in requests, and the TTFT of the Azure trace on an H100 with an 8B model at several loads.
Engine, requests and trace are those of `entrepot plan validate`, which gives one figure of each in CPU
seconds.
"""

import argparse
import json
import sys
from pathlib import Path
from statistics import median
from time import perf_counter

from rich.console import Console
from rich.table import Table

from entrepot.cli.trace_requests import trace_requests
from entrepot.cli.validate_loads import SPEEDS, TRACE
from entrepot.cli.validate_speed import ENGINE, LINEAR, OUTPUT, TOKENS_PER_S, overload
from entrepot.replay.trace_files import load_trace
from entrepot.tokenomics.arrivals import Requests
from entrepot.tokenomics.engine import simulate
from entrepot.tokenomics.trace_run import run_trace

BUILD = Path(__file__).resolve().parent.parent / "build"
COUNTS = (5_000, 10_000, 20_000, 40_000)
ROUNDS = 3

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
    seconds = {}
    for count in counts:
        requests = overload(count)
        seconds[count] = median(timed(requests) for _ in range(rounds))
    each = [seconds[count] / count for count in counts]
    tokens_per_s = [count * OUTPUT / seconds[count] for count in counts]
    return {
        "requests": list(counts),
        "seconds": [seconds[count] for count in counts],
        "output_tokens_per_s": tokens_per_s,
        "is_fast": min(tokens_per_s) >= TOKENS_PER_S,
        "is_linear": each[-1] <= LINEAR * each[0],
    }


def timed(requests: Requests) -> float:
    """Return the seconds that a simulation takes."""
    began = perf_counter()
    simulate(ENGINE, requests)
    return perf_counter() - began


def replay_azure(faster: float) -> Figures:
    """Return what the trace shows, sent so many times faster than it was."""
    requests = trace_requests(load_trace(TRACE), faster=faster)
    began = perf_counter()
    shown = run_trace(ENGINE, requests)
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
    console.print(f"at least {TOKENS_PER_S:,.0f} tokens/s: {speed['is_fast']}; linear: {speed['is_linear']}")


def print_azure(console: Console, azure: list[Figures]) -> None:
    """Print the table of the trace."""
    table = Table("requests/s", "TTFT p50, p90, p99 (s)", "TPOT p50, p90, p99 (ms)", "verdict", title=TRACE)
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
