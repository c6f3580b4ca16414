"""Reads fleets from TOML: the load of a day, rates per node, prices, each with its source.

A fleet is a file because its worth lies in the source beside every number. The format is described in
docs/reference/fleets.md.
"""

from __future__ import annotations

from pathlib import Path

from entrepot.catalog.data_files import data_path
from entrepot.catalog.reading import Reading, Table, nearest_text
from entrepot.domain.durations import HOURS_PER_DAY
from entrepot.domain.errors import ConfigError
from entrepot.tokenomics.fleet import Figure, Fleet

FOLDER = "tokenomics/fleets"
KINDS = ("published", "published (secondary)", "measured", "derived", "assumed")
RESULTS = ("needed_nodes", "nodes", "cost_usd", "revenue_usd", "margin", "freed_nodes")

_FORM = '{ value = …, kind = "published" or "assumed", source = "…" }'
_MOST = 1e18
_PRICES = ("input_usd_per_mtok", "cached_usd_per_mtok", "output_usd_per_mtok")


def load_fleet(name_or_path: str) -> Fleet:
    """Return the fleet of `data/tokenomics/fleets` with that name, or of the file at that path.

    Raises: ConfigError with all problems at once, each with file, line and key.
    """
    if name_or_path.endswith(".toml") or "/" in name_or_path:
        return parse_fleet(Reading.of_file(Path(name_or_path)))
    names = fleet_names()
    if name_or_path not in names:
        raise ConfigError((f"no fleet is called {name_or_path!r}; {nearest_text(name_or_path, names)}",))
    return parse_fleet(Reading.of_file(data_path(FOLDER) / f"{name_or_path}.toml"))


def fleet_names() -> tuple[str, ...]:
    """Return the names of the fleets that ship with entrepot."""
    return tuple(sorted(path.stem for path in data_path(FOLDER).glob("*.toml")))


def parse_fleet(reading: Reading) -> Fleet:
    """Return the fleet of a file.

    Raises: ConfigError with all problems at once, each with file, line and key.
    """
    root = reading.root
    for key in ("name", "model", "gpu"):
        root.require(key, "a text")
    figures = _Figures()
    day, nodes, prices = (root.section(name) for name in ("day", "nodes", "prices"))
    input_tokens = figures.needed(day, "input_tokens")
    cached = figures.optional(day, "cached_tokens", 0.0)
    if cached > input_tokens:
        day.problem(
            "cached_tokens", f"{cached:g} are more than the {input_tokens:g} of input, which include them"
        )
    hourly = _hourly(nodes)
    listed = [figures.maybe(prices, key) for key in _PRICES]
    if None in listed and any(key in prices for key in _PRICES):
        root.problem("prices", f"one of {', '.join(_PRICES)} is missing; write all three, or none")
    fleet = Fleet(
        name=root.text("name", "?"),
        title=root.text("title", ""),
        as_of=root.text("as_of", ""),
        model=root.text("model", ""),
        gpu=root.text("gpu", ""),
        uncached_tokens=input_tokens - cached,
        cached_tokens=cached,
        output_tokens=figures.needed(day, "output_tokens"),
        gpus_per_node=figures.needed(nodes, "gpus"),
        usd_per_gpu_hour=figures.needed(nodes, "usd_per_gpu_hour"),
        prefill_tokens_per_s=figures.needed(nodes, "prefill_tokens_per_s"),
        decode_tokens_per_s=figures.needed(nodes, "decode_tokens_per_s"),
        cached_cost_ratio=figures.optional(nodes, "cached_cost_ratio", 0.0, most=1.0),
        kv_share=figures.optional(nodes, "kv_share", 0.0, most=1.0),
        mean_nodes=figures.maybe(nodes, "mean"),
        peak_nodes=figures.maybe(nodes, "peak"),
        hourly_nodes=hourly,
        input_usd_per_mtok=listed[0],
        cached_usd_per_mtok=listed[1],
        output_usd_per_mtok=listed[2],
        figures=figures.found,
        published=_published(root.section("published")),
    )
    for table in (day, nodes, prices, root):
        table.finish()
    reading.finish()
    return fleet


class _Figures:
    """Reads figures and keeps them with their sources; a mistake is noted, and a usable number returned."""

    def __init__(self) -> None:
        self.found: dict[str, Figure] = {}

    def needed(self, table: Table, key: str) -> float:
        table.require(key, _FORM)
        figure = self._figure(table, key, above=True)
        return 1.0 if figure is None else figure.value

    def optional(self, table: Table, key: str, default: float, *, most: float = _MOST) -> float:
        figure = self._figure(table, key, most=most)
        return default if figure is None else figure.value

    def maybe(self, table: Table, key: str) -> float | None:
        figure = self._figure(table, key)
        return None if figure is None else figure.value

    def _figure(self, table: Table, key: str, *, most: float = _MOST, above: bool = False) -> Figure | None:
        figure = _figure(table, key, most=most, above=above)
        if figure is not None:
            self.found[f"{table.path[-1]}.{key}"] = figure
        return figure


def _figure(table: Table, key: str, *, most: float = _MOST, above: bool = False) -> Figure | None:
    stated = table.table(key)
    if stated is None:
        return None
    for name, what in (("value", "the number"), ("kind", f"one of {', '.join(KINDS)}"), ("source", "a text")):
        stated.require(name, what)
    value = stated.number("value", None, least=0, most=most, above=above)
    figure = Figure(value or 0.0, stated.choice("kind", KINDS, ""), stated.text("source", ""))
    stated.finish()
    return None if value is None else figure


def _published(table: Table) -> dict[str, Figure]:
    figures = {name: _figure(table, name) for name in RESULTS}
    table.finish()
    return {name: figure for name, figure in figures.items() if figure is not None}


def _hourly(nodes: Table) -> tuple[float, ...]:
    """Return the nodes in use by hour; without any, nothing."""
    stated = nodes.table("hourly")
    if stated is None:
        return ()
    for key, what in (
        ("values", f"{HOURS_PER_DAY} numbers"),
        ("kind", "how they are known"),
        ("source", "…"),
    ):
        stated.require(key, what)
    stated.choice("kind", KINDS, "")
    stated.text("source", "")
    values = stated.raw("values")
    stated.finish()
    try:
        numbers = tuple(float(value) for value in values) if isinstance(values, list) else ()
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != HOURS_PER_DAY or min(numbers) < 0:
        stated.problem("values", f"expected {HOURS_PER_DAY} numbers of at least 0, one per hour")
        return ()
    return numbers
