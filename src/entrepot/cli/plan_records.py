"""Where `entrepot plan calibrate` takes records from: a CSV, JSON lines, or the attempts in our own ledger.

All say the same of an answer: when it was sent, how many tokens went in and out, when the first and the last
of them came. An answer that failed or was cut off says nothing about a clock and is left out.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from pathlib import Path

import msgspec
import numpy as np

from entrepot.catalog.reading import nearest_text
from entrepot.cli.posted import posted_store
from entrepot.domain.errors import ConfigError, DataError
from entrepot.domain.outcome import Outcome
from entrepot.ledger.entries import Settle
from entrepot.ledger.history import AttemptHistory
from entrepot.tokenomics.records import Records

COLUMNS = ("start_s", "prompt_tokens", "output_tokens", "ttft_s", "duration_s")
OPTIONAL = "in_flight"
_NS_PER_S = 1e9
_MOST = 100_000  # of the last requests, beyond which a fit gains nothing
_JSON_LINES = ".jsonl"
_ALONE = 1.0  # in flight, where nobody counted: then what the records themselves show is taken

_Row = tuple[float, float, float, float, float, float]


class _JsonRecord(msgspec.Struct, frozen=True):
    """A line of JSON lines: the columns of the CSV. Other keys are somebody else's and ignored."""

    start_s: float
    prompt_tokens: float
    output_tokens: float
    ttft_s: float
    duration_s: float
    in_flight: float | None = None


def file_records(path: Path) -> Records:
    """Return the records of a file: JSON lines where it is called .jsonl, else a CSV.

    Raises: DataError with file and line, what was seen and what was expected.
    """
    return json_records(path) if path.suffix.lower() == _JSON_LINES else csv_records(path)


def json_records(path: Path) -> Records:
    """Return the records of a file with an object per line: keys as `COLUMNS` and perhaps `OPTIONAL`.

    Raises: DataError with file and line, what was seen and what to do.
    """
    decoder = msgspec.json.Decoder(_JsonRecord)
    rows: list[_Row] = []
    has_flight = False
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    record = _decoded(path, number, line, decoder)
                    has_flight = has_flight or record.in_flight is not None
                    rows.append(_possible(path, number, _row(record)))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    return _records(str(path), rows, has_flight=has_flight)


def _decoded(path: Path, number: int, line: bytes, decoder: msgspec.json.Decoder[_JsonRecord]) -> _JsonRecord:
    try:
        return decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        expected = f"expected an object with numbers {', '.join(COLUMNS)} and, if it is known, {OPTIONAL}"
        raise DataError(f"{path}:{number}: {error}; {expected}: mend the line or leave it out") from None


def _row(record: _JsonRecord) -> _Row:
    in_flight = _ALONE if record.in_flight is None else record.in_flight
    return (
        record.start_s,
        record.prompt_tokens,
        record.output_tokens,
        record.ttft_s,
        record.duration_s,
        in_flight,
    )


def csv_records(path: Path) -> Records:
    """Return the records of a CSV with the columns `COLUMNS` and perhaps `OPTIONAL`, in any order.

    Raises: DataError with file and line, what was seen and what was expected.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            names = [name.strip() for name in reader.fieldnames or ()]
            missing = [name for name in COLUMNS if name not in names]
            if missing:
                raise DataError(
                    f"{path}: no column {', '.join(missing)} in its header {','.join(names) or '(empty)'}; "
                    f"expected {','.join(COLUMNS)} and, if it is known, {OPTIONAL}"
                )
            has_flight = OPTIONAL in names
            rows = [
                _possible(path, reader.line_num, _cells(path, reader.line_num, row, has_flight=has_flight))
                for row in reader
            ]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    return _records(str(path), rows, has_flight=has_flight)


def ledger_records(data_dir: Path, endpoint: str, since_ns: int) -> Records:
    """Return the finished answers of an endpoint, called as `entrepot endpoints` does or MODEL@HOST.

    Units: Unix nanoseconds.
    Raises: ConfigError when no attempt went there; DataError when there are too few, or no ledger.
    """
    with posted_store(data_dir) as store:
        attempts = [attempt for history in store.recent(_MOST) for attempt in history.attempts]
    recent = [attempt for attempt in attempts if attempt.reserve.at_ns >= since_ns]
    own = [attempt for attempt in recent if endpoint in _names(attempt)]
    if not own:
        known = sorted({name for attempt in recent for name in _names(attempt)[:1]})
        told = nearest_text(endpoint, known) if known else "there are none at all: give an earlier --since"
        raise ConfigError((f"no attempt since then went to an endpoint {endpoint!r}; {told}",))
    rows = [row for row in map(_answered, own) if row is not None]
    return _records(f"endpoint {endpoint}: {len(rows)} of {len(own)} attempts ended well", rows)


def _names(attempt: AttemptHistory) -> tuple[str, ...]:
    named = attempt.endpoint
    return () if named is None else (named.name, f"{named.model}@{named.host}")


def _answered(attempt: AttemptHistory) -> _Row | None:
    """Return a finished answer whose times were measured, None for any other attempt."""
    end, usage = attempt.closing, attempt.usage
    if not isinstance(end, Settle) or end.outcome is not Outcome.OK or usage.estimated:
        return None
    if not (isfinite(end.ttft_s) and isfinite(end.answer_s) and 0 < end.ttft_s <= end.answer_s):
        return None
    if usage.prompt_tokens < 1 or usage.output_tokens < 1:
        return None
    start_s = attempt.reserve.at_ns / _NS_PER_S
    tokens = float(usage.prompt_tokens), float(usage.output_tokens)
    return (start_s, *tokens, end.ttft_s, end.answer_s, float(max(end.in_flight, 1)))


def _cells(path: Path, line: int, row: Mapping[str | None, object], *, has_flight: bool) -> _Row:
    by_name = {(name or "").strip(): cell for name, cell in row.items()}
    wanted = (*COLUMNS, OPTIONAL) if has_flight else COLUMNS
    values = []
    for name in wanted:
        try:
            value = float(str(by_name[name]))
        except ValueError:
            value = float("nan")
        if not isfinite(value):
            raise DataError(f"{path}:{line}: {name} {str(by_name[name])!r}; expected a number")
        values.append(value)
    start_s, prompt, output, ttft_s, duration_s = values[:5]
    return start_s, prompt, output, ttft_s, duration_s, values[5] if has_flight else _ALONE


def _possible(path: Path, line: int, row: _Row) -> _Row:
    """Return a row that an answer can have. Raises: DataError for any other, with its line."""
    _, prompt, output, ttft_s, duration_s, _ = row
    if prompt < 1 or output < 1:
        seen = f"{prompt:g} prompt and {output:g} output tokens; expected at least one of each"
    elif not 0 < ttft_s <= duration_s:
        seen = f"ttft_s {ttft_s:g} and duration_s {duration_s:g}; expected 0 < ttft_s ≤ duration_s"
    else:
        return row
    raise DataError(f"{path}:{line}: {seen}: leave failed requests out")


def _records(where: str, rows: Sequence[_Row], *, has_flight: bool = True) -> Records:
    start_s, prompt, output, ttft_s, duration_s, in_flight = _arrays(rows)
    try:
        return Records(
            start_s=start_s - start_s.min(initial=np.inf),
            prompt_tokens=prompt.astype(np.int64),
            output_tokens=output.astype(np.int64),
            ttft_s=ttft_s,
            duration_s=duration_s,
            in_flight=in_flight if has_flight else None,
        )
    except ValueError as error:
        raise DataError(f"{where}: {error}") from None


def _arrays(rows: Iterable[_Row]) -> list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    table = np.array(list(rows), dtype=np.float64).reshape(-1, 6)
    return [table[:, column] for column in range(6)]
