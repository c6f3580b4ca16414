"""Configuration: what a file becomes, and that every mistake is named with its place, all at once."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from entrepot.catalog.data_files import data_path
from entrepot.catalog.load import load_settings
from entrepot.catalog.settings import Settings
from entrepot.domain.endpoint import Operation
from entrepot.domain.errors import ConfigError
from entrepot.domain.estimate import Basis, Estimate

ENVIRONMENT = {"KEY": "s3cret", "EMPTY": "", "SPACED": "a b"}
GOOD = """\
[[hosts]]
name = "h"
base_url = "https://api.example.com/v1"
key = { env = "KEY" }
[[hosts.endpoints]]
model = "a/b"
context_tokens = 1000
"""

EVERY_KEY = """\
context_tokens = 1000
upstream_model = "b-large"
input_usd_per_mtok = 0.55
cached_input_usd_per_mtok = "0.14"
cache_write_usd_per_mtok = "0.6875"
output_usd_per_mtok = 2.19
request_usd = "0.001"
price_source = "a page"
price_checked = 2026-11-24
max_output_tokens = 500
operations = ["chat/completions", "embeddings"]
quantization = "fp8"
region = "eu"
trains_on_data = false
zero_data_retention = false
retention_days = 30
unsupported_parameters = ["logprobs"]
drop_parameters = ["seed"]
ttft_s = 0.5
tokens_per_s = 40
"""


def load(text: str, folder: Path, environ: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of a text, as a file of that folder."""
    file = folder / "entrepot.toml"
    file.write_text(text, encoding="utf-8")
    return load_settings(file, ENVIRONMENT if environ is None else environ)


def problems(text: str, folder: Path, environ: Mapping[str, str] | None = None) -> list[str]:
    """Return the problems of a text, without the folder."""
    with pytest.raises(ConfigError) as caught:
        load(text, folder, environ)
    return [problem.removeprefix(f"{folder}/") for problem in caught.value.problems]


def test_three_mistakes_are_reported_together_with_file_key_and_line(tmp_path: Path) -> None:
    """One start finds all of them, in the order of the file."""
    text = '[server]\nport = "high"\n' + GOOD.replace("base_url", "base_ur").replace("1000", "-5")
    found = problems(text, tmp_path)
    assert found == [
        "entrepot.toml:2: server.port: expected an integer, found a text",
        "entrepot.toml:3: hosts[0]: base_url is missing; write the URL of its API, such as https://api.example.com/v1",
        "entrepot.toml:5: hosts[0].base_ur: unknown key; did you mean base_url?",
        "entrepot.toml:9: hosts[0].endpoints[0].context_tokens: -5 is out of range: "
        "expected between 1 and 1,000,000,000",
    ]


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    """A configuration says only what differs."""
    assert load("", tmp_path) == Settings()


def test_how_the_journal_is_kept_is_what_the_file_says(tmp_path: Path) -> None:
    """The archive stays as it is written: it is relative to a data directory that the file does not know."""
    ledger = load('[ledger]\nstrict = true\nkeep_days = 400\narchive = "old"\n' + GOOD, tmp_path).ledger
    assert (ledger.strict, ledger.keep_days, ledger.archive) == (True, 400.0, "old")
    text = '[ledger]\nstrict = 1\nkeep_days = -1\narchive = ""\n' + GOOD
    assert [problem.split(": ")[1] for problem in problems(text, tmp_path)] == [
        *("ledger.strict", "ledger.keep_days", "ledger.archive")
    ]


def test_a_host_and_its_endpoint_are_what_the_file_says(tmp_path: Path) -> None:
    """Every key of an endpoint arrives, prices as exact integers."""
    text = GOOD.replace("context_tokens = 1000\n", EVERY_KEY)
    text += '[[models]]\nname = "a/b"\norigin_country = "FR"\nverbosity_tokens = 300\nbytes_per_token = 3.5\n'
    loaded = load(text, tmp_path)
    (entry,), (host,), (model,) = loaded.endpoints, loaded.hosts, loaded.models
    endpoint = entry.endpoint
    assert (endpoint.name, endpoint.model, endpoint.host, entry.upstream_model) == (
        "a/b@h",
        "a/b",
        "h",
        "b-large",
    )
    assert endpoint.prices is not None
    assert endpoint.prices.input_nusd_per_mtok == 550_000_000
    assert endpoint.prices.cached_nusd_per_mtok == 140_000_000
    assert endpoint.prices.cache_write_nusd_per_mtok == 687_500_000
    assert endpoint.prices.output_nusd_per_mtok == 2_190_000_000
    assert endpoint.prices.request_nusd == 1_000_000
    assert (endpoint.prices.source, endpoint.prices.checked) == ("a page", "2026-11-24")
    assert endpoint.operations == {Operation.CHAT, Operation.EMBEDDING}
    assert (endpoint.quantization, endpoint.region, endpoint.origin_country) == ("fp8", "eu", "FR")
    assert (endpoint.trains_on_data, endpoint.zero_data_retention, endpoint.retention_days) == (
        False,
        False,
        30,
    )
    assert (endpoint.unsupported_parameters, entry.drop_parameters) == ({"logprobs"}, {"seed"})
    assert endpoint.declared_ttft_s == Estimate(0.5, Basis.DECLARED, source="entrepot.toml")
    assert model.verbosity_tokens == Estimate(300.0, Basis.DECLARED, source="entrepot.toml")
    assert entry.host == host
    assert (host.base_url, host.auth) == ("https://api.example.com/v1", "bearer")


def test_how_long_words_of_users_are_kept(tmp_path: Path) -> None:
    """A month for contents unless the file says otherwise; 0 is for ever; less is a mistake."""
    default = load("", tmp_path).ledger
    stated = load("[ledger]\ncontents_days = 0\ntasks_days = 7.5\n", tmp_path).ledger
    assert (default.contents_days, default.tasks_days) == (30, 0)
    assert (stated.contents_days, stated.tasks_days) == (0, 7.5)
    with pytest.raises(ConfigError, match="contents_days"):
        load("[ledger]\ncontents_days = -1\n", tmp_path)


def test_a_missing_price_is_unknown_and_not_free(tmp_path: Path) -> None:
    """None, so that a key with a budget is not sent there."""
    assert load(GOOD, tmp_path).endpoints[0].endpoint.prices is None


def test_an_undeclared_attribute_stays_undeclared(tmp_path: Path) -> None:
    """Rules decide what silence means, not the parser."""
    endpoint = load(GOOD, tmp_path).endpoints[0].endpoint
    assert (endpoint.trains_on_data, endpoint.zero_data_retention, endpoint.quantization) == (
        None,
        None,
        None,
    )
    assert endpoint.owner_country is None


def test_a_model_without_an_entry_is_added_with_unknown_origin(tmp_path: Path) -> None:
    """One block per host is enough to start with."""
    (model,) = load(GOOD, tmp_path).models
    assert (model.name, model.origin_country, model.verbosity_tokens) == ("a/b", None, None)


def test_a_secret_is_read_and_never_shown(tmp_path: Path) -> None:
    """From the environment or a file, whose last line break is no part of it."""
    (tmp_path / "key.txt").write_text("from-file\n")
    one = load(GOOD, tmp_path).hosts[0].secret
    two = load(GOOD.replace('env = "KEY"', 'file = "key.txt"'), tmp_path).hosts[0].secret
    assert one is not None
    assert two is not None
    assert (one.reveal(), two.reveal()) == ("s3cret", "from-file")
    assert "s3cret" not in repr(load(GOOD, tmp_path))


def test_without_a_key_nothing_is_authenticated(tmp_path: Path) -> None:
    """A local engine needs no key, and no empty header is sent."""
    host = load(GOOD.replace('key = { env = "KEY" }\n', ""), tmp_path).hosts[0]
    assert (host.auth, host.secret) == ("none", None)


@pytest.mark.parametrize(
    ("old", "new", "place", "problem"),
    [
        ("[[hosts]]", "[[host]]", "1: host", "unknown key; did you mean hosts?"),
        ("[[hosts]]", "[routin]\n[[hosts]]", "1: routin", "did you mean routing?"),
        ("[[hosts]]", "[server]\nprot = 1\n[[hosts]]", "2: server.prot", "did you mean port?"),
        ("[[hosts]]", "[server]\nport = 70000\n[[hosts]]", "2: server.port", "between 0 and 65,535"),
        ("[[hosts]]", "[server]\nport = true\n[[hosts]]", "2: server.port", "found true or false"),
        (
            "[[hosts]]",
            "[server]\nport = 8001\n[[hosts]]",
            "1: server.console_port",
            "also the port of the API",
        ),
        ("[[hosts]]", '[server]\ntls_key_file = "x"\n[[hosts]]', "2: server.tls_key_file", "no file 'x'"),
        (
            "[[hosts]]",
            '[server]\ntls_key_file = "x"\n[[hosts]]',
            "1: server",
            "tls_certificate_file is missing",
        ),
        (
            "[[hosts]]",
            "[routing]\nexploration_share = 2\n[[hosts]]",
            "2: routing.exploration_share",
            "at most 1",
        ),
        ("[[hosts]]", "[routing]\nhalf_life_s = nan\n[[hosts]]", "2: routing.half_life_s", "not a finite"),
        ("[[hosts]]", "[routing]\nhalf_life_s = 1e999\n[[hosts]]", "2: routing.half_life_s", "not a finite"),
        ("[[hosts]]", "[caps]\nseconds = -1\n[[hosts]]", "2: caps.seconds", "at least 0"),
        ("[[hosts]]", "server = 1\n[[hosts]]", "1: server", "expected a table, found an integer"),
        ("[[hosts]]", "models = [1]\n[[hosts]]", "1: models[0]", "expected a table"),
        ("[[hosts]]", "[[models]]\n[[hosts]]", "1: models[0]", "name is missing; write developer/name"),
        ("[[hosts]]", '[[models]]\nname = "b"\n[[hosts]]', "2: models[0].name", "'b' is not of the form"),
        (
            *("[[hosts]]", '[[models]]\nname="a/b"\n[[models]]\nname="a/b"\n[[hosts]]'),
            *("4: models[1].name", "described twice"),
        ),
        (
            *("[[hosts]]", '[[models]]\nname="a/b"\norigin_country = "China"\n[[hosts]]'),
            *("3: models[0].origin_country", "two capital letters"),
        ),
        ('name = "h"\n', "", "1: hosts[0]", "name is missing"),
        ('name = "h"', 'name = ""', "2: hosts[0].name", "is empty"),
        ('name = "h"', 'name = "a@b"', "2: hosts[0].name", "letters, digits"),
        ("[[hosts.endpoints]]", "[[endpoints]]", "1: hosts[0]", "endpoints is missing"),
        ("https:", "ftp:", "3: hosts[0].base_url", "not a URL of HTTP"),
        ("https://api.example.com", "api.example.com", "3: hosts[0].base_url", "not a URL of HTTP"),
        ("/v1", "/v1?x=1", "3: hosts[0].base_url", "query or a fragment"),
        ("/v1", "/v1#x", "3: hosts[0].base_url", "query or a fragment"),
        ("/v1", "/v1/chat/completions", "3: hosts[0].base_url", "leave /chat/completions out"),
        ("api.example", "me:pw@api.example", "3: hosts[0].base_url", "holds a credential"),
        ("example.com", "example.com:99999", "3: hosts[0].base_url", "is not a URL"),
        ("api.example.com", "[::1", "3: hosts[0].base_url", "is not a URL"),
        ("api.example.com", "bücher.example", "3: hosts[0].base_url", "xn--"),
        ("{ env = ", "{ en = ", "4: hosts[0].key.en", "did you mean env?"),
        ('{ env = "KEY" }', '"sk-12345"', "4: hosts[0].key", "never stands in the configuration"),
        ('"KEY"', '"OTHER"', "4: hosts[0].key", "'OTHER' is not set"),
        ('"KEY"', '"EMPTY"', "4: hosts[0].key", "EMPTY is empty"),
        ('"KEY"', '"SPACED"', "4: hosts[0].key", "no header can carry"),
        ('env = "KEY"', 'file = "gone"', "4: hosts[0].key", "'gone' cannot be read: there is no such file"),
        ('env = "KEY"', 'file = "\\u0000"', "4: hosts[0].key", "cannot be read"),
        ("[[hosts.e", 'auth = "basic"\n[[hosts.e', "5: hosts[0].auth", "not one of api-key, bearer, none"),
        ("[[hosts.e", 'auth = "none"\n[[hosts.e', "5: hosts[0].auth", "although there is a key"),
        ('key = { env = "KEY" }', 'auth = "bearer"', "1: hosts[0]", "key is missing"),
        ("[[hosts.e", 'ca_file = "gone"\n[[hosts.e', "5: hosts[0].ca_file", "no file 'gone'"),
        ("[[hosts.e", 'proxy = "https://p:1"\n[[hosts.e', "5: hosts[0].proxy", "expected http://host:port"),
        ("[[hosts.e", "idle_timeout_s = 0\n[[hosts.e", "5: hosts[0].idle_timeout_s", "above 0"),
        ("[[hosts.e", 'idle_timeout_s = "1"\n[[hosts.e', "5: hosts[0].idle_timeout_s", "expected a number"),
        ("[[hosts.e", "max_connections = 0\n[[hosts.e", "5: hosts[0].max_connections", "between 1"),
        (
            "[[hosts.e",
            'headers = { Authorization = "x" }\n[[hosts.e',
            "5: hosts[0].headers",
            "is a credential",
        ),
        ("[[hosts.e", 'headers = { Host = "x" }\n[[hosts.e', "5: hosts[0].headers", "set by entrepot"),
        (
            "[[hosts.e",
            'headers = { "a b" = "x" }\n[[hosts.e',
            "5: hosts[0].headers",
            "not the name of a header",
        ),
        ("[[hosts.e", 'headers = { a = "x\\ny" }\n[[hosts.e', "5: hosts[0].headers", "header cannot carry"),
        ("[[hosts.e", "headers = { a = 1 }\n[[hosts.e", "5: hosts[0].headers.a", "expected a text"),
        ("[[hosts.e", 'query = "x"\n[[hosts.e', "5: hosts[0].query", "expected a table of texts"),
        ('model = "a/b"', "", "5: hosts[0].endpoints[0]", "model is missing"),
        ('"a/b"', '"b"', "6: hosts[0].endpoints[0].model", "'b' is not of the form developer/name"),
        ("context_tokens = 1000", "", "5: hosts[0].endpoints[0]", "context_tokens is missing"),
        (
            "1000",
            '1000\ninput_usd_per_mtok = "1"',
            "5: hosts[0].endpoints[0]",
            "output_usd_per_mtok is missing",
        ),
        ("1000", '1000\nprice_source = "x"', "5: hosts[0].endpoints[0]", "input_usd_per_mtok is missing"),
        ("1000", "1000\ninput_usd_per_mtok = -1", "8: hosts[0].endpoints[0].input_usd_per_mtok", "≥ 0"),
        ("1000", "1000\ninput_usd_per_mtok = 1e-10", "8: hosts[0].endpoints[0].input_usd_per_mtok", "finer"),
        ("1000", "1000\ninput_usd_per_mtok = 1e30", "8: hosts[0].endpoints[0].input_usd_per_mtok", "at most"),
        ("1000", "1000\ninput_usd_per_mtok = inf", "8: hosts[0].endpoints[0].input_usd_per_mtok", "finite"),
        ("1000", '1000\nrequest_usd = "1 $"', "8: hosts[0].endpoints[0].request_usd", "not a decimal"),
        ("1000", "1000\nrequest_usd = true", "8: hosts[0].endpoints[0].request_usd", "an amount in dollars"),
        ("1000", '1000\nprice_checked = "now"', "8: hosts[0].endpoints[0].price_checked", "expected a date"),
        ("1000", "1000\nmax_output_tokens = 2000", "8: hosts[0].endpoints[0].max_output_tokens", "and 1,000"),
        ("1000", '1000\noperations = ["chat"]', "8: hosts[0].endpoints[0].operations", "chat/completions"),
        ("1000", '1000\noperations = "chat"', "8: hosts[0].endpoints[0].operations", "an array of texts"),
        ("1000", "1000\nretention_days = -1", "8: hosts[0].endpoints[0].retention_days", "between 0"),
        (
            *("1000", "1000\nzero_data_retention = true\nretention_days = 3"),
            *("9: hosts[0].endpoints[0].retention_days", "3 contradicts"),
        ),
        ("1000", '1000\ndrop_parameters = ["model"]', "8: hosts[0].endpoints[0].drop_parameters", "left out"),
        ("1000", "1000\ntokens_per_s = 0", "8: hosts[0].endpoints[0].tokens_per_s", "above 0"),
        (
            *("[[hosts.e", '[[hosts.endpoints]]\nmodel = "a/b"\ncontext_tokens = 1\n[[hosts.e'),
            *("9: hosts[0].endpoints[1].model", "twice at this host"),
        ),
    ],
)
def test_each_mistake_is_named_with_its_place(
    old: str, new: str, place: str, problem: str, tmp_path: Path
) -> None:
    """A row per kind of mistake: line, key, what is wrong."""
    assert old in GOOD
    found = problems(GOOD.replace(old, new, 1), tmp_path)
    assert any(line.startswith(f"entrepot.toml:{place}: ") and problem in line for line in found), found


def test_one_name_for_two_hosts_is_refused(tmp_path: Path) -> None:
    """Endpoints are called model@host: the name must be one host's."""
    assert problems(GOOD + GOOD, tmp_path) == ["entrepot.toml:9: hosts[1].name: h is described twice"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[server\n", "entrepot.toml:1: not valid TOML, column 8: "),
        ("a = 1\nb = \n", "entrepot.toml:2: not valid TOML, column 5: Invalid value"),
        ("a = 1\na = 2\n", "entrepot.toml:2: not valid TOML, column 6: Cannot overwrite a value"),
        ('a = "', "entrepot.toml:1: not valid TOML: Unterminated string"),
        ("a = " + "9" * 5000, "entrepot.toml:1: not valid TOML: a number is too large to be read"),
        ("a = " + "[" * 5000, "entrepot.toml:1: nested too deeply to be read"),
    ],
)
def test_what_is_not_toml_says_where(text: str, problem: str, tmp_path: Path) -> None:
    """Syntax errors come alone: nothing can be read behind them."""
    (found,) = problems(text, tmp_path)
    assert found.startswith(problem)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Absent, or not a text."""
    with pytest.raises(ConfigError, match=r"gone\.toml: cannot be read: No such file"):
        load_settings(tmp_path / "gone.toml", {})
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"binary\.toml: cannot be read: .*utf-8"):
        load_settings(tmp_path / "binary.toml", {})


def test_no_message_shows_a_secret(tmp_path: Path) -> None:
    """Neither a key written where none belongs, nor one that is malformed, nor a password in a URL."""
    text = GOOD.replace('{ env = "KEY" }', '"hunter2"').replace("api.", "me:hunter2@api.")
    text += '[[hosts]]\nname = "i"\nproxy = "ftp://u:hunter2@p"\nbase_url = "http://x"\n'
    text += 'headers = { cookie = "hunter2" }\nkey = { env = "SPACED" }\n'
    found = problems(text, tmp_path, {"SPACED": "hunter2 x"})
    assert len(found) == 6
    assert "hunter2" not in "\n".join(found)


@pytest.mark.parametrize(
    ("url", "environ", "proxy"),
    [
        ("https://api.example.com/v1", {"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
        (
            "https://api.example.com/v1",
            {"https_proxy": "http://q:1", "HTTPS_PROXY": "http://p:1"},
            "http://q:1",
        ),
        ("https://api.example.com/v1", {"HTTP_PROXY": "http://p:1"}, None),
        ("http://api.example.com/v1", {"HTTP_PROXY": "http://p:1"}, "http://p:1"),
        ("http://api.example.com/v1", {"HTTP_PROXY": "http://p:1", "NO_PROXY": "example.com"}, None),
        ("http://api.example.com/v1", {"HTTP_PROXY": "http://p:1", "NO_PROXY": "a, .example.com"}, None),
        ("http://api.example.com/v1", {"HTTP_PROXY": "http://p:1", "NO_PROXY": "ample.com"}, "http://p:1"),
        ("http://api.example.com/v1", {"HTTP_PROXY": "http://p:1", "NO_PROXY": "*"}, None),
        ("http://10.1.2.3:80/v1", {"HTTP_PROXY": "http://p:1", "no_proxy": "10.0.0.0/8"}, None),
        ("http://10.1.2.3:80/v1", {"HTTP_PROXY": "http://p:1", "no_proxy": "10.1.2.3:81"}, "http://p:1"),
        ("http://10.1.2.3:80/v1", {"HTTP_PROXY": "http://p:1", "no_proxy": "10.1.2.3:80"}, None),
        ("http://localhost:80/v1", {"HTTP_PROXY": "http://p:1"}, None),
        ("http://[::1]:80/v1", {"HTTP_PROXY": "http://p:1"}, None),
    ],
)
def test_the_environment_names_the_proxy(
    url: str, environ: dict[str, str], proxy: str | None, tmp_path: Path
) -> None:
    """HTTPS_PROXY, HTTP_PROXY and NO_PROXY as curl reads them; this machine is always reached directly."""
    text = GOOD.replace("https://api.example.com/v1", url)
    assert load(text, tmp_path, ENVIRONMENT | environ).hosts[0].proxy == proxy


def test_the_configuration_overrules_the_environments_proxy(tmp_path: Path) -> None:
    """A proxy of its own, or none."""
    environ = ENVIRONMENT | {"HTTPS_PROXY": "http://p:1"}
    for stated, proxy in (("http://own:3128", "http://own:3128"), ("none", None)):
        text = GOOD.replace("[[hosts.e", f'proxy = "{stated}"\n[[hosts.e')
        assert load(text, tmp_path, environ).hosts[0].proxy == proxy


def test_a_bad_proxy_of_the_environment_is_a_problem_that_names_it(tmp_path: Path) -> None:
    """Found at the start, not at the first request, and without the password that it may hold."""
    (found,) = problems(GOOD, tmp_path, ENVIRONMENT | {"HTTPS_PROXY": "socks5://u:hunter2@p:1"})
    assert "environment variable HTTPS_PROXY is not a proxy that is known here" in found
    assert "hunter2" not in found


def test_the_example_that_ships_is_right() -> None:
    """data/examples/entrepot.toml loads as soon as its two keys are set, and its prices have a source."""
    example = data_path("examples/entrepot.toml")
    loaded = load_settings(example, {"DEEPSEEK_API_KEY": "a", "AZURE_API_KEY": "b"})
    assert [host.auth for host in loaded.hosts] == ["bearer", "api-key", "none"]
    deepseek = loaded.endpoints[0].endpoint.prices
    assert deepseek is not None
    assert (deepseek.source, deepseek.checked) == (
        "api-docs.deepseek.com/quick_start/pricing",
        "2026-10-27",
    )
    assert loaded.endpoints[1].endpoint.prices is None


_PIECES = [
    *("[server]\n", "[[hosts]]\n", "[[hosts.endpoints]]\n", "[routing]\n", "[[models]]\n", "[hosts.key]\n"),
    *(
        "port = ",
        "name = ",
        "base_url = ",
        "key = ",
        "model = ",
        "context_tokens = ",
        "operations = ",
        "proxy = ",
    ),
    *(
        '"http://x/v1"\n',
        '"a/b"\n',
        "1\n",
        "-1.5\n",
        "true\n",
        '{ env = "KEY" }\n',
        "[]\n",
        "[1]\n",
        "nan\n",
        '""\n',
    ),
    *(
        "1979-05-27\n",
        "1e400\n",
        "{}\n",
        "input_usd_per_mtok = ",
        "headers = ",
        "ca_file = ",
        "\n",
        "x",
        '"',
        "[",
        "=",
    ),
    *("\x00", "é", '"\\u0000"\n'),
]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(st.lists(st.sampled_from(_PIECES), max_size=25).map("".join) | st.text(max_size=80))
def test_whatever_the_text_is_only_a_config_error_is_raised(tmp_path: Path, text: str) -> None:
    """Settings, or all the problems; never another exception."""
    found: tuple[str, ...] = ("nothing",)
    try:
        load(text, tmp_path)
    except ConfigError as error:
        found = error.problems
    assert found
    assert all("\n" not in problem for problem in found)


@given(st.decimals(0, 1_000_000, places=9, allow_nan=False))
def test_a_price_is_exact_however_it_is_written(
    tmp_path_factory: pytest.TempPathFactory, price: Decimal
) -> None:
    """As text and as number: the same integer, no float on the way."""
    for written in (f'"{price:f}"', f"{price:f}"):
        prices = f"1000\ninput_usd_per_mtok = {written}\noutput_usd_per_mtok = {written}"
        loaded = load(GOOD.replace("1000", prices), tmp_path_factory.mktemp("price"))
        found = loaded.endpoints[0].endpoint.prices
        assert found is not None
        assert found.input_nusd_per_mtok == price * 10**9
