"""A host that does exactly what a script says, over a real socket.

A mock of our own client code would not see framing, splits or broken connections; this one is a real
server whose every byte is chosen by the test.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Act = bytes | asyncio.Event | Literal["close", "abort", "wait for close"]


@dataclass
class Received:
    """A request as it reached the host."""

    request_line: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, object]:
        """Return the body as an object."""
        value = json.loads(self.body)
        assert isinstance(value, dict)
        return value


@dataclass
class ScriptedHost:
    """Answers each request with the next script: bytes to write, events to await, a way to end.

    `wait for close` waits until the client closes. `closed_by_client` counts the requests during whose
    script that happened. After each write the loop has a turn, so that pieces arrive apart.
    """

    scripts: deque[Sequence[Act]] = field(default_factory=deque)
    received: list[Received] = field(default_factory=list)
    closed_by_client: int = 0
    connections: int = 0
    port: int = 0
    address: str = "127.0.0.1"
    tls: ssl.SSLContext | None = None
    _server: asyncio.Server | None = None
    _serving: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def base_url(self) -> str:
        """Return the base URL that a configuration would name."""
        name = f"[{self.address}]" if ":" in self.address else self.address
        return f"{'http' if self.tls is None else 'https'}://{name}:{self.port}/v1"

    def script(self, *acts: Act) -> None:
        """Add the script of one more request."""
        self.scripts.append(acts)

    async def __aenter__(self) -> ScriptedHost:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._serve, self.address, 0, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop listening, and end what is being served."""
        assert self._server is not None
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        except ConnectionError:
            self.closed_by_client += 1
        finally:
            self._serving.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        request_line, *lines = head.rstrip("\r\n").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.received.append(Received(request_line, headers, body))
        for act in self.scripts.popleft() if self.scripts else ("close",):
            if isinstance(act, bytes):
                writer.write(act)
                await writer.drain()
                await asyncio.sleep(0)
            elif isinstance(act, asyncio.Event):
                await act.wait()
            elif act == "wait for close":
                await reader.read()
                self.closed_by_client += 1
                return False
            elif act == "abort":
                writer.transport.abort()
                return False
            else:
                return False
        return True


def sse(*payloads: object) -> bytes:
    """Return server-sent events of the payloads as JSON; a string goes in as it is."""
    texts = (payload if isinstance(payload, str) else json.dumps(payload) for payload in payloads)
    return b"".join(b"data: " + text.encode() + b"\n\n" for text in texts)


def delta(
    content: str | None = None, *, finish_reason: str | None = None, **more: object
) -> dict[str, object]:
    """Return one chunk of a streamed chat completion."""
    change = {**({} if content is None else {"content": content}), **more}
    return {
        "id": "chatcmpl-scripted",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "there",
        "choices": [{"index": 0, "delta": change, "finish_reason": finish_reason}],
    }


def usage_chunk(prompt_tokens: int, completion_tokens: int) -> dict[str, object]:
    """Return the last chunk that `include_usage` asks for."""
    return {"id": "chatcmpl-scripted", "choices": [], "usage": usage_block(prompt_tokens, completion_tokens)}


def usage_block(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    """Return a usage object in OpenAI's convention."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
STREAM_END = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """Return one chunk of a chunked reply."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def stream(*payloads: object) -> bytes:
    """Return a whole streamed reply with [DONE]."""
    return STREAM_HEAD + chunk(sse(*payloads, "[DONE]")) + STREAM_END


def plain(payload: object, *, status: int = 200, headers: str = "") -> bytes:
    """Return a whole JSON reply."""
    body = json.dumps(payload).encode()
    head = (
        f"HTTP/1.1 {status} Status\r\ncontent-type: application/json\r\n{headers}"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def completion(content: str, prompt_tokens: int = 10, completion_tokens: int = 5) -> dict[str, object]:
    """Return a whole chat completion."""
    return {
        "id": "chatcmpl-scripted",
        "object": "chat.completion",
        "created": 1,
        "model": "there",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
        ],
        "usage": usage_block(prompt_tokens, completion_tokens),
    }
