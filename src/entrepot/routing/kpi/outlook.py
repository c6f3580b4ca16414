"""What the choice reads of an endpoint and of a model: a few floats, made when an observation arrives.

Computing means, shrinkage and load terms for each request would cost more than the request; the choice
reads these rows instead. They are the only mutable values that `choose` touches.
"""


class Outlook:
    """The present forecast of one endpoint.

    Units: seconds, seconds per token, shares of 1. `ttft_s` and `tpot_s` are those with nothing of ours under
    way; each of our attempts under way adds `ttft_per_in_flight_s`, `tpot_per_in_flight_s`. `observations` is
    the decayed count, `uses` the attempts ever started.
    """

    __slots__ = (
        "cached_share",
        "failure_s",
        "in_flight",
        "observations",
        "p_failure",
        "tpot_per_in_flight_s",
        "tpot_s",
        "ttft_per_in_flight_s",
        "ttft_s",
        "uses",
        "wasted_share",
    )

    def __init__(self, *, ttft_s: float, tpot_s: float, p_failure: float, failure_s: float) -> None:
        self.in_flight = 0
        self.uses = 0
        self.observations = 0.0
        self.ttft_s = ttft_s
        self.ttft_per_in_flight_s = 0.0
        self.tpot_s = tpot_s
        self.tpot_per_in_flight_s = 0.0
        self.p_failure = p_failure
        self.failure_s = failure_s
        self.wasted_share = 0.0
        self.cached_share = 0.0


class ModelOutlook:
    """The present forecast of what a model does with a prompt, wherever it is served.

    Units: `verbosity_tokens` output tokens per choice, `cautious_verbosity_tokens` such that one answer in a
    hundred has more; tokens per byte of the request body, expected and such that a prompt seldom (1 in
    20) has more.
    """

    __slots__ = (
        "cautious_tokens_per_byte",
        "cautious_verbosity_tokens",
        "tokens_per_byte",
        "verbosity_tokens",
    )

    def __init__(self) -> None:
        self.verbosity_tokens = 0.0
        self.cautious_verbosity_tokens = 0.0
        self.tokens_per_byte = 0.0
        self.cautious_tokens_per_byte = 0.0
