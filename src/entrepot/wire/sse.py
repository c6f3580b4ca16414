"""Server-sent events as bytes: where events end and what data they carry.

Source: WHATWG HTML, section 9.2 "Server-sent events". Events are kept as the bytes that the host wrote, so
that they can be forwarded untouched: a parser that returns decoded objects would have to write them
anew. A lone carriage return is not taken as a line end, though the standard allows it: no host sends it, and
it would make the end of an event depend on the byte that comes next.
"""

import re
from collections.abc import Iterator

BLANK_LINES = (b"\n\n", b"\n\r\n")
DONE = b"[DONE]"
_BLANK_LINE = re.compile(rb"\n\r?\n")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def event_end(buffer: bytes | bytearray, start: int = 0) -> int:
    """Return the offset after the blank line that ends the event at `start`, -1 when it is not there yet."""
    found = _BLANK_LINE.search(buffer, start)
    return -1 if found is None else found.end()


def split_events(buffer: bytes) -> tuple[list[bytes], bytes]:
    """Return the complete events of `buffer`, each with its blank line, and the incomplete rest.

    The pieces put together are the buffer again; comments and empty events are among them.
    """
    events = []
    start = 0
    for found in _BLANK_LINE.finditer(buffer):
        end = found.end()
        events.append(buffer[start:end])
        start = end
    return events, buffer[start:]


def events_from_end(buffer: bytes) -> Iterator[tuple[int, int]]:
    """Yield where the events of `buffer` start and end, the last one first; it need not be complete.

    To read the few last events of a long stream costs the same however long it was.
    """
    with_returns = b"\r" in buffer
    end = len(buffer)
    while end > 0:
        start = _after_last(b"\n\n", buffer, end - 1)
        if with_returns:
            start = max(start, _after_last(b"\n\r\n", buffer, end - 1))
        yield start, end
        end = start


def last_event_end(buffer: bytes) -> int:
    """Return the offset after the last blank line of `buffer`, 0 when it has none."""
    end = len(buffer)
    return max(_after_last(b"\n\n", buffer, end), _after_last(b"\n\r\n", buffer, end))


def event_data(event: bytes) -> bytes | None:
    """Return the data of one event, its lines joined by line feeds, or None when it has no data line."""
    return read_block(event)[1]


def read_block(event: bytes) -> tuple[bytes | None, bytes | None]:
    """Return the name of one event (its `event:` line) and its data; None for what it does not have."""
    if event.startswith(b"data:"):
        line = event[5:].strip()  # JSON and [DONE] have no meaning in the spaces around them
        if b"\n" not in line:
            return None, line
    name, data = None, None
    for line in event.removeprefix(_BYTE_ORDER_MARK).split(b"\n"):
        field, _, value = line.removesuffix(b"\r").partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data = value if data is None else b"%b\n%b" % (data, value)
        elif field == b"event":
            name = value
    return name, data


def data_event(data: bytes) -> bytes:
    """Return an event that carries `data`, which must be a single line."""
    return b"data: %b\n\n" % data


def _after_last(blank_line: bytes, buffer: bytes, end: int) -> int:
    found = buffer.rfind(blank_line, 0, end)
    return 0 if found < 0 else found + len(blank_line)
