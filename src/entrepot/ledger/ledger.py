"""The ledger as the gateway sees it: reserve, settle, void, expire, correct.

The order within each is the same: is it allowed, is it written, does it count. A fault in between leaves what
was true before. The store is not here: the gateway must go on when a database does not.
"""

from __future__ import annotations

import struct
import time
from pathlib import Path

import msgspec
from msgspec import Struct

from entrepot.domain.endpoint import Endpoint
from entrepot.domain.errors import DataError, Refusal
from entrepot.domain.outcome import Outcome
from entrepot.domain.prices import Prices
from entrepot.ledger.accounts.accounts import Accounts
from entrepot.ledger.accounts.senders import Sender
from entrepot.ledger.data_dir import DataDir, Lock, make_data_dir, upgrade_data_dir
from entrepot.ledger.entries import (
    NO_PRICE,
    NO_RULES,
    Balances,
    Conflict,
    ConflictReason,
    Correct,
    Entry,
    EntryId,
    Expire,
    ExpireReason,
    Feedback,
    NameEndpoint,
    NamePrices,
    NameRules,
    Refused,
    Reserve,
    Settle,
    Void,
    encode,
    encode_closing,
    encode_reserve,
    encode_settle,
    entry_id,
)
from entrepot.ledger.journal.journal import CLOSING_ROOM_BYTES, Journal, SyncData, recover, sync_data
from entrepot.ledger.journal.posted import posted_position
from entrepot.ledger.journal.segment import Position, segment_numbers, segment_path
from entrepot.ledger.keys.keys import Key, KeyRing

SEGMENT_BYTES = 64 * 1024 * 1024
SYNC_INTERVAL_S = 0.02
MOST_NUSD = 2**55  # of one attempt, $36 million: more is a broken counter, and a store adds in 63 bits
REMEMBERED_CORRECTIONS = 10_000  # a few megabytes; a run of true-ups that is repeated is smaller

_BEYOND_BOOKING = Refusal(
    400,
    "invalid_request_error",
    "request_too_large",
    "this request could cost more than can be written down: ask for fewer choices or fewer output tokens",
)


class EndpointRef(Struct, frozen=True):
    """The numbers under which entries speak of an endpoint and its prices.

    `price_version` is that of the plain card; `versions` are those of the tariff's cards, in its order.
    """

    endpoint_id: int
    price_version: int
    versions: tuple[int, ...] = ()


class Ledger:
    """The one owner of a data directory's money; made by `open`, for one thread.

    `journal` has the counters for metrics. `expired` is the number of reservations that a dead process left
    and that became *unknown, at most X* at the opening; `cut_bytes` the length of the entry that it
    had not finished.
    """

    def __init__(
        self,
        data_dir: DataDir,
        lock: Lock,
        now_ns: int,
        *,
        segment_bytes: int,
        sync_interval_s: float,
        sync: SyncData,
    ) -> None:
        recovered = recover(data_dir.journal)
        self.cut_bytes = 0 if recovered is None else recovered.cut_bytes
        self.balances = Balances() if recovered is None else recovered.balances
        self._data_dir = data_dir
        self._lock = lock
        self._opened_ns = now_ns
        self.keys = KeyRing(data_dir.keys)
        self.keys.refresh()
        self._accounts = Accounts(self.keys, self.balances, self._write, now_ns)
        self._corrections: dict[EntryId, Correct] = {}
        self._refs = _references(self.balances)
        self._rules = {entry.rules: entry.rules_id for entry in self.balances.rules.values()}
        self.journal = Journal(
            data_dir.journal,
            recovered,
            opening=lambda: encode(self.balances.snapshot()),
            now_ns=time.time_ns,
            segment_bytes=segment_bytes,
            sync_interval_s=sync_interval_s,
            sync=sync,
        )
        try:
            self.expired = self._expire_the_dead(now_ns)
        except BaseException:
            self.journal.close()
            raise

    @classmethod
    def open(
        cls,
        path: Path,
        now_ns: int,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        sync_interval_s: float = SYNC_INTERVAL_S,
        sync: SyncData = sync_data,
    ) -> Ledger:
        """Return the ledger of the data directory at `path`, made if it is not there, recovered if it is.

        Units: Unix nanoseconds, bytes, seconds.
        Raises: DataError when another process owns it, it is of a newer format, or it is damaged.
        """
        data_dir = make_data_dir(path)
        lock = Lock(path)
        try:
            upgrade_data_dir(path)
            return cls(
                data_dir,
                lock,
                now_ns,
                segment_bytes=segment_bytes,
                sync_interval_s=sync_interval_s,
                sync=sync,
            )
        except BaseException:
            lock.release()
            raise

    def close(self) -> None:
        """Bring everything to the disk and give the data directory up."""
        self.journal.close()
        self._lock.release()

    @property
    def path(self) -> Path:
        """Return the data directory."""
        return self._data_dir.path

    @property
    def open_reservations(self) -> int:
        """Return how many attempts are reserved and not closed."""
        return len(self.balances.open)

    def key(self, digest: bytes) -> Key | None:
        """Return the key whose secret has this SHA-256 digest, or None when there is none in use."""
        return self.keys.find(digest)

    def refresh_keys(self) -> bool:
        """Take over what was written to the log of keys since the last call; return whether anything was.

        Raises: DataError when the log is damaged; the keys that were known stay.
        """
        version = self.keys.version
        try:
            self.keys.refresh()
        finally:
            if self.keys.version != version:
                self._accounts.open_anew()
        return self.keys.version != version

    def sender(self, key: Key, tags: str | None) -> Sender | Refusal:
        """Return for whom a request with this key counts; `tags` are narrower ones that the client named.

        Raises: DataError when the journal cannot be written.
        """
        return self._accounts.senders.find(key, tags)

    def rules_id(self, rules: tuple[str, ...]) -> int:
        """Return the number of the rules that excluded endpoints, a new one when they were never seen.

        Raises: DataError when the journal cannot be written.
        """
        if not rules:
            return NO_RULES
        number = self._rules.get(rules)
        if number is None:
            number = max(self.balances.rules, default=NO_RULES) + 1
            self._write(NameRules(number, rules))
            self._rules[rules] = number
        return number

    def remaining_nusd(self, key_id: int) -> int | None:
        """Return what is left of a key's hard budget in total, below zero when passed; None without one."""
        return self._accounts.left_nusd(key_id)

    def warnings(self, reserve: Reserve) -> tuple[str, ...]:
        """Return what its sender should know of soft budgets that count a reservation."""
        return self._accounts.warnings((reserve.request_id, reserve.attempt))

    def keep_accounts(self, now_ns: int) -> None:
        """Report what was spent of the leases, and close the periods that are over.

        Units: Unix nanoseconds.
        """
        self._accounts.keep(now_ns)

    def register(self, endpoint: Endpoint) -> EndpointRef:
        """Return the numbers of an endpoint and its prices, new ones when any of its facts changed.

        Raises: DataError when the journal cannot be written.
        """
        facts = _facts(endpoint)
        endpoint_id = self._refs.get(facts)
        if endpoint_id is None:
            endpoint_id = max(self.balances.endpoints, default=0) + 1
            self._write(msgspec.structs.replace(facts, endpoint_id=endpoint_id))
            self._refs[facts] = endpoint_id
        plain, tariff = endpoint.prices, endpoint.tariff
        return EndpointRef(
            endpoint_id,
            NO_PRICE if plain is None else self._price_version(plain, endpoint_id),
            () if tariff is None else tuple(self._price_version(card, endpoint_id) for card in tariff.cards),
        )

    def _price_version(self, card: Prices, endpoint_id: int) -> int:
        prices = _named_prices(card, endpoint_id)
        version = self._refs.get(prices)
        if version is None:
            version = max(self.balances.prices, default=NO_PRICE) + 1
            self._write(msgspec.structs.replace(prices, price_version=version, at_ns=self._opened_ns))
            self._refs[prices] = version
        return version

    def reserve(self, entry: Reserve, likely_nusd: int = 0) -> Refusal | None:
        """Set money aside for an attempt, or return why not (402); nothing may be sent before this is None.

        The same entry again changes nothing. Soft budgets count `likely_nusd` of it meanwhile.
        Raises: DataError when the journal cannot be written; then nothing is reserved.
        """
        balances, attempt = self.balances, (entry.request_id, entry.attempt)
        if attempt in balances.open:
            conflict = balances.reserve(entry)
            return None if conflict is None else _duplicate(conflict)
        if self.journal.fault is not None:
            raise DataError(self.journal.fault)
        if entry.amount_nusd > MOST_NUSD:
            return _BEYOND_BOOKING
        try:
            body = encode_reserve(entry)
        except struct.error:
            return _BEYOND_BOOKING
        accounts = self._accounts
        if accounts.has_budgets:
            refusal = accounts.reserve(attempt, entry, likely_nusd)
            if refusal is not None:
                return refusal
        try:
            self.journal.append(body, (len(balances.open) + 1) * CLOSING_ROOM_BYTES)
        except BaseException:
            accounts.settle(attempt, 0)
            raise
        balances.opened(attempt, entry)
        return None

    def settle(self, entry: Settle) -> Conflict | None:
        """Book what an attempt cost, which may be more than was reserved.

        A report that no attempt can have caused (numbers beyond their fields) is booked as *unknown, at
        most* what was reserved. Returns a conflict when the attempt is not open.
        Raises: DataError when the journal cannot be written; the attempt stays open, so try again.
        """
        return self._close(entry, entry.bill.total_nusd)

    def void(self, entry: Void) -> Conflict | None:
        """Close an attempt that cost nothing; returns and raises as `settle` does."""
        return self._close(entry, 0)

    def expire(self, entry: Expire) -> Conflict | None:
        """Close an attempt as *unknown, at most X*; returns and raises as `settle` does."""
        return self._close(entry, 0, entry.at_most_nusd)

    def correct(self, entry: Correct) -> Conflict | None:
        """Book what became known of a closed attempt. It may pass a budget; admission then stops.

        The same correction again (at whatever instant) changes nothing, another one under its id is a
        conflict: by the memory of the last `REMEMBERED_CORRECTIONS`. For older ones ask the store.
        Raises: DataError when the journal cannot be written.
        """
        known = self._corrections.get(entry_id(entry))
        if known is not None:
            same = msgspec.structs.replace(entry, at_ns=known.at_ns) == known
            return None if same else Conflict(entry, ConflictReason.OTHER_CONTENT)
        conflict = self.balances.conflict_of(entry)
        if conflict is not None:
            return conflict
        payer = self._accounts.payer_of(entry)
        self._write(entry)
        self._corrections[entry_id(entry)] = entry
        if len(self._corrections) > REMEMBERED_CORRECTIONS:
            del self._corrections[next(iter(self._corrections))]
        self._accounts.add(payer, entry.bill.total_nusd - entry.unknown_nusd)
        return None

    def note(self, entry: Feedback | Refused) -> None:
        """Write down what a client says of an answer or a task, or that rules refused its request.

        Raises: DataError when the journal cannot be written.
        """
        self._write(entry)

    def backlog_bytes(self) -> int:
        """Return how much of the journal is not in the store yet. Reads files, so not for each request."""
        posted = posted_position(self._data_dir) or Position(0, 0)
        number, offset = self.journal.position
        if posted.segment == number:
            return offset - posted.offset
        sizes = {
            closed: segment_path(self._data_dir.journal, closed).stat().st_size
            for closed in segment_numbers(self._data_dir.journal)
            if posted.segment <= closed < number
        }
        return sum(sizes.values()) - posted.offset + offset

    def _close(
        self, entry: Settle | Void | Expire, spent_nusd: int, unknown_nusd: int = 0
    ) -> Conflict | None:
        balances, attempt = self.balances, (entry.request_id, entry.attempt)
        reserve = balances.open.get(attempt)
        if reserve is None or reserve.key_id != entry.key_id:
            return balances.close(entry)
        if spent_nusd > MOST_NUSD:
            return self.expire(_unbelievable(reserve, entry))
        try:
            body = encode_settle(entry) if isinstance(entry, Settle) else encode_closing(entry)
        except struct.error:
            return self.expire(_unbelievable(reserve, entry))
        self.journal.append(body)
        balances.closed(attempt, reserve, spent_nusd, unknown_nusd)
        if self._accounts.held:
            self._accounts.settle(attempt, spent_nusd + unknown_nusd)
        return None

    def _write(self, entry: Entry) -> None:
        self.journal.append(encode(entry), len(self.balances.open) * CLOSING_ROOM_BYTES)
        self.balances.apply(entry)

    def _expire_the_dead(self, now_ns: int) -> int:
        dead = tuple(self.balances.open.values())
        for reserve in dead:
            self.expire(_expired(reserve, now_ns, Outcome.FAILED, ExpireReason.GATEWAY_DIED))
        return len(dead)


def _expired(reserve: Reserve, at_ns: int, outcome: Outcome, reason: ExpireReason) -> Expire:
    return Expire(
        reserve.request_id,
        reserve.attempt,
        at_ns,
        reserve.key_id,
        reserve.endpoint_id,
        reserve.price_version,
        reserve.amount_nusd,
        outcome,
        reason,
    )


def _unbelievable(reserve: Reserve, entry: Settle | Void | Expire) -> Expire:
    return _expired(reserve, entry.at_ns, entry.outcome, ExpireReason.NO_REPORT)


def _facts(endpoint: Endpoint) -> NameEndpoint:
    return NameEndpoint(
        0,
        endpoint.name,
        endpoint.model,
        endpoint.host,
        endpoint.owner_country,
        endpoint.origin_country,
        endpoint.region,
        endpoint.simulated,
    )


def _named_prices(prices: Prices, endpoint_id: int) -> NamePrices:
    return NamePrices(
        NO_PRICE,
        endpoint_id,
        0,
        prices.input_nusd_per_mtok,
        prices.output_nusd_per_mtok,
        prices.cached_nusd_per_mtok,
        prices.cache_write_nusd_per_mtok,
        prices.request_nusd,
        prices.source,
        prices.checked,
        prices.cache_write_1h_nusd_per_mtok,
        prices.reasoning_nusd_per_mtok,
        prices.label,
    )


def _references(balances: Balances) -> dict[NameEndpoint | NamePrices, int]:
    """Return the number of each name that is known, by the name without its number."""
    numbers: dict[NameEndpoint | NamePrices, int] = {}
    for endpoint in balances.endpoints.values():
        numbers[msgspec.structs.replace(endpoint, endpoint_id=0)] = endpoint.endpoint_id
    for prices in balances.prices.values():
        numbers[msgspec.structs.replace(prices, price_version=NO_PRICE, at_ns=0)] = prices.price_version
    return numbers


def _duplicate(conflict: Conflict) -> Refusal:
    return Refusal(409, "invalid_request_error", "duplicate_attempt", f"not reserved: {conflict.reason}")
