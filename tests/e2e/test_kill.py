"""The gateway ends in the middle of fifty streams: what was sent is in the ledger, and stays payable.

The moment is seeded: how many streams have content by then, how much, and how long their answers may get.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path
from random import Random

import pytest

from tests.e2e.differences import Attempts, against_hosts
from tests.e2e.gateways import Running, chat, make_key, raw_post, serve
from tests.e2e.host_logs import Hosts, ledger_sums, simulated_hosts
from tests.e2e.programs import DEADLINE_S, until

STREAMS = 50
MOST_TOKENS = 4000  # of about 15,000 in all: the others are still to come when the gateway dies
SPEEDUP = 50
CONTENT = b'"content":"'
LAST_EVENT = b"data: [DONE]"
ERROR = b'{"error":{'


class Streams:
    """Fifty answers under way until the gateway ends.

    `whole` and `broken` count how they ended, `told` those of the broken that ended with an error.
    """

    def __init__(self, here: Running, random: Random) -> None:
        self._here = here
        self._lengths = [random.randint(1, 1000) for _ in range(STREAMS)]
        self._enough_streams = random.randint(1, STREAMS - 10)
        self._enough_tokens = random.randint(1, MOST_TOKENS)
        self._streams = self._tokens = 0
        self._enough = asyncio.Event()
        self.whole = 0
        self.broken = 0
        self.told = 0

    async def run_until(self, number: signal.Signals) -> None:
        """Start the streams, and signal the gateway once they have as much content as the seed says."""
        async with asyncio.timeout(DEADLINE_S):
            streams = [asyncio.create_task(self._one(most_tokens)) for most_tokens in self._lengths]
            await self._enough.wait()
            self._here.program.signal(number)
            await asyncio.gather(*streams)

    async def _one(self, most_tokens: int) -> None:
        received = b""
        with contextlib.suppress(ConnectionError):
            reader, writer = await asyncio.open_connection("127.0.0.1", self._here.port)
            with contextlib.closing(writer):
                asked = chat("Go on.", max_tokens=most_tokens, stream=True)
                writer.write(raw_post("/v1/chat/completions", asked, self._here.key))
                while data := await reader.read(65536):
                    self._note(data, is_first=CONTENT not in received)
                    received += data
        is_whole = LAST_EVENT in received
        self.whole += is_whole
        self.broken += not is_whole
        self.told += ERROR in received

    def _note(self, data: bytes, *, is_first: bool) -> None:
        tokens = data.count(CONTENT)
        self._streams += bool(tokens) and is_first
        self._tokens += tokens
        if self._streams >= self._enough_streams and self._tokens >= self._enough_tokens:
            self._enough.set()


def configuration(hosts: Hosts, directory: Path) -> Path:
    """Return the file that tells a gateway of the hosts, and to be quick when it is told to end."""
    path = directory / "entrepot.toml"
    own = f"[server]\nshutdown_grace_s = 0.01\n\n[routing]\ntime_scale = {hosts.speedup}\n\n"
    text = own + hosts.config
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_after_a_kill_every_request_that_a_host_saw_has_its_entries(tmp_path: Path, seed: int) -> None:
    """Nothing is lost or open: settled at what the journal knows, or *unknown, at most X*, then trued up."""
    data_dir = tmp_path / "data"
    with simulated_hosts(tmp_path, speedup=SPEEDUP) as hosts:
        config = configuration(hosts, tmp_path)
        key = make_key(data_dir, "tests")
        with serve(data_dir, config, key) as here:
            streams = Streams(here, Random(seed))
            asyncio.run(streams.run_until(signal.SIGKILL))
            assert here.program.wait() == -signal.SIGKILL
            until(lambda: not here.program.left, "the poster ends with its gateway, started up or not")
        assert streams.broken > 0
        hosts.wait_until_idle()
        with serve(data_dir, config, key) as here:
            check_recovery(here, hosts)
            assert here.post(chat(max_tokens=2)).status == 200
            hosts.wait_until_idle()
            check_true_up(here, hosts)


def test_a_gateway_that_is_told_to_end_settles_what_it_cuts(tmp_path: Path) -> None:
    """Streams that outlast the grace are cut and told so; their cost is estimated, none is unknown."""
    data_dir = tmp_path / "data"
    with simulated_hosts(tmp_path, speedup=SPEEDUP) as hosts:
        key = make_key(data_dir, "tests")
        with serve(data_dir, configuration(hosts, tmp_path), key) as here:
            streams = Streams(here, Random(0))
            asyncio.run(streams.run_until(signal.SIGTERM))
            assert here.program.wait() == 0
        assert streams.told > 0
        hosts.wait_until_idle()
        report = here.ask("ledger", "report", "--by", "host")["total"]
        assert report["unknown_nusd"] == report["reserved_nusd"] == 0
        check_true_up(here, hosts)


def check_recovery(here: Running, hosts: Hosts) -> None:
    """Check that each attempt is closed, and that those of the dead say what they may have cost at most."""
    attempts = Attempts.of(here.ask("requests", "--limit", "1000"))
    assert list(against_hosts(attempts, hosts.lines())) == []
    assert attempts.unknown()
    report = here.ask("ledger", "report", "--by", "host")["total"]
    assert report["unknown_nusd"] > 0
    assert report["reserved_nusd"] == 0


def check_true_up(here: Running, hosts: Hosts) -> None:
    """Check that the hosts' log settles what is unknown, and that the totals are then the hosts'."""
    assert here.ask("ledger", "correct", str(hosts.log))["problems"] == []
    report = here.ask("ledger", "report", "--by", "host")
    assert ledger_sums(report) == hosts.sums()
    audit = here.ask("ledger", "audit")
    assert audit["ok"], audit
    assert audit["open"] == []
