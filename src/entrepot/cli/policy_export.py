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
from entrepot.cli.posted import find_told
from entrepot.cli.why import decision_of
from entrepot.cli.why_refused import grounds_of
from entrepot.ledger.history import RefusalHistory, RequestHistory, Told, names_in_journal
from entrepot.ledger.history_json import history_json, refusal_json
from entrepot.routing.decision import Decision
from entrepot.routing.decision_json import decision_json, grounds_json

FORMAT = 1
Json = dict[str, object]


def export(data_dir: DataDir, request_id: RequestId) -> None:
    """Print a request, its decision or refusal, and the rules, prices and endpoints that it went by, as JSON.

    Each part has a digest (SHA-256 of its JSON with sorted keys and no spaces), and so has the whole. The
    rules are those of the version that the decision names, as the gateway wrote them down when it began to
    obey them.
    """
    history = find_told(data_dir, request_id)
    if isinstance(history, RefusalHistory):
        evidence = _of_refusal(data_dir, history)
    else:
        evidence = _of_request(data_dir, history)
    told: Json = {"format": FORMAT, **evidence}
    typer.echo(json.dumps({**told, "digest": _digest(told)}, indent=2))


def _of_request(data_dir: Path, history: RequestHistory) -> Json:
    decision = decision_of(history)
    ids = {attempt.reserve.endpoint_id for attempt in history.attempts}
    if decision is not None:
        ids |= {candidate.endpoint_index for candidate in decision.candidates}
        ids |= {exclusion.endpoint_index for exclusion in decision.excluded}
    policy = "" if decision is None else decision.policy
    return {
        "request": history_json(history),
        "decision": None if decision is None else _decision_json(data_dir, history, decision),
        "decision_bytes": history.decision.hex(),
        "versions": _versions(data_dir, history, ids, history.attempts[0].reserve.at_ns, policy),
    }


def _of_refusal(data_dir: Path, history: RefusalHistory) -> Json:
    grounds = grounds_of(history)
    ids = {gone.endpoint_index for gone in grounds.excluded} if grounds else set[int]()
    policy = "" if grounds is None else grounds.policy
    rules = kept_rules(data_dir, policy)
    return {
        "request": refusal_json(history),
        "refusal": None if grounds is None else grounds_json(grounds, history.endpoint_names, rules),
        "refusal_bytes": history.entry.grounds.hex(),
        "versions": _versions(data_dir, history, ids, history.entry.at_ns, policy),
    }


def _decision_json(data_dir: Path, history: RequestHistory, decision: Decision) -> Json:
    names = history.endpoint_names
    return decision_json(decision, names, kept_rules(data_dir, decision.policy))


def _versions(data_dir: Path, history: Told, ids: set[int], at_ns: int, policy: str) -> Json:
    """Return what the endpoints of these ids were and cost until an instant, and the rules of a version."""
    prices = [
        msgspec.structs.asdict(price)
        for price in names_in_journal(data_dir).prices.values()
        if price.endpoint_id in ids and price.at_ns <= at_ns
    ]
    endpoints = [
        msgspec.structs.asdict(endpoint) for number, endpoint in history.endpoints.items() if number in ids
    ]
    return {
        "rules": _rules_json(data_dir, history, policy),
        "prices": {"digest": _digest(prices), "prices": prices},
        "catalog": {"digest": _digest(endpoints), "endpoints": endpoints},
    }


def _rules_json(data_dir: Path, history: Told, version: str) -> Json:
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
