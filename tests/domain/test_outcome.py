"""How attempts end: whom each kind blames, and numbers that a journal can keep."""

from __future__ import annotations

import pytest

from entrepot.domain.outcome import Outcome


@pytest.mark.parametrize(
    ("outcome", "number", "blames"),
    [
        (Outcome.OK, 0, False),
        (Outcome.CANCELLED, 1, False),
        (Outcome.FAILED, 2, True),
        (Outcome.TRUNCATED, 3, True),
        (Outcome.TIMED_OUT, 4, True),
        (Outcome.REFUSED, 5, False),
        (Outcome.RATE_LIMITED, 6, True),
    ],
)
def test_each_outcome_keeps_its_number_and_its_blame(outcome: Outcome, number: int, *, blames: bool) -> None:
    """The numbers are in journals; a client that leaves or sends nonsense is not the host's fault."""
    assert outcome == number
    assert outcome.blames_endpoint is blames


def test_the_table_is_complete() -> None:
    """An outcome that is added has to say whom it blames."""
    assert len(Outcome) == 7
