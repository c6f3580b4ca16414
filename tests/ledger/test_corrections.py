"""A host's own log makes the ledger say what the host did, once."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.domain.ids import request_id_text
from entrepot.domain.prices import Bill
from entrepot.domain.usage import Usage
from entrepot.ledger.corrections import Correction, HostLogLine, attempt_of, corrections
from entrepot.ledger.entries import AttemptId, NameEndpoint, NamePrices, OfAttempt, Totals
from entrepot.ledger.history import AttemptHistory, Names, history_of
from tests.ledger import entry_makers as make

HOST = "deepseek"
NAMES = Names(
    {1: NameEndpoint(1, f"m@{HOST}", "m", HOST)},
    {1: NamePrices(1, 1, make.AT_NS, 550_000_000, 2_190_000_000, 140_000_000)},
)
LATER_NS = make.AT_NS + 10**12


def attempts(*entries: OfAttempt) -> dict[AttemptId, AttemptHistory]:
    """Return what the ledger knows of one request."""
    history = history_of(entries, NAMES)
    assert history is not None
    return {(history.request_id, attempt.reserve.attempt): attempt for attempt in history.attempts}


def line(
    prompt: int = 15, output: int = 20, *, cached: int = 5, cost_usd: str | None = None, host: str = HOST
) -> HostLogLine:
    """Return what the host says of the first attempt of request 1."""
    request_id = f"{request_id_text(make.request_id(1))}-1"
    cost = None if cost_usd is None else Decimal(cost_usd)
    return HostLogLine(request_id, host, "m", prompt, output, cached, cost, "ok")


def settled(prompt: int = 10, cached: int = 5, output: int = 20) -> list[OfAttempt]:
    """Return an attempt that was booked at the list price."""
    usage = Usage(prompt, cached, 0, output)
    bill = Bill(prompt * 550, cached * 140, 0, output * 2190)
    return [make.reserve(), msgspec.structs.replace(make.settle(), usage=usage, bill=bill)]


def after(entries: list[OfAttempt], found: tuple[Correction, ...]) -> list[OfAttempt]:
    """Return the entries with the corrections written."""
    return [*entries, *(correction.entry(LATER_NS) for correction in found)]


def test_an_attempt_that_agrees_is_left_alone() -> None:
    """No entry without a difference."""
    found = corrections([line()], attempts(*settled()))
    assert (found.corrections, found.agreed, found.problems) == ((), 1, ())


def test_a_cancelled_stream_is_corrected_to_what_the_host_counted() -> None:
    """What we had estimated at its upper bound becomes what was billed."""
    found = corrections([line(output=7)], attempts(*settled(output=20)))
    (correction,) = found.corrections
    assert correction.usage == Usage(output_tokens=-13)
    assert correction.bill == Bill(output_nusd=-13 * 2190)


def test_the_hosts_own_sum_wins_and_the_difference_is_a_fee() -> None:
    """A host that bills $0.00006 more than its prices say is booked as it bills."""
    found = corrections([line(cost_usd="0.00011")], attempts(*settled()))
    (correction,) = found.corrections
    assert correction.usage == Usage()
    assert correction.bill == Bill(request_nusd=110_000 - (10 * 550 + 5 * 140 + 20 * 2190))


def test_what_was_unknown_becomes_known() -> None:
    """The correction of an expired attempt takes away the whole of *at most X*."""
    entries: list[OfAttempt] = [make.reserve(), make.expire(1, 1_000_000)]
    found = corrections([line()], attempts(*entries))
    (correction,) = found.corrections
    assert correction.unknown_nusd == 1_000_000
    assert correction.bill.total_nusd == 10 * 550 + 5 * 140 + 20 * 2190
    known = attempts(*after(entries, found.corrections))
    assert [attempt.unknown_nusd for attempt in known.values()] == [0]


def test_an_unknown_attempt_that_the_host_never_worked_on_costs_nothing() -> None:
    """Zero tokens in the host's log resolve it too, and bring no fee."""
    found = corrections([line(0, 0, cached=0)], attempts(make.reserve(), make.expire(1, 1_000)))
    (correction,) = found.corrections
    assert (correction.unknown_nusd, correction.bill) == (1_000, Bill())


def test_a_voided_attempt_that_the_host_billed_is_booked() -> None:
    """We thought that it cost nothing; the host knows better."""
    found = corrections([line()], attempts(make.reserve(), make.void()))
    assert found.corrections[0].bill.total_nusd == 10 * 550 + 5 * 140 + 20 * 2190


def test_without_a_price_only_the_hosts_own_sum_is_money() -> None:
    """Tokens are corrected; dollars are not made up."""
    unpriced = {
        key: msgspec.structs.replace(attempt, prices=None) for key, attempt in attempts(*settled()).items()
    }
    (tokens_alone,) = corrections([line(output=7)], unpriced).corrections
    assert (tokens_alone.usage, tokens_alone.bill) == (Usage(output_tokens=-13), Bill())
    (with_cost,) = corrections([line(output=7, cost_usd="0.5")], unpriced).corrections
    assert sum(msgspec.structs.astuple(with_cost.bill)) + 50_000 == 500_000_000


def test_cache_writes_are_inside_the_prompt_tokens_of_a_log() -> None:
    """What the log does not tell apart stays as it was booked."""
    usage, bill = Usage(8, 5, 2, 20), Bill(8 * 550, 5 * 140, 2 * 550, 20 * 2190)
    settle = msgspec.structs.replace(make.settle(), usage=usage, bill=bill)
    assert corrections([line()], attempts(make.reserve(), settle)).agreed == 1


def test_an_attempt_under_way_is_for_later() -> None:
    """The host may have written its line before we settled."""
    found = corrections([line()], attempts(make.reserve()))
    assert (found.corrections, found.open) == ((), 1)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (line(host="lambda"), "the ledger has it at the host deepseek"),
        (line(cached=16), "tokens contradict each other"),
        (line(output=-1), "tokens contradict each other"),
        (msgspec.structs.replace(line(), request_id="req-00"), "the ledger has no such attempt"),
        (msgspec.structs.replace(line(), request_id=None), "a request without an id"),
        (
            msgspec.structs.replace(line(), request_id=f"{request_id_text(make.request_id(2))}-1"),
            "the ledger has no such attempt",
        ),
    ],
)
def test_a_line_that_does_not_fit_is_told_and_changes_nothing(wrong: HostLogLine, says: str) -> None:
    """What cannot be lined up is for people to look at."""
    found = corrections([wrong], attempts(*settled()))
    assert found.corrections == ()
    assert says in found.problems[0]


def test_a_line_that_is_there_twice_counts_once() -> None:
    """Logs are copied together; the same line is no second attempt, another one is a question."""
    assert len(corrections([line(output=7)] * 2, attempts(*settled())).corrections) == 1
    found = corrections([line(output=7), line(output=8)], attempts(*settled()))
    assert len(found.corrections) == 1
    assert "the log has it twice, with other numbers" in found.problems[0]


@given(
    logs=st.lists(
        st.builds(
            line,
            st.integers(5, 10**6),
            st.integers(0, 10**6),
            cached=st.integers(0, 5),
            cost_usd=st.none() | st.decimals(0, 100, places=9).map(str),
        ),
        min_size=1,
        max_size=4,
    ),
    start=st.sampled_from([settled(), [make.reserve(), make.expire()], [make.reserve(), make.void()]]),
)
def test_whatever_the_logs_say_the_ledger_ends_at_the_last_and_a_repeat_changes_nothing(
    logs: list[HostLogLine], start: list[OfAttempt]
) -> None:
    """Each log leads to its own numbers, even back to earlier ones, under ids that never collide."""
    entries = start
    for log in logs:
        entries = after(entries, corrections([log], attempts(*entries)).corrections)
        (booked,) = attempts(*entries).values()
        assert booked.usage.prompt_tokens == log.prompt_tokens
        assert booked.usage.output_tokens == log.completion_tokens
        if log.cost_usd is not None:
            assert booked.bill.total_nusd == int(log.cost_usd * 10**9)
        assert booked.unknown_nusd == 0
        assert corrections([log], attempts(*entries)).corrections == ()
    fold = Totals()
    assert [fold.apply(entry) for entry in entries] == [None] * len(entries)


def test_a_correction_survives_the_way_to_the_admin_api() -> None:
    """JSON there and back gives the same entry, 63-bit id included."""
    (correction,) = corrections([line(output=7)], attempts(*settled())).corrections
    there = msgspec.json.decode(msgspec.json.encode([correction]), type=list[Correction])
    assert there == [correction]
    assert there[0].entry(LATER_NS) == correction.entry(LATER_NS)
    with pytest.raises(ValueError, match="not a request id"):
        msgspec.structs.replace(correction, request_id="req-1").entry(LATER_NS)


@pytest.mark.parametrize(
    ("text", "attempt"),
    [
        (f"req-{'0' * 31}7-2", ((7).to_bytes(16, "big"), 2)),
        (f"req-{'0' * 31}7", None),
        ("req-xyz-1", None),
        ("", None),
        ("chatcmpl-1", None),
    ],
)
def test_the_header_of_an_attempt_names_request_and_attempt(text: str, attempt: AttemptId | None) -> None:
    """It is the `x-request-id` that every host gets."""
    assert attempt_of(text) == attempt
