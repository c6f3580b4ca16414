"""List prices of genai-prices: found by URL or name, converted whole, and absent without the package."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path

import pytest
from genai_prices.types import (
    ClauseEquals,
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    Provider,
    StartDateConstraint,
    Tier,
    TieredPrices,
    TimeOfDateConstraint,
    Usage,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from entrepot.catalog import list_prices
from entrepot.catalog.list_prices import INSTALL, ListPrices, converted
from entrepot.catalog.load import load_settings
from entrepot.domain.endpoint import Endpoint, Operation
from entrepot.domain.errors import ConfigError
from entrepot.domain.prices import Prices
from entrepot.domain.tariff import NS_PER_S, Rate, Tariff
from entrepot.domain.usage import Usage as Tokens

CHAT, EMBEDDING = frozenset({Operation.CHAT}), frozenset({Operation.EMBEDDING})
LISTS = ListPrices()


def tiered(base: str, *tiers: tuple[int, str]) -> TieredPrices:
    """Return a price with tiers."""
    return TieredPrices(Decimal(base), [Tier(start, Decimal(price)) for start, price in tiers])


# As the package writes them: the last condition that holds counts, the first entry if none does.
PEAK = ModelInfo(
    id="peak",
    match=ClauseEquals("peak"),
    prices=[
        ConditionalPrice(prices=ModelPrice(input_mtok=Decimal("0.435"), output_mtok=Decimal("0.87"))),
        ConditionalPrice(
            StartDateConstraint(date(2026, 8, 17)),
            prices=ModelPrice(
                input_mtok=tiered("0.66", (1000, "0.99"), (5000, "1.5")),
                output_mtok=tiered("1.98", (5000, "3")),
                cache_read_mtok=Decimal("0.022"),
                cache_write_mtok=Decimal("0.8"),
                cache_write_1h_mtok=Decimal("1.1"),
                requests_kcount=Decimal("2.5"),
                web_searches_kcount=Decimal(10),
            ),
        ),
        ConditionalPrice(
            TimeOfDateConstraint(time(22, 30, tzinfo=UTC), time(1, 15, tzinfo=UTC)),
            prices=ModelPrice(input_mtok=Decimal("1.32"), output_mtok=Decimal("3.96")),
        ),
        ConditionalPrice(
            TimeOfDateConstraint(
                time(9, tzinfo=timezone(timedelta(hours=8))), time(12, tzinfo=timezone(timedelta(hours=8)))
            ),
            prices=ModelPrice(input_mtok=Decimal(2), output_mtok=Decimal(4)),
        ),
    ],
)
SELLER = Provider(id="seller", name="Seller", api_pattern="https://x", models=[PEAK])


def in_full(info: ModelInfo) -> Tariff:
    """Return what the package lists as a tariff, also where it is one card."""
    priced = converted(info, "source", CHAT)
    assert priced is not None
    assert priced.prices is not None
    return priced.tariff or Tariff(Rate(priced.prices))


FIRST_DAY = datetime(2026, 8, 15, tzinfo=UTC)  # two days before the change of 2026-08-17


@settings(deadline=None)  # the package builds its tables at the first call
@given(
    st.integers(0, 4 * 24 * 3600 - 1).map(lambda second: FIRST_DAY + timedelta(seconds=second)),
    st.integers(0, 10_000) | st.sampled_from([1000, 1001, 5000, 5001]),
    st.integers(0, 10_000),
)
def test_a_converted_tariff_costs_what_the_package_works_out(at: datetime, prompt: int, output: int) -> None:
    """At any minute around the change, in the bands and out of them, below, at and above the tiers."""
    at_ns = round(at.timestamp()) * NS_PER_S
    theirs = PEAK.calc_price(
        Usage(input_tokens=prompt, output_tokens=output),
        SELLER,
        genai_request_timestamp=at,
    )
    prices = in_full(PEAK).prices_at(at_ns, prompt)
    assert prices is not None
    ours = prices.bill(Tokens(uncached_tokens=prompt, output_tokens=output)).total_nusd
    assert abs(theirs.total_price * 10**9 - ours) <= 1  # two lines, each rounded by half a nano-dollar


def test_every_kind_of_token_arrives() -> None:
    """Cached, kept for an hour, by the request; other media have no line in a bill of tokens."""
    long = in_full(PEAK).prices_at(round(datetime(2026, 8, 20, 12, tzinfo=UTC).timestamp()) * NS_PER_S, 6000)
    assert long == Prices(
        1_500_000_000,
        3_000_000_000,
        cached_nusd_per_mtok=22_000_000,
        cache_write_nusd_per_mtok=800_000_000,
        request_nusd=2_500_000,
        source="source",
        cache_write_1h_nusd_per_mtok=1_100_000_000,
        label="prompts above 5,000 tokens, from 2026-08-17 00:00 UTC",
    )


def test_what_is_not_priced_by_tokens_is_not_priced() -> None:
    """Audio by the hour, or text whose output nobody lists: unknown, and not free."""
    audio = ModelInfo("a", ClauseEquals("a"), prices=ModelPrice(input_audio_hours=Decimal(1)))
    inputs = ModelInfo("e", ClauseEquals("e"), prices=ModelPrice(input_mtok=Decimal("0.02")))
    assert converted(audio, "source", CHAT) is None
    assert converted(inputs, "source", CHAT) is None
    priced = converted(inputs, "source", EMBEDDING)
    assert priced is not None
    assert priced.prices == Prices(20_000_000, 0, source="source")


def test_everything_that_the_package_lists_converts_or_is_refused() -> None:
    """All of its models: a tariff that has a price at any time, or none at all."""
    listed = list(LISTS.of_all_providers(("gpt-4o-mini", "deepseek-chat", "gemini-2.5-pro")))
    assert {one.provider for one in listed} >= {"openai", "deepseek", "google"}
    count = 0
    for info in LISTS.models():
        priced = converted(info, "source", CHAT)
        if priced is not None and priced.tariff is not None:
            count += 1
            assert priced.tariff.prices_at(0, 0) is not None
            assert priced.tariff.prices_at(2**62, 10**6) is not None
    assert count > 10


# -- in a configuration


def endpoint(folder: Path, url: str, model: str, host: str = "", own: str = "") -> Endpoint:
    """Return an endpoint of a configuration that states no price unless `own` does."""
    file = folder / "entrepot.toml"
    file.write_text(
        f'[[hosts]]\nname = "h"\nbase_url = "{url}"\nauth = "none"\n{host}'
        f'[[hosts.endpoints]]\nmodel = "a/b"\nupstream_model = "{model}"\ncontext_tokens = 1000\n{own}'
    )
    return load_settings(file, {}).endpoints[0].endpoint


def test_an_endpoint_without_a_price_has_the_list_price_of_its_host(tmp_path: Path) -> None:
    """Found by the URL; the source has the package's version, the provider and its name of the model."""
    prices = endpoint(tmp_path, "https://api.openai.com/v1", "gpt-4o-mini").prices
    assert prices is not None
    assert prices.source == f"genai-prices {version('genai-prices')}, openai/gpt-4o-mini"
    assert prices.input_nusd_per_mtok > 0


def test_bands_and_tiers_come_with_it(tmp_path: Path) -> None:
    """DeepSeek's hours, Gemini's long prompts."""
    banded = endpoint(tmp_path, "https://api.deepseek.com/v1", "deepseek-v4-pro").tariff
    assert banded is not None
    assert any(rate.band is not None for rate in banded.rates)
    long = endpoint(
        tmp_path, "https://generativelanguage.googleapis.com/v1beta/openai", "gemini-2.5-pro"
    ).tariff
    assert long is not None
    assert [rate.above_prompt_tokens for rate in long.rates] == [200_000]


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://api.openai.com/v1", 'price_list = "none"\n'),
        ("https://api.openai.com/v1", "simulated = true\n"),
        ("https://llm.intranet.local/v1", ""),
        ("http://127.0.0.1:8000/v1", ""),
        ("http://[::1]:8000/v1", ""),
        ("http://rack:8000/v1", ""),
        ("https://api.nobody-knows-this.com/v1", ""),
    ],
)
def test_no_list_price_where_none_is_wanted_or_known(tmp_path: Path, url: str, host: str) -> None:
    """Switched off, simulated, our own machines, an unknown company."""
    assert endpoint(tmp_path, url, "gpt-4o-mini", host).prices is None


def test_a_model_that_the_provider_does_not_list_is_unknown(tmp_path: Path) -> None:
    """And not priced like its neighbour."""
    assert endpoint(tmp_path, "https://api.openai.com/v1", "weights-of-our-own").prices is None


def test_the_configuration_comes_before_the_list(tmp_path: Path) -> None:
    """Any price in the file: nothing is mixed."""
    own = "input_usd_per_mtok = 1\noutput_usd_per_mtok = 2\n"
    found = endpoint(tmp_path, "https://api.deepseek.com/v1", "deepseek-v4-pro", own=own)
    assert found.prices == Prices(10**9, 2 * 10**9, source="entrepot.toml")
    assert found.tariff is None


def test_a_host_may_name_its_list_and_a_contract_may_cut_it(tmp_path: Path) -> None:
    """A proxy of our own in front of a provider, at half the price."""
    listed = endpoint(tmp_path, "https://api.openai.com/v1", "gpt-4o-mini").prices
    half = endpoint(
        tmp_path, "http://10.0.0.1/v1", "gpt-4o-mini", 'price_list = "openai"\ndiscount_percent = 50\n'
    ).prices
    assert listed is not None
    assert half is not None
    assert half.output_nusd_per_mtok * 2 == listed.output_nusd_per_mtok
    assert half.source == f"{listed.source}, less 50 %"


def test_a_list_that_is_unknown_is_a_mistake(tmp_path: Path) -> None:
    """With the nearest name."""
    with pytest.raises(
        ConfigError, match=r"hosts\[0\].price_list: 'opnai' is no provider .* did you mean openai"
    ):
        endpoint(tmp_path, "http://10.0.0.1/v1", "m", 'price_list = "opnai"\n')


@pytest.fixture
def without_package(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hide the package, as where the extra is not installed."""
    monkeypatch.setattr(list_prices, "find_spec", lambda _: None)
    return


@pytest.mark.usefixtures("without_package")
def test_without_the_package_there_are_no_list_prices(tmp_path: Path) -> None:
    """The rest works; a list that was asked for by name is a mistake that says what to install."""
    assert endpoint(tmp_path, "https://api.openai.com/v1", "gpt-4o-mini").prices is None
    assert list(ListPrices().of_all_providers(("gpt-4o-mini",))) == []
    with pytest.raises(ConfigError) as caught:
        endpoint(tmp_path, "http://10.0.0.1/v1", "m", 'price_list = "openai"\n')
    assert INSTALL in caught.value.problems[0]


def test_the_package_is_imported_only_for_an_endpoint_that_needs_it(tmp_path: Path) -> None:
    """It costs more than the rest of a start."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom entrepot.catalog.load import load_settings\n"
        "load_settings(Path(sys.argv[1]), {})\nprint('genai_prices' in sys.modules)\n"
    )
    own = "input_usd_per_mtok = 1\noutput_usd_per_mtok = 2\n"
    for stated, expected in ((own, "False"), ("", "True")):
        endpoint(tmp_path, "https://api.openai.com/v1", "gpt-4o-mini", own=stated)
        ran = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "entrepot.toml")],
            check=True,
            capture_output=True,
            text=True,
        )
        assert ran.stdout.strip() == expected
