"""Reads a TOML file key by key and collects every mistake, instead of stopping at the first.

A schema library would say less: which line, which key was meant, what to write instead. Every getter
returns a usable value even after a mistake, so that reading goes on; `Reading.finish` raises all of them.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Collection, Iterable, Iterator
from datetime import date, datetime
from decimal import Decimal
from difflib import get_close_matches
from math import isfinite
from pathlib import Path
from typing import TypeVar

from entrepot.catalog.toml_lines import KeyPath, key_lines, line_of
from entrepot.domain.errors import ConfigError
from entrepot.domain.money import nusd_from_usd

D = TypeVar("D")

DEAREST_USD_PER_MTOK = 1_000_000  # a dollar per token: above this a price is surely a slip of units
MOST_DIGITS = 28  # what decimal arithmetic keeps: more would be rounded in silence
_LAST_LINE = 10**9
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SYNTAX_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_COUNTRY = re.compile(r"[A-Z]{2}")
_TYPE_NAMES = {
    "str": "a text",
    "int": "an integer",
    "Decimal": "a number",
    "bool": "true or false",
    "list": "an array",
    "dict": "a table",
}


class Reading:
    """A TOML file under examination. `name` is what messages call it.

    Raises: ConfigError when the text is not TOML.
    """

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self._problems: list[tuple[int, str]] = []
        try:
            values = tomllib.loads(text, parse_float=Decimal)
        except RecursionError:
            raise ConfigError((f"{name}:1: nested too deeply to be read",)) from None
        except (ValueError, ArithmeticError) as error:  # TOMLDecodeError, and numbers beyond all limits
            raise ConfigError((_syntax_problem(name, text, error),)) from None
        self._lines = key_lines(text)
        self.root = Table(self, (), values)

    @classmethod
    def of_file(cls, path: Path) -> Reading:
        """Return the reading of the file at `path`.

        Raises: ConfigError when it cannot be read, is not UTF-8 or is not TOML.
        """
        try:
            text = path.read_bytes().decode()
        except OSError as error:
            raise ConfigError((f"{path}: cannot be read: {error.strerror}",)) from None
        except ValueError as error:  # not UTF-8, or a path with a NUL
            raise ConfigError((f"{path}: cannot be read: {error}",)) from None
        return cls(str(path), text)

    def problem(self, path: KeyPath, text: str) -> None:
        """Note a mistake at the key `path`."""
        where = f"{self.name}:{line_of(self._lines, path)}"
        self._problems.append((line_of(self._lines, path), f"{where}: {path_text(path)}: {text}"))

    def include(self, problems: Iterable[str]) -> None:
        """Note the mistakes of another file that this one refers to; they come after its own."""
        self._problems += [(_LAST_LINE, text) for text in problems]

    def finish(self) -> None:
        """Do nothing if all is well.

        Raises: ConfigError with every mistake that was noted, in the order of the file.
        """
        if self._problems:
            ordered = sorted(self._problems, key=lambda found: found[0])
            raise ConfigError(tuple(text for _, text in ordered))


class Table:
    """One table of the file. Getters return `default` where the key is absent or its value is a mistake."""

    def __init__(self, reading: Reading, path: KeyPath, values: dict[str, object]) -> None:
        self.path = path
        self._reading = reading
        self._values = values
        self._known: dict[str, None] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def problem(self, key: str, text: str) -> None:
        """Note a mistake at a key of this table."""
        self._reading.problem((*self.path, key), text)

    def finish(self) -> None:
        """Note the keys that nobody asked for, each with the nearest that is known."""
        for key in self._values:
            if key not in self._known:
                self.problem(key, f"unknown key; {nearest_text(key, self._known)}")

    def require(self, key: str, what: str) -> None:
        """Note that a key is missing, if it is. `what` says what to write."""
        self._known[key] = None
        if key not in self._values:
            self._reading.problem(self.path, f"{key} is missing; write {what}")

    def text(self, key: str, default: D) -> str | D:
        """Return a text that is not empty."""
        value = self._value(key)
        if value is None:
            return default
        if not isinstance(value, str):
            return self._wrong_type(key, "a text", value, default)
        if not value.strip():
            self.problem(key, "is empty; write a text, or leave the key out")
            return default
        return value

    def choice(self, key: str, options: Collection[str], default: D) -> str | D:
        """Return one of the texts in `options`."""
        value = self.text(key, None)
        if value is None:
            return default
        if value not in options:
            self.problem(key, f"{shown(value)} is not one of {', '.join(sorted(options))}")
            return default
        return value

    def country(self, key: str) -> str | None:
        """Return a country code of ISO 3166-1 alpha-2."""
        value = self.text(key, None)
        if value is not None and not _COUNTRY.fullmatch(value):
            self.problem(
                key, f"{shown(value)} is not a country code of two capital letters, such as CN or US"
            )
            return None
        return value

    def day(self, key: str) -> date | None:
        """Return a day, such as 2026-11-26."""
        value = self._value(key)
        if value is not None and (isinstance(value, datetime) or not isinstance(value, date)):
            return self._wrong_type(key, "a day, such as 2026-11-26 (without quotes)", value, None)
        return value

    def countries(self, key: str) -> tuple[str, ...] | None:
        """Return an array of country codes of ISO 3166-1 alpha-2, which may be empty; None when absent."""
        values = self.texts(key)
        for value in values:
            if not _COUNTRY.fullmatch(value):
                self.problem(key, f"{shown(value)} is not a country code of two capital letters")
        return values if key in self else None

    def flag(self, key: str, default: D) -> bool | D:
        """Return true or false."""
        value = self._value(key)
        if value is None:
            return default
        return value if isinstance(value, bool) else self._wrong_type(key, "true or false", value, default)

    def integer(self, key: str, default: D, *, least: int, most: int = 2**62) -> int | D:
        """Return an integer between `least` and `most`."""
        value = self._value(key)
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool):
            return self._wrong_type(key, "an integer", value, default)
        if not least <= value <= most:
            upper = "" if most == 2**62 else f" and {most:,}"
            self.problem(
                key,
                f"{shown(value)} is out of range: expected {'between' if upper else '≥'} {least:,}{upper}",
            )
            return default
        return value

    def number(self, key: str, default: D, *, least: float, most: float, above: bool = False) -> float | D:
        """Return a finite number between `least` (or `above` it) and `most`."""
        value = self._value(key)
        if value is None:
            return default
        if not isinstance(value, int | Decimal) or isinstance(value, bool):
            return self._wrong_type(key, "a number", value, default)
        if not is_finite(value):
            self.problem(key, f"{shown(value)} is not a finite number")
            return default
        if not (least < value if above else least <= value) or value > most:
            low = f"above {least:g}" if above else f"at least {least:g}"
            self.problem(key, f"{shown(value)} is out of range: expected a number {low}, at most {most:g}")
            return default
        return float(value)

    def usd_nusd(self, key: str, default: D) -> int | D:
        """Return an exact amount of dollars, or a price in them, as nano-dollars.

        Units: USD or USD per million tokens in the file, as text or number.
        """
        value = self._value(key)
        if value is None:
            return default
        if not isinstance(value, str | int | Decimal) or isinstance(value, bool):
            return self._wrong_type(key, 'an amount in dollars, such as "0.55"', value, default)
        try:
            nusd = exact_nusd(value)
        except ValueError as error:
            self.problem(key, str(error))
            return default
        return nusd

    def texts(self, key: str) -> tuple[str, ...]:
        """Return an array of texts; empty when absent."""
        value = self._value(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
            return self._wrong_type(key, "an array of texts", value, ())
        return tuple(value)

    def text_map(self, key: str) -> dict[str, str]:
        """Return a table of texts, each under its name; empty when absent."""
        value = self._value(key)
        if value is None:
            return {}
        if not isinstance(value, dict):
            return self._wrong_type(key, "a table of texts", value, {})
        texts = {}
        for name, text in value.items():
            if isinstance(text, str):
                texts[name] = text
            else:
                self._reading.problem((*self.path, key, name), f"expected a text, found {_type_name(text)}")
        return texts

    def table(self, key: str) -> Table | None:
        """Return the table under `key`; None when absent."""
        value = self._value(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            return self._wrong_type(key, "a table", value, None)
        return Table(self._reading, (*self.path, key), value)

    def section(self, key: str) -> Table:
        """Return the table under `key`; an empty one when absent."""
        return self.table(key) or Table(self._reading, (*self.path, key), {})

    def tables(self, key: str) -> Iterator[Table]:
        """Yield the tables of the array under `key`."""
        value = self._value(key)
        if value is None:
            return
        if not isinstance(value, list):
            self._wrong_type(key, f"an array of tables: [[{path_text((*self.path, key))}]]", value, None)
            return
        for index, item in enumerate(value):
            if isinstance(item, dict):
                yield Table(self._reading, (*self.path, key, index), item)
            else:
                path = (*self.path, key, index)
                self._reading.problem(path, f"expected a table, found {_type_name(item)}")

    def texts_or_tables(self, key: str) -> Iterator[str | Table]:
        """Yield the entries of the array under `key`, each a text or a table."""
        value = self._value(key)
        if value is None:
            return
        if not isinstance(value, list):
            self._wrong_type(key, "an array", value, None)
            return
        for index, item in enumerate(value):
            path = (*self.path, key, index)
            if isinstance(item, str) and item.strip():
                yield item
            elif isinstance(item, dict):
                yield Table(self._reading, path, item)
            else:
                self._reading.problem(path, f"expected a text or a table, found {_type_name(item)}")

    def raw(self, key: str) -> object | None:
        """Return the value as `tomllib` gave it; for keys with more than one form."""
        return self._value(key)

    def _value(self, key: str) -> object | None:
        self._known[key] = None
        return self._values.get(key)

    def _wrong_type(self, key: str, expected: str, value: object, default: D) -> D:
        self.problem(key, f"expected {expected}, found {_type_name(value)}")
        return default


def path_text(path: KeyPath) -> str:
    """Return a key path as people write it: `hosts[0].base_url`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = part if _BARE.fullmatch(part) else json.dumps(part)
            text += f".{name}" if text else name
    return text or "the file"


def nearest_text(name: str, known: Collection[str]) -> str:
    """Return `did you mean …?` with the nearest known name, or the list of them when none is near."""
    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"known here: {', '.join(sorted(known)) or 'nothing'}"


def shown(value: object) -> str:
    """Return a value as messages show it: short, on one line."""
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def is_finite(value: int | Decimal) -> bool:
    """Return whether the number is finite and fits a float."""
    try:
        return isfinite(float(value))
    except OverflowError:
        return False


def exact_nusd(value: str | int | Decimal) -> int:
    """Return an amount in dollars, or a price in them, as nano-dollars.

    Raises: ValueError when it is no decimal number, negative, too large, or finer than a nano-dollar.
    """
    try:
        amount = Decimal(value)
    except ArithmeticError:
        raise ValueError(f"{shown(value)} is not a decimal number of dollars, such as 0.55") from None
    if not amount.is_finite() or amount < 0:
        raise ValueError(f"{shown(value)} dollars: expected a finite number ≥ 0")
    if amount > DEAREST_USD_PER_MTOK:
        raise ValueError(f"{shown(value)} dollars: expected at most {DEAREST_USD_PER_MTOK:,}")
    if amount and (amount.adjusted() < -9 or len(amount.as_tuple().digits) > MOST_DIGITS):
        raise ValueError(f"{shown(value)} dollars is finer than a nano-dollar (9 decimals)")
    return nusd_from_usd(amount)


def _type_name(value: object) -> str:
    return _TYPE_NAMES.get(type(value).__name__, "a date or time")


def _syntax_problem(name: str, text: str, error: Exception) -> str:
    message = str(error) if isinstance(error, tomllib.TOMLDecodeError) else "a number is too large to be read"
    place = _SYNTAX_PLACE.search(message)
    if place is None:
        return f"{name}:1: not valid TOML: {message}"
    line = int(place.group(1)) if place.group(1) else text.rstrip("\n").count("\n") + 1
    column = f", column {place.group(2)}" if place.group(2) else ""
    return f"{name}:{line}: not valid TOML{column}: {message[: place.start()]}"
