"""`entrepot data`: copies of a data directory, and whether its closed files are what they were."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from entrepot.cli.data_contents import erase, show_content
from entrepot.cli.database_option import StoreFile, database_of
from entrepot.cli.options import AsJson, DataDir
from entrepot.ledger.data_dir import DataDir as Directory
from entrepot.ledger.data_dir import check_format
from entrepot.ledger.journal.archive import Checked
from entrepot.ledger.journal.archive import verify as verify_seals
from entrepot.ledger.store.backup import Manifest, back_up
from entrepot.ledger.store.backup import restore as restore_backup
from entrepot.ledger.store.move import move_store as move
from entrepot.ledger.store.place import PostgresDatabase

_SQLITE = "sqlite"

app = typer.Typer(
    help="Backups of the data directory, checks of its files, and words of users in it.", no_args_is_help=True
)
app.command()(show_content)
app.command()(erase)


@app.command()
def backup(
    target: Annotated[Path, typer.Argument(help="A new directory, or a new file that ends in .tar.gz.")],
    data_dir: DataDir,
) -> None:
    """Copy keys, journal and store to one place, consistently, while a gateway serves or not."""
    manifest = back_up(data_dir, target, datetime.now(UTC))
    typer.echo(f"{target}: {_contents(manifest)}")


@app.command()
def restore(
    source: Annotated[Path, typer.Argument(help="What `entrepot data backup` made.", exists=True)],
    data_dir: DataDir,
    store: Annotated[
        str | None,
        typer.Option(help="Put the store into this PostgreSQL database, without rows of entrepot."),
    ] = None,
    store_file: StoreFile = None,
) -> None:
    """Make a data directory, which must be absent or empty, from a backup; every file is checked."""
    database = database_of("--store", store, store_file)
    manifest = restore_backup(source, data_dir, database)
    where = "" if database is None else f", its store in {database}"
    typer.echo(f"{data_dir}: {_contents(manifest)}, as of {manifest.made_at}{where}")
    if database is not None:
        _say_what_serve_needs(database)


@app.command()
def move_store(
    data_dir: DataDir,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS|sqlite",
            help="A PostgreSQL database without rows of entrepot, or the SQLite file.",
        ),
    ] = None,
    store_file: StoreFile = None,
) -> None:
    """Copy the store into another database and use that, while neither gateway nor poster runs."""
    database = None
    if to != _SQLITE or store_file is not None:
        database = database_of("--to", to, store_file)
        if database is None:
            raise typer.BadParameter("say where to: --to postgresql://…, --store-file FILE, or --to sqlite")
    old, count = move(data_dir, database)
    where = "the SQLite file" if database is None else str(database)
    typer.echo(f"{data_dir}: its store is in {where} now, {count:,} rows; {old} stays as it was")
    _say_what_serve_needs(database)


@app.command()
def verify(
    data_dir: DataDir,
    archive: Annotated[
        Path | None, typer.Option(help="The archive of the configuration, relative to the data directory.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare each closed journal file with its seal; exit 1 and name the first that differs."""
    check_format(data_dir)
    checked = verify_seals(Directory(data_dir).journal, None if archive is None else data_dir / archive)
    bad = [found for found in checked if found.problem is not None]
    if as_json:
        typer.echo(json.dumps(_as_json(checked), indent=2))
    elif bad:
        typer.echo(f"FAILED: {bad[0].file} {bad[0].problem}")
        if len(bad) > 1:
            typer.echo(f"and {len(bad) - 1} more files differ")
    else:
        typer.echo(_verdict(checked, archive))
    raise typer.Exit(1 if bad else 0)


def _say_what_serve_needs(database: PostgresDatabase | None) -> None:
    """Say that the configuration has the last word: `serve` writes down what it says."""
    what = "take `store` out of" if database is None else "name it as `store` in"
    typer.echo(f"{what} [ledger] of the configuration before the next `entrepot serve`", err=True)


def _contents(manifest: Manifest) -> str:
    size_bytes = sum(file.size_bytes for file in manifest.files.values())
    return f"{len(manifest.files)} files, {size_bytes:,} bytes"


def _verdict(checked: list[Checked], archive: Path | None) -> str:
    here = sum(found.file is not None for found in checked)
    parts = [f"ok: {here:,} sealed files are what they were"]
    if here < len(checked):
        hint = "; name the --archive" if archive is None else ""
        parts.append(f"{len(checked) - here:,} are not here any more{hint}")
    return ", ".join(parts)


def _as_json(checked: list[Checked]) -> dict[str, object]:
    return {
        "ok": all(found.problem is None for found in checked),
        "segments": [
            {
                "segment": found.number,
                "file": None if found.file is None else str(found.file),
                "problem": found.problem,
            }
            for found in checked
        ],
    }
