"""What a task costs, with all that was tried for it, and what one that succeeded costs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import nan
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest

from entrepot.domain.ids import request_id_text
from entrepot.ledger.entries import Entry, Feedback, NameEndpoint, Reserve, Settle
from entrepot.ledger.journal.segment import Position
from entrepot.ledger.reports.report import Dimension, Only
from entrepot.ledger.reports.tasks import WHOLE_TASK, Task, TaskOutcome, summaries, summary, tasks
from entrepot.ledger.store.store import Store
from entrepot.ledger.store.tables import METADATA
from tests.ledger import entry_makers as make

NAMES = (
    NameEndpoint(1, "a@x", "dev/a", "x"),
    NameEndpoint(2, "b@y", "dev/b", "y"),
)
S = 1_000_000_000


def attempt(
    number: int, cost_nusd: int, *, task: int = 0, attempt: int = 1, endpoint: int = 1, key: int = 1
) -> tuple[Reserve, Settle]:
    """Return an attempt that took two seconds, as its reservation and its settlement."""
    at_ns = make.AT_NS + number * 10 * S + attempt * 3 * S
    reserve = msgspec.structs.replace(
        make.reserve(number, attempt=attempt, key_id=key), at_ns=at_ns, task_id=task, endpoint_id=endpoint
    )
    settle = make.settle(number, cost_nusd, attempt=attempt, key_id=key)
    return reserve, msgspec.structs.replace(settle, at_ns=at_ns + 2 * S, answer_s=2.0, endpoint_id=endpoint)


def said(task: int, at: int, *, succeeded: bool, request: int | None = None, key: int = 1) -> Feedback:
    """Return a word on a task, or on one of its answers."""
    request_id = WHOLE_TASK if request is None else make.request_id(request)
    return Feedback(request_id, make.AT_NS + at, key, task, succeeded, nan)


@contextmanager
def store_with(*entries: Entry) -> Iterator[Store]:
    """Open a new store that has these entries."""
    with TemporaryDirectory() as folder, Store.open(Path(folder, "ledger.sqlite")) as store:
        store.post([*NAMES, *entries], Position(1, 1))
        yield store


def found_in(*entries: Entry, only: Only | None = None) -> dict[str, Task]:
    """Return the tasks of these entries by their text."""
    with store_with(*entries) as store:
        result = tasks(store) if only is None else tasks(store, only=only)
    return {task.task: task for task in result.tasks}


def test_a_task_is_all_attempts_of_all_its_requests() -> None:
    """A retry and a second request count; a request of no task does not; corrections belong to it."""
    task = found_in(
        *attempt(1, 100, task=7),
        *attempt(1, 40, task=7, attempt=2, endpoint=2),
        *attempt(2, 1_000, task=7),
        *attempt(3, 5_000),
        make.correct(1, 50),
    )["0000000000000007"]
    spent = task.spent
    assert (spent.requests, spent.attempts, spent.cost_nusd, spent.seconds) == (2, 3, 1_190, 6.0)
    assert spent.tokens == 3 * 35 + 2
    assert task.elapsed_s == 12.0
    assert {number: part.cost_nusd for number, part in task.by_endpoint.items()} == {1: 1_150, 2: 40}


def test_what_is_unknown_or_under_way_is_no_cost_of_a_task() -> None:
    """Both stand apart, as in every report."""
    reserves = [msgspec.structs.replace(make.reserve(number, 1_000), task_id=7) for number in (1, 2)]
    (task,) = found_in(*reserves, make.expire(1, 900)).values()
    assert (task.spent.cost_nusd, task.spent.unknown_nusd, task.spent.reserved_nusd) == (0, 900, 1_000)


@pytest.mark.parametrize(
    ("words", "outcome"),
    [
        ((), TaskOutcome.UNREPORTED),
        ((said(7, 1, succeeded=True),), TaskOutcome.SUCCEEDED),
        ((said(7, 2, succeeded=False), said(7, 1, succeeded=True)), TaskOutcome.FAILED),
        ((said(7, 1, succeeded=False), said(7, 2, succeeded=True)), TaskOutcome.SUCCEEDED),
        ((said(7, 1, succeeded=True, request=1),), TaskOutcome.SUCCEEDED),
        ((said(0, 1, succeeded=True, request=1),), TaskOutcome.SUCCEEDED),
        ((said(7, 1, succeeded=True), said(7, 9, succeeded=False, request=1)), TaskOutcome.SUCCEEDED),
        ((said(7, 1, succeeded=True, key=2),), TaskOutcome.UNREPORTED),
    ],
)
def test_the_last_word_on_the_whole_task_counts(words: tuple[Feedback, ...], outcome: TaskOutcome) -> None:
    """Without one, the last on an answer; another key's task of that name is another task."""
    (task,) = found_in(*attempt(1, 100, task=7), *words).values()
    assert task.outcome is outcome


def test_an_answer_that_was_reported_is_a_task_of_its_own_when_it_names_none() -> None:
    """So success can be counted without task ids; two keys may use one task id for two tasks."""
    found = found_in(*attempt(1, 100), *attempt(2, 200), said(0, 1, succeeded=True, request=2))
    assert list(found) == [request_id_text(make.request_id(2))]
    with store_with(*attempt(1, 100, task=7), *attempt(2, 200, task=7, key=2)) as store:
        assert [(task.key_id, task.spent.cost_nusd) for task in tasks(store).tasks] == [(2, 200), (1, 100)]


def test_a_success_costs_what_all_reported_tasks_cost() -> None:
    """Failed tasks are paid by those that succeed; unreported ones stand apart."""
    entries = (
        *attempt(1, 100, task=1),
        *attempt(2, 300, task=2, endpoint=2),
        *attempt(3, 101, task=3),
        *attempt(4, 9_000, task=4),
        *attempt(5, 50, task=1, endpoint=2),
        *(said(number, 1, succeeded=number != 3) for number in (1, 2, 3)),
    )
    with store_with(*entries) as store:
        found = tasks(store)
    total = summary(found)
    assert (total.tasks, total.succeeded, total.failed, total.unreported) == (4, 2, 1, 1)
    assert (total.cost_per_success_nusd, total.cost_per_task_nusd) == (276, 2_388)  # 551 / 2, 9,551 / 4
    by_model = {one.group: one for one in summaries(found, Dimension.MODEL)}
    assert {
        group: (one.tasks, one.succeeded, one.cost_per_success_nusd) for group, one in by_model.items()
    } == {
        "dev/a": (3, 1, 201),
        "dev/b": (2, 2, 175),
    }
    assert by_model["dev/a"].seconds_per_success == 4.0


def test_without_a_success_there_is_no_cost_of_one() -> None:
    """Nothing is divided by zero, and the group comes last."""
    entries = (*attempt(1, 100, task=1), *attempt(2, 1, task=2, endpoint=2), said(2, 1, succeeded=True))
    with store_with(*entries) as store:
        groups = summaries(tasks(store), Dimension.ENDPOINT)
    assert [(one.group, one.cost_per_success_nusd) for one in groups] == [("b@y", 1), ("a@x", None)]
    with store_with() as store, pytest.raises(ValueError, match="expected model, endpoint or host"):
        summaries(tasks(store), Dimension.DAY)


def test_a_task_is_shown_by_what_the_client_called_it_where_that_is_stored() -> None:
    """Not every store has the table; without it there is the number."""
    with store_with(*attempt(1, 100, task=7)) as store:
        if "tasks" not in METADATA.tables:
            with store.engine.begin() as connection:
                connection.exec_driver_sql("CREATE TABLE tasks (task_id, key_id, at_ns, text)")
        assert [task.text for task in tasks(store).tasks] == [None]
        with store.engine.begin() as connection:
            connection.exec_driver_sql(
                "INSERT INTO tasks (task_id, key_id, at_ns, text) VALUES (7, 1, 1, 'ticket')"
            )
        assert [(task.task, task.text) for task in tasks(store).tasks] == [("0000000000000007", "ticket")]


def test_tasks_may_be_confined_to_a_model() -> None:
    """What the task spent elsewhere is then not in it."""
    entries = (*attempt(1, 100, task=7), *attempt(1, 40, task=7, attempt=2, endpoint=2))
    (task,) = found_in(*entries, only=Only(models=frozenset({"dev/b"}))).values()
    assert task.spent.cost_nusd == 40
