"""Each published rule, on a table small enough to do in one's head."""

from __future__ import annotations

from collections import Counter

import pytest

from entrepot.domain.errors import ConfigError
from entrepot.domain.outcome import Outcome
from entrepot.replay.asked import ReplayRouter
from entrepot.replay.baselines import (
    AtRandom,
    InverseSquarePrice,
    LatencyOfTen,
    LeastInFlight,
    LeastListPrice,
    LeastMeanTtft,
    LeastUnitPrices,
    PeakEwma,
    RoundRobin,
)
from entrepot.replay.routers import ROUTERS, picked_routers
from entrepot.routing.kpi.observation import Observation
from tests.replay.builders import asked, endpoint, prices, scenario, seen, terms

THREE = scenario(
    endpoint("a", prices=prices("1", "9")),  # dear to write
    endpoint("b", prices=prices("3", "3")),
    endpoint("c", prices=prices("8", "1")),  # dear to read
)


def shown(router: ReplayRouter, *observations: Observation) -> None:
    """Let the router see attempts start and end."""
    for one in observations:
        router.started(one.endpoint_index, 0)
        router.ended(one, 0)


def test_round_robin_takes_turns() -> None:
    """Each is first once in three, and the rest follow in their turn."""
    router = RoundRobin(terms(THREE))
    assert [list(router.choose(asked(number), 0.0)) for number in range(3)] == [
        [0, 1, 2],
        [1, 2, 0],
        [2, 0, 1],
    ]


def test_random_draws_each_as_often() -> None:
    """A third each, within what chance allows."""
    router = AtRandom(terms(THREE))
    firsts = Counter(router.choose(asked(number), 0.0)[0] for number in range(3000))
    assert all(900 < count < 1100 for count in firsts.values())


def test_least_list_price_prices_the_tokens_of_the_request() -> None:
    """1,000 tokens and 500 to write: b is cheapest; with a long prompt it is a, with a short one c."""
    router = LeastListPrice(terms(THREE))
    assert router.choose(asked(prompt_bytes=4000), 0.0) == [1, 0, 2]
    assert router.choose(asked(prompt_bytes=400_000), 0.0)[0] == 0
    assert router.choose(asked(prompt_bytes=40), 0.0)[0] == 2


def test_least_list_price_learns_one_length_for_all_models() -> None:
    """After answers of one token the prices of output hardly count."""
    router = LeastListPrice(terms(THREE))
    shown(router, *(seen(2, output_tokens=1) for _ in range(1000)))
    assert router.choose(asked(prompt_bytes=4000), 0.0)[0] == 0


def test_litellm_cost_is_the_sum_of_two_prices() -> None:
    """6, 9 and 10 dollars, whatever is asked; new prices count at once."""
    router = LeastUnitPrices(terms(THREE))
    assert router.choose(asked(), 0.0) == [1, 2, 0]
    router.reprice({0: prices("0", "1")})
    assert router.choose(asked(), 0.0) == [0, 1, 2]


def test_least_mean_ttft_tries_the_unknown_first_and_then_the_fastest() -> None:
    """Means of 2 s and 1 s, and one that nobody tried."""
    router = LeastMeanTtft(terms(THREE))
    shown(router, seen(0, ttft_s=1.0), seen(0, ttft_s=3.0), seen(1, ttft_s=1.0))
    assert router.choose(asked(), 0.0) == [2, 1, 0]


def test_least_in_flight_counts_what_is_under_way() -> None:
    """Two, one and none; what ended no longer counts."""
    router = LeastInFlight(terms(THREE))
    for index in (0, 0, 1):
        router.started(index, 0)
    assert router.choose(asked(), 0.0) == [2, 1, 0]
    router.ended(seen(0), 0)
    router.ended(seen(0), 0)
    router.started(2, 0)
    assert router.choose(asked(), 0.0)[0] == 0


def test_litellm_latency_keeps_ten_for_an_hour() -> None:
    """Ten fast answers push one failure of 1000 s out; after an hour all is forgotten."""
    router = LatencyOfTen(terms(THREE))
    shown(router, *(seen(index, answer_s=2.0 + index) for index in range(3)))
    assert router.choose(asked(), 0.0) == [0, 1, 2]
    shown(router, seen(0, outcome=Outcome.TIMED_OUT, output_tokens=None))
    assert router.choose(asked(), 0.0) == [1, 2, 0]
    shown(router, *(seen(0, at_s=10.0, answer_s=1.0) for _ in range(10)))
    assert router.choose(asked(), 20.0) == [0, 1, 2]
    assert router.choose(asked(), 3605.0)[-1] == 0  # the only one with samples that are still kept


def test_peak_ewma_takes_a_peak_at_once_and_forgets_it_slowly() -> None:
    """A slow answer counts whole; ten seconds later a fast one brings 63 % of the way back."""
    router = PeakEwma(terms(scenario(endpoint("a"), endpoint("b"))))
    pair = asked(fits=(0, 1))
    shown(router, seen(0, answer_s=2.0), seen(1, answer_s=4.0))
    assert router.choose(pair, 0.0) == [0, 1]
    shown(router, seen(0, answer_s=9.0))
    assert router.choose(pair, 0.0) == [1, 0]
    shown(router, seen(0, at_s=10.0, answer_s=1.0))  # 9·e⁻¹ + 1·(1 − e⁻¹) = 3.94
    assert router.choose(pair, 10.0) == [0, 1]


def test_peak_ewma_weighs_what_is_under_way_and_lets_failures_count() -> None:
    """2 s with one under way are 4; a fast failure doubles and does not attract."""
    router = PeakEwma(terms(scenario(endpoint("a"), endpoint("b"))))
    pair = asked(fits=(0, 1))
    shown(router, seen(0, answer_s=2.0), seen(1, answer_s=3.0))
    router.started(0, 0)
    assert router.choose(pair, 0.0) == [1, 0]
    router.ended(seen(0, outcome=Outcome.FAILED, answer_s=0.01), 0)
    assert router.choose(pair, 0.0) == [1, 0]


def test_inverse_square_price_draws_the_half_price_four_times_as_often() -> None:
    """Prices of 1 and 2 dollars: four to one."""
    of = scenario(endpoint("a", prices=prices("0.5", "0.5")), endpoint("b", prices=prices("1", "1")))
    router = InverseSquarePrice(terms(of))
    firsts = Counter(router.choose(asked(fits=(0, 1)), 0.0)[0] for _ in range(5000))
    assert firsts[0] / firsts[1] == pytest.approx(4.0, rel=0.15)


def test_inverse_square_price_drops_who_failed_in_the_last_30_s() -> None:
    """However cheap; after 30 s it is drawn again."""
    of = scenario(endpoint("a", prices=prices("0.01", "0.01")), endpoint("b", prices=prices("5", "5")))
    router = InverseSquarePrice(terms(of))
    shown(router, seen(0, at_s=100.0, outcome=Outcome.FAILED))
    assert router.choose(asked(fits=(0, 1)), 129.0) == [1, 0]
    assert router.choose(asked(fits=(0, 1)), 130.0) == [0, 1]


@pytest.mark.parametrize("name", [name for name in ROUTERS if name not in ("entrepot", "oracle")])
def test_fallbacks_are_all_the_others_each_once(name: str) -> None:
    """No rule tries an endpoint twice, and none leaves a request without its fallbacks."""
    router = ROUTERS[name](terms(THREE))
    for number in range(20):
        assert sorted(router.choose(asked(number), 0.0)) == [0, 1, 2]
        assert sorted(router.choose(asked(number, fits=(0, 2)), 0.0)) == [0, 2]


def test_routers_are_picked_by_name_with_the_oracle_last() -> None:
    """The oracle is what the others are compared with: it always runs."""
    assert list(picked_routers(["random", "random", "entrepot"])) == ["random", "entrepot", "oracle"]
    assert list(picked_routers(["all"])) == list(ROUTERS)
    with pytest.raises(ConfigError, match="no router is called 'rando'; did you mean random"):
        picked_routers(["rando"])
