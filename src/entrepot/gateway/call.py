"""A request that has been admitted and decided: what its attempts share."""

from __future__ import annotations

from msgspec import Struct

from entrepot.gateway.exchange import Exchange
from entrepot.ledger.accounts.senders import Sender
from entrepot.routing.decision import Decision
from entrepot.wire.body import Body
from entrepot.wire.parts import NO_PARTS, Parts


class Call(Struct):
    """An admitted request with its decision.

    Units: `at_ns` Unix nanoseconds; `output_limit` tokens per choice that we set because the key has a
    hard budget and the client set no limit, None otherwise; `expected_tokens` all tokens, for its rate limit.
    `parts` are counted for keys with a hard budget only. `used_tokens` grows as attempts end.
    """

    exchange: Exchange
    request_id: bytes
    at_ns: int
    sender: Sender
    body: Body
    decision: Decision
    packed_decision: bytes
    reason: str
    output_limit: int | None
    task_id: int
    expected_tokens: int
    parts: Parts = NO_PARTS
    used_tokens: int = 0

    @property
    def key_id(self) -> int:
        """Return the number of the key that the request came with."""
        return self.sender.key.key_id
