"""Rate limits of keys: requests and tokens in any minute, and requests under way.

Counts by the second in a ring of a minute: never too much, at most a second too strict, in constant memory. A
token bucket would be smaller and let twice the limit through in its first minute.
"""

from __future__ import annotations

from entrepot.domain.errors import Refusal
from entrepot.ledger.keys.keys import Key

WINDOW_S = 61  # one more than a minute has, since the first second may be counted from its end
FULL_S = 1.0  # when to try again while as many requests as allowed are under way


class Window:
    """What was counted in the last minute, and up to a second before. Units: whole monotonic seconds."""

    __slots__ = ("_counts", "_newest_s", "total")

    def __init__(self) -> None:
        self._counts = [0] * WINDOW_S
        self._newest_s = 0
        self.total = 0

    def add(self, count: int, now_s: float) -> None:
        """Count now."""
        self.forget(now_s)
        self._counts[self._newest_s % WINDOW_S] += count
        self.total += count

    def forget(self, now_s: float) -> None:
        """Let go of what is older than a minute; `total` is right after it."""
        second = int(now_s)
        for passed in range(min(second - self._newest_s, WINDOW_S)):
            place = (second - passed) % WINDOW_S
            self.total -= self._counts[place]
            self._counts[place] = 0
        self._newest_s = max(self._newest_s, second)

    def wait_s(self, count: int) -> float:
        """Return the seconds until at least `count` of the present total is older than a minute."""
        for age in range(WINDOW_S - 1, -1, -1):
            count -= self._counts[(self._newest_s - age) % WINDOW_S]
            if count <= 0:
                return float(WINDOW_S - age)
        return float(WINDOW_S)


class KeyRate:
    """What one key has asked for lately, and has under way."""

    __slots__ = ("expected_tokens", "requests", "tokens", "under_way")

    def __init__(self) -> None:
        self.expected_tokens = 0
        self.requests = Window()
        self.tokens = Window()
        self.under_way = 0


class RateLimits:
    """The rates of all keys that have a limit."""

    def __init__(self) -> None:
        self._rates: dict[int, KeyRate] = {}

    def ask(self, key: Key, now_s: float) -> Refusal | None:
        """Count a request, or return why it has to wait (429)."""
        limits = key.limits
        rate = self._rates.setdefault(key.key_id, KeyRate())
        most = limits.concurrent_requests
        if most is not None and rate.under_way >= most:
            return _refusal(f"this key may have {most:,} requests under way and has as many", FULL_S)
        most = limits.requests_per_min
        if most is not None:
            rate.requests.forget(now_s)
            if rate.requests.total >= most:
                wait_s = rate.requests.wait_s(rate.requests.total - most + 1) if most else float(WINDOW_S)
                return _refusal(f"this key may send {most:,} requests per minute and did", wait_s)
            rate.requests.add(1, now_s)
        return None

    def begin(self, key: Key, tokens: int, now_s: float) -> Refusal | None:
        """Count a request as under way, with the tokens that it is expected to use, or say why not (429)."""
        rate = self._rates.setdefault(key.key_id, KeyRate())
        most = key.limits.tokens_per_min
        if most is not None:
            rate.tokens.forget(now_s)
            counted = rate.tokens.total + rate.expected_tokens
            excess = counted + tokens - most
            if excess > 0 and counted > 0:  # alone even the largest may go: it would wait for ever
                text = (
                    f"this key may use {most:,} tokens per minute: {counted:,} are used or under way, and "
                    f"this request is expected to use {tokens:,}"
                )
                return _refusal(text, rate.tokens.wait_s(min(excess, rate.tokens.total)))
        rate.expected_tokens += tokens
        rate.under_way += 1
        return None

    def end(self, key: Key, expected_tokens: int, used_tokens: int, now_s: float) -> None:
        """Count a request as over; what it used takes the place of what was expected."""
        rate = self._rates[key.key_id]
        rate.under_way -= 1
        rate.expected_tokens -= expected_tokens
        if key.limits.tokens_per_min is not None:
            rate.tokens.add(used_tokens, now_s)


def _refusal(what: str, wait_s: float) -> Refusal:
    return Refusal(
        429,
        "rate_limit_error",
        "rate_limit_exceeded",
        f"{what}; try again in {wait_s:.0f} s, or have its limits raised (`entrepot key limits`)",
        retry_after_s=wait_s,
    )
