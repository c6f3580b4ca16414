"""Which endpoint of a model suits which value of time, as JSON for the console."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from entrepot.domain.estimate import Basis
from entrepot.routing.compare import Quote, ladder, swaps

if TYPE_CHECKING:
    from entrepot.gateway.gateway import Gateway

Json = dict[str, object]


def comparison_json(gateway: Gateway, model: str, *, prompt_tokens: float, output_tokens: float) -> Json:
    """Return what an answer of so many tokens costs at each endpoint, and where any two of them swap.

    Units: tokens; in the answer USD, seconds, USD per hour of waiting.
    """
    now_s = monotonic()
    quotes = gateway.router.quotes(
        model, prompt_tokens=prompt_tokens, output_tokens=output_tokens, now_s=now_s
    )
    names = {target.index: target.endpoint.name for target in gateway.targets}
    return {
        "model": model,
        "tokens_in": prompt_tokens,
        "tokens_out": output_tokens,
        "usd_per_hour": gateway.settings.routing.value_of_time_usd_per_hour,
        "endpoints": [_quote_json(gateway, quote, now_s) for quote in quotes],
        "best_from": [
            {"usd_per_hour": usd_per_hour, "endpoint": names[index]} for usd_per_hour, index in ladder(quotes)
        ],
        "swaps": [
            {
                "usd_per_hour": swap.usd_per_hour,
                "below": names[swap.cheaper],
                "above": names[swap.quicker],
                "pair": [names[index] for index in swap.pair],
            }
            for swap in swaps(quotes)
        ],
    }


def _quote_json(gateway: Gateway, quote: Quote, now_s: float) -> Json:
    endpoint = gateway.targets[quote.endpoint_index].endpoint
    kpis = gateway.knowledge.kpis(quote.endpoint_index, now_s)
    measured = Basis.MEASURED in (kpis.ttft_s.basis, kpis.tpot_s.basis)
    return {
        "name": endpoint.name,
        "simulated": endpoint.simulated,
        "priced": endpoint.prices is not None or endpoint.tariff is not None,
        "dollars": quote.dollars,
        "seconds": quote.seconds,
        "ttft_s": quote.ttft_s,
        "tokens_per_s": quote.tokens_per_s,
        "p_failure": quote.p_failure,
        "basis": "measured" if measured else kpis.ttft_s.basis.value,
        "observations": kpis.observations,
    }
