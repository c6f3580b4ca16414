"""What a benchmark of relays says: medians, ratios pair by pair, targets, a table and a JSON object.

Ratios are formed within a round, where the two relays were measured seconds apart, and then
their median is taken: the ratio of two medians would mix rounds in which the machine was fast
with rounds in which it was slow.
"""

import os
import platform
import time
from collections import defaultdict
from collections.abc import Iterable
from statistics import median
from typing import NamedTuple

from bench_poster import Posting

# What a step yields: stem -> unit. In JSON: <relay>_<stem>_<unit>, <relay>_<stem>_min_<unit>, ...
UNITS = {
    "requests": "per_s",
    "requests_latency_p50": "ms",
    "requests_latency_p99": "ms",
    "cpu_per_1000_requests": "ms",
    "requests_busy": "ratio",
    "chunks": "per_s",
    "chunks_lag_p99": "ms",
    "cpu_per_1000_chunks": "ms",
    "chunks_busy": "ratio",
    "paced_chunks": "per_s",
    "paced_ttfb_p99": "ms",
    "paced_lag_p50": "ms",
    "paced_lag_p99": "ms",
    "cpu_per_1000_paced_chunks": "ms",
    "paced_busy": "ratio",
    "memory": "mib",
}


PAIRS = [("prototype", "nginx"), ("gateway", "nginx"), ("gateway", "prototype")]
# Which figures are compared: stem -> name of the ratio, and how the table heads the figure.
RATIO_NAMES = {
    "requests": ("{over}_over_{under}_requests", "requests/s, 64 connections"),
    "cpu_per_1000_requests": ("{over}_cpu_per_request_over_{under}", "CPU ms/1,000 requests"),
    "chunks": ("{over}_over_{under}_chunks", "chunks/s, 64 streams"),
    "cpu_per_1000_paced_chunks": (
        "{over}_cpu_per_paced_chunk_over_{under}",
        "CPU ms/1,000 chunks, 500 streams",
    ),
}
DIGITS = {"requests": 0, "chunks": 0}  # of a figure in the table; 1 for the others


class Summary(NamedTuple):
    """The median of some rounds, and their range."""

    median: float
    least: float
    most: float

    def text(self, digits: int) -> str:
        """For people: the median and, in brackets, the range."""
        return f"{self.median:,.{digits}f} ({self.least:,.{digits}f} to {self.most:,.{digits}f})"


class Target(NamedTuple):
    """A ratio that the gateway has to reach."""

    name: str
    label: str
    limit: float
    at_least: bool

    def reached(self, ratio: float) -> bool:
        """Whether `ratio` is on the right side of the limit."""
        return ratio >= self.limit if self.at_least else ratio <= self.limit


TARGETS = [
    Target("gateway_over_prototype_requests", "requests/s over the prototype's", 0.6, True),
    Target("gateway_over_nginx_chunks", "chunks/s over nginx's", 0.8, True),
    Target("gateway_cpu_per_paced_chunk_over_nginx", "CPU per paced chunk over nginx's", 1.5, False),
]


def summarize(values: Iterable[float]) -> Summary | None:
    """Median and range; None of nothing."""
    found = sorted(values)
    return Summary(median(found), found[0], found[-1]) if found else None


class Results:
    """All that was measured, by relay, by stem (see UNITS), by round."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
        self.failures: list[str] = []
        self.notes: list[str] = []
        self.foreign_busy_cores: list[float] = []
        self.backlogs_bytes: list[float] = []  # of the poster, after each of the gateway's steps

    def add(self, relay: str, round_number: int, sample: dict[str, float]) -> None:
        """Keeps what one step yielded."""
        for stem, value in sample.items():
            self.values[relay, stem][round_number] = value

    def summary(self, relay: str, stem: str) -> Summary | None:
        """The rounds of one figure of one relay."""
        return summarize(self.values[relay, stem].values())

    def ratio(self, stem: str, over: str, under: str) -> Summary | None:
        """`over` divided by `under`, pair by pair."""
        dividends, divisors = self.values[over, stem], self.values[under, stem]
        return summarize(dividends[n] / divisors[n] for n in dividends if n in divisors and divisors[n] > 0)

    def ratios(self) -> dict[str, Summary]:
        """All ratios by name, without their unit."""
        found: dict[str, Summary | None] = {}
        for over, under in PAIRS:
            for stem, (name, _) in RATIO_NAMES.items():
                found[name.format(over=over, under=under)] = self.ratio(stem, over, under)
        return {name: ratio for name, ratio in found.items() if ratio is not None}


def sustained_per_s(results: Results, posting: Posting) -> tuple[float, float] | None:
    """Requests/s with the poster caught up: with a core of its own, and on the gateway's core."""
    rate = results.summary("gateway", "requests")
    cpu = results.summary("gateway", "cpu_per_1000_requests")
    if not (rate and cpu and posting.capacity_per_s and posting.cpu_per_request_us):
        return None
    shared = 1e6 / (cpu.median + posting.cpu_per_request_us)  # ms per 1,000 are us per request
    return min(rate.median, posting.capacity_per_s), min(rate.median, shared)


def spread(name: str, unit: str, found: Summary) -> dict[str, float]:
    """The three JSON members of one figure."""
    return {
        f"{name}_{unit}": round(found.median, 4),
        f"{name}_min_{unit}": round(found.least, 4),
        f"{name}_max_{unit}": round(found.most, 4),
    }


def poster_members(results: Results, posting: Posting) -> dict[str, object]:
    """The JSON members about the poster; null where something was not available."""
    sustained = sustained_per_s(results, posting) or (None, None)
    return {
        "poster_backlog_end_bytes": posting.backlog_end_bytes,
        "poster_backlog_most_bytes": max(results.backlogs_bytes, default=None),
        "poster_catch_up_after_run_s": posting.run_catch_up_s,
        "poster_cpu_per_request_us": posting.cpu_per_request_us,
        "poster_capacity_requests_per_s": posting.capacity_per_s,
        "poster_capacity_measured_or_derived_text": posting.capacity_from,
        "gateway_sustained_requests_per_s": sustained[0],
        "gateway_sustained_on_one_core_requests_per_s": sustained[1],
    }


def machine_members() -> dict[str, object]:
    """The JSON members about the machine; the load average is the one before the run."""
    return {
        "measured_at_utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine_cores": os.cpu_count(),
        "machine_kernel_text": f"{platform.system()} {platform.release()} {platform.machine()}",
        "machine_python_text": platform.python_version(),
        "load_average_before_processes": os.getloadavg()[0],
    }


def as_json(results: Results, posting: Posting, machine: dict[str, object]) -> dict[str, object]:
    """One flat object; every name ends in its unit."""
    members = dict(machine)
    members["load_average_after_processes"] = os.getloadavg()[0]
    foreign = summarize(results.foreign_busy_cores)
    if foreign is not None:
        members |= spread("foreign_busy", "cores", foreign)
    for relay, stem in sorted(results.values):
        found = results.summary(relay, stem)
        if found is not None:
            members |= spread(f"{relay}_{stem}", UNITS[stem], found)
    for name, ratio in results.ratios().items():
        members |= spread(name, "ratio", ratio)
    for target in TARGETS:
        if target.name in results.ratios():
            measured = results.ratios()[target.name].median
            members[f"{target.name}_target_ratio"] = target.limit
            members[f"{target.name}_reached_flag"] = target.reached(measured)
    members |= poster_members(results, posting)
    members["failures_count"] = len(results.failures)
    return members


def columns(rows: list[list[str]]) -> list[str]:
    """Rows as text with aligned columns, the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def main_table(results: Results, relays: list[str]) -> list[str]:
    """The compared figures of every relay, then their ratios."""
    rows = [["median (least to most)", *(heading for _, heading in RATIO_NAMES.values())]]
    for relay in relays:
        found = [(results.summary(relay, stem), DIGITS.get(stem, 1)) for stem in RATIO_NAMES]
        rows.append([relay, *(s.text(digits) if s else "-" for s, digits in found)])
    ratios = results.ratios()
    for over, under in PAIRS:
        names = [name.format(over=over, under=under) for name, _ in RATIO_NAMES.values()]
        if any(name in ratios for name in names):
            cells = [ratios[name].text(2) if name in ratios else "-" for name in names]
            rows.append([f"{over} / {under}", *cells])
    return columns(rows)


def detail_table(results: Results, relays: list[str]) -> list[str]:
    """What explains the main figures: where the limit was, and what waiting the relay adds."""
    stems = {
        "requests_busy": "busy, requests",
        "requests_latency_p99": "p99 ms",
        "chunks_busy": "busy, chunks",
        "cpu_per_1000_chunks": "CPU ms/1,000 chunks",
        "paced_busy": "busy, paced",
        "paced_ttfb_p99": "TTFB p99 ms",
        "paced_lag_p99": "lag p99 ms",
        "memory": "MiB",
    }
    rows = [["medians", *stems.values()]]
    for relay in relays:
        found = [results.summary(relay, stem) for stem in stems]
        rows.append([relay, *(f"{s.median:,.2f}" if s else "-" for s in found)])
    return columns(rows)


def target_lines(results: Results) -> list[str]:
    """Each target with what was measured and whether that reaches it."""
    rows = []
    ratios = results.ratios()
    for target in TARGETS:
        sign = ">=" if target.at_least else "<="
        found = ratios.get(target.name)
        verdict = "not measured"
        if found is not None:
            verdict = "reached" if target.reached(found.median) else "NOT reached"
        measured = found.text(3) if found else "-"
        rows.append([target.label, measured, f"target {sign} {target.limit}", verdict])
    return columns(rows)


def poster_lines(results: Results, posting: Posting) -> list[str]:
    """What the poster costs and what can be sustained with it caught up."""
    most = results.backlogs_bytes
    backlog, caught_up = posting.backlog_end_bytes, posting.run_catch_up_s
    lines = [
        "poster backlog at the end of the run: "
        + ("not available" if backlog is None else f"{backlog:,.0f} bytes")
        + (f" (at most {max(most):,.0f} after a step)" if most else "")
        + (", not caught up in time" if caught_up is None else f", caught up in {caught_up:.1f} s")
    ]
    if posting.cpu_per_request_us is None or posting.capacity_per_s is None:
        return [*lines, "poster CPU per request and sustained requests/s: not available"]
    lines.append(
        f"poster: {posting.cpu_per_request_us:,.0f} us of CPU per request (not in the gateway's "
        f"figures); follows {posting.capacity_per_s:,.0f} requests/s ({posting.capacity_from})"
    )
    sustained = sustained_per_s(results, posting)
    if sustained is not None:
        lines.append(
            f"sustained with the poster caught up (derived): {sustained[0]:,.0f} requests/s with "
            f"a core for the poster, {sustained[1]:,.0f} with both on one core"
        )
    return lines


def as_text(results: Results, relays: list[str], posting: Posting | None) -> str:
    """The report for the terminal."""
    lines = ["", *main_table(results, relays), "", *detail_table(results, relays), ""]
    if "gateway" in relays:
        lines += [*target_lines(results), ""]
    if posting is not None:
        lines += poster_lines(results, posting)
    foreign = summarize(results.foreign_busy_cores)
    if foreign is not None:
        lines.append(f"other processes kept {foreign.text(2)} of the two cores busy meanwhile")
    return "\n".join([*lines, *results.notes, *(f"FAILED: {f}" for f in results.failures)])
