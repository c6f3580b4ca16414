"""A trace as the engine serves it: what `plan validate` sends and `plan capacity --trace` promises."""

from __future__ import annotations

import numpy as np

from entrepot.replay.trace import Trace
from entrepot.tokenomics.arrivals import BLOCK_TOKENS, Requests
from entrepot.tokenomics.replica import PrefixCache


def trace_requests(trace: Trace, *, faster: float = 1.0, prefix_cache_tokens: int = 0) -> Requests:
    """Return the requests of a trace, sent so many times faster than they were.

    With a prefix cache the beginnings are cached that a replica which got all of them still has.
    """
    sent = trace.requests
    cache = PrefixCache(prefix_cache_tokens)
    cached = []
    for one in sent:
        cached.append(min(cache.leading(one.blocks) * BLOCK_TOKENS, max(0, one.prompt_tokens - 1)))
        cache.keep(one.blocks)
    return Requests(
        np.array([one.at_s for one in sent], dtype=np.float64) / faster,
        np.array([max(1, one.prompt_tokens) for one in sent], dtype=np.int64),
        np.array([max(1, one.output_tokens) for one in sent], dtype=np.int64),
        np.array(cached, dtype=np.int64),
    )
