"""Virtual models: a name that stands for several models, of which each request gets the one that suits it."""

from msgspec import Struct

from entrepot.domain.estimate import Estimate


class Member(Struct, frozen=True):
    """A model that may answer for a virtual one.

    Units: `success_share` is the share of its answers that are of use, above 0 and at most 1; None where
    nobody said.
    """

    model: str
    success_share: Estimate | None = None


class VirtualModel(Struct, frozen=True):
    """A name `developer/name` and the models that it stands for, in the order of the file.

    Units: `min_success_share` is the least share of useful answers that a member must have, None for no
    floor.
    """

    name: str
    members: tuple[Member, ...]
    min_success_share: float | None = None
