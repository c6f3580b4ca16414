"""The processes of a benchmark: started, pinned, frozen, accounted for and ended by their pids.

CPU time comes from /proc/PID/task/*/schedstat, in nanoseconds: the utime and stime of
/proc/PID/stat count ticks of 10 ms, too coarse for steps of a few seconds, and `resource` knows
children only after their end. Where schedstat is missing the ticks serve.

Relays that are not being measured are frozen (SIGSTOP): an idle one would only wake a timer now
and then, but the gateway's poster goes on posting after the load has ended and would take the
core of the load from whoever is measured next.
"""

import contextlib
import ctypes
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PR_SET_PDEATHSIG = 1  # linux/prctl.h
END_TIMEOUT_S = 20.0  # the gateway gives its requests 10 s to end
LOG_TAIL_BYTES = 1500


class Cores(NamedTuple):
    """Which core each side runs on; None where processes cannot be pinned."""

    load: int | None
    relay: int | None

    def describe(self) -> str:
        """One line for the reader of the report."""
        if self.relay is None:
            return "not pinned: needs two cores and sched_setaffinity; figures will scatter more"
        return f"relay on core {self.relay}; upstream, load and poster on core {self.load}"


def choose_cores() -> Cores:
    """The first core allowed to us for the load, the second for the relay that is measured."""
    if not hasattr(os, "sched_getaffinity"):
        return Cores(None, None)
    allowed = sorted(os.sched_getaffinity(0))
    return Cores(allowed[0], allowed[1]) if len(allowed) > 1 else Cores(None, None)


def child_setup(core: int | None) -> Callable[[], None]:
    """What a child does before exec: takes its core, and dies when this driver dies."""
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    def set_up() -> None:
        if prctl is not None:
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # works on a frozen process, too
        if core is not None:
            os.sched_setaffinity(0, {core})

    return set_up


def allow_many_sockets() -> None:
    """Raises the limit of open files to the hard limit; children inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def free_port() -> int:
    """A loopback TCP port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def stat_fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; empty when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def start_time(pid: int) -> str:
    """When the process started, in ticks: with the pid its identity; empty when it is gone."""
    fields = stat_fields(pid)
    return fields[19] if fields and fields[0] != "Z" else ""


def descendants(pid: int) -> list[int]:
    """All children of the process and theirs, parents first."""
    parents = {}
    for entry in Path("/proc").iterdir():
        fields = stat_fields(int(entry.name)) if entry.name.isdigit() else []
        if fields:
            parents[int(entry.name)] = int(fields[1])
    found = [pid]
    for parent in found:
        found += [child for child, its_parent in parents.items() if its_parent == parent]
    return found[1:]


def cpu_s(pid: int) -> float:
    """CPU seconds that the threads of this process, without its children, have run."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        return sum(int((t / "schedstat").read_text().split()[0]) for t in threads) / 1e9
    except OSError:
        fields = stat_fields(pid)
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S if fields else 0.0


def memory_mib(pid: int) -> float:
    """Resident memory of this process."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def busy_s(cores: Cores) -> float:
    """CPU seconds, stolen ones included, that anybody has spent on the two cores."""
    try:
        lines = Path("/proc/stat").read_text().splitlines()
    except OSError:
        return 0.0
    total = 0
    for line in lines:
        name, *ticks = line.split()
        if name in {f"cpu{core}" for core in cores}:
            user, nice, system, _idle, _wait, irq, softirq, steal = map(int, ticks[:8])
            total += user + nice + system + irq + softirq + steal
    return total / TICKS_PER_S


def own_cpu_s() -> float:
    """CPU seconds of this driver and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


class Running:
    """One process of ours and the children that it may have."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        core: int | None,
        log: Path,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.log = log
        self.known: dict[int, str] = {}
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                env={**os.environ, **(env or {})},
                preexec_fn=child_setup(core),
            )
        self.pid = self.process.pid

    def ended(self) -> bool:
        """Whether the process has ended by itself."""
        return self.process.poll() is not None

    def children(self) -> list[int]:
        """The children that live now, remembered so that `end` finds them as orphans, too."""
        found = descendants(self.pid)
        self.known.update({pid: start_time(pid) for pid in found})
        return found

    def pin_children(self, core: int | None) -> None:
        """Moves the children, which inherited the core of their parent, to `core`."""
        if core is None:
            return
        for pid in self.children():
            with contextlib.suppress(OSError):
                for thread in Path(f"/proc/{pid}/task").iterdir():
                    os.sched_setaffinity(int(thread.name), {core})

    def freeze(self) -> None:
        """Stops the process, then its children: the parent must not see them hang."""
        for pid in [self.pid, *self.children()]:
            self.send(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets the children, then the process, go on."""
        for pid in [*self.children(), self.pid]:
            self.send(pid, signal.SIGCONT)

    def send(self, pid: int, number: signal.Signals) -> None:
        """Sends a signal to this process or to one of its children, if it still is that."""
        if pid == self.pid and self.ended():
            return
        if pid != self.pid and start_time(pid) != self.known.get(pid):
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    def end(self) -> None:
        """Ends the process with SIGTERM, after a while with SIGKILL, and orphans with that."""
        self.thaw()
        self.send(self.pid, signal.SIGTERM)
        try:
            self.process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pid, started in self.known.items():
            if started and start_time(pid) == started:
                self.send(pid, signal.SIGKILL)

    def log_tail(self) -> str:
        """The end of what the process wrote."""
        return self.log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace").strip()


def run_pinned(command: Sequence[str], *, core: int | None, limit_s: float, env: Mapping[str, str]) -> str:
    """Runs a load generator on `core` and returns what it printed; empty when it took too long."""
    try:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
            env={**os.environ, **env},
            preexec_fn=child_setup(core),
        ).stdout
    except subprocess.TimeoutExpired:
        return ""
