"""Reads replay scenarios from TOML, with every mistake at once.

The format is described in docs/reference/replay-scenarios.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from entrepot.catalog.data_files import data_path
from entrepot.catalog.reading import Reading, Table, nearest_text, shown
from entrepot.domain.errors import ConfigError
from entrepot.domain.prices import Prices
from entrepot.replay.generated import generated_scenario
from entrepot.replay.scenario import (
    ALWAYS_S,
    CacheFigures,
    Drift,
    Phase,
    PriceChange,
    ReplayEndpoint,
    ReplayModel,
    ReplayScenario,
)

GENERATED = "generated:"
ENDPOINT_DRIFTS = ("ttft_s", "tokens_per_s", "capacity_requests")
MODEL_DRIFTS = ("verbosity",)

_LONGEST_S = 86_400.0 * 366
_FASTEST = 1e9
_MOST_TOKENS = 100_000_000
_WIDEST_SPREAD = 2.0  # of a log-normal: e^2 up or down
_MOST_TIMES = 1e3

D = TypeVar("D")


def load_replay_scenario(name_or_path: str) -> ReplayScenario:
    """Return the scenario of `data/replay` with that name, of the file at that path, or `generated:SEED`.

    Raises: ConfigError with all problems at once, each with file, line and key.
    """
    if name_or_path.startswith(GENERATED):
        seed = name_or_path.removeprefix(GENERATED)
        if not seed.isdecimal():
            raise ConfigError((f"{name_or_path!r}: expected a whole number after {GENERATED}",))
        return generated_scenario(int(seed))
    if name_or_path.endswith(".toml") or "/" in name_or_path:
        return parse_replay_scenario(Reading.of_file(Path(name_or_path)))
    names = replay_scenario_names()
    if name_or_path not in names:
        raise ConfigError((f"no scenario is called {name_or_path!r}; {nearest_text(name_or_path, names)}",))
    return parse_replay_scenario(Reading.of_file(data_path("replay") / f"{name_or_path}.toml"))


def replay_scenario_names() -> tuple[str, ...]:
    """Return the names of the scenarios that ship with entrepot."""
    return tuple(sorted(path.stem for path in data_path("replay").glob("*.toml")))


def parse_replay_scenario(reading: Reading) -> ReplayScenario:
    """Return the scenario that the file describes.

    Raises: ConfigError with all problems at once.
    """
    root = reading.root
    for key in ("name", "title"):
        root.require(key, "a text")
    models: dict[str, ReplayModel] = {}
    for table in root.tables("models"):
        model = _model(table)
        if model.name in models:
            table.problem("name", f"{model.name} is described twice")
        models[model.name] = model
    endpoints: dict[str, ReplayEndpoint] = {}
    for table in root.tables("endpoints"):
        endpoint = _endpoint(table, models)
        if endpoint.name in endpoints:
            table.problem("host", f"{endpoint.name} is described twice")
        endpoints[endpoint.name] = endpoint
    for key, found in (("models", models), ("endpoints", endpoints)):
        if not found:
            root.require(key, f"at least one [[{key}]]")
    scenario = ReplayScenario(
        name=root.text("name", ""),
        title=root.text("title", ""),
        models=tuple(models.values()),
        endpoints=tuple(endpoints.values()),
    )
    root.finish()
    reading.finish()
    return scenario


def _model(table: Table) -> ReplayModel:
    table.require("name", "developer/name")
    name = table.text("name", "")
    if name and name.count("/") != 1:
        table.problem("name", f"{shown(name)} is not of the form developer/name")
    tokens = table.number("verbosity_tokens", None, least=1, most=_MOST_TOKENS)
    for key, fits in (("verbosity", tokens is None), ("verbosity_spread", tokens is not None)):
        if key in table and not fits:
            table.problem(
                key, f"verbosity_tokens is {'given' if tokens else 'absent'}: one excludes the other"
            )
    model = ReplayModel(
        name=name,
        verbosity=table.number("verbosity", 1.0, least=0, most=_MOST_TIMES, above=True),
        verbosity_tokens=tokens,
        verbosity_spread=table.number("verbosity_spread", 0.0, least=0, most=_WIDEST_SPREAD),
        declared_verbosity_tokens=table.number("declared_verbosity_tokens", None, least=1, most=_MOST_TOKENS),
        drifts=_drifts(table, MODEL_DRIFTS),
    )
    table.finish()
    return model


def _endpoint(table: Table, models: dict[str, ReplayModel]) -> ReplayEndpoint:
    for key in ("host", "model", "context_tokens", "ttft_s", "tokens_per_s", "prefill_tokens_per_s"):
        table.require(key, "a text" if key in ("host", "model") else "a number")
    table.require("capacity_requests", "how many requests in flight double the times")
    model = table.text("model", "")
    if model and model not in models:
        table.problem("model", f"{shown(model)} is not described; {nearest_text(model, models)}")
    endpoint = ReplayEndpoint(
        host=table.text("host", ""),
        model=model,
        prices=_prices(table),
        context_tokens=table.integer("context_tokens", 1, least=1, most=_MOST_TOKENS),
        ttft_s=_seconds(table, "ttft_s", 0.0),
        tokens_per_s=table.number("tokens_per_s", 1.0, least=0, most=_FASTEST, above=True),
        prefill_tokens_per_s=table.number("prefill_tokens_per_s", 1.0, least=0, most=_FASTEST, above=True),
        capacity_requests=table.number("capacity_requests", 1.0, least=0, most=_FASTEST, above=True),
        most_requests=table.integer("most_requests", None, least=1),
        spread_ttft=table.number("spread_ttft", 0.0, least=0, most=_WIDEST_SPREAD),
        spread_tpot=table.number("spread_tpot", 0.0, least=0, most=_WIDEST_SPREAD),
        failure_share=_share(table, "failure_share", 0.0),
        failure_s=_seconds(table, "failure_s", 1.0),
        rate_limited_share=_share(table, "rate_limited_share", 0.0),
        cut_share=_share(table, "cut_share", 0.0),
        cache=_cache(table),
        honours_cached_price=table.flag("honours_cached_price", default=True),
        declared_ttft_s=_seconds(table, "declared_ttft_s", None),
        declared_tokens_per_s=table.number("declared_tokens_per_s", None, least=0, most=_FASTEST, above=True),
        phases=tuple(_phase(one) for one in table.tables("phases")),
        drifts=_drifts(table, ENDPOINT_DRIFTS),
        price_changes=tuple(_price_change(one) for one in table.tables("price_changes")),
    )
    if endpoint.failure_share + endpoint.rate_limited_share + endpoint.cut_share > 1:
        table.problem("failure_share", "with rate_limited_share and cut_share it passes 1")
    table.finish()
    return endpoint


def _prices(table: Table) -> Prices:
    for key in ("input_usd_per_mtok", "output_usd_per_mtok"):
        table.require(key, "a price in dollars per million tokens, as a text")
    return Prices(
        input_nusd_per_mtok=table.usd_nusd("input_usd_per_mtok", 0),
        output_nusd_per_mtok=table.usd_nusd("output_usd_per_mtok", 0),
        cached_nusd_per_mtok=table.usd_nusd("cached_input_usd_per_mtok", None),
    )


def _cache(table: Table) -> CacheFigures | None:
    stated = table.table("cache")
    if stated is None:
        return None
    stated.require("most_blocks", "how many blocks of 512 tokens are kept")
    cache = CacheFigures(
        most_blocks=stated.integer("most_blocks", 1, least=1), ttl_s=_seconds(stated, "ttl_s", ALWAYS_S)
    )
    stated.finish()
    return cache


def _phase(table: Table) -> Phase:
    table.require("from_s", "seconds since the start")
    phase = Phase(
        from_s=_seconds(table, "from_s", 0.0),
        until_s=_seconds(table, "until_s", ALWAYS_S),
        ttft_times=table.number("ttft_times", 1.0, least=0, most=_MOST_TIMES, above=True),
        tokens_per_s_times=table.number("tokens_per_s_times", 1.0, least=0, most=_MOST_TIMES, above=True),
        failure_share=_share(table, "failure_share", None),
        rate_limited_share=_share(table, "rate_limited_share", None),
        cut_share=_share(table, "cut_share", None),
        background_requests=table.number("background_requests", 0.0, least=0, most=_FASTEST),
        outage=table.flag("outage", default=False),
    )
    if phase.until_s <= phase.from_s:
        table.problem("until_s", f"{phase.until_s:g} is not after from_s = {phase.from_s:g}")
    table.finish()
    return phase


def _drifts(table: Table, kinds: tuple[str, ...]) -> tuple[Drift, ...]:
    found = []
    for one in table.tables("drifts"):
        for key, what in (("what", " or ".join(kinds)), ("period_s", "seconds"), ("amplitude", "a number")):
            one.require(key, what)
        found.append(
            Drift(
                what=one.choice("what", kinds, kinds[0]),
                period_s=one.number("period_s", 1.0, least=0, most=_LONGEST_S, above=True),
                amplitude=one.number("amplitude", 0.0, least=0, most=_WIDEST_SPREAD),
                phase=one.number("phase", 0.0, least=0, most=1),
            )
        )
        one.finish()
    return tuple(found)


def _price_change(table: Table) -> PriceChange:
    table.require("at_s", "seconds since the start")
    change = PriceChange(at_s=_seconds(table, "at_s", 0.0), prices=_prices(table))
    table.finish()
    return change


def _seconds(table: Table, key: str, default: D) -> float | D:
    return table.number(key, default, least=0, most=_LONGEST_S)


def _share(table: Table, key: str, default: D) -> float | D:
    return table.number(key, default, least=0, most=1)
