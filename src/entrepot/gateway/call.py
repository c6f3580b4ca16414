"""A request that has been admitted and decided: what its attempts share."""

from __future__ import annotations

from msgspec import Struct

from entrepot.gateway.exchange import Exchange
from entrepot.routing.decision import Decision
from entrepot.wire.body import Body


class Call(Struct, frozen=True):
    """An admitted request with its decision.

    Units: `at_ns` Unix nanoseconds; `output_limit` tokens per choice that we set because the key has a
    budget and the client set no limit, None otherwise.
    """

    exchange: Exchange
    request_id: bytes
    at_ns: int
    key_id: int
    body: Body
    decision: Decision
    packed_decision: bytes
    reason: str
    output_limit: int | None
