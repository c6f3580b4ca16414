"""`entrepot data show-content` and `erase`: the words of users that were stored, and how they go."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from time import time_ns
from typing import Annotated

import msgspec
import typer

from entrepot.cli.options import AsJson, DataDir, RequestId
from entrepot.cli.posted import find_request, key_names, posted_store
from entrepot.cli.tables import clock_text
from entrepot.domain.ids import request_id_text
from entrepot.ledger.history import RequestHistory
from entrepot.ledger.journal.spool import Content
from entrepot.ledger.store.contents import contents_of, task_texts
from entrepot.ledger.store.erasure import empty_spool, key_to_erase
from entrepot.ledger.store.erasure import erase as erase_key


def show_content(data_dir: DataDir, request_id: RequestId, as_json: AsJson = False) -> None:
    """Show the prompt and the answer of a request whose key stores them; exit 1 when nothing is stored."""
    history = find_request(data_dir, request_id)
    contents, task = _stored(data_dir, history)
    name = key_names(data_dir).get(history.key_id)
    if as_json:
        shown = {
            "request_id": request_id_text(history.request_id),
            "key_id": history.key_id,
            "key": name,
            "task": task,
            "contents": [_as_json(content) for content in contents],
        }
        typer.echo(json.dumps(shown, indent=2))
    for content in () if as_json else contents:
        typer.echo(_heading(content))
        typer.echo(content.body.decode("utf-8", "replace"))
    if not contents:
        typer.echo(
            f"nothing is stored of {request_id_text(history.request_id)}: its key {history.key_id} did not "
            "store contents then (`entrepot key contents NAME on`), or they were erased, or were too old",
            err=True,
        )
        raise typer.Exit(1)


def erase(
    data_dir: DataDir,
    key: Annotated[
        str, typer.Option(help="The name or the number of the key, revoked or not.", metavar="NAME|ID")
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Erase prompts, answers, names of tasks and the name of a key; what it cost stays, under its number."""
    found = key_to_erase(data_dir, key)
    if not yes:
        typer.confirm(
            f"Erase all words of key {found.key_id}, {found.name}, and its name? This cannot be undone",
            abort=True,
            err=True,
        )
    erased = erase_key(data_dir, found.key_id)
    if as_json:
        typer.echo(json.dumps(msgspec.structs.asdict(erased)))
    else:
        typer.echo(
            f"erased of key {erased.key_id}: {erased.contents:,} prompts and answers, "
            f"{erased.tasks:,} names of tasks, and its name; what it cost stays, under this number"
        )
    typer.echo(
        "backups, archives and snapshots of disks from before still hold copies: they need their own end",
        err=True,
    )
    if found.stores_contents and not found.revoked:
        typer.echo(
            f"key {found.key_id} still stores the contents of its requests; "
            f"`entrepot key contents {found.key_id} off` ends that",
            err=True,
        )


def _stored(data_dir: Path, history: RequestHistory) -> tuple[list[Content], str | None]:
    """Return what is stored of a request, and what its client called its task."""
    if not empty_spool(data_dir):
        typer.echo("warning: the poster is behind: the last contents are missing here", err=True)
    task_id = history.attempts[0].reserve.task_id
    with posted_store(data_dir) as store:
        return contents_of(store, history.request_id), task_texts(store, [task_id]).get(task_id)


def _heading(content: Content) -> str:
    cut = f", cut after {len(content.body):,} bytes" if content.truncated else ""
    at = clock_text(content.at_ns, time_ns())
    return f"--- {content.kind.value}, attempt {content.attempt}, {at} UTC{cut}"


def _as_json(content: Content) -> dict[str, object]:
    """Return a content as JSON; a body that is no UTF-8 text is written in base 64."""
    try:
        body = {"body": content.body.decode()}
    except UnicodeDecodeError:
        body = {"body_base64": b64encode(content.body).decode()}
    facts = {"kind": content.kind.value, "attempt": content.attempt, "at_ns": content.at_ns}
    return {**facts, "truncated": content.truncated, **body}
