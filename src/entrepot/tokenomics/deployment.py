"""What is deployed: a model on devices in a layout, and whether it fits in their memory.

One value for what a host chooses, so that every function of the planner takes the same thing. Layouts are
tensor (tp), pipeline (pp) and attention-data (dp) sizes, whose product is the number of GPUs; experts are
spread over all GPUs of a stage, whole ones with `ep` > 1 and slices of each otherwise. Replicas of all that
are not here: a fleet multiplies.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from entrepot.tokenomics.architecture import Architecture
from entrepot.tokenomics.hardware import Hardware
from entrepot.tokenomics.precision import bytes_per_value, precision_name

TYPICAL = "typical"
"""A backend that nothing is known about: the mean of those that were measured."""

RESERVED_BYTES = 3e9
"""Activations, graphs, NCCL, context: 0.5 to 4 GB (aiconfigurator-core 0.12.0, `misc` of its systems)."""
MEMORY_UTILISATION = 0.9  # the default of vLLM; SGLang's and TensorRT-LLM's are within 0.05 of it
REFERENCE_CONTEXT = 4096  # of what a token of cache takes, where windows make that depend on the context
_NARROWER = ("fp8", "fp4", "int4")
_MOST_GPUS = 1024
_HALF_WIDTH = 2.0  # bytes; what is narrower is quantised
_ONLY_EXPERTS = {"mxfp4": "bf16", "int4": "bf16", "fp4": "fp8", "nvfp4": "fp8"}
"""What checkpoints of mixtures keep the rest in, where only routed experts are quantised: gpt-oss and Kimi
K2.5 in 16 bits; NVFP4 checkpoints of NVIDIA in 16 or 8."""


class Deployment(Struct, frozen=True, kw_only=True):
    """One replica of a model on devices.

    Units: `tp`, `pp`, `dp`, `ep` GPUs; `memory_utilisation` part of the memory that an engine may fill;
    `tokens_per_step` tokens that a sequence gains in a step, above 1 with speculative decoding (the length
    that is accepted, with the token that is always right). `precision` is that of weights, of routed experts
    alone if `others_precision` says what the rest has. Empty texts mean the usual: of `kv_precision`, what
    the backend takes by default; of `backend_version`, any. `mode` is `agg` (one engine reads and answers),
    `decode` or `prefill` (workers of a split deployment).

    `hides_exchange`: two micro-batches in turn, and while one decodes the other's tokens travel to their
    experts (DeepSeek-V3 report §3.2 and §3.4; open-infra-index, day 6). An assumption that nothing was fitted
    to: the exchange of decoding then takes no time, since by the fitted parts it is shorter than the rest of
    the step, and neither does reading weights once more. That of prompts counts whole: by the same parts it
    is longer, between nodes, than what could hide it, and with it DeepSeek's prefill, which hides what it
    can, comes out within 2 %.
    """

    architecture: Architecture
    hardware: Hardware
    backend: str = TYPICAL
    backend_version: str = ""
    precision: str = "fp8"
    others_precision: str = ""
    kv_precision: str = ""
    tp: int = 1
    pp: int = 1
    dp: int = 1
    ep: int = 1
    mode: str = "agg"
    memory_utilisation: float = MEMORY_UTILISATION
    tokens_per_step: float = 1.0
    hides_exchange: bool = False

    @property
    def gpus(self) -> int:
        """The devices of one replica."""
        return self.tp * self.pp * self.dp

    @property
    def exchanges(self) -> bool:
        """Whether tokens travel to their experts: within one attention group all devices have them."""
        return self.dp > 1 and self.architecture.experts > 0

    @property
    def fixed_precision(self) -> str:
        """The precision of all weights but those of routed experts."""
        if self.others_precision:
            return self.others_precision
        if self.architecture.experts:
            return _ONLY_EXPERTS.get(precision_name(self.precision), self.precision)
        return self.precision

    @property
    def cache_precision(self) -> str:
        """The precision of the cache: of the backend by default.

        vLLM and SGLang keep it in 16 bits unless told otherwise, TensorRT-LLM in 8 when weights are
        quantised.
        """
        if self.kv_precision:
            return self.kv_precision
        quantised = bytes_per_value(self.precision) < _HALF_WIDTH
        return "fp8" if self.backend == "trtllm" and quantised else "bf16"

    @property
    def kv_shards(self) -> int:
        """Into how many parts the cache of a sequence is split; the latent of MLA is copied over `tp`."""
        return min(self.tp, self.architecture.kv_heads_shared) * self.pp

    @property
    def weight_bytes_per_gpu(self) -> float:
        """The bytes of weights on each device: attention is copied over `dp`, experts are not."""
        shape = self.architecture
        experts = shape.routed_parameters * bytes_per_value(self.precision) / self.gpus
        rest = shape.total_parameters - shape.routed_parameters
        return experts + rest * bytes_per_value(self.fixed_precision) / (self.tp * self.pp)

    @property
    def free_bytes_per_gpu(self) -> float:
        """The bytes that weights and what the engine needs leave for cache; negative when they do not fit."""
        usable = self.hardware.memory_bytes * self.memory_utilisation
        return usable - self.weight_bytes_per_gpu - RESERVED_BYTES

    def kv_bytes_per_gpu(self, context: int) -> float:
        """Return the bytes on one device of the cache and states of a sequence of `context` tokens."""
        shape = self.architecture
        cache = shape.kv_bytes(context, self.cache_precision) / self.kv_shards
        return cache + shape.state_bytes / (self.tp * self.pp)

    def kv_capacity(self, context: int) -> int:
        """Return how many tokens fit in the cache when sequences have `context` tokens each."""
        per_token = self.kv_bytes_per_gpu(context) / context
        return max(0, int(self.free_bytes_per_gpu / per_token)) * self.dp

    @property
    def kv_capacity_tokens(self) -> int:
        """How many tokens fit in the cache of the replica, in sequences of 4,096 tokens."""
        return self.kv_capacity(REFERENCE_CONTEXT)


class PlanRefusal(Struct, frozen=True):
    """Why a plan is impossible, and the nearest that is possible: None when nothing near is."""

    reason: str
    nearest: Deployment | None = None


def refuse_memory(deployment: Deployment, *, context: int = REFERENCE_CONTEXT) -> PlanRefusal | None:
    """Return why the deployment cannot hold one sequence of `context` tokens per attention group, or None."""
    if _holds(deployment, context):
        return None
    nearest = _nearest(deployment, context)
    gigabytes = (
        deployment.weight_bytes_per_gpu + RESERVED_BYTES + deployment.kv_bytes_per_gpu(context)
    ) / 1e9
    usable = deployment.hardware.memory_bytes * deployment.memory_utilisation / 1e9
    reason = (
        f"{deployment.architecture.name} at {deployment.precision} with one sequence of {context} tokens "
        f"takes {gigabytes:.0f} GB on each of {deployment.gpus} {deployment.hardware.name}, "
        f"which have {usable:.0f} GB usable; {_advice(deployment, nearest)}"
    )
    return PlanRefusal(reason, nearest)


def _holds(deployment: Deployment, context: int) -> bool:
    return deployment.free_bytes_per_gpu >= deployment.kv_bytes_per_gpu(context)


def _nearest(deployment: Deployment, context: int) -> Deployment | None:
    """Return the same on more devices, or at a lower precision: what takes fewer devices."""
    found = []
    for precision in (deployment.precision, *_narrower(deployment.precision)):
        plan = replace(deployment, precision=precision, others_precision="")
        if precision == deployment.precision:
            plan = deployment
        while not _holds(plan, context) and plan.gpus <= _MOST_GPUS // 2:
            plan = replace(plan, tp=plan.tp * 2, ep=plan.ep * 2 if plan.ep > 1 else 1)
        if _holds(plan, context):
            found.append(plan)
    return min(found, key=lambda plan: plan.gpus, default=None)


def _narrower(precision: str) -> tuple[str, ...]:
    width = bytes_per_value(precision)
    return tuple(name for name in _NARROWER if bytes_per_value(name) < width)


def _advice(deployment: Deployment, nearest: Deployment | None) -> str:
    if nearest is None:
        return f"nothing up to {_MOST_GPUS} of them holds it: take another device or a smaller model"
    changes = []
    if nearest.gpus != deployment.gpus:
        changes.append(f"{nearest.gpus} devices (tp={nearest.tp})")
    if nearest.precision != deployment.precision:
        changes.append(f"weights at {nearest.precision}")
    return "nearest that fits: " + " and ".join(changes)
