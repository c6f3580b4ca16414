"""Every difference between an invoice and the ledger is found, exactly, with its likeliest cause."""

from __future__ import annotations

from datetime import UTC, date, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entrepot.domain.prices import Prices
from entrepot.domain.usage import Usage
from entrepot.ledger.entries import NameEndpoint, NamePrices, Reserve
from entrepot.ledger.journal.segment import Position
from entrepot.ledger.reports.booked import BookedAtHost, Ending, Piece, PriceVersion, booked
from entrepot.ledger.reports.invoice import read_invoice
from entrepot.ledger.reports.reconcile import Reconciliation, reconcile
from entrepot.ledger.reports.reconcile_causes import Cause
from entrepot.ledger.reports.usage_query import Window
from entrepot.ledger.store.store import Store
from tests.ledger import entry_makers as make

MODEL = "dev/r1"
FULL = Prices(550_000_000, 2_190_000_000, 140_000_000, label="standard")
CHEAP = Prices(135_000_000, 550_000_000, 35_000_000, label="16:30 to 00:30")
VERSIONS = (PriceVersion(1, MODEL, FULL), PriceVersion(2, MODEL, CHEAP))
USAGE = Usage(70_000, 30_000, 0, 20_000)
COST = FULL.bill(USAGE).total_nusd
DAY = date(2025, 11, 24)
DAY_NS = 1_763_942_400 * 10**9
HOUR_NS = 3_600 * 10**9
HEADER = "date,model,requests,prompt_tokens,cached_tokens,completion_tokens,cost,description\n"


def piece(
    usage: Usage = USAGE, *, at_ns: int = DAY_NS, attempts: int = 10, version: int = 1, **more: object
) -> Piece:
    """Return attempts of a quarter of an hour at the prices of a version."""
    ending = more.pop("ending", Ending.SETTLED)
    cost = VERSIONS[version - 1].prices.bill(usage).total_nusd if ending is Ending.SETTLED else 0
    found = Piece(at_ns, MODEL, version, Ending.SETTLED, False, False, False, attempts, usage, cost)
    return msgspec.structs.replace(found, ending=ending, **more)


def row(
    usage: Usage = USAGE,
    cost_nusd: int | Decimal = COST,
    *,
    day: date = DAY,
    requests: int | str = 10,
    text: str = "",
) -> str:
    """Return a line of an invoice."""
    cost = f"{Decimal(cost_nusd) / 10**9:f}"
    tokens = f"{usage.prompt_tokens},{usage.cached_tokens},{usage.output_tokens}"
    return f"{day.isoformat()},r1,{requests},{tokens},{cost},{text}\n"


def lined_up(
    pieces: tuple[Piece, ...], text: str, *, days: int = 1, zone: timezone = UTC, header: str = HEADER
) -> Reconciliation:
    """Return the line-up of a CSV text with pieces of the ledger."""
    invoice = read_invoice((header + text).splitlines(keepends=True), {})
    at_host = BookedAtHost(pieces, VERSIONS)
    return reconcile(invoice, at_host, (DAY, DAY + timedelta(days=days)), zone, {})


def causes(result: Reconciliation) -> list[tuple[Cause, Decimal]]:
    """Return the causes with their amounts."""
    return [(finding.cause, finding.nusd) for finding in result.findings]


CACHED_IN_FULL = 30_000 * (550 - 140)
RETRY = Usage(7_000, 3_000, 0, 2_000)
RETRY_COST = FULL.bill(RETRY).total_nusd
MORE = Usage(1_000, 0, 0, 500)
MORE_COST = FULL.bill(MORE).total_nusd


def _sum(one: Usage, two: Usage) -> Usage:
    return Usage(
        one.uncached_tokens + two.uncached_tokens,
        one.cached_tokens + two.cached_tokens,
        0,
        one.output_tokens + two.output_tokens,
    )


# The pieces of the ledger, the lines of the invoice, and the only finding.
CASES: dict[str, tuple[tuple[Piece, ...], str, Cause, Decimal | int]] = {
    "cached tokens at the input price": (
        (piece(),),
        row(cost_nusd=COST + CACHED_IN_FULL),
        Cause.CACHED_IN_FULL,
        CACHED_IN_FULL,
    ),
    "cached tokens counted as uncached": (
        (piece(),),
        row(Usage(100_000, 0, 0, 20_000), COST + CACHED_IN_FULL),
        Cause.CACHED_IN_FULL,
        CACHED_IN_FULL,
    ),
    "the dear hours for the cheap ones": (
        (piece(version=2),),
        row(cost_nusd=COST),
        Cause.PRICE,
        COST - CHEAP.bill(USAGE).total_nusd,
    ),
    "an unknown output price": (
        (piece(),),
        row(cost_nusd=COST + 20_000 * 210),
        Cause.PRICE,
        20_000 * 210,
    ),
    "a surcharge": (
        (piece(),),
        row(cost_nusd=COST * 107 / Decimal(100)),
        Cause.PRICE,
        Decimal(COST) * 7 / 100,
    ),
    "a fee for each request": (
        (piece(attempts=7),),
        row(cost_nusd=COST + 7 * 50_000, requests=7),
        Cause.PRICE,
        7 * 50_000,
    ),
    "attempts that went around the gateway": (
        (piece(),),
        row(_sum(USAGE, MORE), COST + MORE_COST, requests=12),
        Cause.MISSING_HERE,
        MORE_COST,
    ),
    "a day that the ledger does not have": ((), row(), Cause.MISSING_HERE, COST),
    "attempts that the host does not bill": (
        (piece(), piece(MORE, attempts=1)),
        row(),
        Cause.MISSING_AT_HOST,
        -MORE_COST,
    ),
    "a day that the host does not bill": ((piece(),), "", Cause.MISSING_AT_HOST, -COST),
    "retries twice": (
        (piece(), piece(RETRY, attempts=2, retry=True)),
        row(_sum(_sum(USAGE, RETRY), RETRY), COST + 2 * RETRY_COST, requests=14),
        Cause.RETRIES,
        RETRY_COST,
    ),
    "failed attempts": (
        (piece(), piece(Usage(), attempts=3, ending=Ending.VOID)),
        row(_sum(USAGE, MORE), COST + MORE_COST, requests=13),
        Cause.FAILED,
        MORE_COST,
    ),
    "unknown attempts": (
        (piece(), piece(Usage(), attempts=2, ending=Ending.UNKNOWN, at_most_nusd=MORE_COST + 1)),
        row(_sum(USAGE, MORE), COST + MORE_COST, requests=12),
        Cause.UNKNOWN,
        MORE_COST,
    ),
    "only unknown attempts": (
        (piece(Usage(), attempts=2, ending=Ending.UNKNOWN, at_most_nusd=MORE_COST + 1),),
        row(MORE, MORE_COST, requests=2),
        Cause.UNKNOWN,
        MORE_COST,
    ),
    "estimated attempts": (
        (piece(), piece(MORE, attempts=1, estimated=True, cancelled=True)),
        row(
            _sum(USAGE, Usage(1_000, 0, 0, 350)),
            COST + FULL.bill(Usage(1_000, 0, 0, 350)).total_nusd,
            requests=11,
        ),
        Cause.ESTIMATED,
        -150 * 2_190,
    ),
    "a line twice": ((piece(),), row() + row(), Cause.TWICE, COST),
    "other tokens": (
        (piece(),),
        row(Usage(71_000, 30_000, 0, 19_000), COST + 1_000 * 550 - 1_000 * 2_190),
        Cause.TOKENS,
        -1_000 * 1_640,
    ),
    "no reason at all": ((piece(),), row(cost_nusd=COST + 123_457), Cause.UNEXPLAINED, 123_457),
}
BESIDE = {
    "VAT 19 %": Cause.TAX,
    "Minimum commitment": Cause.MINIMUM,
    "Promotional credit": Cause.CREDIT,
    "Priority support": Cause.FEE,
}


@pytest.mark.parametrize("name", list(CASES))
def test_a_difference_has_its_cause_and_its_exact_amount(name: str) -> None:
    """One case for each rule: exactly one finding, and nothing left over."""
    pieces, text, cause, amount = CASES[name]
    result = lined_up(pieces, text or row(day=DAY + timedelta(days=40)))
    assert causes(result) == [(cause, amount)]
    assert result.billed_nusd - result.booked_nusd == amount
    assert result.rounding_nusd == 0


@pytest.mark.parametrize("text", list(BESIDE))
def test_a_line_of_no_model_is_what_its_words_say(text: str) -> None:
    """Taxes, minimums and credits by their words, fees else; a negative amount is a credit."""
    result = lined_up((piece(),), row() + f"2025-11-24,,,,,,20.00,{text}\n")
    assert causes(result) == [(BESIDE[text], Decimal(20 * 10**9))]
    assert causes(lined_up((piece(),), row() + ",,,,,,-5,see above\n")) == [
        (Cause.CREDIT, Decimal(-5 * 10**9))
    ]


def test_equal_sides_agree() -> None:
    """Nothing is found, and both sums are there."""
    result = lined_up((piece(),), row())
    assert (result.agrees, result.booked_nusd, result.billed_nusd) == (True, COST, COST)


def test_a_price_finding_says_which_version_explains_it() -> None:
    """With its prices, so that a reader can see which tier or hours were charged."""
    (finding,) = lined_up((piece(version=2),), row()).findings
    assert "price version 1" in finding.sentence
    assert "standard" in finding.sentence
    (finding,) = lined_up((piece(),), row(cost_nusd=COST + 20_000 * 210)).findings
    assert "output price of $2.40 instead of $2.19" in finding.sentence


def test_two_causes_on_one_day_are_two_findings() -> None:
    """More tokens, and at another price: each has its part, and both add up."""
    both = _sum(USAGE, MORE)
    result = lined_up((piece(version=2),), row(both, FULL.bill(both).total_nusd, requests=12))
    assert [cause for cause, _ in causes(result)] == [Cause.MISSING_HERE, Cause.PRICE]
    assert sum(amount for _, amount in causes(result)) == result.billed_nusd - result.booked_nusd


@pytest.mark.parametrize(("cents", "found"), [(Decimal("0.07"), []), (Decimal("0.08"), [Cause.ROUNDING])])
def test_rounding_to_the_cents_of_the_invoice_is_no_difference(cents: Decimal, found: list[Cause]) -> None:
    """$0.0740… is billed as $0.07: half a cent at most. Rounded up to $0.08 it is one, called rounding."""
    usage = Usage(40_000, 0, 0, 23_800)  # 0.074122
    result = lined_up((piece(usage),), row(usage, cents * 10**9))
    assert [cause for cause, _ in causes(result)] == found
    assert result.rounding_nusd + sum(amount for _, amount in causes(result)) == cents * 10**9 - 74_122_000


def test_days_that_begin_elsewhere_are_told_by_how_much() -> None:
    """Attempts late in the evening UTC are tomorrow's in Shanghai: eight hours make everything agree."""
    pieces = tuple(
        piece(Usage(1_000 * hour, 0, 0, 10), at_ns=DAY_NS + hour * HOUR_NS, attempts=1)
        for hour in (1, 10, 17, 23)
    )
    late = Usage(40_000, 0, 0, 20)
    early = Usage(11_000, 0, 0, 20)
    text = row(early, FULL.bill(early).total_nusd, requests=2)
    text += row(late, FULL.bill(late).total_nusd, day=DAY + timedelta(days=1), requests=2)
    result = lined_up(pieces, text, days=2)
    assert [cause for cause, _ in causes(result)] == [Cause.DAY, Cause.DAY]
    assert result.offset_h > 6
    assert sum(amount for _, amount in causes(result)) == 0
    assert lined_up(pieces, text, days=2, zone=timezone(timedelta(hours=8))).agrees


def test_what_moved_to_the_next_day_is_found_beside_other_differences() -> None:
    """An attempt at midnight, though no offset explains the rest."""
    pieces = (piece(), piece(at_ns=DAY_NS + 24 * HOUR_NS), piece(at_ns=DAY_NS + 48 * HOUR_NS))
    text = row(_sum(USAGE, Usage(-1_000)), COST - 550_000, requests=9)
    text += row(_sum(USAGE, Usage(1_000)), COST + 550_000, day=DAY + timedelta(days=1), requests=11)
    text += row(cost_nusd=COST + CACHED_IN_FULL, day=DAY + timedelta(days=2))
    found = causes(lined_up(pieces, text, days=3))
    assert found == [(Cause.DAY, -550_000), (Cause.DAY, 550_000), (Cause.CACHED_IN_FULL, CACHED_IN_FULL)]


def test_an_invoice_without_tokens_is_compared_by_its_amounts() -> None:
    """Prices that give the amount are tried first, then retries, unknown and estimated attempts."""
    header = "date,model,cost\n"

    def cost_row(cost: int) -> str:
        return f"2025-11-24,r1,{Decimal(cost) / 10**9:f}\n"

    cases = (
        ((piece(),), COST + CACHED_IN_FULL, Cause.CACHED_IN_FULL),
        ((piece(version=2),), COST, Cause.PRICE),
        ((piece(), piece(RETRY, retry=True)), COST + 2 * RETRY_COST, Cause.RETRIES),
        (
            (piece(), piece(Usage(), ending=Ending.UNKNOWN, at_most_nusd=200_001)),
            COST + 123_457,
            Cause.UNKNOWN,
        ),
        ((piece(), piece(MORE, estimated=True)), COST + MORE_COST - 123_457, Cause.ESTIMATED),
        ((piece(),), COST + 123_457, Cause.UNEXPLAINED),
    )
    for pieces, cost, cause in cases:
        result = lined_up(pieces, cost_row(cost), header=header)
        assert causes(result) == [(cause, cost - sum(one.cost_nusd for one in pieces))]


def test_an_export_without_costs_is_priced_as_the_ledger_is() -> None:
    """Only what was counted can differ then; its value is that of our prices."""
    header = "date,model,requests,prompt_tokens,cached_tokens,completion_tokens\n"
    more = _sum(USAGE, MORE)
    text = f"2025-11-24,r1,12,{more.prompt_tokens},{more.cached_tokens},{more.output_tokens}\n"
    assert causes(lined_up((piece(),), text, header=header)) == [(Cause.MISSING_HERE, MORE_COST)]
    assert lined_up((piece(more),), text, header=header).agrees


def test_single_attempts_are_lined_up_where_the_invoice_names_them() -> None:
    """By our id or the host's: what is missing on either side, and what is there twice, is named."""
    header = "date,model,request_id,prompt_tokens,cached_tokens,completion_tokens,cost\n"
    ids = ("req-a-1", "req-b-1", "req-c-1")
    pieces = tuple(piece(MORE, attempts=1, ids=(name, f"chatcmpl-{name}")) for name in ids)
    text = "".join(
        f"2025-11-24,r1,{name},1000,0,500,{Decimal(MORE_COST) / 10**9:f}\n"
        for name in ("req-a-1", "chatcmpl-req-b-1", "chatcmpl-req-b-1", "chatcmpl-else")
    )
    found = {one.attempt: (one.cause, one.nusd) for one in lined_up(pieces, text, header=header).findings}
    assert found == {
        "chatcmpl-else": (Cause.MISSING_HERE, MORE_COST),
        "req-b-1": (Cause.TWICE, MORE_COST),
        "req-c-1": (Cause.MISSING_AT_HOST, -MORE_COST),
    }


def test_a_model_of_another_name_has_to_be_mapped() -> None:
    """One finding for all of its lines says how."""
    text = row().replace("r1", "reasoner") + row().replace("r1", "reasoner")
    result = lined_up((piece(),), text)
    unknown = next(one for one in result.findings if one.cause is Cause.UNMAPPED)
    assert (unknown.nusd, "--map reasoner=" in unknown.sentence) == (2 * COST, True)
    invoice = read_invoice((HEADER + row().replace("r1", "reasoner")).splitlines(keepends=True), {})
    days = (DAY, DAY + timedelta(days=1))
    assert reconcile(invoice, BookedAtHost((piece(),), VERSIONS), days, UTC, {"reasoner": MODEL}).agrees


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3),
            st.integers(0, 10**5),
            st.integers(0, 10**5),
            st.integers(-(10**8), 10**8),
            st.booleans(),
        ),
        max_size=6,
    ),
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 10**5), st.sampled_from(Ending), st.booleans()),
        max_size=6,
    ),
    st.sampled_from([10**7, 10**3, 1]),
)
@settings(max_examples=200, deadline=None)
def test_the_findings_and_the_rounding_add_up_to_the_difference(
    billed: list[tuple[int, int, int, int, bool]], ours: list[tuple[int, int, Ending, bool]], step: int
) -> None:
    """Whatever the two sides are: no cent of the difference is explained twice, and none is left out."""
    pieces = tuple(
        piece(
            Usage(tokens, tokens // 3, 0, tokens // 2) if ending is Ending.SETTLED else Usage(),
            at_ns=DAY_NS + day * 24 * HOUR_NS,
            ending=ending,
            retry=flag,
            estimated=flag,
        )
        for day, tokens, ending, flag in ours
    )
    text = "".join(
        row(
            Usage(prompt, prompt // 3, 0, output),
            amount // step * step,
            day=DAY + timedelta(days=day),
            requests=1,
        )
        if has_tokens
        else f"{DAY + timedelta(days=day)},,,,,,{Decimal(amount) / 10**9:f},fee\n"
        for day, prompt, output, amount, has_tokens in billed
    )
    result = lined_up(pieces, text, days=4)
    found = sum((finding.nusd for finding in result.findings), result.rounding_nusd)
    assert found == result.billed_nusd - result.booked_nusd
    slack = Decimal(step) * len(billed) / 2 + 3 * 10 * len(pieces)
    assert abs(result.rounding_nusd) <= slack
    for one in result.compared:
        cell = one.billed_nusd - one.booked_nusd
        assert one.findings or abs(cell) <= slack


def test_what_is_booked_at_a_host_is_read_with_its_corrections() -> None:
    """By price version, ending and quarter of an hour; other hosts' attempts are not in it."""
    names = (
        NameEndpoint(1, "r1@x", MODEL, "x"),
        NameEndpoint(2, "r1@y", MODEL, "y"),
        NamePrices(1, 1, 0, 550_000_000, 2_190_000_000),
    )
    elsewhere = msgspec.structs.replace(make.reserve(9), endpoint_id=2)
    retry = make.reserve(3, attempt=2)
    entries = (
        *(make.reserve(1), make.settle(1, 600), make.correct(1, 50)),
        *(
            make.reserve(2),
            make.expire(2, 900),
            retry,
            make.void(3, attempt=2),
            make.reserve(4, 77),
            elsewhere,
        ),
    )
    with TemporaryDirectory() as folder, Store.open(Path(folder, "ledger.sqlite")) as store:
        store.post([*names, *entries], Position(1, 1))
        all_of_x = booked(store, "x", Window())
        none_of_x = booked(store, "x", Window(make.AT_NS + 1))
        by_attempt = booked(store, "x", Window(), by_attempt=True)
    assert sum(one.cost_nusd for one in all_of_x.pieces) == 650
    endings = {one.ending: (one.attempts, one.at_most_nusd) for one in all_of_x.pieces if one.attempts}
    assert endings == {
        Ending.SETTLED: (1, 0),
        Ending.UNKNOWN: (1, 900),
        Ending.VOID: (1, 0),
        Ending.OPEN: (1, 77),
    }
    assert [one.ending for one in all_of_x.pieces if one.retry] == [Ending.VOID]
    assert [version.number for version in all_of_x.versions] == [1]
    assert none_of_x.pieces == ()
    ids = {one.ids for one in by_attempt.pieces if one.ending is Ending.SETTLED}
    assert ids == {(f"req-{make.request_id(1).hex()}-1", "chatcmpl-1")}
    assert isinstance(retry, Reserve)
