"""Rules as the fields of the file that would load to them."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from entrepot.catalog.settings import PolicySettings
from entrepot.routing.rule import Condition, Operator, Rule, Status

Fields = dict[str, object]


def policy_fields(policy: PolicySettings) -> Fields:
    """Return the section `[policy]`; its rules are shown by themselves."""
    fields = msgspec.structs.asdict(policy)
    del fields["rules"]
    return fields


def rule_fields(rule: Rule) -> Fields:
    """Return a rule under the names of the file."""
    return {
        "id": rule.id,
        "effect": rule.effect,
        "status": rule.status,
        "basis": rule.basis,
        "sentence": rule.sentence,
        "valid_from": rule.valid_from,
        "valid_until": rule.valid_until,
        "enforce": rule.enforced,
        "when": _conditions(rule.when),
        "holds": _conditions(rule.holds),
    }


def rule_text(rule: Rule) -> str:
    """Return a rule in one line: its name, where it comes from, and whether it is enforced."""
    state = "" if rule.enforced else ", not enforced" + (" as a draft" if rule.status is Status.DRAFT else "")
    asked = ", only for requests that ask for it" if rule.on_request else ""
    return f"{rule.id} ({rule.origin}{state}{asked}): {rule.sentence}"


def _conditions(conditions: Iterable[Condition]) -> dict[str, dict[str, Fields]]:
    scopes: dict[str, dict[str, Fields]] = {}
    for condition in conditions:
        scope, _, name = condition.attribute.text.partition(".")
        value: object = condition.value
        if isinstance(value, tuple):
            value = value[0] if condition.operator is Operator.AT_LEAST else list(value)
        scopes.setdefault(scope, {}).setdefault(name, {})[condition.operator.value] = value
    return scopes
