"""Watches an answer on its way to the client: finds its first content, its last, its usage and its end.

Every chunk of every stream passes here, so between the first content and the end nothing is parsed: the last
few feeds are remembered with their times, and read once, backwards, when the stream is over. To parse
each chunk as it comes would cost more than all the rest of the relay.
"""

from collections.abc import Callable
from math import ceil

from entrepot.domain.usage import Usage
from entrepot.wire.error_body import HostError, host_error
from entrepot.wire.sse import (
    BLANK_LINES,
    DONE,
    event_data,
    event_end,
    events_from_end,
    last_event_end,
    read_block,
    split_events,
)
from entrepot.wire.stream_event import (
    CUT_REASONS,
    error_of,
    read_chunk,
    read_event,
)

REMEMBERED_BYTES = 1024  # at least: what a stream ends with; more costs every stream cache lines
REMEMBERED_FEEDS = 4  # at least
MOST_HELD_BYTES = 1024 * 1024  # before the first content; what says nothing for longer is let through
MOST_USAGE_CHUNK_BYTES = 16 * 1024  # an incomplete event that is larger is no usage chunk

# In each usage block, and not in the `"usage":null` that many hosts write into each chunk. `rfind` because
# it takes half the time of `in`.
_USAGE = b"prompt_tokens"

Feed = tuple[float, bytes]


class AnswerScan:
    """What is known of one streamed answer, while it is relayed and after.

    Until the first content (or the regular end of an empty answer, or 1 MiB without either) `started` is
    False and what is fed is held back, so that a failure can go to another endpoint unseen.

    Units: monotonic seconds as passed to `feed`; tokens; `wire_bytes` bytes of the stream from its first
    content event on, `bytes_per_token` bytes of text. `first_tokens` are the tokens that came with the first
    content, estimated from its text unless the host counts them; reasoning that was never streamed is among
    them, since it belongs to TTFT. `error` is what the host said in the stream:
    set by `feed` before the start, by `finish` after it. `done` says that the answer ended as it should:
    a finish reason or [DONE] was seen. All other attributes are set by `finish`, save id and model.
    """

    __slots__ = (
        "_buffer",
        "_bytes_per_token",
        "_feeds",
        "_finished",
        "_first_text_bytes",
        "_hide_usage",
        "_older_feeds",
        "_parsed_bytes",
        "_pending",
        "_reasoning_hidden",
        "_remember",
        "_rotate_at",
        "_searched_bytes",
        "_whole",
        "answer_id",
        "cut_by_length",
        "done",
        "error",
        "finish_reason",
        "first_content_s",
        "first_tokens",
        "last_content_s",
        "model",
        "started",
        "usage",
        "wire_bytes",
    )

    def __init__(self, *, hide_usage: bool, bytes_per_token: float) -> None:
        self.started = False
        self.done = False
        self.cut_by_length = False
        self.error: HostError | None = None
        self.first_content_s: float | None = None
        self.last_content_s: float | None = None
        self.first_tokens = 0
        self.usage: Usage | None = None
        self.finish_reason: str | None = None
        self.answer_id: str | None = None
        self.model: str | None = None
        self.wire_bytes = 0
        self._hide_usage = hide_usage
        self._bytes_per_token = bytes_per_token
        self._buffer = bytearray()
        self._parsed_bytes = 0
        self._searched_bytes = 0
        self._first_text_bytes = 0
        self._reasoning_hidden = False
        self._pending = b""
        self._feeds: list[Feed] = []
        self._older_feeds: list[Feed] = []
        self._remember: Callable[[Feed], None] = self._feeds.append
        self._rotate_at = 0
        self._whole = True
        self._finished = False

    def feed(self, data: bytes, now_s: float) -> bytes:
        """Return the bytes to forward now that `data` came; empty while they are held back."""
        if not self.started:
            return self._hold(data, now_s)
        self.wire_bytes = size = self.wire_bytes + len(data)
        self._remember((now_s, data))
        if size >= self._rotate_at:
            self._rotate()
        if not self._hide_usage:
            return data
        if self._pending or data.rfind(_USAGE) >= 0 or not data.endswith(BLANK_LINES):
            return self._without_usage_chunk(data)
        return data

    @property
    def last_feed_s(self) -> float:
        """Return when bytes were fed last, 0 before any were; not after `finish`."""
        feeds = self._feeds or self._older_feeds
        return feeds[-1][0] if feeds else 0.0

    def finish(self, now_s: float) -> None:
        """Read the end of the stream, which came at `now_s`; a second call changes nothing."""
        if self._finished:
            return
        self._finished = True
        if not self.started and self.error is None:
            self._end_held(now_s)
        if self.started:
            self._read_end()
        self._feeds.clear()
        self._older_feeds.clear()

    def flush(self) -> bytes:
        """Return, once, what is still held back and belongs to the client."""
        held = bytes(self._buffer) or self._pending
        self._buffer.clear()
        self._pending = b""
        return _without_usage_chunks(held) if self._hide_usage else held

    def tpot_s(self, output_tokens: int | None = None) -> float | None:
        """Return the seconds per output token after the first ones, None when there were too few to tell.

        `output_tokens` stands in where the host reported no usage.
        """
        if output_tokens is None and self.usage is not None:
            output_tokens = self.usage.output_tokens
        if output_tokens is None or self.first_content_s is None or self.last_content_s is None:
            return None
        tokens = output_tokens - self.first_tokens
        span_s = self.last_content_s - self.first_content_s
        return span_s / tokens if tokens > 0 and span_s > 0 else None

    def estimated_output_tokens(self, tokens_per_byte: float) -> int:
        """Return the output tokens of a stream that was cut, by its bytes, rounded up.

        Units: `tokens_per_byte` output tokens per byte of the stream, at the upper bound of what was
        measured. Chunks are never counted: one may hold many tokens.
        """
        return ceil(self.wire_bytes * tokens_per_byte) if self.first_content_s is not None else 0

    def _hold(self, data: bytes, now_s: float) -> bytes:
        """Keep `data` back and read its complete events, until one lets the answer start."""
        if self.error is not None:
            return b""
        self._remember((now_s, data))
        buffer = self._buffer
        buffer += data
        start = self._parsed_bytes
        end = event_end(buffer, max(start, self._searched_bytes))
        while end >= 0:
            if self._starts(bytes(buffer[start:end]), now_s):
                return self._start(start, end)
            start = end
            end = event_end(buffer, start)
        self._parsed_bytes = start
        self._searched_bytes = max(start, len(buffer) - 2)  # a blank line may be cut within its three bytes
        return self._start(start, start) if len(buffer) > MOST_HELD_BYTES else b""

    def _starts(self, block: bytes, now_s: float) -> bool:
        """Return whether this event is the first content, the regular end or an error; note what it says."""
        name, data = read_block(block)
        if data is None:
            return False
        if data == DONE:
            self.done = True
            return True
        event = read_event(data, is_error=name == b"error")
        if event is None:
            return False
        self.answer_id = self.answer_id or event.answer_id
        self.model = self.model or event.model
        if event.error is not None:
            self.error = event.error
            return True
        if event.has_content:
            self.first_content_s = now_s
            self._first_text_bytes = event.text_bytes
            counted = 0 if event.usage is None else event.usage.output_tokens
            self.first_tokens = counted or max(1, round(event.text_bytes / self._bytes_per_token))
            self._reasoning_hidden = not (counted or event.has_reasoning)
        return event.has_content or event.finish_reason is not None

    def _start(self, start: int, end: int) -> bytes:
        """Release what was held, unless there is an error; from `start` to `end` is the first content."""
        if self.error is not None:
            return b""
        held = bytes(self._buffer)
        self._buffer.clear()
        self.started = True
        self.wire_bytes = len(held) - start
        self._rotate_at = self.wire_bytes + REMEMBERED_BYTES
        if self.first_content_s is not None:
            self._count_first_feed(held, start, end)
        return self._without_usage_chunk(held) if self._hide_usage else held

    def _count_first_feed(self, held: bytes, start: int, end: int) -> None:
        """Add the tokens of further events that came in the same feed as the first content.

        They are not parsed: the events of a stream differ in their text alone, so what the first one
        has around its text is taken off each of them.
        """
        further = held.count(b"\n\n", end) + held.count(b"\n\r\n", end)
        around_text = end - start - self._first_text_bytes
        text = len(held) - end - further * around_text
        if further and text > 0:
            self.first_tokens += round(text / self._bytes_per_token)

    def _rotate(self) -> None:
        """Forget the older feeds, once the newer ones are enough to hold the end of a stream."""
        if len(self._feeds) < REMEMBERED_FEEDS:
            return
        self._older_feeds = self._feeds
        self._feeds = []
        self._remember = self._feeds.append
        self._rotate_at = self.wire_bytes + REMEMBERED_BYTES
        self._whole = False

    def _without_usage_chunk(self, data: bytes) -> bytes:
        """Return the complete events, without a usage chunk; an incomplete one might be it and waits."""
        if self._pending:
            data = self._pending + data
        end = last_event_end(data)
        if len(data) - end > MOST_USAGE_CHUNK_BYTES:
            end = len(data)
        self._pending = data[end:]
        return _without_usage_chunks(data[:end])

    def _end_held(self, now_s: float) -> None:
        """Read what never got its blank line; a reply that is no stream at all may be an error in JSON."""
        rest = bytes(self._buffer[self._parsed_bytes :])
        if self._starts(rest, now_s):
            self.started = self.error is None
            self.wire_bytes = len(rest)
        elif self._parsed_bytes == 0 and rest.lstrip().startswith(b"{"):
            chunk = read_chunk(rest)
            self.error = host_error(rest) if chunk is None else error_of(chunk)

    def _read_end(self) -> None:
        """Read the last events, backwards to the last content.

        Where it is no longer remembered (it was larger than what is, or too many keep-alives came after it),
        the end of the oldest event that is remembered stands in for it.
        """
        feeds = [*self._older_feeds, *self._feeds]
        tail = b"".join(data for _, data in feeds)
        for start, end in events_from_end(tail):
            lost_beginning = start == 0 and not self._whole
            if lost_beginning or self._ends(tail[start:end]):
                self.last_content_s = _time_of(feeds, len(tail) - end)
                break
        if self.usage is not None:
            before = self.usage.reasoning_tokens if self._reasoning_hidden else 0
            self.first_tokens = min(self.first_tokens + before, self.usage.output_tokens)

    def _ends(self, block: bytes) -> bool:
        """Return whether this event has content; note what it says of the end."""
        name, data = read_block(block)
        if data is None:
            return False
        if data == DONE:
            self.done = True
            return False
        event = read_event(data, is_error=name == b"error")
        if event is None:
            return False
        self.usage = self.usage or event.usage
        self.answer_id = self.answer_id or event.answer_id
        self.model = self.model or event.model
        self.error = self.error or event.error
        if event.finish_reason is not None and event.error is None:
            self.done = True
            self.finish_reason = self.finish_reason or event.finish_reason
            self.cut_by_length |= event.finish_reason in CUT_REASONS
        return event.has_content


def _without_usage_chunks(events: bytes) -> bytes:
    """Return `events` without those that hold usage and no choices; any other event stays as it is."""
    if events.rfind(_USAGE) < 0:
        return events
    blocks, rest = split_events(events)
    return b"".join(block for block in (*blocks, rest) if not _is_usage_chunk(block))


def _is_usage_chunk(block: bytes) -> bool:
    if _USAGE not in block:
        return False
    data = event_data(block)
    chunk = None if data is None else read_chunk(data)
    return chunk is not None and chunk.choices == [] and isinstance(chunk.usage, dict) and chunk.error is None


def _time_of(feeds: list[Feed], bytes_from_end: int) -> float:
    """Return when the byte came that has `bytes_from_end` bytes after it."""
    for now_s, data in reversed(feeds):
        if bytes_from_end < len(data):
            return now_s
        bytes_from_end -= len(data)
    return feeds[0][0]
