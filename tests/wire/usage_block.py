"""A recorded usage block with what it cost, and the prices that it is billed at, as people write them."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from entrepot.domain.prices import Prices


class Block(NamedTuple):
    """One recorded block.

    Units: `worked` tokens × USD per million tokens, line by line; `nusd` nano-USD; `billed_usd` what the host
    itself says that it billed, in its own block. `odd`: it contradicts itself, and is read as the dearer.
    """

    name: str
    source: str
    seen: str
    block: str
    prices: Prices
    worked: str
    nusd: int
    odd: bool = False
    billed_usd: str = ""


def prices(
    input_usd: str,
    output_usd: str,
    *,
    cached: str | None = None,
    write: str | None = None,
    write_1h: str | None = None,
    request: str = "0",
) -> Prices:
    """Return prices in USD per million tokens, and USD per request."""
    nano = [None if usd is None else int(Decimal(usd) * 10**9) for usd in (cached, write, write_1h)]
    return Prices(
        int(Decimal(input_usd) * 10**9),
        int(Decimal(output_usd) * 10**9),
        cached_nusd_per_mtok=nano[0],
        cache_write_nusd_per_mtok=nano[1],
        request_nusd=int(Decimal(request) * 10**9),
        cache_write_1h_nusd_per_mtok=nano[2],
    )
