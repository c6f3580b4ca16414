"""Writes data/tokenomics/cost_by_load_lessons.json: what each measured configuration teaches about others.

Run it when the engine or its terms change; it takes a minute on a quiet core. `row_errors` leaves the
configuration that it predicts out, so one file serves all.
"""

import csv
import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np

from entrepot.tokenomics.cost_by_load import LoadRow, configurations
from entrepot.tokenomics.cost_by_load_report import lessons_of
from entrepot.tokenomics.cost_by_load_settings import SETTINGS

FOLDER = Path(__file__).resolve().parent.parent / "data" / "tokenomics"
SEED = 1
_TIMES = ("tpot_p50", "tpot_p90", "ttft_p50", "ttft_p90")


def load_rows(path: Path) -> list[LoadRow]:
    """Return the rows of cost_by_load_measured.csv."""
    with path.open(encoding="utf-8", newline="") as file:
        return [
            LoadRow(
                config=row["config"],
                offered_rps=float(row["rps"]),
                throughput_rps=float(row["request_throughput"]),
                answer_p50_s=float(row["e2el_p50_ms"]) / 1e3,
                gpu_cost_usd_per_hour=float(row["gpu_cost_hr"]),
                **{f"{name}_s": float(row[f"{name}_ms"]) / 1e3 for name in _TIMES},
            )
            for row in csv.DictReader(file)
        ]


def main() -> int:
    """Fit, write, name the file."""
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER / "cost_by_load_measured.csv"
    lessons = lessons_of(configurations(load_rows(source), SETTINGS), np.random.default_rng(SEED))
    FOLDER.mkdir(exist_ok=True)
    target = FOLDER / "cost_by_load_lessons.json"
    target.write_text(json.dumps([asdict(lesson) for lesson in lessons], indent=1) + "\n", encoding="utf-8")
    print(target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
