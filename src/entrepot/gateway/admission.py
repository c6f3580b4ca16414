"""Who asks, for whom it counts, and whether it may ask now: what is settled before anything is decided.

Everything that grants comes from the key. Headers of the client name a task and a conversation, or narrow a
tag; they cannot widen.
"""

from __future__ import annotations

from time import monotonic

import msgspec
from msgspec import Struct

from entrepot.catalog.settings import RequestCaps
from entrepot.domain.errors import DataError, Refusal
from entrepot.domain.ids import session_of, task_id_of
from entrepot.gateway.exchange import Exchange
from entrepot.gateway.limits import RateLimits
from entrepot.ledger.accounts.senders import Sender
from entrepot.ledger.entries import NO_TASK
from entrepot.ledger.keys.events import AS_CONFIGURED, UNLIMITED
from entrepot.ledger.keys.keys import Key, digest_of
from entrepot.ledger.ledger import Ledger
from entrepot.wire.body_wishes import Caps

TAG = b"x-entrepot-tag"
TASK = b"x-entrepot-task"
SESSION = b"x-entrepot-session"
MOST_TASK_BYTES = 256
MOST_SESSION_BYTES = 256
MOST_TAG_BYTES = 1024
_BEARER = b"bearer "

_NO_KEY = Refusal(
    http_status=401,
    type="authentication_error",
    code="missing_api_key",
    message="no API key: send `Authorization: Bearer sk-ent-…`; `entrepot key create` makes one",
)
_WRONG_KEY = Refusal(
    http_status=401,
    type="authentication_error",
    code="invalid_api_key",
    message="this API key is unknown or revoked; `entrepot key list` shows the valid ones",
)


class Labels(Struct, frozen=True):
    """What the client calls the task and the conversation of a request, as digests; 0 where it named none."""

    task_id: int
    session: int


_NO_LABELS = Labels(NO_TASK, 0)


class Admission:
    """Admits requests to one gateway."""

    def __init__(self, caps: RequestCaps, ledger: Ledger) -> None:
        self._caps = Caps(seconds=caps.seconds, usd_per_hour=caps.usd_per_hour)
        self._ledger = ledger
        self._limits = RateLimits()

    def key_of(self, exchange: Exchange) -> Key | Refusal:
        """Return the key that the exchange presents, or why it is refused."""
        presented = exchange.header(b"authorization")
        if presented is None or presented[:7].lower() != _BEARER:
            return _NO_KEY
        key = self._ledger.key(digest_of(presented[7:].strip()))
        return _WRONG_KEY if key is None else key

    def sender_of(self, exchange: Exchange) -> Sender | Refusal:
        """Return for whom a call counts, or why it is refused: no key, a tag of others, too many requests."""
        key = self.key_of(exchange)
        if isinstance(key, Refusal):
            return key
        refusal = self.ask(key)
        if refusal is not None:
            return refusal
        tags = exchange.header(TAG)
        if tags is not None and len(tags) > MOST_TAG_BYTES:
            return _too_long(TAG, tags, MOST_TAG_BYTES)
        try:
            return self._ledger.sender(key, None if tags is None else tags.decode("utf-8", "replace"))
        except DataError as error:
            return ledger_unavailable(error)

    def ask(self, key: Key) -> Refusal | None:
        """Count a request of a key, or return why it has to wait."""
        return None if key.limits is UNLIMITED else self._limits.ask(key, monotonic())

    def begin(self, key: Key, expected_tokens: int) -> Refusal | None:
        """Count a call as under way, or return why it has to wait; `end` has to follow unless it has to."""
        if key.limits is UNLIMITED:
            return None
        return self._limits.begin(key, expected_tokens, monotonic())

    def end(self, key: Key, expected_tokens: int, used_tokens: int) -> None:
        """Count a call as over."""
        if key.limits is not UNLIMITED:
            self._limits.end(key, expected_tokens, used_tokens, monotonic())

    def caps_of(self, key: Key) -> Caps:
        """Return the largest values that a request with this key may name."""
        if key.caps == AS_CONFIGURED:
            return self._caps
        own = {name: value for name, value in msgspec.structs.asdict(key.caps).items() if value is not None}
        return msgspec.structs.replace(self._caps, **own)


def labels_of(exchange: Exchange, key_id: int) -> Labels | Refusal:
    """Return what the client named of a request, or which name is too long."""
    task, session = exchange.header(TASK), exchange.header(SESSION)
    if task is None and session is None:
        return _NO_LABELS
    task, session = (task or b"").strip(), (session or b"").strip()
    if len(task) > MOST_TASK_BYTES:
        return _too_long(TASK, task, MOST_TASK_BYTES)
    if len(session) > MOST_SESSION_BYTES:
        return _too_long(SESSION, session, MOST_SESSION_BYTES)
    return Labels(
        task_id_of(key_id, task) if task else NO_TASK, session_of(key_id, session) if session else 0
    )


def _too_long(header: bytes, value: bytes, most: int) -> Refusal:
    return Refusal(
        400,
        "invalid_request_error",
        "invalid_value",
        f"the header {header.decode()} has {len(value):,} bytes; send at most {most:,}",
        param=header.decode(),
    )


def ledger_unavailable(error: DataError) -> Refusal:
    """Return the refusal while the journal cannot be written."""
    return Refusal(
        http_status=503,
        type="server_error",
        code="journal_unavailable",
        message=f"the ledger cannot be written, so nothing is sent: {error}",
        retry_after_s=5.0,
    )
