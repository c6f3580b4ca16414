"""Rate limits: never more than the limit in any minute, and a wait that is long enough."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.gateway.limits import RateLimits, Window
from entrepot.ledger.keys.events import KeyLimits
from entrepot.ledger.keys.keys import Key


def key(**limits: int) -> Key:
    """Return a key with limits."""
    return Key(1, "alice", b"", limits=KeyLimits(**limits))


def test_requests_beyond_the_limit_wait_until_the_oldest_is_a_minute_old() -> None:
    """The refusal says how long, and after that long the request is let through."""
    limits, alice = RateLimits(), key(requests_per_min=3)
    assert [limits.ask(alice, now_s) for now_s in (100.0, 110.5, 130.0)] == [None] * 3
    refusal = limits.ask(alice, 131.0)
    assert refusal is not None
    assert (refusal.http_status, refusal.code, refusal.retry_after_s) == (429, "rate_limit_exceeded", 30.0)
    assert "3 requests per minute" in refusal.message
    assert limits.ask(alice, 131.0 + 30.0) is None
    assert limits.ask(alice, 161.5) is not None


@given(st.integers(0, 5), st.lists(st.floats(0, 40), max_size=80))
def test_no_minute_has_more_requests_than_the_limit(most: int, gaps: list[float]) -> None:
    """Whatever the pace: a window of sixty seconds that slides over what was let through."""
    limits, alice, now_s = RateLimits(), key(requests_per_min=most), 1_000.0
    passed: deque[float] = deque()
    for gap in gaps:
        now_s += gap
        refusal = limits.ask(alice, now_s)
        if refusal is None:
            passed.append(now_s)
            while passed[0] <= now_s - 60.0:
                passed.popleft()
            assert len(passed) <= most
        elif most:
            assert refusal.retry_after_s is not None
            assert limits.ask(alice, now_s + refusal.retry_after_s) is None
            passed.append(now_s + refusal.retry_after_s)
            now_s += refusal.retry_after_s
            while passed[0] <= now_s - 60.0:
                passed.popleft()
            assert len(passed) <= most


def test_tokens_count_as_expected_and_then_as_used() -> None:
    """A request that used less than was expected of it leaves room; alone even the largest may go."""
    limits, alice = RateLimits(), key(tokens_per_min=1_000)
    assert limits.begin(alice, 5_000, 10.0) is None
    assert limits.begin(alice, 1, 11.0) is not None
    limits.end(alice, 5_000, 200, 12.0)
    assert limits.begin(alice, 800, 13.0) is None
    refusal = limits.begin(alice, 1, 14.0)
    assert refusal is not None
    assert "1,000 tokens per minute" in refusal.message
    limits.end(alice, 800, 800, 15.0)
    assert limits.begin(alice, 1_000, 81.0) is None


def test_a_request_longer_than_a_minute_gives_no_credit_for_later() -> None:
    """What was expected of it leaves with it, and what it used counts when it ends."""
    limits, alice = RateLimits(), key(tokens_per_min=10_000)
    for _ in range(10):
        assert limits.begin(alice, 1_000, 10.0) is None
    for _ in range(10):
        limits.end(alice, 1_000, 10, 80.0)
    assert limits.begin(alice, 9_900, 80.5) is None
    assert limits.begin(alice, 1, 81.0) is not None


def test_requests_under_way_are_counted_until_they_end() -> None:
    """And a request that is refused for it holds no place."""
    limits, alice = RateLimits(), key(concurrent_requests=2)
    for _ in range(2):
        assert limits.ask(alice, 1.0) is None
        assert limits.begin(alice, 10, 1.0) is None
    refusal = limits.ask(alice, 2.0)
    assert refusal is not None
    assert refusal.retry_after_s == 1.0
    limits.end(alice, 10, 10, 3.0)
    assert limits.ask(alice, 4.0) is None


@pytest.mark.parametrize("later_s", [61, 62, 121, 10_000])
def test_a_window_forgets_everything_after_a_minute(later_s: int) -> None:
    """However long nothing was counted."""
    window = Window()
    window.add(5, 100.9)
    window.forget(100.9 + 60)
    assert window.total == 5
    window.forget(100 + later_s)
    assert window.total == 0
