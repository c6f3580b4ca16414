"""The other side of the story: simulated hosts in a process of their own, and what their log says."""

from __future__ import annotations

import contextlib
import json
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.e2e.programs import command, free_port, running, until

NUSD_PER_USD = 1_000_000_000


@dataclass(frozen=True)
class Sums:
    """What one host counted, or what the ledger says of it. Units: tokens, nano-USD."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    cost_nusd: int = 0

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            self.prompt_tokens + other.prompt_tokens,
            self.cached_tokens + other.cached_tokens,
            self.output_tokens + other.output_tokens,
            self.cost_nusd + other.cost_nusd,
        )


@dataclass
class Hosts:
    """Simulated hosts that run `speedup` times faster."""

    base_url: str
    log: Path
    speedup: float
    config: str

    def lines(self) -> list[dict[str, Any]]:
        """Return the log, one object per attempt."""
        return [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines()]

    def sums(self) -> dict[str, Sums]:
        """Return what each host that did any work counted."""
        found: dict[str, Sums] = {}
        for line in self.lines():
            found[line["host"]] = found.get(line["host"], Sums()) + sums_of(line)
        return {host: sums for host, sums in found.items() if sums != Sums()}

    def wait_until_idle(self) -> None:
        """Wait until no host works on a request, so that its log is whole."""
        until(lambda: self._in_flight() == 0, "the simulated hosts finish or give up what they do")

    def _in_flight(self) -> int:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{self.base_url}/_stats", timeout=10) as reply:
            return sum(host["in_flight"] for host in json.load(reply).values())


def sums_of(line: dict[str, Any]) -> Sums:
    """Return what a line of a host's log says."""
    cost_nusd = _nusd(line["cost_usd"])
    return Sums(line["prompt_tokens"], line["cached_tokens"], line["completion_tokens"], cost_nusd)


def booked(attempt: dict[str, Any]) -> Sums:
    """Return what the ledger says of an attempt, as `requests --json` has it."""
    tokens = {name: line["tokens"] for name, line in attempt["lines"].items() if "tokens" in line}
    return Sums(
        tokens["uncached"] + tokens["cached"] + tokens["cache_write"],
        tokens["cached"],
        tokens["output"],
        _nusd(attempt["cost_usd"]),
    )


def _nusd(usd: str) -> int:
    nusd = Decimal(usd) * NUSD_PER_USD
    assert nusd == int(nusd), f"${usd} is finer than a nano-dollar"
    return int(nusd)


@contextlib.contextmanager
def simulated_hosts(
    directory: Path, *, speedup: float, hosts: str = "", scenario: Path | None = None, seed: int = 0
) -> Iterator[Hosts]:
    """Run `entrepot host simulate`; `config` are the blocks that it prints for `entrepot.toml`."""
    port, log = free_port(), directory / "hosts.jsonl"
    picked = ("--hosts", hosts) if hosts else ()
    told = ("--scenario", str(scenario)) if scenario else ()
    arguments = ("host", "simulate", "--port", str(port), *picked, *told)
    config = command(*arguments, "--print-config").stdout
    rest = ("--speedup", str(speedup), "--log", str(log), "--seed", str(seed))
    with running(*arguments, *rest, directory=directory / "hosts.said") as program:
        yield Hosts(program.ready(), log, speedup, config)


def ledger_sums(report: dict[str, Any]) -> dict[str, Sums]:
    """Return what `ledger report --by host --json` says of each host that did any work."""
    found = {
        row["group"]: Sums(
            row["uncached_tokens"] + row["cached_tokens"] + row["cache_write_tokens"],
            row["cached_tokens"],
            row["output_tokens"],
            row["cost_nusd"],
        )
        for row in report["rows"]
    }
    return {host: sums for host, sums in found.items() if sums != Sums()}
