"""Reads traces: Azure's CSV, Mooncake's JSON lines, and what `entrepot requests --json` prints of our ledger.

The format is recognised by what is in the file, since names of downloads tell nothing. A line that does not
fit is a fault with its number, not a row that is silently left out: a trace with holes gives wrong loads.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from entrepot.catalog.data_files import data_path
from entrepot.catalog.reading import nearest_text
from entrepot.domain.errors import ConfigError, DataError
from entrepot.replay.trace import BLOCK_TOKENS, Trace, TraceRequest, trace_of

MOST_TOKENS = 100_000_000
"""Of a prompt or an answer; more is a slip of columns."""

_AZURE_HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens"
_FORMATS = (
    f"expected the header {_AZURE_HEADER} (Azure), JSON lines with timestamp, input_length, output_length "
    "and hash_ids (Mooncake), or what `entrepot requests --json` prints"
)
_MS_PER_S = 1000.0
_SHOWN = 60
_SUFFIXES = (".csv.gz", ".jsonl.gz")

R = TypeVar("R")


class _MooncakeRow(Struct):
    timestamp: float
    input_length: int
    output_length: int
    hash_ids: tuple[int, ...] = ()


class _Line(Struct):
    tokens: int = 0


class _Attempt(Struct):
    lines: dict[str, _Line]


class _LedgerRow(Struct):
    id: str
    created_at: datetime
    key_id: int
    attempts: list[_Attempt]
    outcome: str | None = None


_PROMPT_LINES = ("uncached", "cached", "cache_write", "cache_write_1h")
_OUTPUT_LINES = ("output", "reasoning")


def load_trace(name_or_path: str) -> Trace:
    """Return the trace of `data/traces` with that name, or of the file at that path; `.gz` is unpacked.

    Raises: DataError with file and line when it cannot be read; ConfigError when no trace is called so.
    """
    path = Path(name_or_path)
    if not path.exists() and "/" not in name_or_path and "." not in name_or_path:
        path = _bundled(name_or_path)
    return parse_trace(_trace_name(path), str(path), _text(path))


def bundled_traces() -> dict[str, Path]:
    """Return the traces that ship with entrepot, by name."""
    folder = data_path("traces")
    return {_trace_name(path): path for path in sorted(folder.iterdir()) if path.name.endswith(_SUFFIXES)}


def parse_trace(name: str, file: str, text: str) -> Trace:
    """Return the trace that `text` holds; `file` is what messages call it.

    Raises: DataError with the line, what was seen and what was expected.
    """
    start = text.lstrip()[:1]
    if start == "[":
        return _ledger_trace(name, file, enumerate(_decode_list(file, text), start=1), "item")
    lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    if not lines:
        raise DataError(f"{file}: is empty; {_FORMATS}")
    number, first = lines[0]
    if start == "{":
        keys = _decode(file, number, first, dict[str, object])
        if "input_length" in keys:
            return trace_of(name, [_mooncake(file, at, line) for at, line in lines])
        if "attempts" in keys:
            rows = ((at, _decode(file, at, line, _LedgerRow)) for at, line in lines)
            return _ledger_trace(name, file, rows, "line")
    if first.strip().lower() == _AZURE_HEADER.lower():
        return _whole(trace_of(name, [_azure(file, at, line) for at, line in lines[1:]]), file)
    raise DataError(f"{file}:{number}: {_shown(first)} begins no trace that we know; {_FORMATS}")


def _bundled(name: str) -> Path:
    known = bundled_traces()
    if name not in known:
        raise ConfigError((f"no trace is called {name!r}; {nearest_text(name, known)}",))
    return known[name]


def _trace_name(path: Path) -> str:
    return path.name.partition(".")[0]


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
        return data.decode("utf-8-sig")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: cannot be unpacked: {error}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise DataError(f"{path}: is not UTF-8: {error}") from None


def _azure(file: str, number: int, line: str) -> TraceRequest:
    cells = line.split(",")
    if len(cells) != 3:
        raise DataError(f"{file}:{number}: {len(cells)} cells in {_shown(line)}; expected {_AZURE_HEADER}")
    try:
        at = datetime.fromisoformat(cells[0].strip())
    except ValueError:
        raise DataError(
            f"{file}:{number}: TIMESTAMP {_shown(cells[0])}; expected such as 2023-11-16 18:15:46.6805900"
        ) from None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return TraceRequest(
        at.timestamp(),
        _tokens(file, number, "ContextTokens", cells[1]),
        _tokens(file, number, "GeneratedTokens", cells[2]),
    )


def _mooncake(file: str, number: int, line: str) -> TraceRequest:
    row = _decode(file, number, line, _MooncakeRow)
    prompt_tokens = _tokens(file, number, "input_length", row.input_length)
    whole = prompt_tokens // BLOCK_TOKENS
    most = -(-prompt_tokens // BLOCK_TOKENS)
    if row.hash_ids and len(row.hash_ids) != most:
        raise DataError(
            f"{file}:{number}: {len(row.hash_ids)} hash_ids for {prompt_tokens} tokens; "
            f"expected {most}, one for each block of {BLOCK_TOKENS}"
        )
    return TraceRequest(
        row.timestamp / _MS_PER_S,
        prompt_tokens,
        _tokens(file, number, "output_length", row.output_length),
        row.hash_ids[:whole],
    )


def _ledger_trace(name: str, file: str, rows: Iterable[tuple[int, _LedgerRow]], unit: str) -> Trace:
    """Return the requests whose last attempt has tokens; of others nobody knows how large they were."""
    found, without = [], 0
    for number, row in rows:
        if not row.attempts:
            raise DataError(
                f"{file}: {unit} {number}: request {row.id} has no attempts; expected one or more"
            )
        lines = row.attempts[-1].lines
        prompt_tokens = sum(lines[key].tokens for key in _PROMPT_LINES if key in lines)
        output_tokens = sum(lines[key].tokens for key in _OUTPUT_LINES if key in lines)
        if prompt_tokens <= 0 or output_tokens <= 0:
            without += 1
            continue
        at = row.created_at if row.created_at.tzinfo else row.created_at.replace(tzinfo=UTC)
        found.append(TraceRequest(at.timestamp(), prompt_tokens, output_tokens, key_id=row.key_id))
    skipped = f"left out, as they have no tokens: {without:,} requests" if without else ""
    return _whole(trace_of(name, found, skipped), file)


def _whole(trace: Trace, file: str) -> Trace:
    if not trace.requests:
        raise DataError(f"{file}: has no requests{f': {trace.skipped}' if trace.skipped else ''}")
    return trace


def _decode_list(file: str, text: str) -> Iterator[_LedgerRow]:
    try:
        yield from msgspec.json.decode(text, type=list[_LedgerRow])
    except msgspec.DecodeError as error:
        raise DataError(f"{file}: {error}; {_FORMATS}") from None


def _decode(file: str, number: int, line: str, kind: Callable[..., R] | type[R]) -> R:
    try:
        decoded: R = msgspec.json.decode(line, type=kind)
    except msgspec.DecodeError as error:
        raise DataError(f"{file}:{number}: {_shown(line)}: {error}") from None
    return decoded


def _tokens(file: str, number: int, what: str, seen: str | int) -> int:
    try:
        tokens = int(seen)
    except ValueError:
        tokens = 0
    if not 1 <= tokens <= MOST_TOKENS:
        raise DataError(
            f"{file}:{number}: {what} {_shown(str(seen))}; expected a whole number from 1 to {MOST_TOKENS:,}"
        )
    return tokens


def _shown(text: str) -> str:
    text = text.strip()
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "...")
