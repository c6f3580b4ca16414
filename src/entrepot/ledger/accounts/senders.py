"""For whom a request counts: its key, the key's team, and its tags, which a client may only narrow.

Tags that carry budgets come from the key. A header that could name any tag would let a client spend the money
of others, or leave its own budget; so it may only name a tag inside one that its key has: what counts for
`research/eu` counts for `research` too, and every other tag of the key goes on counting.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from entrepot.domain.errors import Refusal
from entrepot.domain.request import SenderFacts
from entrepot.ledger.entries import NO_SENDER, Balances, NameSender
from entrepot.ledger.keys.budgets import Budget
from entrepot.ledger.keys.keys import TAG_SEPARATOR, Key, KeyRing

MOST_REMEMBERED = 10_000  # keys times the tags that clients name; each is a small value
MOST_TAGS = 16  # of one request, wider ones included
MOST_SENDERS = 1_000  # of one key: each set of tags is named for ever, and every snapshot repeats it


class Sender(Struct, frozen=True):
    """For whom a request counts. `has_hard_budget` says that what it may cost has to be bounded.

    `facts` are what the choice goes by; its tag is the first that the client named, else the key's first.
    """

    sender_id: int
    key: Key
    has_hard_budget: bool
    has_soft_budget: bool
    facts: SenderFacts


class Senders:
    """Finds and numbers the senders of a ledger; `write` puts the name of a new one into the journal."""

    def __init__(self, keys: KeyRing, balances: Balances, write: Callable[[NameSender], None]) -> None:
        self._keys = keys
        self._balances = balances
        self._write = write
        self._found: dict[tuple[int, str | None], Sender] = {}
        self._numbers: dict[tuple[int, int, tuple[int, ...]], int] = {}

    def forget(self) -> None:
        """Forget what was found, since keys, teams, tags or budgets were changed."""
        self._found.clear()

    def find(self, key: Key, tags: str | None) -> Sender | Refusal:
        """Return for whom a request with this key counts when the client named these tags, or why it may not.

        Raises: DataError when the journal cannot be written.
        """
        found = self._found.get((key.key_id, tags))
        if found is not None:
            return found
        numbers = key.tags if tags is None else self._narrowed(key, tags)
        if isinstance(numbers, Refusal):
            return numbers
        counted = self._keys.with_wider(numbers)
        if len(counted) > MOST_TAGS:
            return _refusal(f"a request may count for at most {MOST_TAGS} tags, this one has {len(counted)}")
        number = self._number(key, counted)
        if number is None:
            return _refusal(
                f"requests of this key have named {MOST_SENDERS:,} sets of tags, which is the most"
            )
        budgets = self._keys.budgets_of(key, counted)
        sender = Sender(
            number,
            key,
            any(budget.hard for budget in budgets),
            any(not budget.hard for budget in budgets),
            SenderFacts(key.key_id, _task_tag(key, numbers), key.usd_per_hour),
        )
        if len(self._found) >= MOST_REMEMBERED:
            self._found.clear()
        self._found[(key.key_id, tags)] = sender
        return sender

    def budgets(self, key_id: int, sender_id: int) -> tuple[Budget, ...]:
        """Return every budget that counts an attempt of a sender; none when its key is not known any more."""
        key = self._keys.by_id.get(key_id)
        if key is None:
            return ()
        named = self._balances.senders.get(sender_id)
        if named is None:
            return self._keys.budgets_of(Key(key_id, key.name, b""), ())
        of = Key(key_id, key.name, b"", team_id=named.team_id if named.team_id in self._keys.teams else 0)
        return self._keys.budgets_of(of, (tag for tag in named.tags if tag in self._keys.tags))

    def _narrowed(self, key: Key, tags: str) -> tuple[int, ...] | Refusal:
        """Return the tags of the key, and behind them those that the client named."""
        names = {name: number for number, name in self._keys.tags.items()}
        own = {self._keys.tags[tag] for tag in key.tags}
        numbers = list(key.tags)
        for name in (part.strip() for part in tags.split(",")):
            if not any(name == tag or name.startswith(tag + TAG_SEPARATOR) for tag in own):
                allowed = ", ".join(sorted(own)) or "none"
                return _refusal(
                    f"this key may not use the tag {name[:60]!r}: it has {allowed}, and a request may only "
                    "name those or narrower ones"
                )
            if name not in names:
                return _refusal(
                    f"there is no tag {name[:60]!r}: make it with `entrepot tag create {name[:60]}`, "
                    "or leave the header out"
                )
            numbers.append(names[name])
        return tuple(numbers)

    def _number(self, key: Key, tags: tuple[int, ...]) -> int | None:
        """Return the number of a key with these tags, a new one if need be; None when it has too many."""
        if not key.team_id and not tags:
            return NO_SENDER
        if not self._numbers:
            self._numbers = {
                (of.key_id, of.team_id, of.tags): of.sender_id for of in self._balances.senders.values()
            }
        facts = (key.key_id, key.team_id, tags)
        number = self._numbers.get(facts)
        if number is None:
            if sum(of == key.key_id for of, _, _ in self._numbers) >= MOST_SENDERS:
                return None
            number = max(self._balances.senders, default=NO_SENDER) + 1
            self._write(NameSender(number, *facts))
            self._numbers[facts] = number
        return number


def _task_tag(key: Key, tags: tuple[int, ...]) -> int:
    """Return the tag whose habits a request is expected to have, 0 for none; `tags` begin with the key's."""
    named = tags[len(key.tags) :]
    return (named or tags or (0,))[0]


def _refusal(message: str) -> Refusal:
    return Refusal(403, "permission_error", "tag_not_allowed", message, param="x-entrepot-tag")
