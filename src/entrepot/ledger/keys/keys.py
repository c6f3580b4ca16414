"""API keys, teams, tags and their budgets, as the log of keys says: who may spend how much.

An append-only file gives `key create` effect in a running gateway without a server to ask, and reads back as
one look-up in a dict. Only digests of the secrets are in it. Who writes it is in `keys.log`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path

import msgspec
from msgspec import Struct

from entrepot.domain.claims import UNDECLARED, KeyClaims
from entrepot.domain.errors import DataError
from entrepot.ledger.data_dir import DataDir
from entrepot.ledger.entries import Scope
from entrepot.ledger.keys.budgets import Budget, BudgetId, Period
from entrepot.ledger.keys.events import (
    AS_CONFIGURED,
    UNLIMITED,
    Assigned,
    Budgeted,
    BudgetSet,
    Capped,
    ChangeOfKey,
    Created,
    Declared,
    Event,
    KeyCaps,
    KeyChange,
    KeyLimits,
    Limited,
    Revoked,
    Storing,
    TagCreated,
    TeamCreated,
    Valued,
    decode_event,
)

TAG_SEPARATOR = "/"  # `marketing/summer` is narrower than `marketing`


class Key(Struct, frozen=True):
    """An API key as the gateway sees it.

    Units: `budget_nusd` nano-USD in total and hard, None without such a budget (`KeyRing.budgets` has all);
    `created_ns` Unix nanoseconds; `usd_per_hour` USD per hour of waiting for requests that name no value
    of time, None for the configured one. `team_id` is 0 for a key in no team; `tags` are those that it was
    given; `claims` are what rules ask of its sender.
    """

    key_id: int
    name: str
    digest: bytes
    budget_nusd: int | None = None
    revoked: bool = False
    created_ns: int = 0
    caps: KeyCaps = AS_CONFIGURED
    limits: KeyLimits = UNLIMITED
    team_id: int = 0
    tags: tuple[int, ...] = ()
    stores_contents: bool = False
    usd_per_hour: float | None = None
    claims: KeyClaims = UNDECLARED


def digest_of(secret: str | bytes) -> bytes:
    """Return the digest by which a presented secret is looked up.

    SHA-256 alone is enough: the secrets have 256 random bits, so there is no guessing to slow down.
    """
    return sha256(secret.encode() if isinstance(secret, str) else secret).digest()


class KeyRing:
    """All keys, teams, tags and budgets of a data directory; `refresh` picks up what was added to its log.

    `teams` and `tags` are names by number; `version` changes with every event that was taken over.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.version = 0
        self._inode = self._read_bytes = 0
        self.by_id: dict[int, Key] = {}
        self.teams: dict[int, str] = {}
        self.tags: dict[int, str] = {}
        self.budgets: dict[BudgetId, Budget] = {}
        self._by_digest: dict[bytes, Key] = {}

    def find(self, digest: bytes) -> Key | None:
        """Return the key with this digest, or None when there is none or it was revoked."""
        return self._by_digest.get(digest)

    def refresh(self) -> tuple[Key, ...]:
        """Return the keys that changed since the last call; costs one `stat` when nothing did.

        A last line without an end is being written, or was torn: it is left for the next call.
        Raises: DataError when a line is damaged; what stands before it is known.
        """
        try:
            status = os.stat(self._path)
        except FileNotFoundError:
            return ()
        if status.st_ino == self._inode and status.st_size == self._read_bytes:
            return ()
        if self._inode and (status.st_ino != self._inode or status.st_size < self._read_bytes):
            return self._read_anew()
        self._inode = status.st_ino
        with self._path.open("rb") as file:
            file.seek(self._read_bytes)
            data = file.read()
        changed: dict[int, Key] = {}
        for line in data[: data.rfind(b"\n") + 1].splitlines(keepends=True):
            key = self._apply(line)
            if key is not None:
                changed[key.key_id] = key
            self._read_bytes += len(line)
            self.version += 1
        return tuple(changed.values())

    def _read_anew(self) -> tuple[Key, ...]:
        """Read a log that was replaced; what is known stays unless all of it can be read."""
        anew = KeyRing(self._path)
        changed = anew.refresh()
        version = self.version + anew.version
        self.__dict__.update(anew.__dict__)
        self.version = version
        return changed

    def budgets_of(self, key: Key, tags: Iterable[int]) -> tuple[Budget, ...]:
        """Return every budget that counts a request with this key and these tags, named."""
        scopes = [(Scope.KEY, key.key_id, key.name)]
        if key.team_id:
            scopes.append((Scope.TEAM, key.team_id, self.teams[key.team_id]))
        scopes += [(Scope.TAG, tag, self.tags[tag]) for tag in tags]
        found = (
            (self.budgets.get(BudgetId(scope, number, period)), name)
            for scope, number, name in scopes
            for period in Period
        )
        return tuple(
            msgspec.structs.replace(budget, name=name) for budget, name in found if budget is not None
        )

    def with_wider(self, tags: Iterable[int]) -> tuple[int, ...]:
        """Return the tags and all above them that exist, in order: `a/b` is inside `a`."""
        numbers = {name: number for number, name in self.tags.items()}
        found: set[int] = set()
        for tag in tags:
            parts = self.tags[tag].split(TAG_SEPARATOR)
            names = (TAG_SEPARATOR.join(parts[:length]) for length in range(1, len(parts) + 1))
            found.update(numbers[name] for name in names if name in numbers)
        return tuple(sorted(found))

    def _apply(self, line: bytes) -> Key | None:
        try:
            event = decode_event(line)
            key = self._take(event)
        except (msgspec.MsgspecError, ValueError, KeyError) as error:
            raise DataError(
                f"{self._path} is damaged at offset {self._read_bytes}: {error}; restore it from a backup"
            ) from error
        if key is None:
            return None
        self.by_id[key.key_id] = key
        if key.revoked:
            self._by_digest.pop(key.digest, None)
        else:
            self._by_digest[key.digest] = key
        return key

    def _take(self, event: Event) -> Key | None:
        """Take over an event; return the key that it changed, as it is now, or None."""
        match event:
            case TeamCreated():
                self.teams[event.team_id] = event.name
                return None
            case TagCreated():
                self.tags[event.tag_id] = event.name
                return None
            case BudgetSet():
                return self._set_budget(event)
            case Created():
                return self._created(event)
            case _:
                return self._changed(event)

    def _created(self, event: Created) -> Key:
        if event.budget_nusd is not None:
            self._total_of_key(event.key_id, event.budget_nusd)
        return Key(
            event.key_id,
            event.name,
            bytes.fromhex(event.digest),
            event.budget_nusd,
            created_ns=event.at_ns,
            caps=event.caps,
            team_id=event.team_id,
            tags=event.tags,
            claims=event.claims,
            usd_per_hour=event.usd_per_hour,
        )

    def _changed(self, event: KeyChange) -> Key:
        if isinstance(event, Created):
            return self._created(event)
        if isinstance(event, Budgeted):
            self._total_of_key(event.key_id, event.budget_nusd)
        return msgspec.structs.replace(self.by_id[event.key_id], **_changed_fields(event))

    def _total_of_key(self, key_id: int, amount_nusd: int | None) -> None:
        self._set_budget(BudgetSet(0, Scope.KEY, key_id, Period.TOTAL, amount_nusd))

    def _set_budget(self, event: BudgetSet) -> Key | None:
        of = BudgetId(event.scope, event.number, event.period)
        if event.amount_nusd is None:
            self.budgets.pop(of, None)
        else:
            self.budgets[of] = Budget(*of[:2], event.amount_nusd, of.period, event.zone, event.hard)
        key = self.by_id.get(event.number) if event.scope is Scope.KEY else None
        if key is None or event.period is not Period.TOTAL:
            return key
        return msgspec.structs.replace(key, budget_nusd=event.amount_nusd if event.hard else None)


def _changed_fields(event: ChangeOfKey) -> dict[str, object]:
    """Return the fields of a key that an event changes."""
    match event:
        case Revoked():
            return {"revoked": True}
        case Budgeted():
            return {"budget_nusd": event.budget_nusd}
        case Capped():
            return {"caps": event.caps}
        case Valued():
            return {"usd_per_hour": event.usd_per_hour}
        case Limited():
            return {"limits": event.limits}
        case Assigned():
            return {"team_id": event.team_id, "tags": event.tags}
        case Storing():
            return {"stores_contents": event.stored}
        case Declared():
            return {"claims": event.claims}


def ring_of(path: Path) -> KeyRing:
    """Return the keys, teams, tags and budgets of the data directory at `path`, as they are now.

    Raises: DataError when the log is damaged.
    """
    ring = KeyRing(DataDir(path).keys)
    ring.refresh()
    return ring


def list_keys(path: Path) -> tuple[Key, ...]:
    """Return all keys of a data directory, revoked ones included, ordered by number.

    Raises: DataError when the log is damaged.
    """
    ring = ring_of(path)
    return tuple(ring.by_id[key_id] for key_id in sorted(ring.by_id))


def list_teams(path: Path) -> Mapping[int, str]:
    """Return what each team is called, by its number."""
    return ring_of(path).teams


def list_tags(path: Path) -> Mapping[int, str]:
    """Return what each tag is called, by its number."""
    return ring_of(path).tags
