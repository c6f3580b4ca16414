"""What a task costs, and what a task costs that succeeded: all attempts of all its requests together.

The price of an answer says little where answers fail: a model at half the price that needs three tries is
the dearer one. So retries, hedges and follow-up requests count with the task that they were for, and the
cost of tasks that failed counts with those that succeeded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, FromClause, Select, and_, case, column, func, or_, select, table
from sqlalchemy.sql.elements import ColumnElement

from entrepot.domain.ids import REQUEST_ID_BYTES, request_id_text
from entrepot.domain.money import usd_text
from entrepot.ledger.entries import NO_TASK
from entrepot.ledger.reports.report import EVERYTHING, UNDECLARED, Dimension, Only
from entrepot.ledger.reports.usage_query import Names, Used, Window, deleted_attempts, lines_of, names
from entrepot.ledger.store.store import Store
from entrepot.ledger.store.tables import CLOSINGS, CORRECTIONS, FEEDBACK, RESERVES

WHOLE_TASK = bytes(REQUEST_ID_BYTES)
_NS_PER_S = 1_000_000_000
Said = tuple[bool, float | None]  # whether it succeeded, and the client's score
TaskKey = tuple[int, int | bytes]  # the key that asked; the task's number, or the id of a request without one


class TaskOutcome(StrEnum):
    """What the client said of a task in the end."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNREPORTED = "unreported"


class Spent(Struct):
    """What was spent on a task, or on several.

    Units: tokens, nano-USD, seconds. `seconds` is the sum over all attempts. Not in `cost_nusd`:
    `unknown_nusd` of attempts of unknown cost, at most, and `reserved_nusd` of attempts under way.
    """

    requests: int = 0
    attempts: int = 0
    tokens: int = 0
    cost_nusd: int = 0
    unknown_nusd: int = 0
    reserved_nusd: int = 0
    seconds: float = 0.0
    simulated_attempts: int = 0

    def add(self, other: Spent) -> None:
        """Add what was spent elsewhere."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Task(Struct, frozen=True):
    """A task of a key: what it took by endpoint and in all, and how it ended.

    `task` is its number in hexadecimal, or the id of a request that belongs to no task and that the client
    reported on; `text` is what the client called it, where that is stored. Units: `elapsed_s` seconds from
    its first reservation to the last end of an attempt.
    """

    key_id: int
    task: str
    outcome: TaskOutcome
    score: float | None
    spent: Spent
    elapsed_s: float
    by_endpoint: dict[int, Spent]
    text: str | None = None


class TaskSummary(Struct, frozen=True):
    """Tasks of one model, endpoint or host, or all of them.

    `spent` is that of all tasks, `reported` that of those with an outcome. A task of several groups counts
    in each with what it spent there.
    """

    group: str
    tasks: int
    succeeded: int
    failed: int
    spent: Spent
    reported: Spent

    @property
    def unreported(self) -> int:
        """Return how many tasks nobody reported on."""
        return self.tasks - self.succeeded - self.failed

    @property
    def cost_per_task_nusd(self) -> int | None:
        """Return what a task cost on average, rounded half up; None without tasks."""
        return _per(self.spent.cost_nusd, self.tasks)

    @property
    def cost_per_success_nusd(self) -> int | None:
        """Return the cost of all tasks with an outcome over those that succeeded, rounded half up."""
        return _per(self.reported.cost_nusd, self.succeeded)

    @property
    def seconds_per_success(self) -> float | None:
        """Return the seconds of all tasks with an outcome over those that succeeded."""
        return self.reported.seconds / self.succeeded if self.succeeded else None


class Tasks(Struct, frozen=True):
    """The tasks of a window, the dearest first, and the names of what they used.

    `deleted_attempts` are some of the window whose entries were deleted, with whatever task they had.
    """

    tasks: tuple[Task, ...]
    named: Names
    deleted_attempts: int


def tasks(
    store: Store, *, since_ns: int | None = None, until_ns: int | None = None, only: Only = EVERYTHING
) -> Tasks:
    """Return what tasks spent by attempts reserved in the window, and what clients said of them whenever.

    Units: Unix nanoseconds; None is without a limit.
    """
    window = Window(since_ns, until_ns)
    with store.engine.connect() as connection:
        said = _said(connection)
        reported = {task for (_, task) in said if isinstance(task, bytes)}
        found: dict[TaskKey, _Sums] = {}
        rows = list(_rows(connection, window))
        named = names(connection)
        texts = _texts(connection)
        deleted = deleted_attempts(connection, window)
    for row in rows:
        part = Used(row.endpoint_id, 0, row.key_id, row.sender_id, 0, ())
        number = row.task_id or row.lone_request
        if (row.task_id == NO_TASK and row.lone_request not in reported) or not only.has(part, named):
            continue
        simulated = row.endpoint_id in named.endpoints and named.endpoints[row.endpoint_id][-1]
        found.setdefault((row.key_id, number), _Sums()).add(row, simulated=simulated)
    made = [_task(key, sums, said.get(key), texts) for key, sums in found.items()]
    made.sort(key=lambda task: (-task.spent.cost_nusd, task.key_id, task.task))
    return Tasks(tuple(made), named, deleted)


def summaries(found: Tasks, by: Dimension) -> tuple[TaskSummary, ...]:
    """Return the tasks by model, endpoint or host, the dearest success first and those without one last.

    Raises: ValueError for other dimensions.
    """
    places = {Dimension.ENDPOINT: 0, Dimension.MODEL: 1, Dimension.HOST: 2}
    if by not in places:
        raise ValueError(f"tasks by {by.value}: expected model, endpoint or host")
    of_groups: dict[str, list[tuple[TaskOutcome, Spent]]] = {}
    for task in found.tasks:
        spent: dict[str, Spent] = {}
        for endpoint_id, part in task.by_endpoint.items():
            row = found.named.endpoints.get(endpoint_id)
            group = UNDECLARED if row is None else str(row[places[by]])
            spent.setdefault(group, Spent()).add(part)
        for group, part in spent.items():
            of_groups.setdefault(group, []).append((task.outcome, part))
    made = [_summary(group, parts) for group, parts in of_groups.items()]
    made.sort(key=lambda one: (one.succeeded == 0, -(one.cost_per_success_nusd or 0), one.group))
    return tuple(made)


def summary(found: Tasks) -> TaskSummary:
    """Return all tasks as one summary."""
    return _summary("total", [(task.outcome, task.spent) for task in found.tasks])


def _summary(group: str, parts: Iterable[tuple[TaskOutcome, Spent]]) -> TaskSummary:
    counts = dict.fromkeys(TaskOutcome, 0)
    spent, reported = Spent(), Spent()
    for outcome, part in parts:
        counts[outcome] += 1
        spent.add(part)
        if outcome is not TaskOutcome.UNREPORTED:
            reported.add(part)
    return TaskSummary(
        group,
        sum(counts.values()),
        counts[TaskOutcome.SUCCEEDED],
        counts[TaskOutcome.FAILED],
        spent,
        reported,
    )


def _per(amount_nusd: int, count: int) -> int | None:
    return (2 * amount_nusd + count) // (2 * count) if count else None


class _Sums:
    """The sums of a task while its rows are read."""

    def __init__(self) -> None:
        self.spent = Spent()
        self.by_endpoint: dict[int, Spent] = {}
        self.first_ns, self.last_ns = 2**63, 0

    def add(self, row: Any, *, simulated: bool) -> None:  # noqa: ANN401 - a row of the database
        spent = Spent(
            row.requests,
            row.attempts,
            int(row.tokens),
            int(row.cost_nusd),
            int(row.unknown_nusd),
            int(row.reserved_nusd),
            float(row.seconds),
            row.attempts if simulated else 0,
        )
        self.spent.add(spent)
        self.by_endpoint.setdefault(row.endpoint_id, Spent()).add(spent)
        self.first_ns = min(self.first_ns, row.first_ns)
        self.last_ns = max(self.last_ns, row.last_ns)


def _task(key: TaskKey, sums: _Sums, said: Said | None, texts: Mapping[int, str]) -> Task:
    key_id, task = key
    text = request_id_text(task) if isinstance(task, bytes) else f"{task:016x}"
    outcome = TaskOutcome.UNREPORTED
    if said is not None:
        outcome = TaskOutcome.SUCCEEDED if said[0] else TaskOutcome.FAILED
    elapsed_s = (sums.last_ns - sums.first_ns) / _NS_PER_S
    score = None if said is None else said[1]
    called = None if isinstance(task, bytes) else texts.get(task)
    return Task(key_id, text, outcome, score, sums.spent, elapsed_s, sums.by_endpoint, called)


def _texts(connection: Connection) -> dict[int, str]:
    """Return what clients called their tasks; not every store has a table of it."""
    if not connection.dialect.has_table(connection, "tasks"):
        return {}
    stored = table("tasks", column("task_id"), column("text"))
    return {row[0]: row[1] for row in connection.execute(select(stored.c.task_id, stored.c.text))}


def _said(connection: Connection) -> dict[TaskKey, Said]:
    """Return the last word on each task: on all of it, or without that on one of its answers."""
    first = and_(RESERVES.c.request_id == FEEDBACK.c.request_id, RESERVES.c.attempt == 1)
    asked = FEEDBACK.outerjoin(RESERVES, first)
    query = select(FEEDBACK, RESERVES.c.task_id.label("task_of_request")).select_from(asked)
    whole: dict[TaskKey, Said] = {}
    answers: dict[TaskKey, Said] = {}
    for row in connection.execute(query.order_by(FEEDBACK.c.at_ns)):
        task = row.task_id or row.task_of_request or row.request_id
        words = whole if row.request_id == WHOLE_TASK else answers
        words[row.key_id, task] = (bool(row.succeeded), row.score)
    return answers | whole


def _rows(connection: Connection, window: Window) -> Iterator[Any]:
    for query in (_attempts(window), _corrections(window)):
        yield from connection.execute(query)


def _tokens_of(rows: FromClause) -> ColumnElement[int]:
    kinds = ("cached", "cache_write", "cache_write_1h", "output")
    return sum((rows.c[f"{kind}_tokens"] for kind in kinds), start=rows.c.uncached_tokens)


def _attempts(window: Window) -> Select[Any]:
    same = and_(RESERVES.c.request_id == CLOSINGS.c.request_id, RESERVES.c.attempt == CLOSINGS.c.attempt)
    open_nusd = case((CLOSINGS.c.request_id.is_(None), RESERVES.c.amount_nusd), else_=0)
    sums = [
        func.sum(case((RESERVES.c.attempt == 1, 1), else_=0)).label("requests"),
        func.count().label("attempts"),
        func.coalesce(func.sum(_tokens_of(CLOSINGS)), 0).label("tokens"),
        func.coalesce(func.sum(lines_of(CLOSINGS)), 0).label("cost_nusd"),
        func.coalesce(func.sum(CLOSINGS.c.unknown_nusd), 0).label("unknown_nusd"),
        func.sum(open_nusd).label("reserved_nusd"),
        func.coalesce(func.sum(CLOSINGS.c.answer_s), 0.0).label("seconds"),
        func.max(func.coalesce(CLOSINGS.c.at_ns, RESERVES.c.at_ns)).label("last_ns"),
    ]
    return _grouped(RESERVES.outerjoin(CLOSINGS, same), sums, window)


def _corrections(window: Window) -> Select[Any]:
    same = and_(
        RESERVES.c.request_id == CORRECTIONS.c.request_id, RESERVES.c.attempt == CORRECTIONS.c.attempt
    )
    none = func.min(0)
    sums = [
        none.label("requests"),
        none.label("attempts"),
        func.sum(_tokens_of(CORRECTIONS)).label("tokens"),
        func.sum(lines_of(CORRECTIONS)).label("cost_nusd"),
        func.sum(-CORRECTIONS.c.unknown_nusd).label("unknown_nusd"),
        none.label("reserved_nusd"),
        none.label("seconds"),
        func.min(RESERVES.c.at_ns).label("last_ns"),
    ]
    return _grouped(RESERVES.join(CORRECTIONS, same), sums, window)


def _grouped(joined: FromClause, sums: Sequence[ColumnElement[Any]], window: Window) -> Select[Any]:
    reported = select(FEEDBACK.c.request_id).where(FEEDBACK.c.request_id != WHOLE_TASK)
    # A request without a task is one of its own when somebody reported on it.
    lone = case((RESERVES.c.task_id == NO_TASK, RESERVES.c.request_id)).label("lone_request")
    ids = (RESERVES.c.key_id, RESERVES.c.sender_id, RESERVES.c.endpoint_id, RESERVES.c.task_id)
    query = (
        select(*ids, lone, *sums, func.min(RESERVES.c.at_ns).label("first_ns"))
        .select_from(joined)
        .where(or_(RESERVES.c.task_id != NO_TASK, RESERVES.c.request_id.in_(reported)))
        .group_by(*ids, "lone_request")
    )
    if window.since_ns is not None:
        query = query.where(RESERVES.c.at_ns >= window.since_ns)
    if window.until_ns is not None:
        query = query.where(RESERVES.c.at_ns < window.until_ns)
    return query


def task_json(task: Task) -> dict[str, object]:
    """Return a task as flat members for `--json` and CSV, money as exact decimals too."""
    return {
        "task": task.task,
        "text": task.text,
        "key_id": task.key_id,
        "outcome": task.outcome.value,
        "score": task.score,
        **_spent_json(task.spent),
        "elapsed_s": task.elapsed_s,
    }


def summary_json(one: TaskSummary) -> dict[str, object]:
    """Return a summary as flat members for `--json` and CSV."""
    per_task, per_success = one.cost_per_task_nusd, one.cost_per_success_nusd
    return {
        "group": one.group,
        "tasks": one.tasks,
        "succeeded": one.succeeded,
        "failed": one.failed,
        "unreported": one.unreported,
        **_spent_json(one.spent),
        "reported_cost_nusd": one.reported.cost_nusd,
        "reported_unknown_nusd": one.reported.unknown_nusd,
        "cost_per_task_usd": None if per_task is None else usd_text(per_task),
        "cost_per_success_usd": None if per_success is None else usd_text(per_success),
        "seconds_per_success": one.seconds_per_success,
    }


def _spent_json(spent: Spent) -> dict[str, object]:
    shown: dict[str, object] = {name: getattr(spent, name) for name in spent.__struct_fields__}
    for name in ("cost", "unknown", "reserved"):
        shown[f"{name}_usd"] = usd_text(getattr(spent, f"{name}_nusd"))
    return shown
