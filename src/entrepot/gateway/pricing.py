"""What attempts at an endpoint are reserved and billed at, with the number that the ledger knows it by.

Most endpoints have one card and pay for nothing else. A tariff is asked again only when an answer may have
changed: working out hours in a time zone for each attempt would cost more than the rest of a reservation.
"""

from __future__ import annotations

from msgspec import Struct

from entrepot.domain.endpoint import Endpoint
from entrepot.domain.prices import Prices
from entrepot.domain.tariff import Tariff
from entrepot.ledger.entries import NO_PRICE
from entrepot.ledger.ledger import EndpointRef
from entrepot.routing.forecast import PriceTiers

FREE = Prices(input_nusd_per_mtok=0, output_nusd_per_mtok=0)  # of an endpoint whose price nobody declared


class Card(Struct, frozen=True):
    """A flat card of prices and its version in the ledger; `NO_PRICE` where nobody knows the price."""

    price_version: int
    prices: Prices


class _Kept(Struct):
    """An answer of the tariff and between which instants it holds. Units: Unix nanoseconds."""

    card: Card
    from_ns: int
    until_ns: float


class Pricing:
    """The prices of one endpoint: one card, or what its tariff says at an instant."""

    def __init__(self, endpoint: Endpoint, ref: EndpointRef) -> None:
        self.tariff: Tariff | None = endpoint.tariff
        self._plain = Card(ref.price_version, endpoint.prices or FREE)
        cards = () if endpoint.tariff is None else endpoint.tariff.cards
        self._versions = dict(zip(cards, ref.versions, strict=True))
        tiers = () if endpoint.tariff is None else endpoint.tariff.rates
        self._tiers = tuple(sorted({rate.above_prompt_tokens for rate in tiers if rate.above_prompt_tokens}))
        self._cards: dict[int, _Kept] = {}
        self._bounds: dict[int, _Kept] = {}

    def card_at(self, at_ns: int, prompt_tokens: int) -> Card:
        """Return the card of a request. Units: Unix nanoseconds, tokens."""
        tariff = self.tariff
        if tariff is None:
            return self._plain
        tier = self._tier(prompt_tokens)
        kept = self._cards.get(tier)
        if kept is None or not kept.from_ns <= at_ns < kept.until_ns:
            prices = tariff.prices_at(at_ns, prompt_tokens)
            kept = _Kept(self._numbered(prices), at_ns, _or_never(tariff.changes_after(at_ns)))
            self._cards[tier] = kept
        return kept.card

    def tiers_at(self, at_ns: int) -> PriceTiers | None:
        """Return the prices at an instant by the length of the prompt, None when ordinary ones have none.

        Units: Unix nanoseconds.
        """
        tiers: list[tuple[int, Prices]] = []
        for above in (0, *self._tiers):
            card = self.card_at(at_ns, above + 1)
            if card.price_version == NO_PRICE:
                break
            if not tiers or tiers[-1][1] != card.prices:
                tiers.append((above, card.prices))
        return tuple(tiers) or None

    def bound_at(self, sent_ns: int, prompt_tokens: int) -> Prices:
        """Return prices that are nowhere below those which the host may bill a request at that is sent now.

        Units: Unix nanoseconds; `prompt_tokens` is the most that the prompt can have.
        """
        tariff = self.tariff
        if tariff is None:
            return self._plain.prices
        tier = self._tier(prompt_tokens)
        kept = self._bounds.get(tier)
        if kept is None or not kept.from_ns <= sent_ns < kept.until_ns:
            first_ns, last_ns = tariff.span_ns(sent_ns)
            bound = tariff.bound_prices(first_ns, last_ns, prompt_tokens)
            leaves_ns = _or_never(tariff.changes_after(first_ns)) - first_ns  # a card may leave the span,
            enters_ns = _or_never(tariff.changes_after(last_ns)) - last_ns  # or one may enter it
            kept = _Kept(Card(NO_PRICE, bound or FREE), sent_ns, sent_ns + min(leaves_ns, enters_ns))
            self._bounds[tier] = kept
        return kept.card.prices

    def billed_card(self, sent_ns: int, completed_ns: int, prompt_tokens: int) -> Card:
        """Return the card that a request is billed at.

        Where none is valid any more at the instant that counts, it is the one at the sending: an answer that
        outlived a price was not free.
        Units: Unix nanoseconds, tokens.
        """
        if self.tariff is None:
            return self._plain
        card = self.card_at(self.tariff.billed_ns(sent_ns, completed_ns), prompt_tokens)
        return self.card_at(sent_ns, prompt_tokens) if card.price_version == NO_PRICE else card

    def _tier(self, prompt_tokens: int) -> int:
        return sum(prompt_tokens > tier for tier in self._tiers)

    def _numbered(self, prices: Prices | None) -> Card:
        return Card(NO_PRICE, FREE) if prices is None else Card(self._versions[prices], prices)


def _or_never(change_ns: int | None) -> float:
    return float("inf") if change_ns is None else change_ns
