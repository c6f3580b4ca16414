"""Copies a data directory while it is in use, and makes one from such a copy.

The order makes the copy consistent, with no lock that a request or the poster could wait for: the store
first, then the journal, then the keys. So the journal has all that the store has, and the keys are all that
the journal speaks of. A copy made by `cp` has a torn database, or a store that is ahead of its journal.

The store is a SQLite file in every backup, wherever it was: one format, which can be read and restored
anywhere, with PostgreSQL's tools or without.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import sqlite3
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import msgspec
from msgspec import Struct

from entrepot.domain.errors import DataError
from entrepot.ledger.data_dir import DataDir, check_format, sync_directory
from entrepot.ledger.journal.archive import keeping_segments, read_seal
from entrepot.ledger.journal.reader import JournalReader
from entrepot.ledger.journal.seal import DIGEST_BYTES
from entrepot.ledger.journal.segment import Position, seal_path, segment_numbers, segment_path
from entrepot.ledger.store.place import PostgresDatabase, StorePlace, note_store_place, store_place
from entrepot.ledger.store.store import Store
from entrepot.ledger.store.table_copy import check_is_free, copy_store

MANIFEST = "manifest.json"
MANIFEST_FORMAT = 1
ARCHIVE_SUFFIXES = (".tar.gz", ".tgz")

_STORE = "ledger.sqlite"
_KNOWLEDGE = "knowledge.bin"
_NAMES = re.compile(
    r"journal/\d{8}\.(seg|seal)|[a-z][a-z0-9_-]*\.(sqlite|jsonl|bin|dump)|policy-[0-9a-f]+\.json|format|journal-id"
)
_CHUNK_BYTES = 1 << 20
_PRIVATE, _PRIVATE_FILE = 0o700, 0o600


class CopiedFile(Struct, frozen=True):
    """A file of a backup. `digest` is the BLAKE2b-256 of its content."""

    size_bytes: int
    digest: str


class Manifest(Struct, frozen=True):
    """What a backup holds: each file by its path in the data directory, and where its journal ends."""

    format: int
    made_at: str
    journal_end: tuple[int, int] | None
    files: dict[str, CopiedFile]


class _Source(Protocol):
    """What bytes are read from."""

    def read(self, size_bytes: int = ..., /) -> bytes:
        """Return so many bytes, fewer at the end."""


class _Sink(Protocol):
    """Where the files of a backup go."""

    def put(self, name: str, source: _Source, size_bytes: int) -> None:
        """Write a file of the first bytes of a source; OSError when it has fewer."""


def back_up(data_dir: Path, target: Path, made_at: datetime) -> Manifest:
    """Copy a data directory, in use or not, to a new directory, or a file that ends in `.tar.gz` or `.tgz`.

    The target is there when it is whole. Where the store is, and with which password, is not in it.
    Raises: DataError when the target exists, cannot be written, or something that is copied is damaged;
    StoreAway when the store's database cannot be read now.
    """
    check_format(data_dir)
    is_file = target.name.endswith(ARCHIVE_SUFFIXES)
    _check_is_free(target, may_be_empty_directory=not is_file)
    directory = DataDir(data_dir)
    part = _part_of(target)
    try:
        with _sink(part, is_file=is_file) as sink, keeping_segments(directory):
            files = _Files(sink)
            _copy_store(store_place(directory), files, target.parent)
            end = _copy_journal(directory.journal, files)
            _copy_rest(directory, files)
            manifest = Manifest(MANIFEST_FORMAT, _instant_text(made_at), end, files.copied)
            content = msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
            sink.put(MANIFEST, io.BytesIO(content), len(content))
        os.replace(part, target)
        sync_directory(target.parent)
    except OSError as error:
        raise DataError(f"{target} cannot be written: {error.strerror or error}") from error
    finally:
        _remove(part)
    return manifest


def restore(source: Path, data_dir: Path, store: PostgresDatabase | None = None) -> Manifest:
    """Make the data directory at `data_dir`, absent or empty, from a backup; check each file by its digest.

    The rows of the store go into the database `store`, or stay in a SQLite file when it is None.
    Raises: DataError when the backup is not whole, or there is something at `data_dir` or in the database;
    StoreAway when that cannot be written now.
    """
    _check_is_free(data_dir, may_be_empty_directory=True)
    if store is not None:
        check_is_free(store)
    part = _part_of(data_dir)
    try:
        data_dir.parent.mkdir(parents=True, exist_ok=True)
        with _sink(part, is_file=False) as sink, _files_of(source) as files:
            manifest = _take(files, sink, source)
        check_format(part)
        with contextlib.suppress(FileNotFoundError):  # by which its age is known
            made_s = datetime.fromisoformat(manifest.made_at).timestamp()
            os.utime(part / _KNOWLEDGE, (made_s, made_s))
        if store is not None:
            _load_store(DataDir(part), store)
        os.replace(part, data_dir)
        sync_directory(data_dir.parent)
    except OSError as error:
        raise DataError(f"{source} cannot be restored to {data_dir}: {error.strerror or error}") from error
    finally:
        _remove(part)
    return manifest


def _copy_store(place: StorePlace, files: _Files, scratch: Path) -> None:
    with TemporaryDirectory(prefix=".entrepot-store-", dir=scratch) as directory:
        copied = Path(directory, _STORE)
        if isinstance(place, PostgresDatabase):
            copy_store(place, copied)
        elif place.exists():
            _copy_sqlite(place, copied)
        if copied.exists():
            files.put_path(_STORE, _one_file(copied))


def _copy_sqlite(store: Path, to: Path) -> None:
    """Copy page by page, which takes a store of any revision and a fraction of the time."""
    try:
        with closing(sqlite3.connect(store)) as source, closing(sqlite3.connect(to)) as target:
            source.backup(target)
    except sqlite3.Error as error:
        raise DataError(f"{store} cannot be copied: {error}") from error


def _one_file(store: Path) -> Path:
    """Return a SQLite file which is all of the store, until it is opened again."""
    with closing(sqlite3.connect(store)) as database:
        database.execute("PRAGMA journal_mode = DELETE")
    return store


def _load_store(directory: DataDir, store: PostgresDatabase) -> None:
    """Move the store of a directory that nobody uses into a database, and note there that it is in it."""
    if directory.store.exists():
        Store.open(directory.store).close()  # brings that of an older version to this one
        copy_store(directory.store, store)
        directory.store.unlink()
    note_store_place(directory, store.address)


def _copy_journal(journal: Path, files: _Files) -> Position | None:
    """Copy the segments up to the last whole entry, and the seals of all before the last."""
    numbers = segment_numbers(journal)
    if not numbers:
        return None
    newest = numbers[-1]
    for number in numbers[:-1]:
        _copy_segment(journal, number, files, is_newest=False)
    end = _copy_segment(journal, newest, files, is_newest=True)
    for number in range(1, newest):
        with contextlib.suppress(FileNotFoundError):
            files.put_path(f"journal/{seal_path(journal, number).name}", seal_path(journal, number))
    return Position(newest, end)


def _copy_segment(journal: Path, number: int, files: _Files, *, is_newest: bool) -> int:
    path = segment_path(journal, number)
    digest: str | None = None
    with path.open("rb") as source:
        if not is_newest and seal_path(journal, number).exists():
            seal = read_seal(journal, number)
            end, digest = seal.size_bytes, seal.digest
        else:
            with JournalReader(journal) as reader:
                end = reader.segment_end(number, closed=not is_newest)
        name = f"journal/{path.name}"
        files.put(name, source, end)
    if digest not in (None, files.copied[name].digest):
        raise DataError(f"{path} is not what its seal says: `entrepot data verify` tells where")
    return end


def _copy_rest(directory: DataDir, files: _Files) -> None:
    keys = directory.keys.read_bytes() if directory.keys.exists() else b""
    whole = keys[: keys.rfind(b"\n") + 1]  # a key that is being written is in the next backup
    if whole:
        files.put(directory.keys.name, io.BytesIO(whole), len(whole))
    for name in (_KNOWLEDGE, directory.format_file.name, directory.journal_id.name):
        with contextlib.suppress(FileNotFoundError):
            files.put_path(name, directory.path / name)
    for path in directory.policies:
        files.put_path(path.name, path)


def _take(found: Iterator[tuple[str, _Source, int]], sink: _Sink, source: Path) -> Manifest:
    """Write the files of a backup, and return its manifest, by which all of them were checked."""
    files = _Files(sink)
    manifest: Manifest | None = None
    for name, content, size_bytes in found:
        if name == MANIFEST:
            manifest = _manifest(content.read(size_bytes), source)
        elif _NAMES.fullmatch(name):
            files.put(name, content, size_bytes)
        else:
            raise DataError(f"{source} holds {name!r}, which no backup of entrepot has; nothing was restored")
    if manifest is None:
        raise DataError(f"{source} has no {MANIFEST}: it is no backup of entrepot, or not a whole one")
    for name in sorted(manifest.files.keys() | files.copied.keys()):
        if manifest.files.get(name) != files.copied.get(name):
            raise DataError(f"{source}: {name} is not what {MANIFEST} says; take another backup")
    return manifest


def _manifest(content: bytes, source: Path) -> Manifest:
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except ValueError as error:
        raise DataError(f"{source}: {MANIFEST} is damaged: {error}") from error
    if manifest.format > MANIFEST_FORMAT:
        raise DataError(
            f"{source} has format {manifest.format}, this entrepot reads up to {MANIFEST_FORMAT}: upgrade it"
        )
    return manifest


class _Files:
    """Puts files into a sink and notes what each was."""

    def __init__(self, sink: _Sink) -> None:
        self._sink = sink
        self.copied: dict[str, CopiedFile] = {}

    def put_path(self, name: str, path: Path) -> None:
        """Copy a whole file."""
        with path.open("rb") as source:
            self.put(name, source, os.fstat(source.fileno()).st_size)

    def put(self, name: str, source: _Source, size_bytes: int) -> None:
        """Copy the first bytes of a source."""
        hashing = _Hashing(source)
        self._sink.put(name, hashing, size_bytes)
        self.copied[name] = CopiedFile(size_bytes, hashing.hash.hexdigest())


class _Hashing:
    """A source that works out the digest of what is read from it."""

    def __init__(self, source: _Source) -> None:
        self._source = source
        self.hash = blake2b(digest_size=DIGEST_BYTES)

    def read(self, size_bytes: int = -1, /) -> bytes:
        """Return so many bytes of the source."""
        data = self._source.read(size_bytes)
        self.hash.update(data)
        return data


class _Directory:
    """A sink that is a directory; every file is on the disk when it is put."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.mkdir(mode=_PRIVATE)
        Path(path, "journal").mkdir(mode=_PRIVATE)

    def put(self, name: str, source: _Source, size_bytes: int) -> None:
        """Write a file of the first bytes of a source."""
        fd = os.open(self._path / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _PRIVATE_FILE)
        with open(fd, "wb") as file:
            left = size_bytes
            while left:
                data = source.read(min(left, _CHUNK_BYTES))
                if not data:
                    raise OSError(f"{name} ends {left} bytes too early")
                file.write(data)
                left -= len(data)
            file.flush()
            os.fsync(fd)


class _Tar:
    """A sink that is a compressed tar file."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar

    def put(self, name: str, source: _Source, size_bytes: int) -> None:
        """Write a member of the first bytes of a source."""
        member = tarfile.TarInfo(name)
        member.size, member.mode = size_bytes, _PRIVATE_FILE
        self._tar.addfile(member, source)


@contextlib.contextmanager
def _sink(path: Path, *, is_file: bool) -> Iterator[_Sink]:
    _remove(path)  # of a run that was killed
    if not is_file:
        yield _Directory(path)
        sync_directory(path)
        sync_directory(path / "journal")
        return
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _PRIVATE_FILE)
    with open(fd, "wb") as file:
        with tarfile.open(fileobj=file, mode="w:gz", compresslevel=6) as tar:
            yield _Tar(tar)
        file.flush()
        os.fsync(fd)


@contextlib.contextmanager
def _files_of(source: Path) -> Iterator[Iterator[tuple[str, _Source, int]]]:
    """Open a backup and give the name, the content and the size of each of its files."""
    if source.is_dir():
        yield _in_directory(source)
        return
    try:
        with tarfile.open(source, mode="r:gz") as tar:
            yield _in_tar(tar, source)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(f"{source} is not a whole backup: {error}") from error


def _in_directory(source: Path) -> Iterator[tuple[str, _Source, int]]:
    for path in sorted(source.rglob("*")):
        if not path.is_dir():
            with path.open("rb") as file:
                yield path.relative_to(source).as_posix(), file, os.fstat(file.fileno()).st_size


def _in_tar(tar: tarfile.TarFile, source: Path) -> Iterator[tuple[str, _Source, int]]:
    for member in tar:
        content = tar.extractfile(member) if member.isfile() else None
        if content is None:
            raise DataError(f"{source} holds {member.name!r}, which is not a file; nothing was restored")
        yield member.name, content, member.size


def _check_is_free(path: Path, *, may_be_empty_directory: bool) -> None:
    if may_be_empty_directory and path.is_dir() and not any(path.iterdir()):
        return
    if path.exists() or path.is_symlink():
        raise DataError(f"{path} is there already, and nothing is overwritten: move it away, or name another")


def _part_of(path: Path) -> Path:
    """Return where something is made before it gets its name."""
    return path.absolute().with_name(f".{path.name}.part")


def _remove(part: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if part.is_dir():
            shutil.rmtree(part)
        else:
            part.unlink()


def _instant_text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds")
