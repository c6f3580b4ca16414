"""Both sides of one day and model: what the ledger booked, what the host asks, by how much they differ.

Apart from the rules that explain differences, since these need only what is counted here.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from functools import reduce

import msgspec
from msgspec import Struct

from entrepot.domain.prices import Prices
from entrepot.domain.usage import Usage
from entrepot.ledger.reports.booked import Ending, Piece, PriceVersion
from entrepot.ledger.reports.invoice import InvoiceLine

_LINE_ROUNDING_NUSD = 3  # half a nano-dollar for each of the six lines of an attempt's bill
COUNTED = (
    "uncached_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "output_tokens",
)


class Known(Struct, frozen=True):
    """What holds for the whole invoice, and the price versions of the host.

    Units: `step_nusd` nano-USD, the finest amount on the invoice.
    """

    versions: tuple[PriceVersion, ...]
    splits_cached: bool
    has_cost: bool
    step_nusd: Decimal


class Cell(Struct, frozen=True):
    """Both sides of one day and model, or of one attempt."""

    day: date
    model: str
    attempt: str
    pieces: tuple[Piece, ...]
    lines: tuple[InvoiceLine, ...]

    @property
    def booked_nusd(self) -> int:
        """Return what the ledger says that it cost. Units: nano-USD."""
        return sum(piece.cost_nusd for piece in self.pieces)

    @property
    def booked(self) -> Usage:
        """Return the tokens in the ledger."""
        return total(piece.usage for piece in self.pieces)

    @property
    def billed(self) -> Usage | None:
        """Return the tokens on the invoice, or None when it counts none."""
        found = [line.usage for line in self.lines if line.usage is not None]
        return total(found) if found else None

    @property
    def requests(self) -> int | None:
        """Return how many requests the invoice counts, or None when it does not."""
        if self.attempt:
            return len(self.lines)
        found = [line.requests for line in self.lines if line.requests is not None]
        return sum(found) if found else None

    def count(self, ending: Ending) -> int:
        """Return how many attempts ended so."""
        return sum(piece.attempts for piece in self.pieces if piece.ending is ending)

    def more_tokens(self, known: Known) -> Usage:
        """Return the tokens that the invoice has more than the ledger; none when it counts none."""
        billed = self.billed
        if billed is None:
            return Usage() if self.lines or known.has_cost else negative(self.booked)
        # Few invoices count reasoning, which is a part of the output: it is not compared.
        more = msgspec.structs.replace(total((billed, negative(self.booked))), reasoning_tokens=0)
        return more if known.splits_cached else Usage(more.prompt_tokens, output_tokens=more.output_tokens)

    def billed_nusd(self, known: Known) -> Decimal:
        """Return what the host asks; its tokens at the ledger's prices where the invoice has no costs."""
        if known.has_cost:
            return sum((line.cost_nusd for line in self.lines if line.cost_nusd is not None), Decimal(0))
        return Decimal(self.booked_nusd + self.value_nusd(self.more_tokens(known), known))

    def difference_nusd(self, known: Known) -> Decimal:
        """Return what the host asks more than was booked. Units: nano-USD."""
        return self.billed_nusd(known) - self.booked_nusd

    def slack_nusd(self, known: Known) -> Decimal:
        """Return how much both sides may differ by rounding: half the last decimal of each line."""
        attempts = sum(piece.attempts for piece in self.pieces)
        finest = known.step_nusd / 2 if known.step_nusd > 1 else Decimal(0)
        return len(self.lines) * finest + _LINE_ROUNDING_NUSD * attempts

    def is_equal(self, known: Known) -> bool:
        """Return whether both sides agree, but for rounding."""
        is_same = abs(self.difference_nusd(known)) <= self.slack_nusd(known)
        return is_same and (not self.lines or is_nothing(self.more_tokens(known)))

    def is_opposite(self, other: Cell, known: Known) -> bool:
        """Return whether the other cell has more of exactly what this one has less of."""
        both = self.difference_nusd(known) + other.difference_nusd(known)
        tokens = total((self.more_tokens(known), other.more_tokens(known)))
        slack = self.slack_nusd(known) + other.slack_nusd(known)
        return abs(both) <= slack < abs(self.difference_nusd(known)) and is_nothing(tokens)

    def prices(self, known: Known) -> Prices:
        """Return the prices at which most of it was booked, else the host's latest of the model."""
        of_version: dict[int, int] = {}
        for piece in self.pieces:
            spent = of_version.get(piece.price_version, 0)
            of_version[piece.price_version] = spent + max(piece.cost_nusd, piece.attempts)
        found = {version.number: version.prices for version in known.versions}
        used = sorted(of_version, key=lambda number: of_version[number])
        latest = [version.prices for version in known.versions if version.model == self.model]
        return next((found[number] for number in reversed(used) if number in found), None) or (
            latest[-1] if latest else Prices(0, 0)
        )

    def value_nusd(self, usage: Usage, known: Known) -> int:
        """Return what these tokens cost at the prices of this cell. Units: nano-USD."""
        return value_nusd(usage, self.prices(known))


def total(usages: Iterable[Usage]) -> Usage:
    """Return the sum of tokens."""
    return reduce(_sum, usages, Usage())


def _sum(one: Usage, two: Usage) -> Usage:
    return Usage(
        one.uncached_tokens + two.uncached_tokens,
        one.cached_tokens + two.cached_tokens,
        one.cache_write_tokens + two.cache_write_tokens,
        one.output_tokens + two.output_tokens,
        one.reasoning_tokens + two.reasoning_tokens,
        one.cache_write_1h_tokens + two.cache_write_1h_tokens,
    )


def negative(usage: Usage) -> Usage:
    """Return the tokens to take away."""
    return Usage(
        -usage.uncached_tokens,
        -usage.cached_tokens,
        -usage.cache_write_tokens,
        -usage.output_tokens,
        -usage.reasoning_tokens,
        -usage.cache_write_1h_tokens,
    )


def is_nothing(usage: Usage) -> bool:
    """Return whether there are none; how many of the output are reasoning is not asked."""
    return all(getattr(usage, name) == 0 for name in COUNTED)


def is_more(usage: Usage) -> bool:
    """Return whether there are some, and of no kind less than none."""
    return not is_nothing(usage) and all(getattr(usage, name) >= 0 for name in COUNTED)


def value_nusd(usage: Usage, prices: Prices) -> int:
    """Return what tokens cost at these prices, without a fee for a request. Units: nano-USD."""
    bill = prices.bill(usage)
    return bill.total_nusd - bill.request_nusd
