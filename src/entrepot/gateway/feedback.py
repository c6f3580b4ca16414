"""`POST /v1/feedback`: a client says whether an answer or a whole task was of use.

What a task cost is known here; whether it succeeded only the client can say. Both together give the cost of a
successful task, which is what a price should be compared by. What a virtual model expects of its members goes
by the same words, each of which counts once.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from math import nan
from time import monotonic, time_ns
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from entrepot.domain.errors import DataError, Refusal
from entrepot.domain.ids import request_id_text, task_id_of
from entrepot.gateway.admission import MOST_TASK_BYTES, ledger_unavailable
from entrepot.gateway.exchange import Exchange
from entrepot.gateway.refusals import invalid_request, wrong_method
from entrepot.ledger.entries import NO_TASK, Feedback
from entrepot.ledger.history import Names
from entrepot.ledger.judged import WHOLE_TASK, Judged, judged_request, judged_task
from entrepot.ledger.keys.keys import Key

if TYPE_CHECKING:
    from entrepot.gateway.gateway import Gateway
    from entrepot.routing.choose import Router

FEEDBACK_PATH = "/v1/feedback"
_EXAMPLE = '{"task": "ticket-4711", "success": true} or {"id": "req-…", "success": false, "score": 0.2}'
NS_PER_S = 1_000_000_000
MOST_WORDS = 10_000
"""Remembered of those that this process wrote: a word is looked up within seconds of being written."""


class _Shape(Struct, forbid_unknown_fields=True):
    success: bool
    id: str | None = None
    task: str | None = None
    score: float | None = None


_decode = msgspec.json.Decoder(_Shape).decode


class Words:
    """The words that count, as this process wrote them: the journal is read too early to have the youngest.

    Two words on the same answer at once are both looked up before either is written.
    """

    def __init__(self) -> None:
        self._counted: OrderedDict[tuple[bytes, int], Feedback] = OrderedDict()

    def counted(self, entry: Feedback) -> Feedback | None:
        """Return the word that counts of what `entry` is about, None where this process wrote none."""
        return self._counted.get(_subject(entry))

    def add(self, entry: Feedback) -> None:
        """Remember a word as the one that counts."""
        self._counted[_subject(entry)] = entry
        self._counted.move_to_end(_subject(entry))
        if len(self._counted) > MOST_WORDS:
            self._counted.popitem(last=False)


def _subject(entry: Feedback) -> tuple[bytes, int]:
    return entry.request_id, entry.task_id if entry.request_id == WHOLE_TASK else NO_TASK


async def answer_feedback(gateway: Gateway, exchange: Exchange, key: Key) -> None:
    """Write down what a client says, learn from it, and answer what it was taken for.

    In this order: what the journal does not have is not learned, or a restart would count it again.
    """
    if exchange.method != b"POST":
        exchange.refuse(wrong_method(exchange, "POST"))
        return
    refusal = gateway.admission.ask(key)
    if refusal is not None:
        exchange.refuse(refusal)
        return
    said = await _said(gateway, exchange, key)
    if isinstance(said, Refusal):
        exchange.refuse(said)
        return
    entry, judged = said
    try:
        gateway.ledger.note(entry)
    except DataError as error:
        exchange.refuse(ledger_unavailable(error))
        return
    learn(gateway.router, gateway.words, entry, judged, now_s=monotonic())
    exchange.reply(200, msgspec.json.encode(_as_json(entry)))


def learn(router: Router, words: Words, entry: Feedback, judged: Judged, *, now_s: float) -> None:
    """Let the choice learn a word; a later word on the same replaces it, as it does in reports.

    Units: `now_s` monotonic seconds.
    """
    before = words.counted(entry) or judged.before
    if before is not None:
        if before.succeeded == entry.succeeded:
            return
        ago_s = max(entry.at_ns - before.at_ns, 0) / NS_PER_S
        for model, part in judged.parts(before.at_ns).items():
            router.unjudged(model, succeeded=before.succeeded, now_s=now_s, ago_s=ago_s, weight=part)
    words.add(entry)
    again = before is not None
    for model, part in judged.parts(entry.at_ns).items():
        router.judged(model, succeeded=entry.succeeded, now_s=now_s, weight=part, again=again)


async def _said(gateway: Gateway, exchange: Exchange, key: Key) -> tuple[Feedback, Judged] | Refusal:
    try:
        said = _decode(exchange.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return invalid_request(400, "invalid_value", f"no feedback: {error}; send {_EXAMPLE}")
    score = nan if said.score is None else said.score
    if (said.id is None) == (said.task is None):
        return invalid_request(400, "invalid_value", f"say an `id` or a `task`, not both; send {_EXAMPLE}")
    path, names = gateway.ledger.path, Names.of(gateway.ledger.balances)
    if said.task is not None:
        name = said.task.strip().encode()
        if not 0 < len(name) <= MOST_TASK_BYTES:
            return invalid_request(
                400, "invalid_value", f"task has {len(name):,} bytes; expected 1 to {MOST_TASK_BYTES}"
            )
        task_id = task_id_of(key.key_id, name)
        judged = await asyncio.to_thread(judged_task, path, task_id, names=names)
        return Feedback(WHOLE_TASK, time_ns(), key.key_id, task_id, said.success, score), judged
    assert said.id is not None
    found = await asyncio.to_thread(judged_request, path, said.id, names=names, key_id=key.key_id)
    if found is None:
        return invalid_request(404, "unknown_request", f"this key has no request {said.id[:80]!r}")
    request, judged = found
    task_id = request.attempts[0].reserve.task_id
    return Feedback(request.request_id, time_ns(), key.key_id, task_id, said.success, score), judged


def _as_json(entry: Feedback) -> dict[str, object]:
    return {
        "object": "feedback",
        "id": None if entry.request_id == WHOLE_TASK else request_id_text(entry.request_id),
        "task_id": None if entry.task_id == NO_TASK else f"{entry.task_id:016x}",
        "success": entry.succeeded,
    }
