"""Fits the clock of a host from its records, says how far to trust it, and whether they reach saturation.

A decode window is a sum over its steps, so its length is linear in the work that the records show: one
regression gives seconds per step, sequence, held token and prompt token. Coefficients per request (a line of
TPOT over concurrency) were not taken: they do not say what a longer prompt or another batch would do.
"""

from dataclasses import dataclass

import numpy as np

from entrepot.tokenomics.arrivals import Floats
from entrepot.tokenomics.clock import StepClock
from entrepot.tokenomics.linear_clock import LinearClock
from entrepot.tokenomics.records import Records, Work, active_weight, work_of

_ROUNDS = 8
_OUTLIER = 2.0
_TTFT_SD = 0.3
_TPOT_SD = 0.05
_STEPS_UNTIL_FIRST = (
    1.5  # half of the step that runs when a request comes, and the step that reads its prompt
)
_BEYOND_SD = 0.1
"""Relative sd per e-fold of batch beyond those seen: clocks that fit the low loads of a host are off by so
much at ten times these (whole fits of cost_by_load_measured.csv)."""
_MODEL_SD = 0.02  # of any clock: no host is a sum of five terms
_Z80 = 1.2816
_QUEUED = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaledClock:
    """A clock of the same shape as another: its constant, its decode part and its prompt part scaled."""

    shape: StepClock
    constant: float
    decode: float
    prompt: float

    @property
    def kv_capacity_tokens(self) -> int:
        """Return the capacity of the clock that is scaled."""
        return self.shape.kv_capacity_tokens

    def step_s(
        self, decoding: float, held_tokens: float, prompt_tokens: float = 0.0, prompt_pairs: float = 0.0
    ) -> float:
        """Return the seconds of one step; see `StepClock`."""
        least = self.shape.step_s(1.0, 0.0)
        plain = self.shape.step_s(decoding, held_tokens)
        seconds = self.constant * least + self.decode * (plain - least)
        if prompt_tokens:
            whole = self.shape.step_s(decoding, held_tokens, prompt_tokens, prompt_pairs)
            seconds += self.prompt * (whole - plain)
        return max(seconds, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate with its 80 % interval, in seconds per token."""

    expected: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Whether records reach saturation. `queued_share` is of those at the highest load."""

    is_reached: bool
    queued_share: float
    highest_rps: float
    most_in_flight: float

    @property
    def sentence(self) -> str:
        """Return the verdict as a sentence for people."""
        if self.is_reached:
            return f"the records reach saturation: about {self.highest_rps:.2f} requests/s are served"
        return (
            f"the records do not reach saturation: more than {self.highest_rps:.2f} requests/s can be served"
        )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Calibration:
    """A host fitted from records.

    Shapes: coefficients (c,), covariance (c, c): of seconds per step, sequence, held token, prompt token and
    request, or, with a clock given as shape, of its three scales and seconds per request. `batches` are the
    least and most sequences per step that were seen.
    """

    clock: StepClock
    request_s: float
    coefficients: Floats
    covariance: Floats
    residual_sd: float
    batches: tuple[float, float]
    reach: Reach
    shape: StepClock | None

    def tpot(self, *, batch: float, context_tokens: float, prompt_tokens: float = 0.0) -> Interval:
        """Return the seconds per token in a batch, with an interval that widens outside the batches seen.

        Units: sequences; tokens held by each; prompt tokens read per step.
        """
        columns = _columns(
            np.ones(1),
            np.array([batch]),
            np.array([batch * context_tokens]),
            np.array([prompt_tokens]),
            np.zeros(1),
            self.shape,
        )[0]
        expected = float(columns @ self.coefficients)
        least, most = self.batches
        beyond = max(0.0, float(np.log(batch / most)), float(np.log(least / batch)))
        spread = (self.residual_sd**2 + _MODEL_SD**2 + (_BEYOND_SD * beyond) ** 2) * expected**2
        half = _Z80 * float(np.sqrt(columns @ self.covariance @ columns + spread))
        return Interval(expected=expected, low=max(expected - half, 0.0), high=expected + half)


def calibrate(
    records: Records, *, kv_capacity_tokens: int = 1_000_000, shape: StepClock | None = None
) -> Calibration:
    """Return the clock that explains the records best.

    With `shape` its terms are scaled in three groups, each believed to be right within 30 %, and its KV
    capacity is kept; without one, terms are plain and non-negative. Outliers (stalls of the network) weigh
    little.
    """
    work = work_of(records)
    rows, target, sd = _equations(records, work, shape)
    if shape is None:
        windows = records.duration_s - records.ttft_s
        timed = (work.steps > 0) & (windows > 0)
        typical = float(np.median(windows[timed] / work.steps[timed]))
        scales = typical / np.array([1.0, 10.0, 10_000.0, 1_000.0, 0.1])
        mean, prior_sd = np.zeros(5), 3.0 * scales
    else:
        mean, prior_sd = np.array([1.0, 1.0, 1.0, 0.01]), np.array([0.3, 0.3, 0.3, 0.1])
    shared = max(1.0, float(np.mean(work.batch)))
    coefficients, covariance, residual = _regress(rows, target, sd, mean, prior_sd, shared)
    clock: StepClock
    if shape is None:
        base, sequence, held, prompt, request_s = coefficients.tolist()
        clock = LinearClock(
            kv_capacity_tokens=kv_capacity_tokens,
            base_s=base,
            sequence_s=sequence,
            held_s=held,
            prompt_s=prompt,
        )
    else:
        constant, decode, prompt, request_s = coefficients.tolist()
        clock = ScaledClock(shape=shape, constant=constant, decode=decode, prompt=prompt)
    batch = work.batch[work.steps > 0]
    seen = np.percentile(batch if len(batch) else np.ones(1), (2, 98))
    first_rows = rows[len(rows) - len(records.start_s) :]
    return Calibration(
        clock=clock,
        request_s=request_s,
        coefficients=coefficients,
        covariance=covariance,
        residual_sd=residual,
        batches=(float(max(seen[0], 1.0)), float(max(seen[1], 1.0))),
        reach=_reach(records, work, first_rows @ coefficients),
        shape=shape,
    )


def _equations(records: Records, work: Work, shape: StepClock | None) -> tuple[Floats, Floats, Floats]:
    """Return what is linear in the coefficients, values and their sd: decode windows, then first tokens."""
    decode = _columns(
        work.steps, work.sequence_steps, work.held_steps, work.prompt_tokens, np.zeros(len(work.steps)), shape
    )
    wait = _STEPS_UNTIL_FIRST
    ones = np.ones(len(work.steps))
    prompts = records.prompt_tokens.astype(np.float64)
    first = _columns(wait * ones, wait * work.batch_before, wait * work.held_before, prompts, ones, shape)
    told = work.steps > 0
    windows = (records.duration_s - records.ttft_s)[told]
    target = np.concatenate([windows, records.ttft_s])
    sd = np.concatenate([_TPOT_SD * np.maximum(windows, 1e-6), _TTFT_SD * records.ttft_s])
    return np.concatenate([decode[told], first]), target, sd


def _columns(
    steps: Floats, sequences: Floats, held: Floats, prompts: Floats, requests: Floats, shape: StepClock | None
) -> Floats:
    """Return the columns of the regression: (rows, coefficients)."""
    if shape is None:
        return np.stack([steps, sequences, held, prompts, requests], axis=1)
    least = shape.step_s(1.0, 0.0)
    rows = []
    for count, sequence, tokens, prompt in zip(
        steps.tolist(), sequences.tolist(), held.tolist(), prompts.tolist(), strict=True
    ):
        each = max(count, 1.0)
        plain = shape.step_s(sequence / each, tokens / each)
        piece = max(prompt / each, 1.0)
        reading = shape.step_s(sequence / each, tokens / each, piece, piece * (piece - 1.0) / 2.0) - plain
        rows.append([count * least, count * (plain - least), prompt / piece * reading])
    return np.concatenate([np.asarray(rows), requests[:, None]], axis=1)


def _regress(
    rows: Floats, target: Floats, sd: Floats, mean: Floats, prior_sd: Floats, shared: float
) -> tuple[Floats, Floats, float]:
    """Return non-negative coefficients, their covariance and the relative sd of decode windows around them.

    A step belongs to the windows of all that decode in it, `shared` of them: so much less do windows tell
    together.
    """
    weight = np.ones(len(target))
    free = np.ones(rows.shape[1], dtype=bool)
    coefficients = mean.copy()
    for _ in range(_ROUNDS):
        scaled = rows / sd[:, None] * np.sqrt(weight)[:, None]
        normal = scaled.T @ scaled + np.diag(1.0 / prior_sd**2)
        right = scaled.T @ (target / sd * np.sqrt(weight)) + mean / prior_sd**2
        coefficients = np.zeros(len(mean))
        coefficients[free] = np.linalg.solve(normal[np.ix_(free, free)], right[free])
        if np.any(coefficients < 0):
            free &= coefficients >= 0
            coefficients = np.maximum(coefficients, 0.0)
            continue
        off = np.abs(rows @ coefficients - target) / sd
        usual = max(float(np.median(off)) * 1.5, 1e-6)
        weight = np.minimum(1.0, _OUTLIER * usual / np.maximum(off, 1e-12))
    scaled = rows / sd[:, None] * np.sqrt(weight)[:, None]
    misfit = float(np.median(np.abs(rows @ coefficients - target) / sd)) * 1.5
    told = scaled.T @ scaled / max(misfit**2 * shared, 1e-6) + np.diag(1.0 / prior_sd**2)
    covariance = np.asarray(np.linalg.inv(told), dtype=np.float64)
    is_window = sd < _TTFT_SD * target * (1.0 - 1e-9)
    relative = np.abs(rows @ coefficients - target)[is_window] / target[is_window]
    return coefficients, covariance, float(np.median(relative)) * 1.5 if len(relative) else 1.0


def _reach(records: Records, work: Work, unqueued_s: Floats) -> Reach:
    """Return whether most records at the highest load waited for others, not for their own prompt."""
    ones = np.ones(len(records.start_s))
    busy = active_weight(records.start_s, records.end_s, ones, records.start_s)
    busy *= work.others
    high = busy >= np.percentile(busy, 75)
    queued = float(np.mean(records.ttft_s[high] > _QUEUED * unqueued_s[high]))
    ended = np.sort(records.end_s)
    some = max(len(ended) // 10, 5)
    spans = ended[some:] - ended[:-some]
    factor = float(np.median(work.others[high]))
    return Reach(
        is_reached=queued > 0.5,
        queued_share=queued,
        highest_rps=float(some / spans.min()) * factor if len(spans) and spans.min() > 0 else 0.0,
        most_in_flight=float(busy.max()),
    )
