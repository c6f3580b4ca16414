"""Commands of entrepot as a user runs them: processes of their own, ended with everything that they started.

Their output goes to files, since a pipe that a test does not read would stop them. Each asks the kernel to
be ended with the test run, so that a run that is killed leaves nothing behind either.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import monotonic, sleep
from typing import Any, TypeVar

DEADLINE_S = 60.0
STOP_DEADLINE_S = 20.0
POLL_S = 0.01
READY = "ready "
_PORTS = range(20_000, 32_000)  # below those of clients, so that none is taken meanwhile
_PR_SET_PDEATHSIG = 1  # <sys/prctl.h>
_LEFT_OUT = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "columns")

T = TypeVar("T")


def until(condition: Callable[[], T], what: str, *, deadline_s: float = DEADLINE_S) -> T:
    """Return what the condition gives once that is true; fail with `what` at the deadline."""
    give_up_s = monotonic() + deadline_s
    while not (found := condition()):
        assert monotonic() < give_up_s, f"not within {deadline_s:g} s: {what}"
        sleep(POLL_S)
    return found


def free_port() -> int:
    """Return a port on which nothing listens."""
    while True:
        port = random.choice(_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def is_open(port: int) -> bool:
    """Return whether something listens on the port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def environment() -> dict[str, str]:
    """Return the environment of the commands: this one, but for proxies, our own settings, a width."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.lower() not in _LEFT_OUT and not name.startswith("ENTREPOT_")
    }


class Program:
    """A command that runs until it is told to end; `directory` takes what it writes to stdout and stderr."""

    def __init__(self, arguments: Sequence[str], directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        number = len(list(directory.glob("*.out")))
        self._below: set[int] = set()
        self._out = directory / f"{number}-{arguments[0]}.out"
        self._err = self._out.with_suffix(".err")
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "entrepot", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=environment(),
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - no other thread runs when tests start programs
            )

    @property
    def errors(self) -> str:
        """Return what the command wrote to stderr so far."""
        return self._err.read_text(encoding="utf-8", errors="replace")

    def ready(self) -> str:
        """Return what the command says after `ready `, once it says so."""
        return until(self.ready_text, f"ready; stderr says: {self.errors}")

    def ready_text(self) -> str | None:
        """Return what the command says after `ready ` if it did so by now; fail if it ended instead."""
        lines = self._out.read_text(encoding="utf-8").splitlines(keepends=True)
        for line in lines:
            if line.startswith(READY) and line.endswith("\n"):
                return line.removeprefix(READY).strip()
        status = self.process.poll()
        assert status is None, f"ended with status {status} before it was ready: {self.errors}"
        return None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process itself, and to none of its children, which are noted."""
        self._below.update(descendants(self.process.pid))
        self.process.send_signal(number)

    @property
    def left(self) -> set[int]:
        """Return which of the processes below this one, as they were when it was signalled, still run."""
        return set(filter(is_alive, self._below))

    def wait(self) -> int:
        """Return the exit status once the process has ended."""
        return self.process.wait(STOP_DEADLINE_S)

    def end(self) -> None:
        """End the process and all below it, gently if they follow."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_DEADLINE_S)
        for pid in self.left | set(descendants(self.process.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(STOP_DEADLINE_S)


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)


def descendants(pid: int) -> list[int]:
    """Return the ids of all processes below the process `pid`; none where there is no /proc."""
    parents = {child: parent for child, (parent, _) in _processes().items()}
    found, waiting = [], [pid]
    while waiting:
        above = waiting.pop()
        children = [child for child, parent in parents.items() if parent == above]
        found += children
        waiting += children
    return found


def is_alive(pid: int) -> bool:
    """Return whether the process runs; one that ended and waits for its parent does not."""
    _, state = _processes().get(pid, (0, "Z"))
    return state not in "ZX"


def _processes() -> dict[int, tuple[int, str]]:
    """Return the parent and the state of every process."""
    found = {}
    proc = Path("/proc")
    for name in filter(str.isdecimal, os.listdir(proc) if proc.is_dir() else ()):
        with contextlib.suppress(OSError):  # it ended meanwhile
            text = proc.joinpath(name, "stat").read_text(errors="replace")
            state, parent, *_ = text.rpartition(")")[2].split()
            found[int(name)] = (int(parent), state)
    return found


@contextlib.contextmanager
def running(*arguments: str, directory: Path) -> Iterator[Program]:
    """Run a command and end it, and whatever it started, when the block is left."""
    program = Program(arguments, directory)
    try:
        program.ready()
        yield program
    finally:
        program.end()


def in_background(*arguments: str) -> subprocess.Popen[bytes]:
    """Return a command that has been started and whose output nobody wants."""
    quiet = subprocess.DEVNULL
    return subprocess.Popen(
        [sys.executable, "-m", "entrepot", *arguments],
        stdin=quiet,
        stdout=quiet,
        stderr=quiet,
        env=environment(),
    )


def command(*arguments: str, status: int | None = 0) -> subprocess.CompletedProcess[str]:
    """Return a command that ended, with its output; fail unless it ended with `status` (None: whichever)."""
    ended = subprocess.run(
        [sys.executable, "-m", "entrepot", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        env=environment(),
        check=False,
    )
    if status is not None:
        assert ended.returncode == status, f"{arguments}: {ended.returncode}\n{ended.stdout}\n{ended.stderr}"
    return ended


def json_of(*arguments: str, status: int | None = 0) -> Any:  # noqa: ANN401 - whatever the command says
    """Return what a command prints with `--json`."""
    return json.loads(command(*arguments, "--json", status=status).stdout)
