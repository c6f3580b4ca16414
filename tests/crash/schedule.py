"""What is asked, what is killed and when: every choice of a crash run, drawn from its seed.

Each client, the kills and the outages have a generator of their own, named after the seed and themselves:
with one for all, the order in which they happen to ask it would change what each of them gets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Any, TypeVar

WORDS = "crash/words"
VECTORS = "crash/vectors"
CHAT = "/v1/chat/completions"
EMBEDDINGS = "/v1/embeddings"
LONG_TEXT = "Tell me about ports that take in goods from many makers. " * 20  # longer than a cached block

STARTUP_S = 0.8  # about as long as a gateway takes to be ready; a kill after that finds it at work
LOADED_S = 0.6
CORRECTING_S = 1.0  # about as long as `ledger correct` takes
MOST_STREAMS_AWAITED = 10
LONG_S = 1.3  # an outage in which a poster at work has failed at least once, and tries again

T = TypeVar("T")


class Target(Enum):
    """What a blow hits."""

    GATEWAY = "gateway"  # SIGKILL; its poster is told by the kernel and ends in order
    BOTH = "gateway and poster"  # SIGKILL of both at once
    POSTER = "poster"  # SIGKILL of the poster alone; the gateway goes on
    GENTLY = "SIGTERM"  # of the gateway, which then has next to no time to end what is under way


class Moment(Enum):
    """When it hits."""

    STARTING = "while it starts"
    LOADED = "some time after it is ready"
    STREAMING = "with streams open"
    RETURNED = "after the store was away for long"
    POSTING = "while the poster writes to the store"
    CORRECTING = "while `ledger correct` is at work on it"


_TARGETS = {Target.GATEWAY: 10, Target.BOTH: 6, Target.POSTER: 3, Target.GENTLY: 1}  # of 20
_MOMENTS = {
    Moment.STARTING: 3,
    Moment.LOADED: 3,
    Moment.STREAMING: 7,
    Moment.RETURNED: 2,
    Moment.POSTING: 4,
    Moment.CORRECTING: 1,
}


@dataclass(frozen=True)
class Blow:
    """One thing that happens to a gateway.

    Units: `wait_s` seconds after what its moment names; `streams` have content then, at least.
    """

    target: Target
    moment: Moment
    streams: int
    wait_s: float

    @property
    def is_kill(self) -> bool:
        """Return whether it is a SIGKILL of the gateway, which is what a run counts."""
        return self.target in (Target.GATEWAY, Target.BOTH)


def blows(seed: int, kills: int) -> Iterator[Blow]:
    """Yield what happens, in order, until `kills` SIGKILLs of the gateway are among it."""
    random = Random(f"{seed}/kills")
    targets, moments = _dealt(random, _TARGETS), _dealt(random, _MOMENTS)
    while kills:
        blow = _blow(random, next(targets), next(moments))
        kills -= blow.is_kill
        yield blow


def _dealt(random: Random, deck: Mapping[T, int]) -> Iterator[T]:
    """Yield from a shuffled deck, and from another when it is used up: short runs have some of each, too."""
    while True:
        cards = [card for card, count in deck.items() for _ in range(count)]
        random.shuffle(cards)
        yield from cards


def _blow(random: Random, target: Target, moment: Moment) -> Blow:
    wait_s = {
        Moment.STARTING: random.uniform(0.0, STARTUP_S),
        Moment.LOADED: random.uniform(0.0, LOADED_S),
        Moment.STREAMING: random.uniform(0.0, 0.05),
        Moment.RETURNED: random.uniform(0.0, LOADED_S),
        Moment.POSTING: random.choice((0.0, random.uniform(0.0, 0.003))),
        Moment.CORRECTING: random.uniform(0.0, CORRECTING_S),
    }[moment]
    return Blow(target, moment, random.randint(1, MOST_STREAMS_AWAITED), wait_s)


@dataclass(frozen=True)
class Outage:
    """The store goes away after `after_s` seconds, for `lasts_s`; `at_work`: as soon as it is written to."""

    after_s: float
    lasts_s: float
    at_work: bool


def outages(seed: int) -> Iterator[Outage]:
    """Yield one outage after the other, for ever."""
    random = Random(f"{seed}/outages")
    while True:
        yield Outage(random.uniform(0.2, 3.0), random.uniform(0.05, LONG_S), random.random() < 0.5)


@dataclass(frozen=True)
class Ask:
    """What a client sends, and how patient it is.

    Units: it waits `pause_s` before, and leaves after `leaves_after_s` (None: it stays to the end). `key` is
    the number of the API key that it uses.
    """

    path: str
    fields: dict[str, Any]
    key: int
    pause_s: float
    leaves_after_s: float | None

    @property
    def wants_stream(self) -> bool:
        """Return whether the answer is to come as a stream."""
        return bool(self.fields.get("stream"))


def asks(seed: int, client: int, *, keys: int) -> Iterator[Ask]:
    """Yield what one client asks, for ever: streams and plain calls, short and long, patient or not."""
    random = Random(f"{seed}/client/{client}")
    while True:
        path, fields = _embedding(random) if random.random() < 0.06 else _chat(random)
        yield Ask(
            path,
            fields,
            key=0 if random.random() < 0.8 else random.randrange(keys),
            pause_s=random.uniform(0.0, 0.1) if random.random() < 0.5 else 0.0,
            leaves_after_s=random.uniform(0.01, 0.5) if random.random() < 0.12 else None,
        )


def _embedding(random: Random) -> tuple[str, dict[str, Any]]:
    texts = [f"text {random.randrange(1000)}" for _ in range(random.randint(1, 3))]
    return EMBEDDINGS, {"model": VECTORS, "input": texts}


def _chat(random: Random) -> tuple[str, dict[str, Any]]:
    text = f"{LONG_TEXT}{random.randrange(20)}" if random.random() < 0.3 else f"Go on {random.random()}."
    fields: dict[str, Any] = {"model": WORDS, "messages": [{"role": "user", "content": text}]}
    limit = random.choice((None, 5, 100, 1000, 1000))
    if limit is not None:
        fields["max_tokens"] = random.randint(1, limit)
    if random.random() < 0.06:
        fields["n"] = random.randint(2, 3)
    if random.random() < 0.8:
        fields["stream"] = True
        if random.random() < 0.8:
            fields["stream_options"] = {"include_usage": True}
    return CHAT, fields
