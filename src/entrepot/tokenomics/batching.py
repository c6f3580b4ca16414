"""How an engine batches and where its replicas stand, without running it."""

from dataclasses import dataclass, field
from enum import Enum

from entrepot.tokenomics.clock import PIECE_TOKENS, StepClock


class Spread(Enum):
    """Which replica gets the next request."""

    ROUND_ROBIN = "round robin"
    LEAST_LOADED = "least loaded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Batching:
    """The limits of one replica's scheduler.

    Units: sequences, tokens. A step takes at most `max_batched_tokens`, a token per decoding sequence and the
    rest of prompts (vLLM V1's chunked prefill). With `prefill_first` prompts are read in steps of their own,
    before any decode step (SGLang, vLLM V0). `reserved_output` is the part of the output still expected for
    which a newcomer must leave room in the KV cache: 0 admits whatever fits now and preempts later (vLLM), 1
    never preempts. Raises: ValueError for limits under which prompts could starve.
    """

    max_sequences: int = 1024
    max_batched_tokens: int = PIECE_TOKENS
    prefill_first: bool = False
    reserved_output: float = 0.0
    steps_ahead: int = 0

    def __post_init__(self) -> None:
        """Refuse limits that admit nothing."""
        if self.max_sequences < 1 or self.max_batched_tokens < 1 or self.steps_ahead < 0:
            raise ValueError(
                "max_sequences and max_batched_tokens must be at least 1, steps_ahead at least 0"
            )
        if not self.prefill_first and self.max_batched_tokens < self.max_sequences:
            raise ValueError(
                f"max_batched_tokens {self.max_batched_tokens} is below max_sequences {self.max_sequences}: "
                "decoding sequences alone would overfill a step"
            )
        if not 0.0 <= self.reserved_output <= 1.0:
            raise ValueError(f"reserved_output is {self.reserved_output}: give a part between 0 and 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefillPool:
    """Workers that only read prompts; the KV cache then goes to a decode replica.

    Units: seconds per transfer and per token of it. The first token is sent when the prompt has been read,
    the second comes after the transfer.
    """

    clock: StepClock
    replicas: int = 1
    batching: Batching = field(default_factory=lambda: Batching(prefill_first=True))
    transfer_s: float = 0.0
    transfer_token_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """Replicas of one model behind one address.

    `clock` and `batching` are each replica's; with `prefill` they are the decode replicas'. `request_s`
    seconds pass before a request waits in an engine (HTTP, the tokenizer). `prefix_cache_tokens` per replica
    hold the blocks of earlier prompts, beside `kv_capacity_tokens` of running ones. Raises: ValueError
    without a replica.
    """

    clock: StepClock
    batching: Batching = field(default_factory=Batching)
    replicas: int = 1
    spread: Spread = Spread.ROUND_ROBIN
    prefill: PrefillPool | None = None
    request_s: float = 0.0
    prefix_cache_tokens: int = 0

    def __post_init__(self) -> None:
        """Refuse an engine that could serve nothing."""
        if self.replicas < 1 or (self.prefill is not None and self.prefill.replicas < 1):
            raise ValueError("an engine needs at least one replica of each kind")
