"""Folds a streamed answer into the one JSON reply that the host would have given to a plain call.

Some hosts go on computing a plain call whose connection is closed, but stop a stream; so they are driven with
streams even for clients that asked for a plain reply. The obvious way, a typed model of every field of a
chunk, would drop what it does not know. Here JSON values stay the bytes that the host wrote and are put
together by their kind, so fields that nobody has heard of yet survive, and numbers keep every digit:

    strings of a delta     one after the other; `role`, `id`, `type` and a `name` that is repeated: once
    arrays                 one after the other; `tool_calls` by their index
    objects of a delta     field by field, by these same rules
    numbers, booleans      the last one
    `logprobs`, `token_ids` and `text` of a choice grow like a delta; of its other fields and of the fields
    beside `choices` (usage, timings, whatever comes) the last one that says something counts.

What a stream cannot tell is filled in: `role` is "assistant" when nobody said so, and content that never
came is null beside tool calls, a function call, a refusal or audio, otherwise the empty string.
"""

from collections.abc import Iterable

from msgspec import MsgspecError, Raw
from msgspec.json import Decoder, Encoder

from entrepot.domain.endpoint import Operation
from entrepot.wire.sse import DONE, event_data, split_events

MOST_STREAM_BYTES = 256 * 1024 * 1024  # a million chunks; a host that sends more is broken or hostile

_OBJECT_NAMES = {Operation.CHAT: "chat.completion", Operation.COMPLETION: "text_completion"}
_STREAM_ONLY = frozenset(
    {"choices", "object", "obfuscation"}
)  # obfuscation pads chunks against eavesdroppers
_GROWING = frozenset({"text", "logprobs", "token_ids"})
_SAID_ONCE = frozenset({"role", "id", "type"})
_INSTEAD_OF_CONTENT = ("tool_calls", "function_call", "refusal", "audio")
_NULL = b"null"
_EMPTY = (_NULL, b'""', b"[]")
_STRUCTURED = b'"[{'
_MALFORMED = (MsgspecError, ValueError, RecursionError)

_Object = dict[str, Raw]
_Parts = dict[str, list[bytes]]

_decode_object = Decoder(_Object).decode
_decode_objects = Decoder(list[_Object]).decode
_encode = Encoder().encode


class Unfoldable(ValueError):
    """Parts of a stream do not add up to one reply; its words are ours."""


class Fold:
    """One streamed answer to an `operation`, chat or completion, as it comes in.

    `choices` is how many answers were asked for: without a `[DONE]` the stream is whole once so many have
    their finish reason. `failure` says why there can be no reply, None as long as there may be one.
    """

    def __init__(self, operation: Operation, *, choices: int = 1) -> None:
        self.failure: str | None = None
        self._object_name = _OBJECT_NAMES[operation]
        self._is_chat = operation is Operation.CHAT
        self._choices_asked = choices
        self._fields: dict[str, bytes] = {}
        self._choices: dict[int, _Choice] = {}
        self._done = False
        self._bytes = 0
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream, cut wherever the network cut them."""
        if self.failure is not None:
            return
        self._bytes += len(data)
        if self._bytes > MOST_STREAM_BYTES:
            self._fail(f"the stream is larger than {MOST_STREAM_BYTES:,} bytes")
            return
        events, self._rest = split_events(self._rest + data if self._rest else data)
        for event in events:
            self._take(event)

    def json(self) -> bytes | None:
        """Return the reply, or None when the stream failed, was cut, or held no answer (see `failure`)."""
        rest, self._rest = self._rest, b""
        self._take(rest)  # some hosts close without the last blank line
        if self.failure is None and not self._whole():
            self._fail("the stream ended before its answer" if self._choices else "the stream held no answer")
        if self.failure is not None:
            return None
        try:
            choices = [
                {"index": index, **self._choices[index].joined(is_chat=self._is_chat)}
                for index in sorted(self._choices)
            ]
        except _MALFORMED as error:
            self._fail(f"the stream cannot be folded: {_kind(error)}")
            return None
        fields = {name: Raw(value) for name, value in self._fields.items()}
        return _encode({"object": self._object_name, "choices": choices, **fields})

    def _take(self, event: bytes) -> None:
        data = event_data(event)
        if not data or data == _NULL or self.failure is not None:
            return  # llama.cpp begins the stream of several prompts with the event `null`
        if data == DONE:
            self._done = True
            return
        try:
            chunk = _decode_object(data)
            for name, value in chunk.items():
                if name not in _STREAM_ONLY:
                    _keep_last(self._fields, name, bytes(value))
            for fields in _objects(chunk.get("choices")):
                index = int(bytes(fields.pop("index", Raw(b"0"))))
                self._choices.setdefault(index, _Choice()).take(fields)
        except _MALFORMED as error:
            self._fail(f"an event of the stream is not a chunk of an answer: {_kind(error)}")
            return
        if self._fields.get("error", _NULL) != _NULL:
            self._fail("the host reported an error in the stream")

    def _whole(self) -> bool:
        finished = [choice.finished for choice in self._choices.values()]
        return bool(finished) and (self._done or (all(finished) and len(finished) >= self._choices_asked))

    def _fail(self, reason: str) -> None:
        self.failure = reason
        self._choices.clear()
        self._rest = b""


def _kind(error: Exception) -> str:
    """Return what is wrong without the words of others, which may quote what a user wrote."""
    return str(error) if isinstance(error, Unfoldable) else type(error).__name__


class _Choice:
    """The chunks of one choice: what its deltas brought, what grows beside them, and the last of the rest."""

    __slots__ = ("_delta", "_growing", "_last")

    def __init__(self) -> None:
        self._delta: _Parts = {}
        self._growing: _Parts = {}
        self._last: dict[str, bytes] = {"finish_reason": _NULL}

    @property
    def finished(self) -> bool:
        return self._last["finish_reason"] not in _EMPTY

    def take(self, fields: _Object) -> None:
        for name, value in fields.items():
            if name == "delta":
                if bytes(value) != _NULL:
                    _add(self._delta, _decode_object(value))
            elif name in _GROWING:
                self._growing.setdefault(name, []).append(bytes(value))
            else:
                _keep_last(self._last, name, bytes(value))

    def joined(self, *, is_chat: bool) -> _Object:
        first = {"message": _message(self._delta)} if is_chat else {"text": Raw(b'""')}
        last = {name: Raw(value) for name, value in self._last.items()}
        return first | _joined_object(self._growing) | last


class _ToolCalls:
    """The tool calls of one message, put together from their deltas.

    A delta belongs to the call of its index. But hosts exist that send every call with index 0, or with none,
    and others that make up a new id for each delta: so a call begins where a delta brings a new index, or
    both another id and a name.
    """

    def __init__(self) -> None:
        self._calls: list[tuple[int, _Parts]] = []
        self._latest: dict[bytes, _Parts] = {}

    def add(self, delta: _Object) -> None:
        index = bytes(delta.pop("index", Raw(_NULL)))
        call = self._latest.get(index)
        if call is None or _begins_another(call, delta):
            call = self._latest[index] = {}
            self._calls.append((0 if index == _NULL else int(index), call))
        _add(call, delta)

    def joined(self) -> list[_Object]:
        return [_joined_object(call) for _, call in sorted(self._calls, key=lambda placed: placed[0])]


def _begins_another(call: _Parts, delta: _Object) -> bool:
    call_id = bytes(delta.get("id", Raw(_NULL)))
    if call_id in _EMPTY or call_id in call.get("id", ()):
        return False
    bodies = [delta[kind] for kind in ("function", "custom") if kind in delta and bytes(delta[kind]) != _NULL]
    return any(bytes(_decode_object(body).get("name", Raw(_NULL))) not in _EMPTY for body in bodies)


def _message(delta: _Parts) -> Raw:
    message = {"role": Raw(b'"assistant"'), "content": Raw(_NULL), **_joined_object(delta)}
    if bytes(message["content"]) in _EMPTY:
        replaced = any(part not in _EMPTY for name in _INSTEAD_OF_CONTENT for part in delta.get(name, ()))
        message["content"] = Raw(_NULL if replaced else b'""')
    return Raw(_encode(message))


def _joined_object(fields: _Parts) -> _Object:
    return {name: Raw(_joined(name, parts)) for name, parts in fields.items()}


def _joined(name: str, parts: list[bytes]) -> bytes:
    """Return the one value that the parts of the field `name` make.

    Raises: ValueError when they are of kinds that do not add up, such as a text and an array.
    """
    parts = [part for part in parts if part != _NULL]
    kinds = {part[0] if part[0] in _STRUCTURED else 0 for part in parts}
    if len(kinds) > 1:
        raise Unfoldable("a field changes between text, array, object and number")
    match chr(kinds.pop()) if kinds else None:
        case '"':
            return _joined_text(name, parts)
        case "[":
            return _joined_array(name, parts)
        case "{":
            fields: _Parts = {}
            for part in parts:
                _add(fields, _decode_object(part))
            return _encode(_joined_object(fields))
        case _:
            return parts[-1] if parts else _NULL


def _joined_text(name: str, parts: list[bytes]) -> bytes:
    if name in _SAID_ONCE:
        return next((part for part in parts if part != b'""'), parts[0])
    if name == "name":
        parts = [part for part in parts if part != b'""'] or parts[:1]
        parts = parts[:1] + [part for part in parts[1:] if part != parts[0]]
    return b'"%b"' % b"".join(part[1:-1] for part in parts)


def _joined_array(name: str, parts: list[bytes]) -> bytes:
    if name != "tool_calls":
        return b"[%b]" % b",".join(inner for part in parts if (inner := part[1:-1].strip()))
    calls = _ToolCalls()
    for part in parts:
        for delta in _decode_objects(part):
            calls.add(delta)
    return _encode(calls.joined())


def _objects(value: Raw | None) -> Iterable[_Object]:
    return () if value is None or bytes(value) == _NULL else _decode_objects(value)


def _keep_last(fields: dict[str, bytes], name: str, value: bytes) -> None:
    if value not in _EMPTY or name not in fields:
        fields[name] = value


def _add(parts: _Parts, fields: _Object) -> None:
    for name, value in fields.items():
        parts.setdefault(name, []).append(bytes(value))
