"""What the relay saw of one attempt: the only way in which knowledge changes."""

from msgspec import Struct

from entrepot.domain.outcome import Outcome


class Observation(Struct, frozen=True, gc=False):
    """One ended attempt.

    Units: seconds, bytes, tokens, nano-USD. `at_s` is the monotonic clock at the end. All other durations are
    already multiplied by `RoutingSettings.time_scale`, as they stand in the settle entry. `ttft_s` is None
    when no content came, or when the answer came whole (not streamed); `tpot_s` when it cannot be told.
    `answer_s` is the time from sending to the end, whatever the end was. `prompt_bytes` is that of the
    `Request`; token counts are those of the whole attempt (all choices), None when the host told none: an
    estimate for the bill, at its upper bound, is not an observation. `cached_tokens` are inside
    `prompt_tokens`; of them `known_tokens` were expected, since their beginning had been sent there (0 to the
    whole prompt). `wire_bytes` is the length of a streamed answer, also of one that was cut; 0 for a plain
    one. `in_flight` is what `Knowledge.started` returned: the attempts already under way there. `censored`:
    `output_tokens` is *at least*, because `max_tokens` cut the answer. (Cancelled and timed-out attempts need
    no flag: their outcome says so.) `key_id` and `tag_id` say whose verbosity it is. `billed_nusd` is the
    bill by our prices, `discount_nusd` what it has less because of cached tokens, and `told_nusd` what the
    host itself says that it cost, None when it says nothing.
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
    known_tokens: float = 0.0
    key_id: int = 0
    tag_id: int = 0
    billed_nusd: int = 0
    discount_nusd: int = 0
    told_nusd: int | None = None
