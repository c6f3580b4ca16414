"""How a command is told of a PostgreSQL database: its address, or a file with it when it holds a password.

An argument is shown to everybody who lists processes, and stays in the history of a shell.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from entrepot.ledger.store.place import PostgresDatabase, address_problem, has_password

StoreFile = Annotated[
    Path | None,
    typer.Option(help="A file that holds the address of the database, such as one with a password."),
]


def database_of(option: str, address: str | None, file: Path | None) -> PostgresDatabase | None:
    """Return the database that is named by its address or by a file with it; None when by neither.

    `option` is what the address was given with. No message repeats the address.
    Raises: typer.BadParameter when both are given, or there is no such address.
    """
    if file is None:
        return None if address is None else _database(option, address, is_shown=True)
    if address is not None:
        raise typer.BadParameter(f"give {option} or --store-file, not both")
    try:
        return _database(f"--store-file: {file}", file.read_text(encoding="utf-8").strip(), is_shown=False)
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "is no text"
        raise typer.BadParameter(f"--store-file: {file} cannot be read: {why}") from None


def _database(origin: str, address: str, *, is_shown: bool) -> PostgresDatabase:
    problem = address_problem(address)
    if problem is None and is_shown and has_password(address):
        problem = "holds a password, which others could read there; write it to a file and use --store-file"
    if problem is not None:
        raise typer.BadParameter(f"{origin} {problem}")
    return PostgresDatabase(address)
