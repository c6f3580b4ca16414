"""What was measured of endpoints outlives the process that measured it, by its counts and ages."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from time import time
from typing import Any

import pytest

from entrepot.cli.gateway_process import KNOWLEDGE_FILE
from tests.e2e.gateways import R1, Running, chat, demo
from tests.e2e.programs import until

FLAGS = ("--no-local-model", "--speedup", "50", "--hosts", "parasail,azure")
REQUESTS = 12  # of each host: enough that what was measured outweighs what was declared
MOST_FADED = 0.8  # of a count, by age: a half-life is ten minutes, and a restart takes seconds
MEASURED = ("ttft_s", "tokens_per_s", "failure_share")

Kpis = dict[str, dict[str, Any]]


def measure(here: Running) -> None:
    """Send streams to each host, since a stream shows the first token and the pace."""
    with here.client() as client:
        for host in ("parasail", "azure") * REQUESTS:
            only = {"provider": {"only": [host]}}
            list(client.chat.completions.create(**chat(max_tokens=20, stream=True), extra_body=only))


def assert_kept(before: Kpis, after: Kpis) -> None:
    """Check that each measured KPI is there again, no fresher than it was and hardly faded."""
    for host, kpis in before.items():
        for name in MEASURED:
            old, new = kpis[name], after[host][name]
            assert old["basis"] == new["basis"] == "measured", (host, name, old, new)
            assert new["value"] == pytest.approx(old["value"], rel=0.05)
            assert MOST_FADED * old["count"] <= new["count"] <= old["count"]
            assert new["age_s"] >= old["age_s"]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the data directory that all demos of this module run on."""
    return tmp_path_factory.mktemp("knowledge") / "data"


def test_kpis_are_there_after_a_restart_and_after_a_kill(data_dir: Path) -> None:
    """A gateway that is told to end keeps what it knows; one that is killed, what it knew seconds ago."""
    with demo(data_dir, *FLAGS) as here:
        assert {kpi["basis"] for kpi in here.kpis(R1)["azure"].values() if isinstance(kpi, dict)} <= {
            "declared",
            "assumed",
        }
        measure(here)
        measured = here.kpis(R1)
        here.program.signal(signal.SIGTERM)
        assert here.program.wait() == 0
    with demo(data_dir, *FLAGS) as here:
        assert_kept(measured, here.kpis(R1))
        measure(here)
        ended_at = time()
        measured = here.kpis(R1)
        until(lambda: (data_dir / KNOWLEDGE_FILE).stat().st_mtime > ended_at, "knowledge is written")
        here.program.signal(signal.SIGKILL)
        here.program.wait()
    with demo(data_dir, *FLAGS) as here:
        assert_kept(measured, here.kpis(R1))
        assert all(kpis["ttft_s"]["count"] > REQUESTS for kpis in here.kpis(R1).values())
