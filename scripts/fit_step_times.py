"""Fits the coefficients of step times to silicon_measured.csv and writes data/tokenomics/step_times.json.

A few minutes on one core; the same data give the same file. The file names what it was made from, by
digest, so that a test can tell whether it is the one that this script makes without making it.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

import msgspec
import numpy as np

from entrepot.catalog.data_files import data_path
from entrepot.catalog.measured import silicon_rows
from entrepot.catalog.silicon import answerable
from entrepot.catalog.step_times import SHIPPED
from entrepot.tokenomics import operating_point, step_fit, step_terms
from entrepot.tokenomics.step_model import fit_step_times

_DATA = Path(__file__).resolve().parent.parent / "data"
_SEED = 1  # of the lengths of simulated requests
_INPUTS = ("tokenomics/silicon_measured.csv.gz", "tokenomics/architectures.toml", "tokenomics/hardware.toml")


def source_text() -> str:
    """Return what the coefficients are made from: data files, terms and priors, by digest."""
    digest = hashlib.sha256()
    for name in _INPUTS:
        digest.update(data_path(name).read_bytes())
    usual = operating_point.USUAL_WAITS
    digest.update(repr((step_terms.TERMS, sorted(step_fit.PRIORS.items()), usual)).encode())
    return f"scripts/fit_step_times.py from {', '.join(_INPUTS)}; sha256 {digest.hexdigest()[:16]}"


def main() -> int:
    """Fit, write the file and say what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=_DATA / SHIPPED, help="where to write the coefficients")
    out: Path = parser.parse_args().out
    points, left_out = answerable(silicon_rows())
    found = fit_step_times(points, source=source_text(), rng=np.random.default_rng(_SEED))
    out.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
    print(
        f"{len(points)} measurements; 80 % of TPOT within {found.everything.low} to {found.everything.high}"
    )
    for reason, count in left_out.items():
        print(f"left out: {count} × {reason}")
    for backend, first in found.first_tokens.items():
        print(f"first tokens of {backend}: {first}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
