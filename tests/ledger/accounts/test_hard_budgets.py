"""Every hard budget holds at every step, whatever happens in whatever order, and across restarts.

Keys in teams with tags, budgets by day, month and in all; attempts that are reserved, settled, voided,
expired and corrected; a clock that moves over midnights and month ends; a gateway that dies in between.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from entrepot.domain.errors import Refusal
from entrepot.domain.prices import Bill
from entrepot.ledger.accounts.senders import Sender
from entrepot.ledger.entries import Reserve, Scope
from entrepot.ledger.keys.budgets import Budget, Period
from entrepot.ledger.keys.log import create_key, create_tag, create_team, set_budget_of
from entrepot.ledger.ledger import Ledger
from tests.ledger import entry_makers as make
from tests.ledger.journals import SEGMENT_BYTES

START_NS = int(datetime(2026, 10, 30, 22, tzinfo=UTC).timestamp()) * 10**9
HOUR_NS = 3600 * 10**9
STEPS = 200
KEYS = (("alice", "blue", ("papers",)), ("bob", "blue", ("papers/eu",)), ("carol", None, ()))
BUDGETS = (
    (Scope.KEY, "alice", 3_000, Period.TOTAL, "UTC"),
    (Scope.KEY, "bob", 900, Period.DAY, "Asia/Kolkata"),
    (Scope.TEAM, "blue", 2_500, Period.MONTH, "America/New_York"),
    (Scope.TEAM, "blue", 1_500, Period.DAY, "UTC"),
    (Scope.TAG, "papers", 4_000, Period.TOTAL, "UTC"),
    (Scope.TAG, "papers/eu", 700, Period.MONTH, "UTC"),
)


class Books:
    """A ledger with three keys, and an account of our own of what counts when for whom."""

    def __init__(self, path: Path) -> None:
        self._path = path
        create_team(path, "blue", 1)
        create_tag(path, "papers", 1)
        create_tag(path, "papers/eu", 1)
        for name, team, tags in KEYS:
            create_key(path, name, None, 1, team=team, tags=tags)
        for scope, name, amount, period, zone in BUDGETS:
            set_budget_of(path, scope, name, amount, 1, period=period, zone=zone)
        self.now_ns = START_NS
        self.number = 0
        self.open: list[Reserve] = []
        self.closed: list[tuple[Reserve, int]] = []  # what each counts: spent, or unknown
        self.ledger = Ledger.open(path, self.now_ns, segment_bytes=SEGMENT_BYTES)
        self.ledger.refresh_keys()

    def restart(self) -> None:
        """Let the gateway die and another take over: what was open is unknown, at most what it reserved."""
        self.ledger.journal.close()
        self.ledger._lock.release()
        self.ledger = Ledger.open(self._path, self.now_ns, segment_bytes=SEGMENT_BYTES)
        self.closed += [(reserve, reserve.amount_nusd) for reserve in self.open]
        self.open.clear()

    def sender(self, key_id: int, tags: str | None) -> Sender:
        """Return the sender of a key."""
        found = self.ledger.sender(self.ledger.keys.by_id[key_id], tags)
        assert not isinstance(found, Refusal)
        return found

    def reserve(self, key_id: int, amount: int, *, narrow: bool) -> None:
        """Reserve; when it is refused, one of the budgets indeed could not hold it."""
        self.number += 1
        sender = self.sender(key_id, "papers/eu" if narrow and key_id == 1 else None)
        entry = msgspec.structs.replace(
            make.reserve(self.number, amount, key_id=key_id), at_ns=self.now_ns, sender_id=sender.sender_id
        )
        over = [
            budget
            for budget in self.budgets(entry)
            if self.counted(budget, self.now_ns) + amount > budget.amount_nusd
        ]
        refusal = self.ledger.reserve(entry)
        assert (refusal is not None) == bool(over), "no phantom refusal, and no budget that is passed"
        if refusal is None:
            self.open.append(entry)

    def close(self, which: int, share: float, how: str) -> None:
        """Settle, void or expire one of those that are open."""
        if not self.open:
            return
        entry = self.open.pop(which % len(self.open))
        number = int.from_bytes(entry.request_id[8:], "big")
        if how == "settle":
            counts = int(entry.amount_nusd * share)
            assert self.ledger.settle(make.settle(number, counts, key_id=entry.key_id)) is None
        elif how == "void":
            counts = 0
            assert self.ledger.void(make.void(number, key_id=entry.key_id)) is None
        else:
            counts = entry.amount_nusd
            assert self.ledger.expire(make.expire(number, counts, key_id=entry.key_id)) is None
        self.closed.append((entry, counts))

    def correct(self, which: int, share: float) -> None:
        """Correct one that is closed, downwards."""
        if not self.closed:
            return
        place = which % len(self.closed)
        entry, counted = self.closed[place]
        less = int(counted * share)
        correction = msgspec.structs.replace(
            make.correct(
                int.from_bytes(entry.request_id[8:], "big"),
                -less,
                correction_id=self.number,
                key_id=entry.key_id,
            ),
            bill=Bill(output_nusd=-less),
            reserved_ns=entry.at_ns,
            sender_id=entry.sender_id,
        )
        self.number += 1
        assert self.ledger.correct(correction) is None
        self.closed[place] = (entry, counted - less)

    def budgets(self, entry: Reserve) -> tuple[Budget, ...]:
        """Return the budgets over a reservation, by our own reading of the names."""
        named = self.ledger.balances.senders.get(entry.sender_id)
        tags = () if named is None else named.tags
        team = 0 if named is None else named.team_id
        ids = {(Scope.KEY, entry.key_id), (Scope.TEAM, team), *((Scope.TAG, tag) for tag in tags)}
        return tuple(
            budget for of, budget in self.ledger.keys.budgets.items() if (of.scope, of.number) in ids
        )

    def counted(self, budget: Budget, at_ns: int) -> int:
        """Return what counts against a budget in the period that holds an instant."""
        span = budget.span(at_ns)
        every = [(entry, entry.amount_nusd) for entry in self.open] + self.closed
        return sum(nusd for entry, nusd in every if span.holds(entry.at_ns) and budget in self.budgets(entry))

    def check(self) -> None:
        """Check every budget in every period that was touched."""
        for budget in self.ledger.keys.budgets.values():
            for at_ns in {entry.at_ns for entry, _ in self.closed} | {entry.at_ns for entry in self.open}:
                assert self.counted(budget, at_ns) <= budget.amount_nusd


@contextlib.contextmanager
def books() -> Iterator[Books]:
    """Open the books in a directory of their own."""
    with TemporaryDirectory() as path:
        opened = Books(Path(path))
        try:
            yield opened
        finally:
            opened.ledger.close()


def steps_of(seed: int) -> Iterator[tuple[object, ...]]:
    """Yield two hundred steps; most are reservations and endings, since budgets have to be nearly used up."""
    rng = Random(seed)
    closings = ("settle", "settle", "settle", "void", "expire")
    for _ in range(STEPS):
        draw = rng.random()
        if draw < 0.5:
            yield ("reserve", rng.randint(1, 3), rng.choice((0, 1, 90, 300, 700)), rng.random() < 0.3)
        elif draw < 0.85:
            yield ("close", rng.randrange(50), rng.choice((0.1, 0.7, 1.0)), rng.choice(closings))
        elif draw < 0.89:
            yield ("correct", rng.randrange(50), rng.random())
        elif draw < 0.96:
            yield ("wait", rng.choice((1, HOUR_NS, 2 * HOUR_NS, 5 * HOUR_NS, 9 * HOUR_NS)))
        elif draw < 0.97:
            yield ("restart",)
        else:
            yield ("report",)


def take_steps(here: Books, seed: int) -> None:
    """Take the steps of a seed, in which anything may happen in any order."""
    for step in steps_of(seed):
        match step:
            case ("reserve", int(key_id), int(amount), bool(narrow)):
                here.reserve(key_id, amount, narrow=narrow)
            case ("close", int(which), float(share), str(how)):
                here.close(which, share, how)
            case ("correct", int(which), float(share)):
                here.correct(which, share)
            case ("wait", int(ns)):
                here.now_ns += ns
            case ("restart",):
                here.restart()
            case _:
                here.ledger.keep_accounts(here.now_ns)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32))
def test_no_interleaving_passes_a_budget_of_any_scope_and_period(seed: int) -> None:
    """Spent, unknown and reserved stay within each; refused is what does not fit, and only that."""
    with books() as here:
        take_steps(here, seed)
        here.check()
        while here.open:
            here.close(0, 1.0, "settle")
        here.check()
        for balances in here.ledger.balances.scopes.values():
            assert all(balance.reserved_nusd == 0 for balance in balances.values())
