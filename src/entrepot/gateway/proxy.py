"""A TLS connection to a host through an HTTP proxy: CONNECT, then TLS on the same socket.

A plain-HTTP host behind a proxy needs none of this: its request line carries the whole URL.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import SplitResult, unquote, urlsplit

from entrepot.domain.errors import HostFault

P = TypeVar("P", bound=asyncio.Protocol)
_MOST_HEAD_BYTES = 16 * 1024


class _Connect(asyncio.Protocol):
    """Waits for the head of the proxy's answer to CONNECT."""

    def __init__(self) -> None:
        self.head = asyncio.get_running_loop().create_future()
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        if b"\r\n\r\n" in self._received or len(self._received) > _MOST_HEAD_BYTES:
            self._finish()

    def connection_lost(self, exc: Exception | None) -> None:
        self._finish()

    def _finish(self) -> None:
        if not self.head.done():
            self.head.set_result(self._received)


def proxy_authorization(url: SplitResult) -> str:
    """Return the Proxy-Authorization header line for the user and password in a proxy's URL, or nothing."""
    if url.username is None:
        return ""
    pair = f"{unquote(url.username)}:{unquote(url.password or '')}"
    return f"proxy-authorization: Basic {base64.b64encode(pair.encode()).decode()}\r\n"


async def open_tunnel(
    proxy: str, target: str, context: ssl.SSLContext, server_hostname: str, protocol: Callable[[], P]
) -> P:
    """Return a protocol that is connected to `target` (host:port) through `proxy`, within TLS.

    Raises: HostFault when the proxy refuses; OSError and ssl.SSLError as connecting does.
    """
    loop = asyncio.get_running_loop()
    url = urlsplit(proxy)
    transport, connect = await loop.create_connection(_Connect, url.hostname or "", url.port or 8080)
    try:
        head = f"CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n{proxy_authorization(url)}\r\n"
        transport.write(head.encode())
        answer = await connect.head
        status = answer.split(b" ", 2)[1:2]
        if status != [b"200"]:
            shown = answer.split(b"\r\n", 1)[0].decode("latin-1") or "nothing"
            raise HostFault(f"proxy {url.hostname} answered {shown!r} to CONNECT {target}")
        made = protocol()
        secured = await loop.start_tls(transport, made, context, server_hostname=server_hostname)
    except BaseException:
        transport.abort()
        raise
    if secured is None:
        raise HostFault(f"proxy {url.hostname} closed the tunnel to {target}")
    made.connection_made(secured)
    return made
