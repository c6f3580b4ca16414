"""The refusal of a request that rules alone keep from being served, with what it was decided by.

A `Decision` has candidates and this has none, so it is a value of its own; its exclusions are kept as those
of a decision. Kept are attributes and names of the configuration: nothing of what the client wrote.
"""

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from entrepot.domain.claims import NO_CLAIMS, Claims
from entrepot.domain.errors import Refusal
from entrepot.routing.decision import (
    Exclusion,
    named_exclusions,
    packed_exclusions,
    policy_of,
    rules_of,
    unpacked_exclusions,
)

Fact = str | bool | list[str]

_FORMAT = 1
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(tuple[int, tuple[str, ...], Claims, bytes]).decode


class Grounds(Struct, frozen=True):
    """What a refusal by rules was decided by.

    `models` are those that were asked, `claims` the facts that some rule asks for, `excluded` every endpoint
    of the models and why, `policy` the version of the rules that were in force.
    """

    models: tuple[str, ...]
    claims: Claims
    excluded: tuple[Exclusion, ...]
    policy: str

    @property
    def rules(self) -> tuple[str, ...]:
        """Return what excluded endpoints, by name and in order, with the version of the rules."""
        return rules_of(self.excluded, self.policy)


class Forbidden(Refusal, frozen=True, kw_only=True):
    """A refusal by rules, as the client reads it, with its grounds for the ledger."""

    grounds: Grounds


def pack_grounds(grounds: Grounds, endpoint_ids: Sequence[int]) -> bytes:
    """Return the grounds as bytes for the journal, without the names of rules.

    `endpoint_ids[i]` is the ledger's id of the endpoint whose index is i.
    """
    excluded = b"".join(packed_exclusions(grounds.excluded, grounds.policy, endpoint_ids))
    return _pack((_FORMAT, grounds.models, facts_of(grounds.claims), excluded))


def unpack_grounds(data: bytes, names: Sequence[str]) -> Grounds:
    """Return the grounds that `pack_grounds` wrote; `endpoint_index` then holds the ledger's endpoint id.

    `names` are what the `rules_id` of the entry stands for.
    Raises: ValueError when the bytes are none, or of a version that we do not know.
    """
    try:
        version, models, claims, excluded = _unpack(data)
    except msgspec.MsgspecError as error:
        raise ValueError(f"the stored grounds of a refusal cannot be read: {error}") from error
    if version != _FORMAT:
        raise ValueError(f"the stored grounds of a refusal have format {version}; expected {_FORMAT}")
    return Grounds(models, claims, named_exclusions(unpacked_exclusions(excluded), names), policy_of(names))


def facts_of(claims: Claims) -> dict[str, Fact]:
    """Return what is declared or added, by its name; sets as sorted lists."""
    return {
        name: sorted(value) if isinstance(value, frozenset) else value
        for name, value in msgspec.structs.asdict(claims).items()
        if value != getattr(NO_CLAIMS, name)
    }
