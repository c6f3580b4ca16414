"""The prices of an endpoint and the bill that follows from them, exact to the nano-dollar."""

from msgspec import Struct

from entrepot.domain.money import bound_nusd, line_nusd
from entrepot.domain.usage import Usage

SPLIT_ROUNDING_NUSD = 1
"""Three prompt lines, each rounded half up, can pass their rounded-up sum by one: 3 × 0.5 is billed as 3."""


class Bill(Struct, frozen=True):
    """What one attempt costs, line by line.

    Units: nano-USD. Reasoning is inside `output_nusd`.
    """

    uncached_nusd: int = 0
    cached_nusd: int = 0
    cache_write_nusd: int = 0
    output_nusd: int = 0
    request_nusd: int = 0

    @property
    def total_nusd(self) -> int:
        """Return the sum of all lines."""
        return (
            self.uncached_nusd
            + self.cached_nusd
            + self.cache_write_nusd
            + self.output_nusd
            + self.request_nusd
        )


class Prices(Struct, frozen=True):
    """List or contract prices of one endpoint.

    Units: nano-USD per million tokens; `request_nusd` nano-USD per request. A host that declares no
    cached price charges cached tokens like any other, and so do we.
    """

    input_nusd_per_mtok: int
    output_nusd_per_mtok: int
    cached_nusd_per_mtok: int | None = None
    cache_write_nusd_per_mtok: int | None = None
    request_nusd: int = 0
    source: str = ""
    checked: str = ""

    @property
    def cached_or_input_nusd_per_mtok(self) -> int:
        """Return the price of a cached prompt token, which is the input price when none is declared."""
        return self.input_nusd_per_mtok if self.cached_nusd_per_mtok is None else self.cached_nusd_per_mtok

    def bill(self, usage: Usage) -> Bill:
        """Return the lines of one attempt, each rounded half up to the nano-dollar."""
        write = self.cache_write_nusd_per_mtok
        return Bill(
            uncached_nusd=line_nusd(usage.uncached_tokens, self.input_nusd_per_mtok),
            cached_nusd=line_nusd(usage.cached_tokens, self.cached_or_input_nusd_per_mtok),
            cache_write_nusd=line_nusd(
                usage.cache_write_tokens, self.input_nusd_per_mtok if write is None else write
            ),
            output_nusd=line_nusd(usage.output_tokens, self.output_nusd_per_mtok),
            request_nusd=self.request_nusd,
        )

    def bound_nusd(self, prompt_tokens: int, output_tokens: int) -> int:
        """Return the most that an attempt of at most these tokens can cost.

        Units: tokens; nano-USD.
        """
        dearest_input = max(
            self.input_nusd_per_mtok,
            self.cached_or_input_nusd_per_mtok,
            self.cache_write_nusd_per_mtok or 0,
        )
        return (
            bound_nusd(prompt_tokens, dearest_input)
            + (SPLIT_ROUNDING_NUSD if dearest_input else 0)
            + bound_nusd(output_tokens, self.output_nusd_per_mtok)
            + self.request_nusd
        )
