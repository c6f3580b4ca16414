"""What files declare, in the forms that all of them share: names of models, numbers with their basis."""

from __future__ import annotations

import re

from entrepot.domain.estimate import Basis, Estimate

MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._:-]*")


def declared_estimate(value: float | None, source: str) -> Estimate | None:
    """Return a number that `source` declares as an estimate, None for None."""
    return None if value is None else Estimate(value, Basis.DECLARED, source=source)
