"""Whatever happens to a byte of the journal: it is reported with file and offset, or only the tail is cut.

Never is an entry changed, left out or put in without a word.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from entrepot.domain.errors import DataError
from entrepot.ledger.entries import Balances, Entry, Snapshot
from entrepot.ledger.journal.journal import recover
from entrepot.ledger.journal.segment import HEADER_BYTES, body_at, seal_path, segment_numbers, segment_path
from tests.ledger import entry_makers as make
from tests.ledger.journals import SEGMENT_BYTES, journal_in, pairs, read_all

FREE_BYTES = 200  # of the space behind the last entry, which may be hit too
NAMED = re.compile(r"0000000\d\.seg.* at offset \d+|0000000\d\.seg: the header ends after \d+ of")


@cache
def whole() -> tuple[dict[int, bytes], list[Entry]]:
    """Return the bytes of each segment of a journal, and its entries."""
    with TemporaryDirectory() as name:
        directory = Path(name)
        with journal_in(directory) as opened:
            number = 1
            while opened.journal.position.segment < 3:
                opened.write(*pairs(number, number))
                number += 1
            opened.write(*pairs(number, number + 5), make.reserve(number + 6))
        segments = {
            number: segment_path(directory, number).read_bytes() for number in segment_numbers(directory)
        }
        entries = read_all(directory)
    assert len(segments) == 3
    last = last_record(segments[3])
    body = body_at(segments[3], last)
    assert body is not None
    segments[3] = segments[3][: last + 8 + len(body) + FREE_BYTES]
    return segments, entries


def what_is_found(segments: dict[int, bytes]) -> tuple[list[Entry], Balances] | None:
    """Return what a reader and a start find, the start last; None when one reports damage by its place."""
    with TemporaryDirectory() as name:
        directory = Path(name)
        for number, data in segments.items():
            segment_path(directory, number).write_bytes(data)
        problem = None
        try:
            entries = read_all(directory)
            recovered = recover(directory)
        except DataError as error:
            problem = str(error)
    if problem is not None:
        assert NAMED.search(problem), problem
        return None
    return entries, Balances() if recovered is None else recovered.balances


def fold(entries: list[Entry]) -> Snapshot:
    """Return what entries add up to."""
    balances = Balances()
    for entry in entries:
        assert balances.apply(entry) is None
    return balances.snapshot()


def last_record(data: bytes) -> int:
    """Return where the last record of a segment begins."""
    offset = last = HEADER_BYTES
    while (body := body_at(data, offset)) is not None:
        last, offset = offset, offset + 8 + len(body)
    return last


@settings(max_examples=300)
@given(st.integers(1, 3), st.floats(0, 1, exclude_max=True), st.integers(1, 255))
@example(3, 0.0, 1)
@example(1, 0.999999, 255)
def test_a_flipped_byte_is_reported_or_was_in_the_last_entry(number: int, place: float, flip: int) -> None:
    """Behind the last entry it changes nothing; in it, exactly this entry is cut."""
    segments, entries = whole()
    data = segments[number]
    at = int(place * len(data))
    damaged = data[:at] + bytes((data[at] ^ flip,)) + data[at + 1 :]
    found = what_is_found({**segments, number: damaged})
    if number < 3 or at < last_record(data):
        assert found is None
        return
    is_in_last = at < len(data) - FREE_BYTES
    expected = entries[:-1] if is_in_last else entries
    assert found is not None
    assert found[0] == expected
    assert found[1].snapshot() == fold(expected)


@settings(max_examples=300)
@given(st.integers(1, 3), st.floats(0, 1, exclude_max=True))
def test_a_shortened_segment_is_reported_or_ends_with_its_last_whole_entry(number: int, place: float) -> None:
    """Closed ones may not be short of one byte, even where an entry ends; the last one may be torn."""
    segments, entries = whole()
    data = segments[number]
    found = what_is_found({**segments, number: data[: int(place * len(data))]})
    if number < 3:
        assert found is None
    elif found is not None:
        read, balances = found
        assert read == entries[: len(read)]
        assert balances.snapshot() == fold(read)


def test_every_record_boundary_of_a_closed_segment_is_a_place_where_it_may_not_end() -> None:
    """Each record there is whole: only the count in the next header says that some are missing."""
    segments, _ = whole()
    offset, cuts = HEADER_BYTES, 0
    while (body := body_at(segments[1], offset)) is not None:
        assert what_is_found({**segments, 1: segments[1][:offset]}) is None
        offset += 8 + len(body)
        cuts += 1
    assert cuts > 20
    assert offset == len(segments[1])


@settings(max_examples=100)
@given(st.integers(0, 10**6), st.integers(1, 400))
def test_a_gap_of_zeros_before_whole_entries_is_reported(start: int, length: int) -> None:
    """A page that never reached the disk is not the end of the journal."""
    segments, _ = whole()
    data, last = segments[3], last_record(segments[3])
    start = HEADER_BYTES + start % (last - HEADER_BYTES)
    end = min(start + length, last)
    if not data[start:end].strip(b"\0"):
        return
    gap = data[:start] + bytes(end - start) + data[end:]
    assert what_is_found({**segments, 3: gap}) is None


def test_a_last_segment_without_content_is_damage_once_the_one_before_was_sealed(tmp_path: Path) -> None:
    """What was sealed had a next segment with entries on the disk: an empty one is no power cut."""
    segments, _ = whole()
    for number, data in segments.items():
        segment_path(tmp_path, number).write_bytes(data)
    segment_path(tmp_path, 3).write_bytes(bytes(SEGMENT_BYTES))
    seal_path(tmp_path, 2).write_bytes(b"{}")
    with pytest.raises(DataError, match=r"00000003.seg is damaged at offset 0"):
        recover(tmp_path)
    assert segment_path(tmp_path, 3).exists()


def test_a_sealed_segment_is_never_written_to_again(tmp_path: Path) -> None:
    """When the segments behind it are gone, the start says so instead of going on in it."""
    segments, _ = whole()
    segment_path(tmp_path, 1).write_bytes(segments[1])
    seal_path(tmp_path, 1).write_bytes(b"{}")
    with pytest.raises(DataError, match=r"00000002.seg is missing: the one before it was closed"):
        recover(tmp_path)
