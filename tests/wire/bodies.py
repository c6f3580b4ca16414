"""Minimal request bodies, and ways to parse them, for the tests of `wire`."""

from __future__ import annotations

import json
from typing import Any

from entrepot.domain.endpoint import Operation
from entrepot.domain.errors import Refusal
from entrepot.domain.request import SenderFacts
from entrepot.wire.body import NOBODY, Body, host_body, parse_body
from entrepot.wire.body_wishes import DEFAULT_CAPS, Caps

CHAT, COMPLETION, EMBEDDING = Operation.CHAT, Operation.COMPLETION, Operation.EMBEDDING
MESSAGES = b'"messages":[{"role":"user","content":"Hi"}]}'
MINIMAL: dict[Operation, dict[str, Any]] = {
    CHAT: {"model": "deepseek/deepseek-r1", "messages": [{"role": "user", "content": "Hi"}]},
    COMPLETION: {"model": "deepseek/deepseek-r1", "prompt": "Hi"},
    EMBEDDING: {"model": "acme/embed", "input": "Hi"},
}


def parsed(operation: Operation = CHAT, /, **fields: object) -> Body:
    """Return the body of a minimal request with these fields, which must be right."""
    return accepted(json.dumps(MINIMAL[operation] | fields).encode(), operation)


def accepted(
    text: bytes,
    operation: Operation = CHAT,
    caps: Caps = DEFAULT_CAPS,
    sender: SenderFacts = NOBODY,
    session: int = 0,
    known_models: tuple[str, ...] = (),
) -> Body:
    """Return the body in `text`, which must be right."""
    body = parse_body(text, operation, caps=caps, sender=sender, session=session, known_models=known_models)
    assert isinstance(body, Body), body
    return body


def refused(
    text: bytes,
    operation: Operation = CHAT,
    caps: Caps = DEFAULT_CAPS,
    known_models: tuple[str, ...] = (),
) -> Refusal:
    """Return why a body is refused, which it must be, as a 400 of OpenAI's type that says what to do."""
    refusal = parse_body(text, operation, caps=caps, known_models=known_models)
    assert isinstance(refusal, Refusal), refusal
    assert (refusal.http_status, refusal.type) == (400, "invalid_request_error")
    assert refusal.message.endswith((".", "?"))
    return refusal


def refused_with(operation: Operation = CHAT, /, **fields: object) -> Refusal:
    """Return why a minimal request with these fields is refused."""
    return refused(json.dumps(MINIMAL[operation] | fields).encode(), operation)


def sent(
    body: Body,
    *,
    model: str = "r1",
    usage_in_stream: bool = True,
    force_stream: bool = False,
    max_output_tokens: int | None = None,
    drop: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    """Return the body that goes to the host, read again."""
    written = host_body(
        body,
        model=model,
        usage_in_stream=usage_in_stream,
        force_stream=force_stream,
        max_output_tokens=max_output_tokens,
        drop=drop,
    )
    value = json.loads(written)
    assert isinstance(value, dict)
    return value
