"""The prices of an endpoint and the bill that follows from them, exact to the nano-dollar."""

from msgspec import Struct

from entrepot.domain.money import bound_nusd, line_nusd
from entrepot.domain.usage import Usage

SPLIT_ROUNDING_NUSD = 2
"""Lines rounded half up can pass their rounded-up sum: four prompt lines by 2 (4 × 0.5 is billed as 4)."""

OUTPUT_ROUNDING_NUSD = 1
"""The same for output and reasoning: 2 × 0.5 is billed as 2."""


class Bill(Struct, frozen=True):
    """What one attempt costs, line by line.

    Units: nano-USD. `output_nusd` is for the output that is not reasoning; `cache_write_nusd` for what is
    kept for minutes, `cache_write_1h_nusd` for an hour.
    """

    uncached_nusd: int = 0
    cached_nusd: int = 0
    cache_write_nusd: int = 0
    output_nusd: int = 0
    request_nusd: int = 0
    reasoning_nusd: int = 0
    cache_write_1h_nusd: int = 0

    @property
    def total_nusd(self) -> int:
        """Return the sum of all lines."""
        return (
            self.uncached_nusd
            + self.cached_nusd
            + self.cache_write_nusd
            + self.output_nusd
            + self.request_nusd
            + self.reasoning_nusd
            + self.cache_write_1h_nusd
        )


class Prices(Struct, frozen=True):
    """List or contract prices of one endpoint.

    Units: nano-USD per million tokens; `request_nusd` nano-USD per request. A host that declares no
    cached price charges cached tokens like any other, and so do we; the same holds for cache writes (those
    for an hour cost what shorter ones do) and for reasoning (like other output). `label` says to what hours
    or lengths of prompt these prices belong, where an endpoint has several.
    """

    input_nusd_per_mtok: int
    output_nusd_per_mtok: int
    cached_nusd_per_mtok: int | None = None
    cache_write_nusd_per_mtok: int | None = None
    request_nusd: int = 0
    source: str = ""
    checked: str = ""
    cache_write_1h_nusd_per_mtok: int | None = None
    reasoning_nusd_per_mtok: int | None = None
    label: str = ""

    @property
    def cached_or_input_nusd_per_mtok(self) -> int:
        """Return the price of a cached prompt token, which is the input price when none is declared."""
        return self.input_nusd_per_mtok if self.cached_nusd_per_mtok is None else self.cached_nusd_per_mtok

    @property
    def write_or_input_nusd_per_mtok(self) -> int:
        """Return the price of a token written to a cache for minutes."""
        write = self.cache_write_nusd_per_mtok
        return self.input_nusd_per_mtok if write is None else write

    @property
    def write_1h_or_write_nusd_per_mtok(self) -> int:
        """Return the price of a token written to a cache for an hour."""
        write = self.cache_write_1h_nusd_per_mtok
        return self.write_or_input_nusd_per_mtok if write is None else write

    @property
    def reasoning_or_output_nusd_per_mtok(self) -> int:
        """Return the price of a reasoning token, which is that of output when none is declared."""
        reasoning = self.reasoning_nusd_per_mtok
        return self.output_nusd_per_mtok if reasoning is None else reasoning

    def bill(self, usage: Usage) -> Bill:
        """Return the lines of one attempt, each rounded half up to the nano-dollar."""
        written, written_1h, reasoning = 0, 0, 0
        if usage.cache_write_tokens:
            written = line_nusd(usage.cache_write_tokens, self.write_or_input_nusd_per_mtok)
        if usage.cache_write_1h_tokens:
            written_1h = line_nusd(usage.cache_write_1h_tokens, self.write_1h_or_write_nusd_per_mtok)
        if usage.reasoning_tokens:
            reasoning = line_nusd(usage.reasoning_tokens, self.reasoning_or_output_nusd_per_mtok)
        return Bill(
            line_nusd(usage.uncached_tokens, self.input_nusd_per_mtok),
            line_nusd(usage.cached_tokens, self.cached_or_input_nusd_per_mtok),
            written,
            line_nusd(usage.output_tokens - usage.reasoning_tokens, self.output_nusd_per_mtok),
            self.request_nusd,
            reasoning,
            written_1h,
        )

    def bound_nusd(self, prompt_tokens: int, output_tokens: int) -> int:
        """Return the most that an attempt of at most these tokens can cost.

        Units: tokens; nano-USD.
        """
        dearest_input = max(
            self.input_nusd_per_mtok,
            self.cached_or_input_nusd_per_mtok,
            self.cache_write_nusd_per_mtok or 0,
            self.cache_write_1h_nusd_per_mtok or 0,
        )
        dearest_output = max(self.output_nusd_per_mtok, self.reasoning_nusd_per_mtok or 0)
        return (
            bound_nusd(prompt_tokens, dearest_input)
            + (SPLIT_ROUNDING_NUSD if dearest_input else 0)
            + bound_nusd(output_tokens, dearest_output)
            + (OUTPUT_ROUNDING_NUSD if dearest_output else 0)
            + self.request_nusd
        )
