"""Refusals that several routes give, in the words of OpenAI's error object."""

from __future__ import annotations

from urllib.parse import unquote

from entrepot.domain.errors import Refusal
from entrepot.gateway.exchange import Exchange


def invalid_request(status: int, code: str, message: str) -> Refusal:
    """Return the refusal of a request that has to be changed."""
    return Refusal(http_status=status, type="invalid_request_error", code=code, message=message)


def wrong_method(exchange: Exchange, allowed: str) -> Refusal:
    """Return the refusal of a method that a known path does not take."""
    method, path = exchange.method.decode("latin-1"), unquote(exchange.path.decode("latin-1"))
    return invalid_request(405, "method_not_allowed", f"{method} is not possible on {path}; use {allowed}")
