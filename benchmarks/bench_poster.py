"""What the gateway's poster costs: CPU per request, backlog, and the rate that it can follow.

The poster is a child process that moves the journal into the store. During the run it shares the
load's core and may lag; here it is measured by itself. It is held (SIGSTOP) while a known number
of requests goes through the gateway, then released with the load gone, and timed until the
backlog is what it was before. Requests over that time is what it follows with a core to itself,
its waiting for the disk included. Without the backlog metric the end is taken to be when it has
gone idle, and the rate is derived from CPU per request.
"""

import contextlib
import http.client
import json
import re
import signal
import time
from dataclasses import dataclass

from bench_load import Load, ask_plain
from bench_processes import cpu_s
from bench_relays import Relay

BACKLOG_METRIC = "entrepot_journal_backlog_bytes"
POLL_S = 0.1
IDLE_BUSY_RATIO = 0.05  # below this the poster only looks for work
IDLE_POLLS = 5


@dataclass
class Posting:
    """What was seen of the poster; None where it could not be had."""

    backlog_end_bytes: float | None = None
    run_catch_up_s: float | None = None
    cpu_per_request_us: float | None = None
    capacity_per_s: float | None = None
    capacity_from: str = "not available"


def metrics_text(relay: Relay) -> str:
    """The gateway's Prometheus page; empty when it cannot be had."""
    if relay.data_dir is None or relay.console_port is None:
        return ""
    try:
        token = json.loads((relay.data_dir / "console.json").read_text())["token"]
        connection = http.client.HTTPConnection("127.0.0.1", relay.console_port, timeout=5)
        with contextlib.closing(connection):
            connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            return answer.read().decode() if answer.status == http.client.OK else ""
    except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException):
        return ""


def backlog_bytes(relay: Relay) -> float | None:
    """Journal bytes that the poster has yet to post; None where there is no such metric."""
    found = re.search(rf"^{BACKLOG_METRIC}(?:\{{[^}}]*\}})?\s+(\S+)", metrics_text(relay), re.MULTILINE)
    return float(found[1]) if found else None


def poster_cpu_s(relay: Relay) -> float:
    """CPU seconds of the gateway's children."""
    return sum(cpu_s(pid) for pid in relay.running.children())


def caught_up_after_s(relay: Relay, *, target_bytes: float, limit_s: float) -> float | None:
    """Seconds until the backlog is at most `target_bytes`; None when it takes longer."""
    start_s = time.monotonic()
    idle_polls, before_s = 0, poster_cpu_s(relay)
    while (elapsed_s := time.monotonic() - start_s) < limit_s:
        backlog = backlog_bytes(relay)
        if backlog is not None and backlog <= target_bytes:
            return elapsed_s
        time.sleep(POLL_S)
        if backlog is None:
            now_s = poster_cpu_s(relay)
            idle_polls = idle_polls + 1 if now_s - before_s < IDLE_BUSY_RATIO * POLL_S else 0
            before_s = now_s
            if idle_polls == IDLE_POLLS:
                return max(POLL_S, elapsed_s - IDLE_POLLS * POLL_S)
    return None


def measure_poster(load: Load, relay: Relay, *, seconds: float, limit_s: float) -> Posting:
    """Lets the poster catch up with the run, then measures it on requests of its own."""
    posting = Posting(backlog_end_bytes=backlog_bytes(relay))
    posting.run_catch_up_s = caught_up_after_s(relay, target_bytes=0, limit_s=limit_s)
    if posting.run_catch_up_s is None or not relay.running.children():
        return posting
    before_cpu_s, before_bytes = poster_cpu_s(relay), backlog_bytes(relay)
    held = relay.running.children()
    for pid in held:
        relay.running.send(pid, signal.SIGSTOP)
    try:
        asked = ask_plain(load, relay.port, connections=64, seconds=seconds)
    finally:
        for pid in held:
            relay.running.send(pid, signal.SIGCONT)
    took_s = caught_up_after_s(relay, target_bytes=before_bytes or 0, limit_s=limit_s)
    if took_s is None or not asked.total:
        return posting
    used_s = poster_cpu_s(relay) - before_cpu_s
    posting.cpu_per_request_us = used_s * 1e6 / asked.total
    if before_bytes is not None:
        posting.capacity_per_s = asked.total / took_s
        posting.capacity_from = "measured by the time to catch up"
    elif used_s > 0:
        posting.capacity_per_s = asked.total / used_s
        posting.capacity_from = "derived from CPU per request"
    return posting
