"""What a model does wherever it is served: how many tokens it answers with, how many bytes make a token.

Kept per model and not per endpoint: hosts of the same weights share both, and twenty endpoints with
few answers each would never learn them.
"""

from entrepot.domain.outcome import Outcome
from entrepot.routing.kpi.distribution import Distribution
from entrepot.routing.kpi.observation import Observation
from entrepot.routing.kpi.outlook import ModelOutlook
from entrepot.routing.kpi.priors import ModelPriors
from entrepot.routing.kpi.timing import PSEUDO_COUNT

HALF_LIFE_S = 86_400.0
"""Verbosity changes with the mix of prompts over days, not with a host's load over minutes."""

CAUTIOUS_SHARE = 0.05
"""The quantile of bytes per token for limits: one prompt in twenty has more tokens than it tells."""

CAUTIOUS_PRIOR = 0.7
"""Before it is measured: code and markup have about 0.7 of the bytes per token of prose."""

LONG_SHARE = 0.99
"""The quantile of verbosity for soft budgets: one answer in a hundred is longer."""

LONG_PRIOR = 4.0
"""Before it is measured: one answer in a hundred has more than about four times the mean."""

LOWEST_TOKENS = 1.0
LOWEST_BYTES_PER_TOKEN = 0.01

_OK = Outcome.OK


class ModelMeasures:
    """The decayed distributions of one model; the holder gives each observation its weight.

    `bytes_per_token` is weighted by tokens as well, so that the fixed bytes around a short prompt do not
    count for a long one; `prompts` is the weight of the prompts without that factor.
    """

    __slots__ = (
        "bytes_per_token",
        "cautious_bytes_per_token",
        "last_at_s",
        "long_verbosity_tokens",
        "prompts",
        "verbosity",
    )

    def __init__(self, priors: ModelPriors) -> None:
        self.verbosity = Distribution(LOWEST_TOKENS)
        self.bytes_per_token = Distribution(LOWEST_BYTES_PER_TOKEN)
        self.prompts = 0.0
        self.cautious_bytes_per_token = CAUTIOUS_PRIOR * priors.bytes_per_token.value
        self.long_verbosity_tokens = LONG_PRIOR * priors.verbosity_tokens.value
        self.last_at_s: float | None = None

    def observe(
        self, seen: Observation, weight: float, outlook: ModelOutlook, *, output_tokens: float
    ) -> None:
        """Count one ended attempt; `outlook` is the forecast before it, which places what was censored.

        An answer cut by `max_tokens`, by the client or by a failure counts as at least what was written.
        Units: `output_tokens` are those that the host told, or what was written by the bytes of the stream.
        """
        self.last_at_s = seen.at_s
        if output_tokens:
            tokens = output_tokens / seen.choices
            if seen.censored or seen.outcome is not _OK:
                tokens = self.verbosity.at_least(tokens, expected=outlook.verbosity_tokens)
            self.verbosity.add(tokens, weight)
        if seen.prompt_tokens and seen.prompt_bytes:
            self.prompts += weight
            self.bytes_per_token.add(seen.prompt_bytes / seen.prompt_tokens, weight * seen.prompt_tokens)

    def refresh(self, outlook: ModelOutlook, priors: ModelPriors, unit: float) -> None:
        """Write the present forecast into `outlook`; `unit` is the weight of an observation made now."""
        pseudo = PSEUDO_COUNT * unit
        verbosity = self.verbosity
        outlook.verbosity_tokens = (verbosity.total + pseudo * priors.verbosity_tokens.value) / (
            verbosity.weight + pseudo
        )
        ratio = self.expected_bytes_per_token(priors, unit)
        outlook.tokens_per_byte = 1.0 / ratio
        outlook.cautious_tokens_per_byte = 1.0 / min(self.cautious_bytes_per_token, ratio)
        outlook.cautious_verbosity_tokens = max(self.long_verbosity_tokens, outlook.verbosity_tokens)

    def refresh_caution(self, priors: ModelPriors, unit: float) -> None:
        """Find the cautious figures again: quantiles, which are too slow for each observation."""
        prior = CAUTIOUS_PRIOR * priors.bytes_per_token.value
        measured = self.bytes_per_token.quantile(CAUTIOUS_SHARE)
        trust = self.prompts / (self.prompts + PSEUDO_COUNT * unit)
        self.cautious_bytes_per_token = prior if measured is None else prior + trust * (measured - prior)
        long_prior, longest = LONG_PRIOR * priors.verbosity_tokens.value, self.verbosity.quantile(LONG_SHARE)
        trust = self.verbosity.weight / (self.verbosity.weight + PSEUDO_COUNT * unit)
        self.long_verbosity_tokens = (
            long_prior if longest is None else long_prior + trust * (longest - long_prior)
        )

    def expected_bytes_per_token(self, priors: ModelPriors, unit: float) -> float:
        """Return the bytes of a prompt token, shrunk to the prior by `PSEUDO_COUNT` prompts."""
        if self.prompts <= 0.0:
            return priors.bytes_per_token.value
        trust = self.prompts / (self.prompts + PSEUDO_COUNT * unit)
        measured = self.bytes_per_token.total / self.bytes_per_token.weight
        return priors.bytes_per_token.value + trust * (measured - priors.bytes_per_token.value)

    def scale(self, factor: float) -> None:
        """Multiply all weights, when the holder moves its landmark."""
        self.verbosity.scale(factor)
        self.bytes_per_token.scale(factor)
        self.prompts *= factor
