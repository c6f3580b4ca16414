"""Scenarios for tests: one host with round figures, whatever a test changes about it."""

from __future__ import annotations

from entrepot.catalog.reading import Reading
from entrepot.hosts.scenario import Scenario, parse_scenario

_FIGURES: dict[str, object] = {
    "context_tokens": 1000,
    "input_usd_per_mtok": "0.55",
    "output_usd_per_mtok": "2.19",
    "ttft_s": 2,
    "tokens_per_s": 50,
    "prefill_tokens_per_s": 1000,
    "capacity_requests": 10,
}


def scenario_text(*, verbosity: int = 20, standby: bool = False, **figures: object) -> str:
    """Return the TOML of a scenario with one host `h`; None takes a figure away."""
    stated = {name: value for name, value in (_FIGURES | figures).items() if value is not None}
    lines = [
        'name = "test"\ntitle = "A test"\nas_of = "2026-11"',
        '[[models]]\nname = "deepseek/deepseek-r1"\norigin_country = "CN"',
        f"verbosity_tokens = {_figure(verbosity)}",
        '[[hosts]]\nname = "h"\nmodel = "deepseek/deepseek-r1"',
        *(f"{name} = {_figure(value)}" for name, value in stated.items()),
        f"standby = {str(standby).lower()}",
    ]
    return "\n".join(lines) + "\n"


def scenario(**figures: object) -> Scenario:
    """Return that scenario."""
    return parse_scenario(Reading("test.toml", scenario_text(**figures)))  # type: ignore[arg-type]


def _figure(value: object) -> str:
    shown = f'"{value}"' if isinstance(value, str) else value
    return f'{{ value = {shown}, kind = "assumed", source = "a test" }}'
