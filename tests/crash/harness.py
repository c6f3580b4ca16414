"""A gateway that is killed again and again under load, one data directory living through all of it.

The hosts are a process of their own, which survives, so its log is the truth. Commands of a user judge
the ledger at the end; after each start a look into the journal shows that nothing stayed reserved.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from bisect import bisect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, time_ns

from entrepot.domain.ids import instant_ns, request_id_from_text
from tests.crash.books import Books
from tests.crash.clients import Load, Seen
from tests.crash.judge import Verdict, judge
from tests.crash.schedule import LONG_S, WORDS, Blow, Moment, Target, blows
from tests.crash.stores import Outages, Store, store_of
from tests.e2e.differences import LEFT_OPEN, WRONG, Difference
from tests.e2e.gateways import make_key
from tests.e2e.host_logs import Hosts, simulated_hosts
from tests.e2e.programs import (
    DEADLINE_S,
    POLL_S,
    Program,
    descendants,
    free_port,
    in_background,
    is_alive,
)

SCENARIO = Path(__file__).with_name("hosts.toml")
SPEEDUP = 15
ADDRESS_FILE = "store.address"  # it may hold a password, which the configuration itself may not
SEGMENT_BYTES = 1 << 20  # the least there may be, so that kills come near the beginning of a segment
BUDGET_USD = "0.05"  # of the second key: it runs out on the way


@dataclass
class Deaths:
    """How the gateway's lives ended. `at_ns` is when each of them did; counted are blows by target."""

    at_ns: list[int] = field(default_factory=list)
    killed: list[int] = field(default_factory=list)
    counted: dict[Target, int] = field(default_factory=lambda: dict.fromkeys(Target, 0))
    starting: int = 0

    def life_of(self, request_id: str) -> int:
        """Return the number of the life in which a request, or an attempt of it, was made."""
        found = request_id_from_text(request_id[: len("req-") + 32])
        return 0 if found is None else bisect(self.at_ns, instant_ns(found))


@dataclass(frozen=True)
class Outcome:
    """What a run gave. `streams_cut` has, for each kill, how many streams it cut."""

    store: str
    seed: int
    deaths: Deaths
    streams_cut: list[int]
    seen: Sequence[Seen]
    outages: int
    away_s: float
    seconds: float
    verdict: Verdict

    @property
    def kills(self) -> int:
        """Return how many SIGKILLs the gateway got."""
        return len(self.deaths.killed)

    @property
    def share_streaming(self) -> float:
        """Return the share of the kills that cut streams."""
        return sum(cut > 0 for cut in self.streams_cut) / max(1, self.kills)

    @property
    def complaints(self) -> list[str]:
        """Return each difference with the life of the gateway (from 0) in which its request was made."""
        found = self.verdict.differences
        return [f"{one.kind}: {one.name} {one.text} (life {self.deaths.life_of(one.name)})" for one in found]

    @property
    def again(self) -> str:
        """Return the command that makes the same choices once more."""
        return f"make crash N={self.kills} SEED={self.seed} STORE={self.store}"


def crash(directory: Path, *, store: str, seed: int, kills: int) -> Outcome:
    """Return what a run gave whose files are in `directory`."""
    began_s = monotonic()
    data_dir = directory / "data"
    with (
        simulated_hosts(directory, speedup=SPEEDUP, scenario=SCENARIO, seed=seed) as hosts,
        store_of(store, data_dir) as its_store,
    ):
        run = CrashRun(directory, hosts, its_store, seed=seed)
        verdict = asyncio.run(run.until_killed(kills))
    load, deaths = run.load, run.deaths
    return Outcome(
        store,
        seed,
        deaths,
        [load.cut_in(life) for life in deaths.killed],
        seen=load.seen,
        outages=run.outages.count,
        away_s=run.outages.away_s,
        seconds=monotonic() - began_s,
        verdict=verdict,
    )


class CrashRun:
    """One run: its clients, its outages, its deaths."""

    def __init__(self, directory: Path, hosts: Hosts, store: Store, *, seed: int) -> None:
        self._directory = directory
        self._data_dir = directory / "data"
        self._hosts = hosts
        self._store = store
        self._seed = seed
        self._config = directory / "entrepot.toml"
        (directory / ADDRESS_FILE).write_text(store.setting, encoding="utf-8")
        self._config.write_text(_configuration(hosts, store, free_port()), encoding="utf-8")
        keys = [make_key(self._data_dir, "free"), make_key(self._data_dir, "tight", budget_usd=BUDGET_USD)]
        self._port, self._console_port = free_port(), free_port()
        self.load = Load(seed, self._port, keys)
        self.outages = Outages(seed, store)
        self.deaths = Deaths()
        self._books = Books(self._data_dir / "journal")
        self._program: Program | None = None
        self._true_up: subprocess.Popen[bytes] | None = None
        self._open_at_death: set[str] = set()
        self._left: set[int] = set()
        self._differences: list[Difference] = []

    async def until_killed(self, kills: int) -> Verdict:
        """Return what is to be said once the gateway was killed so often, started once more, and ended."""
        try:
            async with self._store.reachable():
                async with self.outages.running(), self.load.running():
                    for blow in blows(self._seed, kills):
                        await self._strike(blow)
                    await self._ready()
                await asyncio.to_thread(self._hosts.wait_until_idle)
                await self._end_gently()
                await _until(lambda: not any(map(is_alive, self._left)), "the posters of dead gateways end")
                return await asyncio.to_thread(self._judge)
        finally:
            self._books.close()
            if self._program is not None:
                self._program.end()
            if self._true_up is not None:
                self._true_up.kill()
                self._true_up.wait()

    def _judge(self) -> Verdict:
        verdict = judge(self._data_dir, self._hosts, self._books, self.load.seen, {2: BUDGET_USD})
        verdict.differences[:0] = self._differences
        return verdict

    # -- blows

    async def _strike(self, blow: Blow) -> None:
        """Wait for the moment, in the life that is or in a new one, and strike."""
        is_starting = self._program is None and blow.moment is Moment.STARTING
        if not is_starting:
            await self._ready()
        program = self._started()
        posters = descendants(program.process.pid)  # looked up before the moment, which may be short
        await self._moment(blow)
        await asyncio.sleep(blow.wait_s)
        self.deaths.counted[blow.target] += 1
        if blow.target is Target.POSTER:
            _kill(posters)
        elif blow.target is Target.GENTLY:
            await self._end_gently()
        else:
            self.deaths.killed.append(self.load.life)
            self.deaths.starting += is_starting
            doomed = posters if blow.target is Target.BOTH else []
            _kill(doomed)
            program.signal(signal.SIGKILL)
            await self._dead(program)
        await self._true_up_over()

    async def _true_up_over(self) -> None:
        """Return when no true-up is at work: where the gateway is dead, it owns the ledger meanwhile."""
        if self._true_up is not None:
            true_up, self._true_up = self._true_up, None
            await _until(lambda: true_up.poll() is not None, "`ledger correct` ends")

    async def _moment(self, blow: Blow) -> None:
        match blow.moment:
            case Moment.STREAMING:
                await _until(lambda: self.load.flowing >= blow.streams, f"{blow.streams} streams flow")
            case Moment.RETURNED:
                await self._store.written_to()
                await self.outages.one(LONG_S)
            case Moment.POSTING:
                await self._store.written_to()
            case Moment.CORRECTING:
                where = ("--data-dir", str(self._data_dir))
                self._true_up = in_background("ledger", "correct", str(self._hosts.log), *where)
            case Moment.STARTING | Moment.LOADED:
                pass

    async def _end_gently(self) -> None:
        """Tell the gateway to end; one that was at work leaves nothing open."""
        program = self._started()
        program.signal(signal.SIGTERM)
        status = await self._dead(program)
        if status == 0:
            self._expect_closed(self._books.open, "the gateway ended in order")
        elif status != -signal.SIGTERM:  # which ends a gateway that does not listen to signals yet
            text = f"status {status} after SIGTERM; stderr says: {program.errors}"
            self._differences.append(Difference(WRONG, f"life {self.load.life}", text))

    # -- lives

    def _started(self) -> Program:
        """Return the gateway that runs, started if there is none."""
        if self._program is None:
            ports = ("--port", str(self._port), "--console-port", str(self._console_port))
            files = ("--config", str(self._config), "--data-dir", str(self._data_dir))
            self._program = Program(("serve", *files, *ports), self._directory / "said")
        return self._program

    async def _ready(self) -> None:
        """Return once a gateway runs and is ready; whatever the one before left open is closed then."""
        program = self._started()
        await _until(program.ready_text, f"ready; stderr says: {program.errors}")
        self._books.read()
        self._expect_closed(self._open_at_death & self._books.open, "the next gateway was ready")
        self._open_at_death.clear()

    async def _dead(self, program: Program) -> int:
        """Return the exit status once the process has ended, and what it left is noted."""
        await _until(lambda: program.process.poll() is not None, "the gateway ends")
        self._program = None
        self._left |= program.left
        self._books.read()
        self._open_at_death = set(self._books.open)
        self.deaths.at_ns.append(time_ns())
        self.load.life += 1
        return program.wait()

    def _expect_closed(self, still_open: set[str], when: str) -> None:
        text = f"was still open when {when}"
        self._differences += [Difference(LEFT_OPEN, name, text) for name in sorted(still_open)]


def _configuration(hosts: Hosts, store: Store, refusing_port: int) -> str:
    """Return a configuration of the hosts, and of a cheaper one that refuses connections.

    The journal is strict in the runs with a database, so that both ways of writing it are killed.
    """
    in_database = f'store = {{ file = "{ADDRESS_FILE}" }}\nstrict = true' if store.setting else ""
    return f"""
[ledger]
segment_bytes = {SEGMENT_BYTES}
{in_database}

[server]
shutdown_grace_s = 0.01

[routing]
time_scale = {hosts.speedup}
exploration_share = 0.2

{hosts.config}

[[hosts]]
name = "refusing"
base_url = "http://127.0.0.1:{refusing_port}/v1"

[[hosts.endpoints]]
model = "{WORDS}"
input_usd_per_mtok = "0.01"
output_usd_per_mtok = "0.01"
context_tokens = 65536
"""


def _kill(pids: Iterable[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


async def _until(condition: Callable[[], object], what: str) -> None:
    """Return once the condition is true, while clients go on; fail with `what` at the deadline."""
    async with asyncio.timeout(DEADLINE_S) as limit:
        try:
            while not condition():
                await asyncio.sleep(POLL_S)
        except asyncio.CancelledError:
            assert not limit.expired(), f"not within {DEADLINE_S:g} s: {what}"
            raise
