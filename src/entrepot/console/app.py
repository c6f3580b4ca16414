"""The admin API: metrics, endpoints, keys, corrections; every route wants the console's own token."""

from __future__ import annotations

import contextlib
import hmac
from collections.abc import Generator, Mapping
from time import time_ns

import msgspec
import uvicorn
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from entrepot.console.metrics import GatewayCollector
from entrepot.gateway.comparison import comparison_json
from entrepot.gateway.gateway import Gateway
from entrepot.gateway.routes import endpoints_json
from entrepot.ledger.corrections import Correction

MOST_TOKENS = 100_000_000
MOST_CORRECTIONS_BYTES = 16 * 1024 * 1024


class _TokenCheck:
    """Refuses every request that does not carry the token, in constant time."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        presented = Headers(scope=scope).get("authorization", "").encode()
        if hmac.compare_digest(presented, self._expected):
            await self._app(scope, receive, send)
            return
        message = "send `Authorization: Bearer TOKEN`; the token is in console.json of the data directory"
        refused = JSONResponse({"error": {"message": message, "type": "authentication_error"}}, 401)
        await refused(scope, receive, send)


def console_app(gateway: Gateway, token: str) -> Starlette:
    """Return the console's application for one gateway."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(GatewayCollector(gateway))

    async def metrics(request: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    async def endpoints(request: Request) -> Response:
        return _json({"data": endpoints_json(gateway)})

    async def compare(request: Request) -> Response:
        return _comparison(gateway, request.query_params)

    async def corrections(request: Request) -> Response:
        body = await request.body()
        if len(body) > MOST_CORRECTIONS_BYTES:
            return JSONResponse({"error": {"message": "too many corrections at once; send fewer"}}, 413)
        try:
            wanted = msgspec.json.decode(body, type=list[Correction])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return JSONResponse({"error": {"message": f"not a list of corrections: {error}"}}, 400)
        try:
            entries = [correction.entry(time_ns()) for correction in wanted]
        except ValueError as error:
            return JSONResponse({"error": {"message": str(error)}}, 400)
        answers = zip(wanted, [gateway.ledger.correct(entry) for entry in entries], strict=True)
        conflicts = [
            f"{correction.request_id}, attempt {correction.attempt}: {conflict.reason}"
            for correction, conflict in answers
            if conflict is not None
        ]
        return _json({"applied": len(entries) - len(conflicts), "conflicts": conflicts})

    return Starlette(
        routes=[
            Route("/metrics", metrics),
            Route("/admin/endpoints", endpoints),
            Route("/admin/compare", compare),
            Route("/admin/corrections", corrections, methods=["POST"]),
        ],
        middleware=[Middleware(_TokenCheck, token=token)],
    )


def _comparison(gateway: Gateway, asked: Mapping[str, str]) -> Response:
    try:
        model, tokens = asked["model"], [float(asked[name]) for name in ("tokens_in", "tokens_out")]
    except (KeyError, ValueError):
        return _problem(400, "say ?model=developer/name&tokens_in=1000&tokens_out=500")
    if not all(0 <= count <= MOST_TOKENS for count in tokens):
        return _problem(400, f"tokens must be from 0 to {MOST_TOKENS:,}")
    if model not in gateway.model_names:
        return _problem(404, f"no model {model!r} here; GET /v1/models lists what is served")
    return _json(comparison_json(gateway, model, prompt_tokens=tokens[0], output_tokens=tokens[1]))


def _problem(status: int, message: str) -> Response:
    return JSONResponse({"error": {"message": message, "type": "invalid_request_error"}}, status)


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")


class ConsoleServer(uvicorn.Server):
    """uvicorn without its own signal handlers: the command that started us has them."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave signals to the command."""
        yield


def console_server(gateway: Gateway, token: str, *, host: str, port: int) -> ConsoleServer:
    """Return a server of the console, ready to `serve()` on the running loop."""
    app = console_app(gateway, token)
    config = uvicorn.Config(
        app, host=host, port=port, log_config=None, log_level="warning", access_log=False, lifespan="off"
    )
    return ConsoleServer(config)
