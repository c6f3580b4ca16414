"""Keeps the choice to the rules of the day, and tells it of each request what they ask."""

from __future__ import annotations

from math import inf

from msgspec.structs import replace

from entrepot.catalog.settings import PolicySettings
from entrepot.domain.claims import NO_CLAIMS
from entrepot.domain.errors import Refusal
from entrepot.gateway.claims import ClaimsReader
from entrepot.gateway.exchange import Exchange
from entrepot.ledger.accounts.senders import Sender
from entrepot.ledger.keys.keys import KeyRing
from entrepot.routing.choose import Router
from entrepot.routing.policy import PolicySet
from entrepot.wire.body import Body


class RuleKeeper:
    """The rules of one gateway, as `policy`; from its first request on `router` obeys them."""

    def __init__(self, settings: PolicySettings, keys: KeyRing, router: Router) -> None:
        self.policy = PolicySet(settings.rules)
        self._router = router
        self._claims = ClaimsReader(self.policy, settings, keys)
        self._due_ns: float = 0

    def with_claims(self, body: Body, exchange: Exchange, sender: Sender, now_ns: int) -> Body | Refusal:
        """Return the body, its request with all that rules ask of it, or why that cannot be understood.

        The router goes by the rules that are in force now: the first request of a day brings its rules.
        Units: Unix nanoseconds.
        """
        if now_ns >= self._due_ns:
            self.obey(now_ns)
        claims = self._claims.claims_of(exchange, sender)
        if isinstance(claims, Refusal):
            return claims
        if claims is not NO_CLAIMS:
            body.request = replace(body.request, claims=claims)
        return body

    def obey(self, now_ns: int) -> None:
        """Let the router go by the rules that are in force at an instant. Units: Unix nanoseconds."""
        self._router.enforce(self.policy.on(now_ns))
        self._due_ns = self.policy.changes_after(now_ns) or inf
