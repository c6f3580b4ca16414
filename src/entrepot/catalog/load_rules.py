"""Reads `[[rules]]`, from a configuration and from the packs of rules that it names, into typed values.

A pack is a file of its own, so its mistakes are reported with its name; all of them with those of the
configuration. What a rule compares, and how, is checked here: a rule that means nothing is never enforced.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from entrepot.catalog.data_files import data_path
from entrepot.catalog.reading import Reading, Table, nearest_text, shown
from entrepot.catalog.settings import PolicySettings
from entrepot.domain.errors import ConfigError
from entrepot.routing.rule import (
    KINDS,
    OPERATORS,
    QUANTIZATION_RANKS,
    Attribute,
    Condition,
    Effect,
    Kind,
    Operator,
    Rule,
    Status,
    Value,
)

PACKS_FOLDER = "policy"
_ID = re.compile(r"[a-z0-9][a-z0-9._-]*")
WORD = re.compile(r"[a-z0-9][a-z0-9._-]*")
_COUNTRY = re.compile(r"[A-Z]{2}")
_EFFECTS = {effect.value: effect for effect in Effect}
_STATUSES = {status.value: status for status in Status}
_SCOPES = {
    scope: {of.text.removeprefix(f"{scope}."): of for of in Attribute if of.text.startswith(f"{scope}.")}
    for scope in ("tenant", "request", "model", "host", "endpoint")
}
_OF_COUNTRIES = {
    Attribute.TENANT_COUNTRY,
    Attribute.MODEL_ORIGIN_COUNTRY,
    Attribute.HOST_OWNER_COUNTRY,
    Attribute.HOST_MAJOR_OWNERS,
    Attribute.ENDPOINT_COUNTRY,
}
_NOTES = ("title", "source", "notice")


def load_policy(root: Table, reading: Reading, folder: Path) -> PolicySettings:
    """Return the rules of a configuration and of its packs; relative paths start at `folder`."""
    section = root.section("policy")
    packs, on_request = section.texts("packs"), section.texts("on_request")
    enforce_drafts = section.flag("enforce_drafts", default=False)
    words = {key: _words(section, key) for key in ("data_classes", "purposes")}
    section.finish()
    rules = list(_rules(root, "", enforces_drafts=enforce_drafts))
    names = {rule.id: "the configuration" for rule in rules}
    for key, named in (("packs", packs), ("on_request", on_request)):
        for name in named:
            try:
                path = pack_path(name, folder)
                added = load_pack(path, enforces_drafts=enforce_drafts, on_request=key == "on_request")
            except ConfigError as error:
                reading.include(error.problems)
                continue
            except FileNotFoundError:
                section.problem(key, f"{shown(name)} is no pack; {_known_packs(name)}")
                continue
            for rule in added:
                if rule.id in names:
                    section.problem(key, f"{name} has the rule {rule.id}, as has {names[rule.id]} already")
                names[rule.id] = f"the pack {name}"
            rules += added
    return PolicySettings(
        packs=packs,
        on_request=on_request,
        enforce_drafts=enforce_drafts,
        data_classes=words["data_classes"],
        purposes=words["purposes"],
        rules=tuple(rules),
    )


def pack_path(name: str, folder: Path) -> Path:
    """Return the file of a pack: one that is shipped, by its name, or a path that begins at `folder`.

    Raises: FileNotFoundError when there is neither.
    """
    if name.endswith(".toml") or "/" in name:
        path = folder / name
        if not path.is_file():
            raise FileNotFoundError(path)
        return path
    return data_path(f"{PACKS_FOLDER}/{name}.toml")


def load_pack(path: Path, *, enforces_drafts: bool = False, on_request: bool = False) -> tuple[Rule, ...]:
    """Return the rules of a file that has nothing but rules and what they are called.

    Raises: ConfigError with all of its mistakes.
    """
    reading = Reading.of_file(path)
    root = reading.root
    for key in _NOTES:
        root.text(key, None)
    root.day("checked")
    rules = tuple(_rules(root, path.stem, enforces_drafts=enforces_drafts, on_request=on_request))
    if not rules:
        root.require("rules", "at least one [[rules]]")
    root.finish()
    reading.finish()
    return rules


def shipped_packs() -> tuple[str, ...]:
    """Return the names of the packs that come with entrepot."""
    return tuple(sorted(path.stem for path in data_path(PACKS_FOLDER).glob("*.toml")))


def _known_packs(name: str) -> str:
    return f"write the path of a .toml file, or: {nearest_text(name, shipped_packs())}"


def _words(section: Table, key: str) -> tuple[str, ...]:
    words = section.texts(key)
    for word in words:
        if not WORD.fullmatch(word):
            section.problem(key, f"{shown(word)}: use small letters, digits, dots, - and _ only")
    return words


def _rules(root: Table, rule_set: str, *, enforces_drafts: bool, on_request: bool = False) -> Iterator[Rule]:
    seen: set[str] = set()
    for table in root.tables("rules"):
        rule = _rule(table, rule_set, enforces_drafts=enforces_drafts, on_request=on_request)
        if rule.id in seen:
            table.problem("id", f"{rule.id} is described twice")
        seen.add(rule.id)
        yield rule


def _rule(table: Table, rule_set: str, *, enforces_drafts: bool, on_request: bool) -> Rule:
    for key, what in (
        ("id", "a name that stays for ever, such as eu-only"),
        ("effect", "forbid or require"),
        ("status", "law, contract, house or draft"),
        ("basis", "what it rests on: a law and its section, a contract, a decision"),
        ("sentence", "one sentence that a refusal can quote"),
    ):
        table.require(key, what)
    name = table.text("id", "")
    if name and not _ID.fullmatch(name):
        table.problem("id", f"{shown(name)}: use small letters, digits, dots, - and _ only")
    effect = _EFFECTS[table.choice("effect", _EFFECTS, "forbid")]
    status = _STATUSES[table.choice("status", _STATUSES, "house")]
    valid_from, valid_until = table.day("valid_from"), table.day("valid_until")
    if valid_from is not None and valid_until is not None and valid_until <= valid_from:
        table.problem("valid_until", f"{valid_until} is not after valid_from; it is the first day without")
    rule = Rule(
        id=name,
        effect=effect,
        status=status,
        basis=table.text("basis", ""),
        sentence=table.text("sentence", ""),
        when=tuple(_conditions(table, "when")),
        holds=tuple(_conditions(table, "holds")),
        valid_from=valid_from,
        valid_until=valid_until,
        enforced=table.flag("enforce", enforces_drafts or status is not Status.DRAFT),
        rule_set=rule_set,
        on_request=on_request,
    )
    _check_shape(table, rule)
    table.finish()
    return rule


def _check_shape(table: Table, rule: Rule) -> None:
    if rule.effect is Effect.FORBID:
        if "holds" in table:
            table.problem("holds", "is for require; a forbid has all of its conditions in when")
        table.require("when", 'what is forbidden, such as when.host.owner_country = ["CN"]')
    else:
        table.require("holds", "what is required, such as holds.endpoint.baa = true")
    for key, conditions in (("when", rule.when), ("holds", rule.holds)):
        if key in table and not conditions:
            table.problem(key, "has no condition; name an attribute, or leave the key out")
    for text in (rule.basis, rule.sentence):
        if not text.isprintable():
            table.problem("sentence", "basis and sentence stand in one line: no line breaks")


# -- conditions


def _conditions(rule: Table, key: str) -> Iterator[Condition]:
    table = rule.table(key)
    if table is None:
        return
    for scope, attributes in _SCOPES.items():
        inner = table.table(scope)
        if inner is None:
            continue
        for name, attribute in attributes.items():
            if name not in inner:
                inner.raw(name)
            elif key == "holds" and attribute.of_request:
                inner.raw(name)
                inner.problem(
                    name,
                    "a client could add what is required; write a forbid with "
                    f'when.{attribute.text} = {{ outside = ["…"] }}',
                )
            else:
                yield from _comparisons(inner, name, attribute)
        inner.finish()
    table.finish()


def _comparisons(scope: Table, name: str, attribute: Attribute) -> Iterator[Condition]:
    kind, value = KINDS[attribute], scope.raw(name)
    if not isinstance(value, dict):
        operator = Operator.IS if kind is Kind.FLAG else Operator.IN
        if operator in OPERATORS[kind]:
            yield from _comparison(scope, name, attribute, operator)
        else:
            known = ", ".join(OPERATORS[kind])
            scope.problem(name, f"write how it is compared: {{ operator = value }} with one of {known}")
        return
    table = scope.table(name)
    assert table is not None
    if not value:
        scope.problem(name, f"has no operator; known here: {', '.join(OPERATORS[kind])}")
    for operator in OPERATORS[kind]:
        table.raw(operator.value)
        if operator.value in table:
            yield from _comparison(table, operator.value, attribute, operator)
    table.finish()


def _comparison(table: Table, key: str, attribute: Attribute, operator: Operator) -> Iterator[Condition]:
    value = _value(table, key, attribute, operator)
    if value is not None:
        yield Condition(attribute, operator, value)


def _value(table: Table, key: str, attribute: Attribute, operator: Operator) -> Value | None:
    match operator:
        case Operator.IS | Operator.DECLARED:
            return table.flag(key, None)
        case Operator.AT_MOST | Operator.NOT_OLDER_THAN_DAYS:
            return table.integer(key, None, least=0, most=100_000)
        case Operator.AT_LEAST if KINDS[attribute] is Kind.DAYS:
            return table.integer(key, None, least=0, most=100_000)
        case Operator.AT_LEAST:
            text = table.text(key, None)
            return _checked_texts(table, key, attribute, () if text is None else (text,))
        case Operator.IN | Operator.NOT_IN | Operator.OUTSIDE:
            if isinstance(table.raw(key), str):
                text = table.text(key, None)
                return _checked_texts(table, key, attribute, () if text is None else (text,))
            texts = table.texts(key)
            if table.raw(key) == []:
                table.problem(key, "is empty; name at least one value")
            return _checked_texts(table, key, attribute, texts)


def _checked_texts(
    table: Table, key: str, attribute: Attribute, texts: Iterable[str]
) -> tuple[str, ...] | None:
    checked = tuple(sorted(set(texts)))
    for text in checked:
        if attribute in _OF_COUNTRIES and not _COUNTRY.fullmatch(text):
            table.problem(key, f"{shown(text)} is not a country code of two capital letters, such as CN")
        elif KINDS[attribute] is Kind.QUANTIZATION and text.lower() not in QUANTIZATION_RANKS:
            table.problem(key, f"{shown(text)} is not known; {nearest_text(text, QUANTIZATION_RANKS)}")
        elif KINDS[attribute] is Kind.ADDED and not WORD.fullmatch(text):
            table.problem(key, f"{shown(text)}: use small letters, digits, dots, - and _ only")
    if KINDS[attribute] is Kind.QUANTIZATION:
        checked = tuple(text.lower() for text in checked)
    return checked or None
