"""How far a command has come, where somebody watches: a bar on stderr, and nothing in a pipe or a log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


@contextmanager
def progress_bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yield what tells a bar how much of the total is done."""
    with named_progress_bar(total) as show:
        yield lambda done: show(done, what)


@contextmanager
def named_progress_bar(total: int) -> Iterator[Callable[[int, str], None]]:
    """Yield what tells a bar how much of the total is done, and what is being done now."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bar = Progress(*columns, console=console, transient=True)
    with bar if console.is_terminal else nullcontext(bar):
        task = bar.add_task("", total=total)
        yield lambda done, what: bar.update(task, completed=done, description=what)
