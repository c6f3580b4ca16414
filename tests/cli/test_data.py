"""`entrepot data`: backup, restore and verify, as a user calls them."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from entrepot.ledger.journal.archive import Retention
from entrepot.ledger.journal.segment import segment_path
from entrepot.ledger.store.poster import run
from tests.cli.command_line import entrepot
from tests.ledger.stores import address, new_schema
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


def test_a_store_goes_to_a_database_and_back_by_commands_that_show_no_password(
    data_dir: Path, tmp_path: Path
) -> None:
    """Its address is in a file; afterwards the journal and the store agree, and a hint names `[ledger]`."""
    backup, restored, file = tmp_path / "backup", tmp_path / "restored", tmp_path / "address"
    with new_schema() as schema:
        url = urlsplit(address(schema))
        host = url.netloc.rpartition("@")[2]
        file.write_text(url._replace(netloc=f"postgres:not-to-be-seen@{host}").geturl() + "\n")
        ran = [
            entrepot("data", "backup", backup, "--data-dir", data_dir),
            entrepot("data", "restore", backup, "--store-file", file, "--data-dir", restored),
            entrepot("ledger", "audit", "--stale-after-s", "1e15", "--data-dir", restored),
            entrepot("data", "restore", backup, "--store-file", file, "--data-dir", tmp_path / "again"),
            entrepot("data", "move-store", "--to", "sqlite", "--data-dir", restored),
            entrepot("ledger", "audit", "--stale-after-s", "1e15", "--data-dir", restored),
        ]
    assert [one.status for one in ran] == [0, 0, 0, 1, 0, 0]
    assert not [one for one in ran if "not-to-be-seen" in one.out + one.err]
    assert ", its store in postgresql://postgres@" in ran[1].out
    assert "name it as `store` in [ledger] of the configuration" in ran[1].err
    assert "name an empty database or schema, or drop the tables" in ran[3].err
    assert "its store is in the SQLite file now, " in ran[4].out
    assert "take `store` out of [ledger] of the configuration" in ran[4].err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--to", "postgresql://me:not-to-be-seen@127.0.0.1:1/db"), "--to holds a password, which others"),
        (("--to", "mysql://me@127.0.0.1/db"), "--to is not the address of a PostgreSQL database"),
        (("--to", "postgresql://me@127.0.0.1"), "--to names no database"),
        (("--store-file", "absent"), "--store-file: absent cannot be read: No such file"),
        (("--to", "sqlite", "--store-file", "absent"), "give --to or --store-file, not both"),
        ((), "say where to: --to postgresql://"),
    ],
)
def test_a_mistake_in_where_a_store_shall_be_is_said_before_anything_is_done(
    data_dir: Path, arguments: tuple[str, ...], says: str
) -> None:
    """One row per mistake: exit 2, and the address is not repeated."""
    ran = entrepot("data", "move-store", *arguments, "--data-dir", data_dir, columns=1000)
    assert ran.status == 2
    assert says in ran.err
    assert "not-to-be-seen" not in ran.err + ran.out


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
