"""What the journal finds of a task: its requests, how each closed, and what was said of it."""

from __future__ import annotations

from pathlib import Path

import msgspec

import tests.ledger.entry_makers as make
from entrepot.ledger.entries import Entry, Feedback, Reserve
from entrepot.ledger.journal.reader import JournalReader
from entrepot.ledger.judged import Answer, Judged, counted_word
from tests.ledger.journals import journal_in

TASK = 0x1122334455667788


def asked(number: int, task_id: int = TASK) -> Reserve:
    """Return a reservation of a task."""
    return msgspec.structs.replace(make.reserve(number), task_id=task_id)


def word(at_ns: int, *, succeeded: bool, number: int | None = None, task_id: int = TASK) -> Feedback:
    """Return a word on the task, or on one answer of it."""
    about = bytes(16) if number is None else make.request_id(number)
    return Feedback(about, at_ns, 1, task_id, succeeded, 0.5)


def of_others(first: int, last: int) -> list[Entry]:
    """Return requests without a task, which fill segments."""
    return [entry for number in range(first, last) for entry in (make.reserve(number), make.settle(number))]


def test_a_task_is_found_over_segments_with_what_was_said_of_it(tmp_path: Path) -> None:
    """And nothing of other tasks, nor of requests that have none."""
    said = [word(5, succeeded=False, number=500), word(6, succeeded=True)]
    with journal_in(tmp_path) as opened:
        opened.write(*of_others(1, 40), asked(500), make.settle(500), *of_others(41, 80))
        opened.write(asked(501), asked(502), make.settle(502), *of_others(81, 160), make.void(501))
        opened.write(asked(503, TASK + 1), make.settle(503), word(7, succeeded=False, task_id=TASK + 1))
        opened.write(asked(504), *said)
    found = JournalReader(tmp_path).find_task(TASK)
    assert found == [
        *(asked(500), make.settle(500), asked(501), asked(502), make.settle(502), make.void(501)),
        *(asked(504), *said),
    ]
    assert JournalReader(tmp_path).find_task(TASK + 2) == []
    assert said[0] in JournalReader(tmp_path).find(make.request_id(500))


def test_the_word_that_counts_is_the_last_that_changed_what_was_said() -> None:
    """Saying it again changes nothing, so that what it was about then stays."""
    words = [word(at, succeeded=good) for at, good in enumerate([True, False, False, False])]
    assert counted_word(words) == words[1]
    assert counted_word(words[:1]) == words[0]
    assert counted_word([]) is None


def test_a_word_is_about_the_answers_of_its_time_and_is_one_in_all() -> None:
    """Later answers, and those that had their own word, are not judged by it."""
    judged = Judged(
        (Answer("a", 1), Answer("a", 2), Answer("b", 3), Answer("b", 4, own_word_ns=10), Answer("c", 20)),
        None,
    )
    assert judged.parts(5) == {"a": 0.5, "b": 0.5}
    assert judged.parts(15) == {"a": 2 / 3, "b": 1 / 3}
    assert judged.parts(25) == {"a": 0.5, "b": 0.25, "c": 0.25}
    assert judged.parts(1) == {}
