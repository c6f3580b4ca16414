"""How often the answers of a model are of use, by what clients say of them.

A word can be taken back: who thinks again must not count twice, and who says the same thing a thousand times
must not make the words of others fade.
"""

from math import exp2

from entrepot.routing.kpi.verbosity import HALF_LIFE_S, WINDOW, Level


class Successes(Level):
    """Decayed weights of what was said, and of what of it was good: `total` is never more than `weight`."""

    __slots__ = ()

    def tell(self, *, succeeded: bool, now_s: float, weight: float = 1.0, again: bool = False) -> None:
        """Count a word; one that is said `again`, after `take_back`, does not make others fade once more.

        Units: `weight` is the part of the word that is about this model, at most 1.
        """
        self._fade(now_s)
        kept = 1.0 if again else 1.0 - weight / WINDOW
        self.weight = self.weight * kept + weight
        self.total = self.total * kept + weight * succeeded
        self.seen = self.seen * kept + weight

    def take_back(self, *, succeeded: bool, now_s: float, ago_s: float, weight: float = 1.0) -> None:
        """Undo a word of `ago_s` seconds ago, as much of it as time has left.

        That later words made it fade as well is not undone: of `WINDOW` words that is a part in as many. What
        was never learned (it may have been lost in a crash) leaves nothing below zero.
        """
        self._fade(now_s)
        left = weight * exp2(-ago_s / HALF_LIFE_S)
        self.weight = max(self.weight - left, 0.0)
        self.total = min(max(self.total - left * succeeded, 0.0), self.weight)
        self.seen = max(self.seen - left, 0.0)

    def count_at(self, now_s: float) -> float:
        """Return the decayed weight at an instant not before the last word."""
        return self.weight * exp2(min(self.at_s - now_s, 0.0) / HALF_LIFE_S)

    def _fade(self, now_s: float) -> None:
        kept = exp2(min(self.at_s - now_s, 0.0) / HALF_LIFE_S)
        self.weight *= kept
        self.total *= kept
        self.seen *= kept
        self.at_s = now_s
