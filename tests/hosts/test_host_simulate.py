"""`entrepot host simulate` as a process: it says when it is ready, and it goes when it should."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from entrepot.catalog.load import load_settings
from entrepot.catalog.show import hosts_toml
from entrepot.hosts.scenario import load_scenario, scenario_settings

COMMAND = [sys.executable, "-m", "entrepot", "host", "simulate"]
DEADLINE_S = 30


@contextmanager
def started(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the command on a free port; the value is the process and its base URL."""
    with subprocess.Popen(
        [*COMMAND, "--port", "0", *arguments], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            word, url = process.stdout.readline().split()
            assert word == "ready"
            yield process, url
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_told_to_end(number: signal.Signals) -> None:
    """Ready means listening; both signals end it with status 0."""
    with started("--hosts", "azure") as (process, url):
        with urllib.request.urlopen(f"{url}/azure/v1/models", timeout=DEADLINE_S) as reply:
            assert reply.headers["x-entrepot-simulated"] == "true"
        process.send_signal(number)
        assert process.wait(DEADLINE_S) == 0


def test_it_ends_when_its_parent_is_killed() -> None:
    """Nothing is left behind by a parent that had no time to clean up."""
    parent = (
        "import os, subprocess, sys; command = [*sys.argv[1:], str(os.getpid())];"
        "child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True);"
        "print(child.pid, child.stdout.readline(), flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", parent, *COMMAND, "--port", "0", "--die-with-parent"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child, ready = process.stdout.readline().split(maxsplit=1)
        assert ready.startswith("ready ")
        process.kill()
        url = ready.split()[1]
        with suppress(OSError):
            while True:  # until nobody answers; the timeout of the test is the deadline
                urllib.request.urlopen(f"{url}/_stats", timeout=DEADLINE_S).close()
        assert int(child) != os.getpid()


def test_what_it_prints_for_the_configuration_loads_to_the_same_hosts(tmp_path: Path) -> None:
    """Copy and paste gives the endpoints that the demo uses."""
    command = [*COMMAND, "--print-config", "--hosts", "azure,deepseek", "--port", "8123"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=DEADLINE_S).stdout
    file = tmp_path / "entrepot.toml"
    file.write_text(printed)
    settings = load_settings(file, {})
    expected = scenario_settings(
        load_scenario("deepseek-r1-2025"), "http://127.0.0.1:8123", ["azure", "deepseek"]
    )
    assert hosts_toml(settings.models, settings.hosts, settings.endpoints) == hosts_toml(*expected) == printed
    assert [entry.endpoint.prices for entry in settings.endpoints] == [
        entry.endpoint.prices for entry in expected[2]
    ]


def test_a_wrong_host_is_a_message_and_status_2() -> None:
    """Expected faults have no traceback."""
    command = [*COMMAND, "--hosts", "asure", "--port", "0"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert ended.returncode == 2
    assert ended.stderr == "scenario deepseek-r1-2025 has no host 'asure'; did you mean azure?\n"
