"""Forty kills: nothing is lost, doubled or reserved for ever, though the store is away now and then."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.harness import crash
from tests.crash.stores import POSTGRES, SQLITE, why_no_postgres
from tests.crash.table import LEAST_SHARE_STREAMING, table

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

KILLS = 40
SEED = 20260101


@pytest.mark.parametrize("store", [SQLITE, POSTGRES])
def test_after_many_kills_under_load_the_ledger_is_what_hosts_and_clients_saw(
    store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every attempt of the hosts' log is in the ledger once, closed, and adds up to the nano-dollar."""
    absent = why_no_postgres()
    if store == POSTGRES and absent is not None:
        pytest.skip(absent)
    kills = KILLS if absent is not None else KILLS // 2  # each store takes its half, if there are two
    outcome = crash(tmp_path, store=store, seed=SEED, kills=kills)
    with capsys.disabled():
        print("\n" + table([outcome]))  # noqa: T201 - how many streams were open is to be seen
    assert outcome.complaints == [], f"again: {outcome.again}"
    assert outcome.kills == kills
    assert outcome.share_streaming >= LEAST_SHARE_STREAMING
    assert outcome.outages > 0
