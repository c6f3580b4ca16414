"""Finds the data files that ship with entrepot: prices, scenarios, hardware.

They live in the repository's top-level `data/`, where people look for them, and a wheel carries the same
files as `entrepot/_data`. `importlib.resources` alone would know only the second place, so a checkout
would need a copy or a link that drifts.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent
_IN_WHEEL = _PACKAGE / "_data"
_IN_CHECKOUT = _PACKAGE.parent.parent / "data"


def data_path(name: str) -> Path:
    """Return the path of the data file or folder called `name`, relative to `data/`.

    Raises:
        FileNotFoundError: neither the wheel's copy nor the checkout has it.
    """
    for folder in (_IN_WHEEL, _IN_CHECKOUT):
        path = folder / name
        if path.exists():
            return path
    raise FileNotFoundError(
        f"data file {name!r} is neither in {_IN_WHEEL} nor in {_IN_CHECKOUT}; "
        "reinstall entrepot, or name a file of the repository's data/ folder"
    )
