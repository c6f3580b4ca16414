"""Lines a host's invoice up with the ledger, by day and model or by attempt, and explains differences.

Pure: reading the invoice and the store is done elsewhere, so that every rule is tested on a table. Every
difference becomes a finding, and the findings add up to what the host asks more or less than we booked; a
report of totals would say that something is wrong and leave the search to its reader.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal

from msgspec import Struct

from entrepot.ledger.reports.booked import BookedAtHost, Ending, Piece
from entrepot.ledger.reports.invoice import Invoice, InvoiceLine
from entrepot.ledger.reports.reconcile_causes import (
    Cause,
    Finding,
    explain,
    of_extra_line,
    of_unknown_model,
)
from entrepot.ledger.reports.reconcile_cells import Cell, Known

_NS_PER_S = 1_000_000_000
_OFFSETS_H = tuple(sorted((hours for hours in range(-12, 15) if hours), key=abs))


class Compared(Struct, frozen=True):
    """A day and model (and attempt) on both sides. Units: nano-USD; the host's may be fractions."""

    day: date
    model: str
    attempt: str
    booked_nusd: int
    billed_nusd: Decimal
    findings: tuple[Finding, ...]


class Reconciliation(Struct, frozen=True):
    """All that was compared, and what was found.

    Units: nano-USD. `rounding_nusd` is the sum of differences within the rounding of the invoice's own
    decimals: no findings. The findings and it add up to billed less booked. `open_attempts` are under way
    here; `offset_h` is by how many hours the host's days seem to begin earlier than those compared, 0 if
    they do not.
    """

    compared: tuple[Compared, ...]
    findings: tuple[Finding, ...]
    booked_nusd: int
    billed_nusd: Decimal
    rounding_nusd: Decimal
    open_attempts: int
    offset_h: int = 0

    @property
    def agrees(self) -> bool:
        """Return whether nothing differs."""
        return not self.findings


Key = tuple[date, str, str]


def reconcile(
    invoice: Invoice, at_host: BookedAtHost, days: tuple[date, date], zone: tzinfo, called: Mapping[str, str]
) -> Reconciliation:
    """Return the line-up of the days from the first of `days` up to and without the second, in the zone.

    `called` has our model's name for the host's name of it, where the names do not tell.
    """
    known = Known(at_host.versions, invoice.splits_cached, invoice.has_cost, invoice.step_nusd)
    ours = {version.model for version in at_host.versions} | {piece.model for piece in at_host.pieces}
    by_id = bool(invoice.lines) and all(line.request_id for line in invoice.lines if line.model)
    lines: list[tuple[date, str, InvoiceLine]] = []
    extra: list[Finding] = []
    unknown: dict[str, list[InvoiceLine]] = {}
    for line in invoice.lines:
        day = _day_of_line(line, zone)
        if day is not None and not days[0] <= day < days[1]:
            continue
        model = _our_model(line.model, ours, called)
        if day is not None and model is not None:
            lines.append((day, model, line))
        elif line.model and line.usage is not None:
            unknown.setdefault(line.model, []).append(line)
        else:
            extra.append(of_extra_line(line, day))
    extra += [of_unknown_model(name, found, sorted(ours)) for name, found in unknown.items()]
    cells = _cells(at_host.pieces, lines, days, zone, by_id=by_id)
    offset_h = 0 if by_id or _all_equal(cells, known) else _offset_h(at_host.pieces, lines, days, zone, known)
    found = _explained(cells, known, offset_h)
    compared = [
        Compared(*key, cell.booked_nusd, cell.billed_nusd(known), found.get(key, ()))
        for key, cell in sorted(cells.items())
    ]
    findings = [*(finding for one in compared for finding in one.findings), *extra]
    booked_nusd = sum(one.booked_nusd for one in compared)
    billed_nusd = sum((one.billed_nusd for one in compared), sum((one.nusd for one in extra), Decimal(0)))
    rounding_nusd = billed_nusd - booked_nusd - sum((one.nusd for one in findings), Decimal(0))
    open_attempts = sum(
        piece.attempts for cell in cells.values() for piece in cell.pieces if piece.ending is Ending.OPEN
    )
    return Reconciliation(
        tuple(compared), tuple(findings), booked_nusd, billed_nusd, rounding_nusd, open_attempts, offset_h
    )


def _day_of_line(line: InvoiceLine, zone: tzinfo) -> date | None:
    return line.day if line.at_ns is None else day_of(line.at_ns, zone)


def day_of(at_ns: int, zone: tzinfo) -> date:
    """Return the day of an instant in a time zone. Units: Unix nanoseconds."""
    return datetime.fromtimestamp(at_ns // _NS_PER_S, UTC).astimezone(zone).date()


def _our_model(theirs: str, ours: Iterable[str], called: Mapping[str, str]) -> str | None:
    """Return our model that the host calls so: as mapped, by its name, or by what is behind the slash."""
    if theirs in called:
        return called[theirs]
    plain = theirs.lower()
    found = [model for model in ours if model.lower() == plain]
    found = found or [model for model in ours if _short(model) == _short(plain)]
    return found[0] if len(found) == 1 else None


def _short(model: str) -> str:
    return model.lower().rpartition("/")[2]


def _cells(
    pieces: Sequence[Piece],
    lines: Sequence[tuple[date, str, InvoiceLine]],
    days: tuple[date, date],
    zone: tzinfo,
    *,
    by_id: bool = False,
    offset_h: int = 0,
) -> dict[Key, Cell]:
    """Return both sides by day and model; by attempt where the host names those."""
    of_pieces: dict[Key, list[Piece]] = {}
    of_lines: dict[Key, list[InvoiceLine]] = {}
    key_of_id: dict[str, Key] = {}
    shift_ns = offset_h * 3_600 * _NS_PER_S
    for piece in pieces:
        day = day_of(piece.at_ns + shift_ns, zone)
        key = (day, piece.model, piece.ids[0] if by_id and piece.ids else "")
        if by_id:
            key_of_id |= dict.fromkeys(piece.ids, key)
        elif not days[0] <= day < days[1]:
            continue
        of_pieces.setdefault(key, []).append(piece)
    for day, model, line in lines:
        key = key_of_id.get(line.request_id, (day, model, line.request_id)) if by_id else (day, model, "")
        of_lines.setdefault(key, []).append(line)
    # Attempts just outside of the days are there to be named by the invoice; unnamed, they are not missing.
    keys = {key for key in of_pieces if days[0] <= key[0] < days[1]} | set(of_lines)
    return {key: Cell(*key, tuple(of_pieces.get(key, ())), tuple(of_lines.get(key, ()))) for key in keys}


def _all_equal(cells: Mapping[Key, Cell], known: Known) -> bool:
    return all(cell.is_equal(known) for cell in cells.values())


def _offset_h(
    pieces: Sequence[Piece],
    lines: Sequence[tuple[date, str, InvoiceLine]],
    days: tuple[date, date],
    zone: tzinfo,
    known: Known,
) -> int:
    """Return by how many hours the days have to be moved for everything to agree; 0 when nothing helps."""
    for hours in _OFFSETS_H if lines else ():
        if _all_equal(_cells(pieces, lines, days, zone, offset_h=hours), known):
            return hours
    return 0


def _explained(cells: Mapping[Key, Cell], known: Known, offset_h: int) -> dict[Key, tuple[Finding, ...]]:
    wrong = {key: cell for key, cell in sorted(cells.items()) if not cell.is_equal(known)}
    if offset_h:
        sentence = f"the host's days begin {abs(offset_h)} h {'earlier' if offset_h > 0 else 'later'}"
        return {key: (_of_day(cell, known, f"{sentence}: see --zone"),) for key, cell in wrong.items()}
    found: dict[Key, tuple[Finding, ...]] = {}
    for key, cell in wrong.items():
        next_key = (key[0] + timedelta(days=1), *key[1:])
        other = wrong.get(next_key)
        if key not in found and other is not None and cell.is_opposite(other, known):
            amount = "what is missing on one day is on the next"
            found[key] = (_of_day(cell, known, amount),)
            found[next_key] = (_of_day(other, known, amount),)
    return found | {key: explain(cell, known) for key, cell in wrong.items() if key not in found}


def _of_day(cell: Cell, known: Known, sentence: str) -> Finding:
    return Finding(Cause.DAY, cell.day, cell.model, cell.difference_nusd(known), sentence, cell.attempt)
