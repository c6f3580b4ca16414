"""Discrete-event continuous batching: what an engine does with requests, from TTFT to goodput.

TTFT is queueing as much as reading, so it is simulated and not computed. Events are arrivals and the ends of
runs of equal steps (`replica`): a million tokens are a few thousand events. Nothing is drawn here: lengths
and times are the caller's, and a run is repeated by repeating its input.
"""

from collections.abc import Sequence
from heapq import heappop, heappush
from math import inf

import numpy as np

from entrepot.tokenomics.arrivals import Requests
from entrepot.tokenomics.batching import Engine, Spread
from entrepot.tokenomics.replica import Book, Event, Replica
from entrepot.tokenomics.results import Run


def simulate(
    engine: Engine,
    requests: Requests,
    *,
    concurrency: int | None = None,
    single_steps: bool = False,
) -> Run:
    """Return what the engine does with the requests, until the last is answered.

    With `concurrency` the loop is closed: that many requests are in flight at any time, in their order,
    whatever `arrival_s` says. `single_steps` walks every step, to check the jumps. Prompts must fit the KV
    cache whole with their output, or are refused (nan in the result). Raises: ValueError for a concurrency
    below 1.
    """
    if concurrency is not None and concurrency < 1:
        raise ValueError(f"concurrency is {concurrency}: at least one request must be in flight")
    return _Simulation(engine, requests, concurrency=concurrency, single_steps=single_steps).run()


class _Simulation:
    def __init__(
        self, engine: Engine, requests: Requests, *, concurrency: int | None, single_steps: bool
    ) -> None:
        self._engine, self._requests = engine, requests
        self._book = Book(requests)
        self._decoders = [
            Replica(
                engine.clock,
                engine.batching,
                self._book,
                cache_tokens=0 if engine.prefill else engine.prefix_cache_tokens,
                single_steps=single_steps,
            )
            for _ in range(engine.replicas)
        ]
        self._readers = self._readers_of(engine)
        self._entry = self._readers or self._decoders
        self._replicas = self._decoders + self._readers
        self._turns = {id(pool): 0 for pool in (self._decoders, self._readers)}
        self._ends: list[tuple[float, int, int]] = []
        self._coming: list[tuple[float, int]] = []  # handed over, or released in a closed loop
        self._closed = concurrency is not None
        self._released = len(requests) if concurrency is None else min(concurrency, len(requests))
        self._next = 0

    def _readers_of(self, engine: Engine) -> list[Replica]:
        pool = engine.prefill
        if pool is None:
            return []
        cache = engine.prefix_cache_tokens
        return [
            Replica(pool.clock, pool.batching, self._book, cache_tokens=cache, only_reads=True)
            for _ in range(pool.replicas)
        ]

    def run(self) -> Run:
        if self._closed:
            for request in range(self._released):
                self._book.arrived_s[request] = 0.0
        touched: list[int] = []
        while True:
            arrival_s, end_s = self._arrival_s(), self._ends[0][0] if self._ends else inf
            if arrival_s == inf and end_s == inf:
                break
            if arrival_s <= end_s:
                self._arrive(arrival_s, touched)
                if touched and self._arrival_s() > arrival_s:
                    for index in touched:
                        self._begin(index, arrival_s)
                    touched.clear()
            else:
                self._end()
        return self._result()

    def _arrival_s(self) -> float:
        planned_s = coming_s = inf
        if self._next < self._released:
            planned_s = self._book.arrived_s[self._next] + self._engine.request_s
        if self._coming:
            coming_s = self._coming[0][0]
        return planned_s if planned_s < coming_s else coming_s

    def _arrive(self, now_s: float, touched: list[int]) -> None:
        if self._coming and self._coming[0][0] <= now_s:
            request = heappop(self._coming)[1]
            pool = self._decoders
        else:
            request = self._next
            self._next += 1
            pool = self._entry
            if self._is_impossible(request):
                self._book.refused[request] = True
                self._release(now_s)
                return
        index = self._choose(pool)
        replica = self._replicas[index]
        end_s = replica.offer(request, now_s)
        if end_s is not None:
            heappush(self._ends, (end_s, index, replica.plan))
        elif replica.idle and index not in touched:
            touched.append(index)

    def _is_impossible(self, request: int) -> bool:
        total = self._book.total[request]
        prefill = self._engine.prefill
        if prefill is not None and total - self._book.left[request] > prefill.clock.kv_capacity_tokens:
            return True
        return total > self._engine.clock.kv_capacity_tokens

    def _choose(self, pool: list[Replica]) -> int:
        offset = 0 if pool is self._decoders else len(self._decoders)
        if len(pool) == 1:
            return offset
        if self._engine.spread is Spread.LEAST_LOADED:
            return offset + min(range(len(pool)), key=lambda index: pool[index].load)
        turn = self._turns[id(pool)]
        self._turns[id(pool)] = (turn + 1) % len(pool)
        return offset + turn

    def _begin(self, index: int, now_s: float) -> None:
        replica = self._replicas[index]
        end_s = replica.begin(now_s)
        if end_s is not None:
            heappush(self._ends, (end_s, index, replica.plan))

    def _end(self) -> None:
        now_s, index, plan = heappop(self._ends)
        replica = self._replicas[index]
        if plan != replica.plan:
            return  # the run was cut short since
        self._go_on(replica.end(), now_s)
        self._begin(index, now_s)

    def _go_on(self, events: Sequence[Event], now_s: float) -> None:
        for event in events:
            pool = self._engine.prefill
            if event.handed_over and pool is not None:
                tokens = self._book.total[event.request] - self._book.left[event.request] - 1
                self._book.unread[event.request] = -1
                there_s = now_s + pool.transfer_s + pool.transfer_token_s * tokens
                heappush(self._coming, (there_s, event.request))
            else:
                self._release(now_s)

    def _release(self, now_s: float) -> None:
        if self._closed and self._released < len(self._requests):
            self._book.arrived_s[self._released] = now_s
            self._released += 1

    def _result(self) -> Run:
        book = self._book
        capacities = [self._engine.clock.kv_capacity_tokens] * len(self._decoders)
        if self._engine.prefill is not None:
            capacities += [self._engine.prefill.clock.kv_capacity_tokens] * len(self._readers)
        peaks = (r.kv_peak_tokens / c for r, c in zip(self._replicas, capacities, strict=True))
        return Run(
            requests=self._requests,
            arrival_s=np.array(book.arrived_s),
            first_s=np.array(book.first_s),
            finished_s=np.array(book.finished_s),
            busy_s=sum(replica.busy_s for replica in self._replicas),
            replicas=len(self._replicas),
            steps=sum(replica.steps for replica in self._replicas),
            kv_peak_share=max(peaks),
            preemptions=book.preemptions,
            read_tokens=book.read_tokens,
            cached_tokens=book.cached_tokens,
        )
