"""A request that a simulated host is serving: streamed token by token, or answered in one piece.

Both bill the prompt once the host began to answer and the tokens that it made before it saw that nobody
waits any more, as hosts do that stop when a connection closes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from msgspec import Struct

from entrepot.hosts.behaviour import Behaviour, Plan, usd_decimal_text
from entrepot.hosts.prefix_cache import PrefixCache
from entrepot.hosts.scenario import SimulatedHost
from entrepot.hosts.simulated_answer import DONE, Envelope, Tokens, Words, http_chunk, reply, stream_head
from entrepot.hosts.simulated_log import HostLog, HostTotals, Outcome, Record

MOST_CAUGHT_UP_S = 1.0  # a client that did not read for longer does not get it all at once


class ServingHost:
    """One host of the server: its figures, its cache, its totals."""

    def __init__(
        self, host: SimulatedHost, scenario: str, log: HostLog, *, seed: int, speedup: float
    ) -> None:
        self.host = host
        self.behaviour = Behaviour(host, seed=seed, speedup=speedup)
        self.cache = PrefixCache() if host.cached_input_usd_per_mtok is not None else None
        self.words = Words(host.name, scenario)
        self.totals = HostTotals()
        self._log = log

    def step_s(self) -> float:
        """Return the seconds between two tokens at this moment's load."""
        return self.behaviour.step_s(self.totals.in_flight)

    def bill(
        self, request_id: str | None, tokens: Tokens, outcome: Outcome, *, stream: bool, status: int
    ) -> None:
        """Write a request to the log: billed when its status is 200."""
        billed = tokens if status == 200 else Tokens(0)
        cost_usd = self.behaviour.cost_usd(
            prompt_tokens=billed.prompt, cached_tokens=billed.cached, completion_tokens=billed.completion
        )
        record = Record(
            request_id=request_id,
            host=self.host.name,
            model=self.host.model.name,
            prompt_tokens=billed.prompt,
            cached_tokens=billed.cached,
            completion_tokens=billed.completion,
            cost_usd=usd_decimal_text(cost_usd) if cost_usd else "0",
            outcome=outcome,
            stream=stream,
            status=status,
        )
        self._log.write(record, self.totals, cost_usd)


class Accepted(Struct, frozen=True):
    """A request that a host began to answer.

    Units: `began_s` seconds of the loop's clock. `finished` is called once, when the reply was sent or given
    up; `wake` asks for a step now.
    """

    host: ServingHost
    transport: asyncio.Transport
    plan: Plan
    prompt: Tokens
    request_id: str | None
    began_s: float
    keep_alive: bool
    wake: Callable[[Serving], None]
    finished: Callable[[], None]


class Serving:
    """What both kinds share. `due_s` is when the first step is due."""

    stream = False
    due_s = 0.0

    def __init__(self, accepted: Accepted) -> None:
        self._accepted = accepted
        self._host = accepted.host
        self._plan = accepted.plan
        self._transport = accepted.transport
        self._over = False
        accepted.host.totals.in_flight += 1

    def gone(self, now_s: float) -> None:
        """The client is gone: bill what was made until now."""
        self._end("cancelled", self._made(now_s))

    def stop(self, now_s: float) -> None:
        """The server ends: give up in the middle."""
        self._end("error", self._made(now_s))
        self._transport.abort()

    def pause(self, *, paused: bool) -> None:
        """The client reads more slowly than the tokens come, or has caught up."""

    def step(self, now_s: float) -> float | None:
        """Do what is due at `now_s`."""
        raise NotImplementedError

    def _made(self, now_s: float) -> int:
        raise NotImplementedError

    def _tokens(self, completion: int) -> Tokens:
        prompt = self._accepted.prompt
        return Tokens(prompt.prompt, prompt.cached, completion)

    def _end(self, outcome: Outcome, completion: int) -> None:
        if self._over:
            return
        self._over = True
        self._host.totals.in_flight -= 1
        request_id, tokens = self._accepted.request_id, self._tokens(completion)
        self._host.bill(request_id, tokens, outcome, stream=self.stream, status=200)
        self._accepted.finished()


class ServingPlain(Serving):
    """An answer in one piece, sent when its last token would be there. `write` makes its body."""

    def __init__(self, accepted: Accepted, write: Callable[[Tokens], bytes]) -> None:
        super().__init__(accepted)
        self._write = write
        plan = accepted.plan
        self._step_s = accepted.host.step_s() * plan.pace
        self._first_s = accepted.began_s + plan.ttft_s
        self.due_s = self._first_s + max(0, max(plan.lengths, default=0) - 1) * self._step_s

    def step(self, now_s: float) -> float | None:
        """Send the answer."""
        if self._over:
            return None
        lengths = self._plan.lengths
        if self._plan.cut_after is not None:
            self._end("error", sum(lengths))
            self._transport.abort()
            return None
        body = self._write(self._tokens(sum(lengths)))
        self._transport.write(reply(200, body, keep_alive=self._accepted.keep_alive))
        self._end("ok", sum(lengths))
        return None

    def _made(self, now_s: float) -> int:
        """Return the tokens that would have been made by now."""
        if now_s < self._first_s:
            return 0
        longest = max(self._plan.lengths, default=0)
        steps = longest if self._step_s == 0 else 1 + int((now_s - self._first_s) / self._step_s)
        return sum(min(length, steps) for length in self._plan.lengths)


class ServingStream(Serving):
    """A stream of events: at every step each choice that is not at its end gets one token."""

    stream = True

    def __init__(self, accepted: Accepted, envelope: Envelope, *, include_usage: bool) -> None:
        super().__init__(accepted)
        plan = accepted.plan
        self._envelope = envelope
        self._include_usage = include_usage
        self._frames = [envelope.token_frame(index) for index in range(len(plan.lengths))]
        self._open = list(range(len(plan.lengths)))
        self._position = 0
        self._written = 0
        self._paused = False
        self._asleep = False
        self.due_s = accepted.began_s + plan.ttft_s
        accepted.transport.write(stream_head(keep_alive=accepted.keep_alive))

    def pause(self, *, paused: bool) -> None:
        """Make no tokens while the client does not read."""
        self._paused = paused
        if not paused and self._asleep:
            self._asleep = False
            self._accepted.wake(self)

    def step(self, now_s: float) -> float | None:
        """Write all tokens that are due."""
        if self._over:
            return None
        if self._paused:
            self._asleep = True
            return None
        events: list[bytes] = []
        due_s = max(self.due_s, now_s - MOST_CAUGHT_UP_S)
        step_s = self._host.step_s() * self._plan.pace
        cut_after = self._plan.cut_after
        while due_s <= now_s:
            self._emit(events)
            if not self._open:
                self._close(events)
                return None
            if cut_after is not None and self._position >= cut_after:
                self._transport.write(http_chunk(b"".join(events)))
                self._end("error", self._written)
                self._transport.close()  # what was billed is sent, then the connection ends mid-chunk
                return None
            due_s += step_s
        if events:
            self._transport.write(http_chunk(b"".join(events)))
        self.due_s = due_s
        return due_s

    def _emit(self, events: list[bytes]) -> None:
        """Append the events of one step."""
        position, plan, envelope = self._position, self._plan, self._envelope
        word = self._host.words.escaped(position)
        if position == 0:
            events.extend(envelope.opening(index) for index in self._open)
        ended = False
        for index in self._open:
            head, tail = self._frames[index]
            events.append(head + word + tail)
            ended = ended or plan.lengths[index] <= position + 1
        self._position = position + 1
        self._written += len(self._open)
        if ended:
            for index in self._open:
                if plan.lengths[index] <= position + 1:
                    events.append(envelope.closing(index, whole=plan.whole[index]))
            self._open = [index for index in self._open if plan.lengths[index] > position + 1]

    def _close(self, events: list[bytes]) -> None:
        if self._include_usage:
            events.append(self._envelope.usage_chunk(self._tokens(self._written)))
        events.append(DONE)
        self._transport.write(http_chunk(b"".join(events), last=True))
        self._end("ok", self._written)

    def _made(self, now_s: float) -> int:
        return self._written
