"""A gateway whose store is in PostgreSQL, and the commands that find it there without being told."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from tests.e2e.gateways import chat, make_key, serve
from tests.ledger.stores import address, asked, new_schema

CONFIG = """\
[ledger]
store = { file = "address" }

[[hosts]]
name = "nobody"
base_url = "http://127.0.0.1:9/v1"
auth = "none"
[[hosts.endpoints]]
model = "a/b"
context_tokens = 1000
input_usd_per_mtok = "1"
output_usd_per_mtok = "1"
"""

pytestmark = pytest.mark.e2e


def command_lines() -> list[str]:
    """Return what every process of this machine was started with, as anybody sees it."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            found.append(path.read_text(errors="replace"))
    return found


def test_every_command_uses_the_store_of_the_configuration(tmp_path: Path) -> None:
    """Nobody answers, which is an attempt too: it is in the database, and nowhere else."""
    data_dir, config = tmp_path / "data", tmp_path / "entrepot.toml"
    config.write_text(CONFIG)
    with new_schema() as schema:
        (tmp_path / "address").write_text(address(schema))
        key = make_key(data_dir, "me")
        with serve(data_dir, config, key) as here:
            here.program.ready()
            for _ in range(3):
                assert here.post(chat(model="a/b")).status >= 500
            assert len(here.ask("requests")) == 3
            assert not [text for text in command_lines() if schema in text]
        assert here.ask("ledger", "report", "--by", "host")["total"]["requests"] == 3
        assert asked(f"SELECT sum(requests) FROM {schema}.usage_hours") == [(3,)]
        assert not list(data_dir.glob("ledger.sqlite*"))
        assert (data_dir / "store").stat().st_mode & 0o077 == 0
