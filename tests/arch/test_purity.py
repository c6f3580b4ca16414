"""The pure core stays pure: what import contracts cannot see, since it needs no import or a shared one.

`make check` forbids pure packages to import clocks, randomness, sockets, files and logs: see
`[tool.importlinter]` in pyproject.toml. These tests find the same through builtins, through `datetime`, and
through state.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.arch.source_tree import SourceFile, product_files

IMPURE_BUILTINS = {"open", "print", "input", "breakpoint", "exec", "eval", "__import__"}
CLOCK_READERS = {"now", "utcnow", "today"}
CLOCK_TYPES = {"datetime", "date"}
CONSUMED_MODULES = {"time", "random", "os", "logging", "secrets", "socket", "asyncio", "uuid"}
MUTATORS = {
    *("append", "extend", "insert", "remove", "sort", "reverse", "appendleft"),
    *("add", "discard", "update", "setdefault", "pop", "popitem", "popleft", "clear"),
}


def impure_calls(tree: ast.Module) -> Iterator[str]:
    """Yield `line N: call` for each call that reads a clock, draws, logs or touches the outside."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        match node.func:
            case ast.Name(id=name) if name in IMPURE_BUILTINS:
                yield f"line {node.lineno}: {name}()"
            case ast.Attribute(value=ast.Name(id=module), attr=name) if module in CONSUMED_MODULES:
                yield f"line {node.lineno}: {module}.{name}()"
            case ast.Attribute(value=ast.Name(id=kind) | ast.Attribute(attr=kind), attr=name) if (
                kind in CLOCK_TYPES and name in CLOCK_READERS
            ):
                yield f"line {node.lineno}: {kind}.{name}()"


def module_state_changes(tree: ast.Module) -> Iterator[str]:
    """Yield `line N: …` wherever a function rebinds or changes a name of its module."""
    names = {name for statement in tree.body for name in _bound_names(statement)}
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            shadowed = _local_names(function)
            for node in ast.walk(function):
                yield from _changes_of(node, names - shadowed)


def _changes_of(node: ast.AST, names: set[str]) -> Iterator[str]:
    match node:
        case ast.Global(names=changed):
            yield f"line {node.lineno}: global {', '.join(changed)}"
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=method)) if (
            name in names and method in MUTATORS
        ):
            yield f"line {node.lineno}: {name}.{method}()"
        case ast.Subscript(value=ast.Name(id=name), ctx=ast.Store() | ast.Del()) if name in names:
            yield f"line {node.lineno}: {name}[…] is assigned or deleted"


def _bound_names(statement: ast.stmt) -> Iterator[str]:
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    yield from (target.id for target in targets if isinstance(target, ast.Name))


def _local_names(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    arguments = function.args
    named = [
        *arguments.posonlyargs,
        *arguments.args,
        *arguments.kwonlyargs,
        arguments.vararg,
        arguments.kwarg,
    ]
    stored = {
        node.id
        for node in ast.walk(function)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    return stored | {argument.arg for argument in named if argument is not None}


def _report(files: Iterator[SourceFile], findings: dict[str, list[str]]) -> str:
    return "\n".join(f"{file.name}: {finding}" for file in files for finding in findings[file.name])


def test_pure_modules_read_no_clock_draw_nothing_and_log_nothing() -> None:
    """The time and the random source are arguments, so that a decision can be replayed exactly."""
    pure = [file for file in product_files() if file.is_pure]
    assert pure, "no pure module was found: the list in source_tree.py is out of date"
    report = _report(iter(pure), {file.name: list(impure_calls(file.tree)) for file in pure})
    assert not report, report


def test_no_module_keeps_state_that_a_function_changes() -> None:
    """State has an owner that is passed around; a module's names are constants."""
    files = product_files()
    report = _report(iter(files), {file.name: list(module_state_changes(file.tree)) for file in files})
    assert not report, report


@pytest.mark.parametrize(
    "source",
    [
        "import time\ndef f():\n    return time.monotonic()",
        "from datetime import datetime\ndef f():\n    return datetime.now()",
        "import datetime\ndef f():\n    return datetime.datetime.now()",
        "def f():\n    return open('x')",
        "import random\ndef f():\n    return random.random()",
    ],
)
def test_an_impure_call_is_found(source: str) -> None:
    """The search itself works: each way to reach outside gives one finding."""
    assert len(list(impure_calls(ast.parse(source)))) == 1


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("SEEN = {}\ndef f(k):\n    SEEN[k] = 1", 1),
        ("SEEN = []\ndef f(k):\n    SEEN.append(k)", 1),
        ("count = 0\ndef f():\n    global count\n    count += 1", 1),
        ("TABLE = {1: 2}\ndef f(k):\n    return TABLE[k]", 0),
        ("TABLE = {1: 2}\ndef f(TABLE):\n    TABLE[1] = 3", 0),
    ],
)
def test_a_change_of_module_state_is_found(source: str, expected: int) -> None:
    """Reading a table of constants is fine; changing it, or rebinding with `global`, is not."""
    assert len(list(module_state_changes(ast.parse(source)))) == expected
