"""The likeliest cause of a difference between an invoice and the ledger: rules, tried in order.

A rule names a cause only where it accounts for the amount: the tokens that are too many are exactly those of
the retries, another price version gives the host's sum to the nano-dollar. What no rule accounts for is
said to be unexplained; a guess would send somebody to argue with a host for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum

import msgspec
from msgspec import Struct

from entrepot.domain.money import NUSD_PER_USD, TOKENS_PER_MTOK, line_nusd, usd_text
from entrepot.domain.usage import Usage
from entrepot.ledger.reports.booked import Ending, Piece, PriceVersion
from entrepot.ledger.reports.invoice import InvoiceLine
from entrepot.ledger.reports.reconcile_cells import (
    COUNTED,
    Cell,
    Known,
    is_more,
    is_nothing,
    negative,
    total,
    value_nusd,
)

_PRICE_STEP_NUSD = 1_000_000  # prices are listed to a tenth of a cent per million tokens
_ROUND_PERCENT = Decimal("0.005")  # discounts and surcharges are whole or half percents
_EXTRA = (
    ("tax", ("tax", "vat", "gst", "duty")),
    ("minimum", ("minimum", "commit")),
    ("credit", ("credit", "refund", "discount", "promo", "voucher", "rebate")),
)


class Cause(StrEnum):
    """Why an invoice and the ledger differ."""

    CACHED_IN_FULL = "cached tokens charged in full"
    PRICE = "another price"
    MISSING_HERE = "not in the ledger"
    MISSING_AT_HOST = "not on the invoice"
    ESTIMATED = "estimated here"
    UNKNOWN = "unknown here"
    DAY = "another day"
    RETRIES = "retries billed twice"
    FAILED = "failed attempts billed"
    TWICE = "billed twice"
    TOKENS = "tokens counted otherwise"
    ROUNDING = "rounding"
    FEE = "fee"
    CREDIT = "credit"
    MINIMUM = "minimum charge"
    TAX = "tax"
    UNMAPPED = "model not known"
    UNEXPLAINED = "unexplained"


class Finding(Struct, frozen=True):
    """A difference and its likeliest cause.

    Units: `nusd` nano-USD that the host asks more than was booked, exact, may be negative. `line` is that of
    the invoice where there is only one.
    """

    cause: Cause
    day: date | None
    model: str
    nusd: Decimal
    sentence: str
    attempt: str = ""
    line: int | None = None


def explain(cell: Cell, known: Known) -> tuple[Finding, ...]:
    """Return why the two sides of a cell differ: a finding on what was counted, one on its price, or both."""
    difference = cell.difference_nusd(known)
    more = cell.more_tokens(known)
    whole = _one_side(cell, known) or _counted(cell, known, more)
    found: list[Finding] = []
    if whole is not None:
        cause, sentence = whole
        amount = _amount_of(cell, known, cause, more)
        found.append(_finding(cell, cause, amount, sentence))
        difference -= amount
    if abs(difference) > cell.slack_nusd(known):
        cause, sentence = _priced(cell, known, difference, more)
        found.append(_finding(cell, cause, difference, sentence))
    elif difference and found:
        found[0] = msgspec.structs.replace(found[0], nusd=found[0].nusd + difference)
    return tuple(found)


Reason = tuple[Cause, str]


def _amount_of(cell: Cell, known: Known, cause: Cause, more: Usage) -> Decimal:
    """Return how much of the difference the tokens that are too many or too few account for.

    All of it where one side has nothing, and where it is what they cost at one of the prices of that model.
    """
    difference = cell.difference_nusd(known)
    if not cell.pieces or not cell.lines or is_nothing(more):
        return difference
    at_first = cell.prices(known)
    values = [cell.value_nusd(more, known)]
    if cause is Cause.RETRIES:
        values = [sum(piece.cost_nusd for piece in cell.pieces if piece.retry)]
    else:
        of_model = [version.prices for version in known.versions if version.model == cell.model]
        values += [value_nusd(more, prices) for prices in of_model if prices != at_first]
    is_one = any(abs(difference - value) <= cell.slack_nusd(known) for value in values)
    return difference if is_one else Decimal(values[0])


def _finding(cell: Cell, cause: Cause, amount: Decimal, sentence: str) -> Finding:
    line = cell.lines[0].number if len(cell.lines) == 1 else None
    return Finding(cause, cell.day, cell.model, amount, sentence, cell.attempt, line)


def _one_side(cell: Cell, known: Known) -> Reason | None:
    """Return why a side is empty, where one is."""
    if not cell.lines:
        return Cause.MISSING_AT_HOST, f"{_attempts(cell.count(Ending.SETTLED))} that the host does not bill"
    if cell.count(Ending.SETTLED):
        return None
    if cell.count(Ending.UNKNOWN):
        return _unknown(cell)
    if cell.count(Ending.VOID):
        return _failed(cell)
    asked = "" if cell.requests is None else f"{_attempts(cell.requests)} "
    return Cause.MISSING_HERE, f"{asked}that the ledger does not have".strip()


def _counted(cell: Cell, known: Known, more: Usage) -> Reason | None:
    """Return why other tokens were counted, or free attempts billed; None if the same were."""
    if cell.billed is None:
        return _guessed_amount(cell, known)
    if is_nothing(more):
        return None
    rules = (_repeated, _cached_otherwise, _retried, _unknown_more, _failed_more, _estimated)
    for rule in rules:
        reason = rule(cell, known, more)
        if reason is not None:
            return reason
    asked = None if cell.requests is None else cell.requests - cell.count(Ending.SETTLED)
    if is_more(more):
        return Cause.MISSING_HERE, f"{_attempts(asked)} more, with {_tokens(more)}, than the ledger has"
    if is_more(negative(more)):
        fewer = None if asked is None else -asked
        return Cause.MISSING_AT_HOST, f"{_attempts(fewer)} less, with {_tokens(negative(more))}"
    return Cause.TOKENS, f"{_signed(more)} tokens"


def _repeated(cell: Cell, known: Known, more: Usage) -> Reason | None:
    seen: dict[tuple[object, ...], int] = {}
    for line in cell.lines:
        content = (line.day, line.at_ns, line.model, line.text, line.request_id, line.usage, line.cost_nusd)
        if content in seen and line.usage is not None and is_nothing(total((more, negative(line.usage)))):
            return Cause.TWICE, f"line {line.number} repeats line {seen[content]}"
        seen.setdefault(content, line.number)
    return None


def _cached_otherwise(cell: Cell, known: Known, more: Usage) -> Reason | None:
    moved = more.uncached_tokens
    same = Usage(moved, -moved)
    if moved <= 0 or not is_nothing(total((more, negative(same)))):
        return None
    return Cause.CACHED_IN_FULL, f"{moved:,} cached tokens are counted as uncached"


def _retried(cell: Cell, known: Known, more: Usage) -> Reason | None:
    retries = [piece for piece in cell.pieces if piece.retry and piece.ending is Ending.SETTLED]
    usage = total(piece.usage for piece in retries)
    if not known.splits_cached:
        usage = Usage(usage.prompt_tokens, output_tokens=usage.output_tokens)
    if is_nothing(usage) or not is_nothing(total((more, negative(usage)))):
        return None
    count = sum(piece.attempts for piece in retries)
    return Cause.RETRIES, f"exactly the tokens of {_attempts(count)} that retried others are there twice"


def _unknown_more(cell: Cell, known: Known, more: Usage) -> Reason | None:
    at_most = sum(piece.at_most_nusd for piece in cell.pieces if piece.ending is Ending.UNKNOWN)
    is_within = cell.value_nusd(more, known) <= at_most
    return _unknown(cell) if is_more(more) and is_within and _asked_more(cell, Ending.UNKNOWN) else None


def _failed_more(cell: Cell, known: Known, more: Usage) -> Reason | None:
    is_known = cell.requests is not None
    return _failed(cell) if is_known and is_more(more) and _asked_more(cell, Ending.VOID) else None


def _asked_more(cell: Cell, ending: Ending) -> bool:
    """Return whether the invoice has as many more requests as attempts ended so here."""
    count = cell.count(ending)
    return count > 0 and (cell.requests is None or cell.requests - cell.count(Ending.SETTLED) == count)


def _unknown(cell: Cell) -> Reason:
    unknown = [piece for piece in cell.pieces if piece.ending is Ending.UNKNOWN]
    count, at_most = (sum(getattr(piece, of) for piece in unknown) for of in ("attempts", "at_most_nusd"))
    return Cause.UNKNOWN, f"{_attempts(count)} of unknown cost, at most ${usd_text(at_most)}"


def _failed(cell: Cell) -> Reason:
    return Cause.FAILED, f"{_attempts(cell.count(Ending.VOID))} that failed here before any content"


def _estimated(cell: Cell, known: Known, more: Usage) -> Reason | None:
    estimated = [piece for piece in cell.pieces if piece.estimated]
    count = sum(piece.attempts for piece in estimated)
    is_other = cell.requests is not None and cell.requests != cell.count(Ending.SETTLED)
    if not count or is_other:
        return None
    cancelled = sum(piece.attempts for piece in estimated if piece.cancelled)
    text = f", {cancelled:,} of them cancelled" if cancelled else ""
    return Cause.ESTIMATED, f"{_attempts(count)} whose tokens we estimated{text}: {_signed(more)}"


def _guessed_amount(cell: Cell, known: Known) -> Reason | None:
    """Return what a difference without tokens on the invoice may be; None if a price explains it."""
    difference, slack = cell.difference_nusd(known), cell.slack_nusd(known)
    retries = sum(piece.cost_nusd for piece in cell.pieces if piece.retry)
    if retries and abs(difference - retries) <= slack:
        return Cause.RETRIES, "exactly the cost of the attempts that retried others is there twice"
    if _priced(cell, known, difference, Usage())[0] is not Cause.UNEXPLAINED:
        return None
    at_most = sum(piece.at_most_nusd for piece in cell.pieces if piece.ending is Ending.UNKNOWN)
    if 0 < difference <= at_most:
        return _unknown(cell)
    estimated = [piece for piece in cell.pieces if piece.estimated]
    if abs(difference) <= sum(piece.cost_nusd for piece in estimated):
        count = sum(piece.attempts for piece in estimated)
        return Cause.ESTIMATED, f"{_attempts(count)} whose tokens we estimated"
    return None


def _priced(cell: Cell, known: Known, rest: Decimal, more: Usage) -> Reason:
    """Return which price explains an amount that the same tokens, and `more` of them, cost more or less."""
    slack = cell.slack_nusd(known)
    full = sum(_cached_in_full_nusd(piece, known) for piece in cell.pieces)
    if full and abs(rest - full) <= slack:
        count = cell.booked.cached_tokens
        return Cause.CACHED_IN_FULL, f"{count:,} cached tokens cost as much as uncached ones"
    for version in known.versions:
        repriced = _repriced_nusd(cell, version, total((cell.booked, more)))
        if version.model == cell.model and abs(cell.difference_nusd(known) - repriced) <= slack:
            return Cause.PRICE, f"price version {version.number} explains it: {_version(version)}"
    if abs(rest) <= len(cell.lines) * known.step_nusd:
        return Cause.ROUNDING, f"{len(cell.lines):,} lines, each rounded by up to its last decimal"
    factor = 1 + rest / cell.booked_nusd if cell.booked_nusd else Decimal(1)
    round_factor = factor.quantize(_ROUND_PERCENT)
    round_factor -= round_factor % _ROUND_PERCENT
    if round_factor != 1 and abs(cell.booked_nusd * (round_factor - 1) - rest) <= slack:
        percent = (round_factor - 1) * 100
        return Cause.PRICE, f"{percent.normalize():+f} % on everything: a discount or a surcharge"
    implied = min(_implied(cell, known, rest), default=None)
    if implied is not None:
        return Cause.PRICE, implied[1]
    return Cause.UNEXPLAINED, "the same tokens, and no price that the ledger knows gives this amount"


def _cached_in_full_nusd(piece: Piece, known: Known) -> int:
    prices = next((one.prices for one in known.versions if one.number == piece.price_version), None)
    if prices is None:
        return 0
    cached = piece.usage.cached_tokens
    less = line_nusd(cached, prices.cached_or_input_nusd_per_mtok)
    return line_nusd(cached, prices.input_nusd_per_mtok) - less


def _repriced_nusd(cell: Cell, version: PriceVersion, usage: Usage) -> int:
    """Return what these tokens would cost more than was booked, at the prices of a version."""
    settled = cell.count(Ending.SETTLED)
    bill = version.prices.bill(usage)
    return bill.total_nusd + (settled - 1) * bill.request_nusd - cell.booked_nusd


def _version(version: PriceVersion) -> str:
    prices = version.prices
    parts = [
        f"${usd_text(prices.input_nusd_per_mtok)} input",
        *(
            []
            if prices.cached_nusd_per_mtok is None
            else [f"${usd_text(prices.cached_nusd_per_mtok)} cached"]
        ),
        f"${usd_text(prices.output_nusd_per_mtok)} output",
    ]
    source = ", ".join(text for text in (prices.label, prices.source, prices.checked) if text)
    return f"{', '.join(parts)} per million tokens{f' ({source})' if source else ''}"


def _implied(cell: Cell, known: Known, rest: Decimal) -> Iterator[tuple[int, str]]:
    """Yield single prices that give the amount, with how many digits they have: round ones are likelier."""
    prices, usage = cell.prices(known), cell.booked
    lines = (
        ("output", usage.output_tokens, prices.output_nusd_per_mtok),
        ("input", usage.uncached_tokens, prices.input_nusd_per_mtok),
        ("cached", usage.cached_tokens, prices.cached_or_input_nusd_per_mtok),
    )
    for name, tokens, price in lines:
        if not tokens:
            continue
        exact = price + rest * TOKENS_PER_MTOK / tokens
        steps = (exact / _PRICE_STEP_NUSD).to_integral_value(ROUND_HALF_UP)
        other = int(steps) * _PRICE_STEP_NUSD
        gives = Decimal(tokens * (other - price)) / TOKENS_PER_MTOK
        if other >= 0 and other != price and abs(gives - rest) <= cell.slack_nusd(known):
            text = usd_text(other)
            sentence = f"an {name} price of ${text} instead of ${usd_text(price)} per million tokens gives it"
            yield len(text.rstrip("0")), sentence.replace("an cached", "a cached")
    requests = cell.count(Ending.SETTLED)
    if requests and rest > 0 and rest % requests == 0 and (rest / requests) % (NUSD_PER_USD // 100_000) == 0:
        text = usd_text(int(rest / requests))
        yield len(text), f"${text} for each of {requests:,} requests gives it"


def of_unknown_model(model: str, lines: Sequence[InvoiceLine], ours: Iterable[str]) -> Finding:
    """Return the finding for lines of a model that the ledger does not know by this name."""
    amount = sum((line.cost_nusd for line in lines if line.cost_nusd is not None), Decimal(0))
    there = ", ".join(ours) or "none"
    sentence = f"{len(lines):,} lines of a model that the ledger does not know: --map {model}=…, of {there}"
    return Finding(Cause.UNMAPPED, None, model, amount, sentence)


def of_extra_line(line: InvoiceLine, day: date | None) -> Finding:
    """Return what a line without a model is: a fee, a credit, a minimum, a tax."""
    amount = line.cost_nusd or Decimal(0)
    text = " ".join(part for part in (line.model, line.text) if part).lower()
    words = set(text.replace("(", " ").replace(")", " ").split())
    for cause, names in _EXTRA:
        if any(word.startswith(name) for word in words for name in names):
            return _of_line(line, Cause[cause.upper()], day, amount)
    return _of_line(line, Cause.CREDIT if amount < 0 else Cause.FEE, day, amount)


def _of_line(line: InvoiceLine, cause: Cause, day: date | None, amount: Decimal) -> Finding:
    text = line.text or line.model or "without a model or a text"
    return Finding(cause, day, line.model, amount, f"line {line.number}: {text}", line=line.number)


def _attempts(count: int | None) -> str:
    return "attempts" if count is None else f"{count:,} attempt{'' if count == 1 else 's'}"


def _tokens(usage: Usage) -> str:
    return f"{usage.prompt_tokens:,} prompt and {usage.output_tokens:,} output tokens"


def _signed(usage: Usage) -> str:
    shown = [
        f"{getattr(usage, name):+,} {name.removesuffix('_tokens').replace('_', ' ')}"
        for name in COUNTED
        if getattr(usage, name)
    ]
    return ", ".join(shown)
