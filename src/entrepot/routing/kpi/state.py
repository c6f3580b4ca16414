"""Knowledge as bytes that survive a restart: small, versioned, and matched by name.

Pickle would tie the file to our class layout and run code when read; JSON would be three times as
large. Weights are written relative to an observation made at the moment of writing, and instants as
ages, since a monotonic clock means nothing to the next process.
"""

from zlib import crc32

from msgspec import DecodeError, Struct, ValidationError
from msgspec.msgpack import Decoder, Encoder

from entrepot.routing.kpi.distribution import BUCKETS, GAMMA, Bucket, Distribution
from entrepot.routing.kpi.endpoint import EndpointMeasures
from entrepot.routing.kpi.load_limit import LoadLimit
from entrepot.routing.kpi.model import ModelMeasures
from entrepot.routing.kpi.success import Successes
from entrepot.routing.kpi.timing import Timing
from entrepot.routing.kpi.verbosity import PROMPT_CLASSES, Level

FORMAT_VERSION = 3
CHECKSUM_BYTES = 4
MOST_KEPT_LEVELS = 1024
"""Of the verbosity of keys and tags per model: about 40 KiB."""


class TimingState(Struct, frozen=True, array_like=True):
    """A `Timing`: the buckets of its samples and of their parts, and its sums."""

    samples: list[Bucket]
    parts: list[Bucket]
    kept: list[float]


class DistributionState(Struct, frozen=True, array_like=True):
    """A `Distribution`: its buckets and the sum of its values."""

    buckets: list[Bucket]
    total: float


class EndpointState(Struct, frozen=True, array_like=True):
    """The measures of one endpoint. Units: seconds for the age of the youngest observation.

    `limit` has attempts and refusals per class of load, None where there never was a 429.
    """

    name: str
    age_s: float | None
    uses: int
    sums: list[float]
    run: float
    ttft: TimingState
    tpot: TimingState
    answers: DistributionState
    limit: tuple[list[float], list[float]] | None


class LevelState(Struct, frozen=True, array_like=True):
    """One level of verbosity: the key and the tag that it is of (0: none or all), its sums and its age."""

    key_id: int
    tag_id: int
    weight: float
    total: float
    age_s: float


class ModelState(Struct, frozen=True, array_like=True):
    """The measures of one model. Units: seconds for the age of the youngest observation.

    `classes` and `levels` are those of verbosity; the first of `classes` is the whole model.
    """

    name: str
    age_s: float | None
    prompts: float
    parts: DistributionState
    classes: list[LevelState]
    levels: list[LevelState]
    bytes_per_token: DistributionState
    successes: LevelState


class KnowledgeState(Struct, frozen=True, array_like=True):
    """Everything, with the format and the buckets that it was written with."""

    version: int
    gamma: float
    bucket_count: int
    endpoints: list[EndpointState]
    models: list[ModelState]
    classes: list[LevelState]


def encoded(endpoints: list[EndpointState], models: list[ModelState], classes: list[LevelState]) -> bytes:
    """Return the states as bytes, a checksum before them; the models share `classes`."""
    state = KnowledgeState(FORMAT_VERSION, GAMMA, BUCKETS, endpoints, models, classes)
    body = Encoder().encode(state)
    return crc32(body).to_bytes(CHECKSUM_BYTES, "big") + body


def decoded(data: bytes) -> KnowledgeState:
    """Return the states that `encoded` wrote.

    Raises: ValueError when the bytes are damaged or not of this format.
    """
    checksum, body = data[:CHECKSUM_BYTES], data[CHECKSUM_BYTES:]
    if crc32(body).to_bytes(CHECKSUM_BYTES, "big") != checksum:
        raise ValueError(f"kept knowledge of {len(data)} bytes is damaged: its checksum differs")
    try:
        state = Decoder(KnowledgeState).decode(body)
    except (DecodeError, ValidationError) as error:
        raise ValueError(f"kept knowledge of {len(data)} bytes cannot be read: {error}") from None
    if (state.version, state.gamma, state.bucket_count) != (FORMAT_VERSION, GAMMA, BUCKETS):
        raise ValueError(
            f"kept knowledge has format {state.version} with {state.bucket_count} buckets of {state.gamma}; "
            f"expected format {FORMAT_VERSION} with {BUCKETS} of {GAMMA}"
        )
    if len(state.classes) != 1 + PROMPT_CLASSES:
        raise ValueError(f"{len(state.classes)} classes of prompts: expected {1 + PROMPT_CLASSES}")
    return state


def endpoint_state(name: str, measures: EndpointMeasures, *, uses: int, now_s: float) -> EndpointState:
    """Return the measures of one endpoint; the caller has moved their landmark to `now_s`."""
    limit = measures.limit
    return EndpointState(
        name=name,
        age_s=age_s(measures.last_at_s, now_s),
        uses=uses,
        sums=measures.sums(),
        run=measures.run_at(now_s),
        ttft=_timing_state(measures.ttft),
        tpot=_timing_state(measures.tpot),
        answers=_distribution_state(measures.answers),
        limit=None if limit is None else (limit.tried, limit.refused),
    )


def model_state(name: str, measures: ModelMeasures, *, now_s: float) -> ModelState:
    """Return the measures of one model; the caller has moved their landmark to `now_s`.

    Of the levels of keys those that were seen last are kept, `MOST_KEPT_LEVELS` at most.
    """
    verbosity = measures.verbosity
    levels = list(verbosity.levels.items())[-MOST_KEPT_LEVELS:]
    return ModelState(
        name=name,
        age_s=age_s(measures.last_at_s, now_s),
        prompts=measures.prompts,
        parts=_distribution_state(verbosity.parts),
        classes=[level_state((0, 0), level, now_s) for level in (verbosity.whole, *verbosity.classes)],
        levels=[level_state(sender, level, now_s) for sender, level in levels],
        bytes_per_token=_distribution_state(measures.bytes_per_token),
        successes=level_state((0, 0), measures.successes, now_s),
    )


def age_s(last_at_s: float | None, now_s: float) -> float | None:
    """Return how long ago an instant was, None when it never was."""
    return None if last_at_s is None else max(now_s - last_at_s, 0.0)


def restore_endpoint(measures: EndpointMeasures, state: EndpointState, *, now_s: float) -> None:
    """Take what was kept of one endpoint in place of its present measures.

    Raises: ValueError when a number is out of range.
    """
    measures.restore_sums(state.sums)
    for timing, kept in ((measures.ttft, state.ttft), (measures.tpot, state.tpot)):
        timing.restore(kept.samples, kept.parts, kept.kept)
    measures.answers.restore(state.answers.buckets, total=state.answers.total)
    if not 0 <= state.run < float("inf"):
        raise ValueError(f"run of failures {state.run!r}: expected a finite number ≥ 0")
    measures.run, measures.run_at_s = state.run, now_s
    measures.last_at_s = None if state.age_s is None else now_s - state.age_s
    if state.limit is not None:
        measures.limit = LoadLimit()
        measures.limit.restore(*state.limit)


def restore_model(measures: ModelMeasures, state: ModelState, *, now_s: float) -> None:
    """Take what was kept of one model in place of its present measures.

    Raises: ValueError when a number is out of range.
    """
    verbosity = measures.verbosity
    if len(state.classes) != 1 + PROMPT_CLASSES:
        raise ValueError(f"{len(state.classes)} classes of prompts: expected {1 + PROMPT_CLASSES}")
    verbosity.parts.restore(state.parts.buckets, total=state.parts.total)
    verbosity.whole, *verbosity.classes = (restored_level(level, now_s) for level in state.classes)
    for level in state.levels:
        verbosity.levels[(level.key_id, level.tag_id)] = restored_level(level, now_s)
    measures.bytes_per_token.restore(state.bytes_per_token.buckets, total=state.bytes_per_token.total)
    told = restored_level(state.successes, now_s)
    measures.successes = Successes(told.weight, min(told.total, told.weight), told.at_s)
    if not 0 <= state.prompts < float("inf"):
        raise ValueError(f"weight of prompts {state.prompts!r}: expected a finite number ≥ 0")
    measures.prompts = state.prompts
    measures.last_at_s = None if state.age_s is None else now_s - state.age_s


def restored_level(state: LevelState, now_s: float) -> Level:
    """Return a level as it was kept.

    Raises: ValueError when a number is out of range.
    """
    if not (0 <= state.weight < float("inf") and 0 <= state.total < float("inf")):
        raise ValueError(f"a level of verbosity with {state!r}: expected finite numbers ≥ 0")
    return Level(state.weight, state.total, now_s - state.age_s)


def level_state(sender: tuple[int, int], level: Level, now_s: float) -> LevelState:
    """Return one level of verbosity as it is kept."""
    return LevelState(*sender, level.weight, level.total, max(now_s - level.at_s, 0.0))


def _timing_state(timing: Timing) -> TimingState:
    return TimingState(timing.samples.buckets(), timing.parts.buckets(), timing.kept())


def _distribution_state(samples: Distribution) -> DistributionState:
    return DistributionState(samples.buckets(), samples.total)
