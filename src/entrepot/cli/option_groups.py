"""Options that several commands share, as one value: a model on hardware, an SLO.

Typer takes options as parameters of the command, so that commands which share twenty of them would each say
twenty. A group is a frozen dataclass whose fields are options; a command that takes one has its options.
Click's own way, a decorator per group that fills a dictionary, loses the types.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from math import isfinite
from typing import Any, get_type_hints

from entrepot.domain.errors import ConfigError


def with_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command for typer whose parameters that are option groups are the options of these.

    It raises ConfigError for a number that is not finite: typer takes `inf` for one.
    """
    hints = get_type_hints(command, include_extras=True)
    groups = {name: hint for name, hint in hints.items() if is_dataclass(hint) and isinstance(hint, type)}

    @wraps(command)
    def run(**given: object) -> None:
        _check_finite(given)
        made = {
            name: group(**{field.name: given.pop(field.name) for field in fields(group)})
            for name, group in groups.items()
        }
        command(**made, **given)

    parameters: list[Parameter] = []
    for name, parameter in signature(command).parameters.items():
        if name in groups:
            parameters += _options(groups[name])
        else:
            parameters.append(parameter.replace(annotation=hints[name], kind=Parameter.KEYWORD_ONLY))
    run.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _check_finite(given: Mapping[str, object]) -> None:
    problems = tuple(
        f"--{name.replace('_', '-')} {value:g}: expected a finite number; no limit is to leave it out"
        for name, value in given.items()
        if isinstance(value, float) and not isfinite(value)
    )
    if problems:
        raise ConfigError(problems)


def _options(group: type[Any]) -> list[Parameter]:
    """Return the options of a group, its own before those that it shares with other groups."""
    hints = get_type_hints(group, include_extras=True)
    ordered = sorted(fields(group), key=lambda field: field.name not in group.__annotations__)
    return [
        Parameter(field.name, Parameter.KEYWORD_ONLY, default=_default(field), annotation=hints[field.name])
        for field in ordered
    ]


def _default(field: Field[Any]) -> object:
    return Parameter.empty if field.default is MISSING else field.default
