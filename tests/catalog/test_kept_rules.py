"""Rules that were in force are kept under their version, so that a decision can be explained years later."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from entrepot.catalog.data_files import data_path
from entrepot.catalog.kept_rules import keep_rules, kept_rules
from entrepot.catalog.load_rules import load_pack, shipped_packs
from entrepot.ledger.data_dir import make_data_dir
from entrepot.ledger.store.backup import back_up, restore
from entrepot.routing.policy import PolicySet


@pytest.mark.parametrize("pack", shipped_packs())
def test_rules_come_back_as_they_were(tmp_path: Path, pack: str) -> None:
    """Every kind of condition, days included; also from a backup."""
    policy = PolicySet(load_pack(data_path(f"policy/{pack}.toml"), enforces_drafts=True))
    data_dir = tmp_path / "data"
    make_data_dir(data_dir)
    keep_rules(data_dir, policy)
    keep_rules(data_dir, policy)
    assert tuple(kept_rules(data_dir, policy.digest).values()) == policy.enforced
    back_up(data_dir, tmp_path / "backup", datetime.now(UTC))
    restore(tmp_path / "backup", tmp_path / "again")
    assert tuple(kept_rules(tmp_path / "again", policy.digest).values()) == policy.enforced


def test_rules_that_were_changed_are_no_evidence(tmp_path: Path) -> None:
    """What does not have its version any more is not shown as what was in force."""
    policy = PolicySet(load_pack(data_path("policy/eu-only.toml")))
    make_data_dir(tmp_path)
    keep_rules(tmp_path, policy)
    path = tmp_path / f"policy-{policy.digest}.json"
    path.write_text(path.read_text().replace('"DE"', '"CN"'))
    assert kept_rules(tmp_path, policy.digest) == {}
    assert kept_rules(tmp_path, "000000000000") == {}


def test_without_rules_nothing_is_kept(tmp_path: Path) -> None:
    """An empty set needs no evidence."""
    make_data_dir(tmp_path)
    keep_rules(tmp_path, PolicySet())
    assert list(tmp_path.glob("policy-*")) == []
