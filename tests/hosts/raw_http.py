"""A client of a few lines for the simulated hosts: what goes over the wire is what a test sees."""

from __future__ import annotations

import asyncio
from typing import Any

from msgspec import Struct
from msgspec.json import decode, encode

MODEL = "deepseek/deepseek-r1"
DEADLINE_S = 20.0


class Reply(Struct):
    """A whole reply; a chunked body is put together."""

    status: int
    headers: dict[str, str]
    body: bytes
    whole: bool

    @property
    def json(self) -> Any:  # noqa: ANN401 - whatever the host sent
        """The body as JSON."""
        return decode(self.body)

    @property
    def events(self) -> list[Any]:
        """The events of a stream, without `[DONE]`."""
        datas = [line[6:] for line in self.body.split(b"\n") if line.startswith(b"data: ")]
        return [decode(data) for data in datas if data != b"[DONE]"]

    @property
    def text(self) -> str:
        """The content of a chat stream's first choice."""
        deltas = [event["choices"][0]["delta"] for event in self.events if event["choices"]]
        return "".join(delta.get("content") or "" for delta in deltas)


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, base_url: str) -> Client:
        """Connect to `http://host:port`."""
        host, _, port = base_url.removeprefix("http://").partition(":")
        return cls(*await asyncio.open_connection(host, int(port)))

    def send(self, method: str, path: str, body: bytes = b"", headers: str = "") -> None:
        """Write a request."""
        head = f"{method} {path} HTTP/1.1\r\nhost: test\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
        self.writer.write(head.encode() + body)

    async def receive(self) -> Reply:
        """Read a reply to its end, or to the end of the connection."""
        async with asyncio.timeout(DEADLINE_S):
            lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
            status = int(lines[0].split()[1])
            try:
                body, whole = await self._body(headers), True
            except asyncio.IncompleteReadError as error:
                body, whole = error.partial, False
            return Reply(status, headers, body, whole)

    async def _body(self, headers: dict[str, str]) -> bytes:
        if "content-length" in headers:
            return await self.reader.readexactly(int(headers["content-length"]))
        pieces: list[bytes] = []
        while True:
            try:
                size = int(await self.reader.readuntil(b"\r\n"), 16)
                piece = await self.reader.readexactly(size + 2)
            except asyncio.IncompleteReadError as error:
                raise asyncio.IncompleteReadError(b"".join(pieces), None) from error
            if size == 0:
                return b"".join(pieces)
            pieces.append(piece[:-2])

    async def ask(self, path: str, fields: dict[str, Any], request_id: str = "req-1-1") -> Reply:
        """Post JSON and return the reply."""
        self.send("POST", path, encode(fields), f"x-request-id: {request_id}\r\n")
        return await self.receive()

    async def get(self, path: str) -> Reply:
        """Return the reply to a GET."""
        self.send("GET", path)
        return await self.receive()

    def close(self) -> None:
        """Leave without waiting for anything."""
        self.writer.transport.abort()


def chat(content: str = "How far is it?", **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - any field of the API
    """Return the body of a chat request."""
    return {"model": MODEL, "messages": [{"role": "user", "content": content}], **fields}


async def until(condition: Any) -> None:  # noqa: ANN401 - any callable
    """Wait until the condition holds. Raises: TimeoutError after the deadline."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.002)
