"""One replica of an engine: its queue, its batch and its KV cache, advanced from one change to the next.

The batch is constant between arrivals, completions and prompts, so a run of decode steps is one event whose
length is an arithmetic series in the tokens held. A sequence's progress is the replica's count of decode
steps less the count at which it joined: nothing is touched per sequence and step, and a run is linear in
requests.
"""

from collections import OrderedDict, deque
from heapq import heappop, heappush
from math import ceil, isnan, nan, sqrt
from typing import NamedTuple

from entrepot.tokenomics.arrivals import BLOCK_TOKENS, Requests
from entrepot.tokenomics.batching import Batching
from entrepot.tokenomics.clock import StepClock

STRAIGHT = 1e-4
"""A run of steps is jumped over in one go while its middle step is within this part of its ends' mean."""

_AWAY, _WAITING, _READING, _DECODING = range(4)


class Book:
    """What became of every request: lists of one entry each, shared by all replicas.

    Units: tokens, seconds. `total` is prompt and output, `left` the output still to come, so a request that
    waits must have total − left tokens computed before its next token comes.
    """

    def __init__(self, requests: Requests) -> None:
        count = len(requests)
        self.left: list[int] = requests.output_tokens.tolist()
        self.total: list[int] = (requests.prompt_tokens + requests.output_tokens).tolist()
        self.cached: list[int] = requests.cached_tokens.tolist()
        self.blocks = requests.prefix_blocks
        self.arrived_s: list[float] = requests.arrival_s.tolist()
        self.first_s = [nan] * count
        self.finished_s = [nan] * count
        self.refused = [False] * count
        self.state = [_AWAY] * count
        self.unread = [0] * count
        self.finish_at = [0] * count
        self.ready_at = [0] * count
        self.preemptions = 0
        self.read_tokens = 0
        self.cached_tokens = 0


class PrefixCache:
    """The prefix blocks that a replica still has; the one used longest ago leaves first."""

    def __init__(self, tokens: int) -> None:
        self._room = tokens // BLOCK_TOKENS
        self._blocks: OrderedDict[int, None] = OrderedDict()

    def leading(self, blocks: tuple[int, ...]) -> int:
        """Return how many of the first blocks are here, and count them as used."""
        for found, block in enumerate(blocks):
            if block not in self._blocks:
                return found
            self._blocks.move_to_end(block)
        return len(blocks)

    def keep(self, blocks: tuple[int, ...]) -> None:
        """Take in the blocks of a prompt that was read."""
        for block in reversed(blocks):
            self._blocks[block] = None
            self._blocks.move_to_end(block)
        while len(self._blocks) > self._room:
            self._blocks.popitem(last=False)


class Event(NamedTuple):
    """A request that left a replica: finished, or handed over to be decoded elsewhere."""

    request: int
    handed_over: bool


class Replica:
    """One engine's state: `begin` plans a run of steps, `offer` may shorten it, `end` applies it.

    Units: tokens, seconds. Always kv_tokens ≤ clock.kv_capacity_tokens.
    """

    def __init__(
        self,
        clock: StepClock,
        batching: Batching,
        book: Book,
        *,
        cache_tokens: int = 0,
        only_reads: bool = False,
        single_steps: bool = False,
    ) -> None:
        self._step_s, self._capacity = clock.step_s, clock.kv_capacity_tokens
        self._batching, self._book = batching, book
        self._cache = PrefixCache(cache_tokens) if book.blocks and cache_tokens else None
        self._only_reads, self._single = only_reads, single_steps
        self.waiting: deque[int] = deque()
        self._reading: deque[int] = deque()
        self._finishing: list[tuple[int, int]] = []
        self._admitted: list[int] = []
        self._chunks: list[tuple[int, int]] = []
        self.decoding = 0
        self._held = 0
        self._expected = 0
        self._count = 0
        self.kv_tokens = 0
        self.kv_peak_tokens = 0
        self.busy_s = 0.0
        self.steps = 0
        self.plan = 0  # the number of the run that is planned: older ones in the caller's queue are void
        self.idle = True
        self._start_s = self._end_s = self._first_s = self._slope_s = 0.0
        self._steps = 0

    @property
    def load(self) -> int:
        """Return the requests that wait or run here."""
        return len(self.waiting) + len(self._reading) + self.decoding

    def offer(self, request: int, now_s: float) -> float | None:
        """Let a request wait here; return the new end of the planned run if it was cut short for it."""
        blocked = bool(self.waiting)
        self._book.state[request] = _WAITING
        self._book.ready_at[request] = 0
        self.waiting.append(request)
        if self.idle:
            return None
        steps = self._boundary(now_s) + self._batching.steps_ahead
        self._book.ready_at[request] = self.steps + steps
        return None if blocked or steps >= self._steps else self._cut(steps)

    def begin(self, now_s: float) -> float | None:
        """Plan the next run of steps; return when it ends, or nothing if there is nothing to do."""
        preempted = self._make_room()
        tokens, pairs = self._read(admit=not preempted)
        self.plan += 1
        self.idle = not (tokens or self.decoding)
        if self.idle:
            return None
        self._start_s = now_s
        if tokens:
            decoding = 0 if self._batching.prefill_first else self.decoding
            self._steps, self._slope_s = int(decoding > 0), 0.0
            self._first_s = self._step_s(decoding, self._held if decoding else 0, tokens, pairs)
            self._end_s = now_s + self._first_s
        else:
            self._plan_decode()
            self._end_s = now_s + self._duration_s(self._steps)
        return self._end_s

    def end(self) -> list[Event]:
        """Apply the planned run; return the requests that left with it."""
        self.busy_s += self._end_s - self._start_s
        self.steps += max(1, self._steps)
        left: list[Event] = []
        if self._steps:
            grown = self.decoding * self._steps
            self._count += self._steps
            self.kv_tokens += grown
            self._held += grown
            self._expected -= grown
            self._pop_finished(left)
        for request, tokens in self._chunks:
            self._book.read_tokens += tokens
            self._book.unread[request] -= tokens
            if not self._book.unread[request]:
                self._reading.popleft()
                self._read_up(request, left)
        self._chunks.clear()
        self.kv_peak_tokens = max(self.kv_peak_tokens, self.kv_tokens)
        return left

    def _boundary(self, at_s: float) -> int:
        """Return after how many steps of the planned run a step ends at `at_s` or later."""
        if self._steps < 2:
            return 1
        half = self._slope_s / 2.0
        linear, span_s = self._first_s - half, at_s - self._start_s
        root = sqrt(max(linear * linear + 4.0 * half * span_s, 0.0))
        return max(1, ceil(2.0 * span_s / (linear + root) - 1e-9))

    def _cut(self, steps: int) -> float:
        self._steps = steps
        self.plan += 1
        self._end_s = self._start_s + self._duration_s(steps)
        return self._end_s

    def _duration_s(self, steps: int) -> float:
        return steps * self._first_s + self._slope_s * (steps * (steps - 1) / 2)

    def _plan_decode(self) -> None:
        decoding, held = self.decoding, self._held
        first_s = self._step_s(decoding, held)
        steps, slope_s = 1, 0.0
        if not self._single:
            steps = min(self._next_finish() - self._count, (self._capacity - self.kv_tokens) // decoding)
            if self.waiting and (ready_in := self._book.ready_at[self.waiting[0]] - self.steps) > 0:
                steps = min(steps, ready_in)
        while steps > 1:
            last_s = self._step_s(decoding, held + decoding * (steps - 1))
            slope_s = (last_s - first_s) / (steps - 1)
            if steps == 2:
                break
            middle_s = self._step_s(decoding, held + decoding * (steps - 1) / 2)
            if abs(2.0 * middle_s - first_s - last_s) <= STRAIGHT * (first_s + last_s):
                break
            steps //= 2
        self._first_s, self._slope_s, self._steps = first_s, slope_s, steps

    def _next_finish(self) -> int:
        book, finishing = self._book, self._finishing
        while True:
            at, request = finishing[0]
            if book.state[request] == _DECODING and book.finish_at[request] == at:
                return at
            heappop(finishing)

    def _pop_finished(self, left: list[Event]) -> None:
        book = self._book
        while self._finishing and self._finishing[0][0] <= self._count:
            at, request = heappop(self._finishing)
            if book.state[request] != _DECODING or book.finish_at[request] != at:
                continue  # it was preempted since
            book.left[request] = 0
            self.decoding -= 1
            self._held -= book.total[request] - 1
            self._leave(request, book.total[request] - 1)
            book.finished_s[request] = self._end_s
            left.append(Event(request, handed_over=False))

    def _leave(self, request: int, tokens: int) -> None:
        self._book.state[request] = _AWAY
        self.kv_tokens -= tokens
        self._expected -= self._book.left[request]

    def _read_up(self, request: int, left: list[Event]) -> None:
        """Send the token that follows a prompt (or what was recomputed of a sequence)."""
        book = self._book
        if isnan(book.first_s[request]):
            book.first_s[request] = self._end_s
        if self._cache is not None:
            self._cache.keep(book.blocks[request])
        computed = book.total[request] - book.left[request]
        book.left[request] -= 1
        self._expected -= 1
        if not book.left[request]:
            book.finished_s[request] = self._end_s
        if self._only_reads or not book.left[request]:
            self._leave(request, computed)
            left.append(Event(request, handed_over=book.left[request] > 0))
        else:
            self._join(request)

    def _join(self, request: int) -> None:
        book = self._book
        book.state[request] = _DECODING
        book.finish_at[request] = self._count + book.left[request]
        heappush(self._finishing, (book.finish_at[request], request))
        self.decoding += 1
        self._held += book.total[request] - 1 - book.left[request]

    def _make_room(self) -> bool:
        """Preempt the latest until every decoding sequence has room for a token; say whether any was."""
        preempted = False
        while self.kv_tokens + self.decoding > self._capacity:
            request = self._admitted.pop()
            state = self._book.state[request]
            if state in (_READING, _DECODING):
                self._preempt(request, state)
                preempted = True
        return preempted

    def _preempt(self, request: int, state: int) -> None:
        book = self._book
        if state == _DECODING:
            book.left[request] = book.finish_at[request] - self._count
            tokens = book.total[request] - 1 - book.left[request]
            self.decoding -= 1
            self._held -= tokens
        else:
            tokens = book.total[request] - book.left[request]
            self._reading.remove(request)
        self._leave(request, tokens)
        book.state[request] = _WAITING
        book.unread[request] = 0
        book.preemptions += 1
        self.waiting.appendleft(request)

    def _read(self, *, admit: bool) -> tuple[int, int]:
        """Choose what is read in the next step; return its tokens and pairs of tokens."""
        batching = self._batching
        budget = batching.max_batched_tokens - (0 if batching.prefill_first else self.decoding)
        tokens = pairs = 0
        turn = 0
        while budget > 0:
            if turn == len(self._reading) and not (admit and self._admit()):
                break
            if turn == len(self._reading):
                continue  # it came with its prompt read, and decodes at once
            request = self._reading[turn]
            unread = self._book.unread[request]
            taken = min(unread, budget)
            before = self._book.total[request] - self._book.left[request] - unread
            pairs += taken * before + taken * (taken - 1) // 2
            tokens += taken
            budget -= taken
            self._chunks.append((request, taken))
            turn += 1
        return tokens, pairs

    def _admit(self) -> bool:
        """Take the first that waits into the batch if it fits."""
        if not self.waiting or self.decoding + len(self._reading) >= self._batching.max_sequences:
            return False
        book, request = self._book, self.waiting[0]
        if book.ready_at[request] > self.steps and (self.decoding or self._reading):
            return False
        handed_over = self._is_handed_over(request)
        left = book.left[request]
        computed = book.total[request] - left - int(handed_over)
        reserved = int(self._batching.reserved_output * (self._expected + left))
        growing = self.decoding + int(handed_over)  # those that decode get their tokens first
        if self.kv_tokens + growing + computed + reserved > self._capacity:
            return False
        self.waiting.popleft()
        self.kv_tokens += computed
        self.kv_peak_tokens = max(self.kv_peak_tokens, self.kv_tokens)
        self._expected += left
        self._admitted.append(request)
        if handed_over:
            self._join(request)
        else:
            self._start_reading(request, computed)
        return True

    def _is_handed_over(self, request: int) -> bool:
        return self._book.unread[request] < 0

    def _start_reading(self, request: int, computed: int) -> None:
        book = self._book
        cached = book.cached[request]
        if self._cache is not None:
            cached = self._cache.leading(book.blocks[request]) * BLOCK_TOKENS
        cached = min(cached, computed - 1)
        book.cached_tokens += cached
        book.unread[request] = computed - cached
        book.state[request] = _READING
        self._reading.append(request)
