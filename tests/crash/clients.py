"""The load of a crash run: clients that go on asking whatever dies, and remember what they were told.

They read bytes, not an SDK's objects, since the question is what had arrived when the gateway died: a part
of an answer, or the whole of it up to the last byte of its framing.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests.crash.schedule import Ask, asks
from tests.e2e.gateways import raw_post
from tests.e2e.programs import DEADLINE_S, POLL_S

CLIENTS = 16
CONTENT = b'"content":"'
LAST_EVENT = b"data: [DONE]"
ERROR_EVENT = b'data: {"error":{'


@dataclass(frozen=True)
class Seen:
    """What a client saw of one answer.

    `life` is the number of the gateway's life in which it was asked, counted from 0. `whole` when all of it
    came, `has_content` when some content came, `left` when the client went away.
    """

    life: int
    ask: Ask
    status: int
    request_id: str | None
    whole: bool
    has_content: bool
    left: bool
    usage: dict[str, Any] | None
    cost_usd: str | None

    @property
    def was_cut(self) -> bool:
        """Return whether it was a stream that had begun, and ended without a word."""
        return self.ask.wants_stream and self.has_content and not self.whole and not self.left


class Load:
    """Clients of one gateway address. `seen` has what they saw; `life` is to be counted up at each kill."""

    def __init__(self, seed: int, port: int, keys: Sequence[str]) -> None:
        self.seen: list[Seen] = []
        self.life = 0
        self._seed = seed
        self._port = port
        self._keys = keys
        self._flowing = 0
        self._over = False

    @property
    def flowing(self) -> int:
        """Return how many streams have content and are not at their end."""
        return self._flowing

    def cut_in(self, life: int) -> int:
        """Return how many streams had begun and were cut when this life of the gateway ended."""
        return sum(seen.was_cut for seen in self.seen if seen.life == life)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Ask until the block is left, and then until every answer that was begun has ended."""
        async with asyncio.TaskGroup() as group:
            for number in range(CLIENTS):
                group.create_task(self._client(number))
            try:
                yield
            finally:
                self._over = True

    async def _client(self, number: int) -> None:
        for ask in asks(self._seed, number, keys=len(self._keys)):
            await asyncio.sleep(ask.pause_s)
            while not self._over:
                with contextlib.suppress(ConnectionError):
                    await self._one(ask)
                    break
                await asyncio.sleep(POLL_S)  # nobody listens: the gateway is dead or starts
            if self._over:
                return

    async def _one(self, ask: Ask) -> None:
        """Ask once; raises ConnectionError only if nobody listened."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        life, answer, left = self.life, bytearray(), False
        with contextlib.closing(writer):
            writer.write(raw_post(ask.path, ask.fields, self._keys[ask.key]))
            try:
                async with asyncio.timeout(DEADLINE_S if ask.leaves_after_s is None else ask.leaves_after_s):
                    with contextlib.suppress(ConnectionError):
                        await self._read(reader, answer)
            except TimeoutError:
                assert ask.leaves_after_s is not None, f"no end within {DEADLINE_S:g} s: {ask.fields}"
                left = True
        self.seen.append(_seen(life, ask, bytes(answer), left=left))

    async def _read(self, reader: asyncio.StreamReader, answer: bytearray) -> None:
        flows = False
        try:
            while data := await reader.read(65536):
                if not flows and CONTENT in data:
                    flows = True
                    self._flowing += 1
                answer += data
        finally:
            self._flowing -= flows


def _seen(life: int, ask: Ask, answer: bytes, *, left: bool) -> Seen:
    head, _, rest = answer.partition(b"\r\n\r\n")
    status_line, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if "transfer-encoding" in headers:
        body, is_framed = _unchunked(rest)
    else:
        body, is_framed = rest, len(rest) == int(headers.get("content-length", -1))
    is_told = ERROR_EVENT in body
    whole = is_framed and not is_told and (LAST_EVENT in body or not ask.wants_stream)
    return Seen(
        life,
        ask,
        status=int(status_line.split()[1]) if status_line.startswith("HTTP/1.1 ") else 0,
        request_id=headers.get("x-request-id"),
        whole=whole,
        has_content=CONTENT in body and not is_told,
        left=left,
        usage=_usage(body, is_stream=ask.wants_stream) if whole else None,
        cost_usd=headers.get("x-entrepot-cost-usd"),
    )


def _unchunked(data: bytes) -> tuple[bytes, bool]:
    """Return the body of a chunked reply as far as it came, and whether that is all of it."""
    body = bytearray()
    while True:
        size, found, data = data.partition(b"\r\n")
        if not found:
            return bytes(body), False
        length = int(size, 16)
        if length == 0:
            return bytes(body), data == b"\r\n"
        body += data[:length]
        data = data[length + 2 :]


def _usage(body: bytes, *, is_stream: bool) -> dict[str, Any] | None:
    """Return the usage that an answer tells, in its last event but one if it is a stream."""
    if not is_stream:
        found = json.loads(body).get("usage")
    else:
        events = [line[6:] for line in body.split(b"\n") if line.startswith(b"data: {")]
        found = json.loads(events[-1]).get("usage") if events else None
    return found if isinstance(found, dict) else None
