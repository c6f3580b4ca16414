"""Turns rows of silicon_measured.csv into measurements of deployments, with their known mistakes put right.

Here and not in the reader, which keeps rows as their source has them; and not in the fit, which knows
nothing of one file's habits. What the rows mean, and how that was found, is told in
data/tokenomics/README.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import cache

from entrepot.catalog.architectures import find_architecture
from entrepot.catalog.hardware import find_hardware
from entrepot.catalog.measured import SiliconRow
from entrepot.domain.errors import ConfigError
from entrepot.tokenomics.architecture import Architecture
from entrepot.tokenomics.deployment import Deployment, refuse_memory
from entrepot.tokenomics.hardware import Hardware
from entrepot.tokenomics.measured_point import MeasuredPoint, shape_key

MEAN_DRAW = 0.9  # lengths are drawn from 0.8 to 1.0 of isl and osl
_MULTIPLIED = ("2026-04-06", "2026-04-27")  # dumps whose tp or dp is a product with ep
_SAME = 0.002  # repeated records agree to this part in TPOT; printed digits differ
_SPLIT_SIZE = 12  # "aggregated" GB200 rows on at least as many GPUs are split ones
_QUANTISED = {
    "fp8": "fp8",
    "fp8_block": "fp8",
    "nvfp4": "fp4",
    "bfloat16": "bf16",
    "float16": "bf16",
}
_BUSY = 16  # requests per GPU above which split deployments use attention data parallelism
_WORKERS_WHEN_QUIET = 4


def measured_points(rows: Iterable[SiliconRow]) -> tuple[MeasuredPoint, ...]:
    """Return the rows as measurements, those without a concurrency left out.

    A split row without its number of workers takes it from a row of the same measurement that has it, else
    it is assumed and says so.
    """
    known: dict[tuple[object, ...], list[MeasuredPoint]] = {}
    points = []
    pending = []
    for row in rows:
        if row.mode == "agg":
            if row.concurrency and not _looks_split(row):
                points.append(_whole(row))
            elif row.concurrency:
                pending.append(row)
        elif row.decode_num_workers and row.concurrency:
            point = _split(row)
            known.setdefault(_key(point), []).append(point)
            points.append(point)
        else:
            pending.append(row)
    points += [_assumed(row, known) for row in pending if row.concurrency]
    return tuple(points)


def answerable(rows: Iterable[SiliconRow]) -> tuple[tuple[MeasuredPoint, ...], dict[str, int]]:
    """Return the rows that can be predicted as measurements, and how many cannot, by reason.

    Models and devices that nobody described have no prediction; nor has what does not say how many requests
    were at once, cannot fit in memory, or was measured to take no time.
    """
    reasons: Counter[str] = Counter()
    usable = []
    for row in rows:
        reason = _unanswerable(row)
        if reason is None:
            usable.append(row)
        else:
            reasons[reason] += 1
    points = measured_points(usable)
    possible = tuple(point for point in points if refuse_memory(point.deployment) is None)
    if len(possible) < len(points):
        reasons["does not fit in memory"] = len(points) - len(possible)
    return possible, dict(reasons)


def _unanswerable(row: SiliconRow) -> str | None:
    try:
        _shape(row.model_path)
    except ConfigError:
        return f"no architecture of {row.model_path}"
    try:
        _device(row.system)
    except ConfigError:
        return f"no hardware {row.system}"
    if not row.concurrency or row.concurrency < 1:
        return "no concurrency"
    if not (row.tpot_s > 0 and row.ttft_s > 0 and row.isl > 0 and row.osl > 0):
        return "lengths or times are not above 0"
    return None


def _looks_split(row: SiliconRow) -> bool:
    return row.system == "gb200" and (row.tp_size or 1) >= _SPLIT_SIZE and row.measured_on == _MULTIPLIED[0]


def _key(point: MeasuredPoint) -> tuple[object, ...]:
    plan = point.deployment
    return (
        plan.hardware.name,
        shape_key(plan.architecture),
        plan.backend,
        point.prompt_tokens,
        point.output_tokens,
        point.concurrency,
    )


def _whole(row: SiliconRow) -> MeasuredPoint:
    tp, dp, ep = _layout(row)
    return _point(row, _deployment(row, tp=tp, dp=dp, ep=ep, pp=row.pp_size or 1))


def _layout(row: SiliconRow) -> tuple[int, int, int]:
    """Return tp, dp, ep of an aggregated row: some dumps give products of them."""
    tp, dp, ep = (max(size or 1, 1) for size in (row.tp_size, row.attention_dp_size, row.moe_ep_size))
    if row.measured_on in _MULTIPLIED and ep > 1:
        if tp > 1 and dp == 1:
            tp //= ep
        elif tp == 1 and dp > 1:
            dp //= ep
        elif tp > 1 and dp > 1:
            ep, dp = ep // dp, 1
    return max(tp, 1), max(dp, 1), max(ep, 1)


def _split(row: SiliconRow) -> MeasuredPoint:
    decode = _deployment(
        row,
        mode="decode",
        tp=row.decode_tp_size or 1,
        pp=row.decode_pp_size or 1,
        dp=row.decode_attention_dp_size or 1,
        ep=row.decode_moe_ep_size or 1,
    )
    prefill = _deployment(
        row,
        mode="prefill",
        tp=row.prefill_tp_size or 1,
        pp=row.prefill_pp_size or 1,
        dp=row.prefill_attention_dp_size or 1,
        ep=row.prefill_moe_ep_size or 1,
    )
    return _point(
        row,
        decode,
        workers=row.decode_num_workers or 1,
        prefill=prefill,
        prefill_workers=row.prefill_num_workers or 1,
    )


def _assumed(row: SiliconRow, known: dict[tuple[object, ...], list[MeasuredPoint]]) -> MeasuredPoint:
    plan = _assumed_layout(row)
    busy = plan.dp > 1
    workers = 1 if busy or plan.gpus > 8 else min(_WORKERS_WHEN_QUIET, row.concurrency or 1)
    guess = _point(row, plan, workers=workers, assumed=("decode workers", "attention data parallelism"))
    for twin in known.get(_key(guess), ()):
        if abs(twin.tpot_s / guess.tpot_s - 1.0) < _SAME:
            return _point(
                row,
                twin.deployment,
                workers=twin.workers,
                prefill=twin.prefill,
                prefill_workers=twin.prefill_workers,
            )
    return guess


def _assumed_layout(row: SiliconRow) -> Deployment:
    """Return the decode worker of a row that gives its GPUs at most, not how attention uses them."""
    sizes = (row.decode_tp_size or row.tp_size, row.decode_attention_dp_size or row.attention_dp_size)
    gpus = max(*(size or 1 for size in sizes), 1)
    ep = row.decode_moe_ep_size or row.moe_ep_size or 1
    plan = _deployment(row, mode="decode", tp=gpus, dp=1, ep=ep)
    refusal = refuse_memory(plan)
    gpus = refusal.nearest.gpus if refusal and refusal.nearest else gpus
    busy = (row.concurrency or 0) > _BUSY * gpus
    return _deployment(row, mode="decode", tp=1 if busy else gpus, dp=gpus if busy else 1, ep=ep)


def _point(
    row: SiliconRow,
    deployment: Deployment,
    *,
    workers: int = 1,
    prefill: Deployment | None = None,
    prefill_workers: int = 0,
    assumed: tuple[str, ...] = (),
) -> MeasuredPoint:
    return MeasuredPoint(
        id=row.id,
        deployment=deployment,
        concurrency=float(row.concurrency or 1),
        prompt_tokens=MEAN_DRAW * row.isl,
        output_tokens=MEAN_DRAW * row.osl,
        ttft_s=row.ttft_s,
        tpot_s=row.tpot_s,
        workers=workers,
        prefill=prefill,
        prefill_workers=prefill_workers,
        measured_on=row.measured_on or "",
        assumed=assumed,
    )


def _deployment(row: SiliconRow, *, mode: str = "agg", tp: int, dp: int, ep: int, pp: int = 1) -> Deployment:
    precision = _precision(row)
    if "gpt-oss" in row.model_path and precision == "fp4":
        precision = "mxfp4"  # as it is published, on every engine
    return Deployment(
        architecture=_shape(row.model_path),
        hardware=_device(row.system),
        backend=row.backend,
        backend_version=row.backend_version or "",
        precision=precision,
        tp=tp,
        pp=pp,
        dp=dp,
        ep=ep,
        mode=mode,
    )


def _precision(row: SiliconRow) -> str:
    if row.precision:
        return row.precision
    told = "fp8" if "FP8" in row.model_path else "fp4" if "NVFP4" in row.model_path else "bf16"
    return _QUANTISED.get(row.gemm_quant_mode or "", told)


@cache
def _shape(name: str) -> Architecture:
    return find_architecture(name).architecture


@cache
def _device(name: str) -> Hardware:
    return find_hardware(name)
