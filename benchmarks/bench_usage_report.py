"""How long a report over 30 days and 10 million requests takes once they are rolled up, and that it is exact.

Two stores. One has the rows of `usage_hours` and `usage_days` that 10 million requests leave: the requests
are drawn and folded here, in arrays, and only their sums are written, since posting them would take minutes
and the report reads no more than these sums. The other has real entries: they are written to a journal
and posted by the real poster, and the report over a window that cuts days and hours has to equal the sums
that were kept while writing. Every report is compared with sums of its own.
"""

from __future__ import annotations

import json
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from statistics import median

import numpy as np
from numpy.typing import NDArray

from entrepot.domain.endpoint import Endpoint
from entrepot.domain.ids import RequestIds
from entrepot.domain.outcome import Outcome
from entrepot.domain.prices import Prices
from entrepot.domain.usage import Usage
from entrepot.ledger.data_dir import DataDir
from entrepot.ledger.entries import NameRules, NameSender, Reserve, Settle
from entrepot.ledger.journal.segment import Position
from entrepot.ledger.ledger import Ledger
from entrepot.ledger.reports.report import DAY_NS, Dimension, Report, report
from entrepot.ledger.store.poster import catch_up
from entrepot.ledger.store.store import Store

REQUESTS = 10_000_000
DAYS, ENDPOINTS, KEYS, TEAMS, TAGS = 30, 20, 50, 8, 12
RULE_SETS = ((), ("context",), ("price",), ("context", "price"))
RULE_WEIGHTS = (0.7, 0.15, 0.1, 0.05)
FIRST_DAY = 20_393  # 2025-11-01
HOUR_NS = DAY_NS // 24
CHUNK = 1_000_000
ROUNDS = 5
TARGET_S = 1.0
REAL_REQUESTS = 100_000
SUMS = 11  # columns of a roll-up behind its ids
Ints = NDArray[np.int64]


def endpoints() -> list[Endpoint]:
    """Twenty endpoints: five models at each of four hosts in three countries."""
    return [
        Endpoint(
            f"m{number % 5}@h{number // 5}",
            f"dev/m{number % 5}",
            f"h{number // 5}",
            Prices(
                (1 + number) * 100_000_000, (1 + number) * 400_000_000, 20_000_000, source="b", checked="b"
            ),
            64_000,
            owner_country=("US", "CN", "NL", "US")[number // 5],
            origin_country=("US", "CN")[number % 2],
            region=f"region-{number // 5}",
        )
        for number in range(ENDPOINTS)
    ]


def tags_of(key: int) -> tuple[int, ...]:
    """Every third key bears no tag, the others one or two."""
    return ((), (1 + key % TAGS,), (1 + key % TAGS, 1 + (key + 5) % TAGS))[key % 3]


def names() -> list[NameSender | NameRules]:
    """A sender for each key, and the sets of rules."""
    senders = [NameSender(1 + key, 1 + key, 1 + key % TEAMS, tags_of(key)) for key in range(KEYS)]
    return [*senders, *(NameRules(number, rules) for number, rules in enumerate(RULE_SETS) if rules)]


def drawn(rng: np.random.Generator, count: int) -> tuple[Ints, Ints]:
    """Draw requests: the place of each in the roll-up, and its sums.

    Hours follow a day's curve, endpoints and keys a skewed distribution: a few have most.
    """
    day = rng.integers(0, DAYS, count)
    curve = 1.5 + np.sin(np.arange(24) / 24 * 2 * np.pi)
    hour = day * 24 + rng.choice(24, count, p=curve / curve.sum())
    endpoint = np.minimum(rng.geometric(0.15, count) - 1, ENDPOINTS - 1)
    key = np.minimum(rng.geometric(0.06, count) - 1, KEYS - 1)
    rules = rng.choice(len(RULE_SETS), count, p=RULE_WEIGHTS)
    place = ((hour * ENDPOINTS + endpoint) * KEYS + key) * len(RULE_SETS) + rules
    uncached, output = rng.integers(100, 4_000, count), rng.integers(10, 2_000, count)
    cached = rng.integers(0, 2, count) * rng.integers(0, 3_000, count)
    retried = rng.random(count) < 0.05
    unknown = (rng.random(count) < 0.001) * rng.integers(1, 10**7, count)
    cost = (1 + endpoint) * (uncached * 100 + output * 400) + cached * 20
    zeros, ones = np.zeros(count, np.int64), np.ones(count, np.int64)
    sums = (ones, ones + retried, uncached, cached, zeros, zeros, output, output // 3, cost, unknown, zeros)
    return place, np.stack(sums).astype(np.int64)


def folded(requests: int) -> Ints:
    """Fold requests into the sums of each hour, endpoint, key and set of rules: one row for each."""
    rng = np.random.default_rng(2025)
    places = DAYS * 24 * ENDPOINTS * KEYS * len(RULE_SETS)
    sums = np.zeros((SUMS, places), np.int64)
    for first in range(0, requests, CHUNK):
        place, amounts = drawn(rng, min(CHUNK, requests - first))
        for column, amount in enumerate(amounts):
            # Doubles hold these sums exactly: they stay far below 2^53.
            sums[column] += np.bincount(place, amount, places).astype(np.int64)
    return sums


def ids_of(place: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """Hour, endpoint, key and rules of a place, from 0."""
    rest, rules = np.divmod(place, len(RULE_SETS))
    rest, key = np.divmod(rest, KEYS)
    hour, endpoint = np.divmod(rest, ENDPOINTS)
    return hour, endpoint, key, rules


def rows_of(sums: Ints, *, daily: bool) -> list[tuple[int, ...]]:
    """The rows of `usage_hours`, or of `usage_days`."""
    if daily:
        sums = sums.reshape(SUMS, DAYS, 24, -1).sum(axis=2).reshape(SUMS, -1)
    place = np.flatnonzero(sums[1])
    period, endpoint, key, rules = ids_of(place)
    first = FIRST_DAY if daily else FIRST_DAY * 24
    ids = (period + first, endpoint + 1, key + 1, key + 1, rules)
    return list(zip(*(column.tolist() for column in (*ids, *sums[:, place])), strict=True))


def make_store(data_dir: Path, sums: Ints) -> tuple[int, int]:
    """Make a data directory whose store has the names and these roll-ups; its rows of hours, of days."""
    ledger = Ledger.open(data_dir, FIRST_DAY * DAY_NS)
    for endpoint in endpoints():
        ledger.register(endpoint)
    ledger.close()
    if not catch_up(data_dir):
        raise RuntimeError("the poster did not finish")
    path = DataDir(data_dir).store
    with Store.open_existing(path) as store:
        store.post(names(), store.position() or Position(1, 1))
    counts = []
    with closing(sqlite3.connect(path)) as database:
        for table, daily in (("usage_hours", False), ("usage_days", True)):
            rows = rows_of(sums, daily=daily)
            marks = ", ".join("?" * len(rows[0]))
            with database:
                database.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)
            counts.append(len(rows))
    return counts[0], counts[1]


def independent(sums: Ints, by: Dimension, hours: slice) -> dict[str, tuple[int, int]]:
    """Requests and cost of each group, from the arrays."""
    made = endpoints()
    size = ENDPOINTS * KEYS * len(RULE_SETS)
    place = np.arange(hours.start * size, hours.stop * size)
    hour, endpoint, key, rules = ids_of(place)
    groups: dict[Dimension, tuple[Ints, Callable[[int], tuple[str, ...]]]] = {
        Dimension.HOST: (endpoint, lambda number: (made[number].host,)),
        Dimension.MODEL: (endpoint, lambda number: (made[number].model,)),
        Dimension.ENDPOINT: (endpoint, lambda number: (made[number].name,)),
        Dimension.COUNTRY: (endpoint, lambda number: (made[number].owner_country or "",)),
        Dimension.ORIGIN: (endpoint, lambda number: (made[number].origin_country or "",)),
        Dimension.REGION: (endpoint, lambda number: (made[number].region or "",)),
        Dimension.KEY: (key, lambda number: (str(number + 1),)),
        Dimension.TEAM: (key, lambda number: (str(1 + number % TEAMS),)),
        Dimension.TAG: (key, lambda number: tuple(map(str, tags_of(number))) or ("none",)),
        Dimension.RULE: (rules, lambda number: RULE_SETS[number] or ("none",)),
        Dimension.HOUR: (hour, lambda number: (time_text(number, "%Y-%m-%d %H:00"),)),
        Dimension.DAY: (hour, lambda number: (time_text(number, "%Y-%m-%d"),)),
        Dimension.MONTH: (hour, lambda number: (time_text(number, "%Y-%m"),)),
    }
    numbers, called = groups[by]
    found: Counter[str] = Counter()
    costs: Counter[str] = Counter()
    for number in np.unique(numbers).tolist():
        chosen = place[numbers == number]
        for group in called(number):
            found[group] += int(sums[0, chosen].sum())
            costs[group] += int(sums[8, chosen].sum())
    return {group: (found[group], costs[group]) for group in found if found[group]}


def time_text(hour: int, form: str) -> str:
    """The text of an hour since the first day."""
    return time.strftime(form, time.gmtime((FIRST_DAY * 24 + hour) * 3_600))


def shown(result: Report) -> dict[str, tuple[int, int]]:
    """Requests and cost of each group of a report."""
    return {row.group: (row.requests, row.cost_nusd) for row in result.rows}


def cpu_s() -> float:
    """CPU seconds of this process and of the children that ended."""
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def timed(action: Callable[[], object]) -> tuple[float, float]:
    """Median seconds of some rounds, and median CPU seconds: on a busy machine the first are longer."""
    seconds, used = [], []
    for _ in range(ROUNDS):
        start_s, before_s = time.perf_counter(), cpu_s()
        action()
        seconds.append(time.perf_counter() - start_s)
        used.append(cpu_s() - before_s)
    return round(median(seconds), 4), round(median(used), 4)


def rolled_up_figures(data_dir: Path, requests: int) -> Iterator[tuple[str, object]]:
    """Time a report by each dimension over all days and over a window that cuts two of them; check each."""
    sums = folded(requests)
    hours, days = make_store(data_dir, sums)
    yield "requests_count", int(sums[0].sum())
    yield "attempts_count", int(sums[1].sum())
    yield "usage_hours_rows", hours
    yield "usage_days_rows", days
    windows = {"": slice(0, DAYS * 24), "cut_window_": slice(5, DAYS * 24 - 3)}
    exact, slowest, most_used = True, 0.0, 0.0
    with Store.open_existing(DataDir(data_dir).store) as store:
        for name, window in windows.items():
            since_ns, until_ns = ((FIRST_DAY * 24 + hour) * HOUR_NS for hour in (window.start, window.stop))
            for by in Dimension:

                def ask(by: Dimension = by, since_ns: int = since_ns, until_ns: int = until_ns) -> Report:
                    return report(store, by, since_ns=since_ns, until_ns=until_ns)

                exact &= shown(ask()) == independent(sums, by, window)
                seconds, used = timed(ask)
                slowest, most_used = max(slowest, seconds), max(most_used, used)
                yield f"{name}by_{by.value}_s", seconds
                yield f"{name}by_{by.value}_cpu_s", used
    yield "exact_flag", exact
    yield "slowest_s", slowest
    yield "slowest_cpu_s", most_used
    yield "target_s", TARGET_S
    yield "reached_flag", exact and slowest <= TARGET_S
    seconds, used = timed(lambda: command(data_dir))
    yield "command_by_host_s", seconds
    yield "command_by_host_cpu_s", used


def command(data_dir: Path) -> None:
    """Run the command as a user does, the start of Python included."""
    words = ("-m", "entrepot", "ledger", "report", "--by", "host", "--since", "2025-11-01", "--json")
    subprocess.run(
        [sys.executable, *words, "--data-dir", str(data_dir)], check=True, stdout=subprocess.DEVNULL
    )


def posted_figures(data_dir: Path, requests: int) -> Iterator[tuple[str, object]]:
    """Write real entries, post them, and compare reports with the sums that were kept while writing."""
    rng, ids = Random(7), RequestIds(7)
    since_ns, until_ns = FIRST_DAY * DAY_NS + 5 * HOUR_NS + 123, (FIRST_DAY + 3) * DAY_NS - 17 * HOUR_NS // 3
    wanted: dict[str, Counter[str]] = {"host": Counter(), "model": Counter()}
    ledger = Ledger.open(data_dir, FIRST_DAY * DAY_NS)
    refs = [(endpoint, ledger.register(endpoint)) for endpoint in endpoints()]
    step_ns = 3 * DAY_NS // requests
    for number in range(requests):
        endpoint, ref = rng.choice(refs)
        at_ns = FIRST_DAY * DAY_NS + number * step_ns
        who = (ids.next(at_ns), 1, at_ns, 1 + number % KEYS, ref.endpoint_id, ref.price_version)
        usage = Usage(rng.randrange(4_000), rng.randrange(3_000), 0, rng.randrange(2_000))
        assert endpoint.prices is not None
        bill = endpoint.prices.bill(usage)
        for conflict in (
            ledger.reserve(Reserve(*who, 10**10)),
            ledger.settle(Settle(*who, Outcome.OK, 200, usage, bill)),
        ):
            if conflict is not None:
                raise RuntimeError(f"an entry did not fit: {conflict}")
        if since_ns <= at_ns < until_ns:
            wanted["host"][endpoint.host] += bill.total_nusd
            wanted["model"][endpoint.model] += bill.total_nusd
    ledger.close()
    start_s = time.perf_counter()
    if not catch_up(data_dir, patience_s=600):
        raise RuntimeError("the poster did not finish")
    yield "posted_entries_count", 2 * requests
    yield "posted_in_s", round(time.perf_counter() - start_s, 2)
    with Store.open_existing(DataDir(data_dir).store) as store:
        exact = all(
            {row.group: row.cost_nusd for row in report(store, by, since_ns=since_ns, until_ns=until_ns).rows}
            == wanted[by.value]
            for by in (Dimension.HOST, Dimension.MODEL)
        )
        seconds, used = timed(lambda: report(store, Dimension.HOST, since_ns=since_ns, until_ns=until_ns))
    yield "posted_exact_flag", exact
    yield "posted_cut_window_by_host_s", seconds
    yield "posted_cut_window_by_host_cpu_s", used


def report_section(*, requests: int = REQUESTS, real_requests: int = REAL_REQUESTS) -> dict[str, object]:
    """All figures, flat: names end in their unit."""
    folder = Path(tempfile.mkdtemp(prefix="entrepot-report-"))
    try:
        figures = dict(posted_figures(folder / "real", real_requests))
        figures |= rolled_up_figures(folder / "rolled-up", requests)
    finally:
        shutil.rmtree(folder)
    return {f"report_{name}": value for name, value in figures.items()}


def main() -> int:
    """Measure, print and write build/usage_report.json; 1 when a report was not exact."""
    figures = report_section()
    build = Path(__file__).resolve().parent.parent / "build"
    build.mkdir(exist_ok=True)
    (build / "usage_report.json").write_text(json.dumps(figures, indent=2) + "\n")
    for name, value in figures.items():
        print(f"{name:45} {value}")
    print(
        "rolled-up rows are those of drawn requests, folded in arrays; posted entries went through the poster"
    )
    return 0 if figures["report_exact_flag"] and figures["report_posted_exact_flag"] else 1


if __name__ == "__main__":
    sys.exit(main())
