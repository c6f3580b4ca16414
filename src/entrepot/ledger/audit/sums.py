"""What each key, team, tag and endpoint used and cost, from the journal and from the store's entries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

from entrepot.domain.money import usd_text
from entrepot.ledger.audit.compare import HOUR_NS, kept_from_ns
from entrepot.ledger.audit.fold import AuditFold
from entrepot.ledger.audit.usage import MEASURES, AuditUsage
from entrepot.ledger.audit.view import StoreView

_LONGEST_REQUEST_HOURS = 2  # after which no attempt of a request is reserved that is older than an hour
_KINDS = ("key", "team", "tag", "endpoint")
_TOKENS = tuple(
    f"{kind}_tokens"
    for kind in ("uncached", "cached", "cache_write", "output", "reasoning", "cache_write_1h")
)
_MONEY = tuple(
    f"{line}_nusd"
    for line in ("uncached", "cached", "cache_write", "output", "request", "reasoning", "cache_write_1h")
)

_Number = tuple[str, int]  # what is summed, and its number


class Sums(Struct, frozen=True):
    """What a key, a team, a tag or an endpoint used and cost.

    Units: `tokens` uncached, cached, cache-write, output, reasoning, cache-write for an hour; nano-USD.
    `unknown_nusd` is not in `cost_nusd`.
    """

    attempts: int = 0
    tokens: tuple[int, ...] = (0, 0, 0, 0, 0, 0)
    cost_nusd: int = 0
    unknown_nusd: int = 0

    @property
    def prompt_and_output(self) -> int:
        """Return all tokens; reasoning is a part of the output."""
        uncached, cached, written, output, _reasoning, written_1h = self.tokens
        return uncached + cached + written + output + written_1h

    def plus(self, other: Sums) -> Sums:
        """Return both together."""
        return Sums(
            self.attempts + other.attempts,
            tuple(have + more for have, more in zip(self.tokens, other.tokens, strict=True)),
            self.cost_nusd + other.cost_nusd,
            self.unknown_nusd + other.unknown_nusd,
        )

    def text(self) -> str:
        """Return the sums in words."""
        tokens = "/".join(map(str, self.tokens))
        unknown = f", unknown at most ${usd_text(self.unknown_nusd)}" if self.unknown_nusd else ""
        return f"{self.attempts} attempts, {tokens} tokens, ${usd_text(self.cost_nusd)}{unknown}"


class Compared(Struct, frozen=True):
    """The sums of one key, team, tag or endpoint, from the journal and from the store.

    Keys, teams and tags have no name in either.
    """

    kind: str
    number: int
    name: str
    journal: Sums
    store: Sums


class _Counted(Struct, frozen=True):
    """Some sums, with whose they are."""

    endpoint_id: int
    key_id: int
    sender_id: int
    sums: Sums


def compared_sums(
    view: StoreView, usage: AuditUsage, fold: AuditFold, *, from_hour: int
) -> tuple[Compared, ...]:
    """Return the sums of each, of what was reserved from an hour on and is still in the store."""
    taken_ns = kept_from_ns(view)["reserves"]
    if taken_ns:
        from_hour = max(from_hour, taken_ns // HOUR_NS + _LONGEST_REQUEST_HOURS)
    named = {number: (sender.team_id, sender.tags) for number, sender in fold.balances.senders.items()}
    journal = _by_number(_in_journal(usage, from_hour), named)
    stored = _by_number(_in_store(view, from_hour * HOUR_NS), _stored_senders(view))
    numbers = sorted(journal.keys() | stored.keys(), key=lambda of: (_KINDS.index(of[0]), of[1]))
    return tuple(
        Compared(
            kind,
            number,
            fold.endpoint(number) if kind == "endpoint" else "",
            journal.get((kind, number), Sums()),
            stored.get((kind, number), Sums()),
        )
        for kind, number in numbers
    )


def _in_journal(usage: AuditUsage, from_hour: int) -> Iterator[_Counted]:
    for (hour, endpoint_id, key_id, sender_id, _), row in usage.hours.items():
        if hour >= from_hour:
            of = dict(zip(MEASURES, row.sums, strict=True))
            tokens = tuple(of[name] for name in _TOKENS)
            sums = Sums(of["attempts"], tokens, of["cost_nusd"], of["unknown_nusd"])
            yield _Counted(endpoint_id, key_id, sender_id, sums)


def _in_store(view: StoreView, from_ns: int) -> Iterator[_Counted]:
    tokens = ", ".join(f"sum({name})" for name in _TOKENS)
    cost = " + ".join(f"sum({name})" for name in _MONEY)
    of_reserve = "r.request_id = c.request_id AND r.attempt = c.attempt"
    attempts = """SELECT endpoint_id, key_id, sender_id, count(*) FROM reserves
        WHERE at_ns >= ? GROUP BY endpoint_id, key_id, sender_id"""
    closings = f"""SELECT c.endpoint_id, c.key_id, coalesce(r.sender_id, 0),
        {tokens}, {cost}, sum(unknown_nusd)
        FROM closings c LEFT JOIN reserves r ON {of_reserve}
        WHERE coalesce(r.at_ns, c.at_ns) >= ? GROUP BY c.endpoint_id, c.key_id, coalesce(r.sender_id, 0)"""
    corrections = f"""SELECT endpoint_id, key_id, sender_id, {tokens}, {cost}, -sum(unknown_nusd)
        FROM corrections WHERE reserved_ns >= ? GROUP BY endpoint_id, key_id, sender_id"""
    for endpoint_id, key_id, sender_id, count in view.execute(attempts, (from_ns,)):
        yield _Counted(endpoint_id, key_id, sender_id, Sums(attempts=count))
    for query in (closings, corrections):
        for endpoint_id, key_id, sender_id, *amounts in view.execute(query, (from_ns,)):
            *used, cost_nusd, unknown_nusd = map(int, amounts)
            yield _Counted(endpoint_id, key_id, sender_id, Sums(0, tuple(used), cost_nusd, unknown_nusd))


def _stored_senders(view: StoreView) -> dict[int, tuple[int, tuple[int, ...]]]:
    return {
        number: (team_id, tuple(map(int, tags.split(","))) if tags else ())
        for number, team_id, tags in view.execute("SELECT sender_id, team_id, tags FROM senders")
    }


def _by_number(
    counted: Iterable[_Counted], senders: Mapping[int, tuple[int, tuple[int, ...]]]
) -> dict[_Number, Sums]:
    of_three: dict[tuple[int, int, int], Sums] = {}
    for one in counted:
        three = (one.endpoint_id, one.key_id, one.sender_id)
        of_three[three] = of_three.get(three, Sums()).plus(one.sums)
    sums: dict[_Number, Sums] = {}
    for (endpoint_id, key_id, sender_id), more in of_three.items():
        team_id, tags = senders.get(sender_id, (0, ()))
        numbers = [("endpoint", endpoint_id), ("key", key_id), *(("tag", tag) for tag in tags)]
        for number in (*numbers, *((("team", team_id),) if team_id else ())):
            sums[number] = sums.get(number, Sums()).plus(more)
    return sums
