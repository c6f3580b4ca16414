"""Reads the repository's Python files as syntax trees, once, for the tests of its shape."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OUR_FOLDERS = ("src", "tests", "scripts", "benchmarks")
PURE = ("domain", "routing", "tokenomics", "market", "wire", "ledger/entries.py", "ledger/entries")

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class SourceFile:
    """One Python file: its path relative to the repository, its text and its tree."""

    name: str
    text: str
    tree: ast.Module

    @property
    def lines(self) -> int:
        """The number of lines, blank ones and comments included."""
        return len(self.text.splitlines())

    @property
    def is_pure(self) -> bool:
        """Whether the design asks this module to have no clock, randomness, files, sockets or log."""
        inside = self.name.removeprefix("src/entrepot/")
        return inside != self.name and any(inside == part or inside.startswith(part + "/") for part in PURE)


@cache
def source_files() -> tuple[SourceFile, ...]:
    """Return every Python file of ours, ordered by name."""
    paths = sorted(path for folder in OUR_FOLDERS for path in (ROOT / folder).rglob("*.py"))
    return tuple(
        SourceFile(path.relative_to(ROOT).as_posix(), text, ast.parse(text, filename=str(path)))
        for path in paths
        for text in (path.read_text(encoding="utf-8"),)
    )


def product_files() -> tuple[SourceFile, ...]:
    """Return the files under src/ alone."""
    return tuple(file for file in source_files() if file.name.startswith("src/"))


def function_lengths(file: SourceFile) -> Iterator[tuple[str, int]]:
    """Yield `file::Class.function` and its length from `def` to its last line, docstring included."""
    yield from _lengths_within(file.tree, file.name + "::")


def _lengths_within(node: ast.AST, prefix: str) -> Iterator[tuple[str, int]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function):
            assert child.end_lineno is not None
            yield prefix + child.name, child.end_lineno - child.lineno + 1
            yield from _lengths_within(child, f"{prefix}{child.name}.")
        elif isinstance(child, ast.ClassDef):
            yield from _lengths_within(child, f"{prefix}{child.name}.")
        else:
            yield from _lengths_within(child, prefix)
