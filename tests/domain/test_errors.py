"""Faults say whose they are, and what to do next."""

from __future__ import annotations

import pytest

from entrepot.domain.errors import ClientGone, ConfigError, DataError, EntrepotError, HostFault


@pytest.mark.parametrize(
    ("error", "http_status", "retryable", "charged"),
    [
        (ConfigError(("a: unknown key",)), 500, False, False),
        (DataError("locked"), 500, False, False),
        (HostFault("refused the connection"), 502, True, False),
        (HostFault("broke off", status=200, charged=True), 502, True, True),
        (ClientGone("left"), 499, False, True),
    ],
)
def test_each_fault_says_what_to_do_next(
    error: EntrepotError, http_status: int, *, retryable: bool, charged: bool
) -> None:
    """One row per class: the client's status, whether another attempt may help, whether it may be billed."""
    assert (error.http_status, error.retryable, error.charged) == (http_status, retryable, charged)


def test_a_configuration_tells_all_of_its_problems_at_once() -> None:
    """Nobody should have to fix one mistake to be shown the next."""
    error = ConfigError(("a: unknown key", "b: not a number"))
    assert error.problems == ("a: unknown key", "b: not a number")
    assert str(error) == "a: unknown key\nb: not a number"
