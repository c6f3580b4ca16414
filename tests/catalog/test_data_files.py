"""Data files are found wherever entrepot was installed from."""

from __future__ import annotations

from pathlib import Path

import pytest

from entrepot.catalog import data_files
from entrepot.catalog.data_files import data_path


def test_a_wheel_finds_its_own_copy_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package must not read a `data/` folder that happens to lie beside it."""
    for folder in ("_data", "data"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "prices.csv").write_text(folder)
    monkeypatch.setattr(data_files, "_IN_WHEEL", tmp_path / "_data")
    monkeypatch.setattr(data_files, "_IN_CHECKOUT", tmp_path / "data")
    assert data_path("prices.csv").read_text() == "_data"


def test_a_checkout_finds_the_repositorys_folder() -> None:
    """In a checkout `data_path` leads to the top-level `data/`, and files are edited in one place."""
    assert data_path(".") == Path(__file__).resolve().parents[2] / "data"


def test_a_missing_file_is_named_with_the_places_that_were_searched() -> None:
    """The message says which name, where it was looked for, and what to do."""
    with pytest.raises(FileNotFoundError, match=r"'no-such\.csv'.*_data.*data.*reinstall"):
        data_path("no-such.csv")
