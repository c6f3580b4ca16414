"""What a host's own records say about its load: the work that was done between them.

A record knows when it was sent, when its first token came and when its last. Between those two its replica
took one step per token, and what else was done in these steps is in the other records: the work, in tokens,
is counted here.
"""

from dataclasses import dataclass

import numpy as np

from entrepot.tokenomics.arrivals import Floats, Ints


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Records:
    """Answered requests of one replica, or of one host that is seen as one.

    Shapes: (records,). Units: s (`start_s` since any instant), tokens. `in_flight` when each was sent, itself
    included, as whoever kept the records counted it; where that is more than the records themselves show, the
    rest is taken to be alike. Raises: ValueError for arrays of several lengths, too few records, or
    impossible times.
    """

    start_s: Floats
    prompt_tokens: Ints
    output_tokens: Ints
    ttft_s: Floats
    duration_s: Floats
    in_flight: Floats | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be records."""
        arrays = [self.prompt_tokens, self.output_tokens, self.ttft_s, self.duration_s]
        if self.in_flight is not None:
            arrays.append(self.in_flight)
        if any(len(array) != len(self.start_s) for array in arrays):
            raise ValueError("the arrays of records must have one length")
        if len(self.start_s) < _FEWEST:
            raise ValueError(
                f"{len(self.start_s)} records are too few to fit a host: give at least {_FEWEST}"
            )
        if np.any(self.ttft_s <= 0) or np.any(self.duration_s < self.ttft_s):
            raise ValueError("every record needs 0 < ttft_s ≤ duration_s: leave failed requests out")
        if self.prompt_tokens.min() < 1 or self.output_tokens.min() < 1:
            raise ValueError("every record needs a prompt and an output token")
        if not np.any((self.output_tokens > 1) & (self.duration_s > self.ttft_s)):
            raise ValueError("no record has a second output token later than its first: no step is timed")

    @property
    def first_s(self) -> Floats:
        """Return when the first tokens came: (records,)."""
        return self.start_s + self.ttft_s

    @property
    def end_s(self) -> Floats:
        """Return when the last tokens came: (records,)."""
        return self.start_s + self.duration_s


_FEWEST = 10


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Work:
    """The work in each record's decode window and at its start.

    Shapes: (records,). Units: steps; sequence-steps; held tokens read, summed over steps; prompt tokens read
    by others meanwhile. `batch`, `held_tokens`: means per step of the window; `batch_before`, `held_before`:
    what was decoding when the record was sent; `others` is the factor by which more was in flight than the
    records show.
    """

    steps: Floats
    sequence_steps: Floats
    held_steps: Floats
    prompt_tokens: Floats
    batch_before: Floats
    held_before: Floats
    others: Floats

    @property
    def batch(self) -> Floats:
        """Return the mean number of sequences per step of the window: (records,)."""
        return self.sequence_steps / np.maximum(self.steps, 1.0)


def work_of(records: Records) -> Work:
    """Return the work around each record, from cumulative sums: linear in records but for a sort."""
    first, end = records.first_s, records.end_s
    steps = (records.output_tokens - 1).astype(np.float64)
    held_each = records.prompt_tokens + records.output_tokens / 2.0
    span = np.maximum(end - first, 1e-9)
    sequence_steps = _within(first, end, steps / span)
    held_steps = _within(first, end, steps * held_each / span)
    order = np.argsort(first)
    read = np.concatenate([[0.0], np.cumsum(records.prompt_tokens[order])])
    until = np.searchsorted(first[order], end, side="right")
    since = np.searchsorted(first[order], first, side="right")
    ones = np.ones(len(first))
    batch_before = active_weight(first, end, ones, records.start_s)
    others = np.ones(len(first))
    if records.in_flight is not None:
        own = active_weight(records.start_s, end, ones, records.start_s)
        others = np.maximum(records.in_flight / np.maximum(own, 1.0), 1.0)
    return Work(
        steps=steps,
        sequence_steps=np.maximum(sequence_steps * others, steps),
        held_steps=held_steps * others,
        prompt_tokens=(read[until] - read[since]) * others,
        batch_before=batch_before * others,
        held_before=active_weight(first, end, held_each, records.start_s) * others,
        others=others,
    )


def _within(first: Floats, end: Floats, rate: Floats) -> Floats:
    """Return the integral of all records' rates over each record's window."""
    times = np.concatenate([first, end])
    changes = np.concatenate([rate, -rate])
    order = np.argsort(times, kind="stable")
    times, slopes = times[order], np.cumsum(changes[order])
    total = np.concatenate([[0.0], np.cumsum(slopes[:-1] * np.diff(times))])
    return np.asarray(np.interp(end, times, total) - np.interp(first, times, total), dtype=np.float64)


def active_weight(begin: Floats, end: Floats, weight: Floats, at: Floats) -> Floats:
    """Return the weight of the records that had begun and not ended at each instant."""
    started = np.concatenate([[0.0], np.cumsum(weight[np.argsort(begin)])])
    ended = np.concatenate([[0.0], np.cumsum(weight[np.argsort(end)])])
    begun = np.searchsorted(np.sort(begin), at, side="right")
    gone = np.searchsorted(np.sort(end), at, side="right")
    return np.asarray(started[begun] - ended[gone], dtype=np.float64)
