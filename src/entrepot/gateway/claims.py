"""What rules may ask of a request: the key's declarations, and what its client adds in headers.

A header can only add a data class, a purpose, or a set of rules; there is none that takes one away, and none
that declares anything for the sender. A word that no rule here knows is refused: a client that asks for
protection and spells it wrong has to hear of it. Worked out once for each key and set of headers, not for
each request.
"""

from __future__ import annotations

from difflib import get_close_matches

from msgspec.structs import replace

from entrepot.catalog.settings import PolicySettings
from entrepot.domain.claims import NO_CLAIMS, Claims, claims_of
from entrepot.domain.errors import Refusal
from entrepot.gateway.exchange import Exchange
from entrepot.ledger.accounts.senders import Sender
from entrepot.ledger.keys.keys import KeyRing
from entrepot.routing.policy import PolicySet

DATA_CLASS = b"x-entrepot-data-class"
PURPOSE = b"x-entrepot-purpose"
RULES = b"x-entrepot-rules"
MOST_WORDS = 16  # of one header
MOST_BYTES = 256
MOST_HEADERS = 8
MOST_REMEMBERED = 10_000  # keys times what their clients add; each is a small value
_ADDING = frozenset({DATA_CLASS, PURPOSE, RULES})

_Added = tuple[tuple[bytes, bytes], ...]


class ClaimsReader:
    """Tells the facts of each request that `policy` asks for."""

    def __init__(self, policy: PolicySet, settings: PolicySettings, keys: KeyRing) -> None:
        self._policy = policy
        self._keys = keys
        self._known = {
            DATA_CLASS: policy.data_classes | frozenset(settings.data_classes),
            PURPOSE: policy.purposes | frozenset(settings.purposes),
            RULES: policy.rule_sets,
        }
        self._has_rules = any(rule.enforced for rule in policy.rules)
        self._found: dict[tuple[int, int, _Added], Claims] = {}
        self._version = keys.version

    def claims_of(self, exchange: Exchange, sender: Sender) -> Claims | Refusal:
        """Return the facts of a request, or why what its client adds cannot be understood."""
        added = tuple(header for header in exchange.headers if header[0] in _ADDING)
        if not added and not self._has_rules:
            return NO_CLAIMS
        if self._keys.version != self._version:
            self._found.clear()
            self._version = self._keys.version
        if len(added) > MOST_HEADERS:
            return _refusal(added[0][0], f"and its like came {len(added)} times; send at most {MOST_HEADERS}")
        asked = (sender.key.key_id, sender.sender_id, added)
        found = self._found.get(asked)
        if found is not None:
            return found
        claims = self._read(sender, added)
        if isinstance(claims, Claims):
            if len(self._found) >= MOST_REMEMBERED:
                self._found.clear()
            self._found[asked] = claims
        return claims

    def _read(self, sender: Sender, added: _Added) -> Claims | Refusal:
        key, ring = sender.key, self._keys
        tags = frozenset(ring.tags[tag] for tag in ring.with_wider(key.tags))
        claims = claims_of(key.claims, tags)
        own = {DATA_CLASS: key.claims.data_classes or (), PURPOSE: key.claims.purposes or (), RULES: ()}
        words: dict[bytes, set[str]] = {name: set() for name in _ADDING}
        for name, value in added:
            named = _words(name, value)
            if isinstance(named, Refusal):
                return named
            known = self._known[name] | frozenset(own[name])
            unknown = next((word for word in named if word not in known), None)
            if unknown is not None:
                return _unknown(name, unknown, known)
            words[name].update(named)
        return self._policy.relevant(
            replace(
                claims,
                added_data_classes=frozenset(words[DATA_CLASS]),
                added_purposes=frozenset(words[PURPOSE]),
                rule_sets=frozenset(words[RULES]),
            )
        )


def _words(name: bytes, value: bytes) -> list[str] | Refusal:
    words = [word for part in value.split(b",") if (word := part.decode("utf-8", "replace").strip().lower())]
    if len(value) > MOST_BYTES or len(words) > MOST_WORDS:
        return _refusal(name, f"has {len(value):,} bytes and {len(words)} words; send at most {MOST_WORDS}")
    return words


def _unknown(name: bytes, word: str, known: frozenset[str]) -> Refusal:
    near = get_close_matches(word, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(sorted(known)) or 'none'}"
    return _refusal(name, f"names {word[:60]!r}, which no rule here knows; {hint}")


def _refusal(name: bytes, what: str) -> Refusal:
    header = name.decode()
    return Refusal(400, "invalid_request_error", "invalid_value", f"the header {header} {what}", param=header)
