"""Which beginnings of prompts an endpoint keeps, block by block.

What was used longest ago goes first, and of one prompt its end before its beginning, as in the radix trees
of serving engines: so what is left of a prompt is always a beginning, and a search may stop at the first
miss.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from entrepot.replay.scenario import CacheFigures
from entrepot.replay.trace import BLOCK_TOKENS


class PromptCache:
    """The blocks that were used last, each with the second in which it was."""

    __slots__ = ("_blocks", "_most", "_ttl_s")

    def __init__(self, figures: CacheFigures) -> None:
        self._most = figures.most_blocks
        self._ttl_s = figures.ttl_s
        self._blocks: OrderedDict[int, float] = OrderedDict()

    def cached_tokens(self, blocks: Sequence[int], now_s: float) -> int:
        """Return how many leading tokens are kept: whole blocks of 512."""
        kept, oldest_s = self._blocks, now_s - self._ttl_s
        found = 0
        for block in blocks:
            used_s = kept.get(block)
            if used_s is None or used_s < oldest_s:
                break
            found += 1
        return found * BLOCK_TOKENS

    def add(self, blocks: Sequence[int], now_s: float) -> None:
        """Keep these blocks, the first one longest."""
        kept = self._blocks
        for block in reversed(blocks):
            kept[block] = now_s
            kept.move_to_end(block)
        while len(kept) > self._most:
            kept.popitem(last=False)

    def __len__(self) -> int:
        return len(self._blocks)
