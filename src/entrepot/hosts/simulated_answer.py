"""Writes what a simulated host sends: chunks, plain replies, vectors, errors, in OpenAI's shapes.

Every answer says that it is simulated, in a header, in `system_fingerprint` and in its own words; one
word is one token. Chunks are put together from bytes that are made once per answer, since a server of
many streams does little else.
"""

from __future__ import annotations

import struct
from base64 import b64encode
from hashlib import shake_256
from math import sqrt

from msgspec import Struct
from msgspec.json import encode

from entrepot.domain.endpoint import Operation

LABEL = b"x-entrepot-simulated: true\r\n"
DONE = b"data: [DONE]\n\n"
FINGERPRINT = "simulated"

_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
    429: "Too Many Requests",
    500: "Internal Server Error",
    505: "HTTP Version Not Supported",
}
_OBJECTS = {
    Operation.CHAT: ("chatcmpl", "chat.completion", "chat.completion.chunk"),
    Operation.COMPLETION: ("cmpl", "text_completion", "text_completion"),
}


class Tokens(Struct, frozen=True):
    """What a request consumed. Units: tokens; `cached` is a part of `prompt`."""

    prompt: int
    cached: int = 0
    completion: int = 0

    @property
    def usage(self) -> dict[str, object]:
        """Return the usage block."""
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "prompt_tokens_details": {"cached_tokens": self.cached},
        }


class Words:
    """The words of a host's answers; they repeat for as long as an answer is."""

    def __init__(self, host: str, scenario: str) -> None:
        text = (
            f"This answer is simulated by the host {host} of the scenario {scenario}: no model wrote it. "
            "Its length, pace and price are the scenario's, and its words mean nothing. Again from the start:"
        )
        self._first = text.split()
        self._words = [f" {word}" for word in self._first]
        self._escaped = [encode(word)[1:-1] for word in self._words]
        self._opening = encode(self._first[0])[1:-1]

    def escaped(self, position: int) -> bytes:
        """Return the token at `position` of an answer as it stands inside of a JSON string."""
        return self._escaped[position % len(self._escaped)] if position else self._opening

    def text(self, length: int) -> str:
        """Return an answer of `length` tokens."""
        words = self._words
        return "".join(words[position % len(words)] for position in range(length))[1:]


class Envelope:
    """The parts that all messages of one answer share.

    Units: `created` Unix seconds. `with_usage` puts `"usage":null` into each chunk, as OpenAI does when the
    client asked for usage.
    """

    def __init__(
        self, operation: Operation, number: str, model: str, created: int, *, with_usage: bool = False
    ) -> None:
        prefix, self._object, chunk_object = _OBJECTS[operation]
        self._is_chat = operation is Operation.CHAT
        self._shared = {
            "id": f"{prefix}-{number}",
            "created": created,
            "model": model,
            "system_fingerprint": FINGERPRINT,
        }
        self._chunk_head = b"data: " + encode({**self._shared, "object": chunk_object})[:-1] + b',"choices":['
        self._tail = b'],"usage":null}\n\n' if with_usage else b"]}\n\n"

    def token_frame(self, index: int) -> tuple[bytes, bytes]:
        """Return what stands before and after the token in every chunk of a choice."""
        key = b'"delta":{"content":"' if self._is_chat else b'"text":"'
        close = b'"}' if self._is_chat else b'"'
        head = b'%b{"index":%d,%b' % (self._chunk_head, index, key)
        return head, close + b',"logprobs":null,"finish_reason":null}' + self._tail

    def opening(self, index: int) -> bytes:
        """Return the chunk that opens a choice of a chat: the role with an empty content."""
        if not self._is_chat:
            return b""
        return (
            b'%b{"index":%d,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}%b'
            % (
                self._chunk_head,
                index,
                self._tail,
            )
        )

    def closing(self, index: int, *, whole: bool) -> bytes:
        """Return the chunk that ends a choice: by itself, or at the limit on its length."""
        empty = b'"delta":{}' if self._is_chat else b'"text":""'
        reason = b"stop" if whole else b"length"
        return b'%b{"index":%d,%b,"logprobs":null,"finish_reason":"%b"}%b' % (
            self._chunk_head,
            index,
            empty,
            reason,
            self._tail,
        )

    def usage_chunk(self, tokens: Tokens) -> bytes:
        """Return the last chunk, which has the usage and no choices."""
        return self._chunk_head + b'],"usage":' + encode(tokens.usage) + b"}\n\n"

    def plain(self, texts: list[str], whole: tuple[bool, ...], tokens: Tokens) -> bytes:
        """Return the answer in one piece."""
        choices = []
        for index, text in enumerate(texts):
            said: dict[str, object] = (
                {"message": {"role": "assistant", "content": text}} if self._is_chat else {"text": text}
            )
            reason = "stop" if whole[index] else "length"
            choices.append({"index": index, **said, "logprobs": None, "finish_reason": reason})
        return encode({**self._shared, "object": self._object, "choices": choices, "usage": tokens.usage})


def embeddings_body(
    model: str, inputs: tuple[bytes, ...], dimension: int, tokens: Tokens, *, base64: bool
) -> bytes:
    """Return the reply with one vector per input; equal inputs have equal vectors."""
    data = []
    for index, text in enumerate(inputs):
        vector: object = hashed_vector(text, dimension)
        if base64:
            vector = b64encode(struct.pack(f"<{dimension}f", *hashed_vector(text, dimension))).decode()
        data.append({"object": "embedding", "index": index, "embedding": vector})
    usage = {"prompt_tokens": tokens.prompt, "total_tokens": tokens.prompt}
    return encode({"object": "list", "data": data, "model": model, "usage": usage})


def hashed_vector(text: bytes, dimension: int) -> list[float]:
    """Return a vector of length 1 that is made of a hash of the text, and means nothing."""
    numbers = struct.unpack(f"<{dimension}i", shake_256(text).digest(4 * dimension))
    length = sqrt(sum(number * number for number in numbers)) or 1.0
    return [number / length for number in numbers]


def error_body(message: str, kind: str, code: str) -> bytes:
    """Return an error in OpenAI's shape."""
    return encode({"error": {"message": f"simulated: {message}", "type": kind, "param": None, "code": code}})


def reply(status: int, body: bytes, *, keep_alive: bool, extra: bytes = b"") -> bytes:
    """Return a whole reply with a JSON body."""
    return b"HTTP/1.1 %d %b\r\n%bcontent-type: application/json\r\n%b%bcontent-length: %d\r\n\r\n%b" % (
        status,
        _REASONS[status].encode(),
        LABEL,
        extra,
        b"" if keep_alive else b"connection: close\r\n",
        len(body),
        body,
    )


def stream_head(*, keep_alive: bool) -> bytes:
    """Return the head of a stream of events."""
    return (
        b"HTTP/1.1 200 OK\r\n"
        + LABEL
        + b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
        + (b"" if keep_alive else b"connection: close\r\n")
        + b"transfer-encoding: chunked\r\n\r\n"
    )


def http_chunk(data: bytes, *, last: bool = False) -> bytes:
    """Return bytes in HTTP's chunked coding; the last one ends the reply."""
    return b"%x\r\n%b\r\n%b" % (len(data), data, b"0\r\n\r\n" if last else b"")
