"""At how many attempts under way an endpoint answers 429: its capacity for us, which nobody declares.

A count per class of load instead of one learned number: hosts refuse some requests at any load, since others
share them, and a single number would have to choose between the two causes.
"""

from math import log2

CLASSES = 20
PER_OCTAVE = 2.0
"""Classes per doubling of the load: a capacity is found to within forty percent."""

PSEUDO_COUNT = 2.0


def load_class(in_flight: int) -> int:
    """Return the class of a load. Units: attempts already under way."""
    place = int(PER_OCTAVE * log2(in_flight + 1))
    return place if place < CLASSES else CLASSES - 1


class LoadLimit:
    """Attempts and refusals per class of load; the holder gives the weights. `shares` are the result."""

    __slots__ = ("refused", "shares", "tried")

    def __init__(self) -> None:
        self.tried = [0.0] * CLASSES
        self.refused = [0.0] * CLASSES
        self.shares = [0.0] * CLASSES

    def add(self, in_flight: int, weight: float, unit: float, *, refused: bool) -> None:
        """Count an attempt that was, or was not, answered 429 with so many others under way."""
        place = load_class(in_flight)
        self.tried[place] += weight
        if refused:
            self.refused[place] += weight
        self.refresh(unit)

    def refresh(self, unit: float) -> None:
        """Make the shares again: each class is shrunk to the one below it, and never below that."""
        pseudo, below = PSEUDO_COUNT * unit, 0.0
        for place, (tried, refused) in enumerate(zip(self.tried, self.refused, strict=True)):
            below = max(below, (refused + pseudo * below) / (tried + pseudo))
            self.shares[place] = below

    def scale(self, factor: float) -> None:
        """Multiply all weights, when the holder moves its landmark."""
        self.tried = [factor * kept for kept in self.tried]
        self.refused = [factor * kept for kept in self.refused]

    def restore(self, tried: list[float], refused: list[float]) -> None:
        """Take kept counts in place of the present ones.

        Raises: ValueError when they are not as many as expected, or one is not finite and ≥ 0.
        """
        for kept in (tried, refused):
            if len(kept) != CLASSES or not all(0 <= value < float("inf") for value in kept):
                raise ValueError(f"counts by load {kept!r}: expected {CLASSES} finite numbers ≥ 0")
        self.tried, self.refused = list(tried), list(refused)
