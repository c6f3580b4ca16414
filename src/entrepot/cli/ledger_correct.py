"""`entrepot ledger correct`: the true-up of what we booked to what a host says it did."""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterator
from pathlib import Path
from time import time_ns
from typing import Annotated

import msgspec
import typer

from entrepot.cli.admin import ask, console_address
from entrepot.cli.options import AsJson, DataDir
from entrepot.cli.posted import posted_store
from entrepot.cli.tables import dollars
from entrepot.domain.errors import DataError
from entrepot.ledger.corrections import Correction, HostLogLine, TrueUp, attempt_of, corrections
from entrepot.ledger.data_dir import check_format
from entrepot.ledger.ledger import Ledger

_PER_CALL = 1000  # corrections sent to a gateway at once: a call stays short for its other requests


def correct(
    data_dir: DataDir,
    hostlog: Annotated[
        Path, typer.Argument(help="The host's own log, JSON lines.", exists=True, dir_okay=False)
    ],
    as_json: AsJson = False,
) -> None:
    """Correct the ledger by a host's own log; the same log twice changes nothing."""
    lines, unread = _read(hostlog)
    with _one_at_a_time(data_dir):
        found, refused = _true_up(data_dir, lines)
    problems = [*unread, *found.problems, *refused]
    if as_json:
        typer.echo(json.dumps(_as_json(found, problems), indent=2))
    else:
        typer.echo(_text(found))
    for problem in problems:
        typer.echo(f"not corrected: {problem}", err=True)
    raise typer.Exit(1 if problems else 0)


def _read(hostlog: Path) -> tuple[list[HostLogLine], list[str]]:
    """Return the lines of a log, and a sentence for each that cannot be read."""
    decode = msgspec.json.Decoder(HostLogLine).decode
    lines, problems = [], []
    for number, line in enumerate(hostlog.read_bytes().splitlines(keepends=True), start=1):
        if not line.endswith(b"\n"):  # the host is writing it
            problems.append(f"{hostlog}:{number}: the line is not complete; run this again")
        elif line.strip():
            try:
                lines.append(decode(line))
            except msgspec.MsgspecError as error:
                problems.append(f"{hostlog}:{number}: {error}")
    return lines, problems


@contextlib.contextmanager
def _one_at_a_time(data_dir: Path) -> Iterator[None]:
    """Keep a second true-up from working out the same differences before the first has written them."""
    check_format(data_dir)
    with (data_dir / "correct.lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _true_up(data_dir: Path, lines: list[HostLogLine]) -> tuple[TrueUp, list[str]]:
    """Write what differs, through the gateway that owns the ledger or as its owner, and return it."""
    try:
        ledger = Ledger.open(data_dir, time_ns())
    except DataError:
        if console_address(data_dir) is None:
            raise
        found = _differences(data_dir, lines)
        return found, _send(data_dir, found.corrections)
    with contextlib.closing(ledger):
        found = _differences(data_dir, lines)
        return found, _write(ledger, found.corrections)


def _differences(data_dir: Path, lines: list[HostLogLine]) -> TrueUp:
    ids = {attempt[0] for line in lines if (attempt := attempt_of(line.request_id or "")) is not None}
    with posted_store(data_dir) as store:
        histories = store.requests(sorted(ids))
    attempts = {
        (history.request_id, attempt.reserve.attempt): attempt
        for history in histories.values()
        for attempt in history.attempts
    }
    return corrections(lines, attempts)


def _send(data_dir: Path, wanted: tuple[Correction, ...]) -> list[str]:
    problems: list[str] = []
    for first in range(0, len(wanted), _PER_CALL):
        body = msgspec.json.encode(wanted[first : first + _PER_CALL])
        answer = ask(data_dir, "/admin/corrections", body)
        problems += map(str, answer["conflicts"])
    return problems


def _write(ledger: Ledger, wanted: tuple[Correction, ...]) -> list[str]:
    conflicts = ((correction, ledger.correct(correction.entry(time_ns()))) for correction in wanted)
    return [
        f"{correction.request_id}, attempt {correction.attempt}: {conflict.reason}"
        for correction, conflict in conflicts
        if conflict is not None
    ]


def _text(found: TrueUp) -> str:
    changed = sum(correction.bill.total_nusd for correction in found.corrections)
    known = sum(correction.unknown_nusd for correction in found.corrections)
    text = f"{found.agreed:,} attempts agree, {len(found.corrections):,} corrected"
    if found.corrections:
        text += f" by {dollars(changed)}"
    if known:
        text += f", of which {dollars(known)} was unknown, at most"
    return text + (f", {found.open:,} still under way" if found.open else "")


def _as_json(found: TrueUp, problems: list[str]) -> dict[str, object]:
    return {
        "agreed": found.agreed,
        "corrected": len(found.corrections),
        "open": found.open,
        "cost_nusd": sum(correction.bill.total_nusd for correction in found.corrections),
        "unknown_nusd": -sum(correction.unknown_nusd for correction in found.corrections),
        "corrections": msgspec.to_builtins(found.corrections),
        "problems": problems,
    }
