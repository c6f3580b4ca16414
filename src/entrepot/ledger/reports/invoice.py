"""A host's invoice or usage export, read from CSV into lines of one kind, whatever its columns are called.

By the names of columns and not by a format for each host: exports change their columns more often than
what these mean, and a user can name a new one. Amounts are exact decimals; a float would invent cents.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation

from msgspec import Struct

from entrepot.domain.money import NUSD_PER_USD, TOKENS_PER_MTOK
from entrepot.domain.usage import Usage

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LEAST_UNIX_S = 1_000_000_000  # a column of seconds since 1970, rather than a day such as 20251124

# What a column means → what hosts call it. OpenAI's usage and costs (input_cached_tokens, num_model_requests,
# amount_value), Anthropic's console (usage_…), OpenRouter's activity and generations (model_permaslug,
# cost_total, tokens_prompt), DeepSeek's (utc_date; a `type` and an `amount` in each row), and plain names.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "date": (
        "usage_date_utc",
        "utc_date",
        "start_time_iso",
        "created_at",
        "date",
        "day",
        "start_time",
        "starting_at",
        "bucket_start_time",
        "timestamp",
        "time",
    ),
    "model": ("model", "model_version", "model_permaslug", "model_name", "snapshot_id"),
    "id": ("request_id", "x_request_id", "generation_id", "answer_id"),
    "requests": ("requests", "num_model_requests", "request_count", "n_requests"),
    "prompt": ("prompt_tokens", "input_tokens", "tokens_prompt", "native_tokens_prompt", "prompt"),
    "uncached": (
        "uncached_tokens",
        "input_uncached_tokens",
        "uncached_input_tokens",
        "usage_input_tokens_no_cache",
        "input_cache_miss_tokens",
        "prompt_cache_miss_tokens",
    ),
    "cached": (
        "cached_tokens",
        "input_cached_tokens",
        "tokens_cached",
        "native_tokens_cached",
        "cached",
        "input_cache_hit_tokens",
        "prompt_cache_hit_tokens",
        "usage_input_tokens_cache_read",
    ),
    "cache_read": ("cache_read_input_tokens",),  # Anthropic's: beside input_tokens and not in them
    "cache_write": ("cache_write_tokens", "cache_creation_input_tokens", "usage_input_tokens_cache_write_5m"),
    "cache_write_1h": ("cache_write_1h_tokens", "usage_input_tokens_cache_write_1h"),
    "output": (
        "completion_tokens",
        "output_tokens",
        "tokens_completion",
        "native_tokens_completion",
        "usage_output_tokens",
        "output",
    ),
    "reasoning": ("reasoning_tokens", "tokens_reasoning", "native_tokens_reasoning"),
    "cost": ("cost", "cost_usd", "cost_total", "total_cost", "amount_usd", "amount_value", "usage", "amount"),
    "price": ("price", "unit_price"),
    "kind": ("type", "token_type"),
    "quantity": ("amount", "quantity"),
    "text": ("description", "line_item", "item", "usage_type"),
    "currency": ("currency", "amount_currency"),
}
_COUNTS = (
    "requests",
    "prompt",
    "uncached",
    "cached",
    "cache_read",
    "cache_write",
    "cache_write_1h",
    "output",
    "reasoning",
)
_PRICED_PER_TOKEN_BELOW = Decimal("0.001")  # USD: a unit price below is of one token, above of a million


class InvoiceLine(Struct, frozen=True):
    """One line: what the host counted, and what it wants for it.

    Units: `cost_nusd` nano-USD, exact, may be fractions; `at_ns` Unix nanoseconds, None when the line has
    only a `day`, which is one of the host's zone. `usage` is None when the line counts no tokens.
    `request_id` is ours with its attempt, or the host's own of the answer.
    """

    number: int
    day: date | None
    at_ns: int | None
    model: str
    text: str
    request_id: str
    requests: int | None
    usage: Usage | None
    cost_nusd: Decimal | None


class Invoice(Struct, frozen=True):
    """All lines, and what they can be compared by.

    Units: `step_nusd` nano-USD, the finest amount that the costs are written to. `splits_cached`: cached
    prompt tokens stand apart from the others.
    """

    lines: tuple[InvoiceLine, ...]
    splits_cached: bool
    has_cost: bool
    step_nusd: Decimal


def read_invoice(rows: Iterable[str], columns: Mapping[str, str]) -> Invoice:
    """Return the lines of a CSV text; `columns` has what a meaning of `COLUMNS` is called here, first of all.

    Raises: ValueError naming the line, the value and what was expected; or the columns that are missing.
    """
    reader = csv.DictReader(rows)
    places = _places(reader.fieldnames or (), columns)
    is_long = "kind" in places and "quantity" in places and not set(_COUNTS[1:]) & set(places)
    if is_long and places.get("cost") == places["quantity"]:
        del places["cost"]
    if not is_long:
        places.pop("quantity", None)
    lines, texts = [], []
    for number, row in enumerate(reader, start=2):
        cells = {name: (row.get(column) or "").strip() for name, column in places.items()}
        if any(cells.values()):
            texts.append(cells.get("cost", ""))
            lines.append(_line(number, _widened(cells, number) if is_long else cells))
    kinds = {cells for cells in places if cells in _COUNTS}
    return Invoice(
        tuple(lines),
        is_long or bool(kinds & {"uncached", "cached", "cache_read"}),
        any(line.cost_nusd is not None for line in lines),
        _step_nusd(texts),
    )


def _places(header: Sequence[str], columns: Mapping[str, str]) -> dict[str, str]:
    """Return which column of the header has which meaning."""
    unknown = [name for name in columns if name not in COLUMNS]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no meaning of a column; there are {', '.join(COLUMNS)}")
    missing = [column for column in columns.values() if column not in header]
    if missing:
        raise ValueError(f"there is no column {missing[0]!r}; there are {', '.join(header) or 'none'}")
    called = {_plain(column): column for column in header}
    places = {
        meaning: next(called[name] for name in names if name in called)
        for meaning, names in COLUMNS.items()
        if any(name in called for name in names)
    } | dict(columns)
    if "date" not in places or not {"cost", "quantity", *_COUNTS} & set(places):
        raise ValueError(
            f"the columns are {', '.join(header) or 'none'}: expected one with the day and one with costs or "
            "tokens; say which they are: --column date=… --column cost=…"
        )
    return places


def _plain(column: str) -> str:
    return column.strip().lower().lstrip("\ufeff").replace(" ", "_").replace("-", "_")


def _widened(cells: dict[str, str], number: int) -> dict[str, str]:
    """Return a row that has one kind of tokens as one that has a column for each."""
    kind = _plain(cells["kind"])
    meaning = next((name for name in _COUNTS if kind in COLUMNS[name]), None)
    found = {name: text for name, text in cells.items() if name not in ("kind", "quantity", "price")}
    if meaning is None:
        return {**found, "text": found.get("text") or cells["kind"]}
    found[meaning] = cells["quantity"]
    price = cells.get("price", "")
    if price and not found.get("cost") and meaning != "requests":
        usd = _decimal(price, number, "price")
        per_token = usd if usd < _PRICED_PER_TOKEN_BELOW else usd / TOKENS_PER_MTOK
        found["cost"] = f"{per_token * _decimal(cells['quantity'], number, 'quantity'):f}"
    return found


def _line(number: int, cells: Mapping[str, str]) -> InvoiceLine:
    currency = cells.get("currency", "").upper()
    if currency not in ("", "USD"):
        raise ValueError(f"line {number}: the currency is {currency}: expected USD, as the ledger is")
    counts = {name: _count(cells[name], number, name) for name in _COUNTS if cells.get(name)}
    day, at_ns = _when(cells["date"], number)
    cost = _decimal(cells["cost"], number, "cost") if cells.get("cost") else None
    requests = counts.pop("requests", None)
    return InvoiceLine(
        number,
        day,
        at_ns,
        cells.get("model", ""),
        cells.get("text", ""),
        cells.get("id", ""),
        requests,
        _usage(counts) if counts else None,
        None if cost is None else cost * NUSD_PER_USD,
    )


def _usage(counts: Mapping[str, int]) -> Usage:
    read = counts.get("cache_read", 0)
    cached = counts.get("cached", 0) + read
    written, written_1h = counts.get("cache_write", 0), counts.get("cache_write_1h", 0)
    uncached = counts.get("uncached")
    if uncached is None:
        is_beside = "cache_read" in counts
        uncached = counts.get("prompt", 0) - (0 if is_beside else cached + written + written_1h)
    return Usage(uncached, cached, written, counts.get("output", 0), counts.get("reasoning", 0), written_1h)


def _when(text: str, number: int) -> tuple[date | None, int | None]:
    """Return the day, or the instant in nanoseconds where the text has one; neither for an empty text."""
    if not text:
        return None, None
    if text.isdecimal() and int(text) >= _LEAST_UNIX_S:
        return None, int(text) * 1_000_000_000
    try:
        if len(text) <= len("2025-11-24"):
            return date.fromisoformat(text), None
        at = datetime.fromisoformat(text.removesuffix(" UTC"))
    except ValueError:
        raise ValueError(
            f"line {number}: {text!r} is neither a day such as 2025-11-24 nor an instant"
        ) from None
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return None, (at - _EPOCH) // timedelta(microseconds=1) * 1_000


def _count(text: str, number: int, name: str) -> int:
    value = _decimal(text, number, name)
    if value != value.to_integral_value():
        raise ValueError(f"line {number}: {name} is {text!r}: expected a whole number")
    return int(value)


def _decimal(text: str, number: int, name: str) -> Decimal:
    try:
        value = Decimal(text.replace(",", "").replace("$", ""))
    except InvalidOperation:
        raise ValueError(f"line {number}: {name} is {text!r}: expected a number") from None
    if not value.is_finite():
        raise ValueError(f"line {number}: {name} is {text!r}: expected a finite number")
    return value


def _step_nusd(costs: Iterable[str]) -> Decimal:
    places = max((len(text.partition(".")[2]) for text in costs if text), default=9)
    return Decimal(NUSD_PER_USD).scaleb(-places)
