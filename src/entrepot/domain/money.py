"""Money as integers: nano-dollars for amounts, nano-dollars per million tokens for prices.

Floats lose cents in sums and decimals are slow on the way of a request; an integer count of
nano-dollars is exact, compares and adds at once, and holds nine billion dollars in 63 bits.
"""

from decimal import Decimal, InvalidOperation

NUSD_PER_USD = 1_000_000_000
TOKENS_PER_MTOK = 1_000_000
_HALF_MTOK = TOKENS_PER_MTOK // 2


def nusd_from_usd(usd: str | int | Decimal) -> int:
    """Return the nano-dollars of an exact amount in dollars; also of a price, per the same unit.

    Units: USD in, nano-USD out; USD per million tokens in, nano-USD per million tokens out.
    Raises: ValueError when it is not a finite number ≥ 0 or is finer than a nano-dollar.
    """
    try:
        amount = Decimal(usd)
    except InvalidOperation:
        raise ValueError(f"{usd!r} is not a decimal number of dollars, such as 0.55") from None
    if not amount.is_finite() or amount < 0:
        raise ValueError(f"{usd!r} dollars: expected a finite number ≥ 0")
    nusd = amount * NUSD_PER_USD
    if nusd != nusd.to_integral_value():
        raise ValueError(f"{usd!r} dollars is finer than a nano-dollar (9 decimals)")
    return int(nusd)


def line_nusd(tokens: int, price_nusd_per_mtok: int) -> int:
    """Return what `tokens` cost, rounded half up to the nano-dollar.

    Units: tokens, nano-USD per million tokens; nano-USD out.
    """
    return (tokens * price_nusd_per_mtok + _HALF_MTOK) // TOKENS_PER_MTOK


def bound_nusd(tokens: int, price_nusd_per_mtok: int) -> int:
    """Return what `tokens` cost at most: rounded up to the nano-dollar, for reservations."""
    return -(-tokens * price_nusd_per_mtok // TOKENS_PER_MTOK)


def usd_text(nusd: int) -> str:
    """Return an exact amount as dollars: at least two decimals, no more than it needs.

    >>> usd_text(6_570_000)
    '0.00657'
    """
    sign = "-" if nusd < 0 else ""
    whole, fraction = divmod(abs(nusd), NUSD_PER_USD)
    return f"{sign}{whole}.{f'{fraction:09d}'.rstrip('0').ljust(2, '0')}"
