"""The load of a benchmark: the C upstream and stream client, and wrk.

Both C programs are compiled on demand with the machine's own compiler: an upstream or a client in
Python would be what is measured. wrk makes the plain requests, since it is the tool whose figures
others can repeat.
"""

import http.client
import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from bench_processes import Cores, run_pinned

HERE = Path(__file__).resolve().parent
COMPILE_LIMIT_S = 60.0
CONTROL_LIMIT_S = 5.0
CHUNKS_PER_STREAM = 64
EVENTS_PER_STREAM = CHUNKS_PER_STREAM + 2  # the finish chunk and the usage chunk
GRACE_S = 15.0  # how much longer than planned a load generator may take


class MissingToolError(Exception):
    """Something that has to be installed is not; the message says how."""


class Programs(NamedTuple):
    """The compiled C programs."""

    upstream: Path
    stream_load: Path


class Load(NamedTuple):
    """What all load generators need to know."""

    programs: Programs
    cores: Cores
    upstream_port: int
    key: str
    model: str


class Asked(NamedTuple):
    """What a load generator saw, in the units of the names."""

    total: int
    per_s: float
    failed: int
    latencies_ms: dict[str, float]
    last_error: str


def compile_programs(build: Path) -> Programs:
    """The C programs, compiled into `build` unless they are newer than their sources.

    Raises MissingToolError without a C compiler, subprocess.CalledProcessError when it fails.
    """
    sources = list((HERE / "c").iterdir())
    newest = max(source.stat().st_mtime for source in sources)
    programs = Programs(build / "upstream", build / "stream_load")
    for program in programs:
        if program.exists() and program.stat().st_mtime >= newest:
            continue
        compiler = next(filter(shutil.which, [os.environ.get("CC", "cc"), "gcc", "clang"]), None)
        if compiler is None:
            raise MissingToolError("no C compiler: apt-get install gcc libc6-dev")
        source = HERE / "c" / f"{program.name}.c"
        command = [compiler, "-O2", "-Wall", "-Wextra", "-o", str(program), str(source)]
        subprocess.run(command, check=True, timeout=COMPILE_LIMIT_S)
    return programs


def get_json(port: int, path: str, headers: Mapping[str, str] | None = None) -> dict[str, object]:
    """The JSON object behind a GET on a loopback port."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=CONTROL_LIMIT_S)
    try:
        connection.request("GET", path, headers=dict(headers or {}))
        found: dict[str, object] = json.loads(connection.getresponse().read())
        return found
    finally:
        connection.close()


def set_pace(load: Load, *, interval_ms: int) -> None:
    """Sets how long the upstream waits between two chunks of a stream; 0: not at all."""
    get_json(load.upstream_port, f"/_pace?chunks={CHUNKS_PER_STREAM}&interval_ms={interval_ms}")


def ask_plain(load: Load, port: int, *, connections: int, seconds: float) -> Asked:
    """Plain chat completions as fast as `connections` closed loops go."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "10s"]
    command += ["-s", str(HERE / "requests.lua"), f"http://127.0.0.1:{port}/v1/chat/completions"]
    printed = run_pinned(
        command,
        core=load.cores.load,
        limit_s=seconds + GRACE_S,
        env={"KEY": load.key, "MODEL": load.model},
    )
    line = re.search(r"^JSON(\{.*\})$", printed, re.MULTILINE)
    if line is None:
        return Asked(0, 0.0, 1, {}, "wrk did not finish")
    seen = json.loads(line[1])
    latencies_ms = {"p50": seen["p50_ms"], "p99": seen["p99_ms"]}
    error = f"wrk counted {seen['failed']} failed requests" if seen["failed"] else ""
    return Asked(seen["requests"], seen["per_s"], seen["failed"], latencies_ms, error)


def ask_streams(
    load: Load, port: int, *, streams: int, seconds: float, ramp_ms: int, drain_s: float
) -> Asked:
    """Streamed chat completions, `streams` at any time; counts chunks."""
    command = [str(load.programs.stream_load), "-p", str(port), "-c", str(streams)]
    command += ["-d", str(seconds), "-r", str(ramp_ms), "-w", str(drain_s)]
    command += ["-k", load.key, "-m", load.model]
    printed = run_pinned(command, core=load.cores.load, limit_s=seconds + drain_s + GRACE_S, env={})
    try:
        seen = json.loads(printed)
    except ValueError:
        return Asked(0, 0.0, 1, {}, "stream_load did not finish")
    failed = seen["error_streams"] + seen["unfinished_streams"] + seen["connect_errors"]
    error = seen["last_error"] or (f"{failed} streams unfinished or refused" if failed else "")
    lengths = {seen["chunks_per_stream_min"], seen["chunks_per_stream_max"]}
    if lengths != {EVENTS_PER_STREAM} and not failed:
        failed, error = 1, f"streams had {sorted(lengths)} chunks, not {EVENTS_PER_STREAM}"
    latencies_ms = {name: seen[f"{name}_ms"] for name in ("ttfb_p50", "ttfb_p99", "lag_p50", "lag_p99")}
    return Asked(seen["chunks"], seen["chunks_per_s"], failed, latencies_ms, error)
