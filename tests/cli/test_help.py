"""Every command can be asked what it does: a bracket in a help text once took it for a tag and fell over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import typer

from entrepot.cli.app import command_line
from tests.cli.command_line import entrepot


def commands(group: Any, *path: str) -> Iterator[tuple[str, ...]]:  # noqa: ANN401 - typer's own click
    """Return the paths of all commands and groups below a group."""
    for name, command in getattr(group, "commands", {}).items():
        yield (*path, name)
        yield from commands(command, *path, name)


COMMANDS = [*commands(typer.main.get_command(command_line(None)))]


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_tells_what_it_does(path: tuple[str, ...]) -> None:
    """With --help, on a terminal of 80 columns; the usage names the command."""
    ran = entrepot(*path, "--help", columns=80)
    assert ran.status == 0
    assert f"{' '.join(path)} [" in ran.out
    assert max(map(len, ran.out.splitlines())) <= 80
