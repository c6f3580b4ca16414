"""Endpoints, knowledge and requests for the tests of routing, with as few words as a test needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from entrepot.domain.endpoint import Endpoint, Model, Operation
from entrepot.domain.errors import Refusal
from entrepot.domain.estimate import Basis, Estimate
from entrepot.domain.money import nusd_from_usd
from entrepot.domain.outcome import Outcome
from entrepot.domain.prices import Prices
from entrepot.domain.request import Preferences, Request, Slo
from entrepot.domain.virtual import Member, VirtualModel
from entrepot.routing.choose import Router
from entrepot.routing.decision import Decision
from entrepot.routing.kpi.distribution import Distribution
from entrepot.routing.kpi.knowledge import Knowledge
from entrepot.routing.kpi.observation import Observation
from entrepot.routing.kpi.outlook import ModelOutlook, Outlook
from entrepot.routing.kpi.priors import Priors, declared_priors
from entrepot.routing.kpi.table import Table, log_normal_shares
from entrepot.routing.kpi.verbosity import Classes, Verbosity
from entrepot.routing.settings import RoutingSettings

R1 = "deepseek/deepseek-r1"
ANSWER_TOKENS = 3000


def declared(value: float) -> Estimate:
    """Return a declared estimate."""
    return Estimate(value, Basis.DECLARED)


def prices(usd_in: str = "0.55", usd_out: str = "2.19", usd_cached: str | None = None) -> Prices:
    """Return prices from dollars per million tokens."""
    return Prices(
        nusd_from_usd(usd_in),
        nusd_from_usd(usd_out),
        None if usd_cached is None else nusd_from_usd(usd_cached),
    )


def endpoint(
    host: str,
    priced: Prices | None = None,
    *,
    model: str = R1,
    ttft_s: float | None = 1.0,
    tokens_per_s: float | None = 50.0,
    context_tokens: int = 163_840,
) -> Endpoint:
    """Return an endpoint with declared speed; its price is that of DeepSeek's own in 2025 unless given."""
    return Endpoint(
        name=f"{model}@{host}",
        model=model,
        host=host,
        prices=priced or prices(),
        context_tokens=context_tokens,
        declared_ttft_s=None if ttft_s is None else declared(ttft_s),
        declared_tokens_per_s=None if tokens_per_s is None else declared(tokens_per_s),
    )


def router_of(
    *endpoints: Endpoint,
    settings: RoutingSettings | None = None,
    verbosity: float = ANSWER_TOKENS,
    virtual: Sequence[VirtualModel] = (),
) -> Router:
    """Return a router over these endpoints that has seen nothing and never explores."""
    settings = settings or RoutingSettings(exploration_share=0.0)
    names = dict.fromkeys(one.model for one in endpoints)
    models = {name: Model(name, verbosity_tokens=declared(verbosity)) for name in names}
    return Router(endpoints, models, settings, Knowledge(endpoints, models, settings), virtual)


def priors_of(*, ttft_s: float = 2.0, tpot_s: float = 0.02, prefill: float = 0.0) -> Priors:
    """Return the priors of an endpoint that declares these times; `prefill` is per thousand tokens."""
    declares = endpoint("a", ttft_s=ttft_s, tokens_per_s=1.0 / tpot_s)
    return replace(declared_priors(declares, RoutingSettings()), ttft=(ttft_s, prefill, 0.0, 0.0))


def row_of(one: Endpoint | None = None) -> Outlook:
    """Return the row of an endpoint that was never used."""
    one = one or endpoint("a")
    return Knowledge((one,), {}, RoutingSettings()).outlooks[0]


def model_row(verbosity: float = 500.0, bytes_per_token: float = 4.0, cautious: float = 2.0) -> ModelOutlook:
    """Return the row of a model that nothing was seen of."""
    outlook = ModelOutlook(Verbosity(Classes()))
    outlook.verbosity_tokens = verbosity
    outlook.tokens_per_byte, outlook.cautious_tokens_per_byte = 1.0 / bytes_per_token, 1.0 / cautious
    return outlook


def spread_table(spread: float, lowest: float = 0.01) -> Table:
    """Return the table of a log-normal distribution around 1 with this spread of its logarithm."""
    return Table(Distribution(lowest), log_normal_shares(lowest, 1.0, spread), 1.0)


def virtual_model(name: str, shares: Mapping[str, float | None], floor: float | None = None) -> VirtualModel:
    """Return a virtual model of these models, each with its declared share of useful answers."""
    members = tuple(
        Member(model, None if share is None else declared(share)) for model, share in shares.items()
    )
    return VirtualModel(name, members, floor)


def chat(
    *models: str,
    usd_per_hour: float | None = None,
    prompt_bytes: int = 4000,
    max_output_tokens: int | None = None,
    slo: Slo | None = None,
    preferences: Preferences | None = None,
) -> Request:
    """Return a chat request for R1 unless other models are given."""
    return Request(
        operation=Operation.CHAT,
        models=models or (R1,),
        prompt_bytes=prompt_bytes,
        max_output_tokens=max_output_tokens,
        slo=slo or Slo(usd_per_hour=usd_per_hour),
        preferences=preferences or Preferences(),
    )


def decide(router: Router, request: Request, *, now_s: float = 0.0, draw: float = 1.0) -> Decision:
    """Return the decision of a request that is expected to be served."""
    decision = router.decide(request, now_s=now_s, draw=draw)
    assert isinstance(decision, Decision), decision
    return decision


def refuse(router: Router, request: Request, *, needs_price: bool = False) -> Refusal:
    """Return the refusal of a request that is expected to be refused."""
    refusal = router.decide(request, now_s=0.0, draw=1.0, needs_price=needs_price)
    assert isinstance(refusal, Refusal), refusal
    return refusal


def hosts(router: Router, decision: Decision) -> list[str]:
    """Return the hosts of a decision in the order of trying."""
    return [router.endpoints[candidate.endpoint_index].host for candidate in decision.candidates]


def winner(router: Router, request: Request) -> str:
    """Return the host that is tried first."""
    return hosts(router, decide(router, request))[0]


def seen(
    index: int = 0,
    at_s: float = 0.0,
    outcome: Outcome = Outcome.OK,
    *,
    answer_s: float = 2.0,
    ttft_s: float | None = None,
    tpot_s: float | None = None,
    output_tokens: int | None = None,
    in_flight: int = 0,
    prompt_tokens: int | None = None,
) -> Observation:
    """Return an observation; of an answer of 2 s unless told otherwise."""
    return Observation(
        endpoint_index=index,
        at_s=at_s,
        outcome=outcome,
        answer_s=answer_s,
        ttft_s=ttft_s,
        tpot_s=tpot_s,
        output_tokens=output_tokens,
        in_flight=in_flight,
        prompt_tokens=prompt_tokens,
    )
