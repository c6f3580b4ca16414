"""What a simulated host does with a request: how long, how much, at what price, or which failure.

Decided here in full when the request arrives, from the scenario's figures and a seeded generator; the
server only carries it out. The price is computed in decimals of its own, not with `domain.prices`, since
tests compare the two.
"""

from __future__ import annotations

from decimal import Decimal
from math import exp, log
from random import Random

from msgspec import Struct

from entrepot.hosts.scenario import SimulatedHost

_PER_MTOK = Decimal(1_000_000)
OK, RATE_LIMITED, FAILED = 200, 429, 500


class Plan(Struct, frozen=True):
    """What is going to happen to one request.

    Units: seconds, already divided by the speedup. `lengths` output tokens of each choice, `whole` whether
    each ended by itself; `pace` multiplies the host's time per token; `cut_after` tokens of the first choice
    after which the stream breaks off, None when it does not.
    """

    status: int
    ttft_s: float = 0.0
    pace: float = 1.0
    lengths: tuple[int, ...] = ()
    whole: tuple[bool, ...] = ()
    cut_after: int | None = None


class Behaviour:
    """Draws plans for one host. `speedup` divides every duration; equal seeds give equal draws."""

    def __init__(self, host: SimulatedHost, *, seed: int, speedup: float) -> None:
        self._host = host
        self._speedup = speedup
        self._random = Random(f"{seed}/{host.name}")
        self._capacity = host.capacity_requests.number
        self._seconds_per_token = 0.0 if not host.tokens_per_s.value else 1 / host.tokens_per_s.number

    def step_s(self, in_flight: int) -> float:
        """Return the seconds between two tokens of one answer while `in_flight` requests are served."""
        return self._seconds_per_token * self._load(in_flight) / self._speedup

    def plan(
        self, *, uncached_tokens: int, choices: int, most_tokens: int | None, room_tokens: int, in_flight: int
    ) -> Plan:
        """Return what happens to a request that makes it `in_flight` requests.

        Units: tokens; `most_tokens` is the client's limit per choice, `room_tokens` what the context window
        leaves.
        """
        host, draw = self._host, self._random.random()
        most = host.most_requests
        limited = host.rate_limited_share.number
        if (most is not None and in_flight > most.number) or draw < limited:
            return Plan(RATE_LIMITED)
        if draw < limited + host.failure_share.number:
            return Plan(FAILED)
        wait_s = host.ttft_s.number * self._spread() + uncached_tokens / host.prefill_tokens_per_s.number
        limit = room_tokens if most_tokens is None else min(most_tokens, room_tokens)
        wanted = [self._length() for _ in range(choices)] if host.model.dimension is None else []
        pace = self._spread()
        cut = self._random.random() < host.cut_share.number and bool(wanted)
        lengths = tuple(min(length, limit) for length in wanted)
        return Plan(
            OK,
            ttft_s=wait_s * self._load(in_flight) / self._speedup,
            pace=pace,
            lengths=lengths,
            whole=tuple(length <= limit for length in wanted),
            cut_after=self._random.randint(1, lengths[0]) if cut else None,
        )

    def cost_usd(self, *, prompt_tokens: int, cached_tokens: int, completion_tokens: int) -> Decimal:
        """Return the exact price of these tokens in USD; `cached_tokens` are part of the prompt tokens."""
        host = self._host
        cached = host.cached_input_usd_per_mtok or host.input_usd_per_mtok
        price = (
            (prompt_tokens - cached_tokens) * host.input_usd_per_mtok.value
            + cached_tokens * cached.value
            + completion_tokens * host.output_usd_per_mtok.value
        )
        return price / _PER_MTOK

    def _load(self, in_flight: int) -> float:
        return 1 + max(0, in_flight - 1) / self._capacity

    def _spread(self) -> float:
        """Return a log-normal factor of mean 1."""
        spread = self._host.spread.number
        return self._random.lognormvariate(-spread * spread / 2, spread) if spread else 1.0

    def _length(self) -> int:
        model = self._host.model
        spread = model.verbosity_spread.number
        mean = log(model.verbosity_tokens.number) - spread * spread / 2
        return max(1, round(self._random.lognormvariate(mean, spread) if spread else exp(mean)))


def usd_decimal_text(amount: Decimal) -> str:
    """Return an amount as an exact decimal without an exponent or needless zeros."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
