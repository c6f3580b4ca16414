"""`entrepot host local`: a small real model on this machine, without a GPU."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Annotated

import typer

from entrepot.cli.options import DieWithParent, OwnDataDir
from entrepot.hosts.local import (
    CONTEXT_TOKENS,
    LOCAL_API_KEY_VARIABLE,
    LOCAL_MODEL,
    OUTPUT_TOKENS,
    SLOTS,
    LocalHost,
    serve_local,
)
from entrepot.hosts.parent import die_with_parent
from entrepot.ledger.data_dir import make_data_dir, write_atomically

KEY_FILE = "local-api-key"


def local(
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 picks a free one.")] = 0,
    weights: Annotated[
        Path | None, typer.Option(help="A GGUF file; without it SmolLM2-135M-Instruct.")
    ] = None,
    chat_template: Annotated[
        Path | None, typer.Option(help="A Jinja file that replaces the template in the weights.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Its name; without it the known one, or local/ and the file's name.")
    ] = None,
    slots: Annotated[int, typer.Option(min=1, help="Requests decoded together.")] = SLOTS,
    context: Annotated[int, typer.Option(min=1, help="Tokens per request.")] = CONTEXT_TOKENS,
    output: Annotated[
        int, typer.Option(min=1, help="Tokens after which an answer ends when its request sets no limit.")
    ] = OUTPUT_TOKENS,
    threads: Annotated[int | None, typer.Option(min=1, help="Without it one per core.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show the engine's log on stderr.")] = False,
    data_dir: OwnDataDir = None,
    parent: DieWithParent = None,
) -> None:
    """Serve a small real model on llama.cpp; it answers badly and truly.

    Its API key is that of ENTREPOT_LOCAL_API_KEY; else the one in local-api-key of the data directory, made
    if need be; else one is drawn and shown on stderr.
    """
    if parent is not None:
        die_with_parent(parent)
    host = LocalHost(
        port=port,
        weights=weights,
        chat_template=chat_template,
        model=model or (LOCAL_MODEL if weights is None else f"local/{weights.stem.lower()}"),
        slots=slots,
        context_tokens=context,
        output_tokens=output,
        threads=threads,
        verbose=verbose,
    )
    try:
        serve_local(host, _api_key(data_dir), lambda address: print(f"ready {address}", flush=True))
    except OSError as error:
        typer.echo(f"entrepot: {error}", err=True)
        raise typer.Exit(1) from None


def _api_key(data_dir: Path | None) -> str:
    key = os.environ.pop(LOCAL_API_KEY_VARIABLE, "")
    if key:
        return key
    drawn = secrets.token_urlsafe(32)
    if data_dir is None:
        typer.echo(f"{LOCAL_API_KEY_VARIABLE} is not set; the API key of this run is {drawn}", err=True)
        return drawn
    kept = make_data_dir(data_dir).path / KEY_FILE
    if not kept.exists():
        write_atomically(kept, drawn.encode())
    return kept.read_text().strip()
