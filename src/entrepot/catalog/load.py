"""Reads `entrepot.toml` into `Settings`, with every mistake of the file reported at once.

A parser that stops at the first mistake costs a start per mistake, and one that ignores what it does not know
turns a typing slip into a default. Secrets and files are read here, once; what cannot be read is a mistake
like any other, and no message shows a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from entrepot.catalog.declared import MODEL_NAME, declared_estimate
from entrepot.catalog.load_hosts import load_hosts
from entrepot.catalog.load_rules import load_policy
from entrepot.catalog.load_virtual import load_virtual_models
from entrepot.catalog.outside import Outside
from entrepot.catalog.reading import Reading, Table, shown
from entrepot.catalog.settings import LedgerSettings, RequestCaps, ServerSettings, Settings
from entrepot.domain.endpoint import Model
from entrepot.routing.settings import RoutingSettings

S = TypeVar("S", RoutingSettings, RequestCaps)

_DAY_S = 86_400.0
_MOST = 1e15
# The least and the most of each number; what is not listed may be anything from 0 on.
_RANGES: Mapping[str, tuple[float, float]] = {
    "port": (0, 65_535),
    "console_port": (0, 65_535),
    "max_body_bytes": (1024, 2**31),
    "max_header_bytes": (1024, 2**24),
    "max_connections": (1, 1_000_000),
    "request_timeout_s": (0.1, _DAY_S),
    "keep_alive_s": (0, _DAY_S),
    "shutdown_grace_s": (0, _DAY_S),
    "segment_bytes": (2**20, 2**32),
    "sync_interval_s": (0.001, 60),
    "default_output_tokens": (1, 10_000_000),
    "keep_days": (0, 36_525),
    "decisions_days": (0, 36_525),
    "entries_days": (0, 36_525),
    "contents_days": (0, 36_525),
    "tasks_days": (0, 36_525),
    "value_of_time_usd_per_hour": (0, 1e9),
    "exploration_share": (0, 1),
    "half_life_s": (1, 1e9),
    "time_scale": (1e-6, 1e6),
    "assumed_ttft_s": (0, _DAY_S),
    "assumed_tokens_per_s": (1e-3, 1e9),
    "assumed_verbosity_tokens": (1, 1e9),
    "assumed_bytes_per_token": (0.01, 1e6),
    "assumed_failure_share": (0, 1),
    "assumed_prefill_tokens_per_s": (1e-3, 1e12),
    "usd_per_hour": (0, 1e9),
    "seconds": (0, 1e9),
}


def load_settings(path: Path, environ: Mapping[str, str], *, reads_secrets: bool = True) -> Settings:
    """Return the settings of the file at `path`; `environ` supplies keys and proxies.

    Without `reads_secrets` none has to be there: for commands that call no host.

    Raises: ConfigError with all problems at once, each as `file:line: key: what is wrong`.
    """
    reading = Reading.of_file(path)
    outside = Outside(path.parent, environ, reads_secrets=reads_secrets)
    root = reading.root
    declared = _models(root, path.name)
    hosts, endpoints = load_hosts(root, declared, outside, path.name)
    served = {entry.endpoint.model: Model(entry.endpoint.model) for entry in endpoints}
    settings = Settings(
        server=_server(root.section("server"), outside),
        ledger=_ledger(root.section("ledger"), outside),
        routing=_section(root, "routing", RoutingSettings()),
        caps=_section(root, "caps", RequestCaps()),
        policy=load_policy(root, reading, path.parent),
        models=tuple((served | declared).values()),
        hosts=hosts,
        endpoints=endpoints,
        virtual_models=load_virtual_models(root, declared, served, path.name),
    )
    root.finish()
    reading.finish()
    return settings


def _section(root: Table, name: str, defaults: S) -> S:
    section = root.section(name)
    filled = msgspec.structs.replace(defaults, **_given(section, defaults))
    section.finish()
    return filled


def _ledger(section: Table, outside: Outside) -> LedgerSettings:
    ledger = msgspec.structs.replace(LedgerSettings(), **_given(section, LedgerSettings()))
    archive = section.text("archive", None)
    store = outside.database(section, "store")
    section.finish()
    return msgspec.structs.replace(ledger, archive=archive, store=store)


def _server(section: Table, outside: Outside) -> ServerSettings:
    server = msgspec.structs.replace(ServerSettings(), **_given(section, ServerSettings()))
    certificate = outside.file(section, "tls_certificate_file")
    key = outside.file(section, "tls_key_file")
    if "tls_certificate_file" in section or "tls_key_file" in section:
        section.require("tls_certificate_file", "the certificate of the key, or leave both out")
        section.require("tls_key_file", "the key of the certificate, or leave both out")
    if server.port == server.console_port != 0 and server.host == server.console_host:
        section.problem("console_port", f"{server.port} is also the port of the API; choose another")
    section.finish()
    return msgspec.structs.replace(server, tls_certificate_file=certificate, tls_key_file=key)


def _given(
    section: Table, defaults: ServerSettings | LedgerSettings | RoutingSettings | RequestCaps
) -> dict[str, object]:
    """Return what the section sets, checked by the type of each field's default and by its range."""
    given: dict[str, object] = {}
    for name, default in msgspec.structs.asdict(defaults).items():
        least, most = _RANGES.get(name, (0, _MOST))
        match default:
            case bool():
                given[name] = section.flag(name, default)
            case int():
                given[name] = section.integer(name, default, least=int(least), most=int(most))
            case float():
                given[name] = section.number(name, default, least=least, most=most)
            case str():
                given[name] = section.text(name, default)
            case _:
                pass  # files: read by who knows where they lie
    return given


def _models(root: Table, source: str) -> dict[str, Model]:
    models: dict[str, Model] = {}
    for table in root.tables("models"):
        table.require("name", "developer/name")
        name = table.text("name", "")
        if name and not MODEL_NAME.fullmatch(name):
            table.problem("name", f"{shown(name)} is not of the form developer/name")
        if name in models:
            table.problem("name", f"{name} is described twice")
        verbosity = table.number("verbosity_tokens", None, least=1, most=1e9)
        bytes_per_token = table.number("bytes_per_token", None, least=0.01, most=1e6)
        success_share = table.number("success_share", None, least=0, most=1, above=True)
        models[name] = Model(
            name=name,
            origin_country=table.country("origin_country"),
            verbosity_tokens=declared_estimate(verbosity, source),
            bytes_per_token=declared_estimate(bytes_per_token, source),
            success_share=declared_estimate(success_share, source),
        )
        table.finish()
    return models
