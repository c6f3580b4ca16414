"""Owns the money of keys that have a budget: the one place that says yes or no to a reservation.

The fold of the journal has the same sums, and reading them would save three additions. But a worker will
hold a lease of an authority in another process or machine, and must ask for money without seeing the
fold; so admission speaks to `Authority` from the start.
"""

from typing import Protocol

from msgspec import Struct

from entrepot.domain.errors import Refusal
from entrepot.domain.money import usd_text


class Authority(Protocol):
    """Whoever can grant money: in this process, or by lease from elsewhere. Units: nano-USD."""

    def reserve(self, key_id: int, amount_nusd: int) -> Refusal | None:
        """Set the whole amount aside for a key, or return why not; a key without a budget may always."""

    def release(self, key_id: int, amount_nusd: int) -> None:
        """Give back what was set aside and not spent."""

    def settle(self, key_id: int, reserved_nusd: int, spent_nusd: int) -> None:
        """Turn what was set aside into what was spent, which may be more."""

    def left_nusd(self, key_id: int) -> int | None:
        """Return what is left of a budget, below zero when it was passed; None for a key without one."""


class Account(Struct):
    """A budget and what counts against it.

    Units: nano-USD. `spent_nusd` includes what is *unknown, at most X*.
    """

    budget_nusd: int
    spent_nusd: int
    reserved_nusd: int


class LocalAuthority:
    """The authority of a data directory, in the process that owns it."""

    def __init__(self) -> None:
        self._accounts: dict[int, Account] = {}

    def set_budget(
        self, key_id: int, budget_nusd: int | None, *, spent_nusd: int, reserved_nusd: int
    ) -> None:
        """Give a key a budget, or take it away (None); the sums are those that its entries add up to."""
        if budget_nusd is None:
            self._accounts.pop(key_id, None)
        else:
            self._accounts[key_id] = Account(budget_nusd, spent_nusd, reserved_nusd)

    def reserve(self, key_id: int, amount_nusd: int) -> Refusal | None:
        """Set the whole amount aside for a key, or return why not; a key without a budget may always."""
        account = self._accounts.get(key_id)
        if account is None:
            return None
        reserved = account.reserved_nusd + amount_nusd
        if account.spent_nusd + reserved > account.budget_nusd:
            return _refusal(account, amount_nusd)
        account.reserved_nusd = reserved
        return None

    def release(self, key_id: int, amount_nusd: int) -> None:
        """Give back what was set aside and not spent."""
        self.settle(key_id, amount_nusd, 0)

    def settle(self, key_id: int, reserved_nusd: int, spent_nusd: int) -> None:
        """Turn what was set aside into what was spent, which may be more."""
        account = self._accounts.get(key_id)
        if account is not None:
            account.reserved_nusd -= reserved_nusd
            account.spent_nusd += spent_nusd

    def left_nusd(self, key_id: int) -> int | None:
        """Return what is left of a budget, below zero when it was passed; None for a key without one."""
        account = self._accounts.get(key_id)
        return None if account is None else account.budget_nusd - account.spent_nusd - account.reserved_nusd


def _refusal(account: Account, amount_nusd: int) -> Refusal:
    left = account.budget_nusd - account.spent_nusd - account.reserved_nusd
    if account.spent_nusd + amount_nusd > account.budget_nusd:
        advice = "ask for fewer output tokens, or have the budget of this key raised"
    else:
        advice = "try again when running requests have ended, or ask for fewer output tokens"
    return Refusal(
        402,
        "insufficient_quota",
        "insufficient_quota",
        f"the budget of this key is ${usd_text(account.budget_nusd)}: ${usd_text(account.spent_nusd)} "
        f"is spent, ${usd_text(account.reserved_nusd)} is reserved by running requests and "
        f"${usd_text(left)} is left, but this request may cost up to ${usd_text(amount_nusd)}; {advice}",
    )
