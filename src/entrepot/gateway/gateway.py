"""The way of a request: parse → admit → choose → reserve → attempt → settle.

One coroutine owns it and reads from top to bottom; what it calls either decides (pure, elsewhere) or
acts. Whatever happens on the way, the `finally` closes the reservation.
"""

from __future__ import annotations

import asyncio
import secrets
import traceback
from collections import deque
from collections.abc import Coroutine, Mapping, Sequence
from math import ceil
from random import Random
from time import monotonic, time_ns

from entrepot.catalog.settings import Settings
from entrepot.domain.endpoint import Operation
from entrepot.domain.errors import DataError, EntrepotError, HostFault, Refusal
from entrepot.domain.ids import RequestIds
from entrepot.domain.outcome import Outcome
from entrepot.gateway.admission import Admission, Labels, labels_of, ledger_unavailable
from entrepot.gateway.attempt import Attempt, next_place
from entrepot.gateway.call import Call
from entrepot.gateway.closing import TokenBounds, closing_entry
from entrepot.gateway.contents import Contents
from entrepot.gateway.counters import Counters
from entrepot.gateway.exchange import Exchange
from entrepot.gateway.feedback import Words
from entrepot.gateway.forbidden import RefusalWriter
from entrepot.gateway.headers import COST
from entrepot.gateway.lessons import Lessons
from entrepot.gateway.listener import Listener
from entrepot.gateway.log import EventLog
from entrepot.gateway.observe import observation
from entrepot.gateway.refusals import wrong_method
from entrepot.gateway.relay import FoldRelay, PlainRelay, Relay
from entrepot.gateway.routes import CALLS, answer_read
from entrepot.gateway.rules import RuleKeeper
from entrepot.gateway.target import Target
from entrepot.gateway.unanswered import ABOUT_OUR_ACCOUNT, unanswered
from entrepot.gateway.upstream import HostPool
from entrepot.ledger.accounts.senders import Sender
from entrepot.ledger.entries import NO_PRICE, Closing, Conflict, Expire, Settle, Void
from entrepot.ledger.ledger import Ledger
from entrepot.routing.choose import Router
from entrepot.routing.decision import Candidate, pack
from entrepot.routing.explain import reason
from entrepot.routing.kpi.knowledge import Knowledge
from entrepot.wire.body import Body, parse_body
from entrepot.wire.parts import NO_PARTS, parts_of, unbounded_field

MOST_ATTEMPTS = 8
SWEEP_S = 0.25
PROMPT_CAUTION = 1.5  # a prompt seldom has more tokens than this times what is expected
ACCOUNTS_S = 60.0  # how often periods that are over are closed
_OUR_FAULT = Refusal(
    http_status=500,
    type="server_error",
    code="internal_error",
    message="a fault of the gateway, not of your request; its event log tells more",
)


class Gateway:
    """The data plane of one process.

    `random` gives the draws of exploration; they are written into each decision.
    """

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        knowledge: Knowledge,
        log: EventLog,
        random: Random | None = None,
    ) -> None:
        self.settings = settings
        self.ledger = ledger
        self.log = log
        self.pools = {host.name: HostPool(host) for host in settings.hosts}
        self.targets = tuple(
            Target(
                index,
                entry,
                self.pools[entry.host.name],
                ledger.register(entry.endpoint),
                time_scale=settings.routing.time_scale,
            )
            for index, entry in enumerate(settings.endpoints)
        )
        self.virtual_models = {virtual.name: virtual for virtual in settings.virtual_models}
        self.model_names = frozenset((*self.virtual_models, *(at.endpoint.model for at in self.targets)))
        self.counters = Counters(len(self.targets))
        self.knowledge, self.lessons = knowledge, Lessons(knowledge, asyncio.get_running_loop())
        self.router = Router(
            tuple(target.endpoint for target in self.targets),
            {model.name: model for model in settings.models},
            settings.routing,
            knowledge,
            settings.virtual_models,
        )
        self.rules = RuleKeeper(settings.policy, ledger.keys, self.router)
        self._tariffs = tuple(target for target in self.targets if target.pricing.tariff is not None)
        self.reprice(time_ns())
        self.listener = Listener(settings.server, self.serve)
        self._endpoint_ids = tuple(target.ref.endpoint_id for target in self.targets)
        self.refusals = RefusalWriter(ledger, self._endpoint_ids, log)
        self._ids = RequestIds(secrets.randbits(32))
        self._random = random if random is not None else Random()
        self._unbooked: deque[Closing] = deque()
        self.admission = Admission(settings.caps, ledger)
        self.contents = Contents(ledger, log)
        self.words = Words()
        self._accounts_due_s = 0.0
        self._watched: set[Relay] = set()
        self._tasks: dict[Exchange, asyncio.Task[None]] = {}
        self._loop = asyncio.get_running_loop()
        self._stopping = self._keys_unreadable = False

    # -- the way of a request

    def serve(self, exchange: Exchange) -> None:
        """Answer one exchange; calls go their way as a task of their own."""
        operation = CALLS.get(exchange.path)
        answering = answer_read(self, exchange) if operation is None else self.answer(exchange, operation)
        self._tasks[exchange] = self._loop.create_task(self._guarded(exchange, answering))

    async def _guarded(self, exchange: Exchange, answering: Coroutine[None, None, None]) -> None:
        """Run it; a fault of ours is logged and told as a 500, never as a closed connection."""
        try:
            await answering
        except Exception as error:  # noqa: BLE001 - the shell's one boundary: nobody above could answer
            self.log.error("fault", problem=_problem(error), where=_where(error))
            exchange.fail(_OUR_FAULT)
        finally:
            del self._tasks[exchange]

    def loop_fault(self, _: asyncio.AbstractEventLoop, context: Mapping[str, object]) -> None:
        """Log a fault that only the event loop saw; its own handler would print words of users."""
        error = context.get("exception")
        if isinstance(error, BaseException):
            self.log.error("fault", problem=_problem(error), where=_where(error))
        else:
            self.log.error("fault", problem=str(context.get("message")))

    async def answer(self, exchange: Exchange, operation: Operation) -> None:
        """Answer a call: choose, reserve, attempt, settle; on to the next while nothing was sent."""
        call = self._decide(exchange, operation)
        if isinstance(call, Refusal):
            self._refuse(exchange, call)
            return
        try:
            await self._attempt_all(call)
        finally:
            self.admission.end(call.sender.key, call.expected_tokens, call.used_tokens)
            self.contents.ended(call)

    async def _attempt_all(self, call: Call) -> None:
        """Reserve, attempt, settle; on to the next while nothing was sent."""
        exchange = call.exchange
        failed: list[Attempt] = []
        attempt: Attempt | None = None
        refusal: Refusal | None = None
        while len(failed) < MOST_ATTEMPTS:
            attempt = self._next_attempt(call, attempt, failed)
            if attempt is None:
                break
            refusal = self._reserve(attempt)
            if refusal is not None:
                if refusal.http_status == 402:
                    continue  # a cheaper endpoint may still fit the budget
                break
            try:
                refusal = await self._on_disk() if self.settings.ledger.strict else None
                if refusal is None:
                    self.contents.began(attempt)
                    await attempt.run(
                        bytes_per_token=1.0
                        / self.knowledge.model_outlooks[attempt.target.endpoint.model].tokens_per_byte,
                        watched=self._watched,
                    )
            finally:
                self._close(attempt)
            if attempt.fault is None and refusal is None:
                return
            failed.append(attempt)
            if refusal is not None or not self._may_try_next(attempt):
                break
        self._refuse(exchange, refusal or unanswered(call, failed))

    def _refuse(self, exchange: Exchange, refusal: Refusal) -> None:
        self.counters.refused(refusal)
        exchange.refuse(refusal)

    def _next_attempt(self, call: Call, last: Attempt | None, failed: Sequence[Attempt]) -> Attempt | None:
        """Return the attempt after `last`: the same endpoint once more if a kept connection was dead."""
        fresh, number = last is not None and last.stale, len(failed) + 1
        place = next_place(last, failed, call.decision.candidates, self.targets)
        if place is None:
            return None
        candidate = call.decision.candidates[place]
        target = self.targets[candidate.endpoint_index]
        limit = None if call.output_limit is None else min(call.output_limit, self._output_limit(candidate))
        return Attempt(call, target, candidate, number, place=place, output_limit=limit, fresh=fresh)

    def _decide(self, exchange: Exchange, operation: Operation) -> Call | Refusal:
        """Parse, admit and choose; nothing is sent or kept before all three went well."""
        at_ns = time_ns()
        exchange.request_id = request_id = self._ids.next(at_ns)
        if exchange.method != b"POST":
            return wrong_method(exchange, "POST")
        sender = self.admission.sender_of(exchange)
        if isinstance(sender, Refusal):
            return sender
        key, bounded = sender.key, sender.has_hard_budget
        labels = labels_of(exchange, key.key_id)
        if isinstance(labels, Refusal):
            return labels
        body = self._parsed(exchange, operation, sender, labels, at_ns)
        if isinstance(body, Refusal):
            return body
        decision = self.router.decide(
            body.request,
            now_s=monotonic(),
            draw=self._random.random(),
            needs_price=bounded,
        )
        if isinstance(decision, Refusal):
            return self.refusals.note(decision, body.request, sender, request_id, at_ns)
        refusal = unbounded(body) if bounded else None
        if refusal is not None:
            return refusal
        limit = None
        if bounded and body.request.max_output_tokens is None and operation is not Operation.EMBEDDING:
            limit = self._output_limit(decision.winner)
        call = Call(
            exchange=exchange,
            request_id=request_id,
            at_ns=at_ns,
            sender=sender,
            body=body,
            decision=decision,
            packed_decision=pack(decision, self._endpoint_ids),
            reason=reason(decision, self.router.endpoints),
            output_limit=limit,
            task_id=labels.task_id,
            expected_tokens=round(decision.winner.prompt_tokens + decision.winner.output_tokens),
            parts=parts_of(body.fields) if bounded else NO_PARTS,
        )
        return self.admission.begin(key, call.expected_tokens) or call

    def _parsed(
        self, exchange: Exchange, operation: Operation, sender: Sender, labels: Labels, at_ns: int
    ) -> Body | Refusal:
        body = parse_body(
            exchange.body,
            operation,
            caps=self.admission.caps_of(sender.key),
            sender=sender.facts,
            session=labels.session,
            known_models=self.model_names,
        )
        return body if isinstance(body, Refusal) else self.rules.with_claims(body, exchange, sender, at_ns)

    def _output_limit(self, candidate: Candidate) -> int:
        """Return the limit that we set where the sender set none: it has to fit behind the prompt."""
        endpoint = self.targets[candidate.endpoint_index].endpoint
        room = endpoint.context_tokens - round(PROMPT_CAUTION * candidate.prompt_tokens)
        most = min(endpoint.max_output_tokens or room, room)
        return max(1, min(self.settings.ledger.default_output_tokens, most))

    def _reserve(self, attempt: Attempt) -> Refusal | None:
        sender = attempt.call.sender
        try:
            attempt.rules_id = self.ledger.rules_id(attempt.call.decision.rules)
            refusal = self._unbounded(attempt) if sender.has_hard_budget else None
            refusal = refusal or self.ledger.reserve(attempt.reserve, self._likely_nusd(attempt))
        except DataError as error:
            return self._unwritten(error)
        if refusal is None:
            self._start(attempt)
            if sender.has_soft_budget:
                attempt.warnings = self.ledger.warnings(attempt.reserve)
        return refusal

    def _start(self, attempt: Attempt) -> None:
        """Count an attempt as under way, and remember where the beginning of its prompt goes."""
        request, index, now_s = attempt.call.body.request, attempt.target.index, monotonic()
        if request.blocks or request.session:
            attempt.known_tokens = self.knowledge.known_tokens(index, request, now_s)
        attempt.in_flight = self.knowledge.started(index, request, now_s=now_s)

    def _unbounded(self, attempt: Attempt) -> Refusal | None:
        """Return why no hard budget can hold an attempt: a price that ended, or parts that nobody bounded."""
        if attempt.card.price_version == NO_PRICE:
            return Refusal(
                402,
                "insufficient_quota",
                "cost_unbounded",
                f"this key has a hard budget, and no price of {attempt.target.endpoint.name} is valid now",
            )
        return attempt.target.unbounded(attempt.call.parts)

    async def _on_disk(self) -> Refusal | None:
        """Return once what was reserved is on the disk, with the refusal if the disk did not take it."""
        try:
            await self.ledger.journal.durable()
        except DataError as error:
            return self._unwritten(error)
        return None

    def _unwritten(self, error: DataError) -> Refusal:
        self.log.error("journal", problem=str(error))
        return ledger_unavailable(error)

    def _likely_nusd(self, attempt: Attempt) -> int:
        """Return what soft budgets count while an attempt runs: one answer in a hundred costs more."""
        call, target = attempt.call, attempt.target
        if not call.sender.has_soft_budget:
            return 0
        output_tokens = self.knowledge.model_outlooks[target.endpoint.model].cautious_verbosity_tokens
        if call.body.request.max_output_tokens is not None:
            output_tokens = min(output_tokens, call.body.request.max_output_tokens)
        prompt_tokens = round(attempt.candidate.prompt_tokens)
        tokens = ceil(output_tokens * call.body.request.choices)
        return min(attempt.bound_nusd, attempt.card.prices.bound_nusd(prompt_tokens, tokens))

    def _close(self, attempt: Attempt) -> None:
        """Settle the ledger, learn from what was seen, and send the reply that was held for the cost."""
        index, now_s = attempt.target.index, monotonic()
        self.knowledge.ended(index)
        closing = closing_entry(attempt, time_ns(), lambda: self._token_bounds(attempt, now_s))
        if isinstance(closing, Settle):
            attempt.call.used_tokens += closing.usage.prompt_tokens + closing.usage.output_tokens
        self._book(closing)
        self.lessons.learn(observation(attempt, closing, now_s))
        self.counters.endpoints[index].attempted(closing)
        if attempt.fault is not None:
            self._report(attempt, attempt.fault)
        relay = attempt.relay
        if isinstance(relay, PlainRelay | FoldRelay) and relay.reply is not None and not relay.cancelled:
            cost = (
                b"%b: %.9f\r\n" % (COST, closing.bill.total_nusd / 1e9)
                if isinstance(closing, Settle)
                else b""
            )
            lines = attempt.reply_headers + cost
            attempt.call.exchange.reply(200, relay.reply, headers=lines)
        elif isinstance(relay, Relay) and attempt.fault is None and relay.started:
            attempt.call.exchange.end()

    def _token_bounds(self, attempt: Attempt, now_s: float) -> TokenBounds:
        _, per_stream_byte = self.knowledge.tokens_per_stream_byte(attempt.target.index, now_s)
        model = self.knowledge.model_outlooks[attempt.target.endpoint.model]
        return TokenBounds(model.cautious_tokens_per_byte, per_stream_byte)

    def _book(self, closing: Closing) -> None:
        """Write the entry that closes a reservation; one that cannot be written waits, and stays reserved."""
        try:
            self._write(closing)
        except DataError as error:
            self._unbooked.append(closing)
            self.log.error("journal", problem=str(error), request_id=closing.request_id.hex())

    def _book_what_waits(self) -> None:
        """Write the entries that could not be written when their attempts ended, the oldest first."""
        while self._unbooked:
            try:
                self._write(self._unbooked[0])
            except DataError:
                return
            closing = self._unbooked.popleft()
            self.log.info("booked_late", request_id=closing.request_id.hex(), waiting=len(self._unbooked))

    def _write(self, closing: Closing) -> None:
        conflict: Conflict | None
        match closing:
            case Settle():
                conflict = self.ledger.settle(closing)
            case Void():
                conflict = self.ledger.void(closing)
            case Expire():
                conflict = self.ledger.expire(closing)
        if conflict is not None:
            self.log.error("ledger_conflict", problem=str(conflict), request_id=closing.request_id.hex())

    def _report(self, attempt: Attempt, fault: HostFault) -> None:
        if attempt.outcome is not Outcome.REFUSED:
            self.log.warning(
                "attempt_failed",
                request_id=attempt.call.request_id.hex(),
                attempt=attempt.number,
                endpoint=attempt.target.endpoint.name,
                status=fault.status,
                reason=fault.reason,
                words=fault.words if fault.status in ABOUT_OUR_ACCOUNT else "",
            )

    def _may_try_next(self, attempt: Attempt) -> bool:
        started = attempt.relay is not None and attempt.relay.started
        refused = attempt.outcome is Outcome.REFUSED and not attempt.outgrown_tokens
        return not (started or attempt.cancelled or refused or self._stopping)

    # -- time and end

    async def keep_time(self) -> None:
        """Sweep for silent hosts, silent clients, old connections and changed keys, until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_S)
            now_s = monotonic()
            self._book_what_waits()
            self.refusals.sweep(time_ns())
            self._refresh_keys()
            self.reprice(time_ns())
            self.contents.sweep(now_s)
            if now_s >= self._accounts_due_s:
                self.ledger.keep_accounts(time_ns())
                self._accounts_due_s = now_s + ACCOUNTS_S
            for relay in tuple(self._watched):
                self._sweep(relay, now_s)
            for pool in self.pools.values():
                pool.sweep(now_s)
            self.listener.sweep(now_s)

    def reprice(self, now_ns: int) -> None:
        """Let the choice go by the prices of this hour, where an endpoint has several."""
        if self._tariffs:
            self.router.reprice({target.index: target.pricing.tiers_at(now_ns) for target in self._tariffs})

    def _refresh_keys(self) -> None:
        """Take over what changed; while the log of keys cannot be read, the keys that are known stay."""
        try:
            self.ledger.refresh_keys()
        except (DataError, OSError) as error:
            if not self._keys_unreadable:
                self.log.error("keys", problem=str(error))
            self._keys_unreadable = True
        else:
            self._keys_unreadable = False

    def _sweep(self, relay: Relay, now_s: float) -> None:
        host = relay.host
        if relay.paused:
            return
        if relay.flows:
            if now_s - relay.heard_s > host.idle_timeout_s:
                relay.overdue(f"silent for {host.idle_timeout_s:g} s in mid-answer")
        elif now_s - relay.sent_s > host.first_byte_timeout_s:
            relay.overdue(f"no content within {host.first_byte_timeout_s:g} s")

    async def drain(self, grace_s: float) -> None:
        """Stop taking requests, let those under way end for `grace_s` seconds, then cut them."""
        self.listener.drain()
        if self._tasks:
            await asyncio.wait(tuple(self._tasks.values()), timeout=grace_s)
        self._stopping = True
        for relay in tuple(self._watched):
            relay.stop()
        if self._tasks:
            await asyncio.wait(tuple(self._tasks.values()), timeout=1.0)
        for task in tuple(self._tasks.values()):  # still connecting: nothing was sent
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._book_what_waits()
        self.refusals.write_kept()
        for pool in self.pools.values():
            pool.close()
        self.listener.close()
        self.contents.close()


def unbounded(body: Body) -> Refusal | None:
    """Return why no reservation can be an upper bound of a request, or None."""
    field = unbounded_field(body.fields)
    if field is None:
        return None
    return Refusal(
        400,
        "invalid_request_error",
        "cost_unbounded",
        f"{field} can cost more than tokens: a key with a hard budget cannot use it; leave it out, or use "
        "another key",
        param=field,
    )


def _problem(error: BaseException) -> str:
    """Return what may be logged of an error: words of others may hold what a user wrote."""
    return str(error) if isinstance(error, EntrepotError) else type(error).__name__


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames[-4:]))
