"""Remembers which prompt beginnings a simulated host has seen, as hosts with a cached price do.

Whole prompts would miss the usual case, a conversation that grows; a tree would save memory that a
simulated host does not need to save.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b

from entrepot.hosts.simulated_request import BYTES_PER_TOKEN

BLOCK_TOKENS = 64  # DeepSeek caches in units of 64 tokens (its API guide, "Context Caching", 2024)
_BLOCK_BYTES = BLOCK_TOKENS * BYTES_PER_TOKEN


class PrefixCache:
    """The blocks that were seen last, each known by a digest of itself and all before it."""

    def __init__(self, most_blocks: int = 65_536) -> None:
        self._most_blocks = most_blocks
        self._blocks: OrderedDict[bytes, None] = OrderedDict()

    def look_up(self, prompt: bytes) -> int:
        """Return how many leading tokens of the prompt were seen before, and remember all of them.

        Units: tokens, a multiple of `BLOCK_TOKENS`; never the whole prompt, whose last token is computed.
        """
        blocks = self._blocks
        digest = b""
        seen = 0
        hit = True
        for start in range(0, len(prompt) - _BLOCK_BYTES, _BLOCK_BYTES):
            digest = blake2b(digest + prompt[start : start + _BLOCK_BYTES], digest_size=16).digest()
            hit = hit and digest in blocks
            seen += hit
            blocks[digest] = None
            blocks.move_to_end(digest)
        while len(blocks) > self._most_blocks:
            blocks.popitem(last=False)
        return seen * BLOCK_TOKENS
