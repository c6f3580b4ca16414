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
    for place, (diagonal, wanted, strength) in enumerate(zip(_DIAGONAL, target, strengths, strict=True)):
        sums[diagonal] += strength
        sums[FIRST_PRODUCT + place] += strength * wanted


def solved(sums: Sequence[float], prior: Coefficients, strengths: Sequence[float]) -> Coefficients:
    """Return the coefficients ≥ 0 that fit best, each pulled to its prior with the weight of its strength.

    A coefficient that would fall below 0 is left out and the others are fitted without it: load and length
    never make an answer faster.
    """
    pulled = list(sums)
    pull_towards(pulled, prior, strengths)
    places = [0, 1, 2, 3]
    while places:
        found = _eliminated(pulled, places)
        least = min(range(len(places)), key=found.__getitem__)
        if found[least] >= 0.0:
            of = dict(zip(places, found, strict=True))
            return of.get(0, 0.0), of.get(1, 0.0), of.get(2, 0.0), of.get(3, 0.0)
        del places[least]
    return prior


def _eliminated(sums: Sequence[float], places: list[int]) -> list[float]:
    """Solve the normal equations of these coefficients by Gauss's elimination."""
    rows = [[*(sums[_ROWS[i][j]] for j in places), sums[FIRST_PRODUCT + i]] for i in places]
    count = len(rows)
    for at in range(count):
        pivot_row = rows[at]
        pivot = pivot_row[at]
        if pivot <= _LEAST_PIVOT * sums[_DIAGONAL[places[at]]]:
            pivot_row[at:] = [1.0, *([0.0] * (count - at))]
            continue
        for below in rows[at + 1 :]:
            factor = below[at] / pivot
            for column in range(at, count + 1):
                below[column] -= factor * pivot_row[column]
    found = [0.0] * count
    for at in range(count - 1, -1, -1):
        row = rows[at]
        known = sum(row[column] * found[column] for column in range(at + 1, count))
        found[at] = (row[count] - known) / row[at]
    return found
