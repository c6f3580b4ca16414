"""Writes settings as the TOML that would load to them, with every default spelled out.

What an operator wants to see is what the gateway understood, in the words that it reads; a dump of Python
values would be neither. Secrets appear as where they came from, never as themselves.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from enum import Enum
from pathlib import Path

import msgspec

from entrepot.catalog.settings import EndpointSettings, HostSettings, Secret, Settings
from entrepot.catalog.show_prices import instant_text, price_fields, rate_tables
from entrepot.catalog.show_rules import policy_fields, rule_fields, rule_text
from entrepot.domain.endpoint import Model, Operation
from entrepot.domain.estimate import Estimate
from entrepot.domain.virtual import Member, VirtualModel

ENVIRONMENT_ORIGIN = "environment variable "
FILE_ORIGIN = "file "

NOT_SHOWN = "(not shown)"

_CREDENTIAL = re.compile(r"key|token|secret|auth|passw|sig|cookie|code", re.IGNORECASE)
_PASSWORD = re.compile(r"//[^/]*@")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_DEFAULT_HOST = HostSettings("", "")
_DEFAULT_OPERATIONS = frozenset({Operation.CHAT})


def settings_text(settings: Settings, *, as_json: bool = False) -> str:
    """Return all settings, defaults included, as TOML or as JSON; secrets by their origin alone."""
    if as_json:
        return json.dumps(settings_data(settings), indent=2)
    sections = (settings.server, settings.ledger, settings.routing, settings.caps)
    lines: list[str] = []
    for name, section in zip(("server", "ledger", "routing", "caps"), sections, strict=True):
        lines += [f"[{name}]", *_lines(msgspec.structs.asdict(section)), ""]
    lines += ["[policy]", *_lines(policy_fields(settings.policy)), ""]
    for rule in settings.policy.rules:
        if rule.rule_set:
            lines.append(f"# from the pack {rule.rule_set}: {rule_text(rule)}")
        else:
            lines += ["[[rules]]", *_lines(rule_fields(rule)), ""]
    for virtual in settings.virtual_models:
        lines += ["[[virtual_models]]", *_lines(_virtual_fields(virtual)), ""]
    shown = hosts_toml(settings.models, settings.hosts, settings.endpoints, spell_defaults=True)
    return "\n".join(lines) + "\n" + shown


def settings_data(settings: Settings) -> dict[str, object]:
    """Return all settings as plain data under the names of the file."""
    sections = (settings.server, settings.ledger, settings.routing, settings.caps)
    data: dict[str, object] = {
        name: _plain(msgspec.structs.asdict(section))
        for name, section in zip(("server", "ledger", "routing", "caps"), sections, strict=True)
    }
    data["policy"] = _plain_table(policy_fields(settings.policy))
    data["rules"] = [
        _plain_table({**rule_fields(rule), "pack": rule.rule_set or None}) for rule in settings.policy.rules
    ]
    data["models"] = [_plain(_model_fields(model)) for model in settings.models]
    data["virtual_models"] = [_plain(_virtual_fields(virtual)) for virtual in settings.virtual_models]
    data["hosts"] = [
        {
            **_plain_table(_host_fields(host, spell_defaults=True)),
            "endpoints": [
                _plain_table(_endpoint_fields(entry) | _rates(entry))
                for entry in settings.endpoints
                if entry.host == host
            ],
        }
        for host in settings.hosts
    ]
    return data


def hosts_toml(
    models: Iterable[Model],
    hosts: Iterable[HostSettings],
    endpoints: Iterable[EndpointSettings],
    *,
    spell_defaults: bool = False,
) -> str:
    """Return the `[[models]]` and `[[hosts]]` blocks; settings at their default only if `spell_defaults`."""
    blocks = [["[[models]]", *_lines(_model_fields(model))] for model in models]
    entries = tuple(endpoints)
    for host in hosts:
        blocks.append(["[[hosts]]", *_lines(_host_fields(host, spell_defaults=spell_defaults))])
        for entry in entries:
            if entry.host.name == host.name:
                blocks.append(["[[hosts.endpoints]]", *_lines(_endpoint_fields(entry))])
                for rate in rate_tables(entry.endpoint):
                    blocks.append(["[[hosts.endpoints.rates]]", *_lines(rate)])
    return "\n".join("\n".join(block) + "\n" for block in blocks)


def _model_fields(model: Model) -> dict[str, object]:
    return {
        "name": model.name,
        "origin_country": model.origin_country,
        "verbosity_tokens": _declared(model.verbosity_tokens),
        "bytes_per_token": _declared(model.bytes_per_token),
        "success_share": _declared(model.success_share),
    }


def _virtual_fields(virtual: VirtualModel) -> dict[str, object]:
    return {
        "name": virtual.name,
        "models": [_member(member) for member in virtual.members],
        "min_success_share": virtual.min_success_share,
    }


def _member(member: Member) -> object:
    if member.success_share is None:
        return member.model
    return {"model": member.model, "success_share": member.success_share.value}


def _host_fields(host: HostSettings, *, spell_defaults: bool) -> dict[str, object]:
    fields = msgspec.structs.asdict(host)
    fields = {("key" if name == "secret" else name): value for name, value in fields.items()}
    fields["headers"] = _masked(host.headers)
    fields["query"] = _masked(host.query)
    if host.major_owners is not None:
        fields["major_owners"] = list(host.major_owners)  # an empty list says that nobody is one
    fields["proxy"] = None if host.proxy is None else _PASSWORD.sub("//", host.proxy)
    defaults = msgspec.structs.asdict(_DEFAULT_HOST)
    if spell_defaults:
        return fields
    return {name: value for name, value in fields.items() if name not in defaults or value != defaults[name]}


def _masked(texts: Mapping[str, str]) -> dict[str, str]:
    """Return the texts; what is named like a credential is not shown, although it belongs under `key`."""
    return {name: NOT_SHOWN if _CREDENTIAL.search(name) else text for name, text in texts.items()}


def _endpoint_fields(entry: EndpointSettings) -> dict[str, object]:
    endpoint = entry.endpoint
    fields: dict[str, object] = {"model": endpoint.model}
    if entry.upstream_model != endpoint.model:
        fields["upstream_model"] = entry.upstream_model
    fields |= price_fields(endpoint)
    operations = endpoint.operations if endpoint.operations != _DEFAULT_OPERATIONS else frozenset()
    fields |= {
        "context_tokens": endpoint.context_tokens,
        "max_output_tokens": endpoint.max_output_tokens,
        "max_image_tokens": endpoint.max_image_tokens,
        "max_audio_tokens": endpoint.max_audio_tokens,
        "max_file_tokens": endpoint.max_file_tokens,
        "operations": operations,
        "quantization": endpoint.quantization,
        "region": endpoint.region,
        "trains_on_data": endpoint.trains_on_data,
        "zero_data_retention": endpoint.zero_data_retention,
        "retention_days": endpoint.retention_days,
        "country": endpoint.country,
        "baa": endpoint.baa,
        "attested_on": endpoint.attested_on,
        "evidence": endpoint.evidence,
        "unsupported_parameters": endpoint.unsupported_parameters,
        "drop_parameters": entry.drop_parameters,
        "ttft_s": _declared(endpoint.declared_ttft_s),
        "tokens_per_s": _declared(endpoint.declared_tokens_per_s),
    }
    return fields


def _rates(entry: EndpointSettings) -> dict[str, object]:
    rates = rate_tables(entry.endpoint)
    return {"rates": rates} if rates else {}


def _declared(estimate: Estimate | None) -> float | None:
    return None if estimate is None else estimate.value


def _lines(fields: Mapping[str, object]) -> Iterator[str]:
    for name, value in fields.items():
        if value is None or (isinstance(value, dict | frozenset | tuple) and not value):
            continue
        if isinstance(value, Secret) and _secret_table(value) is None:
            yield f"# {name}: from {value.origin}"
        else:
            yield f"{_key(name)} = {_toml(value)}"


def _toml(value: object) -> str:
    """Return a value as TOML."""
    match value:
        case Secret():
            return _toml(_secret_table(value))
        case bool():
            return "true" if value else "false"
        case Enum():
            return _text(str(value.value))
        case date():
            return instant_text(value)
        case int() | float():
            return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
        case frozenset() | list() | tuple():
            items = [_toml(item) for item in value]
            return "[" + ", ".join(sorted(items) if isinstance(value, frozenset) else items) + "]"
        case dict():
            return "{ " + ", ".join(f"{_key(name)} = {_toml(item)}" for name, item in value.items()) + " }"
        case _:
            return _text(str(value))


def _text(text: str) -> str:
    """Return a basic string: JSON's escapes are a subset of TOML's, but for characters beyond 16 bits."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def _secret_table(secret: Secret) -> dict[str, str] | None:
    for form, prefix in (("env", ENVIRONMENT_ORIGIN), ("file", FILE_ORIGIN)):
        if secret.origin.startswith(prefix):
            return {form: secret.origin.removeprefix(prefix)}
    return None


def _plain(value: object) -> object:
    """Return a value as JSON knows it."""
    match value:
        case Secret():
            return _secret_table(value) or {"from": value.origin}
        case Enum():
            return value.value
        case Path():
            return str(value)
        case date():
            return instant_text(value)
        case frozenset():
            return sorted(str(_plain(item)) for item in value)
        case list() | tuple():
            return [_plain(item) for item in value]
        case dict():
            return _plain_table(value)
        case _:
            return value


def _plain_table(table: Mapping[str, object]) -> dict[str, object]:
    return {name: _plain(value) for name, value in table.items()}
