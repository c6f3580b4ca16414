"""Where the store of a data directory is: the SQLite file in it, or a PostgreSQL database.

The address of a database may hold a password, so it is passed in a file that only its owner reads: an
argument or the environment of a process shows it to others. Every command finds the store through
`store_place`, without a flag that could be forgotten.
"""

from __future__ import annotations

import contextlib
import os
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from entrepot.domain.errors import DataError
from entrepot.ledger.data_dir import DataDir, write_atomically

SCHEMES = ("postgresql", "postgres")
INSTALL_POSTGRES = "pip install 'entrepot[postgres]'"
ADDRESS_FORM = "postgresql://user@host/database"


class PostgresDatabase:
    """A PostgreSQL database; its text and its repr leave the password out.

    Raises: ValueError when `address` is none of a PostgreSQL database.
    """

    __slots__ = ("address", "shown")

    def __init__(self, address: str) -> None:
        problem = address_problem(address)
        if problem is not None:
            raise ValueError(problem)
        parts = urlsplit(address)
        user = f"{parts.username}@" if parts.username else ""
        port = f":{parts.port}" if parts.port else ""
        self.address = address
        self.shown = f"{SCHEMES[0]}://{user}{parts.hostname or ''}{port}{parts.path}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PostgresDatabase) and other.address == self.address

    def __hash__(self) -> int:
        return hash(self.address)

    def __str__(self) -> str:
        return self.shown

    def __repr__(self) -> str:
        return f"PostgresDatabase({self.shown})"


StorePlace = Path | PostgresDatabase  # a path is that of a SQLite file


def address_problem(address: str) -> str | None:
    """Return what is wrong with a database's address, or None. Never repeats it: it may hold a password."""
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        return f"is not the address of a database; expected {ADDRESS_FORM}"
    if parts.scheme not in SCHEMES or parts.fragment:
        return f"is not the address of a PostgreSQL database; expected {ADDRESS_FORM}"
    if not parts.path.strip("/"):
        return f"names no database; expected {ADDRESS_FORM}"
    if any("password" in name for name in parse_qs(parts.query)):
        return (
            f"has a password behind the question mark; write it as {SCHEMES[0]}://user:password@host/database"
        )
    return None


def has_password(address: str) -> bool:
    """Return whether an address without problems holds a password."""
    return urlsplit(address).password is not None


def store_place(directory: DataDir) -> StorePlace:
    """Return where the store of a data directory is.

    Raises: DataError when its file `store` cannot be read, or does not name a database.
    """
    file = directory.store_file
    try:
        return PostgresDatabase(file.read_text(encoding="utf-8").strip())
    except FileNotFoundError:
        return directory.store
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}") from error
    except ValueError as error:  # not UTF-8, too
        raise DataError(f"{file} {error}: start `entrepot serve` once, which writes it") from None


def note_store_place(directory: DataDir, address: str | None) -> None:
    """Write down for all commands where the store is; None stands for the SQLite file.

    Raises: DataError when it is a PostgreSQL database and the driver is not installed.
    """
    if address is None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(directory.store_file)
        return
    require_driver()
    parts = urlsplit(address)
    content = f"{parts._replace(scheme=SCHEMES[0]).geturl()}\n".encode()
    with contextlib.suppress(FileNotFoundError):
        if directory.store_file.read_bytes() == content:
            return
    write_atomically(directory.store_file, content)


def require_driver() -> None:
    """Do nothing where the driver for PostgreSQL is installed.

    Raises: DataError with the line that installs it where it is not.
    """
    if find_spec("psycopg") is None:
        raise DataError(f"a store in PostgreSQL needs the extra `postgres`, run: {INSTALL_POSTGRES}")
