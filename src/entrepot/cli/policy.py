"""`entrepot policy`: what rules say of a request, what they would change, and a decision as evidence."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from time import time_ns
from typing import Annotated

import msgspec
import typer
from msgspec import Struct
from msgspec.structs import replace

from entrepot.catalog.load import load_settings
from entrepot.catalog.load_rules import shipped_packs
from entrepot.catalog.settings import Settings
from entrepot.cli.declarations import (
    Country,
    DataClass,
    Declarations,
    DefenceContractor,
    Purpose,
    Sector,
    UsPerson,
    claims_json,
)
from entrepot.cli.options import AsJson, DataDir
from entrepot.cli.policy_dry_run import dry_run
from entrepot.cli.policy_export import export
from entrepot.cli.policy_refusals import refusals
from entrepot.cli.tables import echo_wrapped
from entrepot.domain.claims import UNDECLARED, Claims, KeyClaims, claims_of
from entrepot.domain.endpoint import Endpoint, Operation
from entrepot.domain.errors import ConfigError, Refusal
from entrepot.domain.request import Request
from entrepot.ledger.keys.keys import ring_of
from entrepot.routing.eligible import standing_exclusion
from entrepot.routing.explain import exclusion_sentence
from entrepot.routing.policy import (
    NS_PER_DAY,
    Finding,
    PolicySet,
    Verdict,
    day_of,
    fact_of,
    is_valid,
    judge,
)
from entrepot.routing.rule import Attribute, Condition, Rule
from entrepot.wire.body import parse_body

app = typer.Typer(help="Look at rules before and after they decide.", no_args_is_help=True)
app.command("dry-run")(dry_run)
app.command()(export)
app.command()(refusals)

_MARKERS = {"messages": Operation.CHAT, "prompt": Operation.COMPLETION, "input": Operation.EMBEDDING}
Added = Annotated[str | None, typer.Option(help="As a client's header would add, with commas between.")]


class Judged(Struct, frozen=True):
    """What all rules say of one endpoint. `other` is why it is excluded besides, if it is.

    `findings` are of every rule; `denied_by` are those in force that exclude it.
    """

    endpoint: Endpoint
    findings: tuple[Finding, ...]
    denied_by: tuple[str, ...]
    other: str | None

    @property
    def remains(self) -> bool:
        """Return whether it may be tried."""
        return not self.denied_by and self.other is None


@app.command()
def check(
    data_dir: DataDir,
    request: Annotated[Path, typer.Argument(help="A request body, as a client would send it.")],
    *,
    config: Annotated[Path, typer.Option("--config", help="The configuration file.")] = Path("entrepot.toml"),
    key: Annotated[str | None, typer.Option(help="The key that sends it, by name or number.")] = None,
    country: Country = None,
    us_person: UsPerson = None,
    defence_contractor: DefenceContractor = None,
    sector: Sector = None,
    data_class: DataClass = None,
    purpose: Purpose = None,
    with_data_class: Added = None,
    with_purpose: Added = None,
    with_rules: Added = None,
    at: Annotated[str | None, typer.Option("--at", metavar="DAY", help="Judge as on this day (UTC).")] = None,
    as_json: AsJson = False,
) -> None:
    """Tell for each endpoint which rules allow or deny a request, and why; exit 1 when none remains.

    Options declare what the key does not. Its size, and limits of time and money, are not looked at.
    """
    settings = load_settings(config, os.environ, reads_secrets=False)
    policy = PolicySet(settings.policy.rules)
    before, tags = (UNDECLARED, frozenset[str]()) if key is None else _key(data_dir, key)
    declared = Declarations(country, us_person, defence_contractor, sector, data_class, purpose).over(before)
    claims = replace(
        claims_of(declared, tags),
        added_data_classes=_words(with_data_class),
        added_purposes=_words(with_purpose),
        rule_sets=_words(with_rules),
    )
    asked = replace(_request(request, settings), claims=claims)
    now_ns = time_ns() if at is None else _instant_ns(at)
    judged = [
        _judged(entry.endpoint, asked, policy, now_ns)
        for model in _real_models(asked, settings)
        for entry in settings.endpoints
        if entry.endpoint.model == model
    ]
    if as_json:
        typer.echo(json.dumps(_as_json(judged, policy, declared, claims, day_of(now_ns)), indent=2))
    else:
        _print(judged, policy, claims, now_ns, asked.models)
    if not any(one.remains for one in judged):
        raise typer.Exit(1)


@app.command()
def packs() -> None:
    """List the packs of rules that come with entrepot."""
    for name in shipped_packs():
        typer.echo(name)


def _key(data_dir: Path, name_or_id: str) -> tuple[KeyClaims, frozenset[str]]:
    ring = ring_of(data_dir)
    for key in ring.by_id.values():
        if not key.revoked and name_or_id in (key.name, str(key.key_id)):
            return key.claims, frozenset(ring.tags[tag] for tag in ring.with_wider(key.tags))
    raise ConfigError((f"no key is called {name_or_id!r}; `entrepot key list` shows them",))


def _words(text: str | None) -> frozenset[str]:
    return frozenset(part.strip().lower() for part in (text or "").split(",") if part.strip())


def _instant_ns(text: str) -> int:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"--at {text!r}: expected a day such as 2026-11-26") from None
    return (day - day_of(0)).days * NS_PER_DAY


def _real_models(request: Request, settings: Settings) -> list[str]:
    """Return the models that a request is for, virtual ones as what they stand for, each once."""
    members = {
        virtual.name: [member.model for member in virtual.members] for virtual in settings.virtual_models
    }
    return list(dict.fromkeys(model for name in request.models for model in members.get(name, [name])))


def _request(path: Path, settings: Settings) -> Request:
    try:
        body = path.read_bytes()
        fields = msgspec.json.decode(body)
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError((f"{path} cannot be read: {error}",)) from None
    named = fields if isinstance(fields, dict) else {}
    operation = next((of for name, of in _MARKERS.items() if name in named), Operation.CHAT)
    known = {entry.endpoint.model for entry in settings.endpoints}
    known |= {virtual.name for virtual in settings.virtual_models}
    parsed = parse_body(body, operation, known_models=known)
    if isinstance(parsed, Refusal):
        raise ConfigError((f"{path}: {parsed.message}",))
    return parsed.request


def _judged(endpoint: Endpoint, request: Request, policy: PolicySet, now_ns: int) -> Judged:
    in_force = policy.on(now_ns)
    findings = tuple(judge(rule, request.claims, endpoint, in_force.day) for rule in policy.rules)
    ids = in_force.by_id()
    exclusion = standing_exclusion(0, endpoint, request, needs_price=False)
    return Judged(
        endpoint,
        findings,
        tuple(of.rule.id for of in findings if of.verdict is Verdict.DENIES and of.rule.id in ids),
        None if exclusion is None else exclusion_sentence(exclusion, endpoint.name),
    )


# -- as text


def _print(
    judged: Sequence[Judged], policy: PolicySet, claims: Claims, now_ns: int, models: Iterable[str]
) -> None:
    day = day_of(now_ns)
    for one in judged:
        typer.echo(f"{one.endpoint.name}: {'allowed' if one.remains else 'excluded'}")
        for finding in one.findings:
            if finding.verdict is not Verdict.APPLIES_NOT:
                echo_wrapped(_finding_text(finding, claims, one.endpoint, day), indent=2, hanging=2)
        if one.other is not None:
            echo_wrapped(f"besides, {one.other}", indent=2, hanging=2)
    remaining = sum(one.remains for one in judged)
    version = f"version {policy.digest}" if policy.enforced else "no rules"
    typer.echo(
        f"{remaining} of {len(judged)} endpoints of {', '.join(models)} remain on {day} ({version})", err=True
    )


def _finding_text(finding: Finding, claims: Claims, endpoint: Endpoint, day: date) -> str:
    rule, verb = finding.rule, finding.verdict.value
    state = _state(rule, day)
    if state:
        verb = f"would {'deny' if finding.verdict is Verdict.DENIES else 'allow'}, but is {state}"
    text = f"{rule.id} ({rule.origin}) {verb}: {rule.sentence.rstrip('.')}"
    if finding.by is not None:
        text += f" [{finding.by.text}; {_seen_text(finding.by, claims, endpoint)}]"
    others = [of.attribute.text for of in finding.assumed if of is not finding.by]
    if others:
        text += f" (it applies since nobody declared {', '.join(others)})"
    return text


def _state(rule: Rule, day: date) -> str:
    if not rule.enforced:
        return "not enforced"
    return "" if is_valid(rule, day) else "not valid on that day"


def _seen_text(condition: Condition, claims: Claims, endpoint: Endpoint) -> str:
    seen = _seen(condition, claims, endpoint)
    if seen is None:
        return "not declared"
    return f"it is {', '.join(seen) or 'none'}" if isinstance(seen, list) else f"it is {seen}"


def _seen(condition: Condition, claims: Claims, endpoint: Endpoint) -> object:
    """Return the declared value, as JSON has it."""
    match condition.attribute:
        case Attribute.REQUEST_DATA_CLASS:
            return _both(claims.data_classes, claims.added_data_classes)
        case Attribute.REQUEST_PURPOSE:
            return _both(claims.purposes, claims.added_purposes)
        case attribute:
            fact = fact_of(attribute, claims, endpoint)
    if isinstance(fact, frozenset):
        return sorted(fact)
    return fact.isoformat() if isinstance(fact, date) else fact


def _both(declared: frozenset[str] | None, added: frozenset[str]) -> list[str] | None:
    return None if declared is None and not added else sorted((declared or frozenset()) | added)


# -- as JSON


def _as_json(
    judged: Sequence[Judged], policy: PolicySet, declared: KeyClaims, claims: Claims, day: date
) -> dict[str, object]:
    return {
        "day": day.isoformat(),
        "version": policy.digest if policy.enforced else None,
        "declared": claims_json(declared),
        "added": {
            "data_classes": sorted(claims.added_data_classes),
            "purposes": sorted(claims.added_purposes),
            "rules": sorted(claims.rule_sets),
        },
        "remaining": [one.endpoint.name for one in judged if one.remains],
        "endpoints": [
            {
                "endpoint": one.endpoint.name,
                "allowed": one.remains,
                "denied_by": list(one.denied_by),
                "besides": one.other,
                "rules": [_finding_json(of, claims, one.endpoint, day) for of in one.findings],
            }
            for one in judged
        ],
    }


def _finding_json(finding: Finding, claims: Claims, endpoint: Endpoint, day: date) -> dict[str, object]:
    rule, by = finding.rule, finding.by
    return {
        "id": rule.id,
        "effect": rule.effect.value,
        "status": rule.status.value,
        "basis": rule.basis,
        "sentence": rule.sentence,
        "verdict": finding.verdict.name.lower(),
        "enforced": rule.enforced,
        "valid": is_valid(rule, day),
        "attribute": None if by is None else by.attribute.text,
        "condition": None if by is None else by.text,
        "seen": None if by is None else _seen(by, claims, endpoint),
        "declared": finding.is_known,
        "assumed": [of.attribute.text for of in finding.assumed],
    }
