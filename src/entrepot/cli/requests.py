"""`entrepot requests`: the last requests, or those that end from now on."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from math import nan
from pathlib import Path
from time import time_ns
from typing import Annotated

import typer

from entrepot.cli.options import AsJson, DataDir
from entrepot.cli.posted import key_names, posted_store, short_id
from entrepot.cli.tables import (
    NOTHING,
    clock_text,
    print_columns,
    seconds_text,
    speed_text,
    usd_column,
)
from entrepot.ledger.data_dir import DataDir as Directory
from entrepot.ledger.entries import Entry, Expire, NameEndpoint, NamePrices, Reserve, Settle, Void
from entrepot.ledger.history import AttemptHistory, Names, RequestHistory, history_of, names_in_journal
from entrepot.ledger.history_json import history_json, outcome_text
from entrepot.ledger.journal.reader import JournalReader
from entrepot.ledger.journal.segment import Position

SIMULATED_MARK = "*"
_POLL_S = 0.1
_REMEMBERED = 10_000  # requests whose entries are kept while following; others are looked up
_COLUMNS = ("time", "id", "key", "model@host", "in", "out", "$", "TTFT", "tok/s", "outcome")
_TEXTS = ("time", "id", "key", "model@host", "outcome")
_OPTIONAL = ("key", "tok/s", "TTFT", "time")
# So that lines which come one by one align.
_FOLLOWED_WIDTHS = dict(zip(_COLUMNS, (8, 16, 6, 22, 5, 5, 10, 5, 5, 9), strict=True))


def requests(
    data_dir: DataDir,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with requests as they end.")] = False,
    limit: Annotated[int, typer.Option(min=0, help="How many of the last requests.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the last requests, the newest last; `entrepot why ID` tells all of one. Times are UTC.

    A cost marked ~ is estimated; one marked ≤ is unknown, and at most that. A host marked * is simulated.
    """
    with posted_store(data_dir) as store:
        position = store.position()
        recent = store.recent(limit)[::-1]
    names = key_names(data_dir)
    if as_json and not follow:
        typer.echo(json.dumps([_as_json(history, names) for history in recent], indent=2))
        return
    if as_json:
        for history in recent:
            typer.echo(json.dumps(_as_json(history, names)))
    elif recent or follow:
        _print(recent, names, widths=_FOLLOWED_WIDTHS if follow else None)
    else:
        typer.echo("no requests yet", err=True)
    if follow:
        _follow(data_dir, position, as_json=as_json)


def _follow(data_dir: Path, position: Position | None, *, as_json: bool) -> None:
    """Print requests as their attempts end, until Ctrl-C."""
    try:
        for history in _ending(data_dir, position):
            names = key_names(data_dir)
            if as_json:
                typer.echo(json.dumps(_as_json(history, names)))
            else:
                _print([history], names, widths=_FOLLOWED_WIDTHS, header=False)
    except KeyboardInterrupt:
        return


def _ending(data_dir: Path, position: Position | None) -> Iterator[RequestHistory]:
    """Yield the history of a request each time one of its attempts has ended, for ever."""
    pending: dict[bytes, list[Entry]] = {}
    journal = Directory(data_dir).journal
    names = names_in_journal(data_dir)
    endpoints, prices = dict(names.endpoints), dict(names.prices)
    with JournalReader(journal, position) as tail, JournalReader(journal) as archive:
        while True:
            for _, entry in tail.entries():
                if isinstance(entry, NameEndpoint):
                    endpoints[entry.endpoint_id] = entry
                if isinstance(entry, NamePrices):
                    prices[entry.price_version] = entry
                if not isinstance(entry, Reserve | Settle | Void | Expire):
                    continue
                entries = pending.get(entry.request_id)
                if entries is None:
                    is_new = isinstance(entry, Reserve) and entry.attempt == 1
                    entries = [] if is_new else list(archive.find(entry.request_id))
                    pending[entry.request_id] = entries
                entries.append(entry)
                if not isinstance(entry, Reserve):
                    history = history_of(entries, Names(endpoints, prices))
                    if history is not None:
                        yield history
                if len(pending) > _REMEMBERED:
                    del pending[next(iter(pending))]
            time.sleep(_POLL_S)


def _print(
    histories: Sequence[RequestHistory],
    names: dict[int, str],
    *,
    widths: dict[str, int] | None = None,
    header: bool = True,
) -> None:
    now_ns = time_ns()
    costs = usd_column([history.cost_nusd + history.unknown_nusd for history in histories], exact=False)
    rows = [
        _cells(history, names, _cost_mark(history) + cost, now_ns)
        for history, cost in zip(histories, costs, strict=True)
    ]
    columns = {name: [row[place] for row in rows] for place, name in enumerate(_COLUMNS)}
    print_columns(columns, left=_TEXTS, optional=_OPTIONAL, widths=widths, header=header, gap=1)
    if header and any(SIMULATED_MARK in name for name in columns["model@host"]):
        typer.echo("* simulated")


def _cells(history: RequestHistory, names: dict[int, str], cost: str, now_ns: int) -> tuple[str, ...]:
    final = history.final
    settle = final.closing if isinstance(final.closing, Settle) else None
    usages = [attempt.usage for attempt in history.attempts]
    return (
        clock_text(history.attempts[0].reserve.at_ns, now_ns),
        short_id(history.request_id),
        names.get(history.key_id, str(history.key_id)),
        _endpoint_text(final),
        f"{sum(usage.prompt_tokens for usage in usages):,}",
        f"{sum(usage.output_tokens for usage in usages):,}",
        NOTHING if final.closing is None else cost,
        seconds_text(settle.ttft_s if settle else nan),
        speed_text(settle.tpot_s if settle else nan),
        _outcome_text(history),
    )


def _endpoint_text(attempt: AttemptHistory) -> str:
    if attempt.endpoint is None:
        return f"endpoint {attempt.reserve.endpoint_id}"
    mark = SIMULATED_MARK if attempt.endpoint.simulated else ""
    return f"{attempt.endpoint.model.rpartition('/')[2]}@{attempt.endpoint.host}{mark}"


def _cost_mark(history: RequestHistory) -> str:
    if history.unknown_nusd:
        return "≤"
    return "~" if any(attempt.usage.estimated for attempt in history.attempts) else ""


def _outcome_text(history: RequestHistory) -> str:
    closing = history.final.closing
    text = "under way" if closing is None else outcome_text(closing.outcome)
    tries = len(history.attempts)
    return text if tries == 1 else f"{text}, {tries} tries"


def _as_json(history: RequestHistory, names: dict[int, str]) -> dict[str, object]:
    return {**history_json(history), "key": names.get(history.key_id)}
