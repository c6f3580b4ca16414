"""Prices in a configuration: rates, validity, discounts; and real ones, with bills worked out by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from entrepot.catalog.data_files import data_path
from entrepot.catalog.load import load_settings
from entrepot.catalog.settings import Settings
from entrepot.catalog.show import settings_data, settings_text
from entrepot.domain.endpoint import Endpoint
from entrepot.domain.errors import ConfigError
from entrepot.domain.prices import Prices
from entrepot.domain.tariff import NS_PER_S, BillsBy, Tariff
from entrepot.domain.usage import Usage

HOST = '[[hosts]]\nname = "h"\nbase_url = "https://api.h.example/v1"\nauth = "none"\n'
ENDPOINT = '[[hosts.endpoints]]\nmodel = "a/b"\ncontext_tokens = 1000\n'
PLAIN = 'input_usd_per_mtok = "0.55"\ncached_input_usd_per_mtok = "0.14"\noutput_usd_per_mtok = "2.19"\n'
RATE = "[[hosts.endpoints.rates]]\n"
GOOD = HOST + ENDPOINT + PLAIN


def load(text: str, folder: Path) -> Settings:
    """Return the settings of a text."""
    file = folder / "entrepot.toml"
    file.write_text(text, encoding="utf-8")
    return load_settings(file, {})


def endpoint(text: str, folder: Path) -> Endpoint:
    """Return the one endpoint of a text."""
    (entry,) = load(text, folder).endpoints
    return entry.endpoint


def tariff_of(found: Endpoint) -> Tariff:
    """Return the endpoint's tariff, which it has to have."""
    assert found.tariff is not None
    return found.tariff


def ns(text: str) -> int:
    """Return Unix nanoseconds of an instant in UTC."""
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * NS_PER_S


# -- real prices


USAGE = Usage(uncached_tokens=7_000, cached_tokens=3_000, output_tokens=2_000)
LONG = Usage(uncached_tokens=150_000, cached_tokens=50_000, output_tokens=1_000)
LONGER = Usage(uncached_tokens=150_001, cached_tokens=50_000, output_tokens=1_000)
R1, V4, GEMINI = "deepseek/deepseek-r1", "deepseek/deepseek-v4-pro", "google/gemini-2.5-pro"
CLAUDE = "anthropic/claude-sonnet-4.5"

# model, instant that counts (UTC), usage, cost in nano-dollars worked out by hand
BILLS = [
    # 7,000 × $0.55 + 3,000 × $0.14 + 2,000 × $2.19 = $0.00385 + $0.00042 + $0.00438
    (R1, "2025-02-26T16:29:59", USAGE, 8_650_000),
    # 7,000 × $0.135 + 3,000 × $0.035 + 2,000 × $0.55 = $0.000945 + $0.000105 + $0.0011
    (R1, "2025-02-26T16:30:00", USAGE, 2_150_000),
    (R1, "2025-02-28T23:59:59", USAGE, 2_150_000),
    (R1, "2025-03-01T00:00:00", USAGE, 2_150_000),
    (R1, "2025-03-01T00:30:00", USAGE, 8_650_000),
    (R1, "2025-09-05T15:59:59", USAGE, 8_650_000),
    (R1, "2025-09-05T16:00:00", USAGE, None),
    (R1, "2025-09-05T17:00:00", USAGE, None),
    # 7,000 × $0.66 + 3,000 × $0.022 + 2,000 × $1.98 = $0.00462 + $0.000066 + $0.00396; twice that at peak
    (V4, "2026-08-16T15:59:59", USAGE, None),
    (V4, "2026-08-14T02:00:00", USAGE, None),
    (V4, "2026-08-16T16:00:00", USAGE, 8_646_000),
    (V4, "2026-08-17T00:59:59", USAGE, 8_646_000),
    (V4, "2026-08-17T01:00:00", USAGE, 17_292_000),
    (V4, "2026-08-17T03:59:59", USAGE, 17_292_000),
    (V4, "2026-08-17T04:00:00", USAGE, 8_646_000),
    (V4, "2026-08-17T06:00:00", USAGE, 17_292_000),
    (V4, "2026-08-17T10:00:00", USAGE, 8_646_000),
    (V4, "2026-08-22T02:00:00", USAGE, 17_292_000),  # a Saturday, when weekends were still billed so
    (V4, "2026-08-23T02:00:00", USAGE, 8_646_000),  # a Sunday
    (V4, "2026-08-24T02:00:00", USAGE, 17_292_000),
    (V4, "2026-09-25T02:00:00", USAGE, 8_646_000),  # a holiday, a Friday
    (V4, "2026-09-30T08:00:00", USAGE, 17_292_000),
    (V4, "2026-10-01T02:00:00", USAGE, 8_646_000),
    (V4, "2026-10-07T09:59:59", USAGE, 8_646_000),
    (V4, "2026-10-08T01:00:00", USAGE, 17_292_000),
    # 150,000 × $1.25 + 50,000 × $0.125 + 1,000 × $10 = $0.1875 + $0.00625 + $0.01
    (GEMINI, "2026-11-26T00:00:00", LONG, 203_750_000),
    # one token more: 150,001 × $2.50 + 50,000 × $0.25 + 1,000 × $15 = $0.3750025 + $0.0125 + $0.015
    (GEMINI, "2026-11-26T00:00:00", LONGER, 402_502_500),
    # less 12.5 %: 150,000 × $2.625 + 50,000 × $0.2625 + 1,000 × $13.125 = $0.39375 + $0.013125 + $0.013125
    (CLAUDE, "2026-01-15T00:00:00", LONG, 420_000_000),
    # 150,001 × $5.25 + 50,000 × $0.525 + 1,000 × $19.6875 = $0.78750525 + $0.02625 + $0.0196875
    (CLAUDE, "2026-01-15T00:00:00", LONGER, 833_442_750),
    # the tier is gone: 150,001 × $2.625 + …
    (CLAUDE, "2026-04-30T00:00:00", LONGER, 420_002_625),
]


@pytest.mark.parametrize(("model", "at", "usage", "cost_nusd"), BILLS)
def test_real_prices_bill_to_the_nano_dollar(
    model: str, at: str, usage: Usage, cost_nusd: int | None
) -> None:
    """data/examples/prices.toml, at the instants where its prices change; None is unknown."""
    settings = load_settings(data_path("examples/prices.toml"), {})
    found = next(entry.endpoint for entry in settings.endpoints if entry.endpoint.model == model)
    prices = tariff_of(found).prices_at(ns(at), usage.prompt_tokens)
    assert (None if prices is None else prices.bill(usage).total_nusd) == cost_nusd


def test_the_example_shows_what_loads_to_the_same_prices(tmp_path: Path) -> None:
    """Absolute and net, whatever factor, discount or list made them: the second time nothing is applied."""
    loaded = load_settings(data_path("examples/prices.toml"), {})
    again = load(settings_text(loaded), tmp_path)
    assert [entry.endpoint for entry in again.endpoints] == [entry.endpoint for entry in loaded.endpoints]
    assert settings_data(again) == settings_data(loaded)
    hosts = settings_data(loaded)["hosts"]
    assert isinstance(hosts, list)
    rate = hosts[0]["endpoints"][0]["rates"][0]
    assert (rate["daily"], rate["zone"], rate["from"]) == ("16:30-00:30", "UTC", "2025-02-26T16:30:00Z")


# -- what the keys mean


def test_every_key_of_a_plain_card_arrives(tmp_path: Path) -> None:
    """Reasoning and hours of cache too, beside the others."""
    text = GOOD + 'cache_write_1h_usd_per_mtok = "1.1"\nreasoning_usd_per_mtok = 3\n'
    assert endpoint(text, tmp_path).prices == Prices(
        550_000_000,
        2_190_000_000,
        cached_nusd_per_mtok=140_000_000,
        cache_write_1h_nusd_per_mtok=1_100_000_000,
        reasoning_nusd_per_mtok=3_000_000_000,
        source="entrepot.toml",
    )
    assert endpoint(text, tmp_path).tariff is None


def test_a_factor_is_exact_and_a_card_of_its_own_inherits_no_price(tmp_path: Path) -> None:
    """What a card leaves out falls back within it: the dearer reading, and what `config show` would print."""
    text = GOOD + 'price_checked = 2026-01-02\nprice_source = "page"\n'
    text += RATE + 'factor = "0.25"\ndaily = "16:30-00:30"\n'
    text += (
        RATE
        + 'above_prompt_tokens = 500\ninput_usd_per_mtok = 1\noutput_usd_per_mtok = 4\nsource = "other"\n'
    )
    quarter, long = (rate.prices for rate in tariff_of(endpoint(text, tmp_path)).rates)
    assert quarter == Prices(
        137_500_000,
        547_500_000,
        cached_nusd_per_mtok=35_000_000,
        source="page",
        checked="2026-01-02",
        label="16:30–00:30 UTC",
    )
    assert (long.cached_nusd_per_mtok, long.source, long.checked) == (None, "other", "2026-01-02")
    assert long.label == "prompts above 500 tokens"


@pytest.mark.parametrize(
    ("keys", "label"),
    [
        ('daily = "09:00-12:00"\nweekdays = ["tue", "Mon", "wed"]\n', "09:00–12:00 UTC, Mon–Wed"),
        ('weekdays = ["sat", "sun"]\nzone = "Asia/Tokyo"\n', "00:00–24:00 Asia/Tokyo, Sat, Sun"),
        ('from = 2026-03-29\nzone = "Europe/Berlin"\n', "from 2026-03-28 23:00 UTC"),
        ('from = 2026-03-29T12:00:00\nzone = "Europe/Berlin"\n', "from 2026-03-29 10:00 UTC"),
        ("until = 2026-08-16T16:00:01Z\n", "until 2026-08-16 16:00:01 UTC"),
        ("until = 2026-08-16T16:00:00+08:00\n", "until 2026-08-16 08:00 UTC"),
        ("above_prompt_tokens = 200000\n", "prompts above 200,000 tokens"),
        (
            'daily = "16:30–00:30"\nabove_prompt_tokens = 5\nfrom = 2026-01-01\nuntil = 2027-01-01\n',
            "16:30–00:30 UTC, prompts above 5 tokens, from 2026-01-01 00:00 UTC, until 2027-01-01 00:00 UTC",
        ),
    ],
)
def test_a_rate_says_in_words_when_it_applies(keys: str, label: str, tmp_path: Path) -> None:
    """Its label: dates are midnights of the rate's zone, instants are what they are."""
    (rate,) = tariff_of(endpoint(GOOD + RATE + "factor = 2\n" + keys, tmp_path)).rates
    assert rate.prices.label == label


def test_a_rate_is_valid_as_long_as_the_plain_card_unless_it_says_otherwise(tmp_path: Path) -> None:
    """A factor of prices that are over is no price."""
    text = GOOD + "price_valid_from = 2026-01-01\nprice_valid_until = 2026-06-01\n"
    text += RATE + 'factor = 2\ndaily = "09:00-12:00"\n'
    text += RATE + 'factor = 3\ndaily = "13:00-14:00"\nuntil = 2026-02-01\n'
    tariff = tariff_of(endpoint(text, tmp_path))
    assert tariff.plain is not None
    spans = [(rate.valid_from_ns, rate.valid_until_ns) for rate in tariff.all_rates]
    start = ns("2026-01-01T00:00:00")
    assert spans == [
        (start, ns("2026-06-01T00:00:00")),
        (start, ns("2026-02-01T00:00:00")),
        (start, ns("2026-06-01T00:00:00")),
    ]


def test_the_instant_that_counts_is_the_sending_unless_the_file_says_otherwise(tmp_path: Path) -> None:
    """`bills_by` beside rates or an end of validity."""
    text = GOOD + "price_valid_from = 2026-01-01\n"
    assert tariff_of(endpoint(text, tmp_path)).bills_by is BillsBy.SENT
    text += 'bills_by = "completed"\n'
    assert tariff_of(endpoint(text, tmp_path)).bills_by is BillsBy.COMPLETED


def test_rates_may_stand_without_plain_prices(tmp_path: Path) -> None:
    """Outside of them the price is unknown, and not the last one."""
    text = HOST + ENDPOINT + RATE + 'daily = "09:00-12:00"\ninput_usd_per_mtok = 1\noutput_usd_per_mtok = 2\n'
    found = endpoint(text, tmp_path)
    assert found.prices is None
    tariff = tariff_of(found)
    assert tariff.prices_at(ns("2026-01-01T10:00:00"), 1) is not None
    assert tariff.prices_at(ns("2026-01-01T12:00:00"), 1) is None


# -- discounts


def discounted(folder: Path, host: str, own: str = "") -> Prices:
    """Return the prices of an endpoint whose host and itself state discounts."""
    prices = endpoint(HOST + host + ENDPOINT + PLAIN + own, folder).prices
    assert prices is not None
    return prices


def test_a_contract_takes_its_part_off_every_price_of_the_host(tmp_path: Path) -> None:
    """12.5 % off $0.55, $0.14, $2.19; the source tells."""
    prices = discounted(tmp_path, 'discount_percent = "12.5"\ndiscount_source = "contract 7"\n')
    assert prices.input_nusd_per_mtok == 481_250_000
    assert prices.cached_nusd_per_mtok == 122_500_000
    assert prices.output_nusd_per_mtok == 1_916_250_000
    assert prices.source == "entrepot.toml, less 12.5 % (contract 7)"


def test_an_endpoints_own_discount_replaces_the_hosts(tmp_path: Path) -> None:
    """Also by none; the source of the discount is the host's unless the endpoint has one."""
    host = 'discount_percent = 10\ndiscount_source = "c"\n'
    assert discounted(tmp_path, host, "discount_percent = 0\n").input_nusd_per_mtok == 550_000_000
    own = discounted(tmp_path, host, 'discount_percent = "50"\n')
    assert (own.input_nusd_per_mtok, own.source) == (275_000_000, "entrepot.toml, less 50 % (c)")
    assert discounted(tmp_path, "discount_percent = 100\n").output_nusd_per_mtok == 0


def test_a_discounted_price_is_rounded_half_up_to_the_nano_dollar(tmp_path: Path) -> None:
    """Half a nano-dollar is one, on rates too."""
    text = HOST + "discount_percent = 50\n" + ENDPOINT
    text += 'input_usd_per_mtok = "0.000000001"\noutput_usd_per_mtok = "0.000000003"\n'
    text += RATE + 'weekdays = ["sun"]\nfactor = "0.5"\n'
    tariff = tariff_of(endpoint(text, tmp_path))
    assert tariff.plain is not None
    assert [
        (card.input_nusd_per_mtok, card.output_nusd_per_mtok)
        for card in (tariff.plain.prices, tariff.rates[0].prices)
    ] == [(1, 2), (1, 1)]


# -- mistakes


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (PLAIN + RATE + "factor = 2\n", "rates[0]: daily is missing; write when it applies"),
        (PLAIN + RATE + 'daily = "9-12"\nfactor = 2\n', "rates[0].daily: '9-12' is not a time of day"),
        (PLAIN + RATE + 'daily = "24:00-25:00"\nfactor = 2\n', "rates[0].daily: '24:00-25:00' is not a time"),
        (PLAIN + RATE + 'weekdays = ["monday"]\nfactor = 2\n', "weekdays: 'monday' is not one of mon, tue"),
        (PLAIN + RATE + "weekdays = []\nfactor = 2\n", "weekdays: is empty"),
        (
            PLAIN + RATE + 'daily = "01:00-02:00"\nzone = "Asia/Shangai"\nfactor = 2\n',
            "rates[0].zone: 'Asia/Shangai' is not a time zone; did you mean Asia/Shanghai?",
        ),
        (
            PLAIN + RATE + 'zone = "../etc"\nfrom = 2026-01-01\nfactor = 2\n',
            "zone: '../etc' is not a time zone",
        ),
        (PLAIN + RATE + 'zone = "Asia"\nfrom = 2026-01-01\nfactor = 2\n', "zone: 'Asia' is not a time zone"),
        (PLAIN + RATE + 'from = "soon"\nfactor = 2\n', "rates[0].from: expected a date or an instant"),
        (PLAIN + RATE + "from = 0001-01-01\nfactor = 2\n", "rates[0].from: 0001-01-01 is out of range"),
        (
            PLAIN + RATE + "from = 2026-02-01\nuntil = 2026-02-01\nfactor = 2\n",
            "rates[0].until: is not after from",
        ),
        (
            PLAIN + RATE + "from = 2026-02-01\nfactor = -1\n",
            "factor: -1: expected a number between 0 and 1000",
        ),
        (PLAIN + RATE + "from = 2026-02-01\nfactor = nan\n", "factor: NaN: expected a number"),
        (
            PLAIN + RATE + "from = 2026-02-01\nfactor = 2\noutput_usd_per_mtok = 1\n",
            "rates[0].output_usd_per_mtok: is a price beside a factor",
        ),
        (RATE + "from = 2026-02-01\nfactor = 2\n", "rates[0].factor: has no plain prices to multiply"),
        (
            PLAIN + RATE + "from = 2026-02-01\n",
            'rates[0]: output_usd_per_mtok is missing; write the price of output, such as "2.19", or write',
        ),
        (PLAIN + RATE + "above_prompt_tokens = 0\nfactor = 2\n", "rates[0].above_prompt_tokens: 0 is out of"),
        (
            PLAIN + RATE + "above_promt_tokens = 5\n",
            "above_promt_tokens: unknown key; did you mean above_prompt",
        ),
        (PLAIN + "rates = 5\n", "endpoints[0].rates: expected an array of tables"),
        (PLAIN + 'bills_by = "arrival"\n', "bills_by: 'arrival' is not one of completed, sent"),
        (PLAIN + "discount_percent = 101\n", "discount_percent: 101: expected a number between 0 and 100"),
        (PLAIN + 'discount_source = "c"\n', "endpoints[0]: discount_percent is missing"),
        ("price_valid_from = 2026-01-01\n", "endpoints[0]: input_usd_per_mtok is missing"),
        (
            PLAIN.replace("cached_input", "cached_imput"),
            "unknown key; did you mean cached_input_usd_per_mtok?",
        ),
        ("input_usd_per_mtk = 1\n", "input_usd_per_mtk: unknown key; did you mean input_usd_per_mtok?"),
    ],
)
def test_each_mistake_is_named_with_its_place(text: str, problem: str, tmp_path: Path) -> None:
    """The table, the key, what was found and what to write."""
    with pytest.raises(ConfigError) as caught:
        load(HOST + ENDPOINT + text, tmp_path)
    assert any(problem in found for found in caught.value.problems), caught.value.problems


def test_mistakes_of_several_rates_are_reported_together(tmp_path: Path) -> None:
    """Each with its own line."""
    text = GOOD + RATE + 'daily = "x"\nfactor = 2\n' + RATE + "from = 2026-01-01\nfactor = 9999\n"
    with pytest.raises(ConfigError) as caught:
        load(text, tmp_path)
    assert [problem.removeprefix(f"{tmp_path}/")[:47] for problem in caught.value.problems] == [
        "entrepot.toml:12: hosts[0].endpoints[0].rates[0",
        "entrepot.toml:16: hosts[0].endpoints[0].rates[1",
    ]
