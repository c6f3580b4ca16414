"""One directory, one owner, one format."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from entrepot.domain.errors import ConfigError, DataError
from entrepot.ledger.data_dir import (
    FORMAT,
    DataDir,
    Lock,
    check_format,
    default_data_dir,
    make_data_dir,
    upgrade_data_dir,
)
from entrepot.ledger.journal.posted import note_posted, posted_position
from entrepot.ledger.journal.segment import Position


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"XDG_DATA_HOME": "/xdg", "HOME": "/me"}, "/xdg/entrepot"),
        ({"HOME": "/me"}, "/me/.local/share/entrepot"),
        ({"XDG_DATA_HOME": "", "HOME": "/me"}, "/me/.local/share/entrepot"),
        ({"XDG_DATA_HOME": "relative", "HOME": "/me"}, "/me/.local/share/entrepot"),
    ],
)
def test_the_default_directory_follows_xdg(environ: dict[str, str], expected: str) -> None:
    """An unset, empty or relative XDG_DATA_HOME means the default below the home directory."""
    assert default_data_dir(environ) == Path(expected)


def test_without_any_home_the_option_is_named() -> None:
    """A service account without a home is told what to pass."""
    with pytest.raises(ConfigError, match="--data-dir"):
        default_data_dir({})


def test_a_new_directory_is_private_and_has_a_format(tmp_path: Path) -> None:
    """Others on the machine read neither keys nor journal."""
    data_dir = make_data_dir(tmp_path / "a" / "b")
    assert stat.S_IMODE(data_dir.path.stat().st_mode) == 0o700
    assert stat.S_IMODE(data_dir.journal.stat().st_mode) == 0o700
    assert check_format(data_dir.path) == FORMAT
    assert make_data_dir(data_dir.path).path == data_dir.path, "making it again changes nothing"


def test_a_path_that_cannot_be_a_directory_is_a_data_error(tmp_path: Path) -> None:
    """The message names the path and the option."""
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="--data-dir"):
        make_data_dir(tmp_path / "file" / "data")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (f"{FORMAT + 1}\n", f"has format {FORMAT + 1}, this entrepot reads up to {FORMAT}"),
        ("one\n", "holds 'one'"),
        (None, "is not a data directory"),
    ],
)
def test_a_directory_of_another_format_is_refused(
    tmp_path: Path, content: str | None, complaint: str
) -> None:
    """A newer format is refused naming both versions; what is no data directory is called so."""
    if content is not None:
        DataDir(tmp_path).format_file.write_text(content)
    with pytest.raises(DataError, match=complaint):
        check_format(tmp_path)


def test_an_older_directory_is_upgraded_step_by_step(tmp_path: Path) -> None:
    """Each step runs once, in order; a step that fails leaves the version that was reached."""
    data_dir = make_data_dir(tmp_path)
    steps: list[int] = []

    def broken(path: Path) -> None:
        raise OSError(f"{path} is full")

    upgrades = {FORMAT: lambda _: steps.append(FORMAT), FORMAT + 1: broken}
    with pytest.raises(OSError, match="is full"):
        upgrade_data_dir(tmp_path, upgrades=upgrades, supported=FORMAT + 2)
    assert data_dir.format_file.read_text() == f"{FORMAT + 1}\n"
    upgrades[FORMAT + 1] = lambda _: steps.append(FORMAT + 1)
    assert upgrade_data_dir(tmp_path, upgrades=upgrades, supported=FORMAT + 2) == 1
    assert steps == [FORMAT, FORMAT + 1]
    with pytest.raises(DataError, match=f"has format {FORMAT + 2}"):
        make_data_dir(tmp_path)


def test_a_directory_that_is_too_old_is_refused(tmp_path: Path) -> None:
    """When no step leads on, nothing is guessed."""
    make_data_dir(tmp_path)
    with pytest.raises(DataError, match="too old"):
        upgrade_data_dir(tmp_path, upgrades={}, supported=FORMAT + 1)


def test_a_second_owner_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    """The lock names its holder, also after an earlier holder left a longer number."""
    make_data_dir(tmp_path)
    DataDir(tmp_path).lock_file.write_text("12345678901234\n")
    lock = Lock(tmp_path)
    with pytest.raises(DataError, match=f"in use by process {os.getpid()}:"):
        Lock(tmp_path)
    lock.release()
    lock.release()
    Lock(tmp_path).release()


def test_the_lock_ends_with_its_process(tmp_path: Path) -> None:
    """A killed owner leaves no stale lock."""
    make_data_dir(tmp_path)
    program = (
        "import sys; from pathlib import Path; from entrepot.ledger.data_dir import Lock\n"
        "lock = Lock(Path(sys.argv[1])); sys.stdout.write('held\\n'); sys.stdout.flush(); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"held\n"
        with pytest.raises(DataError, match=f"process {owner.pid}:"):
            Lock(tmp_path)
        owner.kill()
    Lock(tmp_path).release()


def test_the_posters_note_comes_back(tmp_path: Path) -> None:
    """The backlog is measured from the position that the poster noted; a damaged note is none."""
    data_dir = make_data_dir(tmp_path)
    assert posted_position(data_dir) is None
    note_posted(data_dir, Position(3, 4711))
    assert posted_position(data_dir) == Position(3, 4711)
    data_dir.posted.write_bytes(b"?")
    assert posted_position(data_dir) is None
