"""What a simulated host decides about a request follows from its figures."""

from __future__ import annotations

from decimal import Decimal

import pytest

from entrepot.hosts.behaviour import FAILED, OK, RATE_LIMITED, Behaviour, Plan, usd_decimal_text
from tests.hosts.scenarios import scenario


def behaviour(seed: int = 1, speedup: float = 1.0, **figures: object) -> Behaviour:
    """Return the behaviour of the test host."""
    return Behaviour(scenario(**figures).hosts[0], seed=seed, speedup=speedup)


def plan(of: Behaviour, *, most_tokens: int | None = None, in_flight: int = 1, choices: int = 1) -> Plan:
    """Return the plan for a request of 100 uncached prompt tokens."""
    return of.plan(
        uncached_tokens=100,
        choices=choices,
        most_tokens=most_tokens,
        room_tokens=900,
        in_flight=in_flight,
    )


def test_an_idle_host_has_exactly_its_figures() -> None:
    """Without spread the first token comes after TTFT + prefill, the others at the stated speed."""
    host = behaviour()
    assert plan(host).ttft_s == pytest.approx(2 + 100 / 1000)
    assert host.step_s(1) == pytest.approx(1 / 50)


def test_waiting_and_writing_grow_with_the_requests_in_flight() -> None:
    """`capacity_requests` more double both."""
    host = behaviour()
    assert plan(host, in_flight=11).ttft_s == pytest.approx(2 * 2.1)
    assert host.step_s(11) == pytest.approx(2 / 50)


def test_speedup_divides_every_duration_and_nothing_else() -> None:
    """The same draws, s times faster."""
    slow, fast = behaviour(spread="0.3"), behaviour(speedup=10, spread="0.3")
    for _ in range(20):
        one, other = plan(slow), plan(fast)
        assert other.ttft_s == pytest.approx(one.ttft_s / 10)
        assert (other.pace, other.lengths) == (one.pace, one.lengths)
    assert fast.step_s(3) == pytest.approx(slow.step_s(3) / 10)


def test_a_length_beyond_the_limit_is_cut_and_says_so() -> None:
    """The client's limit and the window's room shorten an answer; a limit never makes it longer."""
    host = behaviour(verbosity=20)
    assert plan(host, most_tokens=5) == Plan(OK, ttft_s=2.1, lengths=(5,), whole=(False,))
    assert plan(host, most_tokens=20).whole == (True,)
    assert plan(host, most_tokens=50).lengths == (20,)
    assert plan(behaviour(verbosity=5000)).lengths == (900,)


def test_equal_seeds_draw_alike_and_others_do_not() -> None:
    """A failing simulation can be repeated."""
    runs = [
        [plan(behaviour_).ttft_s for _ in range(5)]
        for behaviour_ in (behaviour(7, spread="0.5"), behaviour(7, spread="0.5"), behaviour(8, spread="0.5"))
    ]
    assert runs[0] == runs[1] != runs[2]


def test_spread_keeps_the_mean() -> None:
    """A log-normal of mean 1: more spread is no slower host."""
    host = behaviour(spread="0.5")
    waits = [plan(host).ttft_s - 0.1 for _ in range(4000)]
    assert sum(waits) / len(waits) == pytest.approx(2, rel=0.05)


def test_failures_come_as_often_as_stated() -> None:
    """Shares of 500 and 429 are drawn before the first byte."""
    host = behaviour(failure_share="0.2", rate_limited_share="0.1")
    statuses = [plan(host).status for _ in range(4000)]
    assert statuses.count(FAILED) / 4000 == pytest.approx(0.2, abs=0.03)
    assert statuses.count(RATE_LIMITED) / 4000 == pytest.approx(0.1, abs=0.03)


def test_too_many_in_flight_are_told_so() -> None:
    """The request that passes `most_requests` gets 429."""
    host = behaviour(most_requests=4)
    assert [plan(host, in_flight=count).status for count in (4, 5)] == [OK, RATE_LIMITED]


def test_a_cut_falls_inside_the_answer() -> None:
    """A stream that breaks off has at least one token and at most all."""
    host = behaviour(cut_share=1)
    cuts = [plan(host, choices=2).cut_after for _ in range(200)]
    assert all(cut is not None and 1 <= cut <= 20 for cut in cuts)
    assert len(set(cuts)) > 5


def test_cached_tokens_cost_the_cached_price_or_else_the_input_price() -> None:
    """Exact, in decimals."""
    tokens = {"prompt_tokens": 1000, "cached_tokens": 600, "completion_tokens": 3000}
    assert behaviour().cost_usd(**tokens) == Decimal("0.00712")
    assert behaviour(cached_input_usd_per_mtok="0.14").cost_usd(**tokens) == Decimal("0.006874")


@pytest.mark.parametrize(
    ("amount", "text"),
    [("0", "0"), ("0.00500", "0.005"), ("1E-9", "0.000000001"), ("120", "120"), ("1.0", "1")],
)
def test_amounts_are_written_without_exponents_or_needless_zeros(amount: str, text: str) -> None:
    """The log is read by people and by `Decimal`."""
    assert usd_decimal_text(Decimal(amount)) == text
