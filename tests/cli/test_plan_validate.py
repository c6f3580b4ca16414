"""`entrepot plan validate --quick`: figures beside targets at every point; `make validate` runs it whole."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from entrepot.cli.validate_speed import LAWS
from tests.cli.command_line import entrepot

TESTS = Path(__file__).resolve().parent.parent / "tokenomics"


def test_deepseeks_day_and_its_predicted_rates_are_shown() -> None:
    """Arithmetic reaches its targets; errors of predictions stand beside it."""
    ran = entrepot("plan", "validate", "--only", "1", columns=200)
    assert ran.status == 0
    for words in ("nodes needed", "226.75 ± 1 %", "predicted decode rate per node, error", "6 of 6 targets"):
        assert words in ran.out


def test_json_is_flat_with_target_and_verdict_by_each_figure() -> None:
    """So that `make evidence` prints all of it."""
    shown = entrepot("plan", "validate", "--only", "1,6,8", "--quick", "--json").json
    assert shown["1 / nodes needed / target"] == "226.75 ± 1 %"
    assert shown["1 / nodes needed / reached"] is True
    assert not any(isinstance(value, dict | list) for value in shown.values())
    assert {name[0] for name in shown} == {"1", "6", "8"}


def test_step_times_are_tried_on_series_that_they_have_not_seen() -> None:
    """A few rows of two devices: median, p90, bias, left out, intervals with their width, and by group."""
    shown = entrepot("plan", "validate", "--only", "2,3", "--quick", "--json").json
    assert shown["2 / pairs of nearly equal rows across folds"] == 0
    for name in (
        "2 / 5-fold over series, aggregated: median / reached",
        "2 / one GPU left out: p90 / target",
        "2 / 80 % intervals: covered",
        "2 / 80 % intervals: width, p90/p10",
        "2 / split as an offer: requests/s: median error",
        "3 / between its lowest and highest load: median / target",
    ):
        assert name in shown
    assert any(name.startswith("2 / by backend / ") for name in shown)


def test_cost_by_load_and_queueing_are_tried_on_an_engine() -> None:
    """One configuration of ten, and the beginning of the trace; both ways of calibrating."""
    shown = entrepot("plan", "validate", "--only", "4,5", "--quick", "--json").json
    for name in (
        "4 / $/M output: median error / reached",
        "4 / capacity known, at the knee: greatest error / target",
        "5 / p90 TTFT below saturation: median error",
        "5 / verdicts of saturation that are right",
    ):
        assert name in shown
    verdicts = [value for name, value in shown.items() if name.endswith("/ verdict")]
    assert len(verdicts) == 3


def test_laws_name_tests_that_exist() -> None:
    """A renamed test would leave a law without one."""
    for names in LAWS.values():
        for name in names:
            file, _, test = name.partition("::")
            assert f"def {test}(" in (TESTS / file).read_text(encoding="utf-8"), name


@pytest.mark.parametrize("only", ["9", "x", ""])
def test_a_point_that_there_is_not_is_refused(only: str) -> None:
    """With what there is."""
    assert "expected points from 1 to 8" in entrepot("plan", "validate", "--only", only).err


COLUMNS = (
    "id,concurrency,backend,model_path,system,precision,mode,isl,osl,tp_size,silicon_ttft_ms,silicon_tpot_ms"
)


def test_rows_of_ones_own_are_predicted_without_a_fit(tmp_path: Path) -> None:
    """What cannot be answered is counted; the same rows compressed give the same."""
    row = "vllm,meta-llama/Llama-3.1-70B,h200,fp8,agg,1024,1024,4,200,"
    lines = [COLUMNS, *(f"mine-{at},{at},{row}{12 + at / 4}" for at in (1, 4, 8, 16, 32, 64))]
    lines.append("other,4,vllm,acme/unknown,h200,fp8,agg,1024,1024,4,200,20")
    file, packed = tmp_path / "mine.csv", tmp_path / "mine.csv.gz"
    file.write_text("\n".join(lines))
    packed.write_bytes(gzip.compress(file.read_bytes()))
    shown = entrepot("plan", "validate", "--rows", file, "--json").json
    assert shown["0 / rows"] == 7
    assert shown["0 / answered"] == pytest.approx(6 / 7)
    assert shown["0 / rows that the coefficients were fitted to"] == 0
    assert 0 < shown["0 / TPOT, not fitted to: median"] < 1
    assert "1 × no architecture of acme/unknown" in shown["0 / note 2"]
    again = entrepot("plan", "validate", "--rows", packed, "--json").json
    assert again["0 / TPOT: median"] == shown["0 / TPOT: median"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no row"),
        ("a,b\n1,2\n", "missing required field"),
        (f"{COLUMNS}\nx,4,vllm,acme/unknown,h200,fp8,agg,1,1,4,2,2\n", "none of its 1 rows can be predicted"),
        (f"{COLUMNS}\nx,many,vllm,meta-llama/Llama-3.1-70B,h200,fp8,agg,1,1,4,2,2\n", "x: Expected"),
    ],
)
def test_a_file_of_rows_that_is_none_is_refused(text: str, words: str, tmp_path: Path) -> None:
    """By file and row, with what was expected."""
    file = tmp_path / "rows.csv"
    file.write_text(text)
    ran = entrepot("plan", "validate", "--rows", file)
    assert ran.status != 0
    assert "rows.csv" in ran.err
    assert words in ran.err


def test_rows_have_a_point_of_their_own(tmp_path: Path) -> None:
    """Points of the repository's data are another question."""
    assert entrepot("plan", "validate", "--rows", tmp_path / "rows.csv", "--only", "1").status == 2
