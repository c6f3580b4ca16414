"""What the ledger costs. Run by `make bench-ledger`; prints the figures and writes build/ledger.json.

Each section is a module with one function that returns flat figures; `--only` runs some of them, and what the
others wrote last time stays in the file.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

from bench_entries import measure as measure_entries
from bench_posting import measure as measure_posting
from bench_usage_report import report_section

BUILD = Path(__file__).resolve().parent.parent / "build"
REQUESTS, ROUNDS = 500_000, 3  # of one attempt: a million entries
QUICK_REQUESTS = 50_000

Figures = dict[str, object]


def posting(*, quick: bool) -> Figures:
    """Entries/s and CPU per entry from the journal into each store, roll-ups included."""
    return measure_posting(QUICK_REQUESTS, 1) if quick else measure_posting(REQUESTS, ROUNDS)


def entries(*, quick: bool) -> Figures:
    """CPU per entry and write calls per request in the gateway."""
    return measure_entries(*((20_000, 1) if quick else (100_000, 5)))


def report(*, quick: bool) -> Figures:
    """Seconds of a report over 30 days, by each dimension, and whether it is exact."""
    return report_section(requests=1_000_000, real_requests=20_000) if quick else report_section()


SECTIONS: dict[str, Callable[..., Figures]] = {"entries": entries, "posting": posting, "report": report}


def main() -> None:
    """Runs the sections, prints their figures and writes them down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help=f"sections, with commas between: {', '.join(SECTIONS)}")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, once")
    arguments = parser.parse_args()
    wanted = arguments.only.split(",") if arguments.only else list(SECTIONS)
    unknown = [name for name in wanted if name not in SECTIONS]
    if unknown:
        parser.error(f"unknown section {unknown[0]}: there are {', '.join(SECTIONS)}")
    file = BUILD / "ledger.json"
    figures: Figures = json.loads(file.read_text()) if file.exists() else {}
    for name in wanted:
        found = SECTIONS[name](quick=arguments.quick)
        for key, value in found.items():
            print(f"{key:45} {value}")
        figures |= found
    BUILD.mkdir(exist_ok=True)
    file.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
