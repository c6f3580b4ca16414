"""All that the ledger knows of one request, as one value, wherever it was read.

The gateway answers `/v1/generation` from the journal alone, in a thread; the command line asks the journal
first and then the store. Both get the same value, so this module knows nothing of a store: the gateway
may import it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Self

from msgspec import Struct

from entrepot.domain.ids import request_id_from_text
from entrepot.domain.prices import Bill
from entrepot.domain.usage import Usage
from entrepot.ledger.data_dir import DataDir
from entrepot.ledger.entries import (
    Balances,
    Closing,
    Correct,
    Entry,
    Expire,
    Kind,
    NameEndpoint,
    NamePrices,
    NameRules,
    Refused,
    Reserve,
    Settle,
    Snapshot,
    Void,
    decode,
)
from entrepot.ledger.journal.reader import JournalReader
from entrepot.ledger.journal.segment import (
    HEADER_BYTES,
    RECORD_HEAD,
    RECORD_HEAD_BYTES,
    body_at,
    segment_numbers,
    segment_path,
)
from entrepot.routing.decision import Decision, unpack, with_rule_names
from entrepot.routing.forbidden import Grounds, unpack_grounds

_NAMING_KINDS = (Kind.NAME_ENDPOINT, Kind.NAME_PRICES, Kind.NAME_RULES, Kind.SNAPSHOT)


class Names(Struct, frozen=True):
    """What the ids of endpoints, price versions and rules stand for."""

    endpoints: Mapping[int, NameEndpoint]
    prices: Mapping[int, NamePrices]
    rules: Mapping[int, tuple[str, ...]] = {}

    @classmethod
    def of(cls, balances: Balances) -> Self:
        """Return the names as they are now: a copy that another thread may read."""
        rules = {number: entry.rules for number, entry in tuple(balances.rules.items())}
        return cls(dict(balances.endpoints), dict(balances.prices), rules)


class AttemptHistory(Struct, frozen=True):
    """One attempt: what was reserved, how it closed, what was corrected later; with the names of its ids.

    `closing` is None while the attempt is open. `endpoint` and `prices` are None where nothing named them.
    """

    reserve: Reserve
    closing: Closing | None = None
    corrections: tuple[Correct, ...] = ()
    endpoint: NameEndpoint | None = None
    prices: NamePrices | None = None

    @property
    def price_version(self) -> int:
        """Return the version of the prices that the attempt is billed at."""
        return _price_version(self.reserve, self.closing)

    @property
    def bill(self) -> Bill:
        """Return the lines of the attempt with all corrections added. Units: nano-USD."""
        parts = [entry.bill for entry in self._amounts()]
        return Bill(
            uncached_nusd=sum(part.uncached_nusd for part in parts),
            cached_nusd=sum(part.cached_nusd for part in parts),
            cache_write_nusd=sum(part.cache_write_nusd for part in parts),
            output_nusd=sum(part.output_nusd for part in parts),
            request_nusd=sum(part.request_nusd for part in parts),
            reasoning_nusd=sum(part.reasoning_nusd for part in parts),
            cache_write_1h_nusd=sum(part.cache_write_1h_nusd for part in parts),
        )

    @property
    def usage(self) -> Usage:
        """Return the tokens of the attempt with all corrections added.

        The last entry says whether they are estimated or contradictory.
        """
        entries = self._amounts()
        parts = [entry.usage for entry in entries]
        return Usage(
            uncached_tokens=sum(part.uncached_tokens for part in parts),
            cached_tokens=sum(part.cached_tokens for part in parts),
            cache_write_tokens=sum(part.cache_write_tokens for part in parts),
            output_tokens=sum(part.output_tokens for part in parts),
            reasoning_tokens=sum(part.reasoning_tokens for part in parts),
            cache_write_1h_tokens=sum(part.cache_write_1h_tokens for part in parts),
            estimated=bool(parts) and parts[-1].estimated,
            contradictory=bool(parts) and parts[-1].contradictory,
        )

    @property
    def unknown_nusd(self) -> int:
        """Return what of the cost is *unknown, at most* this. Units: nano-USD."""
        at_most = self.closing.at_most_nusd if isinstance(self.closing, Expire) else 0
        return at_most - sum(correct.unknown_nusd for correct in self.corrections)

    def _amounts(self) -> list[Settle | Correct]:
        settled = [self.closing] if isinstance(self.closing, Settle) else []
        return [*settled, *self.corrections]


def _price_version(reserve: Reserve, closing: Closing | None) -> int:
    return closing.price_version if isinstance(closing, Settle) else reserve.price_version


class RequestHistory(Struct, frozen=True):
    """A request and its attempts, in the order in which they were made; there is at least one.

    `endpoints` names whatever the decision and the attempts refer to, as far as it is known, by endpoint id.
    `rules` are the names of what excluded endpoints, and of the version of the rules (`Decision.rules`).
    """

    request_id: bytes
    attempts: tuple[AttemptHistory, ...]
    endpoints: Mapping[int, NameEndpoint]
    rules: tuple[str, ...] = ()

    @property
    def key_id(self) -> int:
        """Return the id of the key that made the request."""
        return self.attempts[0].reserve.key_id

    @property
    def decision(self) -> bytes:
        """Return the packed decision, empty when it was not kept."""
        return next((attempt.reserve.decision for attempt in self.attempts if attempt.reserve.decision), b"")

    def read_decision(self) -> Decision | None:
        """Return the decision with the rules that it names, None when it was not kept.

        Raises: ValueError when what was kept is damaged, or of a version that we do not know.
        """
        packed = self.decision
        return with_rule_names(unpack(packed), self.rules) if packed else None

    @property
    def endpoint_names(self) -> dict[int, str]:
        """Return the names of the endpoints by their ids."""
        return {number: endpoint.name for number, endpoint in self.endpoints.items()}

    @property
    def cost_nusd(self) -> int:
        """Return what all attempts together cost, as far as it is known. Units: nano-USD."""
        return sum(attempt.bill.total_nusd for attempt in self.attempts)

    @property
    def unknown_nusd(self) -> int:
        """Return the most that the attempts of unknown cost can have cost. Units: nano-USD."""
        return sum(attempt.unknown_nusd for attempt in self.attempts)

    @property
    def final(self) -> AttemptHistory:
        """Return the last attempt, which is the one that the client saw."""
        return self.attempts[-1]

    @property
    def answer_ids(self) -> tuple[str, ...]:
        """Return the hosts' own ids of the answers."""
        closings = (attempt.closing for attempt in self.attempts)
        ids = (closing.answer_id for closing in closings if isinstance(closing, Settle))
        return tuple(found.decode("utf-8", "replace") for found in ids if found)


class RefusalHistory(Struct, frozen=True):
    """A request that rules kept from being served: there is no attempt, so there is no money.

    `endpoints` and `rules` as in `RequestHistory`.
    """

    entry: Refused
    endpoints: Mapping[int, NameEndpoint]
    rules: tuple[str, ...] = ()

    @property
    def request_id(self) -> bytes:
        """Return the id that the client was given."""
        return self.entry.request_id

    @property
    def key_id(self) -> int:
        """Return the id of the key that made the request."""
        return self.entry.key_id

    @property
    def endpoint_names(self) -> dict[int, str]:
        """Return the names of the endpoints by their ids."""
        return {number: endpoint.name for number, endpoint in self.endpoints.items()}

    def read_grounds(self) -> Grounds:
        """Return what the refusal was decided by.

        Raises: ValueError when what was kept is damaged, or of a version that we do not know.
        """
        return unpack_grounds(self.entry.grounds, self.rules)


def refusal_of(entries: Iterable[Entry], names: Names) -> RefusalHistory | None:
    """Return the refusal that is among the entries of one request, or None."""
    entry = next((entry for entry in entries if isinstance(entry, Refused)), None)
    return (
        None if entry is None else RefusalHistory(entry, names.endpoints, names.rules.get(entry.rules_id, ()))
    )


def history_of(entries: Iterable[Entry], names: Names) -> RequestHistory | None:
    """Return the history that the entries of one request tell, or None when they hold no reservation.

    Entries of other kinds, and those that come twice, change nothing.
    """
    reserves: dict[int, Reserve] = {}
    closings: dict[int, Closing] = {}
    corrections: dict[int, dict[int, Correct]] = {}
    for entry in entries:
        match entry:
            case Reserve():
                reserves.setdefault(entry.attempt, entry)
            case Settle() | Void() | Expire():
                closings.setdefault(entry.attempt, entry)
            case Correct():
                corrections.setdefault(entry.attempt, {}).setdefault(entry.correction_id, entry)
            case _:
                pass
    if not reserves:
        return None
    attempts = tuple(
        AttemptHistory(
            reserve,
            closings.get(number),
            tuple(sorted(corrections.get(number, {}).values(), key=_by_instant)),
            names.endpoints.get(reserve.endpoint_id),
            names.prices.get(_price_version(reserve, closings.get(number))),
        )
        for number, reserve in sorted(reserves.items())
    )
    first = attempts[0].reserve
    return RequestHistory(first.request_id, attempts, names.endpoints, names.rules.get(first.rules_id, ()))


Told = RequestHistory | RefusalHistory


def _by_instant(entry: Correct) -> tuple[int, int]:
    return (entry.at_ns, entry.correction_id)


def account(
    data_dir: Path, id_text: str, *, names: Names | None = None, key_id: int | None = None
) -> RequestHistory | None:
    """Return what the journal holds of a request that was served, as `told` finds it."""
    found = told(data_dir, id_text, names=names, key_id=key_id)
    return found if isinstance(found, RequestHistory) else None


def told(
    data_dir: Path, id_text: str, *, names: Names | None = None, key_id: int | None = None
) -> Told | None:
    """Return what the journal holds of a request, named by our id or by the host's own id of its answer.

    With `key_id` only requests of that key are found. Without `names` they are read from the journal, which a
    gateway spares itself. Blocks on reading files: call it in a thread.
    Raises: DataError when the journal is damaged.
    """
    entries = entries_of(data_dir, id_text, key_id=key_id)
    if not entries:
        return None
    known = names_in_journal(data_dir) if names is None else names
    history = history_of(entries, known) or refusal_of(entries, known)
    return None if history is None or key_id not in (None, history.key_id) else history


def entries_of(data_dir: Path, id_text: str, *, key_id: int | None = None) -> list[Entry]:
    """Return what the journal holds of a request, as `account` finds it, and what was said of its answer.

    Raises: DataError when the journal is damaged.
    """
    with JournalReader(DataDir(data_dir).journal) as reader:
        request_id = request_id_from_text(id_text)
        if request_id is None:
            settle = reader.find_answer_id(id_text.encode(), key_id=key_id)
            if settle is None:
                return []
            request_id = settle.request_id
        return reader.find(request_id)


def names_in_journal(data_dir: Path) -> Names:
    """Return all names that the journal has given.

    Each segment opens with a snapshot that repeats the names before it, so the last one has them all; its
    other entries are stepped over undecoded.
    """
    directory = DataDir(data_dir).journal
    numbers = segment_numbers(directory)
    endpoints: dict[int, NameEndpoint] = {}
    prices: dict[int, NamePrices] = {}
    rules: dict[int, tuple[str, ...]] = {}
    for entry in _naming_entries(segment_path(directory, numbers[-1])) if numbers else ():
        match entry:
            case Snapshot():
                endpoints.update((name.endpoint_id, name) for name in entry.endpoints)
                prices.update((name.price_version, name) for name in entry.prices)
                rules.update((name.rules_id, name.rules) for name in entry.rules)
            case NameEndpoint():
                endpoints[entry.endpoint_id] = entry
            case NamePrices():
                prices[entry.price_version] = entry
            case NameRules():
                rules[entry.rules_id] = entry.rules
            case _:
                pass
    return Names(endpoints, prices, rules)


def _naming_entries(segment: Path) -> Iterator[Entry]:
    data = segment.read_bytes()
    offset = HEADER_BYTES
    while offset + RECORD_HEAD_BYTES < len(data):
        length = RECORD_HEAD.unpack_from(data, offset)[0]
        if not length:
            return
        if data[offset + RECORD_HEAD_BYTES] in _NAMING_KINDS:
            body = body_at(data, offset)
            if body is None:
                return
            yield decode(body)
        offset += RECORD_HEAD_BYTES + length
