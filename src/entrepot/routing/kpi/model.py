"""What a model does wherever it is served: how many tokens it answers with, how many bytes make a token.

Kept per model and not per endpoint: hosts of the same weights share both, and twenty endpoints with
few answers each would never learn them.
"""

from entrepot.domain.outcome import Outcome
from entrepot.routing.kpi.distribution import Distribution
from entrepot.routing.kpi.observation import Observation
from entrepot.routing.kpi.outlook import ModelOutlook
from entrepot.routing.kpi.priors import ModelPriors
from entrepot.routing.kpi.success import Successes
from entrepot.routing.kpi.table import Table, log_normal_shares
from entrepot.routing.kpi.timing import PSEUDO_COUNT
from entrepot.routing.kpi.verbosity import HALF_LIFE_S, Classes, Verbosity

__all__ = ["HALF_LIFE_S", "ModelMeasures"]

CAUTIOUS_SHARE = 0.05
"""The quantile of bytes per token for limits: one prompt in twenty has more tokens than it tells."""

CAUTIOUS_PSEUDO_COUNT = PSEUDO_COUNT / CAUTIOUS_SHARE
"""Prompts that the prior of that quantile is worth: it rests on one in twenty of them, so it takes twenty
times as many as a mean. With fewer, models of which little is known would get less care, and the longest
prompts of all."""

CAUTIOUS_PRIOR = 0.7
"""Before it is measured: code and markup have about 0.7 of the bytes per token of prose."""

LONG_SHARE = 0.99
"""The quantile of verbosity for soft budgets: one answer in a hundred is longer."""

SUCCESS_PSEUDO_COUNT = 20.0
"""Answers that a declared share of success is worth: as many as tell a share to a tenth."""

TABLE_PART = 1.0 / 12.0
"""The table of answer lengths is made again when its samples have grown by this part."""

ASSUMED_DOUBT = 0.7
"""Standard deviation of the logarithm of a mean verbosity that was declared or assumed: twofold either way.
"""

ANSWER_SPREAD = 1.0
"""Of the logarithm of single answers, for how much another one teaches."""

BYTES_SPREAD = 0.25
"""Standard deviation of the logarithm of the bytes per token, until measured: prose, markup, code."""

LOWEST_BYTES_PER_TOKEN = 0.01

_OK = Outcome.OK


class ModelMeasures:
    """The decayed distributions of one model; the holder gives each observation its weight.

    `bytes_per_token` is weighted by tokens as well, so that the fixed bytes around a short prompt do not
    count for a long one; `prompts` is the weight of the prompts without that factor.
    """

    __slots__ = (
        "_tabled",
        "bytes_per_token",
        "cautious_bytes_per_token",
        "last_at_s",
        "most_bytes_per_token",
        "prompts",
        "successes",
        "verbosity",
    )

    def __init__(self, priors: ModelPriors, common: Classes) -> None:
        self.verbosity = Verbosity(common)
        self.bytes_per_token = Distribution(LOWEST_BYTES_PER_TOKEN)
        self.successes = Successes()
        self.prompts = 0.0
        self.cautious_bytes_per_token = CAUTIOUS_PRIOR * priors.bytes_per_token.value
        self.most_bytes_per_token = priors.bytes_per_token.value
        self.last_at_s: float | None = None
        self._tabled = 0.0

    def observe(
        self,
        seen: Observation,
        weight: float,
        priors: ModelPriors,
        *,
        output_tokens: float,
        prompt_tokens: float,
    ) -> None:
        """Count one ended attempt.

        An answer cut by `max_tokens`, by the client or by a failure counts as at least what was written.
        Units: `output_tokens` are those that the host told, or what was written by the bytes of the stream;
        `prompt_tokens` likewise, or expected.
        """
        self.last_at_s = seen.at_s
        if output_tokens:
            self.verbosity.observe(
                output_tokens / seen.choices,
                prompt_tokens=prompt_tokens,
                sender=(seen.key_id, seen.tag_id),
                prior_tokens=priors.verbosity_tokens.value,
                weight=weight,
                now_s=seen.at_s,
                censored=seen.censored or seen.outcome is not _OK,
            )
        if seen.prompt_tokens and seen.prompt_bytes:
            self.prompts += weight
            self.bytes_per_token.add(seen.prompt_bytes / seen.prompt_tokens, weight * seen.prompt_tokens)

    def refresh(self, outlook: ModelOutlook, priors: ModelPriors, unit: float) -> None:
        """Write the present forecast into `outlook`; `unit` is the weight of an observation made now."""
        self.remake(outlook, priors, unit)
        self.write(outlook, priors, unit)

    def remake(self, outlook: ModelOutlook, priors: ModelPriors, unit: float) -> None:
        """Make the table of answer lengths again when enough is new."""
        verbosity = self.verbosity
        weight = verbosity.parts.weight
        tabled = self._tabled if self._tabled < weight else weight  # it was faded meanwhile
        self._tabled = tabled
        if weight - tabled > TABLE_PART * weight:
            self._tabled = weight
            verbosity.table = verbosity.tabled(unit)
            self._refresh_longest(outlook, priors)

    def write(self, outlook: ModelOutlook, priors: ModelPriors, unit: float) -> None:
        """Write what follows from the sums and changes none of them."""
        verbosity = self.verbosity
        outlook.verbosity_tokens = verbosity.mean_tokens(priors.verbosity_tokens.value)
        ratio = self.expected_bytes_per_token(priors, unit)
        outlook.tokens_per_byte = 1.0 / ratio
        outlook.cautious_tokens_per_byte = 1.0 / min(self.cautious_bytes_per_token, ratio)
        outlook.least_tokens_per_byte = 1.0 / max(self.most_bytes_per_token, ratio)
        precision = 1.0 / ASSUMED_DOUBT**2 + verbosity.whole.weight / ANSWER_SPREAD**2
        outlook.doubt = precision**-0.5

    def _refresh_longest(self, outlook: ModelOutlook, priors: ModelPriors) -> None:
        table, usual = self.verbosity.table, self.verbosity.usual_tokens(priors.verbosity_tokens.value)
        outlook.cautious_verbosity_tokens = usual * table.quantile(LONG_SHARE) / table.mean

    def success_share(self, declared: float | None) -> float | None:
        """Return the share of answers that their senders called of use, None when nobody says anything of it.

        What was declared counts as `SUCCESS_PSEUDO_COUNT` answers; without that many told it is not known.
        """
        told = self.successes
        if declared is not None:
            return (told.total + SUCCESS_PSEUDO_COUNT * declared) / (told.weight + SUCCESS_PSEUDO_COUNT)
        return told.total / told.weight if told.weight >= SUCCESS_PSEUDO_COUNT else None

    def refresh_caution(self, outlook: ModelOutlook, priors: ModelPriors, unit: float) -> None:
        """Find the cautious figures again: quantiles, which are too slow for each observation."""
        usual = log_normal_shares(LOWEST_BYTES_PER_TOKEN, priors.bytes_per_token.value, BYTES_SPREAD)
        tokens = self.bytes_per_token.weight / self.prompts if self.prompts else 1.0
        outlook.bytes_per_token = Table(self.bytes_per_token, usual, PSEUDO_COUNT * unit * tokens)
        self.most_bytes_per_token = outlook.bytes_per_token.quantile(1.0 - CAUTIOUS_SHARE)
        self._refresh_longest(outlook, priors)
        prior = CAUTIOUS_PRIOR * priors.bytes_per_token.value
        measured = self.bytes_per_token.quantile(CAUTIOUS_SHARE)
        trust = self.prompts / (self.prompts + CAUTIOUS_PSEUDO_COUNT * unit)
        self.cautious_bytes_per_token = prior if measured is None else prior + trust * (measured - prior)

    def expected_bytes_per_token(self, priors: ModelPriors, unit: float) -> float:
        """Return the bytes of a prompt token, shrunk to the prior by `PSEUDO_COUNT` prompts."""
        if self.prompts <= 0.0:
            return priors.bytes_per_token.value
        trust = self.prompts / (self.prompts + PSEUDO_COUNT * unit)
        measured = self.bytes_per_token.total / self.bytes_per_token.weight
        return priors.bytes_per_token.value + trust * (measured - priors.bytes_per_token.value)

    def scale(self, factor: float) -> None:
        """Multiply all weights, when the holder moves its landmark."""
        self.verbosity.parts.scale(factor)
        self.bytes_per_token.scale(factor)
        self.prompts *= factor
        self._tabled *= factor
