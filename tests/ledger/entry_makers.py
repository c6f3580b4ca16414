"""Entries for the tests of the ledger: one maker for each kind, and hypothesis strategies of all."""

from __future__ import annotations

from hypothesis import strategies as st

from entrepot.domain.endpoint import Operation
from entrepot.domain.outcome import Outcome
from entrepot.domain.prices import Bill
from entrepot.domain.usage import Usage
from entrepot.ledger.entries import (
    MAX_ANSWER_ID_BYTES,
    Correct,
    CorrectReason,
    Expire,
    ExpireReason,
    Feedback,
    NameEndpoint,
    NamePrices,
    NameRules,
    NameSender,
    Refused,
    Reserve,
    Scope,
    ScopeBalance,
    Settle,
    Snapshot,
    Spending,
    Void,
    VoidReason,
)

AT_NS = 1_764_000_000_000_000_000


def request_id(number: int, at_ns: int = AT_NS) -> bytes:
    """Return an id as a gateway that started once would make it."""
    return (at_ns << 64 | number).to_bytes(16, "big")


def reserve(number: int = 1, amount_nusd: int = 1_000, *, key_id: int = 1, attempt: int = 1) -> Reserve:
    """Return a reservation of one attempt."""
    return Reserve(request_id(number), attempt, AT_NS, key_id, 1, 1, amount_nusd, 2_000, decision=b"why")


def settle(number: int = 1, cost_nusd: int = 600, *, key_id: int = 1, attempt: int = 1) -> Settle:
    """Return the settlement of one attempt."""
    return Settle(
        request_id(number),
        attempt,
        AT_NS + 1,
        key_id,
        1,
        1,
        Outcome.OK,
        200,
        Usage(10, 5, 0, 20, 3),
        Bill(output_nusd=cost_nusd),
        0.5,
        0.02,
        1.5,
        1,
        4,
        900,
        answer_id=b"chatcmpl-%d" % number,
    )


def void(number: int = 1, *, key_id: int = 1, attempt: int = 1) -> Void:
    """Return the voiding of one attempt."""
    return Void(
        request_id(number), attempt, AT_NS + 1, key_id, 1, Outcome.FAILED, VoidReason.NO_CONNECTION, 0, 0.1, 4
    )


def expire(number: int = 1, at_most_nusd: int = 1_000, *, key_id: int = 1, attempt: int = 1) -> Expire:
    """Return the expiry of one attempt."""
    return Expire(
        request_id(number),
        attempt,
        AT_NS + 1,
        key_id,
        1,
        1,
        at_most_nusd,
        Outcome.TIMED_OUT,
        ExpireReason.NO_REPORT,
        0,
        30.0,
        4,
    )


def correct(
    number: int = 1, delta_nusd: int = 50, *, unknown_nusd: int = 0, correction_id: int = 1, key_id: int = 1
) -> Correct:
    """Return a correction of one attempt."""
    return Correct(
        request_id(number),
        1,
        AT_NS + 2,
        key_id,
        1,
        1,
        correction_id,
        CorrectReason.HOST_LOG,
        Usage(output_tokens=2),
        Bill(output_nusd=delta_nusd),
        unknown_nusd,
    )


def refused(number: int = 1, *, key_id: int = 1, rules_id: int = 1, count: int = 1) -> Refused:
    """Return a refusal by rules; its grounds are none that can be read."""
    return Refused(request_id(number), AT_NS, key_id, Operation.CHAT, b"why not", 0, rules_id, count)


def _integers(bits: int) -> st.SearchStrategy[int]:
    return st.integers(0, 2**bits - 1)


_money = st.integers(-(2**55), 2**55)  # a store adds them up in 63 bits
_seconds = st.floats(0, 1e6)
_texts = st.none() | st.text(max_size=8)
_outcomes = st.sampled_from(Outcome)
_usages = st.builds(Usage, *[_integers(32)] * 6, st.booleans(), st.booleans())
_deltas = st.builds(Usage, *[_money] * 6, st.booleans(), st.booleans())
_bills = st.builds(Bill, *[_money] * 7)
# request, attempt, instant, key, endpoint
_ids = (st.binary(min_size=16, max_size=16), _integers(16), _integers(62), _integers(32), _integers(32))
_version = _integers(32)

reserves = st.builds(
    Reserve,
    *_ids,
    _version,
    _money,
    _integers(32),
    st.sampled_from(Operation),
    st.booleans(),
    _integers(32),
    st.binary(max_size=600),
    _integers(32),
    _integers(32),
    _integers(63),
)
settles = st.builds(
    Settle,
    *_ids,
    _version,
    _outcomes,
    st.integers(0, 999),
    _usages,
    _bills,
    *[_seconds] * 3,
    _integers(32),
    _integers(32),
    _integers(48),
    st.booleans(),
    st.binary(max_size=MAX_ANSWER_ID_BYTES),
)
voids = st.builds(
    Void, *_ids, _outcomes, st.sampled_from(VoidReason), st.integers(0, 999), _seconds, _integers(32)
)
expires = st.builds(
    Expire,
    *_ids,
    _version,
    _money,
    _outcomes,
    st.sampled_from(ExpireReason),
    st.integers(0, 999),
    _seconds,
    _integers(32),
)
corrects = st.builds(
    Correct,
    *_ids,
    _version,
    _integers(63),
    st.sampled_from(CorrectReason),
    _deltas,
    _bills,
    _money,
    _integers(62),
    _integers(32),
)
feedbacks = st.builds(
    Feedback,
    st.binary(min_size=16, max_size=16),
    _integers(62),
    _integers(32),
    _integers(63),
    st.booleans(),
    _seconds,
)
refusals = st.builds(
    Refused,
    st.binary(min_size=16, max_size=16),
    _integers(62),
    _integers(32),
    st.sampled_from(Operation),
    st.binary(max_size=200),
    *[_integers(32)] * 3,
)
named_endpoints = st.builds(
    NameEndpoint, _integers(32), *[st.text(max_size=12)] * 3, _texts, _texts, _texts, st.booleans()
)
named_prices = st.builds(
    NamePrices,
    _integers(32),
    _integers(32),
    _integers(62),
    _integers(62),
    _integers(62),
    st.none() | _integers(62),
    st.none() | _integers(62),
    _integers(62),
    st.text(max_size=8),
    st.text(max_size=8),
    st.none() | _integers(62),
    st.none() | _integers(62),
    st.text(max_size=8),
)
named_senders = st.builds(
    NameSender,
    _integers(32),
    _integers(32),
    _integers(32),
    st.lists(_integers(32), max_size=3).map(tuple),
)
named_rules = st.builds(NameRules, _integers(32), st.lists(st.text(max_size=8), max_size=3).map(tuple))
_balances = st.lists(st.builds(ScopeBalance, _integers(32), _money, _money, _money), max_size=3).map(tuple)
snapshots = st.builds(
    Snapshot,
    st.lists(named_endpoints, max_size=2).map(tuple),
    st.lists(named_prices, max_size=2).map(tuple),
    _balances,
    st.lists(reserves, max_size=2).map(tuple),
    _balances,
    _balances,
    st.lists(named_senders, max_size=2).map(tuple),
    st.lists(named_rules, max_size=2).map(tuple),
    st.lists(
        st.builds(
            Spending,
            st.sampled_from(Scope),
            _integers(32),
            st.dictionaries(_integers(31), _money, max_size=3),
        ),
        max_size=2,
    ).map(tuple),
    _integers(62),
)
entries = st.one_of(
    reserves,
    settles,
    voids,
    expires,
    corrects,
    feedbacks,
    refusals,
    named_endpoints,
    named_prices,
    named_senders,
    named_rules,
    snapshots,
)
