"""What attempts are reserved and billed at: the tariff's own answers, kept until they may change."""

from __future__ import annotations

from time import time_ns

from hypothesis import given, settings
from hypothesis import strategies as st

from entrepot.domain.endpoint import Endpoint
from entrepot.domain.prices import Prices
from entrepot.domain.tariff import CLOCK_DIFFERENCE_NS, LONGEST_ANSWER_NS, NS_PER_S, BillsBy, Rate, Tariff
from entrepot.gateway.pricing import FREE, Card, Pricing
from entrepot.ledger.entries import NO_PRICE
from entrepot.ledger.ledger import EndpointRef
from tests.domain.tariffs import INSTANTS, PROMPTS, TARIFFS

PLAIN, DEAR = Prices(10**9, 4 * 10**9), Prices(2 * 10**9, 8 * 10**9)
NOW_NS = time_ns()


def pricing(tariff: Tariff | None, prices: Prices | None = None) -> Pricing:
    """Return the pricing of an endpoint whose cards have the versions 11, 12 and so on."""
    endpoint = Endpoint("a/b@h", "a/b", "h", prices, 1000, tariff=tariff)
    versions = () if tariff is None else tuple(range(11, 11 + len(tariff.cards)))
    return Pricing(endpoint, EndpointRef(1, NO_PRICE if prices is None else 10, versions))


def test_one_card_is_asked_of_nobody() -> None:
    """The common case: the same value at every instant and for every prompt."""
    of = pricing(None, PLAIN)
    assert of.card_at(0, 1) is of.card_at(NOW_NS, 10**6) is of.billed_card(0, NOW_NS, 5)
    assert of.card_at(0, 1) == Card(10, PLAIN)
    assert pricing(None).card_at(0, 1) == Card(NO_PRICE, FREE)


@given(TARIFFS, st.lists(st.tuples(INSTANTS, st.integers(0, 10**15), PROMPTS), min_size=2, max_size=12))
def test_kept_answers_are_the_tariffs(tariff: Tariff, asked: list[tuple[int, int, int]]) -> None:
    """In whatever order instants are asked for, near each other or far: as if nothing were kept."""
    of = pricing(tariff)
    first_ns = asked[0][0]
    for number, (instant_ns, step_ns, prompt) in enumerate(asked):
        at_ns = instant_ns if number % 3 == 0 else first_ns + step_ns
        expected = tariff.prices_at(at_ns, prompt)
        card = of.card_at(at_ns, prompt)
        assert card.prices == (expected or FREE)
        assert card.price_version == (NO_PRICE if expected is None else 11 + tariff.cards.index(expected))


@settings(deadline=None)  # a span of hours in several zones, on a machine that is busy
@given(
    TARIFFS,
    INSTANTS,
    st.lists(st.tuples(st.integers(0, 10**14), PROMPTS), min_size=1, max_size=10),
    st.data(),
)
def test_a_kept_bound_covers_every_bill(
    tariff: Tariff, first_ns: int, asked: list[tuple[int, int]], data: st.DataObject
) -> None:
    """Whenever it is sent and whenever the host bills it within the span, a request fits its reservation."""
    of = pricing(tariff)
    for step_ns, prompt in asked:
        sent_ns = first_ns + step_ns
        bound = of.bound_at(sent_ns, prompt)
        start_ns, end_ns = tariff.span_ns(sent_ns)
        billed = tariff.prices_at(data.draw(st.integers(start_ns, end_ns)), data.draw(st.integers(0, prompt)))
        if billed is not None:
            assert bound.bound_nusd(prompt, 1000) >= billed.bound_nusd(prompt, 1000)


def test_a_bound_falls_as_soon_as_the_dear_hours_are_over() -> None:
    """And rises before they begin: by the difference of clocks, or by the longest answer."""
    begins_ns, ends_ns = NOW_NS + 10 * LONGEST_ANSWER_NS, NOW_NS + 20 * LONGEST_ANSWER_NS
    for bills_by, ahead_ns in (
        (BillsBy.SENT, CLOCK_DIFFERENCE_NS),
        (BillsBy.COMPLETED, LONGEST_ANSWER_NS),
    ):
        of = pricing(Tariff(Rate(PLAIN), (Rate(DEAR, begins_ns, ends_ns),), bills_by))
        assert of.bound_at(NOW_NS, 1) == PLAIN
        assert of.bound_at(begins_ns - ahead_ns - NS_PER_S, 1) == PLAIN
        assert of.bound_at(begins_ns - ahead_ns, 1).input_nusd_per_mtok == DEAR.input_nusd_per_mtok
        assert of.bound_at(ends_ns + CLOCK_DIFFERENCE_NS - 1, 1).input_nusd_per_mtok == 2 * 10**9
        assert of.bound_at(ends_ns + CLOCK_DIFFERENCE_NS, 1) == PLAIN


def test_the_instant_that_counts_is_the_hosts() -> None:
    """A request that was sent before a change and completed after it."""
    rates = (Rate(DEAR, valid_from_ns=NOW_NS),)
    for bills_by, expected in ((BillsBy.SENT, PLAIN), (BillsBy.COMPLETED, DEAR)):
        of = pricing(Tariff(Rate(PLAIN), rates, bills_by))
        assert of.billed_card(NOW_NS - NS_PER_S, NOW_NS + NS_PER_S, 10).prices == expected


def test_an_answer_that_outlived_its_price_is_billed_at_it() -> None:
    """Unknown at its completion is not free."""
    of = pricing(Tariff(Rate(PLAIN, valid_until_ns=NOW_NS), (), BillsBy.COMPLETED))
    assert of.billed_card(NOW_NS - NS_PER_S, NOW_NS + NS_PER_S, 10) == Card(11, PLAIN)
    assert of.billed_card(NOW_NS, NOW_NS + NS_PER_S, 10) == Card(NO_PRICE, FREE)
