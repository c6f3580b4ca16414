"""`entrepot ledger`: reports, audit and true-up, as a user calls them."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from entrepot.domain.ids import request_id_text
from entrepot.ledger.data_dir import DataDir
from entrepot.ledger.entries import Scope
from entrepot.ledger.keys.budgets import Period
from entrepot.ledger.keys.log import create_key, set_budget_of
from entrepot.ledger.ledger import Ledger
from tests.cli.command_line import entrepot
from tests.ledger import entry_makers as make
from tests.ledger.traffic import ENDPOINTS, START_NS, write, write_requests


@pytest.fixture
def spent(tmp_path: Path) -> Path:
    """A data directory in which key `team` made one request and another one expired."""
    create_key(tmp_path, "team", None, START_NS)
    ledger = Ledger.open(tmp_path, START_NS)
    ledger.register(ENDPOINTS[0])
    for entry in (make.reserve(1), make.settle(1, 6_570_000), make.reserve(2), make.expire(2, 4_000)):
        write(ledger, entry)
    ledger.close()
    return tmp_path


@pytest.mark.parametrize(
    ("by", "group"),
    [
        ("host", "deepseek"),
        ("model", "deepseek/deepseek-r1"),
        ("country", "CN"),
        ("key", "1 team"),
        ("day", "2025-11-24"),
        ("hour", "2025-11-24"),
        ("region", "undeclared"),
        ("team", "none"),
        ("rule", "none"),
    ],
)
def test_a_report_covers_what_is_in_the_journal_without_asking_to_post(
    spent: Path, by: str, group: str
) -> None:
    """Nobody had posted before; the report does, and shows groups, dollars and what is unknown."""
    ran = entrepot("ledger", "report", "--by", by, "--data-dir", spent)
    header, row, total = ran.out.splitlines()
    assert header.split()[0] == by
    assert row.startswith(group)
    assert "0.00657" in row
    assert "0.000004" in row
    assert total.startswith("total")
    assert "unknown: attempts of which nobody knows the cost" in ran.err


def test_a_report_as_json_is_exact(spent: Path) -> None:
    """Integers and decimal text, and the name of the key beside its number."""
    shown = entrepot("ledger", "report", "--by", "key", "--json", "--data-dir", spent).json
    (row,) = shown["rows"]
    assert (row["group"], row["name"]) == ("1", "team")
    assert (row["cost_nusd"], row["unknown_nusd"], row["unknown_usd"]) == (6_570_000, 4_000, "0.000004")
    assert shown["total"]["requests"] == 2


def test_a_report_may_be_of_a_period(spent: Path) -> None:
    """Days are UTC, and the end is not in the period."""
    for since, until, requests in (
        ("2025-11-24", "2025-11-25", 2),
        ("2025-11-25", "2025-11-26", 0),
        ("2025-11-25T05:59+14:00", "2025-11-24T04:01-12:00", 2),
    ):
        period = ("--since", since, "--until", until)
        shown = entrepot("ledger", "report", "--by", "host", *period, "--json", "--data-dir", spent).json
        assert shown["total"]["requests"] == requests
    ran = entrepot("ledger", "report", "--by", "host", "--since", "tomorrow", "--data-dir", spent)
    assert ran.status == 2
    assert "'tomorrow'" in ran.err


@pytest.mark.parametrize("columns", [80, 100, 200])
def test_a_report_keeps_to_the_width_of_the_terminal(tmp_path: Path, columns: int) -> None:
    """Columns are left out rather than folded, and the message says which."""
    write_requests(tmp_path, 50)
    ran = entrepot("ledger", "report", "--by", "host", "--data-dir", tmp_path, columns=columns)
    assert max(map(len, ran.out.splitlines())) <= columns
    assert len(ran.out.splitlines()) == 1 + len(ENDPOINTS) + 1
    assert ("left out" in ran.err) == (columns < 200)
    assert "unknown ≤ $" in ran.out


def test_an_unknown_dimension_is_a_usage_error(spent: Path) -> None:
    """The message lists those that there are."""
    ran = entrepot("ledger", "report", "--by", "colour", "--data-dir", spent)
    assert ran.status == 2
    assert "country" in ran.err


def test_the_audit_exits_1_when_a_row_is_wrong(spent: Path) -> None:
    """For scripts the status, for people the entry."""
    good = entrepot("ledger", "audit", "--data-dir", spent)
    assert (good.status, good.out.splitlines()[-1][:4]) == (0, "ok: ")
    with closing(sqlite3.connect(DataDir(spent).store, isolation_level=None)) as database:
        database.execute("UPDATE closings SET output_nusd = 1 WHERE kind = 2")
    bad = entrepot("ledger", "audit", "--data-dir", spent)
    assert bad.status == 1
    assert "DIFFERS" in bad.out
    assert "output_nusd is 1 in the store and 6570000 in the journal" in bad.out
    shown = entrepot("ledger", "audit", "--json", "--data-dir", spent)
    assert (shown.status, shown.json["ok"], shown.json["differences"]) == (1, False, 3)


def test_the_audit_lists_what_is_open(tmp_path: Path) -> None:
    """With its age, its key and its amount; old enough, it is a mistake."""
    ledger = Ledger.open(tmp_path, START_NS)
    ledger.register(ENDPOINTS[0])
    write(ledger, make.reserve(1, 2_000_000))
    ran = entrepot("ledger", "audit", "--stale-after-s", "1e12", "--data-dir", tmp_path)
    ledger.close()
    assert ran.status == 0
    assert f"{request_id_text(make.request_id(1))}, attempt 1, key 1, $0.002" in ran.out
    assert entrepot("ledger", "audit", "--data-dir", tmp_path).status == 1


def test_the_audit_shows_every_budget_and_says_which_is_passed_and_by_what(spent: Path) -> None:
    """Passed is not wrong: exit 0, but said in the table, in a line of its own and in the last one."""
    set_budget_of(spent, Scope.KEY, "team", 6_500_000, START_NS, period=Period.TOTAL)
    set_budget_of(spent, Scope.KEY, "team", 9_000_000, START_NS, period=Period.MONTH, zone="Asia/Tokyo")
    ran = entrepot("ledger", "audit", "--data-dir", spent, columns=150)
    assert ran.status == 0
    month, total = [line for line in ran.out.splitlines() if line.startswith("key 1 team  $")]
    assert month.startswith("key 1 team  $0.009 a month (hard, Asia/Tokyo)  2")
    assert total.split()[-4:] == ["0.00", "-0.000074", "agrees,", "passed"]
    first = request_id_text(make.request_id(1))
    passed = "PASSED: the budget of key 1 team, $0.0065 in all (hard), is passed by the settlement of "
    assert f"{passed}{first}" in ran.out
    assert ran.out.splitlines()[-1].startswith("ok: ")
    assert ", 1 hard budget is passed, " in ran.out.splitlines()[-1]
    shown = entrepot("ledger", "audit", "--json", "--data-dir", spent).json["budgets"]
    assert [(of["period"], of["spent_nusd"], of["left_nusd"], of["agrees"]) for of in shown] == [
        ("month", 0, 9_000_000, True),
        ("total", 6_570_000, -74_000, True),
    ]
    assert (shown[1]["passed"], shown[1]["unknown_nusd"], shown[1]["zone"]) == (True, 4_000, "UTC")
    assert (shown[1]["passed_by"]["kind"], shown[1]["passed_by"]["id"]) == ("settlement", first)


def host_log(path: Path, output: int) -> Path:
    """Write the log of a host for request 1."""
    line = {
        "request_id": f"{request_id_text(make.request_id(1))}-1",
        "host": "deepseek",
        "model": "m",
        "prompt_tokens": 15,
        "cached_tokens": 5,
        "completion_tokens": output,
        "cost_usd": "0.0005",
        "outcome": "ok",
        "stream": True,
    }
    path.write_bytes(msgspec.json.encode(line) + b"\n")
    return path


def test_the_true_up_corrects_once(spent: Path, tmp_path: Path) -> None:
    """The report then says what the host says; the same log again changes nothing."""
    log = host_log(tmp_path / "host.jsonl", output=30)
    first = entrepot("ledger", "correct", log, "--data-dir", spent)
    assert first.status == 0
    assert first.out == "0 attempts agree, 1 corrected by -$0.00607\n"
    again = entrepot("ledger", "correct", log, "--json", "--data-dir", spent)
    assert (again.json["corrected"], again.json["agreed"]) == (0, 1)
    total = entrepot("ledger", "report", "--by", "host", "--json", "--data-dir", spent).json["total"]
    assert (total["cost_nusd"], total["output_tokens"]) == (500_000, 30)
    assert entrepot("ledger", "audit", "--data-dir", spent).status == 0


def test_lines_that_cannot_be_lined_up_are_told_and_exit_1(spent: Path, tmp_path: Path) -> None:
    """The others are corrected all the same."""
    log = host_log(tmp_path / "host.jsonl", output=30)
    with log.open("ab") as file:
        file.write(b'{"host": 1}\n\n{"request_id": null, "torn')
    ran = entrepot("ledger", "correct", log, "--data-dir", spent)
    assert ran.status == 1
    assert "1 corrected" in ran.out
    assert "host.jsonl:2" in ran.err
    assert "host.jsonl:4: the line is not complete" in ran.err


def test_a_directory_without_data_is_an_error_and_stays_empty(tmp_path: Path) -> None:
    """A mistyped --data-dir is said, for every reader."""
    log = host_log(tmp_path / "host.jsonl", output=30)
    for command in (("report", "--by", "host"), ("audit",), ("post",), ("correct", log)):
        ran = entrepot("ledger", *command, "--data-dir", tmp_path / "typo")
        assert ran.status == 1
        assert "typo is not a data directory" in ran.err
    assert not (tmp_path / "typo").exists()


def test_post_moves_the_journal_and_says_how_much(spent: Path) -> None:
    """By itself a gateway does this; the command is for those who run none."""
    command = [sys.executable, "-m", "entrepot", "ledger", "post", "--data-dir", str(spent)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert (ran.stdout, ran.stderr) == ("", "7 entries posted\n")
