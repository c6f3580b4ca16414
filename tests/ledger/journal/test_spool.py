"""The spool: whole records come out as they went in, whatever kills or fills what is between."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.domain.errors import DataError
from entrepot.ledger.journal.spool import (
    Content,
    Kind,
    Spool,
    SpoolRecord,
    TaskText,
    closed_file,
    records_in,
    spool_files,
)

RECORDS = (
    Content(b"1" * 16, 1, Kind.PROMPT, 7, 1_000, False, b'{"messages":[]}'),
    TaskText(99, 7, 1_000, "Bericht für März"),
    Content(b"1" * 16, 2, Kind.ANSWER, 7, 2_000, True, b"\x00\xff data: [DONE]\n\n"),
)


def taken(directory: Path) -> list[SpoolRecord]:
    """Return the records of all files whose writer is done."""
    records: list[SpoolRecord] = []
    for path in spool_files(directory):
        with closed_file(path) as data:
            records += [] if data is None else records_in(data)[0]
    return records


@contextmanager
def largest_file(size_bytes: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size: to the writer it looks as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_can_be_taken_only_once_its_writer_is_done(tmp_path: Path) -> None:
    """A reader that took a file that still grows would delete what comes after."""
    spool = Spool(tmp_path / "contents")
    for record in RECORDS:
        spool.append(record)
    assert taken(tmp_path / "contents") == []
    spool.close()
    assert taken(tmp_path / "contents") == list(RECORDS)
    assert (tmp_path / "contents").stat().st_mode & 0o777 == 0o700
    assert [path.stat().st_mode & 0o777 for path in spool_files(tmp_path / "contents")] == [0o600]


def test_a_killed_writer_leaves_a_file_that_can_be_taken(tmp_path: Path) -> None:
    """The kernel ends the lock with the process: nothing has to be cleared by hand after SIGKILL."""
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from entrepot.ledger.journal.spool import Spool, TaskText\n"
        "Spool(Path(sys.argv[1])).append(TaskText(1, 2, 3, 'killed'))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    # S603: the program is the one above
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert done.returncode == -9
    assert taken(tmp_path) == [TaskText(1, 2, 3, "killed")]


def test_a_file_is_handed_over_only_when_the_last_one_was_taken(tmp_path: Path) -> None:
    """While the database is away the files are few and large, not four a second."""
    spool = Spool(tmp_path)
    for number in range(3):
        spool.append(TaskText(number, 1, 1, "x"))
        spool.hand_over()
    assert len(spool_files(tmp_path)) == 2
    assert len(taken(tmp_path)) == 1
    spool_files(tmp_path)[0].unlink()
    spool.hand_over()
    assert len(taken(tmp_path)) == 2


def test_a_file_that_is_large_enough_is_closed(tmp_path: Path) -> None:
    """The poster writes a file in one transaction, so it may not grow for ever."""
    spool = Spool(tmp_path, file_bytes=100)
    for number in range(10):
        spool.append(Content(b"1" * 16, number, Kind.PROMPT, 1, 1, False, b"x" * 60))
    assert len(spool_files(tmp_path)) == 10
    assert len(taken(tmp_path)) == 10


def test_a_spool_that_nobody_empties_stops_to_grow(tmp_path: Path) -> None:
    """The disk is for the journal; the message says how much waits."""
    spool = Spool(tmp_path, file_bytes=100, most_waiting_bytes=250)
    for number in range(3):
        spool.append(Content(b"1" * 16, number, Kind.PROMPT, 1, 1, False, b"x" * 60))
    with pytest.raises(DataError, match="wait there for the store already"):
        spool.append(RECORDS[0])
    assert len(taken(tmp_path)) == 3
    spool_files(tmp_path)[0].unlink()
    spool.append(RECORDS[0])


def test_a_record_that_does_not_fit_on_the_disk_leaves_no_part_of_itself(tmp_path: Path) -> None:
    """What was there before stays whole, and what comes after is written again."""
    spool = Spool(tmp_path)
    spool.append(RECORDS[0])
    with (
        largest_file(4096),
        pytest.raises(DataError, match="cannot be written"),
    ):
        spool.append(Content(b"1" * 16, 1, Kind.ANSWER, 7, 1, False, bytes(5000)))
    assert [path.stat().st_size < 200 for path in spool_files(tmp_path)] == [True]
    spool.append(RECORDS[1])
    spool.close()
    assert taken(tmp_path) == list(RECORDS[:2])


@given(st.integers(0, 300), st.integers(0, 255))
def test_what_is_whole_is_read_from_a_torn_or_damaged_file(cut: int, change: int) -> None:
    """A prefix of the records comes out, never another record, and the rest is counted."""
    whole = bytearray(_file(RECORDS))
    at = min(cut, len(whole) - 1)
    torn = bytes(whole[:at])
    whole[at] ^= change
    for data in (torn, bytes(whole)):
        records, rest_bytes = records_in(data)
        assert records == list(RECORDS[: len(records)])
        assert len(_file(RECORDS[: len(records)])) + rest_bytes == len(data)
    assert records_in(_file(RECORDS)) == (list(RECORDS), 0)


def _file(records: tuple[SpoolRecord, ...]) -> bytes:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as directory:
        spool = Spool(Path(directory))
        for record in records:
            spool.append(record)
        spool.close()
        return b"".join(path.read_bytes() for path in spool_files(Path(directory)))
