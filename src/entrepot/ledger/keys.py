"""API keys: a log of who may spend how much, of which only digests of the secrets are written.

An append-only file under a lock gives `key create` effect in a running gateway without a server to ask,
and reads back as one look-up in a dict. Names are here and not in the journal, so that they can be erased.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import msgspec
from msgspec import Struct

from entrepot.domain.errors import ConfigError, DataError
from entrepot.ledger.data_dir import DataDir, make_data_dir

SECRET_PREFIX = "sk-ent-"  # tells a reader of a leaked file what it is, and scanners what to look for
_SECRET_BYTES = 32
_PRIVATE_FILE = 0o600


class KeyCaps(Struct, frozen=True):
    """The largest values that a client with this key may ask for; None means as configured for all.

    Units: USD per hour, seconds.
    """

    usd_per_hour: float | None = None
    seconds: float | None = None


AS_CONFIGURED = KeyCaps()


class Key(Struct, frozen=True):
    """An API key as the gateway sees it.

    Units: `budget_nusd` nano-USD in total, None without a budget; `created_ns` Unix nanoseconds.
    """

    key_id: int
    name: str
    digest: bytes
    budget_nusd: int | None = None
    revoked: bool = False
    created_ns: int = 0
    caps: KeyCaps = AS_CONFIGURED


class _Created(Struct, frozen=True, tag="create", tag_field="event"):
    at_ns: int
    key_id: int
    name: str
    digest: str
    budget_nusd: int | None = None
    caps: KeyCaps = AS_CONFIGURED


class _Revoked(Struct, frozen=True, tag="revoke", tag_field="event"):
    at_ns: int
    key_id: int


class _Budgeted(Struct, frozen=True, tag="budget", tag_field="event"):
    at_ns: int
    key_id: int
    budget_nusd: int | None


class _Capped(Struct, frozen=True, tag="caps", tag_field="event"):
    at_ns: int
    key_id: int
    caps: KeyCaps


_Event = _Created | _Revoked | _Budgeted | _Capped
_decode_event = msgspec.json.Decoder(_Event).decode
_encode_event = msgspec.json.Encoder().encode


def digest_of(secret: str | bytes) -> bytes:
    """Return the digest by which a presented secret is looked up.

    SHA-256 alone is enough: the secrets have 256 random bits, so there is no guessing to slow down.
    """
    return sha256(secret.encode() if isinstance(secret, str) else secret).digest()


class KeyRing:
    """All keys of a data directory, as its log says; `refresh` picks up what was added to it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_bytes = 0
        self._inode = 0
        self.by_id: dict[int, Key] = {}
        self._by_digest: dict[bytes, Key] = {}

    def find(self, digest: bytes) -> Key | None:
        """Return the key with this digest, or None when there is none or it was revoked."""
        return self._by_digest.get(digest)

    def refresh(self) -> tuple[Key, ...]:
        """Return the keys that changed since the last call; costs one `stat` when nothing did.

        A last line without an end is being written, or was torn: it is left for the next call.
        Raises: DataError when a line is damaged; the keys before it are known.
        """
        try:
            status = os.stat(self._path)
        except FileNotFoundError:
            return ()
        if status.st_ino == self._inode and status.st_size == self._read_bytes:
            return ()
        if status.st_ino != self._inode or status.st_size < self._read_bytes:
            self._start_over(status.st_ino)
        with self._path.open("rb") as file:
            file.seek(self._read_bytes)
            data = file.read()
        changed: dict[int, Key] = {}
        for line in data[: data.rfind(b"\n") + 1].splitlines(keepends=True):
            key = self._apply(line)
            changed[key.key_id] = key
            self._read_bytes += len(line)
        return tuple(changed.values())

    def _start_over(self, inode: int) -> None:
        self._inode, self._read_bytes = inode, 0
        self.by_id.clear()
        self._by_digest.clear()

    def _apply(self, line: bytes) -> Key:
        try:
            event = _decode_event(line)
            key = self._after(event)
        except (msgspec.MsgspecError, ValueError, KeyError) as error:
            raise DataError(
                f"{self._path} is damaged at offset {self._read_bytes}: {error}; restore it from a backup"
            ) from error
        self.by_id[key.key_id] = key
        if key.revoked:
            self._by_digest.pop(key.digest, None)
        else:
            self._by_digest[key.digest] = key
        return key

    def _after(self, event: _Event) -> Key:
        match event:
            case _Created():
                return Key(
                    event.key_id,
                    event.name,
                    bytes.fromhex(event.digest),
                    event.budget_nusd,
                    created_ns=event.at_ns,
                    caps=event.caps,
                )
            case _Revoked():
                return msgspec.structs.replace(self.by_id[event.key_id], revoked=True)
            case _Budgeted():
                return msgspec.structs.replace(self.by_id[event.key_id], budget_nusd=event.budget_nusd)
            case _Capped():
                return msgspec.structs.replace(self.by_id[event.key_id], caps=event.caps)


class KeyLog:
    """The writing side of the log, to be had by `open_key_log` only; `ring` is up to date."""

    def __init__(self, path: Path, fd: int) -> None:
        self._path = path
        self._fd = fd
        self.ring = KeyRing(path)
        self._cut_torn_line()
        self.ring.refresh()

    def append(self, event: _Event) -> None:
        """Write an event and bring it to the disk."""
        os.write(self._fd, _encode_event(event) + b"\n")
        os.fsync(self._fd)

    def named(self, name_or_id: str) -> Key:
        """Return the key that is not revoked and has this name or number.

        Raises: ConfigError when there is none.
        """
        for key in self.ring.by_id.values():
            if not key.revoked and name_or_id in (key.name, str(key.key_id)):
                return key
        names = ", ".join(key.name for key in self.ring.by_id.values() if not key.revoked) or "none"
        raise ConfigError((f"no key is called {name_or_id!r}; keys in use: {names}",))

    def _cut_torn_line(self) -> None:
        data = self._path.read_bytes()
        if not data.endswith(b"\n"):
            os.ftruncate(self._fd, data.rfind(b"\n") + 1)


@contextlib.contextmanager
def open_key_log(data_dir: DataDir) -> Iterator[KeyLog]:
    """Hold the log of keys for writing; other writers wait, readers go on.

    The lock is on a file of its own, so that the log itself may be replaced (to erase names).
    """
    with (data_dir.path / "keys.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        fd = os.open(data_dir.keys, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _PRIVATE_FILE)
        try:
            yield KeyLog(data_dir.keys, fd)
        finally:
            os.close(fd)


def create_key(
    path: Path, name: str, budget_nusd: int | None, now_ns: int, *, caps: KeyCaps = AS_CONFIGURED
) -> str:
    """Make a key in the data directory at `path` and return its secret, which is written nowhere.

    Units: nano-USD; Unix nanoseconds.
    Raises: ConfigError when the name is empty or in use; DataError when the directory is unusable.
    """
    if not name.strip() or not name.isprintable():
        raise ConfigError((f"{name!r} is no name for a key: expected printable characters",))
    with open_key_log(make_data_dir(path)) as log:
        keys = log.ring.by_id
        if any(key.name == name and not key.revoked for key in keys.values()):
            raise ConfigError((f"a key is called {name!r} already: revoke it first, or choose another name",))
        secret = SECRET_PREFIX + urlsafe_b64encode(secrets.token_bytes(_SECRET_BYTES)).rstrip(b"=").decode()
        digest = digest_of(secret).hex()
        log.append(_Created(now_ns, max(keys, default=0) + 1, name, digest, budget_nusd, caps))
    return secret


def revoke_key(path: Path, name_or_id: str, now_ns: int) -> Key:
    """Revoke a key, and return it; a running gateway refuses it within a second.

    Raises: ConfigError when no key in use is called so.
    """
    with open_key_log(make_data_dir(path)) as log:
        key = log.named(name_or_id)
        log.append(_Revoked(now_ns, key.key_id))
    return msgspec.structs.replace(key, revoked=True)


def set_budget(path: Path, name_or_id: str, budget_nusd: int | None, now_ns: int) -> Key:
    """Set the budget of a key in total (None: no limit), and return it as it is now.

    Raises: ConfigError when no key in use is called so.
    """
    with open_key_log(make_data_dir(path)) as log:
        key = log.named(name_or_id)
        log.append(_Budgeted(now_ns, key.key_id, budget_nusd))
    return msgspec.structs.replace(key, budget_nusd=budget_nusd)


def set_caps(path: Path, name_or_id: str, caps: KeyCaps, now_ns: int) -> Key:
    """Set the largest values that clients with a key may ask for, and return it as it is now.

    Raises: ConfigError when no key in use is called so.
    """
    with open_key_log(make_data_dir(path)) as log:
        key = log.named(name_or_id)
        log.append(_Capped(now_ns, key.key_id, caps))
    return msgspec.structs.replace(key, caps=caps)


def list_keys(path: Path) -> tuple[Key, ...]:
    """Return all keys of a data directory, revoked ones included, ordered by number.

    Raises: DataError when the log is damaged.
    """
    ring = KeyRing(DataDir(path).keys)
    ring.refresh()
    return tuple(ring.by_id[key_id] for key_id in sorted(ring.by_id))
