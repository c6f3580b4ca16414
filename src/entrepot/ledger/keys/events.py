"""The lines of the log of keys: one event for everything that an operator can say of keys, teams and tags.

Written to disk: a tag or a field never changes its meaning. Names are in this log alone and not in the
journal, so that they can be erased there.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from entrepot.domain.claims import UNDECLARED, KeyClaims
from entrepot.ledger.entries import Scope
from entrepot.ledger.keys.budgets import Period


class KeyCaps(Struct, frozen=True):
    """The largest values that a client with this key may ask for; None means as configured for all.

    Units: USD per hour, seconds.
    """

    usd_per_hour: float | None = None
    seconds: float | None = None


class KeyLimits(Struct, frozen=True):
    """How much a key may ask for at once; None is without a limit.

    Units: requests and tokens in any 60 seconds; requests under way.
    """

    requests_per_min: int | None = None
    tokens_per_min: int | None = None
    concurrent_requests: int | None = None


AS_CONFIGURED = KeyCaps()
UNLIMITED = KeyLimits()


class Created(Struct, frozen=True, tag="create", tag_field="event"):
    """A key was made.

    Units of all events: `at_ns` Unix nanoseconds, nano-USD, `usd_per_hour` USD per hour of waiting.
    """

    at_ns: int
    key_id: int
    name: str
    digest: str
    budget_nusd: int | None = None
    caps: KeyCaps = AS_CONFIGURED
    team_id: int = 0
    tags: tuple[int, ...] = ()
    usd_per_hour: float | None = None
    claims: KeyClaims = UNDECLARED


class Revoked(Struct, frozen=True, tag="revoke", tag_field="event"):
    """A key was ended."""

    at_ns: int
    key_id: int


class Budgeted(Struct, frozen=True, tag="budget", tag_field="event"):
    """A key got a hard budget in total, or lost it."""

    at_ns: int
    key_id: int
    budget_nusd: int | None


class BudgetSet(Struct, frozen=True, tag="budget-of", tag_field="event"):
    """A key, team or tag got a budget for a period, or lost it (no amount)."""

    at_ns: int
    scope: Scope
    number: int
    period: Period
    amount_nusd: int | None
    zone: str = "UTC"
    hard: bool = True


class Capped(Struct, frozen=True, tag="caps", tag_field="event"):
    """The caps of a key were set."""

    at_ns: int
    key_id: int
    caps: KeyCaps


class Valued(Struct, frozen=True, tag="value-of-time", tag_field="event"):
    """A key got a value of time for requests that name none, or lost it."""

    at_ns: int
    key_id: int
    usd_per_hour: float | None


class Limited(Struct, frozen=True, tag="limits", tag_field="event"):
    """The rate limits of a key were set."""

    at_ns: int
    key_id: int
    limits: KeyLimits


class Assigned(Struct, frozen=True, tag="assign", tag_field="event"):
    """A key was put into a team (0: none) and given tags."""

    at_ns: int
    key_id: int
    team_id: int
    tags: tuple[int, ...]


class Declared(Struct, frozen=True, tag="declare", tag_field="event"):
    """What rules ask of the sender behind a key was declared anew."""

    at_ns: int
    key_id: int
    claims: KeyClaims


class Storing(Struct, frozen=True, tag="store-contents", tag_field="event"):
    """From here on the prompts and answers of a key are kept, or are not."""

    at_ns: int
    key_id: int
    stored: bool


class TeamCreated(Struct, frozen=True, tag="create-team", tag_field="event"):
    """A team was made."""

    at_ns: int
    team_id: int
    name: str


class TagCreated(Struct, frozen=True, tag="create-tag", tag_field="event"):
    """A tag was made; `a/b` is narrower than `a`."""

    at_ns: int
    tag_id: int
    name: str


ChangeOfKey = Revoked | Budgeted | Capped | Valued | Limited | Assigned | Storing | Declared
KeyChange = Created | ChangeOfKey
Event = KeyChange | BudgetSet | TeamCreated | TagCreated
decode_event = msgspec.json.Decoder(Event).decode
encode_event = msgspec.json.Encoder().encode
