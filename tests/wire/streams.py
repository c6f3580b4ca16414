"""Streams as hosts send them, with what has to be read out of each, for the tests of `wire`.

Those of llama.cpp are recorded (tests/wire/recordings); the others are written by hand in the shape that the
host's documentation shows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from entrepot.domain.endpoint import Operation
from entrepot.domain.usage import Usage

RECORDINGS = Path(__file__).parent / "recordings"
DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"


@dataclass(frozen=True)
class Recording:
    """One stream as its events, and what a scan has to find in it.

    `first` and `last` are the positions of the first and the last event with content, `hidden` that of the
    chunk that a client sees only if it asked for usage.
    """

    name: str
    events: tuple[bytes, ...]
    first: int | None
    last: int | None
    usage: Usage | None
    finish_reason: str | None = "stop"
    hidden: int | None = None
    answer_id: str | None = "chatcmpl-1"
    operation: Operation = Operation.CHAT

    @property
    def stream(self) -> bytes:
        """Return all bytes of the stream."""
        return b"".join(self.events)

    @property
    def shown(self) -> bytes:
        """Return what a client sees that did not ask for usage."""
        return b"".join(event for at, event in enumerate(self.events) if at != self.hidden)

    def end_of(self, position: int) -> int:
        """Return the offset in the stream at which an event ends."""
        return sum(map(len, self.events[: position + 1]))

    def with_returns(self) -> Recording:
        """Return the same stream with carriage returns in its line ends."""
        events = tuple(event.replace(b"\n", b"\r\n") for event in self.events)
        return replace(self, name=self.name + " with carriage returns", events=events)


def event(value: object) -> bytes:
    """Return an event that carries `value` as JSON."""
    return b"data: %b\n\n" % msgspec.json.encode(value)


def chunk(*choices: dict[str, object], **fields: object) -> bytes:
    """Return a chunk event with these choices; `fields` are further ones beside them."""
    return event(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1763942400,
            "model": "deepseek-r1",
            "choices": list(choices),
            **fields,
        }
    )


def choice(finish_reason: str | None = None, index: int = 0, **delta: object) -> dict[str, object]:
    """Return one choice with this delta."""
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def tool_call(index: int, arguments: str, **first: object) -> dict[str, object]:
    """Return a piece of a tool call; `first` is what its first piece has besides."""
    name = first.pop("name", None)
    function = {"arguments": arguments} if name is None else {"name": name, "arguments": arguments}
    return {"index": index, **first, "function": function}


def _recorded(name: str) -> tuple[bytes, ...]:
    blocks = (RECORDINGS / f"{name}.sse").read_bytes().split(b"\n\n")
    return tuple(block + b"\n\n" for block in blocks if block)


ROLE = chunk(choice(role="assistant", content=""))

OPENAI = Recording(
    name="OpenAI",
    events=(
        chunk(choice(role="assistant", content="", refusal=None), usage=None, obfuscation="x8Fq"),
        chunk(choice(content="Größe"), usage=None, obfuscation="Qr"),
        chunk(choice(content=" 🦆 ist"), usage=None, obfuscation=""),
        chunk(choice(content=' "usage":{"prompt_tokens":9}'), usage=None, obfuscation="aa"),
        chunk(choice("stop"), usage=None, obfuscation="bZ"),
        chunk(
            usage={
                "prompt_tokens": 1200,
                "completion_tokens": 7,
                "total_tokens": 1207,
                "prompt_tokens_details": {"cached_tokens": 1024, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
            },
            obfuscation="k",
        ),
        DONE,
    ),
    first=1,
    last=3,
    hidden=5,
    usage=Usage(uncached_tokens=176, cached_tokens=1024, output_tokens=7),
)

VLLM = Recording(
    name="vLLM with continuous usage",
    events=(
        chunk(
            choice(role="assistant", content=""),
            usage={"prompt_tokens": 20, "total_tokens": 20, "completion_tokens": 0},
        ),
        *(
            chunk(
                choice(content=text),
                usage={"prompt_tokens": 20, "total_tokens": 20 + n, "completion_tokens": n},
            )
            for n, text in enumerate((" one", " two", " three"), start=1)
        ),
        chunk(choice("stop"), usage={"prompt_tokens": 20, "total_tokens": 24, "completion_tokens": 4}),
        chunk(usage={"prompt_tokens": 20, "total_tokens": 24, "completion_tokens": 4}),
        DONE,
    ),
    first=1,
    last=3,
    hidden=5,
    usage=Usage(uncached_tokens=20, output_tokens=4),
)

DEEPSEEK = Recording(
    name="DeepSeek with reasoning",
    events=(
        KEEP_ALIVE,
        KEEP_ALIVE,
        chunk(choice(role="assistant", content=None, reasoning_content="")),
        chunk(choice(content=None, reasoning_content="Hmm")),
        chunk(choice(content=None, reasoning_content=", 你好")),
        chunk(choice(content="Hello", reasoning_content=None)),
        KEEP_ALIVE,
        chunk(
            choice("stop", content="", reasoning_content=None),
            usage={
                "prompt_tokens": 100,
                "completion_tokens": 12,
                "total_tokens": 112,
                "prompt_tokens_details": {"cached_tokens": 64},
                "completion_tokens_details": {"reasoning_tokens": 9},
                "prompt_cache_hit_tokens": 64,
                "prompt_cache_miss_tokens": 36,
            },
        ),
        DONE,
    ),
    first=3,
    last=5,
    usage=Usage(uncached_tokens=36, cached_tokens=64, output_tokens=12, reasoning_tokens=9),
)

TOOLS = Recording(
    name="tool calls",
    events=(
        chunk(choice(role="assistant", content=None)),
        chunk(choice(tool_calls=[tool_call(0, "", id="call_1", type="function", name="weather")])),
        chunk(choice(tool_calls=[tool_call(0, '{"city":"Zü')])),
        chunk(choice(tool_calls=[tool_call(0, 'rich"}')])),
        chunk(choice("tool_calls")),
        chunk(usage={"prompt_tokens": 80, "completion_tokens": 15, "total_tokens": 95}),
        DONE,
    ),
    first=1,
    last=3,
    hidden=5,
    finish_reason="tool_calls",
    usage=Usage(uncached_tokens=80, output_tokens=15),
)

EMPTY = Recording(
    name="an answer without content",
    events=(
        ROLE,
        chunk(choice("stop", content="")),
        chunk(usage={"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6}),
        DONE,
    ),
    first=None,
    last=None,
    hidden=2,
    usage=Usage(uncached_tokens=5, output_tokens=1),
)

LONG = Recording(
    name="a long answer",
    events=(
        ROLE,
        *(chunk(choice(content=f" word{n}")) for n in range(400)),
        KEEP_ALIVE,
        chunk(choice("length")),
        chunk(usage={"prompt_tokens": 30, "completion_tokens": 800, "total_tokens": 830}),
        DONE,
    ),
    first=1,
    last=400,
    hidden=403,
    finish_reason="length",
    usage=Usage(uncached_tokens=30, output_tokens=800),
)

LLAMA_CPP = Recording(
    name="llama.cpp",
    events=_recorded("llama_cpp_chat"),
    first=1,
    last=6,
    hidden=8,
    finish_reason="length",
    answer_id="chatcmpl-9gemC7hqTCUd5h9XdGVirNS0GcHyl0Ou",
    usage=Usage(uncached_tokens=36, output_tokens=6),
)

LLAMA_CPP_TIMINGS = Recording(
    name="llama.cpp without usage",
    events=_recorded("llama_cpp_chat_timings"),
    first=1,
    last=3,
    finish_reason="length",
    answer_id="chatcmpl-xN9d4IiFldf7BwWg3m3OmpbcP5SOdq52",
    usage=Usage(uncached_tokens=1, cached_tokens=35, output_tokens=3),
)

LLAMA_CPP_COMPLETION = Recording(
    name="llama.cpp completion",
    events=_recorded("llama_cpp_completion"),
    first=0,
    last=3,
    finish_reason="length",
    answer_id="chatcmpl-eJdnOOpjcx8VMOtjjuD3HkrG6HjIJf3h",
    usage=Usage(uncached_tokens=3, output_tokens=4),
    operation=Operation.COMPLETION,
)

PLAIN_ENDS = (OPENAI, VLLM, DEEPSEEK, TOOLS, EMPTY, LLAMA_CPP, LLAMA_CPP_TIMINGS, LLAMA_CPP_COMPLETION)
RECORDINGS_ALL = (*PLAIN_ENDS, *(recording.with_returns() for recording in PLAIN_ENDS))
