"""Keeps the words of requests: prompts and answers of keys that store them, and the names of tasks.

They go to the spool with one write each, on the way of the request: a queue would need memory for what a slow
disk does not take. Whatever fails here is counted and told, and the request goes on.
"""

from __future__ import annotations

from time import monotonic, time_ns
from typing import TYPE_CHECKING

from entrepot.domain.errors import DataError
from entrepot.gateway.admission import TASK
from entrepot.gateway.log import EventLog
from entrepot.gateway.transcript import MOST_BODY_BYTES, Transcript
from entrepot.ledger.data_dir import DataDir
from entrepot.ledger.entries import NO_TASK
from entrepot.ledger.journal.spool import Content, Kind, Spool, SpoolRecord, TaskText
from entrepot.ledger.ledger import Ledger

if TYPE_CHECKING:
    from entrepot.gateway.attempt import Attempt
    from entrepot.gateway.call import Call

TASKS_ANEW_S = 3600.0  # a task that goes on is noted again, so that retention knows that it is in use
MOST_TASKS = 10_000  # remembered as noted
REMIND_S = 60.0  # while contents cannot be kept the log says so this often


class Contents:
    """Takes notes of one gateway's requests; `dropped` counts what could not be kept."""

    def __init__(self, ledger: Ledger, log: EventLog) -> None:
        self._ledger = ledger
        self._log = log
        self._spool = Spool(DataDir(ledger.path).contents)
        self._tasks: set[int] = set()
        self._tasks_anew_s = 0.0
        self._logged_s = -REMIND_S
        self.dropped = 0

    def began(self, attempt: Attempt) -> None:
        """Note prompt and task of a request whose attempt is reserved, and begin to note its answer."""
        call = attempt.call
        if call.task_id != NO_TASK and call.task_id not in self._tasks:
            self._note_task(call)
        if not call.sender.key.stores_contents:
            return
        if call.exchange.transcript is None:
            call.exchange.transcript = Transcript()
            self._keep(call, attempt.number, Kind.PROMPT, call.exchange.body, truncated=False)
        call.exchange.transcript.attempt = attempt.number

    def ended(self, call: Call) -> None:
        """Keep what the client got, unless its key was told meanwhile to keep nothing."""
        transcript = call.exchange.transcript
        if transcript is None:
            return
        call.exchange.transcript = None
        key, body = self._ledger.key(call.sender.key.digest), transcript.body
        if body and key is not None and key.stores_contents:
            self._keep(call, transcript.attempt, Kind.ANSWER, body, truncated=transcript.truncated)

    def sweep(self, now_s: float) -> None:
        """Let the poster have what was written."""
        self._spool.hand_over()
        if now_s >= self._tasks_anew_s:
            self._tasks.clear()
            self._tasks_anew_s = now_s + TASKS_ANEW_S

    def close(self) -> None:
        """Let the poster have everything."""
        self._spool.close()

    def _note_task(self, call: Call) -> None:
        if len(self._tasks) >= MOST_TASKS:
            self._tasks.clear()
        self._tasks.add(call.task_id)
        text = (call.exchange.header(TASK) or b"").strip().decode("utf-8", "replace")
        self._write(TaskText(call.task_id, call.key_id, call.at_ns, text))

    def _keep(self, call: Call, attempt: int, kind: Kind, body: bytes, *, truncated: bool) -> None:
        truncated = truncated or len(body) > MOST_BODY_BYTES
        body = body[:MOST_BODY_BYTES]
        self._write(Content(call.request_id, attempt, kind, call.key_id, time_ns(), truncated, body))

    def _write(self, record: SpoolRecord) -> None:
        try:
            self._spool.append(record)
        except DataError as error:
            self.dropped += 1
            if monotonic() - self._logged_s >= REMIND_S:
                self._logged_s = monotonic()
                self._log.error("contents_dropped", problem=str(error), so_far=self.dropped)
