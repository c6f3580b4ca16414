"""Writes refusals by rules into the journal: evidence, as the decision of a request that is served is.

Written like the closing of an attempt: one entry, for whose way to the disk nobody waits. A refusal costs a
client nothing, so a loop of them would fill the disk faster than any request that is answered: beyond some in
a minute those of one key and the same rules are kept together as one entry with their count. Its id is that
of the first of them, and the later ones are told it, so that whoever was refused can ask for the reason.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from entrepot.domain.errors import DataError, Refusal
from entrepot.domain.ids import request_id_text
from entrepot.domain.request import Request
from entrepot.gateway.log import EventLog
from entrepot.ledger.accounts.senders import Sender
from entrepot.ledger.entries import Refused
from entrepot.ledger.ledger import Ledger
from entrepot.routing.forbidden import Forbidden, pack_grounds

EACH_PER_MINUTE = 60
"""Refusals of one key that get an entry of their own: more in a minute is a program, and all alike."""

_MINUTE_NS = 60 * 10**9
_UNWRITTEN = -1  # instead of a minute: something waits for a journal that can be written


class _Kept(Struct):
    """An entry that is not written yet, and the rules whose number it will bear."""

    entry: Refused
    rules: tuple[str, ...]


class RefusalWriter:
    """Writes down the refusals of one gateway; `endpoint_ids` are the ledger's, by index."""

    def __init__(self, ledger: Ledger, endpoint_ids: tuple[int, ...], log: EventLog) -> None:
        self._ledger = ledger
        self._endpoint_ids = endpoint_ids
        self._log = log
        self._minute = _UNWRITTEN
        self._written: dict[int, int] = {}  # in this minute, by key
        self._together: dict[tuple[int, tuple[str, ...]], _Kept] = {}

    def note(
        self, refusal: Refusal, request: Request, sender: Sender, request_id: bytes, at_ns: int
    ) -> Refusal:
        """Return the refusal as the client shall read it, written down if it is one by rules.

        One that cannot be written is refused all the same, and is kept until it can be.
        Units: Unix nanoseconds.
        """
        if not isinstance(refusal, Forbidden):
            return refusal
        self.sweep(at_ns)
        key_id, rules = request.key_id, refusal.grounds.rules
        entry = Refused(
            request_id,
            at_ns,
            key_id,
            request.operation,
            pack_grounds(refusal.grounds, self._endpoint_ids),
            sender.sender_id,
        )
        written = self._written.get(key_id, 0)
        if written < EACH_PER_MINUTE and self._minute != _UNWRITTEN:
            if self._write(_Kept(entry, rules)):
                self._written[key_id] = written + 1
                return refusal
            self._minute = _UNWRITTEN
        kept = self._together.setdefault((key_id, rules), _Kept(replace(entry, count=0), rules))
        kept.entry = replace(kept.entry, count=kept.entry.count + 1)
        if kept.entry.count == 1:
            return refusal
        same = request_id_text(kept.entry.request_id)
        return replace(
            refusal, message=f"{refusal.message} Refused alike within a minute: {same} tells of all."
        )

    def sweep(self, now_ns: int) -> None:
        """Write what was kept together, once its minute is over or what hindered it may be.

        Units: Unix nanoseconds.
        """
        minute = now_ns // _MINUTE_NS
        if minute != self._minute:
            self._minute = minute if self.write_kept() else _UNWRITTEN
            self._written.clear()

    def write_kept(self) -> bool:
        """Write what is kept together now, and return whether nothing waits any more."""
        for key, kept in tuple(self._together.items()):
            if not self._write(kept):
                return False
            del self._together[key]
        return True

    def _write(self, kept: _Kept) -> bool:
        try:
            self._ledger.note(replace(kept.entry, rules_id=self._ledger.rules_id(kept.rules)))
        except DataError as error:
            self._log.error("journal", problem=str(error), request_id=kept.entry.request_id.hex())
            return False
        return True
