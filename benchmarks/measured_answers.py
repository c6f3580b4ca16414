"""Answers that 22 models really gave, taken in by the routing as if they had come through the gateway.

Shared by `virtual_model.py` and the tests of routing. What is printed beside the router's picks is plain
arithmetic on the same rows (`sums_of`), which asks nothing of `routing/`: each can find fault with the other.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from entrepot.catalog.data_files import data_path
from entrepot.domain.durations import SECONDS_PER_HOUR
from entrepot.domain.endpoint import Endpoint, Operation
from entrepot.domain.estimate import Basis, Estimate
from entrepot.domain.money import nusd_from_usd
from entrepot.domain.outcome import Outcome
from entrepot.domain.prices import Prices
from entrepot.domain.request import Request, Slo
from entrepot.domain.virtual import Member, VirtualModel
from entrepot.routing.choose import Router
from entrepot.routing.kpi.knowledge import Knowledge
from entrepot.routing.kpi.observation import Observation
from entrepot.routing.settings import RoutingSettings

KINDS = ("knowledge", "logic puzzle", "Math")
"""What the source calls `type`; a request of each has its place here, plus 1, as its tag."""

PROMPT_TOKENS, PROMPT_BYTES = 100, 400
"""Assumed: the source counts no prompt tokens, its prompts are one sentence to a few."""

TTFT_S, TOKENS_PER_S = 1.0, 50.0
"""Assumed and the same for all models: speeds were not measured, so tokens alone make one slower."""

CONTEXT_TOKENS = 131_072
ANSWERS_EVERY_S = 0.1
KEY_ID = 1


@dataclass(frozen=True)
class Answer:
    """One answer. Units: `tokens` are all that is billed as output, hidden reasoning included."""

    model: str
    kind: str
    prompt: str
    tokens: int
    succeeded: bool
    cut: bool


@dataclass(frozen=True)
class Price:
    """What the hosts of a model took on average. Units: USD per million tokens, as text to be exact."""

    usd_in: str
    usd_out: str


@dataclass(frozen=True)
class Sums:
    """What a model's answers come to by plain arithmetic. Units: USD per million tokens, tokens, USD."""

    model: str
    usd_in: float
    usd_out: float
    answers: int
    tokens: float
    success_share: float

    @property
    def usd(self) -> float:
        """Dollars of an average answer."""
        return (PROMPT_TOKENS * self.usd_in + self.tokens * self.usd_out) / 1e6

    def usd_per_success(self, usd_per_hour: float = 0.0) -> float:
        """Dollars, and waiting at a value of time, that are spent until an answer is right."""
        seconds = TTFT_S + self.tokens / TOKENS_PER_S
        whole = self.usd + usd_per_hour / SECONDS_PER_HOUR * seconds
        return whole / self.success_share if self.success_share else float("inf")


def measured_prices() -> dict[str, Price]:
    """Return the average price over hosts by model, without its developer.

    The source rounds averages to a tenth of a dollar; where all hosts took the same, the exact price is used.
    """
    with data_path("tokens/model_prices.csv").open(encoding="utf-8", newline="") as file:
        return {
            row["model_name"]: Price(_average(row, "prompt"), _average(row, "completion"))
            for row in csv.DictReader(file)
        }


def _average(row: Mapping[str, str], what: str) -> str:
    least, most = row[f"{what}_min"], row[f"{what}_max"]
    return least if least == most else row[f"{what}_avg"]


def measured_answers(priced: Iterable[str]) -> list[Answer]:
    """Return the answers of the models that have a price, in the order of the file."""
    wanted = frozenset(priced)
    with gzip.open(data_path("tokens/answers.csv.gz"), "rt", encoding="utf-8", newline="") as file:
        return [
            Answer(
                f"{row['lab']}/{row['model_name']}",
                row["type"],
                row["prompt_id"],
                int(row["tokens_completion"]),
                row["success_rate"] == "1",
                int(row["tokens_completion"]) >= int(row["max_tokens"]),
            )
            for row in csv.DictReader(file)
            if row["model_name"] in wanted
        ]


def sums_of(answers: Iterable[Answer], prices: Mapping[str, Price]) -> list[Sums]:
    """Return what each model's answers come to, the least cost of a successful one first."""
    by_model: dict[str, list[Answer]] = {}
    for answer in answers:
        by_model.setdefault(answer.model, []).append(answer)
    found = [
        Sums(
            model,
            float(prices[bare(model)].usd_in),
            float(prices[bare(model)].usd_out),
            len(of),
            sum(answer.tokens for answer in of) / len(of),
            sum(answer.succeeded for answer in of) / len(of),
        )
        for model, of in by_model.items()
    ]
    return sorted(found, key=lambda one: one.usd_per_success())


def bare(model: str) -> str:
    """Return the name of a model without its developer."""
    return model.partition("/")[2]


def virtual_name(floor: float) -> str:
    """Return the name of the virtual model over all models with this floor."""
    return f"auto/at-least-{floor:g}"


def learned(
    answers: Sequence[Answer],
    prices: Mapping[str, Price],
    *,
    seed: int = 0,
    floors: Iterable[float] = (0.0,),
    unjudged: Container[str] = (),
) -> Router:
    """Return a router that saw the answers end in a random order and was told which were right.

    But for those of the models in `unjudged`, of which nobody said anything. One endpoint per model; nothing
    is declared but prices and speed; it never explores. There is a virtual model over all for each floor.
    """
    names = sorted({answer.model for answer in answers})
    endpoints = [_endpoint(name, prices[bare(name)]) for name in names]
    settings = RoutingSettings(exploration_share=0.0)
    knowledge = Knowledge(endpoints, {}, settings)
    members = tuple(Member(name) for name in names)
    virtual = [VirtualModel(virtual_name(floor), members, floor or None) for floor in floors]
    router = Router(endpoints, {}, settings, knowledge, virtual)
    places = {name: place for place, name in enumerate(names)}
    shuffled = list(answers)
    Random(seed).shuffle(shuffled)
    for number, answer in enumerate(shuffled):
        now_s = ended_s(number)
        in_flight = knowledge.started(places[answer.model])
        knowledge.ended(places[answer.model])
        knowledge.observe(_observation(answer, places[answer.model], now_s, in_flight))
        if answer.model not in unjudged:
            router.judged(answer.model, succeeded=answer.succeeded, now_s=now_s)
    return router


def ended_s(answers: int) -> float:
    """Return when so many answers have ended, by the clock of the knowledge."""
    return answers * ANSWERS_EVERY_S


def request_for(model: str, *, usd_per_hour: float = 0.0, kind: str = "") -> Request:
    """Return a request such as the measured ones, with the tag of its kind if one is named."""
    return Request(
        operation=Operation.CHAT,
        models=(model,),
        prompt_bytes=PROMPT_BYTES,
        slo=Slo(usd_per_hour=usd_per_hour),
        key_id=KEY_ID,
        tag_id=_tag(kind),
    )


def _tag(kind: str) -> int:
    return KINDS.index(kind) + 1 if kind else 0


def _endpoint(model: str, price: Price) -> Endpoint:
    source = "assumed, the same for all"
    return Endpoint(
        name=f"{model}@measured",
        model=model,
        host="measured",
        prices=Prices(nusd_from_usd(price.usd_in), nusd_from_usd(price.usd_out)),
        context_tokens=CONTEXT_TOKENS,
        declared_ttft_s=Estimate(TTFT_S, Basis.DECLARED, source=source),
        declared_tokens_per_s=Estimate(TOKENS_PER_S, Basis.DECLARED, source=source),
    )


def _observation(answer: Answer, index: int, now_s: float, in_flight: int) -> Observation:
    return Observation(
        endpoint_index=index,
        at_s=now_s,
        outcome=Outcome.OK,
        answer_s=TTFT_S + answer.tokens / TOKENS_PER_S,
        ttft_s=TTFT_S,
        tpot_s=1.0 / TOKENS_PER_S,
        prompt_bytes=PROMPT_BYTES,
        prompt_tokens=PROMPT_TOKENS,
        output_tokens=answer.tokens,
        in_flight=in_flight,
        censored=answer.cut,
        key_id=KEY_ID,
        tag_id=_tag(answer.kind),
    )
