"""Refusals are counted by rule and key, each request once per rule, in both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from entrepot.ledger.journal.segment import Position
from entrepot.ledger.reports.refusals import RefusalCount, refusals, refused_requests
from entrepot.ledger.reports.usage_query import Window
from entrepot.ledger.store.store import Store
from tests.ledger import entry_makers as make
from tests.ledger.stores import BOTH, new_place

AT = make.AT_NS
ENTRIES = (
    make.NameRules(1, ("context", "policy:0123456789ab", "rule:no-cn")),
    make.NameRules(2, ("policy:0123456789ab", "rule:no-cn", "rule:phi-baa")),
    make.refused(1),
    make.refused(2, count=40),
    replace(make.refused(3, rules_id=2, key_id=2), at_ns=AT + 5),
    replace(make.refused(4, rules_id=2), at_ns=AT + 9),
    make.reserve(5),
    make.settle(5),
)


@pytest.fixture(params=BOTH)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store with some refusals, of either kind."""
    with new_place(request.param, tmp_path) as place, Store.open(place) as opened:
        opened.post(ENTRIES, Position(1, 100))
        yield opened


@pytest.mark.parametrize(
    ("window", "requests", "counts"),
    [
        (
            Window(),
            43,
            (
                RefusalCount("no-cn", 1, 42, AT + 9),
                RefusalCount("no-cn", 2, 1, AT + 5),
                RefusalCount("phi-baa", 1, 1, AT + 9),
                RefusalCount("phi-baa", 2, 1, AT + 5),
            ),
        ),
        (Window(until_ns=AT + 5), 41, (RefusalCount("no-cn", 1, 41, AT),)),
        (
            Window(since_ns=AT + 9),
            1,
            (RefusalCount("no-cn", 1, 1, AT + 9), RefusalCount("phi-baa", 1, 1, AT + 9)),
        ),
        (Window(since_ns=AT + 10), 0, ()),
    ],
)
def test_refusals_are_counted_by_rule_and_key(
    store: Store, window: Window, requests: int, counts: tuple[RefusalCount, ...]
) -> None:
    """One that stands for many counts for all of them; other exclusions and the version are no rules."""
    with store.engine.connect() as connection:
        assert refusals(connection, window) == counts
        assert refused_requests(connection, window) == requests
