"""`entrepot policy refusals`: how often which rule refused the requests of which key."""

from __future__ import annotations

import json
from time import time_ns

import typer

from entrepot.cli.asked_of_report import Since, Until, instant_ns
from entrepot.cli.options import AsJson, DataDir
from entrepot.cli.posted import key_names, posted_store
from entrepot.cli.tables import print_columns
from entrepot.ledger.history_json import instant_text
from entrepot.ledger.reports.refusals import refusals as counted
from entrepot.ledger.reports.refusals import refused_requests
from entrepot.ledger.reports.usage_query import Window


def refusals(data_dir: DataDir, since: Since = "30d", until: Until = None, as_json: AsJson = False) -> None:
    """Count the requests that rules refused, by rule and key; `entrepot why` tells of one of them.

    A request that several rules kept from its endpoints counts for each of them.
    """
    now_ns = time_ns()
    since_ns, until_ns = (None if text is None else instant_ns(text, now_ns) for text in (since, until))
    window = Window(since_ns, until_ns)
    with posted_store(data_dir) as store, store.engine.connect() as connection:
        counts, requests = counted(connection, window), refused_requests(connection, window)
    keys = key_names(data_dir)
    if as_json:
        rows = [
            {
                "rule": count.rule,
                "key_id": count.key_id,
                "key": keys.get(count.key_id),
                "requests": count.requests,
                "last": instant_text(count.last_ns),
            }
            for count in counts
        ]
        typer.echo(json.dumps({"requests": requests, "refusals": rows}, indent=2))
        return
    typer.echo(f"{requests:,} requests were refused by rules")
    if counts:
        columns = {
            "rule": [count.rule for count in counts],
            "key": [keys.get(count.key_id) or str(count.key_id) for count in counts],
            "requests": [f"{count.requests:,}" for count in counts],
            "last": [instant_text(count.last_ns) for count in counts],
        }
        print_columns(columns, left=("rule", "key"))
