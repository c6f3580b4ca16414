"""Measures our gateway beside nginx and a bare relay, in turns, on one core: `make bench`.

Three figures of each relay: (a) plain requests/s at 64 connections, (b) streamed chunks/s at 64
streams that are not paced, (c) CPU per 1,000 chunks at 500 streams of one chunk every 20 ms. The
gateway has everything on: the key check, a choice among six endpoints, KPIs, the journal.

A figure from yesterday, or from another machine, says nothing about a change: CPU frequency,
neighbours and kernels move it by more. So the three relays take turns within every round, in an
order that rotates, and what counts are the ratios within a round. Where a relay is faster than
the load on its core can be (nginx always is), chunks/s is a property of the load; CPU per chunk
is then the figure to compare.

    python benchmarks/gateway.py [--quick] [--only nginx,prototype] [--rounds N] [--check]
"""

import argparse
import contextlib
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench_load import (
    Asked,
    Load,
    MissingToolError,
    Programs,
    ask_plain,
    ask_streams,
    compile_programs,
    set_pace,
)
from bench_poster import Posting, backlog_bytes, measure_poster, poster_cpu_s
from bench_processes import (
    Cores,
    Running,
    allow_many_sockets,
    busy_s,
    choose_cores,
    cpu_s,
    free_port,
    memory_mib,
    own_cpu_s,
)
from bench_relays import STARTERS, Place, Relay, RelayError, create_key
from bench_report import Results, as_json, as_text, machine_members

REPOSITORY = Path(__file__).resolve().parent.parent
MODEL = "bench/model"
KEY_WITHOUT_GATEWAY = "sk-bench"
CONNECTIONS = 64
PACED_STREAMS = 500
PACED_INTERVAL_MS = 20
SETTLE_S = 0.2  # after a step: the relay's own work of ending its requests belongs to them
UPSTREAM_LIFETIME_S = 1800


class Plan(NamedTuple):
    """How long everything takes, in seconds."""

    rounds: int
    warm_up_s: float
    requests_s: float
    chunks_s: float
    paced_s: float
    ramp_ms: int
    drain_s: float
    poster_s: float
    catch_up_limit_s: float
    limit_s: float
    check: bool = False

    def round_s(self, relays: int) -> float:
        """What one round is expected to take: a paced stream lasts 1.3 s beyond the last start."""
        return relays * (self.requests_s + self.chunks_s + self.paced_s + 1.3 + 5 * SETTLE_S)


FULL = Plan(5, 1, 5, 5, 8, 1300, 10, 3, 45, 460)
QUICK = Plan(3, 1, 1, 1, 2, 1000, 5, 1, 10, 80)


class Bench(NamedTuple):
    """Everything that a step needs."""

    plan: Plan
    load: Load
    upstream: Running
    relays: list[Relay]
    results: Results
    wrk: bool


def say(text: str) -> None:
    """Tells how far the run has come."""
    print(text, file=sys.stderr, flush=True)


def our_cpu_s(bench: Bench) -> float:
    """CPU seconds of everything that belongs to this run."""
    ours = own_cpu_s() + cpu_s(bench.upstream.pid)
    return ours + sum(cpu_s(r.running.pid) + poster_cpu_s(r) for r in bench.relays)


def plain_step(bench: Bench, relay: Relay) -> tuple[str, Asked]:
    """Plain requests at 64 connections."""
    seconds = bench.plan.requests_s
    asked = ask_plain(bench.load, relay.port, connections=CONNECTIONS, seconds=seconds)
    return "requests", asked


def chunks_step(bench: Bench, relay: Relay) -> tuple[str, Asked]:
    """64 streams as fast as they go."""
    set_pace(bench.load, interval_ms=0)
    plan = bench.plan
    asked = ask_streams(
        bench.load, relay.port, streams=CONNECTIONS, seconds=plan.chunks_s, ramp_ms=0,
        drain_s=plan.drain_s,
    )  # fmt: skip
    return "chunks", asked


def paced_step(bench: Bench, relay: Relay) -> tuple[str, Asked]:
    """500 streams of one chunk every 20 ms."""
    set_pace(bench.load, interval_ms=PACED_INTERVAL_MS)
    plan = bench.plan
    asked = ask_streams(
        bench.load, relay.port, streams=PACED_STREAMS, seconds=plan.paced_s,
        ramp_ms=plan.ramp_ms, drain_s=plan.drain_s,
    )  # fmt: skip
    return "paced", asked


def sample_of(figure: str, asked: Asked, *, used_s: float, wall_s: float) -> dict[str, float]:
    """What a step yields, by stem (see bench_report.UNITS); nothing when something failed in it."""
    if asked.failed or not asked.total:
        return {}
    cpu_ms = used_s * 1e6 / asked.total  # of 1,000 requests or chunks
    latencies = asked.latencies_ms
    busy = {f"{figure}_busy": used_s / wall_s}
    if figure == "requests":
        named = {f"requests_latency_{name}": value for name, value in latencies.items()}
        return busy | named | {"requests": asked.per_s, "cpu_per_1000_requests": cpu_ms}
    if figure == "chunks":
        lag = {"chunks_lag_p99": latencies["lag_p99"]}
        return busy | lag | {"chunks": asked.per_s, "cpu_per_1000_chunks": cpu_ms}
    named = {f"paced_{name}": latencies[name] for name in ("ttfb_p99", "lag_p50", "lag_p99")}
    named["paced_chunks"] = asked.per_s
    return busy | named | {"cpu_per_1000_paced_chunks": cpu_ms}


STEPS = [plain_step, chunks_step, paced_step]


@contextlib.contextmanager
def awake(relay: Relay, cores: Cores) -> Iterator[None]:
    """Lets the relay run for one step."""
    relay.running.thaw()
    relay.running.pin_children(cores.load)
    try:
        yield
    finally:
        relay.running.freeze()


def measure(bench: Bench, relay: Relay, step_number: int, round_number: int) -> None:
    """Runs one step on one relay and keeps what it yields."""
    with awake(relay, bench.load.cores):
        pid = relay.running.pid
        start_s, used_s = time.monotonic(), cpu_s(pid)
        all_s, ours_s = busy_s(bench.load.cores), our_cpu_s(bench)
        figure, asked = STEPS[step_number](bench, relay)
        wall_s = time.monotonic() - start_s
        time.sleep(SETTLE_S)
        used_s = cpu_s(pid) - used_s
        sample = sample_of(figure, asked, used_s=used_s, wall_s=wall_s)
        foreign_s = busy_s(bench.load.cores) - all_s - (our_cpu_s(bench) - ours_s)
        bench.results.foreign_busy_cores.append(max(0.0, foreign_s / (wall_s + SETTLE_S)))
        bench.results.add(relay.name, round_number, sample | {"memory": memory_mib(pid)})
        backlog = backlog_bytes(relay)
        bench.results.backlogs_bytes += [] if backlog is None else [backlog]
    if asked.failed:
        where = f"{relay.name}, {figure}, round {round_number + 1}"
        bench.results.failures.append(f"{where}: {asked.failed} failed: {asked.last_error}")
    say(f"  {relay.name:<10} {figure:<9} {asked.per_s:>10,.0f}/s  {used_s / wall_s:4.0%} busy")


def measure_rounds(bench: Bench, end_s: float) -> None:
    """Runs the rounds of the plan, fewer when there is no time left for another."""
    steps = [n for n, step in enumerate(STEPS) if bench.wrk or step is not plain_step]
    for relay in bench.relays:
        with awake(relay, bench.load.cores):
            warm_up(bench, relay)
    for round_number in range(bench.plan.rounds):
        if time.monotonic() + bench.plan.round_s(len(bench.relays)) > end_s:
            bench.results.notes.append(f"out of time after {round_number} rounds")
            return
        say(f"round {round_number + 1} of {bench.plan.rounds}")
        first = round_number % len(bench.relays)
        order = bench.relays[first:] + bench.relays[:first]
        for step_number in steps:
            for relay in order:
                measure(bench, relay, step_number, round_number)


def warm_up(bench: Bench, relay: Relay) -> None:
    """Fills pools, caches and estimates."""
    seconds = bench.plan.warm_up_s
    if bench.wrk:
        ask_plain(bench.load, relay.port, connections=CONNECTIONS, seconds=seconds)
    set_pace(bench.load, interval_ms=0)
    ask_streams(bench.load, relay.port, streams=CONNECTIONS, seconds=seconds, ramp_ms=0, drain_s=2)


def measure_gateways_poster(bench: Bench) -> Posting | None:
    """What the poster costs; None where there is no gateway or nothing to load it with."""
    gateway = next((relay for relay in bench.relays if relay.name == "gateway"), None)
    if gateway is None or not bench.wrk:
        return None
    say("poster")
    plan = bench.plan
    with awake(gateway, bench.load.cores):
        return measure_poster(bench.load, gateway, seconds=plan.poster_s, limit_s=plan.catch_up_limit_s)


def start_upstream(programs: Programs, cores: Cores, build: Path) -> tuple[Running, int]:
    """The upstream and its port."""
    port = free_port()
    command = [str(programs.upstream), "-t", str(UPSTREAM_LIFETIME_S), str(port)]
    return Running(command, core=cores.load, log=build / "upstream.log"), port


def bench_key(place: Path, wanted: list[str], results: Results) -> str:
    """The gateway's key, or any where there is no gateway."""
    if "gateway" in wanted:
        try:
            return create_key(REPOSITORY, place / "data")
        except MissingToolError as missing:
            results.notes.append(f"{missing}: not measured")
        except (RelayError, subprocess.TimeoutExpired) as error:
            results.failures.append(str(error))
        wanted.remove("gateway")
    return KEY_WITHOUT_GATEWAY


def start_relays(place: Place, wanted: list[str], results: Results) -> Iterator[Relay]:
    """Those of the relays that start; what is missing or broken is noted."""
    for name in wanted:
        try:
            yield STARTERS[name](place)
        except MissingToolError as missing:
            results.notes.append(f"{missing}: not measured")
        except RelayError as error:
            results.failures.append(str(error))


def run(plan: Plan, wanted: list[str], build: Path, programs: Programs) -> int:
    """Measures, writes build/bench.json, prints the report and returns the exit code."""
    end_s = time.monotonic() + plan.limit_s
    machine, results, cores = machine_members(), Results(), choose_cores()
    results.notes.append(cores.describe())
    wrk = shutil.which("wrk") is not None
    if not wrk:
        results.notes.append("no wrk: apt-get install wrk: requests/s not measured")
    with contextlib.ExitStack() as stack:
        key = bench_key(build, wanted, results)
        upstream, upstream_port = start_upstream(programs, cores, build)
        stack.callback(upstream.end)
        load = Load(programs, cores, upstream_port, key, MODEL)
        bench = Bench(plan, load, upstream, [], results, wrk)
        for relay in start_relays(Place(REPOSITORY, build, load), wanted, results):
            stack.callback(relay.running.end)
            relay.running.freeze()
            bench.relays.append(relay)
        posting = None
        if bench.relays:
            measure_rounds(bench, end_s)
            posting = measure_gateways_poster(bench)
        names = [relay.name for relay in bench.relays]
    found = as_json(results, posting or Posting(), machine)
    (REPOSITORY / "build" / "bench.json").write_text(json.dumps(found, indent=1) + "\n")
    print(as_text(results, names, posting))
    if results.failures:
        return 1
    missed = [name for name, value in found.items() if name.endswith("_flag") and not value]
    return 1 if plan.check and missed else 0


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a look of 80 s instead of 7 min")
    parser.add_argument("--only", default=",".join(STARTERS), help="relays, with commas between")
    parser.add_argument("--rounds", type=int, help="how many rounds instead of 5 (3 when quick)")
    parser.add_argument("--check", action="store_true", help="exit 1 when a target is not reached")
    options = parser.parse_args()
    unknown = set(options.only.split(",")) - set(STARTERS)
    if unknown:
        parser.error(f"--only knows {', '.join(STARTERS)}, not {', '.join(sorted(unknown))}")
    return options


def main() -> int:
    """Runs the benchmark: 0 measured, 1 something failed, 2 usage."""
    options = read_options()
    plan = QUICK if options.quick else FULL
    plan = plan._replace(rounds=options.rounds or plan.rounds, check=options.check)
    build = REPOSITORY / "build" / "bench"
    build.mkdir(parents=True, exist_ok=True)
    try:
        programs = compile_programs(build)
    except MissingToolError as missing:
        print(f"bench skipped: {missing}")
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    allow_many_sockets()
    return run(plan, options.only.split(","), build, programs)


if __name__ == "__main__":
    sys.exit(main())
