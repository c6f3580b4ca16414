"""`entrepot data backup` under load: nobody waits for it, and what it made is a whole data directory."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.e2e.gateways import Running, chat, make_key, serve
from tests.e2e.host_logs import simulated_hosts
from tests.e2e.programs import command, json_of, until

SPEEDUP = 200
CLIENTS = 4


class Load:
    """Clients that ask one thing after the other; `statuses` are of the answers so far."""

    def __init__(self, here: Running) -> None:
        self._here = here
        self._stop = threading.Event()
        self.statuses: list[int] = []

    def _ask(self) -> None:
        while not self._stop.is_set():
            self.statuses.append(self._here.post(chat(max_tokens=5)).status)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Ask while the block runs."""
        clients = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        try:
            yield
        finally:
            self._stop.set()
            for client in clients:
                client.join()

    def until_more(self, count: int) -> None:
        """Wait for so many more answers."""
        enough = len(self.statuses) + count
        until(lambda: len(self.statuses) >= enough, "more answers")


def test_a_backup_under_load_is_whole_and_serves_on(tmp_path: Path) -> None:
    """All that was answered before is in it; restored, it audits, and a gateway goes on with it."""
    data_dir, restored = tmp_path / "data", tmp_path / "restored"
    backup = tmp_path / "backup.tar.gz"
    with simulated_hosts(tmp_path, speedup=SPEEDUP) as hosts:
        config = tmp_path / "entrepot.toml"
        own = f"[ledger]\nsegment_bytes = 1048576\n\n[routing]\ntime_scale = {hosts.speedup}\n\n"
        config.write_text(own + hosts.config, encoding="utf-8")
        key = make_key(data_dir, "tests")
        with serve(data_dir, config, key) as here:
            load = Load(here)
            with load.running():
                load.until_more(50)
                answered = len(load.statuses)
                here.command("data", "backup", str(backup))
                load.until_more(20)
            assert set(load.statuses) == {200}
        command("data", "restore", str(backup), "--data-dir", str(restored))
        report = json_of("ledger", "report", "--by", "host", "--data-dir", str(restored))["total"]
        assert answered <= report["requests"] <= len(load.statuses)
        with serve(restored, config, key) as here:
            assert here.post(chat(max_tokens=5)).status == 200
            audit = here.ask("ledger", "audit")
            assert audit["ok"], audit
            assert audit["open"] == []
            assert here.ask("data", "verify")["ok"]
            requests = here.ask("ledger", "report", "--by", "host")["total"]["requests"]
            assert requests == report["requests"] + 1
