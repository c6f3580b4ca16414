"""The authority never grants more than a budget has left, and says why it refuses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.ledger.authority import LocalAuthority

CENT_NUSD = 10_000_000


def authority_of(budget_nusd: int | None, *, spent_nusd: int = 0, reserved_nusd: int = 0) -> LocalAuthority:
    """Return an authority that knows key 1."""
    authority = LocalAuthority()
    authority.set_budget(1, budget_nusd, spent_nusd=spent_nusd, reserved_nusd=reserved_nusd)
    return authority


def test_a_reservation_is_granted_whole_or_not_at_all() -> None:
    """The last nano-dollar may be reserved; one more is refused and holds nothing."""
    authority = authority_of(1_000, spent_nusd=400)
    assert authority.reserve(1, 601) is not None
    assert authority.left_nusd(1) == 600
    assert authority.reserve(1, 600) is None
    assert authority.left_nusd(1) == 0
    assert authority.reserve(1, 0) is None
    assert authority.reserve(1, 1) is not None


def test_a_key_without_a_budget_is_never_refused() -> None:
    """Nothing is counted for it here; its entries are in the journal all the same."""
    authority = authority_of(None)
    assert authority.reserve(1, 10**18) is None
    authority.settle(1, 10**18, 10**18)
    authority.release(1, 5)
    assert authority.left_nusd(1) is None


@pytest.mark.parametrize(
    ("spent", "reserved", "amount", "parts"),
    [
        (
            99,
            0,
            2,
            ("budget of this key is $1.00", "$0.99 is spent", "$0.01 is left", "up to $0.02", "raised"),
        ),
        (
            50,
            40,
            20,
            ("$0.50 is spent", "$0.40 is reserved", "$0.10 is left", "when running requests have ended"),
        ),
        (120, 0, 1, ("$1.20 is spent", "$-0.20 is left", "raised")),
    ],
)
def test_a_refusal_says_what_is_left_and_what_to_do(
    spent: int, reserved: int, amount: int, parts: tuple[str, ...]
) -> None:
    """It is 402 insufficient_quota, tells all sums, and whether waiting helps."""
    authority = authority_of(
        100 * CENT_NUSD, spent_nusd=spent * CENT_NUSD, reserved_nusd=reserved * CENT_NUSD
    )
    refusal = authority.reserve(1, amount * CENT_NUSD)
    assert refusal is not None
    assert (refusal.http_status, refusal.type, refusal.code) == (
        402,
        "insufficient_quota",
        "insufficient_quota",
    )
    for part in parts:
        assert part in refusal.message


def test_once_a_budget_is_passed_even_a_free_request_is_refused() -> None:
    """A correction may pass the budget; admission stops then until it is raised."""
    authority = authority_of(1_000)
    authority.settle(1, 0, 1_001)
    assert authority.reserve(1, 0) is not None
    authority.set_budget(1, 2_000, spent_nusd=1_001, reserved_nusd=0)
    assert authority.reserve(1, 999) is None


@given(
    st.integers(0, 10_000),
    st.lists(st.tuples(st.integers(0, 4_000), st.floats(0, 1), st.booleans()), max_size=60),
)
def test_no_order_of_requests_passes_a_budget(budget: int, requests: list[tuple[int, float, bool]]) -> None:
    """Spent and reserved never exceed the budget while no attempt costs more than it reserved."""
    authority = authority_of(budget)
    running: list[tuple[int, int]] = []
    for amount, share, finish in requests:
        if authority.reserve(1, amount) is None:
            running.append((amount, int(amount * share)))
        left = authority.left_nusd(1)
        assert left is not None
        assert left >= 0
        if finish and running:
            authority.settle(1, *running.pop(0))
    while running:
        authority.release(1, running.pop()[0])
    left = authority.left_nusd(1)
    assert left is not None
    assert authority.reserve(1, left) is None, "what nobody spent can be reserved again"
    assert authority.reserve(1, 1) is not None
