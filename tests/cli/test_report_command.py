"""`entrepot ledger report` in all its forms: dimensions, windows, limits, CSV, shares, plots, tasks."""

from __future__ import annotations

import csv
import sys
from decimal import Decimal
from pathlib import Path
from time import time_ns
from unittest.mock import patch

import msgspec
import pytest

from entrepot.ledger.entries import Feedback
from entrepot.ledger.journal.segment import Position
from entrepot.ledger.keys.log import create_key
from entrepot.ledger.ledger import Ledger
from entrepot.ledger.reports.tasks import WHOLE_TASK
from entrepot.ledger.store.poster import catch_up
from entrepot.ledger.store.store import Store
from tests.cli.command_line import Ran, entrepot
from tests.ledger import entry_makers as make
from tests.ledger.made_shares import MODEL, own_shares, write_shares
from tests.ledger.traffic import ENDPOINTS, START_NS, write, write_requests
from tests.ledger.usage_oracle import check_usage

SHARES = ("ledger", "report", "--share", "--model", MODEL)


def rolled_up(data_dir: Path) -> Path:
    """Post what a ledger has and fill the roll-ups."""
    assert catch_up(data_dir)
    with Store.open_existing(data_dir / "ledger.sqlite") as store:
        check_usage(store)
    return data_dir


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with seeded traffic."""
    folder = tmp_path_factory.mktemp("busy")
    write_requests(folder, 120)
    return rolled_up(folder)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory whose monthly shares are known."""
    folder = tmp_path_factory.mktemp("shared")
    write_shares(folder)
    return rolled_up(folder)


def report(folder: Path, *options: str | Path) -> Ran:
    """Run a report on a data directory."""
    return entrepot("ledger", "report", *options, "--data-dir", folder, columns=200)


def test_several_dimensions_have_a_column_each(busy: Path) -> None:
    """By host and day; without --by it is by host."""
    both = report(busy, "--by", "host,day").out.splitlines()
    assert both[0].split()[:2] == ["host", "day"]
    assert both[-1].startswith("total")
    assert report(busy).out.splitlines()[0].startswith("host")
    rows = report(busy, "--by", "host,day", "--json").json["rows"]
    assert {(row["host"], row["day"]) for row in rows} == {tuple(row["group"].split(", ")) for row in rows}


def test_a_report_may_be_confined_and_counted_back_from_now(tmp_path: Path) -> None:
    """To hosts and keys by name, and to the last hours."""
    create_key(tmp_path, "team", None, START_NS)
    ledger = Ledger.open(tmp_path, START_NS)
    ref = ledger.register(ENDPOINTS[0])
    for number, age_s in ((1, 60), (2, 3 * 86_400)):
        at_ns = time_ns() - age_s * 10**9
        reserve = msgspec.structs.replace(make.reserve(number), at_ns=at_ns, endpoint_id=ref.endpoint_id)
        write(ledger, reserve)
        write(ledger, make.settle(number, 600))
    ledger.close()
    rolled_up(tmp_path)
    for options, requests in (
        ((), 2),
        (("--since", "24h"), 1),
        (("--until", "1d"), 1),
        (("--since", "30d", "--key", "team", "--host", "deepseek"), 2),
        (("--host", "azure"), 0),
        (("--key", "2"), 0),
        (("--model", "deepseek/deepseek-r1", "--since", "2d"), 1),
    ):
        assert report(tmp_path, *options, "--json").json["total"]["requests"] == requests
    nobody = report(tmp_path, "--key", "nobody")
    assert (nobody.status, "there is no key 'nobody'; there are: team" in nobody.err) == (2, True)


def test_csv_has_what_json_has(busy: Path, tmp_path: Path) -> None:
    """To stdout or to a file, one line for each row, with exact dollars."""
    shown = report(busy, "--by", "model", "--json").json["rows"]
    rows = list(csv.DictReader(report(busy, "--by", "model", "--csv", "-").out.splitlines()))
    assert [row["group"] for row in rows] == [row["group"] for row in shown]
    for row, wanted in zip(rows, shown, strict=True):
        assert Decimal(row["cost_usd"]) * 10**9 == int(row["cost_nusd"]) == wanted["cost_nusd"]
    file = tmp_path / "report.csv"
    ran = report(busy, "--by", "model", "--csv", file)
    assert (ran.out, list(csv.DictReader(file.read_text().splitlines()))) == ("", rows)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--by", "host,colour"), "'colour' is none of host, model"),
        (("--by", "host,host"), "expected up to 3 different ones"),
        (("--by", "host,day,model,key"), "expected up to 3 different ones"),
        (("--since", "yesterday"), "'yesterday' is neither a day"),
        (("--plot", "x.png"), "--plot draws shares: add --share"),
        (("--share", "--by", "tag"), "are no parts of a whole"),
        (("--share", "--by", "host,model"), "expected one, such as host"),
        (("--tasks", "--by", "day"), "expected model, endpoint or host"),
        (("--json", "--csv", "-"), "give --csv a file"),
        (("--share", "--plot", "x.gif"), "expected"),
    ],
)
def test_a_mistyped_report_is_a_usage_error(busy: Path, options: tuple[str, ...], message: str) -> None:
    """The message says what was seen and what was expected."""
    ran = report(busy, *options)
    assert ran.status == 2
    assert message in " ".join(ran.err.replace("│", " ").split())


def test_known_shares_are_shown_as_a_table_as_json_and_drawn(shared: Path, tmp_path: Path) -> None:
    """84 → 42 → 16 % in all three: the picture has the same numbers, and says that all is simulated."""
    wanted = [f"{share:.1f}%" for share in own_shares().values()]
    table = entrepot(*SHARES, "--data-dir", shared, columns=200)
    own = [line.split() for line in table.out.splitlines() if "deepseek" in line]
    assert [cells[2] for cells in own if cells[2] != "–"] == wanted == ["84.0%", "42.0%", "16.0%"]
    assert "simulated" in table.err
    shown = entrepot(*SHARES, "--json", "--data-dir", shared).json
    found = [row["share"] for row in shown["rows"] if row["host"] == "deepseek"]
    assert found == [0.84, 0.42, None, 0.16]
    file = tmp_path / "shares.svg"
    with patch.dict("matplotlib.rcParams", {"svg.fonttype": "none"}):  # texts as texts, to be read here
        assert entrepot(*SHARES, "--plot", file, "--data-dir", shared).status == 0
    drawn = file.read_text()
    for text in (
        "84%",
        "42%",
        "16%",
        "2025-02",
        "2025-05",
        "deepseek",
        "azure",
        f"{MODEL} are served",
        "simulated",
    ):
        assert text in drawn


def test_a_plot_may_be_a_picture_of_pixels_and_of_many_periods(shared: Path, tmp_path: Path) -> None:
    """By its suffix; days and weeks fit as well as months."""
    file = tmp_path / "shares.png"
    assert entrepot(*SHARES, "--every", "day", "--plot", file, "--data-dir", shared).status == 0
    assert file.read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_the_install_line_is_said(shared: Path, tmp_path: Path) -> None:
    """It is an extra: the table needs none."""
    with patch.dict(sys.modules, {"matplotlib.figure": None}):
        ran = entrepot(*SHARES, "--plot", tmp_path / "x.png", "--data-dir", shared)
    assert (ran.status, "pip install 'entrepot[plot]'" in ran.err) == (2, True)


def test_shares_as_csv_have_a_row_for_each_period_and_host(shared: Path) -> None:
    """A share that there is not is an empty cell."""
    ran = entrepot(*SHARES, "--csv", "-", "--data-dir", shared)
    rows = list(csv.DictReader(ran.out.splitlines()))
    own = {row["period"]: row["share"] for row in rows if row["host"] == "deepseek"}
    assert own == {"2025-02": "0.84", "2025-03": "0.42", "2025-04": "", "2025-05": "0.16"}


def test_tasks_are_shown_with_what_a_success_costs(tmp_path: Path) -> None:
    """Each task by itself, and all by model; what nobody reported on stands apart."""
    ledger = Ledger.open(tmp_path, START_NS)
    ledger.register(ENDPOINTS[0])
    for number, task in ((1, 7), (2, 7), (3, 8), (4, 9)):
        write(ledger, msgspec.structs.replace(make.reserve(number), task_id=task))
        write(ledger, make.settle(number, 300_000 * number))
    ledger.close()
    assert entrepot("ledger", "report", "--by", "task", "--data-dir", tmp_path).status == 0
    words = [Feedback(WHOLE_TASK, 1, 1, task, succeeded) for task, succeeded in ((7, True), (8, False))]
    with Store.open_existing(tmp_path / "ledger.sqlite") as store:
        position = store.position()
        store.post(words, Position(1, 1) if position is None else position)
    lines = report(tmp_path, "--by", "task").out.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == [f"{task:016x}" for task in (9, 7, 8)]
    ran = report(tmp_path, "--tasks")
    assert "$0.0018 for each of 1 that succeeded, of 2 reported tasks" in ran.err
    assert "1 tasks are unreported" in ran.err
    (model,) = report(tmp_path, "--tasks", "--json").json["rows"]
    assert (model["group"], model["tasks"], model["cost_per_success_usd"]) == (
        "deepseek/deepseek-r1",
        3,
        "0.0018",
    )
    rows = list(csv.DictReader(report(tmp_path, "--by", "task", "--csv", "-").out.splitlines()))
    assert {row["task"]: row["outcome"] for row in rows}["0000000000000009"] == "unreported"


def test_without_tasks_the_message_says_how_to_name_one(busy: Path) -> None:
    """An empty table would look like a fault."""
    assert "x-entrepot-task" in report(busy, "--by", "task").err
    assert "x-entrepot-task" in report(busy, "--tasks", "--by", "host").err
