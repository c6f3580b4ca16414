"""What is known of who asks, and for what: the facts that rules go by, beside those of the endpoint.

What grants comes from the key; a client's header can only add. So the values of the key and those that were
added are kept apart: what nobody declared for the key stays undeclared, whatever a client says.
"""

from msgspec import Struct


class KeyClaims(Struct, frozen=True):
    """What an operator declared of the sender that a key belongs to; None where nobody did.

    `country` is a code of ISO 3166-1. `data_classes` and `purposes` are all that requests with the key
    have, unless a client adds one; an empty tuple says that there are none.
    """

    country: str | None = None
    us_person: bool | None = None
    defence_contractor: bool | None = None
    sector: str | None = None
    data_classes: tuple[str, ...] | None = None
    purposes: tuple[str, ...] | None = None


class Claims(Struct, frozen=True, cache_hash=True):
    """The facts of one kind of request. Part of the key under which plans are kept, so its hash is.

    `tags` are those of the key, wider ones included. `data_classes` and `purposes` are the key's (None:
    nobody declared any), the `added_` ones are the client's. `rule_sets` are those that the client asked for
    besides.
    """

    country: str | None = None
    us_person: bool | None = None
    defence_contractor: bool | None = None
    sector: str | None = None
    tags: frozenset[str] = frozenset()
    data_classes: frozenset[str] | None = None
    purposes: frozenset[str] | None = None
    added_data_classes: frozenset[str] = frozenset()
    added_purposes: frozenset[str] = frozenset()
    rule_sets: frozenset[str] = frozenset()


UNDECLARED = KeyClaims()
NO_CLAIMS = Claims()


def claims_of(key: KeyClaims, tags: frozenset[str] = frozenset()) -> Claims:
    """Return the facts of requests with a key that has these tags, before a client adds to them."""
    return Claims(
        country=key.country,
        us_person=key.us_person,
        defence_contractor=key.defence_contractor,
        sector=key.sector,
        tags=tags,
        data_classes=None if key.data_classes is None else frozenset(key.data_classes),
        purposes=None if key.purposes is None else frozenset(key.purposes),
    )
