"""`entrepot replay`: table, JSON, picture, and what it says when something is wrong."""

from __future__ import annotations

import sys
from pathlib import Path
from unittest.mock import patch

import pytest

from entrepot.ledger.ledger import Ledger
from entrepot.replay.trace_files import load_trace
from tests.cli.command_line import entrepot
from tests.ledger import entry_makers as make
from tests.ledger.traffic import ENDPOINTS, START_NS, write

QUICK = ("replay", "azure_2023_conv", "--scenario", "steady", "--limit", "200")


def test_the_table_has_every_router_and_says_that_it_is_simulated() -> None:
    """The oracle always runs and stands at 1; the rest is ordered by what it lost."""
    ran = entrepot(*QUICK, "--router", "random", "--router", "round-robin", columns=200)
    assert ran.status == 0
    lines = ran.out.splitlines()
    assert lines[1].split()[0] == "oracle"
    assert {line.split()[0] for line in lines[1:]} == {"oracle", "random", "round-robin"}
    assert "harbour" in lines[0]
    assert "simulated: 200 requests of azure_2023_conv at the endpoints of steady" in ran.err


def test_ours_runs_unless_another_is_asked_for() -> None:
    """Without --router the question is how we do."""
    ran = entrepot(*QUICK, "--json")
    assert [one["router"] for one in ran.json["routers"]] == ["entrepot", "oracle"]


def test_json_has_intervals_over_seeds() -> None:
    """Each figure with its mean and the half of its interval; what was asked stands beside."""
    ran = entrepot(*QUICK, "--router", "random", "--seeds", "3", "--value-of-time", "50", "--json")
    shown = ran.json
    assert (shown["simulated"], shown["seeds"], shown["usd_per_hour"]) == (True, 3, 50.0)
    random, oracle = shown["routers"]
    assert random["ratio"]["half"] > 0
    assert random["ratio"]["mean"] > oracle["ratio"]["mean"] == 1.0
    assert sum(random["first_choices"]) == pytest.approx(1.0)
    assert random["in_time"] is None


def test_a_limit_of_time_adds_how_often_it_was_kept() -> None:
    """Two columns: of all requests, and of those that the oracle could serve in time."""
    ran = entrepot(*QUICK, "--answer-s", "5", "--probability", "0.8", columns=200)
    assert "in time" in ran.out
    assert "where possible" in ran.out
    assert "whole within 5 s with 80%" in ran.err


def test_a_narrow_terminal_loses_columns_and_says_so() -> None:
    """Numbers are never folded: whole columns go, the least telling first."""
    ran = entrepot(*QUICK, columns=60)
    assert "left out, as the terminal is narrow" in ran.err
    assert max(map(len, ran.out.splitlines())) <= 60


def test_regret_is_drawn(tmp_path: Path) -> None:
    """A picture where one was asked for, of the kind that its suffix says."""
    pytest.importorskip("matplotlib")
    path = tmp_path / "regret.svg"
    ran = entrepot(*QUICK, "--router", "random", "--plot", path)
    assert ran.status == 0
    assert path.read_text().startswith("<?xml")
    assert "random" in path.read_text()


def test_a_picture_of_no_known_kind_is_refused_before_the_work(tmp_path: Path) -> None:
    """The suffix is looked at first."""
    ran = entrepot(*QUICK, "--plot", tmp_path / "regret.bmp")
    assert (ran.status, ran.out) == (2, "")
    assert "would be drawn as .bmp" in ran.err


def test_without_matplotlib_the_install_line_is_said(tmp_path: Path) -> None:
    """The extra is named, before the work."""
    with patch.dict(sys.modules, {"matplotlib.figure": None}):
        ran = entrepot(*QUICK, "--plot", tmp_path / "regret.png")
    assert (ran.status, ran.out) == (2, "")
    assert "pip install 'entrepot[plot]'" in ran.err


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("replay", "azure", "--scenario", "steady"), 2, "no trace is called 'azure'"),
        (("replay", "azure_2023_conv", "--scenario", "stedy"), 2, "did you mean steady?"),
        ((*QUICK, "--router", "oracel"), 2, "no router is called 'oracel'; did you mean oracle?"),
        ((*QUICK, "--probability", "2"), 2, "probability"),
        (("replay", "none.csv", "--scenario", "steady"), 1, "none.csv: cannot be read"),
        (("replay", "azure_2023_conv"), 2, "--scenario"),
    ],
)
def test_what_is_wrong_is_said_with_its_exit_code(arguments: tuple[str, ...], status: int, said: str) -> None:
    """2 for usage, 1 for a file that cannot be read."""
    ran = entrepot(*arguments)
    assert (ran.status, ran.out) == (status, "")
    assert said in ran.err


def test_prompts_that_fit_nowhere_are_counted(tmp_path: Path) -> None:
    """A trace of two requests, one of them longer than every window."""
    path = tmp_path / "mine.csv"
    rows = ("2024-01-01 00:00:00,100,10", "2024-01-01 00:00:01,9000000,10")
    path.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n" + "\n".join(rows) + "\n")
    ran = entrepot("replay", path, "--scenario", "steady", "--json")
    assert (ran.json["requests"], ran.json["left_out_as_too_long"]) == (1, 1)
    assert (
        "they fit in no endpoint's window: 1 requests" in entrepot("replay", path, "--scenario", "steady").err
    )


def test_what_requests_prints_is_a_trace(tmp_path: Path) -> None:
    """The export of our own ledger, through the real commands: the answered request, not the failed one."""
    ledger = Ledger.open(tmp_path / "data", START_NS)
    for endpoint in ENDPOINTS:
        ledger.register(endpoint)
    for entry in (make.reserve(1), make.settle(1, 600), make.reserve(2), make.void(2)):
        write(ledger, entry)
    ledger.close()
    path = tmp_path / "mine.json"
    path.write_text(entrepot("requests", "--data-dir", tmp_path / "data", "--json").out)
    trace = load_trace(str(path))
    settled = make.settle(1, 600).usage
    assert [(one.prompt_tokens, one.output_tokens) for one in trace.requests] == [
        (settled.prompt_tokens, settled.output_tokens)
    ]
    assert trace.skipped == "left out, as they have no tokens: 1 requests"
    assert entrepot("replay", path, "--scenario", "steady").status == 0
