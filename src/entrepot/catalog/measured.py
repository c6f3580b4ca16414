"""Reads what others measured and published of serving, row by row, for fitting and for comparison.

Rows are as their sources have them: doubtful ones too, since what is doubtful is a judgement of whoever fits.
`data/tokenomics/README.md` says what is known about them. Only units are ours: seconds, never milliseconds.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from msgspec import Struct, ValidationError, convert
from msgspec.structs import fields

from entrepot.catalog.data_files import data_path
from entrepot.domain.errors import DataError

R = TypeVar("R")

_S_PER_MS = 1e-3
_GZIP = b"\x1f\x8b"  # how such files begin, whatever they are called
_PERCENTILES = ("mean", "p50", "p90", "p99")
_SILICON = "tokenomics/silicon_measured.csv.gz"
_COST_BY_LOAD = "tokenomics/cost_by_load_measured.csv"
_CONTEXT = "tokenomics/context_position_h200.csv"
_PUBLISHED = "market/published_points.csv"


class SiliconRow(Struct, frozen=True, kw_only=True):
    """One measured configuration of an engine; None is an empty cell.

    Units: `isl`, `osl` tokens, of which requests drew 0.8 to 1.0; `ttft_s`, `tpot_s` mean seconds;
    `concurrency` requests at once in the whole deployment; sizes of parallelism in GPUs, as the source has
    them (some dumps multiply them). `mode` is `agg`, or `disagg`, which fills those of prefill and decode.
    """

    id: str
    concurrency: int | None = None
    measured_on: str | None = None
    backend: str
    backend_version: str | None = None
    model_path: str
    system: str
    precision: str | None = None
    mode: str
    isl: int
    osl: int
    gemm_quant_mode: str | None = None
    moe_quant_mode: str | None = None
    batch_size: int | None = None
    tp_size: int | None = None
    pp_size: int | None = None
    attention_dp_size: int | None = None
    moe_tp_size: int | None = None
    moe_ep_size: int | None = None
    prefill_batch_size: int | None = None
    prefill_num_workers: int | None = None
    prefill_tp_size: int | None = None
    prefill_pp_size: int | None = None
    prefill_attention_dp_size: int | None = None
    prefill_moe_tp_size: int | None = None
    prefill_moe_ep_size: int | None = None
    decode_batch_size: int | None = None
    decode_num_workers: int | None = None
    decode_tp_size: int | None = None
    decode_pp_size: int | None = None
    decode_attention_dp_size: int | None = None
    decode_moe_tp_size: int | None = None
    decode_moe_ep_size: int | None = None
    ttft_s: float
    tpot_s: float


class CostByLoadRow(Struct, frozen=True, kw_only=True):
    """One engine under an offered load of 512 tokens in and 256 out; None is an empty cell.

    Units: `offered_per_s`, `requests_per_s` requests/s; `output_tokens_per_s` tokens/s of all GPUs; times
    seconds; `gpu_util_pct` percent; `gpu_power_w` W; `gpu_usd_per_hour` USD of all GPUs; the two costs USD
    per million output tokens, at this load and at the best; `underutil_penalty` their ratio.
    """

    config: str
    engine: str
    model: str
    architecture: str
    active_params: str
    precision: str
    hardware: str
    gpus: int
    offered_per_s: float
    requests_per_s: float
    output_tokens_per_s: float
    ttft_mean_s: float
    ttft_p50_s: float
    ttft_p90_s: float
    ttft_p99_s: float
    answer_p50_s: float
    answer_p90_s: float
    answer_p99_s: float
    tpot_p50_s: float
    tpot_p90_s: float
    gpu_util_pct: float | None = None
    gpu_power_w: float | None = None
    gpu_usd_per_hour: float
    cost_usd_per_mtok: float
    best_cost_usd_per_mtok: float
    underutil_penalty: float


class ContextRow(Struct, frozen=True, kw_only=True):
    """Throughput of a model on 8×H200 at one length of prompt and one concurrency.

    Units: `isl`, `osl` tokens; `concurrency` requests at once; rates per second of all GPUs; times seconds;
    `measured_at` as YYYYMMDD-HHMMSS.
    """

    config: str
    isl: int
    osl: int
    concurrency: int
    model: str
    measured_at: str
    requests_per_s: float
    input_tokens_per_s: float
    output_tokens_per_s: float
    ttft_p50_s: float
    ttft_p99_s: float
    tpot_p50_s: float
    tpot_p99_s: float
    answer_p50_s: float


class PublishedPoint(Struct, frozen=True, kw_only=True):
    """One figure that was published about a named system; None is an empty cell.

    Units: `isl`, `osl` tokens; `ttft_s`, `tpot_s` seconds; `tokens_per_s_user` tokens/s of one user; other
    rates tokens/s per GPU (per node where `gpus` is 0, a CPU); prices USD. `as_published` holds the cells
    that are no single number, a range or several, under their name here and in the unit of the file.
    """

    id: str
    model: str
    hardware: str
    gpus: int | None = None
    engine: str | None = None
    precision: str | None = None
    parallelism: str | None = None
    isl: int | None = None
    osl: int | None = None
    load: str
    ttft_s: float | None = None
    tpot_s: float | None = None
    tokens_per_s_user: float | None = None
    output_tokens_per_s_gpu: float | None = None
    input_tokens_per_s_gpu: float | None = None
    usd_per_gpu_hour: float | None = None
    usd_per_mtok: float | None = None
    kind: str
    source: str
    notes: str | None = None
    as_published: dict[str, str] = {}


_RENAMED: Mapping[str, Mapping[str, str]] = {
    _SILICON: {"silicon_ttft_ms": "ttft_s", "silicon_tpot_ms": "tpot_s"},
    _COST_BY_LOAD: {
        "rps": "offered_per_s",
        "request_throughput": "requests_per_s",
        "tps_output": "output_tokens_per_s",
        "gpu_cost_hr": "gpu_usd_per_hour",
        "c_eff_per_mtok": "cost_usd_per_mtok",
        "c_naive_per_mtok": "best_cost_usd_per_mtok",
        **{f"{what}_{at}_ms": f"{what}_{at}_s" for what in ("ttft", "tpot") for at in _PERCENTILES},
        **{f"e2el_{at}_ms": f"answer_{at}_s" for at in _PERCENTILES},
    },
    _CONTEXT: {
        "conc": "concurrency",
        "date": "measured_at",
        "req_s": "requests_per_s",
        "in_tok_s": "input_tokens_per_s",
        "out_tok_s": "output_tokens_per_s",
        "median_ttft_s": "ttft_p50_s",
        "p99_ttft_s": "ttft_p99_s",
        "median_tpot_s": "tpot_p50_s",
        "p99_tpot_s": "tpot_p99_s",
        "median_e2el_s": "answer_p50_s",
    },
    _PUBLISHED: {
        "ttft_ms": "ttft_s",
        "tpot_ms": "tpot_s",
        "tok_s_user": "tokens_per_s_user",
        "out_tok_s_gpu": "output_tokens_per_s_gpu",
        "in_tok_s_gpu": "input_tokens_per_s_gpu",
        "usd_per_gpu_hr": "usd_per_gpu_hour",
    },
}
"""Columns that are called otherwise here; one in milliseconds becomes one in seconds."""


def silicon_rows(path: Path | None = None) -> tuple[SiliconRow, ...]:
    """Return the 3,347 measured configurations of aiconfigurator, or those of a file with its columns.

    Raises: DataError when the file cannot be read, or a row of it is not of the form.
    """
    name = _SILICON if path is None else str(path)
    rows = tuple(_typed(name, cells, SiliconRow) for cells in _rows(_SILICON, path))
    if not rows:
        raise DataError(f"{name}: holds no row; expected a header as that of {_SILICON} and rows below it")
    return rows


def cost_by_load_rows() -> tuple[CostByLoadRow, ...]:
    """Return the 70 measurements of an engine under offered load of vllm-cost-meter.

    Raises: DataError when the file is damaged.
    """
    return tuple(_typed(_COST_BY_LOAD, cells, CostByLoadRow) for cells in _rows(_COST_BY_LOAD))


def context_rows() -> tuple[ContextRow, ...]:
    """Return the 169 measurements by length of prompt of InferenceX.

    Raises: DataError when the file is damaged.
    """
    return tuple(_typed(_CONTEXT, cells, ContextRow) for cells in _rows(_CONTEXT))


def published_points() -> tuple[PublishedPoint, ...]:
    """Return the 42 figures that were published about named systems.

    Raises: DataError when the file is damaged.
    """
    numeric = {field.name for field in fields(PublishedPoint) if field.type in (int | None, float | None)}
    points = []
    for cells in _rows(_PUBLISHED):
        texts = {name: cells[name] for name in numeric & cells.keys() if not _is_number(cells[name])}
        rest = {name: cell for name, cell in cells.items() if name not in texts}
        points.append(_typed(_PUBLISHED, {**rest, "as_published": texts}, PublishedPoint))
    return tuple(points)


def _rows(name: str, path: Path | None = None) -> Iterator[dict[str, object]]:
    """Yield the cells that are not empty, under our names and in seconds; texts are left as they are.

    With a `path` the file there is read, whose columns are those of `name`.
    """
    try:
        raw = (path or data_path(name)).read_bytes()
        text = (gzip.decompress(raw) if raw.startswith(_GZIP) else raw).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(f"{path or name}: cannot be read: {error}") from None
    renamed = _RENAMED[name]
    for row in csv.DictReader(io.StringIO(text, newline="")):
        yield {
            renamed.get(column, column): _in_seconds(cell) if column.endswith("_ms") else cell
            for column, cell in row.items()
            if cell and column  # cells beyond the header have no column
        }


def _in_seconds(cell: str) -> float | str:
    return float(cell) * _S_PER_MS if _is_number(cell) else cell


def _is_number(cell: object) -> bool:
    if isinstance(cell, float):
        return True
    try:
        float(str(cell))
    except ValueError:
        return False
    return True


def _typed(name: str, cells: Mapping[str, object], kind: type[R]) -> R:
    try:
        return convert(cells, kind, strict=False)
    except ValidationError as error:
        raise DataError(f"{name}: {cells.get('id', cells)}: {error}") from None
