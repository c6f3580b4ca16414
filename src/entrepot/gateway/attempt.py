"""One try of a request at one endpoint: reserved for, sent, relayed, and how it went.

What it cost is told in `gateway.closing`, what it taught in `gateway.observe`.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic, time_ns

from entrepot.domain.endpoint import Operation
from entrepot.domain.errors import HostFault
from entrepot.domain.ids import request_id_text
from entrepot.domain.outcome import Outcome
from entrepot.gateway import headers
from entrepot.gateway.call import Call
from entrepot.gateway.relay import FoldRelay, PlainRelay, Relay, StreamRelay
from entrepot.gateway.target import Target
from entrepot.ledger.entries import NO_RULES, Reserve
from entrepot.routing.decision import Candidate
from entrepot.wire.answer import AnswerScan
from entrepot.wire.body import host_body
from entrepot.wire.error_body import host_error

CLIENT_FAULTS = frozenset({400, 413, 422})


class Attempt:
    """A try of `call` at `target`.

    `number` counts from 1 within the request; `place` is the candidate's in the decision. `output_limit` is
    one that we set, in tokens per choice. `fresh` wants a new connection. `card` has the prices at its
    sending. `sent` and the attributes after it tell how it went.
    """

    in_flight = 0
    known_tokens = 0.0
    rules_id = NO_RULES
    warnings: tuple[str, ...] = ()
    stale = False
    sent = False
    relay: Relay | None = None
    fault: HostFault | None = None

    def __init__(
        self,
        call: Call,
        target: Target,
        candidate: Candidate,
        number: int,
        *,
        place: int,
        output_limit: int | None,
        fresh: bool,
    ) -> None:
        self.call = call
        self.target = target
        self.candidate = candidate
        self.number = number
        self.place = place
        self.began_s = monotonic()
        self.reserved_ns = call.at_ns if number == 1 else time_ns()
        self.output_limit = output_limit
        prompt_tokens = candidate.bound_prompt_tokens + target.part_tokens(call.parts)
        self.bound_nusd = target.bound_nusd(call.body.request, prompt_tokens, output_limit, self.reserved_ns)
        self.card = target.pricing.card_at(self.reserved_ns, round(candidate.prompt_tokens))
        self._fresh = fresh

    @property
    def reserve(self) -> Reserve:
        """Return the entry to write before the first byte goes out."""
        call, target = self.call, self.target
        return Reserve(
            request_id=call.request_id,
            attempt=self.number,
            at_ns=self.reserved_ns,
            key_id=call.key_id,
            endpoint_id=target.ref.endpoint_id,
            price_version=self.card.price_version,
            amount_nusd=self.bound_nusd,
            prompt_bytes=call.body.request.prompt_bytes,
            operation=call.body.request.operation,
            stream=call.body.stream,
            choices=call.body.request.choices,
            decision=call.packed_decision if self.number == 1 else b"",
            sender_id=call.sender.sender_id,
            rules_id=self.rules_id,
            task_id=call.task_id,
        )

    async def run(self, *, bytes_per_token: float, watched: set[Relay]) -> None:
        """Send the attempt and relay its answer until it is over; `fault` says how it failed, if it did."""
        call, target = self.call, self.target
        fold = not call.body.stream and not target.host.cancels_plain_calls
        fold = fold and call.body.request.operation is not Operation.EMBEDDING
        body = host_body(
            call.body,
            model=target.settings.upstream_model,
            usage_in_stream=True,
            force_stream=fold,
            max_output_tokens=self.output_limit,
            drop=target.settings.drop_parameters,
        )
        attempt_id = f"{request_id_text(call.request_id)}-{self.number}"
        head = target.request_head(
            call.body.request.operation,
            attempt_id,
            headers.passed(call.exchange.headers, headers.TO_HOST),
            len(body),
        )
        connection = None if self._fresh else target.pool.take()
        if connection is None:
            try:
                connection = await target.pool.connect()
            except HostFault as fault:
                self.fault = fault
                return
        if call.exchange.closed:
            target.pool.give_back(connection)
            return
        reused = connection.used > 0
        self.sent = True
        self.relay = relay = self._relay(fold=fold, bytes_per_token=bytes_per_token)
        watched.add(relay)
        try:
            relay.ride(connection)
            connection.send(head, body, relay)
            await relay.ended
        finally:
            watched.discard(relay)
            relay.stop()  # changes nothing unless this task was cancelled
            self.stale = reused and relay.unheard
            self.fault = self._fault(relay)

    def _relay(self, *, fold: bool, bytes_per_token: float) -> Relay:
        call = self.call
        exchange, operation = call.exchange, call.body.request.operation
        if not (call.body.stream or fold):
            return PlainRelay(exchange, operation, sent_s=self.began_s)
        hide = call.body.stream and not call.body.include_usage
        scan = AnswerScan(hide_usage=hide, bytes_per_token=bytes_per_token)
        if fold:
            return FoldRelay(exchange, scan, call.body.request, sent_s=self.began_s)
        return StreamRelay(
            exchange,
            scan,
            choices=call.body.request.choices,
            sent_s=self.began_s,
            reply_headers=lambda: self.reply_headers,
        )

    @property
    def reply_headers(self) -> bytes:
        """Return the header lines that an answer of this attempt carries."""
        call, target = self.call, self.target
        why = call.reason
        if self.number > 1:
            why = f"attempt {self.number}, after others failed; {why}"
        elif self.place > 0:
            why = f"the first that fits the budget; {why}"
        lines = b"%b: %b\r\n%b%b: %.9f\r\n%b: %b\r\n" % (
            headers.REQUEST_ID,
            request_id_text(call.request_id).encode(),
            target.reply_headers,
            headers.EXPECTED_COST,
            self.candidate.dollars,
            headers.REASON,
            why.encode("ascii", "replace"),
        )
        for warning in self.warnings:
            lines += b"%b: %b\r\n" % (headers.BUDGET_WARNING, headers.ascii_value(warning))
        if self.output_limit is not None:
            lines += b"%b: %d\r\n" % (headers.OUTPUT_LIMIT, self.output_limit)
        if self.relay is not None:
            lines += headers.passed(self.relay.headers, headers.TO_CLIENT)
        return lines

    def _fault(self, relay: Relay) -> HostFault | None:
        if relay.cancelled:
            return None
        if relay.status not in (0, 200):
            words = str(host_error(relay.error_body))
            return HostFault(f"answered with status {relay.status}", status=relay.status, words=words)
        if relay.failure is not None:
            return HostFault(relay.failure, status=relay.status, charged=True, words=relay.words)
        return None

    @property
    def cancelled(self) -> bool:
        """Return whether the client left before the end."""
        return self.call.exchange.closed if self.relay is None else self.relay.cancelled

    @property
    def outcome(self) -> Outcome:
        """Return how the attempt ended."""
        relay = self.relay
        if self.cancelled or (relay is not None and relay.stopped):
            return Outcome.CANCELLED
        if relay is None:
            return Outcome.CANCELLED if self.fault is None else Outcome.FAILED
        if self.fault is None:
            return Outcome.OK
        if relay.timed_out:
            return Outcome.TIMED_OUT
        if relay.status == 429:
            return Outcome.RATE_LIMITED
        if relay.status in CLIENT_FAULTS:
            return Outcome.REFUSED
        return Outcome.TRUNCATED if relay.started else Outcome.FAILED

    @property
    def outgrown_tokens(self) -> int:
        """Return the context window that the prompt is too long for, as the host said; 0 if it did not.

        A router sees bytes and the host tokens: a larger window may well hold what this one does not.
        """
        if self.outcome is not Outcome.REFUSED or self.relay is None:
            return 0
        is_too_long = host_error(self.relay.error_body).is_too_long
        return self.target.endpoint.context_tokens if is_too_long else 0

    @property
    def censored(self) -> bool:
        """Return whether the durations and tokens seen are only *at least*: cancelled, timed out, cut."""
        relay = self.relay
        if relay is None or relay.cancelled or relay.timed_out or relay.failure is not None:
            return True
        if isinstance(relay, StreamRelay):
            return relay.scan.cut_by_length
        return isinstance(relay, PlainRelay) and relay.answer is not None and relay.answer.cut_by_length


def next_place(
    last: Attempt | None,
    failed: Sequence[Attempt],
    candidates: Sequence[Candidate],
    targets: Sequence[Target],
) -> int | None:
    """Return the place of the candidate to try after `last`, the same one if that was stale; None at the end.

    Those whose window is no larger than one that the prompt was too long for are passed over.
    """
    place = 0 if last is None else last.place + (not last.stale)
    outgrown_tokens = max((attempt.outgrown_tokens for attempt in failed), default=0)
    while place < len(candidates):
        if targets[candidates[place].endpoint_index].endpoint.context_tokens > outgrown_tokens:
            return place
        place += 1
    return None
