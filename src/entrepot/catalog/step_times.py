"""Reads the fitted coefficients of step times that ship with entrepot."""

from __future__ import annotations

from pathlib import Path

import msgspec

from entrepot.catalog.data_files import data_path
from entrepot.domain.errors import DataError
from entrepot.tokenomics.coefficients import StepCoefficients

SHIPPED = "tokenomics/step_times.json"


def load_step_times(path: Path | None = None) -> StepCoefficients:
    """Return the coefficients in the file at `path`, or those that ship with entrepot.

    Raises: DataError when the file is damaged or of another form.
    """
    where = path or data_path(SHIPPED)
    try:
        return msgspec.json.decode(where.read_bytes(), type=StepCoefficients)
    except msgspec.DecodeError as error:
        raise DataError(f"{where}: {error}; make it again with scripts/fit_step_times.py") from None
