"""What one accelerator, or one CPU server, can do at best and what an hour of it costs.

These are limits, not speeds: how far engines stay below them is fitted to measurements elsewhere. A single
"efficiency" here would hide which of arithmetic, memory and links is the one that binds.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from difflib import get_close_matches

from msgspec import Struct

from entrepot.domain.errors import ConfigError
from entrepot.tokenomics.precision import computed_in

TIERS = ("own_hyperscaler", "own_neocloud", "rental")
"""Who pays for the hour: owners with cheap or dear capital, or whoever rents it for years."""


class Hardware(Struct, frozen=True, kw_only=True):
    """One device of a kind. A CPU server counts as one device.

    Units: `peak_flops` FLOP/s without sparsity, by the precision that is computed in; `memory_bytes` bytes;
    bandwidths bytes/s, those of links per device and in one direction; `domain_gpus` devices that the fast
    link joins, and `node_link_bytes_per_s` the link between such domains; `power_kw` kW per device with its
    share of server, network and cooling; `usd_per_hour` USD per device and hour, by tier. `derived` and
    `assumed` name the fields, as `power_kw` or `usd_per_hour.rental`, that no source states.
    """

    name: str
    peak_flops: Mapping[str, float]
    memory_bytes: float
    bandwidth_bytes_per_s: float
    link_bytes_per_s: float
    domain_gpus: int
    node_link_bytes_per_s: float
    power_kw: float
    usd_per_hour: Mapping[str, float]
    source: str
    date: date
    aliases: tuple[str, ...] = ()
    derived: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()

    def peak(self, precision: str) -> float:
        """Return the FLOP/s at best with weights of that precision.

        What the device does not compute in is widened to what it does: fp4 and int4 on Hopper to bf16. Where
        both are possible the faster counts: int8 on B300 is slower than bf16.

        Raises: ConfigError when no precision is called so, or the device computes in nothing as wide.
        """
        rates = [self.peak_flops[name] for name in computed_in(precision) if name in self.peak_flops]
        if not rates:
            has, wanted = ", ".join(self.peak_flops), " or ".join(computed_in(precision))
            raise ConfigError((f"{self.name} has no peak for {precision}: add {wanted}; it has {has}",))
        return max(rates)

    def hour_usd(self, tier: str) -> float:
        """Return the USD that an hour of one device costs.

        Raises: ConfigError when the device has no price for the tier.
        """
        if tier not in self.usd_per_hour:
            near = get_close_matches(tier, self.usd_per_hour, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(self.usd_per_hour)}"
            raise ConfigError((f"{self.name} has no price for the tier {tier!r}; {hint}",))
        return self.usd_per_hour[tier]

    def basis(self, field: str) -> str:
        """Return how a field is known: `published`, `derived` or `assumed`."""
        if field in self.assumed:
            return "assumed"
        return "derived" if field in self.derived else "published"
