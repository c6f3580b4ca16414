"""Opens the store for commands that read it, after what is in the journal was posted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import typer

from entrepot.domain.ids import REQUEST_ID_BYTES
from entrepot.ledger.data_dir import DataDir
from entrepot.ledger.history import RequestHistory, Told, told
from entrepot.ledger.keys.keys import list_keys
from entrepot.ledger.store.place import store_place
from entrepot.ledger.store.poster import catch_up
from entrepot.ledger.store.store import Store

SHORT_ID_DIGITS = 16  # of a request id in tables: its instant, which hardly ever two requests share
_ID_PREFIX = "req-"
_ID_DIGITS = 2 * REQUEST_ID_BYTES
_FEWEST_DIGITS = 8  # fewer could be a word


@contextlib.contextmanager
def posted_store(data_dir: Path) -> Iterator[Store]:
    """Open the store with all that the journal has by now; a warning says when it is behind.

    Raises: DataError when there is no data directory, or its journal or store cannot be used.
    """
    if not catch_up(data_dir):
        typer.echo("warning: the poster is behind: the last requests are missing here", err=True)
    with Store.open_existing(store_place(DataDir(data_dir))) as store, store.faults():
        yield store


def find_told(data_dir: Path, id_text: str) -> Told:
    """Return what is known of a request, named by our id, the start of it, or the host's id of its answer.

    The journal is asked first, then the store.
    Raises: typer.Exit with a message when none or several are named so; DataError as `posted_store`.
    """
    found = told(data_dir, id_text) or _find_in_store(data_dir, id_text)
    if found is None:
        typer.echo(f"no request {id_text!r} in {data_dir}; `entrepot requests` lists the last ones", err=True)
        raise typer.Exit(1)
    return found


def find_request(data_dir: Path, id_text: str) -> RequestHistory:
    """Return what `find_told` finds, of a request that was served.

    Raises: typer.Exit with a message when it was refused, and as `find_told`.
    """
    found = find_told(data_dir, id_text)
    if not isinstance(found, RequestHistory):
        typer.echo(f"rules refused the request {id_text!r}: nothing of it was sent or stored", err=True)
        raise typer.Exit(1)
    return found


def _find_in_store(data_dir: Path, id_text: str) -> Told | None:
    with posted_store(data_dir) as store:
        digits = id_text.removeprefix(_ID_PREFIX)
        if not _is_start_of_id(digits):
            return store.request_of_answer(id_text)
        first, last = (bytes.fromhex(digits.ljust(_ID_DIGITS, fill)) for fill in "0f")
        ids = store.ids_between(first, last, 5) + store.refused_between(first, last, 5)
        if len(ids) > 1:
            names = "\n".join(f"  {_ID_PREFIX}{request_id.hex()}" for request_id in ids)
            typer.echo(f"several requests begin with {id_text}:\n{names}", err=True)
            raise typer.Exit(1)
        if not ids:
            return store.request_of_answer(id_text)
        return store.request(ids[0]) or store.refusal(ids[0])


def _is_start_of_id(digits: str) -> bool:
    is_long_enough = _FEWEST_DIGITS <= len(digits) <= _ID_DIGITS
    return is_long_enough and not digits.lower().strip("0123456789abcdef")


def short_id(request_id: bytes) -> str:
    """Return the start of an id, long enough to ask `why` with."""
    return request_id.hex()[:SHORT_ID_DIGITS]


def key_names(data_dir: Path) -> dict[int, str]:
    """Return what each key is called."""
    return {key.key_id: key.name for key in list_keys(data_dir)}
