"""What an attempt consumed, in one convention: kinds of prompt and output tokens that never overlap.

OpenAI counts cached tokens inside prompt tokens, Anthropic outside; `wire` normalises both into
this value once, so that no line of a bill is counted twice.
"""

from msgspec import Struct


class Usage(Struct, frozen=True):
    """Tokens of one attempt.

    Units: tokens. `reasoning_tokens` are a part of `output_tokens`; the four prompt kinds are disjoint:
    uncached, read from a cache, written to one for minutes, written to one for an hour.
    `estimated` says that the host did not report them; `contradictory` that its report disagreed with
    itself and the cautious (dearer) reading was taken.
    """

    uncached_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cache_write_1h_tokens: int = 0
    estimated: bool = False
    contradictory: bool = False

    @property
    def prompt_tokens(self) -> int:
        """Return all prompt tokens, whichever way they were billed."""
        written = self.cache_write_tokens + self.cache_write_1h_tokens
        return self.uncached_tokens + self.cached_tokens + written

    @property
    def spoken_tokens(self) -> int:
        """Return the output tokens that are not reasoning: a line of the bill of their own."""
        return self.output_tokens - self.reasoning_tokens


class PricedUsage(Usage, frozen=True):
    """What a host reported, with what it says that it costs.

    Units: nano-USD. That is no bill, and the ledger does not keep it: it shows whether listed prices are
    honoured.
    """

    told_nusd: int = 0
