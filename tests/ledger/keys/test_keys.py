"""Keys are made once, shown once, and have effect without a restart."""

from __future__ import annotations

import json
import stat
from base64 import urlsafe_b64decode
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from entrepot.domain.claims import UNDECLARED, KeyClaims
from entrepot.domain.errors import ConfigError, DataError
from entrepot.ledger.data_dir import DataDir
from entrepot.ledger.keys.events import KeyCaps
from entrepot.ledger.keys.keys import Key, KeyRing, digest_of, list_keys
from entrepot.ledger.keys.log import (
    create_key,
    declare_key,
    erase_key_name,
    revoke_key,
    set_budget,
    set_caps,
    set_value_of_time,
)


def test_a_secret_has_256_random_bits_and_is_written_nowhere(tmp_path: Path) -> None:
    """The log holds the SHA-256 digest; whoever reads it cannot use the key."""
    secret = create_key(tmp_path, "alice", 5_000, 1)
    assert len(urlsafe_b64decode(secret.removeprefix("sk-ent-") + "=")) == 32
    text = DataDir(tmp_path).keys.read_text()
    assert secret.removeprefix("sk-ent-") not in text
    assert json.loads(text)["digest"] == sha256(secret.encode()).hexdigest()
    assert secret != create_key(tmp_path, "bob", None, 1)
    assert stat.S_IMODE(DataDir(tmp_path).keys.stat().st_mode) == 0o600


def test_a_key_is_found_by_the_digest_of_what_a_client_presents(tmp_path: Path) -> None:
    """Text and bytes of a header give the same digest; a wrong secret finds nothing."""
    secret = create_key(tmp_path, "alice", 5_000, 7, caps=KeyCaps(usd_per_hour=50.0))
    ring = KeyRing(DataDir(tmp_path).keys)
    ring.refresh()
    expected = Key(1, "alice", digest_of(secret), 5_000, created_ns=7, caps=KeyCaps(usd_per_hour=50.0))
    assert ring.find(digest_of(secret.encode())) == expected
    assert ring.find(digest_of(secret + "x")) is None


def test_changes_reach_a_ring_that_is_in_use(tmp_path: Path) -> None:
    """Each refresh gives what changed since the last one: made, budgeted, capped, revoked."""
    ring = KeyRing(DataDir(tmp_path).keys)
    assert ring.refresh() == ()
    secret = create_key(tmp_path, "alice", None, 1)
    assert [key.name for key in ring.refresh()] == ["alice"]
    assert ring.refresh() == ()
    assert set_budget(tmp_path, "alice", 9, 2).budget_nusd == 9
    assert set_caps(tmp_path, "1", KeyCaps(seconds=3.0), 2).caps == KeyCaps(seconds=3.0)
    assert [(key.budget_nusd, key.caps.seconds) for key in ring.refresh()] == [(9, 3.0)]
    assert revoke_key(tmp_path, "alice", 3).revoked
    assert [key.revoked for key in ring.refresh()] == [True]
    assert ring.find(digest_of(secret)) is None


def test_a_value_of_time_is_given_with_the_key_or_later(tmp_path: Path) -> None:
    """And taken back; a ring that is in use sees each change."""
    ring = KeyRing(DataDir(tmp_path).keys)
    create_key(tmp_path, "alice", None, 1, usd_per_hour=20.0)
    assert [key.usd_per_hour for key in ring.refresh()] == [20.0]
    assert set_value_of_time(tmp_path, "alice", 0.0, 2).usd_per_hour == 0.0
    assert set_value_of_time(tmp_path, "1", None, 3).usd_per_hour is None
    assert [key.usd_per_hour for key in ring.refresh()] == [None]


def test_a_log_from_before_there_were_values_of_time_reads_as_ever(tmp_path: Path) -> None:
    """Lines on a disk never change: what they do not say is not set."""
    path = DataDir(tmp_path).keys
    path.write_bytes(
        b'{"event":"create","at_ns":1,"key_id":1,"name":"old","digest":"%b","budget_nusd":5,'
        b'"caps":{"usd_per_hour":9.0,"seconds":null},"team_id":0,"tags":[]}\n' % (b"ab" * 32)
    )
    (key,) = list_keys(tmp_path)
    assert (key.name, key.budget_nusd, key.caps, key.usd_per_hour) == ("old", 5, KeyCaps(9.0), None)


def test_numbers_are_never_used_again_but_names_may_be(tmp_path: Path) -> None:
    """The journal knows keys by number, so a new key of an old name has a new one."""
    create_key(tmp_path, "alice", None, 1)
    with pytest.raises(ConfigError, match="a key is called 'alice' already"):
        create_key(tmp_path, "alice", None, 2)
    revoke_key(tmp_path, "alice", 3)
    create_key(tmp_path, "alice", None, 4)
    assert [(key.key_id, key.name, key.revoked) for key in list_keys(tmp_path)] == [
        (1, "alice", True),
        (2, "alice", False),
    ]


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "\x00"])
def test_a_name_that_cannot_be_shown_is_refused(tmp_path: Path, name: str) -> None:
    """Names stand in tables and headers, so they are printable."""
    with pytest.raises(ConfigError, match="is no name"):
        create_key(tmp_path, name, None, 1)


def test_an_unknown_name_is_answered_with_those_in_use(tmp_path: Path) -> None:
    """The message helps to find the key that was meant."""
    create_key(tmp_path, "alice", None, 1)
    create_key(tmp_path, "bob", None, 1)
    revoke_key(tmp_path, "2", 2)
    with pytest.raises(ConfigError, match=r"no key is called 'bob'; keys in use: alice$"):
        revoke_key(tmp_path, "bob", 3)


def test_a_torn_last_line_is_ignored_and_cut_by_the_next_writer(tmp_path: Path) -> None:
    """A crash while a key was made loses that key only, at whichever byte it happened."""
    create_key(tmp_path, "alice", None, 1)
    path = DataDir(tmp_path).keys
    whole = path.read_bytes()
    for cut in range(1, len(whole) - 1, 7):
        path.write_bytes(whole + whole[:cut])
        assert [key.name for key in list_keys(tmp_path)] == ["alice"]
    create_key(tmp_path, "bob", None, 1)
    assert [key.name for key in list_keys(tmp_path)] == ["alice", "bob"]
    assert path.read_bytes().startswith(whole + b"{")


@pytest.mark.parametrize("line", [b"?\n", b'{"event":"revoke","at_ns":1,"key_id":9}\n', b'{"event":"new"}\n'])
def test_a_damaged_line_is_reported_with_file_and_offset(tmp_path: Path, line: bytes) -> None:
    """A line in the middle that cannot be read is not skipped: it might be a revocation."""
    secret = create_key(tmp_path, "alice", None, 1)
    path = DataDir(tmp_path).keys
    whole = path.read_bytes()
    path.write_bytes(whole + line + whole)
    ring = KeyRing(path)
    with pytest.raises(DataError, match=rf"keys.jsonl is damaged at offset {len(whole)}:"):
        ring.refresh()
    assert ring.find(digest_of(secret)) is not None


def test_a_log_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    """A log that was rewritten without a person's name takes the place of the old one."""
    secret = create_key(tmp_path, "alice", None, 1)
    path = DataDir(tmp_path).keys
    ring = KeyRing(path)
    ring.refresh()
    erased = path.with_suffix(".new")
    erased.write_bytes(path.read_bytes().replace(b"alice", b"(erased)"))
    erased.replace(path)
    ring.refresh()
    found = ring.find(digest_of(secret))
    assert found is not None
    assert found.name == "(erased)"


def test_writers_at_the_same_time_take_turns(tmp_path: Path) -> None:
    """Every key gets a number of its own and no line is mixed with another."""
    with ThreadPoolExecutor(8) as pool:
        secrets = list(pool.map(lambda number: create_key(tmp_path, f"key-{number}", None, 1), range(24)))
    keys = list_keys(tmp_path)
    assert [key.key_id for key in keys] == list(range(1, 25))
    assert {key.digest for key in keys} == {digest_of(secret) for secret in secrets}


def test_a_damaged_log_that_took_the_place_of_another_changes_nothing(tmp_path: Path) -> None:
    """Half of it would be keys without their budgets: what is known stays until all can be read."""
    secret = create_key(tmp_path, "alice", 500, 1)
    path = DataDir(tmp_path).keys
    ring = KeyRing(path)
    ring.refresh()
    whole = path.read_bytes()
    replacement = path.with_suffix(".new")
    replacement.write_bytes(whole.replace(b'"budget_nusd":500', b'"budget_nusd":null') + b"?\n")
    replacement.replace(path)
    with pytest.raises(DataError, match="is damaged"):
        ring.refresh()
    found = ring.find(digest_of(secret))
    assert found is not None
    assert found.budget_nusd == 500
    assert len(ring.budgets) == 1


@pytest.mark.parametrize("name", ["2", "007"])
def test_a_number_is_no_name(tmp_path: Path, name: str) -> None:
    """Commands take names and numbers: `revoke 2` must not end a key that is called so."""
    with pytest.raises(ConfigError, match="a number would be taken"):
        create_key(tmp_path, name, None, 1)


def test_what_is_declared_of_a_key_is_read_back_and_changed(tmp_path: Path) -> None:
    """At its making and later; what a change does not name stays."""
    create_key(tmp_path, "alice", None, 1, claims=KeyClaims(country="DE", data_classes=("phi",)))
    (key,) = list_keys(tmp_path)
    assert key.claims == KeyClaims(country="DE", data_classes=("phi",))
    declare_key(tmp_path, "alice", lambda before: msgspec.structs.replace(before, us_person=False), 2)
    (key,) = list_keys(tmp_path)
    assert key.claims == KeyClaims(country="DE", us_person=False, data_classes=("phi",))


def test_a_log_from_before_declarations_is_read(tmp_path: Path) -> None:
    """Nothing is declared of its keys."""
    create_key(tmp_path, "alice", None, 1)
    path = DataDir(tmp_path).keys
    event = json.loads(path.read_text())
    del event["claims"]
    path.write_text(json.dumps(event) + "\n")
    assert [key.claims for key in list_keys(tmp_path)] == [UNDECLARED]


def test_erasing_a_name_erases_what_was_declared(tmp_path: Path) -> None:
    """Whether somebody is a US person is theirs as much as the name is; rules then read it as undeclared."""
    create_key(tmp_path, "alice", None, 1, claims=KeyClaims(country="DE"))
    declare_key(tmp_path, "alice", lambda before: msgspec.structs.replace(before, us_person=True), 2)
    erase_key_name(tmp_path, 1)
    assert [key.claims for key in list_keys(tmp_path)] == [UNDECLARED]
    assert "DE" not in DataDir(tmp_path).keys.read_text()
