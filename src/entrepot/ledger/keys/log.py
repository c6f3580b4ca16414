"""Writes the log of keys: makes, revokes and limits keys, teams and tags, while a gateway runs or not.

A lock file of its own keeps writers apart, so that the log itself may be replaced (to erase a name).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec

from entrepot.domain.claims import UNDECLARED, KeyClaims
from entrepot.domain.errors import ConfigError
from entrepot.ledger.data_dir import DataDir, make_data_dir, write_atomically
from entrepot.ledger.entries import Scope
from entrepot.ledger.keys.budgets import Budget, Period
from entrepot.ledger.keys.events import (
    AS_CONFIGURED,
    Assigned,
    Budgeted,
    BudgetSet,
    Capped,
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
    encode_event,
)
from entrepot.ledger.keys.keys import TAG_SEPARATOR, Key, KeyRing, digest_of

SECRET_PREFIX = "sk-ent-"  # tells a reader of a leaked file what it is, and scanners what to look for
ERASED = "(erased)"
_SECRET_BYTES = 32
_PRIVATE_FILE = 0o600


class KeyLog:
    """The writing side of the log, to be had by `open_key_log` only; its `ring` is up to date at first."""

    def __init__(self, path: Path, fd: int) -> None:
        self._path = path
        self._fd = fd
        self.ring = KeyRing(path)
        self._cut_torn_line()
        self.ring.refresh()

    def append(self, event: Event) -> None:
        """Write an event and bring it to the disk."""
        os.write(self._fd, encode_event(event) + b"\n")
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

    def number(self, scope: Scope, name_or_id: str) -> int:
        """Return the number of a key, a team or a tag that is called so.

        Raises: ConfigError when there is none.
        """
        if scope is Scope.KEY:
            return self.named(name_or_id).key_id
        names = self.ring.teams if scope is Scope.TEAM else self.ring.tags
        for number, name in names.items():
            if name_or_id in (name, str(number)):
                return number
        known = ", ".join(names.values()) or "none"
        advice = f"make one with `entrepot {scope.value} create NAME`"
        raise ConfigError((f"no {scope.value} is called {name_or_id!r}; there are: {known}; {advice}",))

    def erase(self, key_id: int) -> None:
        """Write the log anew without the name of a key."""
        lines = self._path.read_bytes().splitlines()
        events = (decode_event(line) for line in lines)
        write_atomically(
            self._path, b"".join(encode_event(_without_name(event, key_id)) + b"\n" for event in events)
        )

    def _cut_torn_line(self) -> None:
        data = self._path.read_bytes()
        if not data.endswith(b"\n"):
            os.ftruncate(self._fd, data.rfind(b"\n") + 1)


@contextlib.contextmanager
def open_key_log(data_dir: DataDir) -> Iterator[KeyLog]:
    """Hold the log of keys for writing; other writers wait, readers go on."""
    with (data_dir.path / "keys.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        fd = os.open(data_dir.keys, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _PRIVATE_FILE)
        try:
            yield KeyLog(data_dir.keys, fd)
        finally:
            os.close(fd)


def create_key(
    path: Path,
    name: str,
    budget_nusd: int | None,
    now_ns: int,
    *,
    caps: KeyCaps = AS_CONFIGURED,
    team: str | None = None,
    tags: Collection[str] = (),
    usd_per_hour: float | None = None,
    claims: KeyClaims = UNDECLARED,
) -> str:
    """Make a key in the data directory at `path` and return its secret, which is written nowhere.

    Units: nano-USD; Unix nanoseconds; USD per hour of waiting.
    Raises: ConfigError when the name is empty or in use, or a team or tag is unknown; DataError when the
    directory is unusable.
    """
    _check_name(name, "key")
    with open_key_log(make_data_dir(path)) as log:
        keys = log.ring.by_id
        if any(key.name == name and not key.revoked for key in keys.values()):
            raise ConfigError((f"a key is called {name!r} already: revoke it first, or choose another name",))
        team_id = 0 if team is None else log.number(Scope.TEAM, team)
        tag_ids = tuple(log.number(Scope.TAG, tag) for tag in tags)
        secret = SECRET_PREFIX + urlsafe_b64encode(secrets.token_bytes(_SECRET_BYTES)).rstrip(b"=").decode()
        digest = digest_of(secret).hex()
        number = max(keys, default=0) + 1
        created = Created(
            now_ns, number, name, digest, budget_nusd, caps, team_id, tag_ids, usd_per_hour, claims
        )
        log.append(created)
    return secret


def revoke_key(path: Path, name_or_id: str, now_ns: int) -> Key:
    """Revoke a key, and return it; a running gateway refuses it within a second.

    Raises: ConfigError when no key in use is called so.
    """
    return _change(path, name_or_id, lambda key: Revoked(now_ns, key.key_id))


def set_budget(path: Path, name_or_id: str, budget_nusd: int | None, now_ns: int) -> Key:
    """Set the hard budget of a key in total (None: no limit), and return it as it is now.

    Raises: ConfigError when no key in use is called so.
    """
    return _change(path, name_or_id, lambda key: Budgeted(now_ns, key.key_id, budget_nusd))


def set_budget_of(
    path: Path,
    scope: Scope,
    name_or_id: str,
    amount_nusd: int | None,
    now_ns: int,
    *,
    period: Period,
    zone: str = "UTC",
    hard: bool = True,
) -> Budget | None:
    """Set what a key, a team or a tag may spend in a period (None: no limit), and return the budget.

    Raises: ConfigError when none is called so, or the time zone is unknown.
    """
    _check_zone(zone)
    with open_key_log(make_data_dir(path)) as log:
        number = log.number(scope, name_or_id)
        log.append(BudgetSet(now_ns, scope, number, period, amount_nusd, zone, hard))
    if amount_nusd is None:
        return None
    return Budget(scope, number, amount_nusd, period, zone, hard, name_or_id)


def set_caps(path: Path, name_or_id: str, caps: KeyCaps, now_ns: int) -> Key:
    """Set the largest values that clients with a key may ask for, and return it as it is now.

    Raises: ConfigError when no key in use is called so.
    """
    return _change(path, name_or_id, lambda key: Capped(now_ns, key.key_id, caps))


def set_value_of_time(path: Path, name_or_id: str, usd_per_hour: float | None, now_ns: int) -> Key:
    """Set what an hour of waiting is worth where a request of a key does not say so, and return the key.

    Units: USD per hour; None for the configured value.
    Raises: ConfigError when no key in use is called so.
    """
    return _change(path, name_or_id, lambda key: Valued(now_ns, key.key_id, usd_per_hour))


def set_limits(path: Path, name_or_id: str, limits: KeyLimits, now_ns: int) -> Key:
    """Set how much a key may ask for at once, and return it as it is now.

    Raises: ConfigError when no key in use is called so.
    """
    return _change(path, name_or_id, lambda key: Limited(now_ns, key.key_id, limits))


def set_storing(path: Path, name_or_id: str, now_ns: int, *, stored: bool) -> Key:
    """Say whether prompts and answers of a key are kept from here on, and return it as it is now.

    Raises: ConfigError when no key in use is called so.
    """
    return _change(path, name_or_id, lambda key: Storing(now_ns, key.key_id, stored))


def declare_key(path: Path, name_or_id: str, claims_of: Callable[[KeyClaims], KeyClaims], now_ns: int) -> Key:
    """Change what rules ask of the sender behind a key, and return it as it is now.

    `claims_of` gets what was declared before.
    Raises: ConfigError when no key in use is called so.
    """
    return _change(path, name_or_id, lambda key: Declared(now_ns, key.key_id, claims_of(key.claims)))


def assign_key(path: Path, name_or_id: str, team: str | None, tags: Collection[str], now_ns: int) -> Key:
    """Put a key into a team (None: into none), give it tags, and return it as it is now.

    Raises: ConfigError when a name is unknown.
    """
    with open_key_log(make_data_dir(path)) as log:
        team_id = 0 if team is None else log.number(Scope.TEAM, team)
        tag_ids = tuple(log.number(Scope.TAG, tag) for tag in tags)
        key = log.named(name_or_id)
        log.append(Assigned(now_ns, key.key_id, team_id, tag_ids))
        log.ring.refresh()
        return log.ring.by_id[key.key_id]


def create_team(path: Path, name: str, now_ns: int) -> int:
    """Make a team and return its number.

    Raises: ConfigError when the name cannot be shown or is in use.
    """
    with open_key_log(make_data_dir(path)) as log:
        number = _free_number(name, "team", log.ring.teams)
        log.append(TeamCreated(now_ns, number, name))
    return number


def create_tag(path: Path, name: str, now_ns: int) -> int:
    """Make a tag and return its number; `a/b` is narrower than `a`, and what counts for it counts for `a`.

    Raises: ConfigError when the name cannot be shown or is in use.
    """
    if any(not part.strip() for part in name.split(TAG_SEPARATOR)) or "," in name:
        raise ConfigError(
            (f"{name!r} is no name for a tag: expected a text such as research or research/eu",)
        )
    with open_key_log(make_data_dir(path)) as log:
        number = _free_number(name, "tag", log.ring.tags)
        log.append(TagCreated(now_ns, number, name))
    return number


def erase_key_name(path: Path, key_id: int) -> None:
    """Forget what a key, revoked or not, was called, and what was declared of its sender.

    Its number, digest and budgets stay.
    """
    with open_key_log(make_data_dir(path)) as log:
        log.erase(key_id)


def _change(path: Path, name_or_id: str, event_of: Callable[[Key], KeyChange]) -> Key:
    with open_key_log(make_data_dir(path)) as log:
        key = log.named(name_or_id)
        log.append(event_of(key))
        log.ring.refresh()
        return log.ring.by_id[key.key_id]


def _free_number(name: str, what: str, names: Mapping[int, str]) -> int:
    _check_name(name, what)
    if name in names.values():
        raise ConfigError((f"a {what} is called {name!r} already",))
    return max(names, default=0) + 1


def _check_name(name: str, what: str) -> None:
    if not name.strip() or not name.isprintable():
        raise ConfigError((f"{name!r} is no name for a {what}: expected printable characters",))
    if name.isdecimal():
        raise ConfigError((f"{name!r} is no name for a {what}: a number would be taken for that of another",))


def _check_zone(zone: str) -> None:
    try:
        ZoneInfo(zone)
    except (ValueError, OSError, KeyError):
        raise ConfigError(
            (f"{zone!r} is no time zone that is known here: expected a name such as Europe/Berlin or UTC",)
        ) from None


def _without_name(event: Event, key_id: int) -> Event:
    if isinstance(event, Created) and event.key_id == key_id:
        return msgspec.structs.replace(event, name=ERASED, claims=UNDECLARED)
    if isinstance(event, Declared) and event.key_id == key_id:
        return msgspec.structs.replace(event, claims=UNDECLARED)
    return event
