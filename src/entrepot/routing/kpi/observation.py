"""What the relay saw of one attempt: the only way in which knowledge changes."""

from msgspec import Struct

from entrepot.domain.outcome import Outcome


class Observation(Struct, frozen=True, gc=False):
    """One ended attempt.

    Units: seconds, bytes, tokens. `at_s` is the monotonic clock at the end. All other durations are already
    multiplied by `RoutingSettings.time_scale`, as they stand in the settle entry. `ttft_s` is None when no
    content came, or when the answer came whole (not streamed); `tpot_s` when it cannot be told.
    `answer_s` is the time from sending to the end, whatever the end was. `prompt_bytes` is that of the
    `Request`; token counts are those of the whole attempt (all choices), None when the host told none:
    an estimate for the bill, at its upper bound, is not an observation. `cached_tokens` are inside
    `prompt_tokens`. `wire_bytes` is the length of a streamed answer, also of one that was cut; 0 for a plain
    one. `in_flight` is what `Knowledge.started` returned: the attempts already under way there.
    `censored`: `output_tokens` is *at least*, because `max_tokens` cut the answer. (Cancelled and timed-out
    attempts need no flag: their outcome says so.)
    """

    endpoint_index: int
    at_s: float
    outcome: Outcome
    answer_s: float
    ttft_s: float | None = None
    tpot_s: float | None = None
    prompt_bytes: int = 0
    prompt_tokens: int | None = None
    cached_tokens: int = 0
    output_tokens: int | None = None
    choices: int = 1
    wire_bytes: int = 0
    in_flight: int = 0
    censored: bool = False
