"""Validation of the engine on benchmarks: each configuration from two of its rows, the rest predicted.

What two low loads do not tell of a configuration is learnt from the others of its engine, the configuration
itself left out: terms that are close from model to model once physics is divided out (`Setting`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, log

import numpy as np

from entrepot.tokenomics.arrivals import Floats, poisson_arrivals_s, stretched_s
from entrepot.tokenomics.batching import Batching, Engine
from entrepot.tokenomics.calibrate_load import (
    Beliefs,
    LoadFit,
    LoadPoint,
    fit_load,
    outcome,
    without_latencies,
)
from entrepot.tokenomics.linear_clock import LinearClock

RUN_REQUESTS = 500
PROMPT_TOKENS, OUTPUT_TOKENS = 512, 256
CALIBRATED_RPS = (1.0, 10.0)
CAPACITY_RPS = 100.0
KNEE_RPS = (25.0, 50.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRow:
    """One row of cost_by_load_measured.csv. Units: 1/s, s, USD per hour (of all GPUs)."""

    config: str
    offered_rps: float
    throughput_rps: float
    tpot_p50_s: float
    tpot_p90_s: float
    ttft_p50_s: float
    ttft_p90_s: float
    answer_p50_s: float
    gpu_cost_usd_per_hour: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What is known of a configuration without measuring it: bytes, bytes/s, FLOP, FLOP/s, of all its GPUs.

    `experts_bytes` are the routed experts', of which `expert_share` serve one token. Step time's physics
    divides terms of different models so that they can be compared: reading weights, multiplying, reading keys
    and values.
    """

    engine: str
    weight_bytes: float
    kv_token_bytes: float
    token_flop: float
    memory_bytes: float
    bandwidth: float
    flops: float
    experts_bytes: float = 0.0
    expert_share: float = 0.0

    @property
    def is_sglang(self) -> bool:
        """Return whether the engine reads prompts first and reserves room for answers."""
        return self.engine == "sglang"


# `sequence_s` of vLLM is beyond what any token costs to multiply: a decoding sequence is a token, too.
VLLM_TERMS = ("base_s", "sequence_s", "prompt_s", "reading_s", "request_s")
SGLANG_TERMS = ("base_s", "sequence_s", "prompt_s", "request_s", "floor_s", "memory_share")
VLLM_MEMORY_SHARE = 0.87
"""gpu_memory_utilization is 0.9 by default; some of it holds activations and recorded graphs."""
SGLANG_MEMORY_SHARE = 0.85
"""mem_fraction_static, chosen by SGLang for a card of this size where nothing else is said (about 0.85)."""
_LEAST_KV_TOKENS = 2000


def terms_of(setting: Setting) -> tuple[str, ...]:
    """Return the names of the terms that are fitted for this engine and kind of model."""
    if setting.is_sglang:
        return SGLANG_TERMS
    return (*VLLM_TERMS, "experts_s") if setting.experts_bytes else VLLM_TERMS


def scale_of(term: str, setting: Setting) -> float:
    """Return what a term is measured in, so that models can be compared: physics where it is known."""
    if term == "prompt_s" and not setting.is_sglang:
        return setting.token_flop / setting.flops
    if term == "experts_s":
        return setting.experts_bytes / setting.bandwidth
    if term == "base_s" and setting.is_sglang:
        return setting.weight_bytes / setting.bandwidth
    return 1.0


def engine_of(setting: Setting, terms: Mapping[str, float]) -> Engine:
    """Return the engine that these terms make of a configuration."""
    share = terms.get("memory_share", VLLM_MEMORY_SHARE)
    room = (share * setting.memory_bytes - setting.weight_bytes) / setting.kv_token_bytes
    clock = LinearClock(
        kv_capacity_tokens=max(int(room), _LEAST_KV_TOKENS),
        base_s=terms["base_s"],
        sequence_s=terms["sequence_s"] + (0.0 if setting.is_sglang else terms["prompt_s"]),
        held_s=setting.kv_token_bytes / setting.bandwidth,
        prompt_s=terms["prompt_s"],
        reading_s=terms.get("reading_s", 0.0),
        experts_s=terms.get("experts_s", 0.0),
        expert_share=setting.expert_share,
        floor_s=terms.get("floor_s", 0.0),
    )
    if setting.is_sglang:
        batching = Batching(prefill_first=True, reserved_output=0.7)
    else:
        batching = Batching(steps_ahead=1)
    return Engine(clock=clock, batching=batching, request_s=terms["request_s"])


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Configuration:
    """A configuration with its rows, in the order of their rates."""

    name: str
    setting: Setting
    rows: tuple[LoadRow, ...]

    def row(self, offered_rps: float) -> LoadRow:
        """Return the row of this rate. Raises: KeyError when there is none."""
        for row in self.rows:
            if row.offered_rps == offered_rps:
                return row
        raise KeyError(f"{self.name} has no row at {offered_rps:g} requests/s")


def configurations(rows: Sequence[LoadRow], settings: Mapping[str, Setting]) -> tuple[Configuration, ...]:
    """Return the rows by configuration. Raises: KeyError for a configuration without a setting."""
    names = sorted({row.config for row in rows})
    return tuple(
        Configuration(
            name=name,
            setting=settings[name],
            rows=tuple(sorted((row for row in rows if row.config == name), key=lambda row: row.offered_rps)),
        )
        for name in names
    )


def unit_draws(rng: np.random.Generator, draws: int) -> tuple[Floats, ...]:
    """Return runs of arrivals at one per second, the wait for the first included: (RUN_REQUESTS,) each."""
    return tuple(poisson_arrivals_s(1.0, RUN_REQUESTS + 1, rng)[1:] for _ in range(draws))


def point_of(row: LoadRow, setting: Setting, draws: Sequence[Floats], *, known: bool) -> LoadPoint:
    """Return the row as runs to simulate.

    vLLM's benchmark stretches its random arrivals so that 500 requests take 500/rate; SGLang's begins with a
    request and does not stretch. Of a `known` row it can be told when the last request came: an answer before
    the end.
    """
    last_s = RUN_REQUESTS / row.throughput_rps - row.answer_p50_s
    arrivals = []
    for draw in draws:
        if setting.is_sglang:
            free = (draw - draw[0]) / row.offered_rps
            arrivals.append(stretched_s(free, last_s) if known else free)
        else:
            arrivals.append(stretched_s(draw, RUN_REQUESTS / row.offered_rps))
    return LoadPoint(
        offered_rps=row.offered_rps,
        prompt_tokens=PROMPT_TOKENS,
        output_tokens=OUTPUT_TOKENS,
        arrivals_s=tuple(arrivals),
        throughput_rps=row.throughput_rps,
        tpot_p50_s=row.tpot_p50_s,
        tpot_p90_s=row.tpot_p90_s,
        ttft_p50_s=row.ttft_p50_s,
        ttft_p90_s=row.ttft_p90_s,
    )


_WEAK = {
    "base_s": (6e-3, 1.0),
    "sequence_s": (30e-6, 1.0),
    "prompt_s": (3.0, 0.7),
    "reading_s": (1e-3, 1.0),
    "request_s": (6e-3, 1.0),
    "experts_s": (1.0, 0.7),
    "floor_s": (10e-3, 1.5),
    "memory_share": (0.6, 0.3),
}
_WEAK_SGLANG = {"base_s": (1.0, 1.0), "sequence_s": (60e-6, 1.0), "prompt_s": (60e-6, 0.7)}
"""Orders of magnitude in units of `scale_of` and their sd, for those that are fitted with all rows."""

_TAUGHT_RPS = (1.0, 10.0, 25.0, 50.0, 200.0)
_SHARES_TRIED = (0.5, 0.72)


def fit_whole(configuration: Configuration, draws: Sequence[Floats]) -> LoadFit:
    """Return the configuration fitted with rows of low and high load: what it teaches about others."""
    setting = configuration.setting
    weak = _WEAK | (_WEAK_SGLANG if setting.is_sglang else {})
    terms = terms_of(setting)
    means = {term: weak[term][0] * scale_of(term, setting) for term in terms}
    if setting.is_sglang:
        means["floor_s"] = configuration.rows[0].tpot_p50_s
        means["memory_share"] = max(means["memory_share"], 1.15 * setting.weight_bytes / setting.memory_bytes)
    beliefs = Beliefs(
        terms=terms,
        log_mean=np.array([log(means[term]) for term in terms]),
        log_sd=np.array([weak[term][1] for term in terms]),
    )
    points = [
        point_of(row, setting, draws, known=row.offered_rps in CALIBRATED_RPS)
        for row in configuration.rows
        if row.offered_rps in _TAUGHT_RPS
    ]
    starts = [{"memory_share": share} for share in _SHARES_TRIED] if setting.is_sglang else []
    return fit_load(points, beliefs, lambda values: engine_of(setting, values), starts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What a configuration that was fitted whole teaches about others: plain values, to be kept.

    `terms` in units of `scale_of`, those alone that its rows told; `log_off` is how far the fitted engine is
    from the rows at `CALIBRATED_RPS`: (2, 5) logarithms, in the order of `NOISE`.
    """

    config: str
    engine: str
    terms: Mapping[str, float]
    log_off: tuple[tuple[float, ...], ...]


_TOLD = 0.7


def lesson_of(configuration: Configuration, draws: Sequence[Floats]) -> Lesson:
    """Return what this configuration teaches."""
    fit, setting = fit_whole(configuration, draws), configuration.setting
    told = np.sqrt(np.diag(fit.log_covariance)) < _TOLD * fit.beliefs.log_sd
    terms = {
        term: value / scale_of(term, setting)
        for (term, value), is_told in zip(fit.terms.items(), told.tolist(), strict=True)
        if is_told
    }
    points = [point_of(configuration.row(rate), setting, draws, known=True) for rate in CALIBRATED_RPS]
    off = [np.log(outcome(fit.engine, point) / point.measured).tolist() for point in points]
    return Lesson(
        config=configuration.name,
        engine=setting.engine,
        terms=terms,
        log_off=tuple(tuple(values) for values in off),
    )


_LEAST_SD = {"base_s": 0.7, "floor_s": 1.5, "reading_s": 0.5, "request_s": 0.3}
_SD_FLOOR = 0.15
_SD_OF_ONE = 0.5


def beliefs_from(lessons: Sequence[Lesson], configuration: Configuration) -> Beliefs:
    """Return what other configurations of the engine let one expect of this one.

    Mean and sd of the logarithms in units of `scale_of`; the sd is that of a new member, never below 15 %,
    and wide for terms that belong to a model (its own first row tells them). Where others' memory could not
    hold this model's weights, the engine's default is taken.
    """
    setting = configuration.setting
    weak = _WEAK | (_WEAK_SGLANG if setting.is_sglang else {})
    terms = terms_of(setting)
    means, sds = [], []
    for term in terms:
        logs = [log(lesson.terms[term]) for lesson in lessons if term in lesson.terms]
        spread = float(np.std(logs, ddof=1)) if len(logs) > 1 else _SD_OF_ONE
        mean = float(np.mean(logs)) if logs else log(weak[term][0])
        sd = max(spread * (1.0 + 1.0 / max(len(logs), 1)) ** 0.5, _LEAST_SD.get(term, _SD_FLOOR))
        if term == "floor_s":
            mean = log(configuration.rows[0].tpot_p50_s)
        if term == "memory_share" and exp(mean) * setting.memory_bytes < setting.weight_bytes:
            mean, sd = log(SGLANG_MEMORY_SHARE), 0.3
        means.append(mean + log(scale_of(term, setting)))
        sds.append(sd)
    return Beliefs(terms=terms, log_mean=np.array(means), log_sd=np.array(sds))


def fit_two(
    configuration: Configuration,
    lessons: Sequence[Lesson],
    draws: Sequence[Floats],
    capacity_row: LoadRow | None = None,
) -> LoadFit:
    """Return the configuration fitted with its rows at 1 and 10 requests/s and what others teach.

    Of `capacity_row` the throughput alone is used. Lessons of the configuration itself and of other engines
    are left out here, so that a caller cannot forget it.
    """
    setting = configuration.setting
    others = [lesson for lesson in lessons if lesson.engine == setting.engine]
    others = [lesson for lesson in others if lesson.config != configuration.name]
    beliefs = beliefs_from(others, configuration)
    rows = [configuration.row(rate) for rate in CALIBRATED_RPS]
    points = [_with_misfit(point_of(row, setting, draws, known=True), others) for row in rows]
    if capacity_row is not None:
        points.append(without_latencies(point_of(capacity_row, setting, draws, known=False)))
    starts = _other_sides(configuration, beliefs) if setting.is_sglang else []
    return fit_load(points, beliefs, lambda values: engine_of(setting, values), starts)


def _with_misfit(point: LoadPoint, others: Sequence[Lesson]) -> LoadPoint:
    """Return the point with how far engines are from such rows of others, and how differently."""
    if len(others) < 2:
        return point
    off = np.array([lesson.log_off[CALIBRATED_RPS.index(point.offered_rps)] for lesson in others])
    sd = np.std(off, axis=0, ddof=1) * (1.0 + 1.0 / len(others)) ** 0.5
    return replace(
        point,
        log_bias=tuple(np.mean(off, axis=0).tolist()),
        log_sd=tuple(np.maximum(sd, point.log_sd).tolist()),
    )


def _other_sides(configuration: Configuration, beliefs: Beliefs) -> list[dict[str, float]]:
    """Return where else to begin: a cache that never fills has no slope, so begin on both sides of its limit.

    The first is the cache that the sequences of the row at 10 requests/s would fill.
    """
    setting, row = configuration.setting, configuration.row(CALIBRATED_RPS[1])
    decoding = row.throughput_rps * OUTPUT_TOKENS * row.tpot_p50_s
    held = decoding * (PROMPT_TOKENS + OUTPUT_TOKENS) * setting.kv_token_bytes
    shares = [(setting.weight_bytes + held) / setting.memory_bytes]
    index = beliefs.terms.index("memory_share")
    for side in (-1.0, 1.0):
        shares.append(exp(float(beliefs.log_mean[index] + side * beliefs.log_sd[index])))
    return [{"memory_share": share} for share in shares]
