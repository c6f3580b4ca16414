"""Our own routing core as a router of the replay: the same code as in the gateway, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

from msgspec.structs import replace

from entrepot.domain.endpoint import Operation
from entrepot.domain.errors import Refusal
from entrepot.domain.outcome import Outcome
from entrepot.domain.prices import Prices
from entrepot.domain.request import Preferences, Request, Slo
from entrepot.replay.asked import Asked, Terms
from entrepot.routing.choose import Router
from entrepot.routing.kpi.knowledge import Knowledge
from entrepot.routing.kpi.observation import Observation
from entrepot.routing.settings import RoutingSettings

_NO_PARAMETERS: frozenset[str] = frozenset()
_NO_PREFERENCES = Preferences()


class Ours:
    """The router of the gateway, with its default settings.

    A request that it refuses because no endpoint meets its limits is asked again without them, as a sender
    would; `refusals` counts those.
    """

    def __init__(self, terms: Terms) -> None:
        settings = RoutingSettings()
        self._knowledge = Knowledge(terms.endpoints, terms.models, settings)
        self._router = Router(terms.endpoints, terms.models, settings, self._knowledge)
        self._random = Random(f"ours/{terms.seed}").random
        self._models = terms.model_names
        self._slo = terms.slo
        self._unlimited = Slo(usd_per_hour=terms.slo.usd_per_hour)
        self._with_blocks: dict[int, Request] = {}
        self._known: dict[tuple[int, int], float] = {}
        self._now_s = 0.0
        self.refusals = 0

    def choose(self, asked: Asked, now_s: float) -> Sequence[int]:
        """Return the candidates of the decision, in their order."""
        draw = self._random()
        request = self._request(asked, self._slo)
        self._now_s = now_s
        if request.blocks:
            self._with_blocks[asked.number] = request
        decision = self._router.decide(request, now_s=now_s, draw=draw)
        if isinstance(decision, Refusal):
            self.refusals += 1
            decision = self._router.decide(self._request(asked, self._unlimited), now_s=now_s, draw=draw)
            if isinstance(decision, Refusal):
                return ()
        return [candidate.endpoint_index for candidate in decision.candidates]

    def started(self, endpoint: int, number: int) -> int:
        """Count an attempt as under way, and remember where its beginning was sent."""
        request = self._with_blocks.get(number)
        if request is None:
            return self._knowledge.started(endpoint)
        self._known[(number, endpoint)] = self._knowledge.known_tokens(endpoint, request, self._now_s)
        return self._knowledge.started(endpoint, request, now_s=self._now_s)

    def ended(self, seen: Observation, number: int) -> None:
        """Learn from an ended attempt, as the gateway does."""
        self._knowledge.ended(seen.endpoint_index)
        known = self._known.pop((number, seen.endpoint_index), 0.0)
        self._knowledge.observe(replace(seen, known_tokens=known) if known else seen)
        if seen.outcome is Outcome.OK:
            self._with_blocks.pop(number, None)

    def reprice(self, prices: Mapping[int, Prices]) -> None:
        """Go by these prices."""
        self._router.reprice({index: ((0, new),) for index, new in prices.items()})

    def _request(self, asked: Asked, slo: Slo) -> Request:
        # By position: keywords would cost as much as scoring an endpoint.
        return Request(
            Operation.CHAT,
            self._models,
            asked.prompt_bytes,
            None,
            1,
            True,
            _NO_PARAMETERS,
            slo,
            _NO_PREFERENCES,
            0,
            False,
            asked.key_id,
            asked.tag_id,
            asked.session,
            asked.blocks,
        )
