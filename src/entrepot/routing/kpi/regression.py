"""A decayed linear fit of a duration: level, part per prompt token, and how both grow with load.

Least squares on sums that any weight can be added to, so that old observations fade as everywhere here. A
Kalman filter would carry its uncertainty along, and would need a noise of its own for each coefficient that
nobody can state; a queueing model needs the capacity of the host, which is not known before it is reached.
Errors are relative (each observation is divided by what was expected of it): hosts that take ten times as
long are ten times as uncertain.
"""

from collections.abc import Sequence

COEFFICIENTS = 4
"""Level, per thousand uncached prompt tokens, per attempt under way, and per both together."""

SUMS = COEFFICIENTS * (COEFFICIENTS + 1) // 2 + COEFFICIENTS
"""The upper triangle of the products, row by row, and the products with the duration."""

FIRST_PRODUCT = SUMS - COEFFICIENTS

TOKENS_PER_UNIT = 1000.0
"""Of the second coefficient: near the size of the others, so that nothing is lost in rounding."""

Coefficients = tuple[float, float, float, float]

_DIAGONAL = (0, 4, 7, 9)
_ROWS = ((0, 1, 2, 3), (1, 4, 5, 6), (2, 5, 7, 8), (3, 6, 8, 9))
_LEAST_PIVOT = 1e-12


def empty_sums() -> list[float]:
    """Return the sums of no observations."""
    return [0.0] * SUMS


def add_to(
    sums: list[float], uncached_tokens: float, in_flight: float, value_s: float, weight: float
) -> None:
    """Count one duration. Units: tokens, attempts already under way, seconds; a weight of the holder."""
    w_y = weight * value_s
    sums[0] += weight
    sums[10] += w_y
    if uncached_tokens:
        u = uncached_tokens / TOKENS_PER_UNIT
        w_u = weight * u
        sums[1] += w_u
        sums[4] += w_u * u
        sums[11] += u * w_y
        if in_flight:
            w_n = weight * in_flight
            u_n, w_un = u * in_flight, w_u * in_flight
            sums[2] += w_n
            sums[3] += w_un
            sums[5] += w_un
            sums[6] += w_un * u
            sums[7] += w_n * in_flight
            sums[8] += w_un * in_flight
            sums[9] += w_un * u_n
            sums[12] += in_flight * w_y
            sums[13] += u_n * w_y
    elif in_flight:
        w_n = weight * in_flight
        sums[2] += w_n
        sums[7] += w_n * in_flight
        sums[12] += in_flight * w_y


def pull_towards(sums: list[float], target: Coefficients, strengths: Sequence[float]) -> None:
    """Add to the sums that each coefficient was seen to be its target, with these weights."""
    wanted0, wanted1, wanted2, wanted3 = target
    strength0, strength1, strength2, strength3 = strengths
    sums[0] += strength0
    sums[4] += strength1
    sums[7] += strength2
    sums[9] += strength3
    sums[10] += strength0 * wanted0
    sums[11] += strength1 * wanted1
    sums[12] += strength2 * wanted2
    sums[13] += strength3 * wanted3


def solved(sums: Sequence[float], prior: Coefficients, strengths: Sequence[float]) -> Coefficients:
    """Return the coefficients ≥ 0 that fit best, each pulled to its prior with the weight of its strength.

    A coefficient that would fall below 0 is left out and the others are fitted without it: load and length
    never make an answer faster.
    """
    if not sums[1]:
        return _without_tokens(sums, prior, strengths)
    pulled = list(sums)
    pull_towards(pulled, prior, strengths)
    for _ in range(COEFFICIENTS):
        found = _eliminated(pulled)
        first, second, third, fourth = found
        if first >= 0.0 and second >= 0.0 and third >= 0.0 and fourth >= 0.0:
            return found
        least = min(found)
        place = found.index(least)
        for other in _ROWS[place]:
            pulled[other] = 0.0
        pulled[_DIAGONAL[place]], pulled[FIRST_PRODUCT + place] = 1.0, 0.0
    return prior


def _without_tokens(sums: Sequence[float], prior: Coefficients, strengths: Sequence[float]) -> Coefficients:
    """Return the same where no prompt had a token, as of every TPOT: what tokens add is as expected.

    Of two coefficients, fitted to durations, one at most falls below 0.
    """
    level, per_unit, per_attempt, per_both = prior
    strength0, strength1, strength2, strength3 = strengths
    per_unit = strength1 * per_unit / strength1 if strength1 > 0.0 else 0.0
    per_both = strength3 * per_both / strength3 if strength3 > 0.0 else 0.0
    a00, a02, a22 = sums[0] + strength0, sums[2], sums[7] + strength2
    y0, y2 = sums[10] + strength0 * level, sums[12] + strength2 * per_attempt
    if a00 <= 0.0:
        a00, a02, y0 = 1.0, 0.0, 0.0
    part = a02 / a00
    pivot = a22 - part * a02
    found2 = 0.0 if pivot <= _LEAST_PIVOT * a22 else (y2 - part * y0) / pivot
    if found2 < 0.0:
        return y0 / a00, per_unit, 0.0, per_both
    found0 = y0 / a00 - part * found2
    if found0 < 0.0:
        return 0.0, per_unit, y2 / a22, per_both
    return found0, per_unit, found2, per_both


def _eliminated(sums: Sequence[float]) -> Coefficients:
    """Solve the normal equations by Gauss's elimination, written out: it is done for most observations.

    A pivot that is rounding beside its sum is of a coefficient that the others tell already: it is 0.
    """
    a00, a01, a02, a03, a11, a12, a13, a22, a23, a33, y0, y1, y2, y3 = sums
    if a00 <= 0.0:
        a00, a01, a02, a03, y0 = 1.0, 0.0, 0.0, 0.0, 0.0
    part1, part2, part3 = a01 / a00, a02 / a00, a03 / a00
    b11, b12, b13, z1 = a11 - part1 * a01, a12 - part1 * a02, a13 - part1 * a03, y1 - part1 * y0
    if b11 <= _LEAST_PIVOT * a11:
        b11, b12, b13, z1 = 1.0, 0.0, 0.0, 0.0
    then2, then3 = b12 / b11, b13 / b11
    c22, c23 = a22 - part2 * a02 - then2 * b12, a23 - part2 * a03 - then2 * b13
    z2 = y2 - part2 * y0 - then2 * z1
    if c22 <= _LEAST_PIVOT * a22:
        c22, c23, z2 = 1.0, 0.0, 0.0
    last3 = c23 / c22
    d33 = a33 - part3 * a03 - then3 * b13 - last3 * c23
    z3 = y3 - part3 * y0 - then3 * z1 - last3 * z2
    found3 = 0.0 if d33 <= _LEAST_PIVOT * a33 else z3 / d33
    found2 = z2 / c22 - last3 * found3
    found1 = z1 / b11 - then2 * found2 - then3 * found3
    return y0 / a00 - part1 * found1 - part2 * found2 - part3 * found3, found1, found2, found3
