"""What several commands of `entrepot plan` ask for: a model on hardware, sizes of requests, an SLO."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated

import typer
from msgspec.structs import replace

from entrepot.catalog.architectures import find_architecture
from entrepot.catalog.hardware import find_hardware, load_hardware
from entrepot.catalog.step_times import load_step_times
from entrepot.domain.errors import ConfigError
from entrepot.tokenomics.deployment import TYPICAL, Deployment
from entrepot.tokenomics.deployment_offer import DeploymentOffer
from entrepot.tokenomics.hardware import TIERS, Hardware
from entrepot.tokenomics.load import RequestClass
from entrepot.tokenomics.split_offer import SplitOffer

DEFAULT_REQUEST = "1024:512"
USUAL_LAYOUTS = ("tp1", "tp2", "tp4", "tp8")
MIXTURE_LAYOUTS = ("tp4_ep4", "tp8_ep8", "dp8_ep8", "dp16_ep16", "dp32_ep32")
_REQUEST = re.compile(r"(?P<uncached>\d+)(\+(?P<cached>\d+))?:(?P<output>\d+)(@(?P<share>[\d.]+))?")
_SIZE = re.compile(r"(tp|pp|dp|ep)(\d+)")
_WORKERS = re.compile(r"((?P<count>[1-9]\d*)[x×])?(?P<layout>[^x×+]+)")
_EIGHT_BITS = ("fp8", "int8")
_MOST_GPUS = 1024  # of a size or of workers of a kind: beyond are mistypings, and minutes of simulation
_MOST_TOKENS = 100_000_000  # of a part of a request, as in a trace

Model = Annotated[str, typer.Option(help="A model by its name, or the path of a config.json.")]
Gpu = Annotated[str, typer.Option(help="Hardware by its name.")]
Gpus = Annotated[list[str], typer.Option("--gpu", help="Hardware by its name; may be repeated.")]
HardwareFile = Annotated[
    Path | None, typer.Option("--hardware", help="A TOML file of hardware and prices of your own.")
]
Backend = Annotated[str, typer.Option(help="vllm, sglang or trtllm; the mean of them unless given.")]
Precision = Annotated[
    str | None,
    typer.Option(
        help="Of the weights; unless given that of a config.json which is quantised, else fp8 where the "
        "hardware has it, else bf16."
    ),
]
PlannedOffer = DeploymentOffer | SplitOffer
"""A deployment that reads and answers, or workers that read and others that answer."""

_SPLIT_HELP = "2xtp8+1xdp16_ep16 are two workers of tp8 that read prompts and one of dp16 ep16 that answers"
Layout = Annotated[
    str, typer.Option(help=f"Sizes of parallelism: tp8, tp8_ep8, dp16_ep16, tp8_pp2. {_SPLIT_HELP}.")
]
Layouts = Annotated[
    list[str] | None,
    typer.Option(
        "--layout",
        help=f"Sizes of parallelism, such as tp8 or dp16_ep16; {_SPLIT_HELP}. May be repeated; the usual "
        "ones of one engine unless given.",
    ),
]
HideExchange = Annotated[
    bool,
    typer.Option(
        "--hide-exchange",
        help="Assume that tokens that are decoded travel to their experts while another micro-batch "
        "computes, and take no time. An assumption: nothing was fitted to it. Prompts still do.",
    ),
]
Tier = Annotated[str, typer.Option(help=f"Who pays for the hardware: {', '.join(TIERS)}.")]
Requests = Annotated[
    list[str] | None,
    typer.Option(
        "--request",
        help="Tokens of a request, UNCACHED[+CACHED]:OUTPUT[@SHARE]; may be repeated. "
        f"{DEFAULT_REQUEST} unless given.",
    ),
]
Ttft = Annotated[float | None, typer.Option("--ttft-s", min=0, help="The most seconds to the first token.")]
Speed = Annotated[
    float | None, typer.Option("--tokens-per-s", min=0, help="The least tokens per second of a user.")
]
Answer = Annotated[float | None, typer.Option("--answer-s", min=0, help="The most seconds of an answer.")]
Context = Annotated[float | None, typer.Option("--context", min=1, help="The least tokens of context.")]
Cautious = Annotated[
    bool, typer.Option("--cautious", help="Limits have to hold at the upper ends of the intervals.")
]
Accepted = Annotated[
    float,
    typer.Option(
        "--tokens-per-step",
        min=1,
        help="Speculative decoding: tokens that a sequence gains per step, 1 without.",
    ),
]
Margin = Annotated[float, typer.Option(min=-100, help="Percent of the cost that the prices bring on top.")]


def above_zero(option: str, value: float | None) -> float | None:
    """Return the value of an option. Raises: ConfigError for 0, of which nothing has a price."""
    if value == 0:
        raise ConfigError((f"{option} 0: nobody is there to bear the cost; expected a number above 0",))
    return value


def requests_of(texts: Sequence[str] | None, *, shared: bool) -> tuple[RequestClass, ...]:
    """Return the sizes of requests; with `shared` their shares add up to 1, and are equal unless given.

    Raises: ConfigError when a text is not of the form.
    """
    found = [_request(text) for text in texts or (DEFAULT_REQUEST,)]
    if not shared:
        return tuple(one for one, _ in found)
    given = [share for _, share in found]
    if any(share is None for share in given):
        return tuple(_with_share(one, 1 / len(found)) for one, _ in found)
    whole = sum(share for share in given if share is not None)
    if whole <= 0:
        raise ConfigError(("shares of --request add up to 0: expected more, such as 1000:500@0.9",))
    return tuple(_with_share(one, (share or 0.0) / whole) for one, share in found)


def _request(text: str) -> tuple[RequestClass, float | None]:
    match = _REQUEST.fullmatch(text)
    sizes = [] if match is None else [int(match[name] or "0") for name in ("uncached", "cached", "output")]
    if match is None or min(sizes[0], sizes[2]) < 1 or max(sizes) > _MOST_TOKENS:
        form = "UNCACHED[+CACHED]:OUTPUT[@SHARE], such as 1000+3000:500@0.2"
        ends = f"with at least one token that is read, one of output and at most {_MOST_TOKENS:,} of each"
        raise ConfigError((f"--request {text!r}: expected {form}, {ends}",))
    uncached, cached, output = (float(size) for size in sizes)
    one, share = RequestClass(uncached, output, cached), match["share"]
    try:
        return one, None if share is None else float(share)
    except ValueError:
        raise ConfigError((f"--request {text!r}: {share!r} is not a number",)) from None


def _with_share(one: RequestClass, share: float) -> RequestClass:
    return RequestClass(one.uncached_tokens, one.output_tokens, one.cached_tokens, share)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deploying:
    """How a model is deployed, whatever it and its hardware are."""

    precision: Precision = None
    backend: Backend = TYPICAL
    tokens_per_step: Accepted = 1.0
    hide_exchange: HideExchange = False
    hardware: HardwareFile = None
    tier: Tier = "rental"

    def offers(
        self, model: str, gpus: Sequence[str], layouts: Sequence[str] | None
    ) -> tuple[PlannedOffer, ...]:
        """Return an offer per hardware and layout that can serve, and say of the others why not.

        Raises: ConfigError when a name is unknown, a layout is not of the form, or none can serve.
        """
        found_model = find_architecture(model)
        shape, devices = found_model.architecture, load_hardware(self.hardware)
        coefficients = load_step_times()
        _check_backend(self.backend, coefficients.first_tokens)
        usual = USUAL_LAYOUTS + (MIXTURE_LAYOUTS if shape.experts else ())
        found: list[PlannedOffer] = []
        for name, layout in product(gpus, layouts or usual):
            device = find_hardware(name, devices)
            base = Deployment(
                architecture=shape,
                hardware=device,
                backend=self.backend,
                precision=self.precision or found_model.precision or _usual_precision(device),
                tokens_per_step=self.tokens_per_step,
                hides_exchange=self.hide_exchange,
            )
            if "+" in layout:
                reads, writes = _pools(base, layout)
                found.append(SplitOffer.of(reads, writes, coefficients, tier=self.tier))
            else:
                sized = replace(base, **_sizes(layout, layout))
                found.append(DeploymentOffer.of(sized, coefficients, tier=self.tier))
        usable = _usable(found)
        _say_unmeasured(usable)
        return usable


@dataclass(frozen=True, slots=True, kw_only=True)
class OneDeployment(Deploying):
    """A model on hardware in a layout."""

    model: Model
    gpu: Gpu
    layout: Layout = "tp8"

    def offer(self) -> PlannedOffer:
        """Return it as an offer. Raises: ConfigError as `Deploying.offers` does."""
        return self.offers(self.model, [self.gpu], [self.layout])[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class ManyDeployments(Deploying):
    """A model on several kinds of hardware in several layouts."""

    model: Model
    gpu: Gpus
    layout: Layouts = None

    def all_offers(self) -> tuple[PlannedOffer, ...]:
        """Return them as offers. Raises: ConfigError as `Deploying.offers` does."""
        return self.offers(self.model, self.gpu, self.layout)


def _pools(base: Deployment, layout: str) -> tuple[tuple[int, Deployment], tuple[int, Deployment]]:
    """Return how many workers of which deployment read, and how many answer: `2xtp8+dp16_ep16`."""
    pools = [_WORKERS.fullmatch(part.strip()) for part in layout.lower().split("+")]
    found = [
        (int(pool["count"] or 1), replace(base, **_sizes(pool["layout"], layout)))
        for pool in pools
        if pool is not None
    ]
    if None in pools or len(found) != len(("prefill", "decode")):
        raise _bad_layout(layout)
    if max(count for count, _ in found) > _MOST_GPUS:
        raise ConfigError((f"--layout {layout!r}: expected at most {_MOST_GPUS} workers of a kind",))
    return found[0], found[1]


def _sizes(text: str, layout: str) -> dict[str, int]:
    """Return the sizes in a text, which is a layout or a part of it."""
    parts = [_SIZE.fullmatch(part) for part in re.split(r"[_\s,]+", text.lower().strip())]
    sizes = {part[1]: int(part[2]) for part in parts if part is not None}
    if None in parts or len(sizes) < len(parts) or min(sizes.values()) < 1:
        raise _bad_layout(layout)
    stage, ep = sizes.get("tp", 1) * sizes.get("dp", 1), sizes.get("ep", 1)
    if stage % ep:
        gpus = f"the {stage} GPUs of a stage (tp × dp)"
        raise ConfigError(
            (f"--layout {layout!r}: ep{ep} spreads experts over parts of {gpus}: {ep} is none",)
        )
    if stage * sizes.get("pp", 1) > _MOST_GPUS:
        raise ConfigError((f"--layout {layout!r}: expected at most {_MOST_GPUS} GPUs of one engine",))
    return sizes


def _check_backend(name: str, known: Collection[str]) -> None:
    if name not in known:
        raise ConfigError(
            (f"--backend {name!r} was never measured: expected one of {', '.join(sorted(known))}",)
        )


def _bad_layout(layout: str) -> ConfigError:
    one, two = "sizes such as tp8, tp8_ep8 or dp16_ep16", "2xtp8+1xdp16_ep16"
    return ConfigError((f"--layout {layout!r}: expected {one}, or prefill and decode workers such as {two}",))


def _usual_precision(device: Hardware) -> str:
    return next((name for name in _EIGHT_BITS if name in device.peak_flops), "bf16")


def _say_unmeasured(offers: Sequence[PlannedOffer]) -> None:
    """Say on which hardware the model, or which hardware at all, nobody measured."""
    unseen = sorted({offer.name.split()[0] for offer in offers if not offer.known.is_seen})
    if unseen:
        what = f"{offers[0].model} on {', '.join(unseen)}"
        typer.echo(f"never measured: {what}; predicted from other models and hardware", err=True)


def _usable(offers: Sequence[PlannedOffer]) -> tuple[PlannedOffer, ...]:
    """Return the offers that can serve, and say of the others why not.

    Raises: ConfigError with all reasons when none can.
    """
    refusals = [offer.refusal for offer in offers]
    found = tuple(offer for offer, refusal in zip(offers, refusals, strict=True) if refusal is None)
    if not found:
        raise ConfigError(tuple(refusal for refusal in refusals if refusal is not None))
    for offer, refusal in zip(offers, refusals, strict=True):
        if refusal is not None:
            typer.echo(f"left out: {offer.name}: {refusal}", err=True)
    return found
