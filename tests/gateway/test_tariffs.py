"""Endpoints with more than one price: entries name the card that was used, routing goes by the hour."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import time_ns

import msgspec

from entrepot.catalog.settings import EndpointSettings
from entrepot.domain.money import nusd_from_usd
from entrepot.domain.prices import Prices
from entrepot.domain.tariff import LONGEST_ANSWER_NS, NS_PER_S, BillsBy, Rate, Tariff
from entrepot.ledger.entries import NamePrices
from entrepot.testing.gateway_here import MODEL
from entrepot.testing.scripted_host import completion, plain
from tests.gateway.scene import Scene, chat, scene, until

USD = nusd_from_usd(1)
PLAIN = Prices(1_000_000_000, 2_000_000_000)
DEAR = Prices(10_000_000_000, 20_000_000_000, label="peak")
LONG = Prices(3_000_000_000, 6_000_000_000, label="prompts above 1,000 tokens")


def priced(tariff: Tariff) -> Callable[[EndpointSettings], EndpointSettings]:
    """Return a change that gives host a this tariff."""

    def change(entry: EndpointSettings) -> EndpointSettings:
        if entry.host.name != "a":
            return entry
        plain_card = None if tariff.plain is None else tariff.plain.prices
        endpoint = msgspec.structs.replace(entry.endpoint, prices=plain_card, tariff=tariff)
        return msgspec.structs.replace(entry, endpoint=endpoint)

    return change


def label_of(s: Scene, version: int) -> str:
    """Return the label of a price version in the journal."""
    return next(
        entry.label
        for entry in s.here.entries()
        if isinstance(entry, NamePrices) and entry.price_version == version
    )


async def test_a_long_prompt_is_billed_at_its_tier_and_every_entry_says_which(tmp_path: Path) -> None:
    """The reserve carries the card at sending, the settle the one that the reported prompt has."""
    tariff = Tariff(Rate(PLAIN), (Rate(LONG, above_prompt_tokens=1000),))
    async with scene(tmp_path, hosts=1, change=priced(tariff)) as s:
        for prompt_tokens in (1000, 1001):
            s.a.script(plain(completion("Hi", prompt_tokens, 5)))
            assert (await s.here.post(chat("x" * 100, max_tokens=10))).status == 200
        short, long = s.settles()
        assert (short.bill.total_nusd, long.bill.total_nusd) == (1_010_000, 3_033_000)
        assert [label_of(s, entry.price_version) for entry in (short, long)] == ["", LONG.label]
        assert [label_of(s, entry.price_version) for entry in s.reserves()] == ["", ""]
        assert long.bill.total_nusd <= s.reserves()[1].amount_nusd


async def test_a_reservation_takes_the_dearest_price_until_the_host_bills(tmp_path: Path) -> None:
    """Peak hours that begin in half an hour count where the completion decides the price, else not."""
    amounts = []
    for bills_by in BillsBy:
        peak = Rate(DEAR, valid_from_ns=time_ns() + LONGEST_ANSWER_NS // 2)
        tariff = Tariff(Rate(PLAIN), (peak,), bills_by)
        async with scene(tmp_path / bills_by, hosts=1, change=priced(tariff)) as s:
            s.a.script(plain(completion("Hi")))
            await s.here.post(chat(max_tokens=10))
            amounts.append(s.reserves()[0].amount_nusd)
            assert s.settles()[0].bill.total_nusd == 20_000  # 10 tokens at $1, 5 at $2
    assert amounts[1] > 9 * amounts[0]


async def test_routing_goes_by_the_price_of_this_hour(tmp_path: Path) -> None:
    """Host a is the cheapest until its peak begins while the gateway runs; then b is."""
    tariff = Tariff(Rate(PLAIN), (Rate(DEAR, valid_from_ns=time_ns() + 3 * NS_PER_S // 2),))
    async with scene(tmp_path, change=priced(tariff)) as s:
        for host in s.hosts:
            host.script(plain(completion("Hi")))
        endpoints = s.here.gateway.router.endpoints
        assert endpoints[0].prices == PLAIN
        await until(lambda: s.here.gateway.router.endpoints[0].prices == DEAR, "it was not repriced")
        assert (await s.here.post(chat(max_tokens=10))).status == 200
        assert await s.ended() == ["b settle OK"]
        shown = (await s.here.get(f"/v1/models/{MODEL}/endpoints")).json["data"]
        assert isinstance(shown, dict)
        assert shown["endpoints"][0]["pricing"]["label"] == "peak"
        assert [card["input_usd_per_mtok"] for card in shown["endpoints"][0]["rates"]] == ["10", "1"]


async def test_a_price_that_is_not_valid_yet_is_unknown(tmp_path: Path) -> None:
    """A key with a budget is told what to look at; one without goes there, and nothing is booked as free."""
    tariff = Tariff(Rate(PLAIN, valid_from_ns=time_ns() + LONGEST_ANSWER_NS))
    async with scene(tmp_path / "budget", hosts=1, change=priced(tariff), budget_nusd=USD) as s:
        answer = await s.here.post(chat(max_tokens=10))
        error = answer.json["error"]
        assert isinstance(error, dict)
        assert error["code"] == "no_priced_endpoint"
        assert "price_valid_from" in error["message"]
        assert s.a.connections == 0
    async with scene(tmp_path / "free", hosts=1, change=priced(tariff)) as s:
        s.a.script(plain(completion("Hi")))
        assert (await s.here.post(chat(max_tokens=10))).status == 200
        assert [entry.price_version for entry in (*s.reserves(), *s.settles())] == [0, 0]


async def test_a_key_with_a_budget_is_told_what_to_write_where_no_price_is_known(tmp_path: Path) -> None:
    """The keys, the endpoint that lacks them, and the other way: a provider's list."""

    def unpriced(entry: EndpointSettings) -> EndpointSettings:
        return msgspec.structs.replace(entry, endpoint=msgspec.structs.replace(entry.endpoint, prices=None))

    async with scene(tmp_path, hosts=1, change=unpriced, budget_nusd=USD) as s:
        error = (await s.here.post(chat(max_tokens=10))).json["error"]
        assert isinstance(error, dict)
        place = f"[[hosts.endpoints]] of {MODEL} at the host a"
        for words in ("input_usd_per_mtok", "output_usd_per_mtok", place, "price_list", "entrepot[prices]"):
            assert words in error["message"]
