"""An endpoint as the gateway calls it: its pool, its ledger ids, and request heads made in advance."""

from __future__ import annotations

from urllib.parse import urlencode, urlsplit

from entrepot.catalog.settings import EndpointSettings
from entrepot.domain.endpoint import Operation
from entrepot.domain.errors import Refusal
from entrepot.domain.request import Request
from entrepot.gateway import headers
from entrepot.gateway.pricing import Pricing
from entrepot.gateway.proxy import proxy_authorization
from entrepot.gateway.upstream import HostPool
from entrepot.ledger.ledger import EndpointRef
from entrepot.wire.body import LIMIT_FIELDS
from entrepot.wire.parts import Parts

USER_AGENT = "entrepot"


class Target:
    """One endpoint, ready to be called.

    `index` is its place in the router's endpoints. `time_scale` multiplies what is measured of a simulated
    endpoint, which runs that much faster than the host it stands for.
    """

    def __init__(
        self, index: int, settings: EndpointSettings, pool: HostPool, ref: EndpointRef, *, time_scale: float
    ) -> None:
        self.index = index
        self.settings = settings
        self.endpoint = settings.endpoint
        self.host = settings.host
        self.pool = pool
        self.ref = ref
        self.time_scale = time_scale if settings.endpoint.simulated else 1.0
        self.pricing = Pricing(settings.endpoint, ref)
        self._takes_limits = not settings.drop_parameters.issuperset(LIMIT_FIELDS)
        self._most_output_tokens = settings.endpoint.max_output_tokens or settings.endpoint.context_tokens
        self.reply_headers = b"%b: %b\r\n%b: %b\r\n" % (
            headers.ENDPOINT,
            headers.ascii_value(self.endpoint.name),
            headers.MODEL,
            headers.ascii_value(self.endpoint.model),
        )
        if self.endpoint.simulated:
            self.reply_headers += b"%b: true\r\n" % headers.SIMULATED
        self._heads = {operation: self._head(operation) for operation in self.endpoint.operations}

    def part_tokens(self, parts: Parts) -> int:
        """Return the most tokens that the parts of a request have here, if that is known."""
        endpoint = self.endpoint
        return (
            parts.images * (endpoint.max_image_tokens or 0)
            + parts.audios * (endpoint.max_audio_tokens or 0)
            + parts.others * (endpoint.max_file_tokens or 0)
            + parts.printed_tokens
        )

    def unbounded(self, parts: Parts) -> Refusal | None:
        """Return why a hard budget cannot hold these parts here, or None."""
        endpoint = self.endpoint
        if not parts.is_readable:
            return Refusal(
                402,
                "insufficient_quota",
                "cost_unbounded",
                "this key has a hard budget, and the messages have content that cannot be counted: send "
                "texts, or arrays of parts with types",
            )
        for count, name, most in (
            (parts.images, "image", endpoint.max_image_tokens),
            (parts.audios, "audio", endpoint.max_audio_tokens),
            (parts.others, "file", endpoint.max_file_tokens),
        ):
            if count and most is None:
                return Refusal(
                    402,
                    "insufficient_quota",
                    "cost_unbounded",
                    f"this key has a hard budget, and nobody declared how many tokens one {name} part can "
                    f"cost at {endpoint.name}: leave it out, or set max_{name}_tokens of that endpoint",
                )
        return None

    def bound_nusd(self, request: Request, prompt_tokens: int, limit: int | None, now_ns: int) -> int:
        """Return the most that one attempt of a request can cost here; `limit` is ours, per choice."""
        output_tokens = self.most_output_tokens(request, limit)
        return self.pricing.bound_at(now_ns, prompt_tokens).bound_nusd(prompt_tokens, output_tokens)

    def most_output_tokens(self, request: Request, limit: int | None) -> int:
        """Return the most tokens that all choices of an attempt can have; `limit` is ours, per choice."""
        if request.operation is Operation.EMBEDDING:
            return 0
        sent = limit or request.max_output_tokens if self._takes_limits else None
        return (sent or self._most_output_tokens) * request.choices

    def request_head(self, operation: Operation, attempt_id: str, passed: bytes, length: int) -> bytes:
        """Return the head of a request to the host, up to and with its blank line."""
        return b"%b%bx-request-id: %b\r\ncontent-length: %d\r\n\r\n" % (
            self._heads[operation],
            passed,
            attempt_id.encode(),
            length,
        )

    def _head(self, operation: Operation) -> bytes:
        host = self.host
        query = f"?{urlencode(host.query)}" if host.query else ""
        lines = [
            f"POST {self.pool.target_prefix}/{operation.value}{query} HTTP/1.1",
            f"host: {self.pool.authority}",
            f"user-agent: {USER_AGENT}",
            "accept: application/json, text/event-stream",
            "accept-encoding: identity",
            "content-type: application/json",
        ]
        if host.secret is not None and host.auth == "bearer":
            lines.append(f"authorization: Bearer {host.secret.reveal()}")
        elif host.secret is not None and host.auth == "api-key":
            lines.append(f"api-key: {host.secret.reveal()}")
        lines += [f"{name.lower()}: {value}" for name, value in host.headers.items()]
        head = "\r\n".join(lines) + "\r\n"
        if host.proxy is not None and urlsplit(host.base_url).scheme == "http":
            head += proxy_authorization(urlsplit(host.proxy))
        return head.encode("latin-1")
