"""What a router sees of a request and of ended attempts in a replay, and the one signature of all routers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from entrepot.domain.endpoint import Endpoint, Model
from entrepot.domain.prices import Prices
from entrepot.domain.request import Slo
from entrepot.replay.world import World
from entrepot.routing.kpi.observation import Observation


class Asked(Struct, gc=False):
    """A request before it is answered: all that a router may know of it.

    Units: bytes; `number` counts from 0. `fits` are the endpoints whose window holds the prompt, by index,
    as a tokenizer in front of a router would tell. `blocks` are the whole leading blocks of the prompt.
    """

    number: int
    prompt_bytes: int
    fits: Sequence[int]
    blocks: tuple[int, ...]
    session: int
    key_id: int
    tag_id: int


class ReplayRouter(Protocol):
    """Says in which order endpoints are tried, and learns from what came of it.

    Units: `now_s` seconds since the start of the trace. Endpoints are known by their index.
    """

    def choose(self, asked: Asked, now_s: float) -> Sequence[int]:
        """Return the endpoints in the order in which they are tried; none is a refusal."""
        ...

    def started(self, endpoint: int, number: int) -> int:
        """Count an attempt of a request as under way; return how many others already were there."""
        ...

    def ended(self, seen: Observation, number: int) -> None:
        """Count an attempt of a request as no longer under way, and learn from it."""
        ...

    def reprice(self, prices: Mapping[int, Prices]) -> None:
        """Go by these prices from now on."""
        ...


class Terms(Struct, frozen=True):
    """What a router is made of: what it is told, what all requests ask for, and its seed.

    `world` is the truth; only an oracle looks at it. Units: `slo.usd_per_hour` USD per hour of waiting.
    """

    endpoints: tuple[Endpoint, ...]
    models: Mapping[str, Model]
    model_names: tuple[str, ...]
    slo: Slo
    seed: int
    world: World
