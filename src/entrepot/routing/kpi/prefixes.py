"""Where beginnings of prompts were sent lately: what a host may still have in its cache.

Bounded, and by digests alone: the router must not hold prompts. A radix tree of texts, as engines have it,
would know partial blocks too; hosts bill whole blocks, and one digest per block finds the longest beginning
by bisection.
"""

from collections import OrderedDict
from collections.abc import Sequence

MOST_BLOCKS = 65_536
"""At 2 KiB of prompt each, 128 MiB of prompts; the oldest is forgotten first."""

MOST_SESSIONS = 16_384

_NEVER_S = float("-inf")

LONGEST_KEPT_S = 3600.0
"""No host that we know keeps a beginning longer than an hour without being asked to."""


class Prefixes:
    """Blocks and sessions by endpoint. Units: monotonic seconds, blocks, bytes of the prompt."""

    def __init__(self, most_blocks: int = MOST_BLOCKS, most_sessions: int = MOST_SESSIONS) -> None:
        self._most_blocks = most_blocks
        self._most_sessions = most_sessions
        self._blocks: OrderedDict[int, dict[int, float]] = OrderedDict()
        self._sessions: OrderedDict[int, tuple[int, int, float]] = OrderedDict()

    def sent(
        self, endpoint_index: int, blocks: Sequence[int], session: int, prompt_bytes: int, now_s: float
    ) -> None:
        """Remember that a prompt went to an endpoint."""
        known = self._blocks
        for block in reversed(blocks):  # so that of one prompt the last block is forgotten first
            at = known.pop(block, None)
            if at is None:
                at = {}
            at[endpoint_index] = now_s
            known[block] = at
        while len(known) > self._most_blocks:
            known.popitem(last=False)
        if session:
            sessions = self._sessions
            sessions.pop(session, None)
            sessions[session] = (endpoint_index, prompt_bytes, now_s)
            if len(sessions) > self._most_sessions:
                sessions.popitem(last=False)

    def known(self, blocks: Sequence[int], now_s: float) -> dict[int, int]:
        """Return how many leading blocks each endpoint was sent lately; endpoints with none are left out."""
        if not blocks:
            return {}
        first = self._blocks.get(blocks[0])
        if first is None:
            return {}
        since_s = now_s - LONGEST_KEPT_S
        return {
            endpoint: self._depth(endpoint, blocks, since_s)
            for endpoint, at_s in first.items()
            if at_s >= since_s
        }

    def of_session(self, session: int, now_s: float) -> tuple[int, int] | None:
        """Return the endpoint that a session last went to and how many bytes its prompt had, or None."""
        found = self._sessions.get(session)
        if found is None or found[2] < now_s - LONGEST_KEPT_S:
            return None
        return found[0], found[1]

    def _depth(self, endpoint: int, blocks: Sequence[int], since_s: float) -> int:
        low, high = 1, len(blocks)
        while low < high:
            middle = (low + high + 1) // 2
            at = self._blocks.get(blocks[middle - 1])
            if at is not None and at.get(endpoint, _NEVER_S) >= since_s:
                low = middle
            else:
                high = middle - 1
        return low
