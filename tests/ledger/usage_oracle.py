"""The roll-ups of a store worked out anew from its entries, in SQL that shares nothing with the poster."""

from __future__ import annotations

from entrepot.ledger.store.store import Store

_TOKENS = ["uncached", "cached", "cache_write", "cache_write_1h", "output", "reasoning"]
_MONEY = ["uncached", "cached", "cache_write", "cache_write_1h", "output", "reasoning", "request"]


def check_usage(store: Store) -> None:
    """Check that usage_hours and usage_days are the fold of all entries in the store."""
    tokens = [f"{kind}_tokens" for kind in _TOKENS]
    cost = " + ".join(f"{line}_nusd" for line in _MONEY)
    ids = "r.at_ns, r.endpoint_id, r.key_id, r.sender_id, r.rules_id"
    attempts = (
        f"SELECT {ids}, CASE WHEN r.attempt = 1 THEN 1 ELSE 0 END AS first, 1 AS one, "
        + ", ".join(f"coalesce(c.{name}, 0) AS {name}" for name in tokens)
        + f", coalesce({cost}, 0) AS cost, coalesce(c.unknown_nusd, 0) AS unknown, "
        "CASE WHEN c.kind IS NULL THEN r.amount_nusd ELSE 0 END AS held "
        "FROM reserves r LEFT JOIN closings c ON c.request_id = r.request_id AND c.attempt = r.attempt"
    )
    corrections = (
        f"SELECT {ids}, 0, 0, "
        + ", ".join(f"c.{name}" for name in tokens)
        + f", {cost}, -c.unknown_nusd, 0 FROM reserves r "
        "JOIN corrections c ON c.request_id = r.request_id AND c.attempt = r.attempt"
    )
    sums = ", ".join(f"sum({name})" for name in ("first", "one", *tokens, "cost", "unknown", "held"))
    with store.engine.begin() as connection:
        for table, seconds in (("usage_hours", 3600), ("usage_days", 86400)):
            fold = (
                f"SELECT at_ns / {seconds * 10**9}, endpoint_id, key_id, sender_id, rules_id, {sums} "
                f"FROM ({attempts} UNION ALL {corrections}) AS parts GROUP BY 1, 2, 3, 4, 5"
            )
            there = connection.exec_driver_sql(f"SELECT * FROM {table}").fetchall()
            wanted = connection.exec_driver_sql(fold).fetchall()
            assert sorted(map(tuple, there)) == sorted(map(tuple, wanted))
