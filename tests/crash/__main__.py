"""`python -m tests.crash`, which `make crash` runs: as many kills as one likes, with either store or both.

Prints a table and writes build/crash.json; ends with 1 if anything was lost, doubled, left open or wrong.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
from pathlib import Path

from tests.crash.harness import Outcome, crash
from tests.crash.stores import POSTGRES, SQLITE, why_no_postgres
from tests.crash.table import LEAST_SHARE_STREAMING, figures, table

BUILD = Path(__file__).resolve().parents[2] / "build"
BOTH = "both"


def main() -> int:
    """Return the exit code: 0, or 1 when a run complained."""
    parser = argparse.ArgumentParser(prog="make crash", description="Kill the gateway under load, often.")
    parser.add_argument("--kills", type=int, default=200, help="SIGKILLs in all, shared by the stores")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--store", choices=(SQLITE, POSTGRES, BOTH), default=BOTH)
    asked = parser.parse_args()
    stores = _stores(asked.store)
    outcomes = []
    for place, store in enumerate(stores):
        kills = (asked.kills + place) // len(stores)
        _say(f"{kills} kills, store {store}, seed {asked.seed}")
        outcomes.append(_run(store, asked.seed, kills))
    _print(f"\n{table(outcomes)}")
    BUILD.mkdir(exist_ok=True)
    flat = {
        f"{outcome.store}_{name}": value for outcome in outcomes for name, value in figures(outcome).items()
    }
    (BUILD / "crash.json").write_text(json.dumps(flat, indent=2) + "\n", encoding="utf-8")
    problems = [problem for outcome in outcomes for problem in _problems(outcome)]
    for problem in problems:
        _say(problem)
    return 1 if problems else 0


def _stores(asked: str) -> tuple[str, ...]:
    """Return which stores to run with; a missing PostgreSQL ends the command only if it was asked for."""
    absent = None if asked == SQLITE else why_no_postgres()
    if absent is None:
        return (SQLITE, POSTGRES) if asked == BOTH else (asked,)
    if asked == POSTGRES:
        raise SystemExit(f"crash: {absent}")
    _say(f"without PostgreSQL: {absent}")
    return (SQLITE,)


def _run(store: str, seed: int, kills: int) -> Outcome:
    """Return what a run gave; its files stay where they are when it complained or failed."""
    directory = Path(tempfile.mkdtemp(prefix="entrepot-crash-"))
    try:
        outcome = crash(directory, store=store, seed=seed, kills=kills)
    except BaseException:
        _say(f"seed {seed}, store {store}: the files are in {directory}")
        raise
    if outcome.complaints:
        _say(f"the files are in {directory}")
    else:
        shutil.rmtree(directory)
    return outcome


def _problems(outcome: Outcome) -> list[str]:
    problems = list(outcome.complaints)
    if outcome.share_streaming < LEAST_SHARE_STREAMING:
        least = f"{LEAST_SHARE_STREAMING:.0%}"
        problems.append(f"{outcome.share_streaming:.0%} of the kills cut streams, fewer than {least}")
    return [f"{problem}; again: {outcome.again}" for problem in problems]


def _say(text: str) -> None:
    sys.stderr.write(f"crash: {text}\n")


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
