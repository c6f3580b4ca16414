"""The balances that budgets start from are worked out again, from snapshot to snapshot."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.ledger.audit.audit import audit
from entrepot.ledger.audit.balances import needed_quarters
from entrepot.ledger.audit.fold import AuditFold
from entrepot.ledger.data_dir import DataDir
from entrepot.ledger.entries import (
    Balances,
    NameEndpoint,
    Scope,
    ScopeBalance,
    Spending,
)
from entrepot.ledger.journal.segment import HEADER_BYTES, segment_numbers
from tests.ledger import audited
from tests.ledger import entry_makers as make
from tests.ledger.openings import Change, change_opening
from tests.ledger.traffic import HOUR_NS, START_NS

REQUESTS = 60
LATER_NS = START_NS + 10**17
QUARTER_NS = 900 * 10**9
HOUR, DAY = 4, 96  # quarters


@pytest.fixture
def months(tmp_path: Path) -> Path:
    """A data directory with requests of two months, all posted."""
    audited.posted(tmp_path, REQUESTS, step_ns=12 * HOUR_NS)
    return tmp_path


def raised(balances: tuple[ScopeBalance, ...], name: str) -> tuple[ScopeBalance, ...]:
    """Return the balances with one nano-dollar more in the last one."""
    *others, last = balances
    return (*others, msgspec.structs.replace(last, **{name: getattr(last, name) + 1}))


def moved(spending: tuple[Spending, ...], scope: Scope) -> tuple[Spending, ...]:
    """Return the spending with that of the youngest quarter of one account a quarter earlier."""
    index = next(i for i, of in enumerate(spending) if of.scope is scope)
    quarters = dict(spending[index].quarters)
    youngest = max(quarters)
    quarters[youngest - 1] = quarters.pop(youngest)
    return (
        *spending[:index],
        Spending(scope, spending[index].number, quarters),
        *spending[index + 1 :],
    )


CHANGES: dict[str, tuple[Change, str]] = {
    "key spent": (lambda s: {"keys": raised(s.keys, "spent_nusd")}, "the balances of key 3 are $"),
    "key unknown": (lambda s: {"keys": raised(s.keys, "unknown_nusd")}, "the balances of key 3 are $"),
    "key reserved": (lambda s: {"keys": raised(s.keys, "reserved_nusd")}, "the balances of key 3 are $"),
    "team spent": (lambda s: {"teams": raised(s.teams, "spent_nusd")}, "the balances of team 7 are $"),
    "tag unknown": (lambda s: {"tags": raised(s.tags, "unknown_nusd")}, "the balances of tag 4 are $"),
    "a key forgotten": (lambda s: {"keys": s.keys[1:]}, "the balances of key 1 are $0.00 spent"),
    "a key too many": (lambda s: {"keys": (*s.keys, ScopeBalance(9, 5))}, "the balances of key 9 are $"),
    "quarter of a key": (lambda s: {"spending": moved(s.spending, Scope.KEY)}, "the spending of key 1 in"),
    "quarter of a team": (lambda s: {"spending": moved(s.spending, Scope.TEAM)}, "the spending of team 7 in"),
    "quarter of a tag": (lambda s: {"spending": moved(s.spending, Scope.TAG)}, "the spending of tag 3 in"),
    "spending forgotten": (lambda s: {"spending": s.spending[1:]}, "the spending of key 1 in the quarter"),
    "youngest": (lambda s: {"newest_ns": s.newest_ns + 1}, "the youngest reservation is said to be"),
    "a name": (
        lambda s: {"endpoints": (msgspec.structs.replace(s.endpoints[0], host="x"), *s.endpoints[1:])},
        "the row of endpoint 1 in endpoints host is h1 in the store and x in the journal",
    ),
    "a name forgotten": (lambda s: {"rules": s.rules[1:]}, "rules 1 is not named in the snapshot as"),
    "an open reservation": (
        lambda s: {"open": (*s.open, make.reserve(1, 0))},
        "the open reservations are not those that the entries before leave open",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_snapshot_that_is_wrong_is_named_first(months: Path, name: str) -> None:
    """By a nano-dollar, by a quarter of an hour, by a name: its segment is where to look."""
    assert audit(months, LATER_NS).ok
    change, says = CHANGES[name]
    journal = DataDir(months).journal
    number = segment_numbers(journal)[-2]
    change_opening(journal, number, change)
    found = audit(months, LATER_NS)
    assert found.findings[0].startswith(f"journal segment {number}, offset {HEADER_BYTES}: {says}")


def quarter_of(*of: int) -> int:
    """Return the quarter of an hour that begins at an instant in UTC."""
    return int(datetime(*of, tzinfo=UTC).timestamp()) // 900  # type: ignore[arg-type, misc]


@pytest.mark.parametrize(
    ("quarter", "kept_at"),
    [
        ((2026, 3, 20, 9, 45), (2026, 3, 20, 9, 45)),  # now
        ((2026, 3, 19, 5, 45), (2026, 3, 19, 5, 45)),  # 28 hours ago: its day may still run
        ((2026, 3, 19, 5, 30), (2026, 3, 1, 14, 0)),  # older: part of the month for every zone
        ((2026, 3, 1, 14, 15), (2026, 3, 1, 14, 0)),
        ((2026, 3, 1, 14, 0), (2026, 3, 1, 14, 0)),
        ((2026, 3, 1, 13, 45), (2026, 3, 1, 13, 45)),  # some zone's month began after it
        ((2026, 2, 28, 10, 0), (2026, 2, 28, 10, 0)),  # where the month began first
        ((2026, 2, 28, 9, 45), None),  # last month everywhere
    ],
)
def test_a_quarter_is_kept_moved_or_forgotten(
    quarter: tuple[int, ...], kept_at: tuple[int, ...] | None
) -> None:
    """Seen from 2026-03-20 09:50 UTC."""
    newest_ns = quarter_of(2026, 3, 20, 9, 45) * QUARTER_NS + 300 * 10**9
    expected = {} if kept_at is None else {quarter_of(*kept_at): 5}
    assert needed_quarters({quarter_of(*quarter): 5}, newest_ns) == expected


def test_the_month_is_the_old_one_until_it_has_ended_everywhere() -> None:
    """Thirteen hours after its end in UTC it still runs in the west, and its sum is still there."""
    newest_ns = quarter_of(2026, 4, 1, 13, 0) * QUARTER_NS
    assert needed_quarters({quarter_of(2026, 3, 10, 0, 0): 5}, newest_ns) == {
        quarter_of(2026, 3, 1, 14, 0): 5
    }
    assert needed_quarters({quarter_of(2026, 3, 10, 0, 0): 5}, newest_ns + 5 * HOUR_NS) == {}


@given(st.data())
def test_both_folds_agree_on_any_traffic(data: st.DataObject) -> None:
    """Written twice, the rule of what is kept gives the same snapshots, whatever comes when."""
    balances, fold = Balances(), AuditFold()
    for entry in (NameEndpoint(1, "m@h", "m", "h"), *audited.SENDERS.values()):
        balances.apply(entry)
        assert fold.add(entry) is None
    at_ns = START_NS
    for number in range(1, data.draw(st.integers(1, 12)) + 1):
        at_ns += data.draw(st.integers(0, 20 * DAY)) * QUARTER_NS
        key_id = data.draw(st.integers(1, 3))
        sender_id = audited.SENDERS[key_id].sender_id if key_id in audited.SENDERS else 0
        reserve = msgspec.structs.replace(
            make.reserve(number, 50, key_id=key_id), at_ns=at_ns, sender_id=sender_id
        )
        closing = data.draw(st.sampled_from([make.settle, make.void, make.expire, None]))
        for written in (reserve, None if closing is None else closing(number, key_id=key_id)):
            if written is not None:
                assert balances.apply(written) is None
                assert fold.add(written) is None
            if data.draw(st.booleans()):
                assert fold.add(balances.snapshot()) is None
