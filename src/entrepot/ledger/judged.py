"""Which answers a client's word is about, and what it said of them before: read from the journal.

The store knows it too, and the gateway never opens it; a table in memory would forget at a restart what was
already counted. So what the journal still has can be judged, as it can be looked up.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from entrepot.domain.ids import REQUEST_ID_BYTES
from entrepot.domain.outcome import Outcome
from entrepot.ledger.data_dir import DataDir
from entrepot.ledger.entries import Entry, Feedback, Reserve, Settle
from entrepot.ledger.history import Names, RequestHistory, entries_of, history_of
from entrepot.ledger.journal.reader import JournalReader

WHOLE_TASK = bytes(REQUEST_ID_BYTES)
"""The request id of a word on a whole task."""


class Answer(Struct, frozen=True):
    """An answer that a word may be about.

    Units: Unix nanoseconds. `own_word_ns` is when the client first spoke of this answer alone, None if never.
    """

    model: str
    asked_ns: int
    own_word_ns: int | None = None


class Judged(Struct, frozen=True):
    """What a word is about, and the word on the same that counted until now, if there was one."""

    answers: tuple[Answer, ...]
    before: Feedback | None

    def parts(self, at_ns: int) -> dict[str, float]:
        """Return which part of a word that was said at an instant is about each model: 1 in all, or nothing.

        A word is one observation, however many answers it is about: the answers of a task succeed or fail
        together, so that fifty of them teach no more than one, and a long task must not outweigh fifty
        short ones. It is about all of them alike, since nobody knows which one failed; but not about those
        of which the client had spoken alone: a retry is worth its `false`. Not taken: one success per task,
        over all its answers. That is the cost of a task, which reports have, but as a share of *answers* that
        are of use it would put every model that works in steps under any floor. Nor the last answer alone:
        the ones before it would be free.
        Units: Unix nanoseconds.
        """
        counts: dict[str, int] = {}
        for answer in self.answers:
            spoken_of = answer.own_word_ns is not None and answer.own_word_ns < at_ns
            if answer.asked_ns < at_ns and not spoken_of:
                counts[answer.model] = counts.get(answer.model, 0) + 1
        whole = sum(counts.values())
        return {model: count / whole for model, count in counts.items()}


def judged_request(
    data_dir: Path, id_text: str, *, names: Names, key_id: int
) -> tuple[RequestHistory, Judged] | None:
    """Return a request of a key and what a word on its answer is about, None when there is none.

    Blocks on reading files: call it in a thread.
    Raises: DataError when the journal is damaged.
    """
    entries = entries_of(data_dir, id_text, key_id=key_id)
    found = history_of(entries, names)
    if found is None or found.key_id != key_id:
        return None
    endpoint = found.final.endpoint
    answers = () if endpoint is None else (Answer(endpoint.model, found.attempts[0].reserve.at_ns),)
    return found, Judged(answers, counted_word(_words(entries)))


def judged_task(data_dir: Path, task_id: int, *, names: Names) -> Judged:
    """Return what a word on a task is about: its requests whose answer came to its end.

    Blocks on reading files: call it in a thread.
    Raises: DataError when the journal is damaged.
    """
    with JournalReader(DataDir(data_dir).journal) as reader:
        entries = reader.find_task(task_id)
    own_ns: dict[bytes, int] = {}
    for word in _words(entries):
        own_ns.setdefault(word.request_id, word.at_ns)
    requests: dict[bytes, list[Entry]] = {}
    for entry in entries:
        if isinstance(entry, Reserve | Settle):
            requests.setdefault(entry.request_id, []).append(entry)
    answers = tuple(
        Answer(endpoint.model, found.attempts[0].reserve.at_ns, own_ns.get(found.request_id))
        for found in (history_of(of, names) for of in requests.values())
        if found is not None and _was_answered(found) and (endpoint := found.final.endpoint) is not None
    )
    return Judged(answers, counted_word(word for word in _words(entries) if word.request_id == WHOLE_TASK))


def counted_word(words: Iterable[Feedback]) -> Feedback | None:
    """Return the word that counts: the last that changed what was said; saying it again changes nothing."""
    counted: Feedback | None = None
    for word in words:
        if counted is None or counted.succeeded != word.succeeded:
            counted = word
    return counted


def _words(entries: Iterable[Entry]) -> list[Feedback]:
    return [entry for entry in entries if isinstance(entry, Feedback)]


def _was_answered(found: RequestHistory) -> bool:
    closing = found.final.closing
    return isinstance(closing, Settle) and closing.outcome is Outcome.OK
