"""A trace: when requests came, and how large they and their answers were.

Sizes only, never words: that is all that public traces tell, and all that routing may see of a request. The
length of the answer is in here and is never shown to a router.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

BLOCK_TOKENS = 512
"""Prompt tokens of a block, as in Mooncake's traces and about as in `domain.request.BLOCK_BYTES`."""


class TraceRequest(Struct, frozen=True, gc=False):
    """One request of a trace.

    Units: `at_s` seconds since the first request; tokens. `blocks` are the whole leading blocks of the
    prompt, each known by a number that stands for it and all before it: equal numbers are equal
    beginnings. `session`, `key_id` and `tag_id` are 0 where the trace says nothing of them.
    """

    at_s: float
    prompt_tokens: int
    output_tokens: int
    blocks: tuple[int, ...] = ()
    session: int = 0
    key_id: int = 0
    tag_id: int = 0


class Trace(Struct, frozen=True):
    """Requests in the order of their arrival, the first at 0 s. `skipped` says what was left out, and why."""

    name: str
    requests: tuple[TraceRequest, ...]
    skipped: str = ""

    @property
    def span_s(self) -> float:
        """Return the seconds from the first arrival to the last."""
        return self.requests[-1].at_s if self.requests else 0.0

    def first(self, limit: int | None) -> Trace:
        """Return the trace with its first `limit` requests only, all of them for None."""
        return self if limit is None else Trace(self.name, self.requests[:limit], self.skipped)


def trace_of(name: str, rows: Sequence[TraceRequest], skipped: str = "") -> Trace:
    """Return the trace of these requests, in order of arrival and with the first at 0 s."""
    if not rows:
        return Trace(name, (), skipped)
    start_s = min(row.at_s for row in rows)
    ordered = sorted(rows, key=lambda row: row.at_s)
    return Trace(
        name,
        tuple(
            TraceRequest(
                row.at_s - start_s,
                row.prompt_tokens,
                row.output_tokens,
                row.blocks,
                row.session,
                row.key_id,
                row.tag_id,
            )
            for row in ordered
        ),
        skipped,
    )
