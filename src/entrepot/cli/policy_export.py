"""`entrepot policy export`: a decision as evidence, with the versions of rules, prices and catalog."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import msgspec
import typer

from entrepot.catalog.kept_rules import kept_rules
from entrepot.catalog.show_rules import rule_fields
from entrepot.cli.options import DataDir, RequestId
from entrepot.cli.posted import find_request
from entrepot.cli.why import decision_of
from entrepot.ledger.history import RequestHistory, names_in_journal
from entrepot.ledger.history_json import history_json
from entrepot.routing.decision import Decision
from entrepot.routing.decision_json import decision_json

FORMAT = 1
Json = dict[str, object]


def export(data_dir: DataDir, request_id: RequestId) -> None:
    """Print a request, its decision, and the rules, prices and endpoints that it went by, as JSON.

    Each part has a digest (SHA-256 of its JSON with sorted keys and no spaces), and so has the whole. The
    rules are those of the version that the decision names, as the gateway wrote them down when it began to
    obey them.
    """
    history = find_request(data_dir, request_id)
    decision = decision_of(history)
    evidence: Json = {
        "format": FORMAT,
        "request": history_json(history),
        "decision": None if decision is None else _decision_json(data_dir, history, decision),
        "decision_bytes": history.decision.hex(),
        "versions": _versions(data_dir, history, decision),
    }
    typer.echo(json.dumps({**evidence, "digest": _digest(evidence)}, indent=2))


def _decision_json(data_dir: Path, history: RequestHistory, decision: Decision) -> Json:
    names = history.endpoint_names
    return decision_json(decision, names, kept_rules(data_dir, decision.policy))


def _versions(data_dir: Path, history: RequestHistory, decision: Decision | None) -> Json:
    ids = {attempt.reserve.endpoint_id for attempt in history.attempts}
    if decision is not None:
        ids |= {candidate.endpoint_index for candidate in decision.candidates}
        ids |= {exclusion.endpoint_index for exclusion in decision.excluded}
    at_ns = history.attempts[0].reserve.at_ns
    prices = [
        msgspec.structs.asdict(price)
        for price in names_in_journal(data_dir).prices.values()
        if price.endpoint_id in ids and price.at_ns <= at_ns
    ]
    endpoints = [
        msgspec.structs.asdict(endpoint) for number, endpoint in history.endpoints.items() if number in ids
    ]
    return {
        "rules": _rules_json(data_dir, history, "" if decision is None else decision.policy),
        "prices": {"digest": _digest(prices), "prices": prices},
        "catalog": {"digest": _digest(endpoints), "endpoints": endpoints},
    }


def _rules_json(data_dir: Path, history: RequestHistory, version: str) -> Json:
    """Return the rules of a version; None where they were not kept."""
    kept = kept_rules(data_dir, version) if version else {}
    rules = [
        {name: _plain(value) for name, value in rule_fields(rule).items()} | {"pack": rule.rule_set or None}
        for rule in kept.values()
    ]
    return {"version": version or None, "excluded_by": list(history.rules), "rules": rules or None}


def _plain(value: object) -> object:
    return value if isinstance(value, str | bool | Mapping) or value is None else str(value)


def _digest(value: object) -> str:
    return sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
