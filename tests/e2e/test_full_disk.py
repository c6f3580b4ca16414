"""A disk on which nothing can be written: new requests are refused, those under way end and are settled.

The disk is not filled: the kernel is told that files of the gateway's process may not get longer than its
journal is, and it answers as a full disk does, with a part of a write or none.
"""

from __future__ import annotations

import json
import resource
import sys
import threading
import urllib.request
from pathlib import Path

import pytest

from entrepot.cli.console_address import CONSOLE_FILE
from entrepot.ledger.journal.reader import JournalReader
from tests.e2e.gateways import Running, chat, make_key, serve
from tests.e2e.host_logs import ledger_sums, simulated_hosts
from tests.e2e.programs import until

SPEEDUP = 20
STREAMS = 8


def set_limit(here: Running, size_bytes: int) -> None:
    """Let no file of the gateway grow behind this size."""
    pid = here.program.process.pid
    hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]  # type: ignore[attr-defined,unused-ignore]
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size_bytes, hard))  # type: ignore[attr-defined,unused-ignore]


def end_of_journal(data_dir: Path) -> int:
    """Return where the next entry will be written."""
    with JournalReader(data_dir / "journal") as reader:
        for _ in reader.entries():
            pass
        assert reader.position is not None
        return reader.position.offset


class Streams:
    """Answers under way; `bodies` are of those that ended."""

    def __init__(self, here: Running) -> None:
        self._here = here
        self.bodies: list[bytes] = []
        self._threads = [threading.Thread(target=self._one) for _ in range(STREAMS)]

    def start(self) -> None:
        """Ask for all of them."""
        for thread in self._threads:
            thread.start()

    def _one(self) -> None:
        self.bodies.append(self._here.post(chat("Go on.", max_tokens=400, stream=True)).body)

    def end(self) -> None:
        """Wait until each has ended."""
        for thread in self._threads:
            thread.join()


def metric(here: Running, name: str) -> float:
    """Return a metric of the gateway's console."""
    address = json.loads((here.data_dir / CONSOLE_FILE).read_bytes())
    request = urllib.request.Request(
        f"{address['url']}/metrics", headers={"authorization": f"Bearer {address['token']}"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=10) as reply:
        lines = [line.split() for line in reply.read().decode().splitlines() if not line.startswith("#")]
    return next(float(line[1]) for line in lines if line[0] == name)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the files of another process")
def test_a_full_disk_refuses_what_is_new_and_loses_nothing_that_is_under_way(tmp_path: Path) -> None:
    """Clients get whole answers; their cost stays reserved until it can be written; then all goes on."""
    data_dir = tmp_path / "data"
    with simulated_hosts(tmp_path, speedup=SPEEDUP) as hosts:
        config = tmp_path / "entrepot.toml"
        config.write_text(f"[routing]\ntime_scale = {hosts.speedup}\n\n{hosts.config}", encoding="utf-8")
        with serve(data_dir, config, make_key(data_dir, "tests")) as here:
            streams = Streams(here)
            streams.start()
            until(lambda: metric(here, "entrepot_open_reservations") == STREAMS, "all are reserved")
            set_limit(here, end_of_journal(data_dir))
            refused = here.post(chat(max_tokens=5))
            assert refused.status == 503
            assert refused.error["code"] == "journal_unavailable"
            assert "free some space or repair the disk" in refused.error["message"]
            streams.end()
            assert [body for body in streams.bodies if b"data: [DONE]" not in body] == []
            assert metric(here, "entrepot_open_reservations") > 0
            assert here.ask("ledger", "audit")["open"] != []
            set_limit(here, resource.RLIM_INFINITY)
            until(lambda: metric(here, "entrepot_open_reservations") == 0, "what waited is settled")
            assert here.post(chat(max_tokens=5)).status == 200
            hosts.wait_until_idle()
            report = here.ask("ledger", "report", "--by", "host")
            assert report["total"]["unknown_nusd"] == report["total"]["reserved_nusd"] == 0
            assert ledger_sums(report) == hosts.sums()
            assert here.ask("ledger", "audit")["ok"]
            assert here.program.process.poll() is None
