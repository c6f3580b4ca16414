"""`entrepot key`: a secret is shown once, and every change is seen by the ledger."""

from __future__ import annotations

from pathlib import Path

import pytest

from entrepot.ledger.keys.events import KeyCaps
from entrepot.ledger.keys.keys import digest_of, list_keys
from entrepot.ledger.ledger import Ledger
from tests.cli.command_line import entrepot
from tests.ledger import entry_makers as make
from tests.ledger.traffic import ENDPOINTS, START_NS, write


def test_create_prints_the_secret_once_and_keeps_only_its_digest(tmp_path: Path) -> None:
    """Stdout is the secret alone, for a pipe; the sentence about it goes to stderr."""
    ran = entrepot("key", "create", "--name", "team", "--data-dir", tmp_path)
    secret = ran.out.strip()
    assert (ran.status, secret[:7]) == (0, "sk-ent-")
    assert "shown this once" in ran.err
    (key,) = list_keys(tmp_path)
    assert key.digest == digest_of(secret)
    assert all(secret.encode() not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_create_as_json_has_key_id_and_name(tmp_path: Path) -> None:
    """The shape that scripts and tests rely on."""
    shown = entrepot(
        "key", "create", "--name", "ci", "--budget-usd", "0.05", "--json", "--data-dir", tmp_path
    ).json
    assert shown.keys() == {"key", "id", "name"}
    (key,) = list_keys(tmp_path)
    assert (shown["id"], shown["name"], key.budget_nusd) == (key.key_id, "ci", 50_000_000)


@pytest.mark.parametrize("budget", ["-1", "x", "nan", "0.0000000001"])
def test_a_budget_that_is_no_amount_is_a_usage_error(tmp_path: Path, budget: str) -> None:
    """Nothing is made, and the message shows the value."""
    ran = entrepot("key", "create", "--name", "a", "--budget-usd", budget, "--data-dir", tmp_path)
    assert ran.status == 2
    assert budget in ran.err
    assert list_keys(tmp_path) == ()


def test_a_name_in_use_and_an_unknown_name_are_usage_errors(tmp_path: Path) -> None:
    """Both name what there is."""
    entrepot("key", "create", "--name", "a", "--data-dir", tmp_path)
    again = entrepot("key", "create", "--name", "a", "--data-dir", tmp_path)
    unknown = entrepot("key", "revoke", "b", "--data-dir", tmp_path)
    assert (again.status, unknown.status) == (2, 2)
    assert "'a'" in again.err
    assert "'b'" in unknown.err


def test_revoke_and_budget_change_a_key_by_name_or_number(tmp_path: Path) -> None:
    """What was changed is said, and is so."""
    entrepot("key", "create", "--name", "a", "--data-dir", tmp_path)
    assert "$2.50" in entrepot("key", "budget", "a", "2.5", "--data-dir", tmp_path).out
    assert list_keys(tmp_path)[0].budget_nusd == 2_500_000_000
    assert "no budget" in entrepot("key", "budget", "1", "none", "--data-dir", tmp_path).out
    assert "revoked" in entrepot("key", "revoke", "1", "--data-dir", tmp_path).out
    assert list_keys(tmp_path)[0].revoked


def test_list_shows_what_was_spent_and_never_a_secret(tmp_path: Path) -> None:
    """Spent is what counts against the budget."""
    secret = entrepot("key", "create", "--name", "a", "--budget-usd", "5", "--data-dir", tmp_path).out.strip()
    ledger = Ledger.open(tmp_path, START_NS)
    ledger.register(ENDPOINTS[0])
    for entry in (make.reserve(1), make.settle(1, 6_570_000), make.reserve(2), make.expire(2, 1_000)):
        write(ledger, entry)
    ledger.close()
    table = entrepot("key", "list", "--data-dir", tmp_path)
    assert "0.006571" in table.out
    assert secret not in table.out
    (row,) = entrepot("key", "list", "--json", "--data-dir", tmp_path).json
    assert (row["spent_usd"], row["unknown_at_most_usd"]) == ("0.00657", "0.000001")
    assert (row["budget_usd"], row["requests"]) == ("5.00", 2)


def test_without_keys_the_list_says_how_to_make_one(tmp_path: Path) -> None:
    """An empty table would leave a user alone."""
    ran = entrepot("key", "list", "--data-dir", tmp_path / "new")
    assert (ran.status, ran.out) == (0, "")
    assert "entrepot key create" in ran.err


def test_a_value_of_time_is_given_changed_shown_and_taken_back(tmp_path: Path) -> None:
    """With the key or later; the list shows it where any key has one."""
    at = ("--data-dir", tmp_path)
    entrepot("key", "create", "--name", "plain", *at)
    assert "time $/h" not in entrepot("key", "list", *at).out
    entrepot("key", "create", "--name", "a", "--value-of-time", "20", *at)
    assert [key.usd_per_hour for key in list_keys(tmp_path)] == [None, 20.0]
    assert "time $/h" in entrepot("key", "list", *at).out
    assert "$0.5/h" in entrepot("key", "set", "a", "--value-of-time", "0.5", *at).out
    assert [row["usd_per_hour"] for row in entrepot("key", "list", "--json", *at).json] == [None, 0.5]
    assert entrepot("key", "set", "2", "--value-of-time", "0", "--json", *at).json["usd_per_hour"] == 0
    assert "the configuration's" in entrepot("key", "set", "a", "--value-of-time", "none", *at).out
    assert list_keys(tmp_path)[1].usd_per_hour is None


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "1e12", "much", ""])
def test_what_is_no_value_of_time_is_a_usage_error(tmp_path: Path, value: str) -> None:
    """Nothing is made or changed, and the message shows the value."""
    at = ("--data-dir", tmp_path)
    assert entrepot("key", "create", "--name", "a", "--value-of-time", value, *at).status == 2
    assert list_keys(tmp_path) == ()
    entrepot("key", "create", "--name", "a", "--value-of-time", "3", *at)
    ran = entrepot("key", "set", "a", "--value-of-time", value, *at)
    assert (ran.status, list_keys(tmp_path)[0].usd_per_hour) == (2, 3.0)
    assert repr(value) in ran.err


def test_caps_are_set_and_taken_back(tmp_path: Path) -> None:
    """Both kinds in one call; a call without options goes back to the configuration's."""
    entrepot("key", "create", "--name", "a", "--data-dir", tmp_path)
    ran = entrepot("key", "caps", "a", "--usd-per-hour", "20", "--seconds", "60", "--data-dir", tmp_path)
    assert (ran.status, list_keys(tmp_path)[0].caps) == (0, KeyCaps(20.0, 60.0))
    assert "usd_per_hour 20" in ran.out
    entrepot("key", "caps", "a", "--data-dir", tmp_path)
    assert list_keys(tmp_path)[0].caps == KeyCaps()
    assert entrepot("key", "caps", "a", "--seconds", "-1", "--data-dir", tmp_path).status == 2
