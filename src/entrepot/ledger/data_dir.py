"""The one directory in which everything lives: its paths, its format version and its owner.

A lock file with only a process id would outlive a killed process; `flock` ends with its holder.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from entrepot.domain.errors import ConfigError, DataError

FORMAT = 1
Upgrade = Callable[[Path], None]
# From version n to n + 1. A step may run twice (a crash before the version was noted), so it must bear that.
UPGRADES: Mapping[int, Upgrade] = {}

_PRIVATE = 0o700
_PRIVATE_FILE = 0o600


class DataDir:
    """The paths in a data directory. Making the value touches no file."""

    __slots__ = ("path",)

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def journal(self) -> Path:
        """Return the directory of the journal's segments."""
        return self.path / "journal"

    @property
    def contents(self) -> Path:
        """Return the directory in which words of users wait for the store."""
        return self.path / "contents"

    @property
    def keys(self) -> Path:
        """Return the log of API keys."""
        return self.path / "keys.jsonl"

    @property
    def policies(self) -> list[Path]:
        """Return the sets of rules that were in force, each in a file under its version."""
        return sorted(self.path.glob("policy-*.json"))

    def policy(self, version: str) -> Path:
        """Return the file of a set of rules."""
        return self.path / f"policy-{version}.json"

    @property
    def store(self) -> Path:
        """Return the SQLite file that the poster fills."""
        return self.path / "ledger.sqlite"

    @property
    def store_file(self) -> Path:
        """Return the file that names the store when it is not that SQLite file; `store_place` reads it."""
        return self.path / "store"

    @property
    def journal_id(self) -> Path:
        """Return the file with the random id by which a store knows whose it is."""
        return self.path / "journal-id"

    @property
    def posted(self) -> Path:
        """Return the file in which the poster notes how far it came."""
        return self.path / "posted"

    @property
    def format_file(self) -> Path:
        """Return the file that holds the format version."""
        return self.path / "format"

    @property
    def lock_file(self) -> Path:
        """Return the file that the owner of the journal locks."""
        return self.path / "lock"


def default_data_dir(environ: Mapping[str, str]) -> Path:
    """Return `$XDG_DATA_HOME/entrepot`, or `~/.local/share/entrepot` when that is unset or relative.

    Raises: ConfigError when there is no home directory either.
    Source: XDG Base Directory Specification 0.8.
    """
    base = environ.get("XDG_DATA_HOME", "")
    if os.path.isabs(base):
        return Path(base, "entrepot")
    home = environ.get("HOME", "")
    if not home:
        raise ConfigError(("no data directory: neither XDG_DATA_HOME nor HOME is set; pass --data-dir",))
    return Path(home, ".local", "share", "entrepot")


def make_data_dir(path: Path) -> DataDir:
    """Return the data directory at `path`, made if it is not there; private to its owner.

    Raises: DataError when it cannot be made, or was written by a newer entrepot.
    """
    data_dir = DataDir(path)
    try:
        path.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
        data_dir.journal.mkdir(mode=_PRIVATE, exist_ok=True)
        if not data_dir.format_file.exists():
            write_atomically(data_dir.format_file, f"{FORMAT}\n".encode())
    except OSError as error:
        raise DataError(
            f"data directory {path}: {error.strerror}; pass another one with --data-dir"
        ) from error
    check_format(path)
    return data_dir


def check_format(path: Path, *, supported: int = FORMAT) -> int:
    """Return the format version of a data directory.

    Raises: DataError when it is newer than `supported`, unreadable, or not there.
    """
    file = DataDir(path).format_file
    try:
        text = file.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        raise DataError(f"{path} is not a data directory of entrepot: it has no file `format`") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read: {error}") from error
    if not text.isdecimal():
        raise DataError(f"{file} holds {text[:20]!r}, expected a version number")
    version = int(text)
    if version > supported:
        raise DataError(
            f"data directory {path} has format {version}, this entrepot reads up to {supported}: "
            "upgrade entrepot, or restore a backup that it wrote"
        )
    return version


def upgrade_data_dir(
    path: Path, *, upgrades: Mapping[int, Upgrade] = UPGRADES, supported: int = FORMAT
) -> int:
    """Bring a data directory to the supported format, one version at a time, and return how many steps.

    The caller holds the lock.
    Raises: DataError when it is newer, or a step is missing.
    """
    version = first = check_format(path, supported=supported)
    while version < supported:
        step = upgrades.get(version)
        if step is None:
            raise DataError(
                f"data directory {path} has format {version}, too old: no way leads to {version + 1}"
            )
        step(path)
        version += 1
        write_atomically(DataDir(path).format_file, f"{version}\n".encode())
    return version - first


class Lock:
    """The ownership of a data directory, held until `release` or the end of the process.

    Raises: DataError when another process holds it; the message names its id.
    """

    def __init__(self, path: Path) -> None:
        file = DataDir(path).lock_file
        self._fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE_FILE)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._fd, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._fd)
            raise DataError(
                f"data directory {path} is in use by process {holder}: stop it, or pass another one with "
                "--data-dir"
            ) from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Give the ownership up; a second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def sync_directory(path: Path) -> None:
    """Bring the names in a directory to the disk.

    Raises: OSError when the disk did not keep them.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def journal_id(data_dir: DataDir) -> str:
    """Return the id of the journal, drawn when it is first asked for: 32 hexadecimal digits.

    Raises: DataError when the file holds something else.
    """
    file = data_dir.journal_id
    if not file.exists():
        write_atomically(file, f"{secrets.token_hex(16)}\n".encode())
    text = file.read_text(encoding="ascii", errors="replace").strip()
    if len(text) != 32 or text.strip("0123456789abcdef"):
        raise DataError(
            f"{file} holds {text[:40]!r}, expected 32 hexadecimal digits: restore it from a backup"
        )
    return text


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a small file so that every reader sees the old content or the new one, never a part."""
    fd, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(fd)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
