"""One measurement of a serving configuration, in the words of the planner: what step times are fitted to."""

from __future__ import annotations

from msgspec import Struct

from entrepot.tokenomics.architecture import Architecture
from entrepot.tokenomics.deployment import Deployment


class MeasuredPoint(Struct, frozen=True, kw_only=True):
    """A deployment under a closed loop of `concurrency` requests, and the mean times that were measured.

    Units: `prompt_tokens`, `output_tokens` mean tokens of a request; `ttft_s`, `tpot_s` seconds. `workers`
    is how many decode workers shared the requests, `prefill` one prefill worker and `prefill_workers` their
    number where the deployment is split; `assumed` names what the record does not say and was assumed.
    `measured_on` is a date.
    """

    id: str
    deployment: Deployment
    concurrency: float
    prompt_tokens: float
    output_tokens: float
    ttft_s: float
    tpot_s: float
    workers: int = 1
    prefill: Deployment | None = None
    prefill_workers: int = 0
    measured_on: str = ""
    assumed: tuple[str, ...] = ()

    @property
    def is_split(self) -> bool:
        """Whether prompts are read by other workers."""
        return self.deployment.mode != "agg"


def shape_key(shape: Architecture) -> str:
    """Return the same text for models of one shape, whatever their names: fine-tunes and renamed ones."""
    return f"{shape.layers}x{shape.hidden}h{shape.heads}e{shape.experts}"
