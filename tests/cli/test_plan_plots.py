"""`entrepot plan … --plot`: every command that draws writes a picture that says what a host decides by."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.cli.plots import spread
from tests.cli.command_line import entrepot
from tests.cli.test_plan_calibrate import answered, written

LLAMA = ("--model", "meta-llama/Llama-3.1-70B", "--gpu", "h200")
PRICE = ("price", *LLAMA, "--layout", "tp4", "--request", "2048:512")
LOADS = (*PRICE, "--load-per-s", "1", "--tokens-per-s", "30", "--demand", "2@0.001")
COMPARE = ("compare", *LLAMA, "--layout", "tp4", "--layout", "tp8", "--tokens-per-s", "30")
VALIDATE = ("validate", "--only", "2", "--quick")
COMMANDS = {
    "price": LOADS,
    "compare": (*COMPARE, "--api", "0.5/0.8"),
    "validate": VALIDATE,
    "capacity": ("capacity", *LLAMA, "--layout", "tp4", "--tokens-per-s", "30"),
}


@pytest.fixture(params=[*COMMANDS, "calibrate"])
def command(request: pytest.FixtureRequest, tmp_path: Path) -> Sequence[str | Path]:
    """Return each of the commands that draw, in turn."""
    if request.param == "calibrate":
        return ("calibrate", written(tmp_path / "records.csv", answered(6.0, 100)))
    return COMMANDS[request.param]


def texts(path: Path, *arguments: str | Path) -> str:
    """Return the texts of a picture that is drawn as an SVG."""
    pytest.importorskip("matplotlib")
    with patch.dict("matplotlib.rcParams", {"svg.fonttype": "none"}):  # texts as texts, to be read here
        ran = entrepot("plan", *arguments, "--plot", path)
    assert ran.status == 0, ran.err
    assert f"drawn in {path}" in ran.err
    return path.read_text(encoding="utf-8")


def test_every_command_draws_a_picture_and_prints_as_ever(
    command: Sequence[str | Path], tmp_path: Path
) -> None:
    """A PNG that is neither empty nor too large to send; the tables stay."""
    pytest.importorskip("matplotlib")
    path = tmp_path / "picture.png"
    ran = entrepot("plan", *command, "--plot", path)
    assert ran.status == 0, ran.err
    assert path.read_bytes().startswith(b"\x89PNG")
    assert 20_000 < path.stat().st_size < 500_000
    assert len(ran.out.splitlines()) >= 2


def test_a_picture_of_no_known_kind_is_refused_before_the_work(
    command: Sequence[str | Path], tmp_path: Path
) -> None:
    """Exit 2, and nothing else is said."""
    ran = entrepot("plan", *command, "--plot", tmp_path / "picture.bmp")
    assert (ran.status, ran.out) == (2, "")
    assert "would be drawn as .bmp" in ran.err


def test_without_matplotlib_the_install_line_is_said(command: Sequence[str | Path], tmp_path: Path) -> None:
    """The extra is named, before the work."""
    with patch.dict(sys.modules, {"matplotlib.figure": None}):
        ran = entrepot("plan", *command, "--plot", tmp_path / "picture.png")
    assert (ran.status, ran.out) == (2, "")
    assert "pip install 'entrepot[plot]'" in ran.err


def test_the_three_loads_stand_in_the_picture_with_their_figures(tmp_path: Path) -> None:
    """As given, at the SLO's capacity, where the price leads; and where the SLO is missed."""
    drawn = texts(tmp_path / "price.svg", *LOADS)
    for words in (
        "as given: 1 requests/s",
        "most within the SLO: ",
        "that the price brings: ",
    ):
        assert words in drawn
    assert re.search(r"3\d\.\d tokens/s", drawn)
    assert "the SLO is missed" in drawn
    assert "users go away" in drawn
    assert "cached" not in drawn


def test_cached_tokens_tiers_and_a_margin_are_drawn_where_there_are_any(tmp_path: Path) -> None:
    """A line for each kind of token and tier, named; without an SLO nothing is missed."""
    mix = ("--request", "1000+500:500@0.9", "--request", "40000+8000:500@0.1", "--margin", "20")
    drawn = texts(tmp_path / "price.svg", "price", *LLAMA, "--layout", "tp8", *mix)
    for words in ("cached input, ≤ 32K", "output, ≤ 128K", "at +20% of the cost", "cached prefill", "mean "):
        assert words in drawn
    assert "the SLO is missed" not in drawn


def test_prices_of_nothing_have_no_picture(tmp_path: Path) -> None:
    """A host that gives everything away: the table is still there."""
    ran = entrepot("plan", *PRICE, "--margin", "-100", "--plot", tmp_path / "x.png")
    assert ran.status == 2
    assert "leaves no price to draw" in ran.err


def test_both_break_evens_are_marked(tmp_path: Path) -> None:
    """Between them a second replica makes hosting dearer again."""
    shown = entrepot("plan", *COMPARE, "--json").json["deployments"][0]
    full = shown["usd_per_request"] / (1024 + 512) * 1e6
    drawn = texts(tmp_path / "compare.svg", *COMPARE, "--api", f"{full * 1.2}/{full * 1.2}")
    for words in (
        "cheaper from",
        "always from",
        "buying at $",
        "hosting, rental: $",
        "≥ 30 tokens/s per user",
    ):
        assert words in drawn
    drawn = texts(tmp_path / "never.svg", *COMPARE, "--api", f"{full / 2}/{full / 2}")
    assert "hosting never pays" in drawn
    assert "cheaper from" not in drawn


def test_deployments_are_drawn_without_an_api_and_the_dearest_left_out(tmp_path: Path) -> None:
    """More bars than can be read are counted instead."""
    gpus = [word for gpu in ("h100", "b200", "a100", "b300", "mi300x", "mi325x") for word in ("--gpu", gpu)]
    drawn = texts(tmp_path / "many.svg", "compare", *LLAMA, *gpus)
    assert "; not drawn: " in drawn
    assert "buying" not in drawn


def test_the_verdict_of_saturation_is_the_title(tmp_path: Path) -> None:
    """Also for answers of one token, which have no TPOT, and the records are counted."""
    rows = [(start, prompt, 1, ttft, ttft) for start, prompt, _, ttft, _ in answered(6.0, 30)]
    path = written(tmp_path / "records.csv", rows + answered(6.0, 100))
    drawn = texts(tmp_path / "calibrate.svg", "calibrate", path)
    for words in ("records.csv: the records do not reach saturation", "measured: 100 records", "80 %"):
        assert words in drawn


def test_the_picture_of_validate_is_of_step_times_only(tmp_path: Path) -> None:
    """Points without them have nothing to draw."""
    ran = entrepot("plan", "validate", "--only", "1,8", "--plot", tmp_path / "x.png")
    assert ran.status == 2
    assert "--plot is of the points 2 and 3" in ran.err


@given(st.lists(st.floats(0, 1), max_size=10))
def test_names_at_the_ends_of_lines_keep_their_order_and_their_distance(places: list[float]) -> None:
    """Within the panel; what does not overlap stays where it is."""
    moved = spread(places, 0.1)
    order = sorted(range(len(places)), key=places.__getitem__)
    assert all(moved[b] - moved[a] >= 0.1 - 1e-9 for a, b in pairwise(order))
    assert all(-1e-9 <= place <= 1 + 1e-9 for place in moved)
    if len(order) > 1 and all(places[b] - places[a] >= 0.1 for a, b in pairwise(order)):
        assert moved == pytest.approx(places)
