"""Finds the line of every key of a TOML text, so that a mistake can be reported where it stands.

`tomllib` returns values without positions, and a parser that keeps them (tomlkit) would become a
dependency of every start for the sake of an error message. This scanner only has to know where keys and
tables begin: it runs after `tomllib` accepted the text, which therefore is well-formed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

KeyPath = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SPACES = re.compile(r"[ \t]*")
# A value's parts: strings first, since brackets and comments inside them mean nothing.
_VALUE_PART = re.compile(
    r'"""(?:\\.|[^\\])*?"""+'
    r"|'''.*?'''+"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
    r"|#[^\n]*"
    r"|[\[\]{}\n]"
    r"|[^\"'#\[\]{}\n]+"
    r"|.",
    re.DOTALL,
)
_ESCAPE = re.compile(r'\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|([btnfr"\\]))')
_ESCAPED = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", '"': '"', "\\": "\\"}


def key_lines(text: str) -> Mapping[KeyPath, int]:
    """Return the line on which each key and table of a well-formed TOML text first stands.

    Tables of an array carry their index: `("hosts", 0, "name")`. Keys inside of inline tables and
    arrays are not listed; `line_of` gives them the line of the key that holds them.
    """
    scan = _Scan(text)
    while scan.statement():
        pass
    return scan.lines


def line_of(lines: Mapping[KeyPath, int], path: KeyPath) -> int:
    """Return the line of `path`, or of the nearest table or key around it."""
    for length in range(len(path), 0, -1):
        line = lines.get(path[:length])
        if line is not None:
            return line
    return 1


class _Scan:
    """A position in the text, the table that it is in, and what was found so far."""

    def __init__(self, text: str) -> None:
        self.lines: dict[KeyPath, int] = {}
        self._text = text
        self._at = 0
        self._line = 1
        self._counted_to = 0
        self._table: KeyPath = ()
        self._counts: dict[KeyPath, int] = {}

    def statement(self) -> bool:
        """Read one header or one `key = value`; return False at the end."""
        self._skip(_BLANK)
        text, begin = self._text, self._at
        if begin >= len(text):
            return False
        self._line += text.count("\n", self._counted_to, begin)
        self._counted_to = begin
        if text.startswith("[[", begin):
            self._at += 2
            self._open_array(self._dotted_key())
            self._rest_of_line()
        elif text.startswith("[", begin):
            self._at += 1
            self._open_table(self._dotted_key())
            self._rest_of_line()
        else:
            self._note(self._table, self._dotted_key())
            self._value()
        self._at = max(self._at, begin + 1)  # whatever the text is, the scan goes on
        return True

    def _open_table(self, key: tuple[str, ...]) -> None:
        self._note((), key)
        self._table = self._resolved(key)

    def _open_array(self, key: tuple[str, ...]) -> None:
        self._note((), key)
        array = (*self._resolved(key[:-1]), *key[-1:])
        index = self._counts.get(array, 0)
        self._counts[array] = index + 1
        self._table = (*array, index)
        self.lines.setdefault(self._table, self._line)

    def _resolved(self, key: tuple[str, ...]) -> KeyPath:
        """Return the path that a header means: an array of tables stands for its last table."""
        path: KeyPath = ()
        for part in key:
            path = (*path, part)
            if path in self._counts:
                path = (*path, self._counts[path] - 1)
        return path

    def _note(self, table: KeyPath, key: tuple[str, ...]) -> None:
        path = table
        for part in key:
            path = (*path, part)
            self.lines.setdefault(path, self._line)
            if table == () and path in self._counts:
                path = (*path, self._counts[path] - 1)

    def _dotted_key(self) -> tuple[str, ...]:
        parts: list[str] = []
        while True:
            self._skip(_SPACES)
            part = self._simple_key()
            if part is None:
                return tuple(parts)
            parts.append(part)
            self._skip(_SPACES)
            if not self._text.startswith(".", self._at):
                return tuple(parts)
            self._at += 1

    def _simple_key(self) -> str | None:
        bare = _BARE_KEY.match(self._text, self._at)
        if bare is not None:
            self._at = bare.end()
            return bare.group()
        quoted = _VALUE_PART.match(self._text, self._at)
        if quoted is None or quoted.group()[0] not in "\"'":
            return None
        self._at = quoted.end()
        literal = quoted.group()
        return _ESCAPE.sub(_unescaped, literal[1:-1]) if literal[0] == '"' else literal[1:-1]

    def _rest_of_line(self) -> None:
        end = self._text.find("\n", self._at)
        self._at = len(self._text) if end < 0 else end

    def _value(self) -> None:
        """Skip a value: to the end of the line on which its last bracket closes."""
        depth = 0
        while (part := _VALUE_PART.match(self._text, self._at)) is not None:
            self._at = part.end()
            match part.group():
                case "[" | "{":
                    depth += 1
                case "]" | "}":
                    depth -= 1
                case "\n" if depth <= 0:
                    return

    def _skip(self, pattern: re.Pattern[str]) -> None:
        found = pattern.match(self._text, self._at)
        self._at = self._at if found is None else found.end()


def _unescaped(escape: re.Match[str]) -> str:
    code = escape.group(1) or escape.group(2)
    return _ESCAPED[escape.group(3)] if code is None else chr(int(code, 16))
