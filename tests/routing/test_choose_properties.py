"""What holds for every request, every set of endpoints and every draw."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from entrepot.domain.endpoint import Endpoint
from entrepot.domain.prices import Prices
from entrepot.domain.request import Preferences, Request, Slo
from entrepot.routing.choose import Router
from entrepot.routing.decision import Decision, pack, unpack
from entrepot.routing.rank import winner_of
from entrepot.routing.settings import RoutingSettings
from tests.routing.builders import chat, endpoint, hosts, router_of, seen

HOSTS = ("a", "b", "c", "d", "e")
usd_per_mtok = st.integers(0, 20).map(lambda tenths: tenths * 100_000_000)
draws = st.floats(0, 1, exclude_max=True)
names = st.lists(st.sampled_from(HOSTS), unique=True, max_size=3).map(tuple)


@st.composite
def fleets(draw: st.DrawFn) -> list[Endpoint]:
    """Draw up to five endpoints of one model, some alike, some with undeclared attributes."""
    fleet = []
    for host in HOSTS[: draw(st.integers(1, len(HOSTS)))]:
        priced = Prices(draw(usd_per_mtok), draw(usd_per_mtok), draw(st.none() | usd_per_mtok))
        one = endpoint(
            host,
            priced,
            ttft_s=draw(st.none() | st.floats(0, 60)),
            tokens_per_s=draw(st.none() | st.floats(1, 300)),
            context_tokens=draw(st.sampled_from([2048, 65_536, 163_840])),
        )
        fleet.append(
            replace(
                one,
                prices=draw(st.sampled_from([priced, None])),
                trains_on_data=draw(st.sampled_from([None, False, True])),
                quantization=draw(st.sampled_from([None, "fp8", "bf16"])),
            )
        )
    return fleet


@st.composite
def requests(draw: st.DrawFn) -> Request:
    """Draw a chat request with preferences and limits."""
    preferences = Preferences(
        order=draw(names),
        only=draw(names),
        ignore=draw(names),
        allow_fallbacks=draw(st.booleans()),
        sort=draw(st.sampled_from([None, "price", "throughput", "latency"])),
        data_collection=draw(st.sampled_from(["allow", "deny"])),
        quantizations=draw(st.sampled_from([(), ("fp8",)])),
        min_tokens_per_s=draw(st.none() | st.floats(1, 300)),
    )
    slo = Slo(
        ttft_s=draw(st.none() | st.floats(0, 60)),
        max_nusd=draw(st.none() | st.integers(0, 10**8)),
        usd_per_hour=draw(st.none() | st.floats(0, 100)),
    )
    return chat(
        prompt_bytes=draw(st.integers(0, 500_000)),
        max_output_tokens=draw(st.none() | st.integers(1, 8192)),
        preferences=preferences,
        slo=slo,
    )


def trained(fleet: list[Endpoint], observed: list[int]) -> Router:
    """Return an exploring router whose endpoints were observed in the given order."""
    router = router_of(*fleet, settings=RoutingSettings(exploration_share=0.5))
    for step, number in enumerate(observed):
        index = number % len(fleet)
        router.knowledge.observe(
            seen(index, float(step), ttft_s=1.0 + number, tpot_s=0.02, output_tokens=900)
        )
    return router


cases = (fleets(), requests(), draws, st.lists(st.integers(0, 9), max_size=12))


@settings(deadline=None)
@given(*cases)
def test_the_same_inputs_give_the_same_decision(
    fleet: list[Endpoint], request: Request, draw: float, observed: list[int]
) -> None:
    """Two routers that saw the same, asked the same, with the same draws, decide the same."""
    first, second = (trained(fleet, observed).decide(request, now_s=20.0, draw=draw) for _ in range(2))
    assert first == second


@settings(deadline=None)
@given(*cases)
def test_every_endpoint_is_a_candidate_or_excluded_and_never_both(
    fleet: list[Endpoint], request: Request, draw: float, observed: list[int]
) -> None:
    """Fallbacks never leave the eligible set: nobody is lost, and nobody who was excluded is tried."""
    router = trained(fleet, observed)
    decision = router.decide(request, now_s=20.0, draw=draw)
    assume(isinstance(decision, Decision))
    assert isinstance(decision, Decision)
    tried = [candidate.endpoint_index for candidate in decision.candidates]
    told = tried + [gone.endpoint_index for gone in decision.excluded]
    assert sorted(told) == list(range(len(fleet)))


@settings(deadline=None)
@given(*cases)
def test_a_stored_decision_replays_to_the_same_winner(
    fleet: list[Endpoint], request: Request, draw: float, observed: list[int]
) -> None:
    """What is packed is enough to find the winner and its score again, bit by bit."""
    router = trained(fleet, observed)
    decision = router.decide(request, now_s=20.0, draw=draw)
    assume(isinstance(decision, Decision))
    assert isinstance(decision, Decision)
    stored = unpack(pack(decision, range(100, 100 + len(fleet))))
    assert winner_of(stored).endpoint_index == decision.winner.endpoint_index + 100
    assert winner_of(stored).score == pytest.approx(decision.winner.score, rel=1e-12)


@settings(deadline=None)
@given(fleets(), st.floats(0, 100), st.integers(0, 20_000))
def test_removing_the_winner_promotes_the_next(
    fleet: list[Endpoint], usd_per_hour: float, prompt_bytes: int
) -> None:
    """Without failures to fall back from, the second best is the best of the others."""
    assume(len(fleet) > 1)
    fleet = [replace(one, context_tokens=163_840) for one in fleet]
    sure = RoutingSettings(exploration_share=0.0, assumed_failure_share=0.0)
    request = chat(usd_per_hour=usd_per_hour, prompt_bytes=prompt_bytes)
    router = router_of(*fleet, settings=sure)
    decision = router.decide(request, now_s=0.0, draw=1.0)
    assert isinstance(decision, Decision)
    without = replace(request, preferences=Preferences(ignore=(hosts(router, decision)[0],)))
    left = router.decide(without, now_s=0.0, draw=1.0)
    assert isinstance(left, Decision)
    assert hosts(router, left) == hosts(router, decision)[1:]


@settings(deadline=None)
@given(*cases, st.sampled_from(HOSTS))
def test_ignoring_one_more_host_never_adds_an_endpoint(
    fleet: list[Endpoint],
    request: Request,
    draw: float,
    observed: list[int],
    ignored: str,
) -> None:
    """A restriction only restricts."""
    router = trained(fleet, observed)
    open_request = replace(request, preferences=replace(request.preferences, allow_fallbacks=True))
    preferences = open_request.preferences
    narrower = replace(open_request, preferences=replace(preferences, ignore=(*preferences.ignore, ignored)))
    before, after = (router.decide(asked, now_s=20.0, draw=draw) for asked in (open_request, narrower))
    if isinstance(after, Decision):
        assert isinstance(before, Decision)
        assert set(hosts(router, after)) <= set(hosts(router, before)) - {ignored}
