"""What `entrepot why` tells of a request that rules kept from being served."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from entrepot.catalog.kept_rules import kept_rules
from entrepot.cli.posted import key_names
from entrepot.cli.tables import echo_wrapped
from entrepot.domain.ids import request_id_text
from entrepot.ledger.history import RefusalHistory
from entrepot.ledger.history_json import instant_text, refusal_json
from entrepot.routing.decision_json import grounds_json
from entrepot.routing.explain import exclusion_sentence
from entrepot.routing.forbidden import Fact, Grounds, facts_of


def grounds_of(history: RefusalHistory) -> Grounds | None:
    """Return what a refusal was decided by, or None; what is damaged gets a message."""
    try:
        return history.read_grounds()
    except ValueError as error:
        typer.echo(str(error), err=True)
        return None


def tell_refusal(data_dir: Path, history: RefusalHistory, *, as_json: bool) -> None:
    """Print which rules refused a request, by which facts, and which endpoints they excluded."""
    grounds, names = grounds_of(history), history.endpoint_names
    rules = {} if grounds is None else kept_rules(data_dir, grounds.policy)
    if as_json:
        told = None if grounds is None else grounds_json(grounds, names, rules)
        typer.echo(json.dumps({**refusal_json(history), "refusal": told}, indent=2))
        return
    entry = history.entry
    key = f"key {history.key_id} {key_names(data_dir).get(history.key_id, '')}".rstrip()
    typer.echo(
        f"{request_id_text(history.request_id)}\n{instant_text(entry.at_ns)}, {key}, {entry.operation.value}"
    )
    typer.echo("\nRefused by rules (403 policy_forbidden): nothing was sent, and it cost nothing.")
    if entry.count > 1:
        echo_wrapped(
            f"It tells of {entry.count:,} requests of this key that were refused alike within a minute."
        )
    if grounds is None:
        return
    typer.echo(f"Asked for: {', '.join(grounds.models)}")
    typer.echo(f"Known of sender and request: {_facts_text(grounds)}")
    typer.echo("\nExcluded")
    for gone in grounds.excluded:
        name = names.get(gone.endpoint_index) or f"endpoint {gone.endpoint_index}"
        echo_wrapped(exclusion_sentence(gone, name, rules), indent=2, hanging=2)
    typer.echo(f"The rules in force were those of version {grounds.policy}.")


def _facts_text(grounds: Grounds) -> str:
    facts = facts_of(grounds.claims).items()
    return ", ".join(f"{name} {_words(value)}" for name, value in facts) or "nothing that these rules ask for"


def _words(value: Fact) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case str():
            return value
        case list():
            return "+".join(value) or "none"
