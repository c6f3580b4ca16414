"""Turns published points into deployments: how throughput falls with context, and DeepSeek's fleet."""

from __future__ import annotations

import re
from collections.abc import Iterable

from entrepot.catalog.architectures import find_architecture
from entrepot.catalog.hardware import find_hardware
from entrepot.catalog.measured import PublishedPoint
from entrepot.tokenomics.deployment import Deployment
from entrepot.tokenomics.validation.published import ThroughputRow

_SHAPES = {"DeepSeek-R1-0528": "deepseek-ai/DeepSeek-R1"}
_LAYOUT = re.compile(r"(TP|DEP)(\d+)")


def throughput_rows(points: Iterable[PublishedPoint]) -> tuple[ThroughputRow, ...]:
    """Return the rows of TensorRT-LLM's throughput with all requests queued.

    DEPn is attention data parallelism with whole experts over n GPUs. gpt-oss is labelled by the precision
    of its activations; its weights are mxfp4.
    """
    return tuple(_row(point) for point in points if point.id.startswith("TRT-"))


def deepseek_fleet() -> tuple[Deployment, Deployment]:
    """Return the prefill and the decode deployment of DeepSeek's own service (open-infra-index, day 6)."""
    shape = find_architecture("deepseek-ai/DeepSeek-R1").architecture
    device = find_hardware("h800")
    prefill, decode = (
        Deployment(architecture=shape, hardware=device, dp=gpus, ep=gpus, mode=mode)
        for gpus, mode in ((32, "prefill"), (144, "decode"))
    )
    return prefill, decode


def _row(point: PublishedPoint) -> ThroughputRow:
    layout = _LAYOUT.match(point.parallelism or "")
    kind, size = (layout[1], int(layout[2])) if layout else ("TP", point.gpus or 1)
    groups = size if kind == "DEP" else 1
    return ThroughputRow(
        deployment=Deployment(
            architecture=find_architecture(_SHAPES.get(point.model, point.model)).architecture,
            hardware=find_hardware(point.hardware),
            backend="trtllm",
            precision="mxfp4" if point.model.startswith("gpt-oss") else (point.precision or "fp8").lower(),
            kv_precision="fp8",
            tp=size // groups,
            dp=groups,
            ep=groups,
        ),
        prompt_tokens=float(point.isl or 0),
        output_tokens=float(point.osl or 0),
        output_tokens_per_s_gpu=point.output_tokens_per_s_gpu or 0.0,
    )
