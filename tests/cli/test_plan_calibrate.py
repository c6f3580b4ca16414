"""`entrepot plan calibrate`: a host's clock from a file or the ledger, and refusals of what tells none."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from entrepot.domain.outcome import Outcome
from entrepot.domain.usage import Usage
from entrepot.ledger.keys.log import create_key
from entrepot.ledger.ledger import Ledger
from entrepot.tokenomics.arrivals import poisson_arrivals_s, requests_of
from entrepot.tokenomics.batching import Batching, Engine
from entrepot.tokenomics.engine import simulate
from entrepot.tokenomics.linear_clock import LinearClock
from tests.cli.command_line import entrepot
from tests.ledger import entry_makers as make
from tests.ledger.traffic import ENDPOINTS, START_NS, write

CLOCK = LinearClock(kv_capacity_tokens=400_000, base_s=8e-3, sequence_s=5e-5, held_s=4e-8, prompt_s=3e-5)
COLUMNS = ("start_s", "prompt_tokens", "output_tokens", "ttft_s", "duration_s")
Row = tuple[float, int, int, float, float]


def answered(rate: float, count: int = 400) -> list[Row]:
    """Return what a client sees of a simulated host at this rate."""
    rng = np.random.default_rng(5)
    requests = requests_of(
        poisson_arrivals_s(rate, count, rng), rng.integers(50, 3000, count), rng.integers(20, 500, count)
    )
    run = simulate(Engine(clock=CLOCK, batching=Batching(), request_s=0.02), requests)
    columns = (run.arrival_s, requests.prompt_tokens, requests.output_tokens, run.ttft_s, run.answer_s)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def written(path: Path, rows: list[Row], columns: tuple[str, ...] = COLUMNS) -> Path:
    """Return a CSV with these columns of the rows."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(row[: len(columns)] for row in rows)
    return path


def test_a_csv_gives_the_clock_back_and_intervals_widen_outside(tmp_path: Path) -> None:
    """A step, TPOT with its interval inside the loads seen and beyond, and a verdict."""
    path = written(tmp_path / "records.csv", answered(6.0))
    shown = entrepot("plan", "calibrate", path, "--json").json
    assert shown["clock"]["every step"]["value"] == pytest.approx(8.0, rel=0.1)
    width = [(load["tpot_high_s"] - load["tpot_low_s"]) / load["tpot_s"] for load in shown["loads"]]
    assert width[-1] > 2 * width[1]
    assert shown["saturation"]["is_reached"] is False
    ran = entrepot("plan", "calibrate", path)
    assert ran.status == 0
    for words in (
        "400 records",
        "tokens/s/user",
        "80 % from",
        "8 × the most seen",
        "do not reach saturation",
    ):
        assert words in ran.out


def test_answers_of_one_token_do_not_hide_the_steps_of_the_others(tmp_path: Path) -> None:
    """Classifiers ask for one; where all do, no step was timed."""
    short: list[Row] = [(start, prompt, 1, ttft, ttft) for start, prompt, _, ttft, _ in answered(6.0, 90)]
    path = written(tmp_path / "records.csv", short + answered(6.0, 60))
    shown = entrepot("plan", "calibrate", path, "--json").json
    assert shown["clock"]["every step"]["value"] == pytest.approx(8.0, rel=0.3)
    ran = entrepot("plan", "calibrate", written(tmp_path / "short.csv", short))
    assert ran.status == 1
    assert "no record has a second output token" in ran.err


def test_records_of_an_overloaded_host_reach_saturation(tmp_path: Path) -> None:
    """Most waited for others: the rate that they were served at is the capacity."""
    path = written(tmp_path / "records.csv", answered(300.0))
    assert "the records reach saturation" in entrepot("plan", "calibrate", path).out


def test_a_model_on_hardware_is_scaled(tmp_path: Path) -> None:
    """The clock is then a factor on each part of what the model of steps expects."""
    path = written(tmp_path / "records.csv", answered(4.0, 60))
    model = ("--model", "meta-llama/Llama-3.1-8B", "--gpu", "h100", "--layout", "tp1")
    shown = entrepot("plan", "calibrate", path, *model, "--json").json
    assert shown["clock"]["every step"]["unit"] == "× expected"


@pytest.mark.parametrize(
    ("columns", "count", "words"),
    [
        (COLUMNS[:3], 20, ("no column ttft_s, duration_s", "expected start_s,prompt_tokens")),
        (COLUMNS, 4, ("4 records are too few", "at least 10")),
        (COLUMNS, 0, ("0 records are too few",)),
    ],
)
def test_a_file_that_tells_no_clock_is_refused(
    tmp_path: Path, columns: tuple[str, ...], count: int, words: tuple[str, ...]
) -> None:
    """The file, what it lacks and what was expected."""
    path = written(tmp_path / "records.csv", answered(4.0, 20)[:count], columns)
    ran = entrepot("plan", "calibrate", path)
    assert ran.status != 0
    assert all(word in " ".join(ran.err.split()) for word in words), ran.err


def test_a_cell_that_is_no_number_is_named_with_its_line(tmp_path: Path) -> None:
    """A spreadsheet's slip is found by who made it."""
    path = tmp_path / "records.csv"
    path.write_text(",".join(COLUMNS) + "\n0,100,10,0.5,1\n1,100,10,?,1\n")
    assert "records.csv:3: ttft_s '?'; expected a number" in entrepot("plan", "calibrate", path).err


def json_lines(path: Path, rows: list[Row], **more: object) -> Path:
    """Return a file with an object per row, and `more` in each."""
    records = (dict(zip(COLUMNS, row, strict=True)) | more for row in rows)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_a_csv_and_json_lines_give_the_same_fit(tmp_path: Path) -> None:
    """Two forms of one record; keys that are somebody else's and empty lines are passed over."""
    rows = answered(6.0, 100)
    lines = json_lines(tmp_path / "records.jsonl", rows, model="m", finish_reason=None, in_flight=None)
    lines.write_text(lines.read_text() + "\n\n")
    of_lines = entrepot("plan", "calibrate", lines, "--json").json
    assert of_lines == entrepot("plan", "calibrate", written(tmp_path / "a.csv", rows), "--json").json


def test_what_was_in_flight_counts_in_both_forms(tmp_path: Path) -> None:
    """A host that is only partly seen: four times what the records show."""
    rows = answered(6.0, 100)
    lines = json_lines(tmp_path / "records.jsonl", rows, in_flight=80)
    with_flight: list[tuple[float, ...]] = [(*row, 80) for row in rows]
    table = tmp_path / "a.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([(*COLUMNS, "in_flight"), *with_flight])
    of_lines = entrepot("plan", "calibrate", lines, "--json").json
    assert of_lines == entrepot("plan", "calibrate", table, "--json").json
    alone = entrepot("plan", "calibrate", written(tmp_path / "b.csv", rows), "--json").json
    assert of_lines["batches"][1] > 2 * alone["batches"][1]


GOOD = '{"start_s": 0, "prompt_tokens": 9, "output_tokens": 5, "ttft_s": 0.5, "duration_s": 1}'


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "truncated"),
        ("[1, 2]", "Expected `object`, got `array`"),
        (GOOD.replace("0.5", '"soon"'), "Expected `float`, got `str` - at `$.ttft_s`"),
        (GOOD.replace("0.5", "null"), "Expected `float`, got `null` - at `$.ttft_s`"),
        (GOOD.replace('"start_s": 0, ', ""), "missing required field `start_s`"),
        (GOOD.replace("0.5", "2"), "expected 0 < ttft_s ≤ duration_s: leave failed requests out"),
        (GOOD.replace(": 5", ": 0"), "expected at least one of each: leave failed requests out"),
        (GOOD.replace("0.5", "1e999"), "out of range"),
    ],
)
def test_a_bad_line_is_named_with_its_number(tmp_path: Path, line: str, words: str) -> None:
    """The file, the line, what is wrong there and what to do."""
    path = tmp_path / "records.jsonl"
    path.write_text(f"{GOOD}\n\n{line}\n{GOOD}\n")
    ran = entrepot("plan", "calibrate", path)
    assert ran.status == 1
    said = " ".join(ran.err.split())
    assert "records.jsonl:3: " in said
    assert words in said
    assert "mend the line or leave it out" in said or "leave failed requests out" in said


def test_an_impossible_row_of_a_csv_is_named_with_its_line(tmp_path: Path) -> None:
    """As a line of JSON is."""
    path = tmp_path / "records.csv"
    path.write_text(",".join(COLUMNS) + "\n0,100,10,0.5,1\n1,100,10,2,1\n")
    assert "records.csv:3: ttft_s 2 and duration_s 1; expected" in entrepot("plan", "calibrate", path).err


def test_records_have_one_source() -> None:
    """Neither none nor two."""
    assert "either a file of records (.csv, .jsonl) or --endpoint" in entrepot("plan", "calibrate").err


def test_the_ledger_has_what_a_fit_needs(tmp_path: Path) -> None:
    """Answers of one endpoint that ended well; others and failures are left out."""
    create_key(tmp_path, "team", None, START_NS)
    ledger = Ledger.open(tmp_path, START_NS)
    for endpoint in ENDPOINTS:
        ledger.register(endpoint)
    for number, (_, prompt, output, ttft_s, duration_s) in enumerate(answered(4.0, 30), start=1):
        write(ledger, make.reserve(number))
        settle = msgspec.structs.replace(
            make.settle(number, 600),
            usage=Usage(prompt, 0, 0, output),
            ttft_s=ttft_s,
            answer_s=duration_s,
            outcome=Outcome.OK if number > 5 else Outcome.CANCELLED,
        )
        write(ledger, settle)
    ledger.close()
    name = ENDPOINTS[0].name
    arguments = ("plan", "calibrate", "--data-dir", tmp_path, "--since", "2020-01-01")
    assert entrepot(*arguments, "--endpoint", name, "--json").json["records"] == 25
    assert (
        "no attempt since then went to an endpoint 'other'" in entrepot(*arguments, "--endpoint", "other").err
    )
