"""Scenarios: which hosts are simulated, with which figures, and where each figure comes from.

A scenario is a TOML file because its worth lies in the source beside every number; as Python it would be
code that nobody audits, as a table it would have no room for the reasons. The format is described in
docs/reference/scenarios.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from enum import StrEnum
from pathlib import Path

from msgspec import Struct

from entrepot.catalog.data_files import data_path
from entrepot.catalog.reading import Reading, Table, exact_nusd, is_finite, nearest_text, shown
from entrepot.catalog.settings import EndpointSettings, HostSettings
from entrepot.domain.endpoint import Endpoint, Model, Operation
from entrepot.domain.errors import ConfigError
from entrepot.domain.estimate import Basis, Estimate
from entrepot.domain.money import nusd_from_usd
from entrepot.domain.prices import Prices

TEXT_OPERATIONS = frozenset({Operation.CHAT, Operation.COMPLETION})
VECTOR_OPERATIONS = frozenset({Operation.EMBEDDING})
LONGEST_S = 3600.0
FASTEST_TOKENS_PER_S = 1e6
MOST_TOKENS = 10_000_000
WIDEST_SPREAD = 2.0  # of a log-normal: e^2 up or down is more than any host that was measured


class Kind(StrEnum):
    """How well a figure is known."""

    PUBLISHED = "published"
    PUBLISHED_SECONDARY = "published (secondary)"
    DERIVED = "derived"
    ASSUMED = "assumed"

    @property
    def basis(self) -> Basis:
        """Return how an estimate made of such a figure calls itself: what is not assumed was declared."""
        return Basis.ASSUMED if self is Kind.ASSUMED else Basis.DECLARED


class Figure(Struct, frozen=True):
    """A number with its source. Units: those of the field that holds it."""

    value: Decimal
    kind: Kind
    source: str

    @property
    def number(self) -> float:
        """Return the value for arithmetic that needs no exactness (all but money)."""
        return float(self.value)

    @property
    def estimate(self) -> Estimate:
        """Return the figure as forecasts take it."""
        return Estimate(self.number, self.kind.basis, source=f"{self.kind}: {self.source}")


class Fact(Struct, frozen=True):
    """A word, such as a country, with its source."""

    value: str
    kind: Kind
    source: str


class SimulatedModel(Struct, frozen=True):
    """A model of the scenario.

    Units: `verbosity_tokens` mean output tokens per answer, `verbosity_spread` standard deviation of their
    logarithm. `dimension` is the length of an embedding model's vectors, None for models that write text.
    """

    name: str
    origin_country: str | None
    verbosity_tokens: Figure
    verbosity_spread: Figure
    dimension: int | None

    @property
    def operations(self) -> frozenset[Operation]:
        """Return what the model can be asked for."""
        return TEXT_OPERATIONS if self.dimension is None else VECTOR_OPERATIONS


class SimulatedHost(Struct, frozen=True):
    """A host of the scenario, serving one model.

    Units: prices USD per million tokens; seconds; tokens/s/user; `prefill_tokens_per_s` uncached prompt
    tokens per second added to the TTFT; `capacity_requests` requests in flight that double TTFT and TPOT;
    `spread` standard deviation of the logarithm of TTFT and TPOT; shares of 1. A `standby` host is kept
    whichever hosts are picked.
    """

    name: str
    model: SimulatedModel
    title: str
    owner_country: Fact | None
    region: Fact | None
    context_tokens: Figure
    input_usd_per_mtok: Figure
    cached_input_usd_per_mtok: Figure | None
    output_usd_per_mtok: Figure
    ttft_s: Figure
    tokens_per_s: Figure
    prefill_tokens_per_s: Figure
    capacity_requests: Figure
    most_requests: Figure | None
    spread: Figure
    failure_share: Figure
    rate_limited_share: Figure
    cut_share: Figure
    standby: bool = False


class Scenario(Struct, frozen=True):
    """A named set of simulated hosts. `as_of` is the month that its figures describe."""

    name: str
    title: str
    as_of: str
    models: tuple[SimulatedModel, ...]
    hosts: tuple[SimulatedHost, ...]

    def picked(self, names: Sequence[str] | None) -> tuple[SimulatedHost, ...]:
        """Return the hosts called `names` (all for None) and those on standby, in the scenario's order.

        Raises: ConfigError when a name is not a host of the scenario.
        """
        if names is None:
            return self.hosts
        known = [host.name for host in self.hosts]
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ConfigError(
                tuple(
                    f"scenario {self.name} has no host {name!r}; {nearest_text(name, known)}"
                    for name in unknown
                )
            )
        return tuple(host for host in self.hosts if host.standby or host.name in names)


def load_scenario(name_or_path: str) -> Scenario:
    """Return the scenario of `data/scenarios` with that name, or of the TOML file at that path.

    Raises: ConfigError with all problems at once, each with file, line and key.
    """
    if name_or_path.endswith(".toml") or "/" in name_or_path:
        return parse_scenario(Reading.of_file(Path(name_or_path)))
    folder = data_path("scenarios")
    path = folder / f"{name_or_path}.toml"
    if not path.exists():
        known = [found.stem for found in folder.glob("*.toml")]
        raise ConfigError((f"no scenario is called {name_or_path!r}; {nearest_text(name_or_path, known)}",))
    return parse_scenario(Reading.of_file(path))


def parse_scenario(reading: Reading) -> Scenario:
    """Return the scenario that the file describes.

    Raises: ConfigError with all problems at once.
    """
    root = reading.root
    for key in ("name", "title", "as_of"):
        root.require(key, "a text")
    models: dict[str, SimulatedModel] = {}
    for table in root.tables("models"):
        model = _model(table)
        if model.name in models:
            table.problem("name", f"{model.name} is described twice")
        models[model.name] = model
    hosts: dict[str, SimulatedHost] = {}
    for table in root.tables("hosts"):
        host = _host(table, models)
        if host.name in hosts:
            table.problem("name", f"{host.name} is described twice")
        hosts[host.name] = host
    scenario = Scenario(
        name=root.text("name", ""),
        title=root.text("title", ""),
        as_of=root.text("as_of", ""),
        models=tuple(models.values()),
        hosts=tuple(hosts.values()),
    )
    for key, found in (("models", models), ("hosts", hosts)):
        if not found:
            root.require(key, f"at least one [[{key}]]")
    root.finish()
    reading.finish()
    return scenario


def scenario_settings(
    scenario: Scenario, base_url: str, hosts: Sequence[str] | None = None
) -> tuple[tuple[Model, ...], tuple[HostSettings, ...], tuple[EndpointSettings, ...]]:
    """Return the models, hosts and endpoints of a scenario that is served at `base_url`.

    `hosts` picks some of them. Declared KPIs are the published figures; what the scenario assumes is marked
    as assumed.

    Raises: ConfigError when `hosts` names one that the scenario does not have.
    """
    endpoints = tuple(_endpoint_settings(host, base_url, scenario.as_of) for host in scenario.picked(hosts))
    served = {entry.endpoint.model for entry in endpoints}
    models = tuple(
        Model(
            model.name,
            origin_country=model.origin_country,
            verbosity_tokens=model.verbosity_tokens.estimate if model.dimension is None else None,
        )
        for model in scenario.models
        if model.name in served
    )
    return models, tuple(entry.host for entry in endpoints), endpoints


def _endpoint_settings(host: SimulatedHost, base_url: str, as_of: str) -> EndpointSettings:
    cached = host.cached_input_usd_per_mtok
    prices = Prices(
        input_nusd_per_mtok=nusd_from_usd(host.input_usd_per_mtok.value),
        output_nusd_per_mtok=nusd_from_usd(host.output_usd_per_mtok.value),
        cached_nusd_per_mtok=None if cached is None else nusd_from_usd(cached.value),
        source=_price_source(host),
        checked=as_of,
    )
    owner = None if host.owner_country is None else host.owner_country.value
    endpoint = Endpoint(
        name=f"{host.model.name}@{host.name}",
        model=host.model.name,
        host=host.name,
        prices=prices,
        context_tokens=int(host.context_tokens.value),
        operations=host.model.operations,
        owner_country=owner,
        origin_country=host.model.origin_country,
        region=None if host.region is None else host.region.value,
        declared_ttft_s=host.ttft_s.estimate,
        declared_tokens_per_s=host.tokens_per_s.estimate if host.model.dimension is None else None,
        simulated=True,
    )
    reached = HostSettings(
        name=host.name,
        base_url=f"{base_url.rstrip('/')}/{host.name}/v1",
        owner_country=owner,
        auth="none",
        simulated=True,
    )
    return EndpointSettings(endpoint=endpoint, host=reached, upstream_model=host.model.name)


def _price_source(host: SimulatedHost) -> str:
    lines = {"input": host.input_usd_per_mtok, "cached input": host.cached_input_usd_per_mtok}
    if host.model.dimension is None:
        lines["output"] = host.output_usd_per_mtok
    stated = [
        f"{name} {figure.kind}: {figure.source}" for name, figure in lines.items() if figure is not None
    ]
    return "simulated; " + "; ".join(stated)


# -- parsing

_Check = Callable[[Decimal], str | None]
_NOTHING = Figure(Decimal(0), Kind.ASSUMED, "the scenario says nothing")


def _model(table: Table) -> SimulatedModel:
    table.require("name", "developer/name")
    name = table.text("name", "")
    if name and name.count("/") != 1:
        table.problem("name", f"{shown(name)} is not of the form developer/name")
    dimension = table.integer("dimension", None, least=1, most=65_536)
    if dimension is None:
        table.require("verbosity_tokens", _FORM)
    model = SimulatedModel(
        name=name,
        origin_country=table.country("origin_country"),
        verbosity_tokens=_figure(table, "verbosity_tokens", _whole(1, MOST_TOKENS)) or _NOTHING,
        verbosity_spread=_figure(table, "verbosity_spread", _between(0, WIDEST_SPREAD)) or _NOTHING,
        dimension=dimension,
    )
    table.finish()
    return model


def _host(table: Table, models: dict[str, SimulatedModel]) -> SimulatedHost:
    for key, what in (("name", "a short name"), ("model", "the name of one of [[models]]")):
        table.require(key, what)
    name = table.text("name", "")
    if name and not name.replace("-", "").replace(".", "").isalnum():
        table.problem("name", f"{shown(name)} becomes a part of a URL; use letters, digits, - and . only")
    model_name = table.text("model", "")
    if model_name and model_name not in models:
        table.problem("model", f"{shown(model_name)} is not described; {nearest_text(model_name, models)}")
    model = models.get(model_name) or SimulatedModel("", None, _NOTHING, _NOTHING, None)
    required = ["context_tokens", "input_usd_per_mtok", "ttft_s", "prefill_tokens_per_s", "capacity_requests"]
    if model.dimension is None:
        required += ["output_usd_per_mtok", "tokens_per_s"]
    for key in required:
        table.require(key, _FORM)
    share, rate = _between(0, 1), _between(0, FASTEST_TOKENS_PER_S, above=True)
    host = SimulatedHost(
        name=name,
        model=model,
        title=table.text("title", name),
        owner_country=_country(table, "owner_country"),
        region=_fact(table, "region"),
        context_tokens=_figure(table, "context_tokens", _whole(1, MOST_TOKENS)) or _NOTHING,
        input_usd_per_mtok=_figure(table, "input_usd_per_mtok", _price) or _NOTHING,
        cached_input_usd_per_mtok=_figure(table, "cached_input_usd_per_mtok", _price),
        output_usd_per_mtok=_figure(table, "output_usd_per_mtok", _price) or _NOTHING,
        ttft_s=_figure(table, "ttft_s", _between(0, LONGEST_S)) or _NOTHING,
        tokens_per_s=_figure(table, "tokens_per_s", rate) or _NOTHING,
        prefill_tokens_per_s=_figure(table, "prefill_tokens_per_s", rate) or _NOTHING,
        capacity_requests=_figure(table, "capacity_requests", _whole(1, MOST_TOKENS)) or _NOTHING,
        most_requests=_figure(table, "most_requests", _whole(1, MOST_TOKENS)),
        spread=_figure(table, "spread", _between(0, WIDEST_SPREAD)) or _NOTHING,
        failure_share=_figure(table, "failure_share", share) or _NOTHING,
        rate_limited_share=_figure(table, "rate_limited_share", share) or _NOTHING,
        cut_share=_figure(table, "cut_share", share) or _NOTHING,
        standby=table.flag("standby", default=False),
    )
    table.finish()
    return host


_FORM = '{ value = …, kind = "published" or "assumed", source = "…" }'


def _figure(table: Table, key: str, check: _Check) -> Figure | None:
    stated = table.table(key)
    if stated is None:
        return None
    stated.require("value", "the number")
    raw = stated.raw("value")
    kind, source = _origin(stated)
    value = Decimal(0)
    if isinstance(raw, bool) or not isinstance(raw, str | int | Decimal):
        if raw is not None:
            stated.problem("value", "expected a number")
        return None
    try:
        value = Decimal(raw)
    except ArithmeticError:
        stated.problem("value", f"{shown(raw)} is not a number")
        return None
    problem = check(value) if is_finite(value) else "is not a finite number"
    if problem is not None:
        stated.problem("value", f"{shown(raw)} {problem}")
        return None
    return Figure(value, kind, source)


def _fact(table: Table, key: str) -> Fact | None:
    stated = table.table(key)
    if stated is None:
        return None
    stated.require("value", "a text")
    value = stated.text("value", "")
    return Fact(value, *_origin(stated))


def _country(table: Table, key: str) -> Fact | None:
    stated = table.table(key)
    if stated is None:
        return None
    stated.require("value", "a country code")
    value = stated.country("value")
    return Fact(value or "", *_origin(stated))


def _origin(stated: Table) -> tuple[Kind, str]:
    for key, what in (
        ("kind", f"one of {', '.join(Kind)}"),
        ("source", "where the value is from, or why it was assumed"),
    ):
        stated.require(key, what)
    kind = Kind(stated.choice("kind", list(Kind), Kind.ASSUMED))
    source = stated.text("source", "")
    stated.raw("value")
    stated.finish()
    return kind, source


def _between(least: float, most: float, *, above: bool = False) -> _Check:
    def check(value: Decimal) -> str | None:
        inside = (least < value if above else least <= value) and value <= most
        return None if inside else f"is not {'above' if above else 'at least'} {least:g} and at most {most:g}"

    return check


def _whole(least: int, most: int) -> _Check:
    def check(value: Decimal) -> str | None:
        inside = value == value.to_integral_value() and least <= value <= most
        return None if inside else f"is not a whole number between {least:,} and {most:,}"

    return check


def _price(value: Decimal) -> str | None:
    try:
        exact_nusd(value)
    except ValueError:
        return "is not an exact price ≥ 0 in USD per million tokens, of at most 9 decimals"
    return None
