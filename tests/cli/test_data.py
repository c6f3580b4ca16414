"""`entrepot data`: backup, restore and verify, as a user calls them."""

from __future__ import annotations

from pathlib import Path

import pytest

from entrepot.ledger.archive import Retention
from entrepot.ledger.poster import run
from entrepot.ledger.segment import segment_path
from tests.cli.command_line import entrepot
from tests.ledger.traffic import write_requests


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data directory with some sealed segments."""
    path = tmp_path / "data"
    write_requests(path, 200, segment_bytes=16 * 1024)
    run(path, follow=False)
    return path


def test_a_backup_is_restored_by_two_commands(data_dir: Path, tmp_path: Path) -> None:
    """Both say what they did; the second says of when the data are, and the audit of them passes."""
    backup, restored = tmp_path / "backup.tar.gz", tmp_path / "restored"
    first = entrepot("data", "backup", backup, "--data-dir", data_dir)
    assert (first.status, first.err) == (0, "")
    assert first.out.startswith(f"{backup}: ")
    second = entrepot("data", "restore", backup, "--data-dir", restored)
    assert second.status == 0
    assert ", as of 2" in second.out
    assert entrepot("ledger", "audit", "--stale-after-s", "1e15", "--data-dir", restored).status == 0


def test_what_is_there_is_not_overwritten(data_dir: Path, tmp_path: Path) -> None:
    """Exit 1, and what to do."""
    backup = tmp_path / "backup.tar.gz"
    entrepot("data", "backup", backup, "--data-dir", data_dir)
    for command in (("backup", backup), ("restore", backup)):
        ran = entrepot("data", *command, "--data-dir", data_dir)
        assert ran.status == 1
        assert "is there already, and nothing is overwritten" in ran.err


def test_a_directory_without_data_is_an_error(tmp_path: Path) -> None:
    """A mistyped --data-dir is said, and nothing is made."""
    for command in (("backup", tmp_path / "b.tar.gz"), ("verify",)):
        ran = entrepot("data", *command, "--data-dir", tmp_path / "typo")
        assert ran.status == 1
        assert "typo is not a data directory" in ran.err
    assert list(tmp_path.iterdir()) == []


def test_verify_names_the_first_file_that_differs_and_exits_1(data_dir: Path) -> None:
    """For scripts the status and JSON, for people the file and the place."""
    good = entrepot("data", "verify", "--data-dir", data_dir)
    assert (good.status, good.out[:4]) == (0, "ok: ")
    for number in (2, 3):
        path = segment_path(data_dir / "journal", number)
        data = path.read_bytes()
        path.write_bytes(data[:500] + bytes((data[500] ^ 1,)) + data[501:])
    bad = entrepot("data", "verify", "--data-dir", data_dir)
    assert bad.status == 1
    first, rest = bad.out.splitlines()
    assert first.startswith(f"FAILED: {segment_path(data_dir / 'journal', 2)} differs from its seal: ")
    assert rest == "and 1 more files differ"
    shown = entrepot("data", "verify", "--json", "--data-dir", data_dir)
    assert (shown.status, shown.json["ok"]) == (1, False)
    assert [found["segment"] for found in shown.json["segments"] if found["problem"]] == [2, 3]


def test_verify_reads_the_archive_when_it_is_named(data_dir: Path) -> None:
    """Without it, it says how many files it did not see."""
    run(data_dir, follow=False, retention=Retention(1e-9, data_dir / "old"))
    count = len(list((data_dir / "old").iterdir()))
    ran = entrepot("data", "verify", "--data-dir", data_dir)
    assert f"{count} are not here any more; name the --archive" in ran.out
    ran = entrepot("data", "verify", "--archive", "old", "--data-dir", data_dir)
    assert "not here" not in ran.out
    (data_dir / "old" / "00000001.seg.gz").write_bytes(b"")
    ran = entrepot("data", "verify", "--archive", "old", "--data-dir", data_dir)
    assert ran.status == 1
    assert "00000001.seg.gz" in ran.out


def test_post_takes_the_retention_of_the_configuration(data_dir: Path) -> None:
    """What the gateway's own poster is started with."""
    ran = entrepot("ledger", "post", "--keep-days", "1e-9", "--archive", "old", "--data-dir", data_dir)
    assert ran.status == 0
    assert (data_dir / "old" / "00000001.seg.gz").exists()
    assert not segment_path(data_dir / "journal", 1).exists()
