"""How a prompt begins, as digests: which of its leading blocks a host may have seen before.

Hosts cache the beginnings of prompts, and a conversation that grows sends its past again. Each digest
covers its block and all that stands before it, so the longest known beginning is found by looking up single
numbers, and no text is kept. The bytes are those of the client's JSON: to render a chat template per model
would tell the same beginnings apart at many times the cost.

The digest is Python's own `hash`: half the time of SHA-1 with instructions of the processor, a quarter of
BLAKE2's, 64 bits where a CRC has 32, and keyed, so that no sender can make a beginning that passes for
another's. Its key is drawn when a process starts: digests mean nothing in another process or after a restart,
and are neither stored nor sent.
"""

from msgspec import Raw

from entrepot.domain.request import BLOCK_BYTES

LEAST_BLOCKS = 2
"""Of a prompt with a beginning: what is shorter saves too little to be remembered."""

MOST_BLOCKS = 256
"""Of one prompt, 512 KiB: what stands behind them counts as never seen. Larger blocks further on would need a
second unit in all that counts them, for prompts beyond what nearly all models take."""

_MOST_BYTES = MOST_BLOCKS * BLOCK_BYTES
_BLANKS = b" \t\r\n"


def blocks_of(prompt: Raw, tools: Raw | None = None) -> tuple[int, ...]:
    """Return the digests of the leading whole blocks of a prompt's JSON, each with all that stands before it.

    The end of the value (its bracket or quote, and blanks before it) belongs to no block, so that the blocks
    of one turn of a conversation are the first of the next turn's. `tools` stand before all messages in most
    templates: other tools, other beginnings.
    """
    text = bytes(memoryview(prompt)[: _MOST_BYTES + 1])
    tail = text[-BLOCK_BYTES:-1]
    end = len(text) - 1 - len(tail) + len(tail.rstrip(_BLANKS))
    if end < LEAST_BLOCKS * BLOCK_BYTES:
        return ()
    digest = 0 if tools is None else hash(bytes(tools))
    digests = []
    for start in range(0, end - BLOCK_BYTES + 1, BLOCK_BYTES):
        digest = hash((digest, text[start : start + BLOCK_BYTES]))
        digests.append(digest)
    return tuple(digests)
