"""Seeded traffic: attempts as a gateway would write them into a ledger, with every way to end."""

from __future__ import annotations

from collections.abc import Iterator
from math import nan
from pathlib import Path
from random import Random

from entrepot.domain.endpoint import Endpoint, Operation
from entrepot.domain.ids import RequestIds
from entrepot.domain.outcome import Outcome
from entrepot.domain.prices import Bill, Prices
from entrepot.domain.usage import Usage
from entrepot.ledger.entries import (
    Closing,
    Correct,
    CorrectReason,
    Entry,
    Expire,
    ExpireReason,
    OfAttempt,
    Reserve,
    Settle,
    Void,
    VoidReason,
)
from entrepot.ledger.ledger import EndpointRef, Ledger

START_NS = 1_763_942_400_000_000_000  # 2025-11-24 00:00 UTC
SECOND_NS = 1_000_000_000
HOUR_NS = 3600 * SECOND_NS

ENDPOINTS = tuple(
    Endpoint(
        name=f"{model}@{host}",
        model=model,
        host=host,
        prices=Prices(input_nusd, output_nusd, cached, source="test", checked="2025-11-24"),
        context_tokens=64_000,
        owner_country=country,
    )
    for model, host, country, input_nusd, output_nusd, cached in (
        ("deepseek/deepseek-r1", "deepseek", "CN", 550_000_000, 2_190_000_000, 140_000_000),
        ("deepseek/deepseek-r1", "lambda", "US", 550_000_000, 2_190_000_000, None),
        ("deepseek/deepseek-r1", "azure", "US", 1_480_000_000, 5_940_000_000, None),
        ("huggingface/smollm2-135m-instruct", "local", None, 0, 0, None),
    )
)


class Traffic:
    """Makes the entries of attempts, one after the other; the same seed makes the same ones.

    Units: `step_ns` nanoseconds between two requests.
    """

    def __init__(self, seed: int, refs: tuple[EndpointRef, ...], *, step_ns: int = HOUR_NS) -> None:
        self._rng = Random(seed)
        self._ids = RequestIds(seed)
        self._refs = refs
        self._step_ns = step_ns
        self._now_ns = START_NS

    def request(self) -> Iterator[OfAttempt]:
        """Yield the entries of one request: one to three attempts, some of them corrected."""
        rng = self._rng
        self._now_ns += rng.randrange(1, 2 * self._step_ns)
        request_id = self._ids.next(self._now_ns)
        key_id = rng.randrange(1, 4)
        for attempt in range(1, rng.choice((1, 1, 1, 2, 3)) + 1):
            reserve = self._reserve(request_id, attempt, key_id)
            yield reserve
            self._now_ns += rng.randrange(1, 30 * SECOND_NS)
            closing = self._closing(reserve)
            yield closing
            if rng.random() < 0.1:
                yield self._correct(reserve, closing)

    def _reserve(self, request_id: bytes, attempt: int, key_id: int) -> Reserve:
        rng, ref = self._rng, self._rng.choice(self._refs)
        return Reserve(
            request_id,
            attempt,
            self._now_ns,
            key_id,
            ref.endpoint_id,
            ref.price_version,
            amount_nusd=rng.randrange(10**9),
            prompt_bytes=rng.randrange(10_000),
            operation=rng.choice(list(Operation)),
            stream=rng.random() < 0.5,
            choices=rng.randrange(1, 4),
            decision=rng.randbytes(rng.randrange(600)) if attempt == 1 else b"",
        )

    def _closing(self, reserve: Reserve) -> Closing:
        rng = self._rng
        who = (reserve.request_id, reserve.attempt, self._now_ns, reserve.key_id, reserve.endpoint_id)
        draw = rng.random()
        if draw < 0.1:
            return Void(*who, Outcome.REFUSED, rng.choice(list(VoidReason)), 503, rng.random(), 3)
        if draw < 0.2:
            at_most = reserve.amount_nusd
            reason = rng.choice(list(ExpireReason))
            return Expire(*who, reserve.price_version, at_most, Outcome.FAILED, reason, 0, nan, 2)
        return Settle(
            *who,
            reserve.price_version,
            Outcome.OK if draw < 0.9 else Outcome.CANCELLED,
            200,
            usage_of(rng),
            bill_of(rng),
            rng.random(),
            rng.choice((nan, rng.random())),
            10 * rng.random(),
            first_tokens=1,
            in_flight=rng.randrange(20),
            wire_bytes=rng.randrange(100_000),
            censored=draw >= 0.9,
            answer_id=f"chatcmpl-{rng.getrandbits(64):016x}".encode() if draw < 0.9 else b"",
        )

    def _correct(self, reserve: Reserve, closing: Closing) -> Correct:
        unknown = closing.at_most_nusd if isinstance(closing, Expire) else 0
        return Correct(
            reserve.request_id,
            reserve.attempt,
            self._now_ns,
            reserve.key_id,
            reserve.endpoint_id,
            reserve.price_version,
            self._rng.getrandbits(63),
            CorrectReason.HOST_LOG,
            usage_of(self._rng),
            bill_of(self._rng),
            unknown,
            reserve.at_ns,
            reserve.sender_id,
        )


def usage_of(rng: Random) -> Usage:
    """Return some tokens of every kind."""
    return Usage(
        rng.randrange(5000),
        rng.randrange(500),
        rng.randrange(50),
        rng.randrange(2000),
        rng.randrange(10),
        rng.randrange(20),
        estimated=rng.random() < 0.1,
        contradictory=rng.random() < 0.1,
    )


def bill_of(rng: Random) -> Bill:
    """Return an amount on every line."""
    return Bill(*(rng.randrange(10**7) for _ in range(7)))


def write(ledger: Ledger, entry: Entry) -> None:
    """Write an entry of an attempt as the gateway does; it has to fit."""
    match entry:
        case Reserve():
            assert ledger.reserve(entry) is None
        case Settle():
            assert ledger.settle(entry) is None
        case Void():
            assert ledger.void(entry) is None
        case Expire():
            assert ledger.expire(entry) is None
        case Correct():
            assert ledger.correct(entry) is None
        case _:
            raise AssertionError(f"{entry} belongs to no attempt")


def write_requests(
    data_dir: Path, count: int, *, seed: int = 0, segment_bytes: int = 1 << 20
) -> list[OfAttempt]:
    """Write the entries of `count` requests into the ledger at `data_dir` and return them."""
    written: list[OfAttempt] = []
    ledger = Ledger.open(data_dir, START_NS, segment_bytes=segment_bytes)
    try:
        traffic = Traffic(seed, tuple(map(ledger.register, ENDPOINTS)))
        for _ in range(count):
            for entry in traffic.request():
                write(ledger, entry)
                written.append(entry)
    finally:
        ledger.close()
    return written
