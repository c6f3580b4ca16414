"""The poster moves every entry of the journal into the store exactly once, whatever happens to it."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from entrepot.domain.errors import DataError
from entrepot.ledger.data_dir import DataDir
from entrepot.ledger.entries import OfAttempt
from entrepot.ledger.journal.posted import posted_position
from entrepot.ledger.journal.segment import segment_numbers, segment_path
from entrepot.ledger.ledger import Ledger
from entrepot.ledger.store.poster import catch_up, poster_lock, run
from tests.ledger.posted import DEADLINE_S, expected, stored, until
from tests.ledger.stores import BOTH, data_dir_with
from tests.ledger.traffic import ENDPOINTS, START_NS, Traffic, write, write_requests

FOLLOW_IN_SMALL_BATCHES = """
import sys
from pathlib import Path
from entrepot.ledger.store.poster import run
run(Path(sys.argv[1]), follow=True, batch_entries=40)
"""


@pytest.fixture(params=BOTH)
def data_dir(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A data directory whose store is of either kind."""
    with data_dir_with(request.param, tmp_path) as directory:
        yield directory


def test_the_whole_journal_is_posted_over_all_segments(data_dir: Path) -> None:
    """What was written is what the store has, each once."""
    written = write_requests(data_dir, 300, segment_bytes=16 * 1024)
    assert len(segment_numbers(DataDir(data_dir).journal)) > 3
    assert run(data_dir, follow=False, batch_entries=100) > len(written)  # names and snapshots come on top
    assert stored(data_dir) == expected(written)


def test_a_second_run_posts_only_what_is_new(data_dir: Path) -> None:
    """The store remembers where it is."""
    first = write_requests(data_dir, 20, seed=1)
    run(data_dir, follow=False)
    assert run(data_dir, follow=False) == 0
    second = write_requests(data_dir, 20, seed=2)
    assert run(data_dir, follow=False) == len(second)
    assert stored(data_dir) == expected(first + second)


def test_the_gateway_learns_how_far_the_poster_is(data_dir: Path) -> None:
    """The note for the metric of the backlog is the end of the journal when all is posted."""
    write_requests(data_dir, 20)
    run(data_dir, follow=False)
    ledger = Ledger.open(data_dir, START_NS)
    assert ledger.backlog_bytes() == 0
    ledger.close()


@pytest.mark.parametrize("seed", range(2))
def test_kills_lose_nothing_and_double_nothing(data_dir: Path, seed: int) -> None:
    """SIGKILL at any moment, several times, while the journal grows: in the end each entry is there once."""
    rng = Random(seed)
    ledger = Ledger.open(data_dir, START_NS, segment_bytes=64 * 1024)
    traffic = Traffic(seed, tuple(map(ledger.register, ENDPOINTS)))
    written: list[OfAttempt] = []
    killed_behind = 0
    for _ in range(4):
        for _ in range(rng.randrange(200, 400)):
            for entry in traffic.request():
                write(ledger, entry)
                written.append(entry)
        before = posted_position(DataDir(data_dir))
        poster = subprocess.Popen([sys.executable, "-c", FOLLOW_IN_SMALL_BATCHES, str(data_dir)])
        until(lambda before=before: posted_position(DataDir(data_dir)) != before, "a batch is posted")
        for _ in range(rng.randrange(20_000)):
            pass  # the kill lands anywhere in a batch
        poster.kill()
        poster.wait()
        killed_behind += posted_position(DataDir(data_dir)) != ledger.journal.position
    ledger.close()
    assert killed_behind, "no kill came before the poster was done: make the batches smaller"
    run(data_dir, follow=False)
    assert stored(data_dir) == expected(written), f"seed {seed}"


def test_sigterm_ends_the_poster_after_its_batch(data_dir: Path) -> None:
    """The command ends by itself with status 0, and what it had posted is whole."""
    written = write_requests(data_dir, 50)
    command = [sys.executable, "-m", "entrepot", "ledger", "post", "--follow", "--data-dir", str(data_dir)]
    poster = subprocess.Popen(command)
    until(lambda: posted_position(DataDir(data_dir)) is not None, "a batch is posted")
    poster.send_signal(signal.SIGTERM)
    assert poster.wait(DEADLINE_S) == 0
    assert stored(data_dir) == expected(written)


def test_a_locked_database_is_tried_again_and_said_so(tmp_path: Path) -> None:
    """Another process that holds the database costs time, and no entry."""
    first = write_requests(tmp_path, 5, seed=1)
    run(tmp_path, follow=False)
    second = write_requests(tmp_path, 5, seed=2)
    other = sqlite3.connect(DataDir(tmp_path).store, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    said: list[str] = []

    def give_way(message: str) -> None:
        said.append(message)
        if other.in_transaction:
            other.execute("ROLLBACK")

    run(tmp_path, follow=False, say=give_way)
    other.close()
    assert len(said) == 2
    assert "ledger.sqlite cannot be used now (database is locked); nothing is lost" in said[0]
    assert said[1].startswith("the store can be used again after")
    assert stored(tmp_path) == expected(first + second)


def test_a_store_that_vanishes_is_made_anew_from_the_journal(tmp_path: Path) -> None:
    """A deleted database file is noticed while the poster runs: it does not go on writing to nowhere."""
    first = write_requests(tmp_path, 20, seed=1)
    stop = threading.Event()
    poster = threading.Thread(target=run, args=(tmp_path,), kwargs={"follow": True, "stop": stop})
    poster.start()
    try:
        until(lambda: posted_position(DataDir(tmp_path)) is not None, "the first entries are posted")
        for path in tmp_path.glob("ledger.sqlite*"):
            path.unlink()
        second = write_requests(tmp_path, 20, seed=2)
        assert catch_up(tmp_path)
    finally:
        stop.set()
        poster.join()
    assert stored(tmp_path) == expected(first + second)


def test_a_reader_posts_what_is_left_when_no_poster_runs(data_dir: Path) -> None:
    """A report covers all that was in the journal when it was asked for."""
    written = write_requests(data_dir, 20)
    assert catch_up(data_dir)
    assert stored(data_dir) == expected(written)


def test_a_reader_waits_for_the_poster_that_runs(data_dir: Path) -> None:
    """Two processes never post at once; the reader waits until the other is where the journal was."""
    written = write_requests(data_dir, 200)
    stop = threading.Event()
    arguments = {"follow": True, "stop": stop, "batch_entries": 20}
    poster = threading.Thread(target=run, args=(data_dir,), kwargs=arguments)
    poster.start()
    try:
        assert catch_up(data_dir)
        assert stored(data_dir) == expected(written)
    finally:
        stop.set()
        poster.join()


def test_a_reader_does_not_wait_for_ever(tmp_path: Path) -> None:
    """A poster that hangs delays a report by a bounded time; the report then says that it is behind."""
    write_requests(tmp_path, 5)
    with poster_lock(DataDir(tmp_path)) as held:
        assert held
        assert not catch_up(tmp_path, patience_s=0.05)


def test_a_poster_waits_until_the_other_one_has_ended(data_dir: Path) -> None:
    """A gateway that restarts starts its poster while the old one may still be there."""
    written = write_requests(data_dir, 5)
    stop = threading.Event()
    with poster_lock(DataDir(data_dir)):
        poster = threading.Thread(target=run, args=(data_dir,), kwargs={"follow": True, "stop": stop})
        poster.start()
        assert posted_position(DataDir(data_dir)) is None
    try:
        until(lambda: posted_position(DataDir(data_dir)) is not None, "the second poster took over")
    finally:
        stop.set()
        poster.join()
    assert stored(data_dir) == expected(written)


def test_a_store_of_another_journal_is_refused(data_dir: Path) -> None:
    """A store that is ahead of the journal would hide new entries: it is refused with both places."""
    write_requests(data_dir, 20)
    run(data_dir, follow=False)
    shutil.rmtree(DataDir(data_dir).journal)
    write_requests(data_dir, 5, seed=9)
    with pytest.raises(DataError, match="where no entry of the journal"):
        run(data_dir, follow=False)


def test_a_damaged_store_is_said_to_be_damaged(tmp_path: Path) -> None:
    """It is not tried for ever, and the message says that nothing is lost."""
    write_requests(tmp_path, 5)
    DataDir(tmp_path).store.write_bytes(b"no database, but long enough to look like one" * 100)
    with pytest.raises(DataError, match=r"is damaged.*made anew from the journal"):
        run(tmp_path, follow=False)


def test_damage_in_the_journal_stops_the_poster_with_file_and_offset(tmp_path: Path) -> None:
    """Nothing is skipped in silence."""
    write_requests(tmp_path, 20)
    path = segment_path(DataDir(tmp_path).journal, 1)
    data = bytearray(path.read_bytes())
    data[2000] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"00000001\.seg is damaged at offset"):
        run(tmp_path, follow=False)


def test_a_directory_without_data_is_not_filled(tmp_path: Path) -> None:
    """A mistyped --data-dir gets a message and no files."""
    with pytest.raises(DataError, match="not a data directory"):
        catch_up(tmp_path / "typo")
    assert not (tmp_path / "typo").exists()
