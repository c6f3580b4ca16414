"""How often rules refused whom: the requests that were not served, by rule and key.

Roll-ups hold what was used, and a refusal used nothing, so this reads the entries; there is a row for at most
some requests of a key and minute, however often it was refused.
"""

from __future__ import annotations

from msgspec import Struct
from sqlalchemy import ColumnElement, Connection, func, select

from entrepot.ledger.reports.usage_query import Window
from entrepot.ledger.store.tables import REFUSALS, RULES
from entrepot.routing.decision import RULE_PREFIX


class RefusalCount(Struct, frozen=True):
    """How many requests of a key a rule refused, and when the last one was written down.

    Units: Unix nanoseconds. A request that several rules kept from its endpoints counts for each.
    """

    rule: str
    key_id: int
    requests: int
    last_ns: int


def refusals(connection: Connection, window: Window) -> tuple[RefusalCount, ...]:
    """Return the refusals of a window, the most frequent first."""
    places = (REFUSALS.c.key_id, RULES.c.rules)
    sums = (func.sum(REFUSALS.c["count"]), func.max(REFUSALS.c.at_ns))
    named = REFUSALS.join(RULES, RULES.c.rules_id == REFUSALS.c.rules_id)
    query = select(*places, *sums).select_from(named).where(*_within(window)).group_by(*places)
    counts: dict[tuple[str, int], tuple[int, int]] = {}
    for key_id, names, requests, last_ns in connection.execute(query):
        for name in names.split(","):
            if name.startswith(RULE_PREFIX):
                place = (name.removeprefix(RULE_PREFIX), key_id)
                so_far, last_so_far = counts.get(place, (0, 0))
                counts[place] = (so_far + int(requests), max(last_so_far, last_ns))
    found = [RefusalCount(*place, *sums) for place, sums in counts.items()]
    return tuple(sorted(found, key=lambda count: (-count.requests, count.rule, count.key_id)))


def refused_requests(connection: Connection, window: Window) -> int:
    """Return how many requests rules refused in a window."""
    query = select(func.coalesce(func.sum(REFUSALS.c["count"]), 0)).where(*_within(window))
    return int(connection.execute(query).scalar_one())


def _within(window: Window) -> list[ColumnElement[bool]]:
    since = [] if window.since_ns is None else [REFUSALS.c.at_ns >= window.since_ns]
    return since if window.until_ns is None else [*since, REFUSALS.c.at_ns < window.until_ns]
