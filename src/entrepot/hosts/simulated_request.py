"""Reads what a client asks of a simulated host, no more than the simulation needs.

Tokens are counted by a tokenizer that anyone can check: every four bytes of a prompt's text in UTF-8 are
one token, a rest counts as one. A real one would be a dependency of megabytes for numbers as arbitrary.
"""

from __future__ import annotations

from msgspec import Struct, ValidationError
from msgspec.json import Decoder

from entrepot.domain.endpoint import Operation

BYTES_PER_TOKEN = 4
MOST_CHOICES = 128


class Ask(Struct, frozen=True):
    """A request to a simulated host.

    Units: `prompts` bytes of text, one entry per prompt; `choices` answers in all; `most_tokens` tokens per
    choice, None where the client set no limit.
    """

    model: str
    prompts: tuple[bytes, ...]
    choices: int = 1
    most_tokens: int | None = None
    stream: bool = False
    include_usage: bool = False
    base64: bool = False
    dimensions: int | None = None

    @property
    def prompt_tokens(self) -> int:
        """Return the prompt tokens of the request."""
        return sum(count_tokens(prompt) for prompt in self.prompts)


def count_tokens(text: bytes) -> int:
    """Return the tokens of a text: a token for every four bytes, at least one."""
    return max(1, -(-len(text) // BYTES_PER_TOKEN))


class _Part(Struct):
    text: str | None = None


class _Message(Struct):
    content: str | list[_Part] | None = None


class _StreamOptions(Struct):
    include_usage: bool | None = None


class _Generation(Struct, kw_only=True):
    model: str
    n: int | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None


class _Chat(_Generation, kw_only=True):
    messages: list[_Message]


class _Completion(_Generation, kw_only=True):
    prompt: str | list[str | int | list[int]]


class _Embedding(Struct, kw_only=True):
    model: str
    input: str | list[str | int | list[int]]
    encoding_format: str | None = None
    dimensions: int | None = None


_chat = Decoder(_Chat)
_completion = Decoder(_Completion)
_embedding = Decoder(_Embedding)


def parse_ask(operation: Operation, body: bytes) -> Ask | str:
    """Return the request in the body, or what is wrong with it."""
    try:
        match operation:
            case Operation.CHAT:
                chat = _chat.decode(body)
                if not chat.messages:
                    return "messages is empty"
                return _generation(chat, (b"".join(_text(message) for message in chat.messages),))
            case Operation.COMPLETION:
                completion = _completion.decode(body)
                return _generation(completion, _prompts(completion.prompt))
            case Operation.EMBEDDING:
                return _vectors(_embedding.decode(body))
    except (ValidationError, ValueError, RecursionError) as error:
        return str(error) or "the body is nested too deeply"


def _generation(asked: _Generation, prompts: tuple[bytes, ...]) -> Ask | str:
    most = asked.max_completion_tokens if asked.max_completion_tokens is not None else asked.max_tokens
    choices = (1 if asked.n is None else asked.n) * len(prompts)
    if most is not None and most < 1:
        return f"max_tokens is {most}; expected at least 1"
    if not 1 <= choices <= MOST_CHOICES:
        return f"{choices} choices were asked for; expected 1 to {MOST_CHOICES}"
    options = asked.stream_options
    return Ask(
        asked.model,
        prompts,
        choices=choices,
        most_tokens=most,
        stream=bool(asked.stream),
        include_usage=options is not None and bool(options.include_usage),
    )


def _vectors(asked: _Embedding) -> Ask | str:
    prompts = _prompts(asked.input)
    if not prompts:
        return "input is empty"
    return Ask(
        asked.model,
        prompts,
        choices=len(prompts),
        base64=asked.encoding_format == "base64",
        dimensions=asked.dimensions,
    )


def _text(message: _Message) -> bytes:
    content = message.content
    if isinstance(content, list):
        return "".join(part.text or "" for part in content).encode()
    return (content or "").encode()


def _prompts(given: str | list[str | int | list[int]]) -> tuple[bytes, ...]:
    if isinstance(given, str):
        return (given.encode(),)
    if given and all(isinstance(item, int) for item in given):
        return (_token_bytes([item for item in given if isinstance(item, int)]),)
    return tuple(
        item.encode() if isinstance(item, str) else _token_bytes([item] if isinstance(item, int) else item)
        for item in given
    )


def _token_bytes(tokens: list[int]) -> bytes:
    """Return bytes that count as many tokens as were given."""
    return b"".join((token & 0xFFFF_FFFF).to_bytes(BYTES_PER_TOKEN, "big") for token in tokens)
