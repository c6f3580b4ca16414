"""Finds hardware: what ships with entrepot, and what is in a TOML file of the same form.

Prices of own machines and of contracts are nobody else's knowledge, so that a file of one's own replaces
entries by name instead of standing beside them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date
from difflib import get_close_matches
from pathlib import Path

from entrepot.catalog.data_files import data_path
from entrepot.catalog.reading import Reading, Table, nearest_text
from entrepot.domain.errors import ConfigError
from entrepot.tokenomics.hardware import TIERS, Hardware
from entrepot.tokenomics.precision import COMPUTED_PRECISIONS

SHIPPED = "tokenomics/hardware.toml"
_MOST = 1e20  # no device comes near, in any of these units
_LEAST = 1e8  # bytes, bytes/s and FLOP/s of memory and arithmetic: what is below was meant in giga or tera
_MOST_USD = 1e5
_SEPARATORS = re.compile(r"[\s/-]+")


def load_hardware(path: Path | None = None) -> tuple[Hardware, ...]:
    """Return the hardware that ships with entrepot; that of the file at `path` replaces what it names.

    Raises: ConfigError with all problems at once, each with file, line and key.
    """
    shipped = _read(data_path(SHIPPED))
    if path is None:
        return shipped
    own = _read(path)
    names = {_key(one.name) for one in own}
    return (*own, *(one for one in shipped if _key(one.name) not in names))


def find_hardware(name: str, devices: Iterable[Hardware] | None = None) -> Hardware:
    """Return the hardware of that name or alias; case does not matter, nor `-`, `_` or a space.

    `devices` are those that ship with entrepot if not given.

    Raises: ConfigError when nothing is called so.
    """
    devices = load_hardware() if devices is None else tuple(devices)
    known = {_key(alias): device for device in reversed(devices) for alias in device.aliases}
    known |= {_key(device.name): device for device in reversed(devices)}
    if _key(name) not in known:
        near = get_close_matches(_key(name), known, n=1)
        hint = f"did you mean {near[0]}?" if near else "known: " + ", ".join(one.name for one in devices)
        raise ConfigError((f"no hardware is called {name!r}; {hint}",))
    return known[_key(name)]


def _key(name: str) -> str:
    return _SEPARATORS.sub("_", name.strip().lower())


def _read(path: Path) -> tuple[Hardware, ...]:
    reading = Reading.of_file(path)
    devices = [_device(table) for table in reading.root.tables("hardware")]
    reading.root.finish()
    reading.finish()
    return tuple(devices)


def _device(table: Table) -> Hardware:
    table.require("name", "what the device is called")
    table.require("source", "where the facts are from")
    table.require("date", "the day on which they were read, such as 2026-11-26")
    table.require("domain_gpus", "how many devices the fast link joins, 1 for none")
    device = Hardware(
        name=table.text("name", "?"),
        aliases=table.texts("aliases"),
        peak_flops=_numbers(table, "peak_flops", COMPUTED_PRECISIONS, least=_LEAST, most=_MOST),
        memory_bytes=_quantity(table, "memory_bytes", least=_LEAST),
        bandwidth_bytes_per_s=_quantity(table, "bandwidth_bytes_per_s", least=_LEAST),
        link_bytes_per_s=_quantity(table, "link_bytes_per_s"),
        domain_gpus=table.integer("domain_gpus", 1, least=1),
        node_link_bytes_per_s=_quantity(table, "node_link_bytes_per_s"),
        power_kw=_quantity(table, "power_kw"),
        usd_per_hour=_numbers(table, "usd_per_hour", TIERS, least=0, most=_MOST_USD),
        source=table.text("source", ""),
        date=table.day("date") or date.min,
        derived=table.texts("derived"),
        assumed=table.texts("assumed"),
    )
    _check_labels(table, device)
    table.finish()
    return device


def _quantity(table: Table, key: str, *, least: float = 0) -> float:
    table.require(key, f"a number above {least:g}")
    return table.number(key, 1.0, least=least, most=_MOST, above=True)


def _numbers(
    table: Table, key: str, names: tuple[str, ...], *, least: float, most: float
) -> dict[str, float]:
    """Return the numbers above `least` of a table, of which there is at least one."""
    table.require(key, f"a table with at least one of {', '.join(names)}")
    inner = table.section(key)
    stated = {name: inner.number(name, None, least=least, most=most, above=True) for name in names}
    inner.finish()
    if key in table and not any(name in inner for name in names):
        table.problem(key, f"has none of {', '.join(names)}; write at least one")
    return {name: number for name, number in stated.items() if number is not None}


def _check_labels(table: Table, device: Hardware) -> None:
    fields = {*Hardware.__struct_fields__}
    fields |= {f"peak_flops.{name}" for name in device.peak_flops}
    fields |= {f"usd_per_hour.{tier}" for tier in device.usd_per_hour}
    for key in ("derived", "assumed"):
        for label in getattr(device, key):
            if label not in fields:
                table.problem(key, f"{label!r} is no field; {nearest_text(label, fields)}")
