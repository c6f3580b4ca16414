"""Notices that a quantity has jumped, by the sums of its surprises (Page's CUSUM test).

Fading alone forgets at one speed: fast enough for a host that slows down threefold within a minute, it would
be far too nervous for one that does not. The test says when to forget, and since when. Source: E. S. Page,
"Continuous inspection schemes", Biometrika 41 (1954); a sum that starts from 0 marks the likeliest instant of
the change.
"""

SLACK = 0.75
"""Surprises below this many standard deviations are no evidence of a jump."""

ALARM = 7.0
"""A jump is believed when so much has come together: one false alarm in tens of thousands of observations,
and a change of three standard deviations is noticed after four."""

MOST_AT_ONCE = 4.0
"""One observation counts for at most as many standard deviations: an outlier alone is no jump."""


class ShiftTest:
    """The running sums of surprises, upwards and downwards.

    `side` says which of the two leads at present (1 or -1), and is 0 while nothing points to a jump: whoever
    collects what was seen since a change began starts again when it changes.
    """

    __slots__ = ("_down", "_up", "side")

    def __init__(self) -> None:
        self._up = 0.0
        self._down = 0.0
        self.side = 0

    def has_jumped(self, surprise: float) -> bool:
        """Take in one surprise, in standard deviations; return whether a jump is certain enough.

        After a jump the sums start from 0; `side` still tells its direction.
        """
        if surprise > MOST_AT_ONCE:
            surprise = MOST_AT_ONCE
        elif surprise < -MOST_AT_ONCE:
            surprise = -MOST_AT_ONCE
        up, down = self._up + surprise - SLACK, self._down - surprise - SLACK
        up, down = up if up > 0.0 else 0.0, down if down > 0.0 else 0.0
        self.side = 1 if up > down else -1 if down > up else 0
        if up < ALARM and down < ALARM:
            self._up, self._down = up, down
            return False
        self._up = self._down = 0.0
        return True
