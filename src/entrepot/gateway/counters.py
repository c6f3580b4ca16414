"""What this process counted since its start, for the metrics page; the ledger is the truth about money.

Plain integers that only grow: the console reads them when it is asked, and the way of a request pays
a few additions.
"""

from __future__ import annotations

from collections import Counter

from entrepot.domain.errors import Refusal
from entrepot.domain.outcome import Outcome
from entrepot.ledger.entries import Closing, Settle


class EndpointCounts:
    """The counts of one endpoint. `attempts` is indexed by outcome.

    Units: tokens, nano-USD.
    """

    __slots__ = ("attempts", "output_tokens", "prompt_tokens", "spent_nusd")

    def __init__(self) -> None:
        self.attempts = [0] * len(Outcome)
        self.prompt_tokens = 0
        self.output_tokens = 0
        self.spent_nusd = 0

    def attempted(self, closing: Closing) -> None:
        """Count an attempt that ended."""
        self.attempts[closing.outcome] += 1
        if isinstance(closing, Settle):
            usage = closing.usage
            self.prompt_tokens += usage.prompt_tokens
            self.output_tokens += usage.output_tokens
            self.spent_nusd += closing.bill.total_nusd


class Counters:
    """Counts by endpoint index, and refusals by code."""

    def __init__(self, endpoints: int) -> None:
        self.endpoints = tuple(EndpointCounts() for _ in range(endpoints))
        self.refusals: Counter[str] = Counter()

    def refused(self, refusal: Refusal) -> None:
        """Count a request that was not served."""
        self.refusals[refusal.code] += 1
