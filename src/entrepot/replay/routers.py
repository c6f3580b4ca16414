"""The routers of a replay, by the name that the command line takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from entrepot.catalog.reading import nearest_text
from entrepot.domain.errors import ConfigError
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
from entrepot.replay.oracle import Oracle
from entrepot.replay.ours import Ours
from entrepot.replay.simulate import RouterMaker

OURS, ORACLE, ALL = "entrepot", "oracle", "all"

ROUTERS: Mapping[str, RouterMaker] = {
    OURS: Ours,
    "round-robin": RoundRobin,
    "random": AtRandom,
    "least-list-price": LeastListPrice,
    "least-mean-ttft": LeastMeanTtft,
    "least-in-flight": LeastInFlight,
    "peak-ewma-p2c": PeakEwma,
    "inverse-square-price": InverseSquarePrice,
    "litellm-cost": LeastUnitPrices,
    "litellm-latency": LatencyOfTen,
    ORACLE: Oracle,
}


def picked_routers(names: Sequence[str]) -> dict[str, RouterMaker]:
    """Return the routers with these names, each once, and the oracle last; `all` is all of them.

    Raises: ConfigError when there is no such router.
    """
    unknown = [name for name in names if name not in ROUTERS and name != ALL]
    if unknown:
        known = [*ROUTERS, ALL]
        raise ConfigError(
            tuple(f"no router is called {name!r}; {nearest_text(name, known)}" for name in unknown)
        )
    wanted = list(ROUTERS) if ALL in names else [name for name in names if name != ORACLE]
    return {name: ROUTERS[name] for name in dict.fromkeys([*wanted, ORACLE])}
