"""The ledger as a whole: budgets hold, restarts lose nothing, faults leave what was true before."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entrepot.domain.endpoint import Endpoint
from entrepot.domain.errors import DataError
from entrepot.domain.prices import Bill, Prices
from entrepot.domain.tariff import Rate, Tariff
from entrepot.ledger.data_dir import FORMAT, DataDir
from entrepot.ledger.entries import (
    Balances,
    Conflict,
    ConflictReason,
    Entry,
    Expire,
    ExpireReason,
    Scope,
    ScopeBalance,
    Snapshot,
)
from entrepot.ledger.journal.posted import note_posted
from entrepot.ledger.journal.segment import Position
from entrepot.ledger.keys.budgets import Period
from entrepot.ledger.keys.keys import digest_of
from entrepot.ledger.keys.log import create_key, revoke_key, set_budget, set_budget_of
from entrepot.ledger.ledger import EndpointRef, Ledger
from tests.ledger import entry_makers as make
from tests.ledger.journal.test_journal import WRITER, until
from tests.ledger.journals import SEGMENT_BYTES, read_all

ENDPOINT = Endpoint("m@h", "m", "h", Prices(5, 7, source="https://example.org", checked="2025-07-01"), 1_000)


@contextmanager
def ledger_in(path: Path, *, segment_bytes: int = SEGMENT_BYTES) -> Iterator[Ledger]:
    """Open a ledger and close it in the end."""
    ledger = Ledger.open(path, make.AT_NS, segment_bytes=segment_bytes, sync_interval_s=0.0)
    try:
        yield ledger
    finally:
        ledger.close()


def entries_in(path: Path) -> list[Entry]:
    """Return what callers wrote to the journal of a data directory."""
    return [entry for entry in read_all(path / "journal") if not isinstance(entry, Snapshot)]


def test_money_is_reserved_then_settled(tmp_path: Path) -> None:
    """The way of an attempt, and what is left of the budget at each step."""
    create_key(tmp_path, "alice", 5_000, 1)
    with ledger_in(tmp_path) as ledger:
        assert ledger.remaining_nusd(1) == 5_000
        assert ledger.reserve(make.reserve()) is None
        assert (ledger.remaining_nusd(1), ledger.open_reservations) == (4_000, 1)
        assert ledger.settle(make.settle()) is None
        assert (ledger.remaining_nusd(1), ledger.open_reservations) == (4_400, 0)
        assert ledger.reserve(make.reserve(2)) is None
        assert ledger.void(make.void(2)) is None
        assert ledger.remaining_nusd(1) == 4_400
        assert ledger.reserve(make.reserve(3)) is None
        assert ledger.expire(make.expire(3)) is None
        assert ledger.remaining_nusd(1) == 3_400
        assert ledger.correct(make.correct(3, 250, unknown_nusd=1_000)) is None
        assert ledger.remaining_nusd(1) == 4_150
    with ledger_in(tmp_path) as ledger:
        assert ledger.remaining_nusd(1) == 4_150
        assert ledger.expired == 0


def test_a_refused_reservation_leaves_no_trace(tmp_path: Path) -> None:
    """What does not fit is refused with 402 before anything is written."""
    create_key(tmp_path, "alice", 1_500, 1)
    with ledger_in(tmp_path) as ledger:
        assert ledger.reserve(make.reserve(1)) is None
        refusal = ledger.reserve(make.reserve(2))
        assert refusal is not None
        assert refusal.http_status == 402
        assert ledger.settle(make.settle(2)) == Conflict(make.settle(2), ConflictReason.NOT_OPEN)
    assert entries_in(tmp_path)[:1] == [make.reserve(1)]
    assert len(entries_in(tmp_path)) == 1


def test_500_calls_against_five_cents_spend_at_most_five_cents(tmp_path: Path) -> None:
    """All ask before any is settled; those that fit are served, the others get 402."""
    create_key(tmp_path, "alice", 50_000_000, 1)
    with ledger_in(tmp_path, segment_bytes=1 << 20) as ledger:
        served = [number for number in range(500) if ledger.reserve(make.reserve(number, 700_000)) is None]
        for number in served:
            assert ledger.settle(make.settle(number, 700_000)) is None
        assert len(served) == 71
        assert ledger.balances.balance(1) == ScopeBalance(1, 71 * 700_000, 0, 0)
        assert ledger.remaining_nusd(1) == 50_000_000 - 71 * 700_000


_step = st.tuples(st.sampled_from("rrrsvxc"), st.integers(1, 6), st.integers(0, 900), st.integers(1, 2))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2_500), st.lists(_step, max_size=60))
def test_no_interleaving_breaks_a_budget_or_leaks_a_reservation(
    budget: int, steps: list[tuple[str, int, int, int]]
) -> None:
    """At every step spent + reserved + unknown ≤ budget; when all is closed nothing is reserved.

    Costs are at most what was reserved, and corrections lower them. The balances after a restart and
    those of a fold of the whole journal are the same.
    """
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory)
        create_key(path, "alice", budget, 1)
        create_key(path, "bob", None, 1)
        with ledger_in(path) as ledger:
            for kind, number, nusd, key_id in steps:
                _step_of(ledger, kind, number * 10 + key_id, nusd, key_id)
                balance = ledger.balances.balance(1)
                assert balance.committed_nusd <= budget
                assert ledger.remaining_nusd(1) == budget - balance.committed_nusd
            for reserve in tuple(ledger.balances.open.values()):
                number = int.from_bytes(reserve.request_id[8:], "big")
                assert ledger.void(make.void(number, key_id=reserve.key_id)) is None
            assert {balance.reserved_nusd for balance in ledger.balances.scopes[Scope.KEY].values()} <= {0}
            expected = ledger.balances.snapshot()
        whole = Balances()
        assert [conflict for entry in read_all(path / "journal") if (conflict := whole.apply(entry))] == []
        assert whole.snapshot() == expected
        with ledger_in(path) as again:
            assert again.balances.snapshot() == expected


def _step_of(ledger: Ledger, kind: str, number: int, nusd: int, key_id: int) -> None:
    open_one = ledger.balances.open.get((make.request_id(number), 1))
    at_most = min(nusd, open_one.amount_nusd) if open_one is not None else nusd
    match kind:
        case "r":
            ledger.reserve(make.reserve(number, nusd, key_id=key_id))
        case "s":
            ledger.settle(make.settle(number, at_most, key_id=key_id))
        case "v":
            ledger.void(make.void(number, key_id=key_id))
        case "x":
            ledger.expire(make.expire(number, at_most, key_id=key_id))
        case _:
            unknown = min(nusd, ledger.balances.balance(key_id).unknown_nusd)
            ledger.correct(make.correct(number, unknown // 2, unknown_nusd=unknown, key_id=key_id))


def test_reservations_of_a_dead_gateway_become_unknown_at_most_what_was_reserved(tmp_path: Path) -> None:
    """After SIGKILL each open attempt gets an Expire entry; its money counts until it is corrected."""
    arguments = [sys.executable, str(WRITER), str(tmp_path), "1000000", str(SEGMENT_BYTES)]
    root = WRITER.parents[2]
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, cwd=root, env={"PYTHONPATH": str(root)}
    ) as writer:
        assert writer.stdout is not None
        for _ in range(300):
            writer.stdout.readline()
        writer.kill()
    before = entries_in(tmp_path)
    open_ones = len(before) - 2 * sum(type(entry).__name__ == "Settle" for entry in before)
    with ledger_in(tmp_path) as ledger:
        assert ledger.expired == open_ones >= 30
        assert ledger.open_reservations == 0
        assert ledger.balances.balance(1).unknown_nusd == 1_000 * open_ones
        assert ledger.balances.balance(1).reserved_nusd == 0
        late = make.settle(5)
        assert ledger.settle(late) == Conflict(late, ConflictReason.NOT_OPEN)
        assert ledger.correct(make.correct(5, 600, unknown_nusd=1_000)) is None
        assert ledger.balances.balance(1).unknown_nusd == 1_000 * (open_ones - 1)
    expired = [entry for entry in entries_in(tmp_path)[len(before) :] if isinstance(entry, Expire)]
    assert len(expired) == open_ones
    assert {(entry.at_most_nusd, entry.reason) for entry in expired} == {(1_000, ExpireReason.GATEWAY_DIED)}


def test_an_entry_may_be_repeated_while_its_attempt_is_open(tmp_path: Path) -> None:
    """The same reservation again is granted and written once; another one under its id is refused."""
    create_key(tmp_path, "alice", 5_000, 1)
    with ledger_in(tmp_path) as ledger:
        assert ledger.reserve(make.reserve()) is None
        assert ledger.reserve(make.reserve()) is None
        refusal = ledger.reserve(make.reserve(amount_nusd=2))
        assert refusal is not None
        assert (refusal.http_status, refusal.code) == (409, "duplicate_attempt")
        assert ledger.remaining_nusd(1) == 4_000
    assert entries_in(tmp_path)[:1] == [make.reserve()]


def test_what_does_not_fit_is_returned_and_not_written(tmp_path: Path) -> None:
    """Closing twice, closing another key's attempt, correcting an open one: conflicts, no entries."""
    with ledger_in(tmp_path) as ledger:
        assert ledger.reserve(make.reserve()) is None
        assert ledger.correct(make.correct()) == Conflict(make.correct(), ConflictReason.STILL_OPEN)
        other = make.settle(key_id=2)
        assert ledger.settle(other) == Conflict(other, ConflictReason.OTHER_KEY)
        assert ledger.settle(make.settle()) is None
        assert ledger.settle(make.settle()) == Conflict(make.settle(), ConflictReason.NOT_OPEN)
        assert ledger.void(make.void()) == Conflict(make.void(), ConflictReason.NOT_OPEN)
    assert entries_in(tmp_path) == [make.reserve(), make.settle()]


def test_a_correction_that_is_repeated_counts_once(tmp_path: Path) -> None:
    """A run of true-ups that died half-way may be started again."""
    with ledger_in(tmp_path) as ledger:
        assert ledger.reserve(make.reserve()) is None
        assert ledger.settle(make.settle()) is None
        for at_ns in (make.AT_NS + 2, make.AT_NS + 3):
            assert ledger.correct(msgspec.structs.replace(make.correct(), at_ns=at_ns)) is None
        other = make.correct(delta_nusd=51)
        assert ledger.correct(other) == Conflict(other, ConflictReason.OTHER_CONTENT)
        assert ledger.balances.balance(1).spent_nusd == 650
    assert entries_in(tmp_path)[-1] == make.correct()
    assert len(entries_in(tmp_path)) == 3


def test_a_cost_above_its_reservation_is_booked_and_stops_admission(tmp_path: Path) -> None:
    """What a host billed is true whatever was expected; the budget that it passed admits no more."""
    create_key(tmp_path, "alice", 1_000, 1)
    with ledger_in(tmp_path) as ledger:
        assert ledger.reserve(make.reserve()) is None
        assert ledger.settle(make.settle(cost_nusd=1_300)) is None
        assert ledger.remaining_nusd(1) == -300
        assert ledger.reserve(make.reserve(2, 0)) is not None


def test_a_report_that_cannot_be_true_is_unknown_at_most_what_was_reserved(tmp_path: Path) -> None:
    """A host that reports more tokens than 32 bits hold does not stop the settlement."""
    usage = msgspec.structs.replace(make.settle().usage, output_tokens=2**40)
    absurd = msgspec.structs.replace(make.settle(), usage=usage, bill=Bill(output_nusd=2**70))
    with ledger_in(tmp_path) as ledger:
        assert ledger.reserve(make.reserve()) is None
        assert ledger.settle(absurd) is None
        assert ledger.balances.balance(1) == ScopeBalance(1, 0, 0, 1_000)
        too_large = ledger.reserve(make.reserve(2, 2**64))
        assert too_large is not None
        assert too_large.http_status == 400
        assert ledger.open_reservations == 0


def test_an_endpoint_keeps_its_number_until_a_fact_changes(tmp_path: Path) -> None:
    """Entries of last month speak of last month's owner and price, whatever the configuration says now."""
    dearer = msgspec.structs.replace(ENDPOINT, prices=Prices(6, 7))
    moved = msgspec.structs.replace(ENDPOINT, owner_country="FR")
    free = msgspec.structs.replace(ENDPOINT, prices=None)
    expected = {0: (1, 1), 1: (1, 2), 2: (2, 3), 3: (1, 0)}
    for _ in range(2):
        with ledger_in(tmp_path) as ledger:
            for index, endpoint in enumerate((ENDPOINT, dearer, moved, free)):
                assert ledger.register(endpoint) == EndpointRef(*expected[index])
    assert len(entries_in(tmp_path)) == 5, "two endpoints and three prices, each written once"


def test_each_card_of_a_tariff_is_a_price_version_of_its_own(tmp_path: Path) -> None:
    """An entry names exact unit prices; the same cards have the same numbers after a restart."""
    plain = Prices(1, 2)
    night, long = Prices(3, 4, label="16:30–00:30 UTC"), Prices(3, 4, label="prompts above 5 tokens")
    rates = (Rate(night), Rate(long, above_prompt_tokens=5), Rate(night, valid_from_ns=1))
    endpoint = msgspec.structs.replace(ENDPOINT, prices=plain, tariff=Tariff(Rate(plain), rates))
    for _ in range(2):
        with ledger_in(tmp_path) as ledger:
            assert ledger.register(endpoint) == EndpointRef(1, 1, versions=(2, 3, 1))
            assert [ledger.balances.prices[version].prices for version in (1, 2, 3)] == [plain, night, long]
    assert len(entries_in(tmp_path)) == 4, "an endpoint and three cards, each written once"


def test_keys_have_effect_in_an_open_ledger(tmp_path: Path) -> None:
    """A key that is made, budgeted or revoked elsewhere counts after the next refresh."""
    with ledger_in(tmp_path) as ledger:
        secret = create_key(tmp_path, "alice", None, 1)
        assert ledger.key(digest_of(secret)) is None
        assert ledger.refresh_keys()
        key = ledger.key(digest_of(secret))
        assert key is not None
        assert ledger.remaining_nusd(key.key_id) is None
        assert ledger.reserve(make.reserve()) is None
        assert ledger.reserve(make.reserve(2)) is None
        assert ledger.settle(make.settle()) is None
        set_budget(tmp_path, "alice", 2_000, 2)
        assert ledger.refresh_keys()
        assert ledger.remaining_nusd(1) == 400, "what was spent and reserved before counts"
        assert ledger.reserve(make.reserve(3)) is not None
        revoke_key(tmp_path, "alice", 3)
        assert ledger.refresh_keys()
        assert not ledger.refresh_keys()
        assert ledger.key(digest_of(secret)) is None
        assert ledger.settle(make.settle(2)) is None, "what runs is settled"


def test_a_full_disk_refuses_what_is_new_and_settles_what_runs(tmp_path: Path) -> None:
    """A reservation that cannot be written holds no money; all that was granted is settled."""
    create_key(tmp_path, "alice", 10**9, 1)
    ledger = Ledger.open(tmp_path, make.AT_NS, segment_bytes=SEGMENT_BYTES, sync_interval_s=0.0)
    until(lambda: ledger.journal.sync_age_s(time.monotonic()) == 0.0)
    away = DataDir(tmp_path).journal.rename(tmp_path / "away")  # no new file can be made there
    with pytest.raises(DataError, match="cannot be written"):
        _reserve_for_ever(ledger)
    granted = ledger.open_reservations
    assert granted > 3
    assert ledger.remaining_nusd(1) == 10**9 - granted * 1_000
    for number in range(granted):
        assert ledger.settle(make.settle(number)) is None
    assert (ledger.open_reservations, ledger.remaining_nusd(1)) == (0, 10**9 - granted * 600)
    away.rename(DataDir(tmp_path).journal)
    assert ledger.reserve(make.reserve(granted)) is None
    ledger.close()


def _reserve_for_ever(ledger: Ledger) -> None:
    for number in count():
        assert ledger.reserve(make.reserve(number)) is None


def test_the_backlog_is_what_the_poster_has_not_moved(tmp_path: Path) -> None:
    """It counts bytes from the noted position over closed segments to the end, and is zero when caught up."""
    with ledger_in(tmp_path) as ledger:
        for number in range(90):
            assert ledger.reserve(make.reserve(number)) is None
            assert ledger.settle(make.settle(number)) is None
        end = ledger.journal.position
        assert end.segment > 2
        behind = ledger.backlog_bytes()
        sizes = [path.stat().st_size for path in sorted(DataDir(tmp_path).journal.glob("*.seg"))]
        assert behind == sum(sizes[:-1]) + end.offset
        note_posted(DataDir(tmp_path), Position(2, 1_000))
        assert 0 < ledger.backlog_bytes() < behind
        note_posted(DataDir(tmp_path), end)
        assert ledger.backlog_bytes() == 0


def test_a_second_owner_is_refused(tmp_path: Path) -> None:
    """Two gateways on one data directory would each spend the whole budget."""
    with ledger_in(tmp_path), pytest.raises(DataError, match="is in use by process"):
        Ledger.open(tmp_path, make.AT_NS)
    with ledger_in(tmp_path):
        pass


def test_a_newer_format_is_refused_and_the_lock_given_up(tmp_path: Path) -> None:
    """An older entrepot does not write into what it cannot read."""
    with ledger_in(tmp_path):
        pass
    DataDir(tmp_path).format_file.write_text(f"{FORMAT + 1}\n")
    with pytest.raises(DataError, match=f"has format {FORMAT + 1}, this entrepot reads up to {FORMAT}"):
        Ledger.open(tmp_path, make.AT_NS)
    DataDir(tmp_path).format_file.write_text(f"{FORMAT}\n")
    with ledger_in(tmp_path):
        pass


def test_an_amount_that_no_attempt_can_cost_is_refused_before_it_counts(tmp_path: Path) -> None:
    """Sums of such amounts would pass what a snapshot can hold, and stop the journal for everybody."""
    with ledger_in(tmp_path) as ledger:
        refusal = ledger.reserve(make.reserve(1, 2**62))
        assert refusal is not None
        assert (refusal.http_status, refusal.code) == (400, "request_too_large")
        assert ledger.open_reservations == 0


def test_a_clock_that_steps_back_over_midnight_finds_the_old_day(tmp_path: Path) -> None:
    """What was spent of a day counts when its hours come again."""
    create_key(tmp_path, "alice", None, 1)
    set_budget_of(tmp_path, Scope.KEY, "alice", 1_000, 1, period=Period.DAY)
    day_ns = 86_400 * 10**9
    midnight_ns = make.AT_NS // day_ns * day_ns + day_ns
    with ledger_in(tmp_path) as ledger:
        ledger.refresh_keys()
        for number, at_ns in enumerate((midnight_ns - 1, midnight_ns)):
            reserve = msgspec.structs.replace(make.reserve(number, 1_000), at_ns=at_ns)
            assert ledger.reserve(reserve) is None
            assert ledger.settle(make.settle(number, 1_000)) is None
        again = msgspec.structs.replace(make.reserve(7, 1), at_ns=midnight_ns - 1)
        assert ledger.reserve(again) is not None
