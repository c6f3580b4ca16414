"""Finds the shape of a model: among those that ship with entrepot, in a like file, or in its config.json.

A model hub is never asked: a planner has to give the same answer on an aeroplane, and tomorrow.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import date
from difflib import get_close_matches
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from entrepot.catalog.data_files import data_path
from entrepot.catalog.quantization import stated_precision
from entrepot.catalog.reading import Reading, Table
from entrepot.domain.errors import ConfigError
from entrepot.tokenomics.architecture import Architecture

_MADE = re.compile(
    r"[-_](?P<made>instruct|chat|base|it|thinking|hf|fp8|fp4|nvfp4|mxfp4|awq|gptq|int4|int8|w4a16|w8a8|bf16|bnb|"
    r"4bit|8bit|dynamic|block|kv|quantized|gguf|v\d+|\d{4})$"
)
_STATED = {
    **{name: name for name in ("fp8", "nvfp4", "mxfp4", "int4", "int8", "bf16")},
    "fp4": "nvfp4",
    "awq": "int4",
    "gptq": "int4",
    "w4a16": "int4",
    "w8a8": "int8",
    "4bit": "int4",
}
"""What precision the last parts of a checkpoint's name say; a quantised one keeps its model's shape."""

SHIPPED = "tokenomics/architectures.toml"
CONFIG = "config.json"


class ModelShape(Struct, frozen=True):
    """An architecture, the other names of models of the same shape, and where its facts are from.

    `precision` is that of the checkpoint's weights, empty where nothing says that they are quantised.
    """

    architecture: Architecture
    aliases: tuple[str, ...]
    source: str
    date: date | None
    precision: str = ""


def load_architectures(path: Path | None = None) -> tuple[ModelShape, ...]:
    """Return the shapes in the file at `path`, or those that ship with entrepot.

    Raises: ConfigError with all problems at once, each with file, line and key.
    """
    reading = Reading.of_file(path or data_path(SHIPPED))
    shapes = [shape for table in reading.root.tables("architectures") if (shape := _shape(table))]
    reading.root.finish()
    reading.finish()
    return tuple(shapes)


def find_architecture(name_or_path: str, shapes: Iterable[ModelShape] | None = None) -> ModelShape:
    """Return the shape of a model by its name, an alias, or the path of a config.json or of its folder.

    Names are compared without case; the part after the developer is enough, and how a checkpoint was tuned or
    quantised may follow (-Instruct, -FP8, -AWQ). `shapes` are those that ship with entrepot if not given.

    Raises: ConfigError when nothing is called so, or the configuration lacks fields.
    """
    path = Path(name_or_path)
    if path.suffix == ".json" or (path / CONFIG).is_file():
        return _of_config(path if path.suffix == ".json" else path / CONFIG)
    shapes = load_architectures() if shapes is None else tuple(shapes)
    known = _by_name(shapes)
    shape = _packaged(name_or_path, known)
    if shape is None:
        near = get_close_matches(name_or_path.lower(), known, n=1)
        hint = f"did you mean {near[0]}?" if near else "known: " + ", ".join(sorted(_names(shapes)))
        raise ConfigError((f"no model is called {name_or_path!r}; {hint}; or name its {CONFIG}",))
    return shape


def _packaged(name: str, known: Mapping[str, ModelShape]) -> ModelShape | None:
    """Return the shape of a checkpoint by its name, whatever that says of how it was made."""
    bare, stated = name.lower(), ""
    shape = known.get(bare)
    while (match := _MADE.search(bare)) is not None:
        stated = stated or _STATED.get(match["made"], "")
        bare = bare[: match.start()]
        last = bare.rpartition("/")[2]
        shape = shape or known.get(bare) or known.get(last) or known.get(last.removeprefix("meta-"))
    return replace(shape, precision=stated) if shape is not None and stated else shape


def _names(shapes: Iterable[ModelShape]) -> list[str]:
    return [shape.architecture.name for shape in shapes]


def _by_name(shapes: Iterable[ModelShape]) -> dict[str, ModelShape]:
    known: dict[str, ModelShape] = {}
    for shape in shapes:
        for name in (shape.architecture.name, *shape.aliases):
            known[name.lower()] = shape
            known.setdefault(name.lower().rpartition("/")[2], shape)
    return known


def _shape(table: Table) -> ModelShape | None:
    for key, what in (("name", "the id of the model"), ("source", "where the facts are from")):
        table.require(key, what)
    name = table.text("name", "?")
    aliases, source, day = table.texts("aliases"), table.text("source", ""), table.day("date")
    config = table.raw("config")
    table.finish()
    if not isinstance(config, dict):
        table.problem("config", "is missing; write a table with the fields of its config.json")
        return None
    try:
        architecture = Architecture.from_config(name, config)
    except ConfigError as error:
        for problem in error.problems:
            table.problem("config", problem)
        return None
    return ModelShape(architecture, aliases, source, day, stated_precision(config))


def _of_config(path: Path) -> ModelShape:
    try:
        config = json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigError((f"{path}: cannot be read: {error.strerror}",)) from None
    except (ValueError, RecursionError) as error:
        raise ConfigError((f"{path}: is no JSON: {error}",)) from None
    if not isinstance(config, Mapping):
        raise ConfigError((f"{path}: expected an object, the {CONFIG} of a model",))
    stated = config.get("_name_or_path")
    name = stated if isinstance(stated, str) and stated else path.resolve().parent.name
    architecture = Architecture.from_config(name, config)
    return ModelShape(architecture, (), str(path), None, stated_precision(config))
