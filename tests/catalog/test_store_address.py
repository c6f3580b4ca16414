"""Where the ledger's store is: an address in the file, or behind a reference when it holds a password."""

from __future__ import annotations

from pathlib import Path

import pytest

from entrepot.catalog.load import load_settings
from entrepot.catalog.settings import Secret
from entrepot.catalog.show import settings_text
from entrepot.domain.errors import ConfigError

WITH_PASSWORD = "postgresql://me:s3cret@db.example/ledger"


def store(line: str, tmp_path: Path) -> Secret | None:
    """Return the store that a `[ledger]` section with this line names."""
    path = tmp_path / "entrepot.toml"
    path.write_text(f"[ledger]\n{line}\n")
    (tmp_path / "address").write_text(f"{WITH_PASSWORD}\n")
    settings = load_settings(path, {"STORE": WITH_PASSWORD, "MYSQL": "mysql://db/ledger"})
    for as_json in (False, True):
        assert "s3cret" not in settings_text(settings, as_json=as_json)
    return settings.ledger.store


@pytest.mark.parametrize(
    ("line", "address"),
    [
        ('store = "postgresql://me@db/ledger"', "postgresql://me@db/ledger"),
        ('store = "postgres:///ledger"', "postgres:///ledger"),
        ('store = { env = "STORE" }', WITH_PASSWORD),
        ('store = { file = "address" }', WITH_PASSWORD),
    ],
)
def test_an_address_is_read_from_the_file_or_by_reference(line: str, address: str, tmp_path: Path) -> None:
    """The forms of a key; without a password the address itself."""
    found = store(line, tmp_path)
    assert found is not None
    assert found.reveal() == address
    assert "s3cret" not in repr(found)


@pytest.mark.parametrize("line", ["", 'store = ""'])
def test_without_an_address_the_store_is_a_file(line: str, tmp_path: Path) -> None:
    """SQLite in the data directory needs no setting."""
    assert store(line, tmp_path) is None


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (f'store = "{WITH_PASSWORD}"', "holds a password; write store = { env ="),
        ('store = "mysql://db/ledger"', "not the address of a PostgreSQL database"),
        ('store = "postgresql://db"', "names no database"),
        ('store = "postgresql://db:x/ledger"', "not the address of a database"),
        ('store = "postgresql://db/ledger?password=s3cret"', "has a password behind the question mark"),
        ("store = 1", "expected a text"),
        ('store = { env = "MYSQL" }', "not the address of a PostgreSQL database"),
        ('store = { env = "GONE" }', "'GONE' is not set"),
        ("store = { }", "write store = { env ="),
    ],
)
def test_a_mistake_is_named_and_no_password_is_told(line: str, says: str, tmp_path: Path) -> None:
    """Each with its place, like every other mistake."""
    with pytest.raises(ConfigError) as told:
        store(line, tmp_path)
    assert "ledger.store" in str(told.value)
    assert says in str(told.value)
    assert "s3cret" not in str(told.value)
