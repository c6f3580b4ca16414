"""Prices that depend on when a request is billed and on how long its prompt is.

A tariff picks one flat card of `Prices`, so that every line of a bill still names exact unit prices; a
formula of multipliers could not be read off an invoice. Zones come in as values (`tzinfo`): reading them is
not pure.
"""

from collections.abc import Iterable
from datetime import datetime, tzinfo
from enum import StrEnum

from msgspec import Struct

from entrepot.domain.prices import Prices

NS_PER_S = 1_000_000_000
MINUTES_PER_DAY = 1440
_DAY_S = 86_400
_WEEK_DAYS = 7

CLOCK_DIFFERENCE_NS = 60 * NS_PER_S
"""How far a host's clock may be from ours when a price changes."""

LONGEST_ANSWER_NS = 3600 * NS_PER_S
"""How long after its sending a request may be completed, where that instant decides its price."""


class BillsBy(StrEnum):
    """Which instant of a request decides its price.

    Source: "The completion timestamp of each request determines its pricing tier", DeepSeek API docs,
    Models & Pricing, note 6, 2025. Hosts that say nothing are taken to mean the sending.
    """

    SENT = "sent"
    COMPLETED = "completed"


class Band(Struct, frozen=True):
    """Hours of the day, as a clock in `zone` shows them.

    Units: minutes after midnight, `from_minute` included and `until_minute` not. Where the end is not after
    the beginning, the band goes on past midnight (equal: a whole day from there). `weekdays` (Monday is 0)
    are those on which a band begins; none means all. The clock decides, also on days when it is set: what
    lies in the repeated hour holds twice, what lies in the skipped hour never, and a band that would begin
    or end in the skipped hour does so when the clock jumps over it.
    """

    zone: tzinfo
    from_minute: int
    until_minute: int
    weekdays: frozenset[int] = frozenset()

    def holds(self, at_ns: int) -> bool:
        """Return whether the instant lies in the band. Units: Unix nanoseconds."""
        local = datetime.fromtimestamp(at_ns // NS_PER_S, self.zone)
        minute, begun = local.hour * 60 + local.minute, local.weekday()
        if self.from_minute < self.until_minute:
            is_within = self.from_minute <= minute < self.until_minute
        else:
            is_within = minute >= self.from_minute or minute < self.until_minute
            if minute < self.from_minute:
                begun = (begun - 1) % _WEEK_DAYS
        return is_within and (not self.weekdays or begun in self.weekdays)

    def changes_after(self, at_ns: int) -> int:
        """Return the next instant at which `holds` may change: an end of the band, or a clock that is set.

        Units: Unix nanoseconds.
        """
        at_s = at_ns // NS_PER_S
        offset_s = self._offset_s(at_s)
        clock_s = at_s + offset_s
        ends_s = (self.from_minute * 60, self.until_minute * 60)
        next_s = at_s + min((end_s - clock_s - 1) % _DAY_S + 1 for end_s in ends_s)
        if self._offset_s(next_s) == offset_s:
            return next_s * NS_PER_S
        before_s = at_s
        while next_s - before_s > 1:  # the clock is set in between: find when
            middle_s = (before_s + next_s) // 2
            if self._offset_s(middle_s) == offset_s:
                before_s = middle_s
            else:
                next_s = middle_s
        return next_s * NS_PER_S

    def _offset_s(self, at_s: int) -> int:
        offset = datetime.fromtimestamp(at_s, self.zone).utcoffset()
        return 0 if offset is None else round(offset.total_seconds())


class Rate(Struct, frozen=True):
    """A card of prices and when it applies.

    Units: Unix nanoseconds, `valid_from_ns` included and `valid_until_ns` not; tokens. Above
    `above_prompt_tokens` the whole request has these prices, not only the tokens beyond: a cliff.
    Source: "Gemini Developer API pricing" (prices of prompts > 200k tokens) and Anthropic "Pricing",
    "Long context pricing" (all tokens of a request above 200K input tokens, cached ones counted).
    """

    prices: Prices
    valid_from_ns: int | None = None
    valid_until_ns: int | None = None
    above_prompt_tokens: int = 0
    band: Band | None = None

    def applies(self, at_ns: int, prompt_tokens: int) -> bool:
        """Return whether a request of that instant and prompt has these prices."""
        if self.above_prompt_tokens and prompt_tokens <= self.above_prompt_tokens:
            return False
        if self.valid_from_ns is not None and at_ns < self.valid_from_ns:
            return False
        if self.valid_until_ns is not None and at_ns >= self.valid_until_ns:
            return False
        return self.band is None or self.band.holds(at_ns)

    def changes_after(self, at_ns: int) -> int | None:
        """Return the next instant at which `applies` may change, None when it never does again."""
        ends = [end for end in (self.valid_from_ns, self.valid_until_ns) if end is not None and end > at_ns]
        is_over = self.valid_until_ns is not None and at_ns >= self.valid_until_ns
        if self.band is not None and not is_over:
            ends.append(self.band.changes_after(at_ns))
        return min(ends, default=None)


class Tariff(Struct, frozen=True):
    """All prices of an endpoint that has more than one card, or one that is not valid for ever.

    The first of `rates` that applies counts, else `plain`, which has neither hours nor a length of prompt.
    """

    plain: Rate | None
    rates: tuple[Rate, ...] = ()
    bills_by: BillsBy = BillsBy.SENT

    @property
    def all_rates(self) -> tuple[Rate, ...]:
        """Return the rates in the order in which they are asked, the plain one last."""
        return self.rates if self.plain is None else (*self.rates, self.plain)

    @property
    def cards(self) -> tuple[Prices, ...]:
        """Return every card that a request may ever be billed at, each once."""
        return tuple(dict.fromkeys(rate.prices for rate in self.all_rates))

    def prices_at(self, at_ns: int, prompt_tokens: int) -> Prices | None:
        """Return the prices of a request, None when none are valid: the price is unknown.

        Units: Unix nanoseconds, tokens.
        """
        for rate in self.all_rates:
            if rate.applies(at_ns, prompt_tokens):
                return rate.prices
        return None

    def changes_after(self, at_ns: int) -> int | None:
        """Return the next instant at which any answer may change, None when there is none."""
        changes = (rate.changes_after(at_ns) for rate in self.all_rates)
        return min((change for change in changes if change is not None), default=None)

    def billed_ns(self, sent_ns: int, completed_ns: int) -> int:
        """Return the instant that decides the price of a request."""
        return completed_ns if self.bills_by is BillsBy.COMPLETED else sent_ns

    def span_ns(self, sent_ns: int) -> tuple[int, int]:
        """Return the first and the last instant by which the host may bill a request that is sent now."""
        last_ns = LONGEST_ANSWER_NS if self.bills_by is BillsBy.COMPLETED else CLOCK_DIFFERENCE_NS
        return sent_ns - CLOCK_DIFFERENCE_NS, sent_ns + last_ns

    def bound_prices(self, from_ns: int, until_ns: int, prompt_tokens: int) -> Prices | None:
        """Return the dearest of whatever may apply between two instants, both included, field by field.

        The prompt may have up to `prompt_tokens`: a tier that is cheaper must not hide a dearer one below it.
        None when no price is valid in all that time.
        Units: Unix nanoseconds, tokens.
        """
        tiers = {rate.above_prompt_tokens + 1 for rate in self.rates if rate.above_prompt_tokens}
        lengths = (0, *sorted(tier for tier in tiers if tier <= prompt_tokens))
        found: dict[Prices, None] = {}
        at_ns: int | None = from_ns
        while at_ns is not None and at_ns <= until_ns:
            for length in lengths:
                prices = self.prices_at(at_ns, length)
                if prices is not None:
                    found[prices] = None
            at_ns = self.changes_after(at_ns)
        return dearest(found) if found else None


def dearest(cards: Iterable[Prices]) -> Prices:
    """Return a card that is nowhere below any of the given ones, each kind of token by itself.

    Raises: ValueError when there is none.
    """
    known = tuple(cards)
    if len(known) == 1:
        return known[0]
    return Prices(
        input_nusd_per_mtok=max(card.input_nusd_per_mtok for card in known),
        output_nusd_per_mtok=max(card.output_nusd_per_mtok for card in known),
        cached_nusd_per_mtok=max(card.cached_or_input_nusd_per_mtok for card in known),
        cache_write_nusd_per_mtok=max(card.write_or_input_nusd_per_mtok for card in known),
        request_nusd=max(card.request_nusd for card in known),
        cache_write_1h_nusd_per_mtok=max(card.write_1h_or_write_nusd_per_mtok for card in known),
        reasoning_nusd_per_mtok=max(card.reasoning_or_output_nusd_per_mtok for card in known),
    )
