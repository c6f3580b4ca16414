"""`POST /v1/feedback`: a client says whether an answer or a whole task was of use.

What a task cost is known here; whether it succeeded only the client can say. Both together give the cost of a
successful task, which is what a price should be compared by.
"""

from __future__ import annotations

import asyncio
from math import nan
from time import monotonic, time_ns
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from entrepot.domain.errors import DataError, Refusal
from entrepot.domain.ids import REQUEST_ID_BYTES, request_id_text, task_id_of
from entrepot.gateway.admission import MOST_TASK_BYTES, ledger_unavailable
from entrepot.gateway.exchange import Exchange
from entrepot.gateway.refusals import invalid_request, wrong_method
from entrepot.ledger.entries import NO_TASK, Feedback
from entrepot.ledger.history import Names, account
from entrepot.ledger.keys.keys import Key

if TYPE_CHECKING:
    from entrepot.gateway.gateway import Gateway

FEEDBACK_PATH = "/v1/feedback"
_EXAMPLE = '{"task": "ticket-4711", "success": true} or {"id": "req-…", "success": false, "score": 0.2}'
_NO_REQUEST = bytes(REQUEST_ID_BYTES)


class _Shape(Struct, forbid_unknown_fields=True):
    success: bool
    id: str | None = None
    task: str | None = None
    score: float | None = None


_decode = msgspec.json.Decoder(_Shape).decode


async def answer_feedback(gateway: Gateway, exchange: Exchange, key: Key) -> None:
    """Write down what a client says, and answer what it was taken for."""
    if exchange.method != b"POST":
        exchange.refuse(wrong_method(exchange, "POST"))
        return
    refusal = gateway.admission.ask(key)
    if refusal is not None:
        exchange.refuse(refusal)
        return
    entry = await _feedback(gateway, exchange, key)
    if isinstance(entry, Feedback):
        try:
            gateway.ledger.note(entry)
        except DataError as error:
            exchange.refuse(ledger_unavailable(error))
            return
        exchange.reply(200, msgspec.json.encode(_as_json(entry)))
    else:
        exchange.refuse(entry)


async def _feedback(gateway: Gateway, exchange: Exchange, key: Key) -> Feedback | Refusal:
    try:
        said = _decode(exchange.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return invalid_request(400, "invalid_value", f"no feedback: {error}; send {_EXAMPLE}")
    score = nan if said.score is None else said.score
    if (said.id is None) == (said.task is None):
        return invalid_request(400, "invalid_value", f"say an `id` or a `task`, not both; send {_EXAMPLE}")
    if said.task is not None:
        name = said.task.strip().encode()
        if not 0 < len(name) <= MOST_TASK_BYTES:
            return invalid_request(
                400, "invalid_value", f"task has {len(name):,} bytes; expected 1 to {MOST_TASK_BYTES}"
            )
        return Feedback(_NO_REQUEST, time_ns(), key.key_id, task_id_of(key.key_id, name), said.success, score)
    assert said.id is not None
    names = Names.of(gateway.ledger.balances)
    found = await asyncio.to_thread(account, gateway.ledger.path, said.id, names=names, key_id=key.key_id)
    if found is None:
        return invalid_request(404, "unknown_request", f"this key has no request {said.id[:80]!r}")
    task_id = found.attempts[0].reserve.task_id
    endpoint = found.final.endpoint
    if endpoint is not None:
        gateway.router.judged(endpoint.model, succeeded=said.success, now_s=monotonic())
    return Feedback(found.request_id, time_ns(), key.key_id, task_id, said.success, score)


def _as_json(entry: Feedback) -> dict[str, object]:
    return {
        "object": "feedback",
        "id": None if entry.request_id == _NO_REQUEST else request_id_text(entry.request_id),
        "task_id": None if entry.task_id == NO_TASK else f"{entry.task_id:016x}",
        "success": entry.succeeded,
    }
