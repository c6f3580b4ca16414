"""The constants of the choice that an operator may set; their defaults carry their reason."""

from msgspec import Struct


class RoutingSettings(Struct, frozen=True):
    """How the choice weighs, forgets and explores.

    Units: USD per hour of waiting; seconds; shares of 1. `time_scale` multiplies every measured duration
    before it becomes knowledge: simulated hosts that run s times faster are seen at their true speed.
    `exploration_share` is the part of each key's expected cost (dollars and waiting) that trying what is
    little known may cost on top of it; 0 never tries. The `assumed_*` values stand in where nothing was
    declared or measured, and are shown as assumed.
    """

    value_of_time_usd_per_hour: float = 5.0
    exploration_share: float = 0.02
    half_life_s: float = 600.0
    time_scale: float = 1.0
    assumed_ttft_s: float = 1.0
    assumed_tokens_per_s: float = 40.0
    assumed_verbosity_tokens: float = 500.0
    assumed_bytes_per_token: float = 4.0
    assumed_failure_share: float = 0.01
    assumed_prefill_tokens_per_s: float = 10_000.0
