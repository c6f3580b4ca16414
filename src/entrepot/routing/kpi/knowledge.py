"""All that is known of endpoints and models: fed by ended attempts, read as rows by the choice.

Knowledge belongs to one process and one thread, and is passed around; there is no lock and no global.
Rows are made when observations are taken in: one at a time (`observe`), or many that were kept back until
then (`keep`, `take_in`), which learns the same and makes each row once. What changes by time alone (counts,
peers, quantiles) is made again every `half_life_s / REFRESHES_PER_HALF_LIFE`.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from math import exp2
from typing import Self

from entrepot.domain.endpoint import Endpoint, Model
from entrepot.domain.estimate import Estimate
from entrepot.domain.request import BLOCK_BYTES, Request
from entrepot.routing.kpi.endpoint import FAILURE_FLOOR_S, EndpointMeasures
from entrepot.routing.kpi.estimates import (
    EndpointKpis,
    ModelKpis,
    SuccessKpis,
    endpoint_kpis,
    model_kpis,
    success_kpis,
)
from entrepot.routing.kpi.model import HALF_LIFE_S as MODEL_HALF_LIFE_S
from entrepot.routing.kpi.model import ModelMeasures
from entrepot.routing.kpi.observation import Observation
from entrepot.routing.kpi.outlook import ModelOutlook, Outlook
from entrepot.routing.kpi.prefixes import Prefixes
from entrepot.routing.kpi.priors import declared_priors, model_priors, typical_priors
from entrepot.routing.kpi.state import (
    decoded,
    encoded,
    endpoint_state,
    level_state,
    model_state,
    restore_endpoint,
    restore_model,
    restored_level,
)
from entrepot.routing.kpi.verbosity import Classes
from entrepot.routing.settings import RoutingSettings

REFRESHES_PER_HALF_LIFE = 64
"""Between two of them a count is at most 1 % too high for its age."""

_MAX_HALF_LIVES = 256.0
"""After as many the landmark of the weights is moved: 2**256 times a square is far from the largest float."""


class Decay:
    """Gives weights that double every half-life, so that old observations lose theirs in proportion.

    Units: seconds; a weight means something only in proportion to `unit`, that of an observation made now.
    """

    __slots__ = ("_half_lives_per_s", "_landmark_s")

    def __init__(self, half_life_s: float, now_s: float) -> None:
        self._half_lives_per_s = 1.0 / half_life_s
        self._landmark_s = now_s

    def unit(self, now_s: float) -> float:
        """Return the weight of an observation made at `now_s`."""
        return exp2((now_s - self._landmark_s) * self._half_lives_per_s)

    def is_due(self, now_s: float) -> bool:
        """Return whether weights grow too large, so that the landmark has to be moved."""
        return (now_s - self._landmark_s) * self._half_lives_per_s > _MAX_HALF_LIVES

    def move_landmark(self, now_s: float) -> float:
        """Make the weight of an observation made now 1; return the factor for all present weights."""
        factor = exp2((self._landmark_s - now_s) * self._half_lives_per_s)
        self._landmark_s = now_s
        return factor


class Knowledge:
    """What was measured of the endpoints (by their index in `endpoints`) and of their models (by name).

    Units: `now_s` is the monotonic clock of the caller, in seconds, everywhere.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        models: Mapping[str, Model],
        settings: RoutingSettings,
        *,
        now_s: float = 0.0,
    ) -> None:
        self._endpoints = tuple(endpoints)
        self._half_life_s = settings.half_life_s
        self._decay = Decay(settings.half_life_s, now_s)
        self._model_decay = Decay(max(MODEL_HALF_LIFE_S, settings.half_life_s), now_s)
        self._refresh_every_s = settings.half_life_s / REFRESHES_PER_HALF_LIFE
        self._declared = [declared_priors(endpoint, settings) for endpoint in self._endpoints]
        self._priors = self._declared
        self._measures = [EndpointMeasures(priors) for priors in self._declared]
        self.outlooks = tuple(Outlook() for _ in self._endpoints)
        for outlook in self.outlooks:
            outlook.failure_s = FAILURE_FLOOR_S
        self.prefixes = Prefixes()
        names = dict.fromkeys([*models, *(endpoint.model for endpoint in self._endpoints)])
        self._model_priors = {name: model_priors(models.get(name), settings) for name in names}
        self._classes = Classes()
        self._model_measures = {
            name: ModelMeasures(priors, self._classes) for name, priors in self._model_priors.items()
        }
        self.model_outlooks = {
            name: ModelOutlook(measures.verbosity) for name, measures in self._model_measures.items()
        }
        self._kept: deque[Observation] = deque()
        self._changed: dict[int, float] = {}
        self._changed_models: dict[str, float] = {}
        self.refresh_due_s = now_s
        self.refresh(now_s)

    def started(self, endpoint_index: int, request: Request | None = None, *, now_s: float = 0.0) -> int:
        """Count an attempt as under way; return how many others already were, for its `Observation`.

        What the endpoint may keep of the beginning of `request` is remembered.
        """
        outlook = self.outlooks[endpoint_index]
        before = outlook.in_flight
        outlook.in_flight = before + 1
        outlook.uses += 1
        outlook.at_load()
        if request is not None and (request.blocks or request.session):
            self.prefixes.sent(endpoint_index, request.blocks, request.session, request.prompt_bytes, now_s)
        return before

    def known_tokens(self, endpoint_index: int, request: Request, now_s: float) -> float:
        """Return how many tokens of the prompt's beginning the endpoint was sent lately."""
        known = self.known_bytes(request, now_s).get(endpoint_index, 0.0)
        return known * self.model_outlooks[self._endpoints[endpoint_index].model].tokens_per_byte

    def known_bytes(self, request: Request, now_s: float) -> dict[int, float]:
        """Return how many bytes of the prompt's beginning each endpoint was sent lately, where it was any.

        The blocks of the prompt decide; a prompt too short for blocks goes by its session.
        """
        text_bytes = float(request.text_bytes)
        if request.blocks:
            found = self.prefixes.known(request.blocks, now_s)
            return {at: min(float(blocks * BLOCK_BYTES), text_bytes) for at, blocks in found.items()}
        last = self.prefixes.of_session(request.session, now_s) if request.session else None
        return {} if last is None else {last[0]: min(float(last[1]), text_bytes)}

    def ended(self, endpoint_index: int) -> None:
        """Count an attempt as no longer under way."""
        outlook = self.outlooks[endpoint_index]
        outlook.in_flight -= 1
        outlook.at_load()

    def observe(self, seen: Observation) -> None:
        """Take in one ended attempt, after those that were kept back, and make the rows that it changes."""
        self._kept.append(seen)
        self.take_in()

    def keep(self, seen: Observation) -> int:
        """Keep an ended attempt back until `take_in`; return how many now wait, in the order they came.

        Whatever tells what was learned takes them in first; the rows alone show what was taken in last.
        """
        self._kept.append(seen)
        return len(self._kept)

    def take_in(self) -> None:
        """Take in the ended attempts that were kept back, and make the rows that they change."""
        kept = self._kept
        if not kept:
            return
        while kept:
            self._take_in(kept.popleft())
        for index in self._changed:
            self._write(index)
        for model in self._changed_models:
            self._write_model(model)
        self._changed.clear()
        self._changed_models.clear()

    def _take_in(self, seen: Observation) -> None:
        """Count one ended attempt, and note which rows it changes since when."""
        now_s = seen.at_s
        if now_s >= self.refresh_due_s:
            self._refresh(now_s)
        index = seen.endpoint_index
        unit, measures = self._decay.unit(now_s), self._measures[index]
        model = self._endpoints[index].model
        prompt_tokens: float | None = seen.prompt_tokens
        if prompt_tokens is None:
            if model in self._changed_models:
                self._write_model(model)
            prompt_tokens = seen.prompt_bytes * self.model_outlooks[model].tokens_per_byte
        measures.observe(seen, unit, prompt_tokens)
        measures.remake(self.outlooks[index], self._priors[index], unit)
        self._changed[index] = now_s
        output_tokens: float | None = seen.output_tokens
        if output_tokens is None:
            output_tokens = seen.wire_bytes * measures.stream_tokens_per_byte(unit)[0]
        if output_tokens or seen.prompt_tokens:
            unit, priors, of_model = (
                self._model_decay.unit(now_s),
                self._model_priors[model],
                self._model_measures[model],
            )
            of_model.observe(seen, unit, priors, output_tokens=output_tokens, prompt_tokens=prompt_tokens)
            of_model.remake(self.model_outlooks[model], priors, unit)
            self._changed_models[model] = now_s

    def _write(self, index: int) -> None:
        now_s, priors = self._changed[index], self._priors[index]
        unit, outlook = self._decay.unit(now_s), self.outlooks[index]
        self._measures[index].write(outlook, priors, unit, now_s, self._half_life_s)

    def _write_model(self, model: str) -> None:
        unit, outlook = self._model_decay.unit(self._changed_models[model]), self.model_outlooks[model]
        self._model_measures[model].write(outlook, self._model_priors[model], unit)

    def judged(
        self, model: str, *, succeeded: bool, now_s: float, weight: float = 1.0, again: bool = False
    ) -> None:
        """Take in that an answer of a model was of use to its sender, or was not; as `Successes.tell`."""
        measures = self._model_measures.get(model)
        if measures is not None:
            measures.successes.tell(succeeded=succeeded, now_s=now_s, weight=weight, again=again)

    def unjudged(
        self, model: str, *, succeeded: bool, now_s: float, ago_s: float, weight: float = 1.0
    ) -> None:
        """Take back what was said of an answer of a model `ago_s` seconds ago; as `Successes.take_back`."""
        measures = self._model_measures.get(model)
        if measures is not None:
            measures.successes.take_back(succeeded=succeeded, now_s=now_s, ago_s=ago_s, weight=weight)

    def success_kpis(self, model: str, declared: Estimate | None, now_s: float) -> SuccessKpis:
        """Return the share of a model's answers that are of use, as declared and as clients say.

        Raises: KeyError when the model was not given at the start.
        """
        return success_kpis(self._model_measures[model], declared, now_s=now_s)

    def success_share(self, model: str, declared: float | None) -> float | None:
        """Return the share of a model's answers that are of use, None when nobody says."""
        return self._model_measures[model].success_share(declared)

    def refresh(self, now_s: float) -> None:
        """Make all rows again: counts fade, peers change."""
        self.take_in()
        self._refresh(now_s)

    def refresh_if_due(self, now_s: float) -> None:
        """Make all rows again when the last time is long enough ago, as every observation does."""
        self.take_in()
        if now_s >= self.refresh_due_s:
            self._refresh(now_s)

    def _refresh(self, now_s: float) -> None:
        if self._decay.is_due(now_s) or self._model_decay.is_due(now_s):
            self._move_landmarks(now_s)
        unit, model_unit = self._decay.unit(now_s), self._model_decay.unit(now_s)
        timings = [(measures.ttft, measures.tpot) for measures in self._measures]
        self._priors = typical_priors(self._endpoints, self._declared, timings, unit)
        since_s = now_s - self._refresh_every_s
        for measures, outlook, priors in zip(self._measures, self.outlooks, self._priors, strict=True):
            if measures.last_at_s is None or measures.last_at_s < since_s:
                measures.refit(priors, unit)
            if measures.limit is not None:
                measures.limit.refresh(unit)
            measures.refresh(outlook, priors, unit, now_s, self._half_life_s)
        for name, of_model in self._model_measures.items():
            of_model.refresh_caution(self.model_outlooks[name], self._model_priors[name], model_unit)
            of_model.refresh(self.model_outlooks[name], self._model_priors[name], model_unit)
        self._changed.clear()
        self._changed_models.clear()
        self.refresh_due_s = now_s + self._refresh_every_s

    def _move_landmarks(self, now_s: float) -> None:
        factor, model_factor = self._decay.move_landmark(now_s), self._model_decay.move_landmark(now_s)
        for measures in self._measures:
            measures.scale(factor)
        for of_model in self._model_measures.values():
            of_model.scale(model_factor)

    def kpis(self, endpoint_index: int, now_s: float) -> EndpointKpis:
        """Return the estimates of one endpoint, each with basis, count and age."""
        self.refresh_if_due(now_s)
        measures, outlook = self._measures[endpoint_index], self.outlooks[endpoint_index]
        priors, unit = self._priors[endpoint_index], self._decay.unit(now_s)
        measures.refresh(outlook, priors, unit, now_s, self._half_life_s)
        return endpoint_kpis(measures, outlook, priors, unit=unit, now_s=now_s, half_life_s=self._half_life_s)

    def model_kpis(self, model: str, now_s: float) -> ModelKpis:
        """Return the estimates of one model, each with basis, count and age.

        Raises: KeyError when the model was not given at the start.
        """
        self.refresh_if_due(now_s)
        measures, outlook = self._model_measures[model], self.model_outlooks[model]
        priors, unit = self._model_priors[model], self._model_decay.unit(now_s)
        measures.refresh(outlook, priors, unit)
        return model_kpis(measures, outlook, priors, unit=unit, now_s=now_s)

    def tokens_per_stream_byte(self, endpoint_index: int, now_s: float) -> tuple[float, float]:
        """Return the output tokens per byte of a streamed answer: expected, and seldom passed."""
        self.refresh_if_due(now_s)
        return self._measures[endpoint_index].stream_tokens_per_byte(self._decay.unit(now_s))

    def to_bytes(self, now_s: float) -> bytes:
        """Return all measures as bytes to keep: less than 64 KiB per endpoint or model."""
        self.take_in()
        self._move_landmarks(now_s)
        return encoded(
            [
                endpoint_state(endpoint.name, measures, uses=outlook.uses, now_s=now_s)
                for endpoint, measures, outlook in zip(
                    self._endpoints, self._measures, self.outlooks, strict=True
                )
            ],
            [model_state(name, measures, now_s=now_s) for name, measures in self._model_measures.items()],
            [level_state((0, 0), level, now_s) for level in (self._classes.every, *self._classes.of)],
        )

    @classmethod
    def from_bytes(  # the arguments of the constructor, and what was kept
        cls,
        data: bytes,
        endpoints: Sequence[Endpoint],
        models: Mapping[str, Model],
        settings: RoutingSettings,
        *,
        now_s: float = 0.0,
        away_s: float = 0.0,
    ) -> Self:
        """Return knowledge that goes on from `to_bytes`, for the endpoints and models that are still there.

        Units: `away_s` seconds since it was kept, by a clock that went on; observations have aged by them.
        Raises: ValueError when the bytes cannot be read.
        """
        kept = decoded(data)
        kept_at_s = now_s - max(away_s, 0.0)
        knowledge = cls(endpoints, models, settings, now_s=kept_at_s)
        of_endpoints = {state.name: state for state in kept.endpoints}
        for endpoint, measures, outlook in zip(
            knowledge._endpoints, knowledge._measures, knowledge.outlooks, strict=True
        ):
            if state := of_endpoints.get(endpoint.name):
                restore_endpoint(measures, state, now_s=kept_at_s)
                outlook.uses = state.uses
        classes = knowledge._classes
        classes.every, *classes.of = (restored_level(level, kept_at_s) for level in kept.classes)
        for of_model in kept.models:
            if of_model.name in knowledge._model_measures:
                restore_model(knowledge._model_measures[of_model.name], of_model, now_s=kept_at_s)
        knowledge.refresh(now_s)
        return knowledge
