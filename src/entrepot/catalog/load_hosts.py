"""Reads the `[[hosts]]` of a configuration and their endpoints.

Beside types and ranges it refuses what would fail later and be hard to understand then: a URL of an
operation instead of the API, a credential among the headers, one model twice at a host.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

import msgspec

from entrepot.catalog.declared import MODEL_NAME, declared_estimate
from entrepot.catalog.list_prices import ListPrices
from entrepot.catalog.load_prices import PriceReader, price_reader
from entrepot.catalog.outside import Outside
from entrepot.catalog.reading import Table, nearest_text, shown
from entrepot.catalog.settings import Auth, EndpointSettings, HostSettings
from entrepot.domain.endpoint import Endpoint, Model, Operation

_HOST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_URL = re.compile(r"[!-~]+")
_CREDENTIALS = {"authorization", "api-key", "proxy-authorization", "cookie"}
_OURS = {
    *(
        "host",
        "content-length",
        "content-type",
        "transfer-encoding",
        "connection",
        "accept",
        "accept-encoding",
    ),
    *("x-request-id", "user-agent", "te", "trailer", "upgrade", "expect", "keep-alive"),
}
_NEEDED_FIELDS = {"model", "messages", "prompt", "input", "stream", "stream_options"}
_LONGEST_S = 86_400.0
_AUTHS: Mapping[str, Auth] = {"bearer": "bearer", "api-key": "api-key", "none": "none"}
_OPERATIONS = {operation.value: operation for operation in Operation}


def load_hosts(
    root: Table, models: Mapping[str, Model], outside: Outside, source: str
) -> tuple[tuple[HostSettings, ...], tuple[EndpointSettings, ...]]:
    """Return the hosts and endpoints of the file; problems are noted in its reading."""
    hosts: dict[str, HostSettings] = {}
    endpoints: list[EndpointSettings] = []
    lists = ListPrices()
    for table in root.tables("hosts"):
        host = _host(table, outside)
        if host.name and host.name in hosts:
            table.problem("name", f"{host.name} is described twice")
        hosts[host.name] = host
        prices = price_reader(table, host, lists, source)
        seen: set[str] = set()
        for inner in table.tables("endpoints"):
            entry = _endpoint(inner, host, models, prices)
            if entry.endpoint.model in seen:
                inner.problem("model", f"{entry.endpoint.model} is described twice at this host")
            seen.add(entry.endpoint.model)
            endpoints.append(entry)
        if not seen:
            table.require("endpoints", "at least one [[hosts.endpoints]]")
        table.finish()
    return tuple(hosts.values()), tuple(endpoints)


def _host(table: Table, outside: Outside) -> HostSettings:
    table.require("name", "a short name, such as deepseek")
    table.require("base_url", "the URL of its API, such as https://api.example.com/v1")
    name = table.text("name", "")
    if name and not _HOST_NAME.fullmatch(name):
        table.problem("name", f"{shown(name)}: use letters, digits, dots, - and _ only")
    url = _base_url(table)
    host = HostSettings(
        name=name,
        base_url=table.text("base_url", "").rstrip("/"),
        owner_country=table.country("owner_country"),
        auth=_AUTHS[table.choice("auth", _AUTHS, "bearer")],
        secret=outside.secret(table, "key"),
        headers=_headers(table),
        query=table.text_map("query"),
        ca_file=outside.file(table, "ca_file"),
        proxy=outside.proxy(table, url),
        connect_timeout_s=_seconds(table, "connect_timeout_s", HostSettings("", "").connect_timeout_s),
        first_byte_timeout_s=_seconds(
            table, "first_byte_timeout_s", HostSettings("", "").first_byte_timeout_s
        ),
        idle_timeout_s=_seconds(table, "idle_timeout_s", HostSettings("", "").idle_timeout_s),
        max_connections=table.integer(
            "max_connections", HostSettings("", "").max_connections, least=1, most=65_536
        ),
        cancels_plain_calls=table.flag("cancels_plain_calls", default=True),
        simulated=table.flag("simulated", default=False),
        price_list=table.text("price_list", None),
        major_owners=table.countries("major_owners"),
    )
    return _with_auth(table, host)


def _with_auth(table: Table, host: HostSettings) -> HostSettings:
    """Return the host with an authentication that fits its key: none where there is no key."""
    if "key" in table:
        if host.auth == "none":
            table.problem("auth", 'is "none" although there is a key; write "bearer" or "api-key"')
        return host
    if "auth" in table and host.auth != "none":
        table.require("key", '{ env = "NAME" } or { file = "path" }, or auth = "none"')
    return msgspec.structs.replace(host, auth="none")


def _seconds(table: Table, key: str, default: float) -> float:
    return table.number(key, default, least=0, most=_LONGEST_S, above=True)


def _base_url(table: Table) -> SplitResult:
    nowhere = SplitResult("https", "", "", "", "")
    text = table.text("base_url", None)
    if text is None:
        return nowhere
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        table.problem("base_url", "is not a URL; expected https://host/path")
        return nowhere
    if url.username is not None or url.password is not None:
        table.problem("base_url", "holds a credential; move it to key")  # which is not shown
        return nowhere
    operation = next((name for name in _OPERATIONS if url.path.rstrip("/").endswith("/" + name)), None)
    if not _URL.fullmatch(text):
        problem = f"{shown(text)} has characters that a URL must write as %XX, or a host name as xn--…"
    elif url.scheme not in ("http", "https") or not url.hostname or port == 0:
        problem = f"{shown(text)} is not a URL of HTTP; expected https://host/path"
    elif url.query or url.fragment or "?" in text or "#" in text:
        problem = f'{shown(text)} has a query or a fragment; write those into query = {{ name = "value" }}'
    elif operation is not None:
        problem = f"{shown(text)} is the URL of one operation; leave /{operation} out"
    else:
        return url
    table.problem("base_url", problem)
    return nowhere


def _headers(table: Table) -> dict[str, str]:
    headers = table.text_map("headers")
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            table.problem("headers", f"{shown(name)} is not the name of a header")
        elif name.lower() in _CREDENTIALS:
            table.problem("headers", f"{name} is a credential; write key and auth instead")
        elif name.lower() in _OURS:
            table.problem("headers", f"{name} is set by entrepot and cannot be given here")
        elif not all(" " <= character <= "~" or character == "\t" for character in value):
            table.problem("headers", f"the value of {name} has characters that a header cannot carry")
    return headers


# -- endpoints


def _endpoint(
    table: Table, host: HostSettings, models: Mapping[str, Model], reader: PriceReader
) -> EndpointSettings:
    table.require("model", "developer/name")
    table.require("context_tokens", "the context window in tokens")
    name = table.text("model", "")
    if name and not MODEL_NAME.fullmatch(name):
        table.problem("model", f"{shown(name)} is not of the form developer/name")
    operations = _operations(table)
    upstream_model, source = table.text("upstream_model", name), reader.source
    priced = reader.read(table, upstream_model, operations)
    context = table.integer("context_tokens", 0, least=1, most=10**9)
    endpoint = Endpoint(
        name=f"{name}@{host.name}",
        model=name,
        host=host.name,
        prices=priced.prices,
        context_tokens=context,
        operations=operations,
        max_output_tokens=table.integer("max_output_tokens", None, least=1, most=context or 10**9),
        max_image_tokens=table.integer("max_image_tokens", None, least=0, most=10**9),
        max_audio_tokens=table.integer("max_audio_tokens", None, least=0, most=10**9),
        max_file_tokens=table.integer("max_file_tokens", None, least=0, most=10**9),
        owner_country=host.owner_country,
        origin_country=models[name].origin_country if name in models else None,
        unsupported_parameters=frozenset(table.texts("unsupported_parameters")),
        declared_ttft_s=declared_estimate(table.number("ttft_s", None, least=0, most=_LONGEST_S), source),
        declared_tokens_per_s=declared_estimate(
            table.number("tokens_per_s", None, least=0, most=1e9, above=True), source
        ),
        simulated=host.simulated,
        tariff=priced.tariff,
        major_owners=None if host.major_owners is None else frozenset(host.major_owners),
    )
    entry = EndpointSettings(
        endpoint=_with_handling(table, endpoint),
        host=host,
        upstream_model=upstream_model,
        drop_parameters=_dropped(table),
    )
    table.finish()
    return entry


def _with_handling(table: Table, endpoint: Endpoint) -> Endpoint:
    """Return the endpoint with what rules and preferences ask of it: where and how requests are processed."""
    stated = msgspec.structs.replace(
        endpoint,
        region=table.text("region", None),
        country=table.country("country"),
        quantization=table.text("quantization", None),
        trains_on_data=table.flag("trains_on_data", None),
        zero_data_retention=table.flag("zero_data_retention", None),
        retention_days=table.integer("retention_days", None, least=0, most=100_000),
        baa=table.flag("baa", None),
        attested_on=table.day("attested_on"),
        evidence=table.text("evidence", None),
    )
    if stated.zero_data_retention and stated.retention_days:
        table.problem("retention_days", f"{stated.retention_days} contradicts zero_data_retention = true")
    return stated


def _operations(table: Table) -> frozenset[Operation]:
    names = table.texts("operations")
    for name in names:
        if name not in _OPERATIONS:
            table.problem("operations", f"{shown(name)} is not known; {nearest_text(name, _OPERATIONS)}")
    known = frozenset(_OPERATIONS[name] for name in names if name in _OPERATIONS)
    return known or frozenset({Operation.CHAT})


def _dropped(table: Table) -> frozenset[str]:
    dropped = frozenset(table.texts("drop_parameters"))
    for name in sorted(dropped & _NEEDED_FIELDS):
        table.problem("drop_parameters", f"{name} cannot be left out of a request")
    return dropped
