"""The models that a request is for: those that it names, and those that a virtual model stands for.

Of a virtual model the *successful* answer is to be cheap: each member's score is divided by the share of its
answers that are of use, so that a cheap model that has to be asked twice counts twice.
"""

from collections.abc import Mapping

from msgspec import Struct

from entrepot.domain.endpoint import Model
from entrepot.domain.estimate import Estimate
from entrepot.domain.virtual import Member, VirtualModel
from entrepot.routing.kpi.knowledge import Knowledge

LEAST_SUCCESS_SHARE = 0.01
"""A member that nobody found of use yet is not infinitely dear: it may still be the only one."""


class Asked(Struct, frozen=True):
    """A model that a request may be answered by.

    Units: `success_share` divides its score, 1 where only an answer was asked for; `told` is what is known of
    it, None for nothing; `floor` is the least that is accepted, 0 for no floor.
    """

    model: str
    success_share: float = 1.0
    told: float | None = None
    floor: float = 0.0

    @property
    def falls_short(self) -> bool:
        """Return whether the model is under the floor, or may be: what nobody told is not above it."""
        return self.floor > 0.0 and (self.told is None or self.told < self.floor)


def declared_share(member: Member, model: Model | None) -> Estimate | None:
    """Return the share of useful answers that somebody declared: for this name, else of the model."""
    return member.success_share or (model.success_share if model else None)


def asked_of(virtual: VirtualModel, models: Mapping[str, Model], knowledge: Knowledge) -> list[Asked]:
    """Return the members of a virtual model in its order.

    One of which nobody told how often it succeeds is taken to do so as seldom as the worst of the others.
    """
    told: dict[str, float | None] = {}
    for member in virtual.members:
        declared = declared_share(member, models.get(member.model))
        told[member.model] = knowledge.success_share(
            member.model, None if declared is None else declared.value
        )
    worst = min((share for share in told.values() if share is not None), default=1.0)
    return [
        Asked(
            name,
            max(worst if share is None else share, LEAST_SUCCESS_SHARE),
            share,
            virtual.min_success_share or 0.0,
        )
        for name, share in told.items()
    ]
