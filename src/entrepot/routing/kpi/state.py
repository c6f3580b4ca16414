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
from entrepot.routing.kpi.model import ModelMeasures
from entrepot.routing.kpi.timing import Timing

FORMAT_VERSION = 1
CHECKSUM_BYTES = 4


class TimingState(Struct, frozen=True, array_like=True):
    """A `Timing`: its buckets and its sums (values, load, load squared, load times value)."""

    buckets: list[Bucket]
    sums: tuple[float, float, float, float]


class DistributionState(Struct, frozen=True, array_like=True):
    """A `Distribution`: its buckets and the sum of its values."""

    buckets: list[Bucket]
    total: float


class EndpointState(Struct, frozen=True, array_like=True):
    """The measures of one endpoint. Units: seconds for the age of the youngest observation."""

    name: str
    age_s: float | None
    uses: int
    sums: list[float]
    run: float
    ttft: TimingState
    tpot: TimingState


class ModelState(Struct, frozen=True, array_like=True):
    """The measures of one model. Units: seconds for the age of the youngest observation."""

    name: str
    age_s: float | None
    prompts: float
    verbosity: DistributionState
    bytes_per_token: DistributionState


class KnowledgeState(Struct, frozen=True, array_like=True):
    """Everything, with the format and the buckets that it was written with."""

    version: int
    gamma: float
    bucket_count: int
    endpoints: list[EndpointState]
    models: list[ModelState]


def encoded(endpoints: list[EndpointState], models: list[ModelState]) -> bytes:
    """Return the states as bytes, a checksum before them."""
    body = Encoder().encode(KnowledgeState(FORMAT_VERSION, GAMMA, BUCKETS, endpoints, models))
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
    return state


def endpoint_state(name: str, measures: EndpointMeasures, *, uses: int, now_s: float) -> EndpointState:
    """Return the measures of one endpoint; the caller has moved their landmark to `now_s`."""
    return EndpointState(
        name=name,
        age_s=age_s(measures.last_at_s, now_s),
        uses=uses,
        sums=measures.sums(),
        run=measures.run_at(now_s),
        ttft=_timing_state(measures.ttft),
        tpot=_timing_state(measures.tpot),
    )


def model_state(name: str, measures: ModelMeasures, *, now_s: float) -> ModelState:
    """Return the measures of one model; the caller has moved their landmark to `now_s`."""
    return ModelState(
        name=name,
        age_s=age_s(measures.last_at_s, now_s),
        prompts=measures.prompts,
        verbosity=_distribution_state(measures.verbosity),
        bytes_per_token=_distribution_state(measures.bytes_per_token),
    )


def age_s(last_at_s: float | None, now_s: float) -> float | None:
    """Return how long ago an instant was, None when it never was."""
    return None if last_at_s is None else max(now_s - last_at_s, 0.0)


def restore_endpoint(measures: EndpointMeasures, state: EndpointState, *, now_s: float) -> None:
    """Take what was kept of one endpoint in place of its present measures.

    Raises: ValueError when a number is out of range.
    """
    measures.restore_sums(state.sums)
    measures.ttft.restore(state.ttft.buckets, state.ttft.sums)
    measures.tpot.restore(state.tpot.buckets, state.tpot.sums)
    if not 0 <= state.run < float("inf"):
        raise ValueError(f"run of failures {state.run!r}: expected a finite number ≥ 0")
    measures.run, measures.run_at_s = state.run, now_s
    measures.last_at_s = None if state.age_s is None else now_s - state.age_s


def restore_model(measures: ModelMeasures, state: ModelState, *, now_s: float) -> None:
    """Take what was kept of one model in place of its present measures.

    Raises: ValueError when a number is out of range.
    """
    measures.verbosity.restore(state.verbosity.buckets, total=state.verbosity.total)
    measures.bytes_per_token.restore(state.bytes_per_token.buckets, total=state.bytes_per_token.total)
    if not 0 <= state.prompts < float("inf"):
        raise ValueError(f"weight of prompts {state.prompts!r}: expected a finite number ≥ 0")
    measures.prompts = state.prompts
    measures.last_at_s = None if state.age_s is None else now_s - state.age_s


def _timing_state(timing: Timing) -> TimingState:
    return TimingState(timing.samples.buckets(), timing.sums())


def _distribution_state(samples: Distribution) -> DistributionState:
    return DistributionState(samples.buckets(), samples.total)
