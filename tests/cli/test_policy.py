"""`entrepot policy` and `key set`: what rules say before and after, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from entrepot.domain.errors import Refusal
from entrepot.ledger.data_dir import make_data_dir
from entrepot.ledger.keys.keys import list_keys
from entrepot.ledger.keys.log import create_key
from entrepot.ledger.ledger import Ledger
from entrepot.routing.decision import pack
from tests.cli.command_line import Ran, entrepot
from tests.ledger import entry_makers as make
from tests.ledger.stores import BOTH, data_dir_with
from tests.ledger.traffic import ENDPOINTS, START_NS, write
from tests.routing.builders import R1, chat, router_of

CONFIG = """\
[policy]
packs = ["no-china-hosting"]
on_request = ["zero-retention"]
[[rules]]
id = "phi-baa"
effect = "require"
status = "law"
basis = "45 CFR 164.502(e)"
sentence = "health data needs an agreement"
when.request.data_class = "phi"
holds.endpoint.baa = true
[[rules]]
id = "idea"
effect = "forbid"
status = "draft"
basis = "a bill"
sentence = "nobody may ask lambda"
when.host.name = "lambda"
[[models]]
name = "deepseek/deepseek-r1"
origin_country = "CN"
[[hosts]]
name = "deepseek"
base_url = "http://x/v1"
owner_country = "CN"
major_owners = ["CN"]
[[hosts.endpoints]]
model = "deepseek/deepseek-r1"
context_tokens = 64000
country = "CN"
[[hosts]]
name = "lambda"
base_url = "http://y/v1"
owner_country = "US"
major_owners = []
[[hosts.endpoints]]
model = "deepseek/deepseek-r1"
context_tokens = 64000
country = "US"
"""
NO_CN = """\
[[rules]]
id = "no-cn"
effect = "forbid"
status = "draft"
basis = "a bill"
sentence = "not there"
valid_from = 2099-01-01
when.host.owner_country = "CN"
"""
BODY = {"model": R1, "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a configuration and a request."""
    (tmp_path / "entrepot.toml").write_text(CONFIG)
    (tmp_path / "request.json").write_text(json.dumps(BODY))
    return tmp_path


def check(folder: Path, *arguments: str) -> Ran:
    """Return how a check of the request ended."""
    config = folder / "entrepot.toml"
    common = ("--config", config, "--data-dir", folder / "data")
    return entrepot("policy", "check", folder / "request.json", *common, *arguments, columns=300)


def test_check_tells_of_each_endpoint_which_rule_allows_or_denies(folder: Path) -> None:
    """With status, basis, the attribute that decided and its value; of drafts, what they would do."""
    ran = check(folder, "--data-class", "public")
    assert ran.status == 0
    assert "deepseek/deepseek-r1@deepseek: excluded" in ran.out
    assert "no-china-owner (house: the operator's decision" in ran.out
    assert "[host.owner_country in CN, HK, MO; it is CN]" in ran.out
    assert "deepseek/deepseek-r1@lambda: allowed" in ran.out
    assert "idea (draft: a bill) would deny, but is not enforced: nobody may ask lambda" in ran.out
    assert "1 of 2 endpoints" in ran.err


@pytest.mark.parametrize(
    ("arguments", "remaining"),
    [
        (("--data-class", "public"), ["deepseek/deepseek-r1@lambda"]),
        ((), []),  # nobody declared that it is no health data
        (("--data-class", "phi"), []),
        (("--key", "clinic"), []),
        (("--key", "clinic", "--data-class", "none"), ["deepseek/deepseek-r1@lambda"]),
        (("--data-class", "public", "--with-data-class", "phi"), []),
        (("--data-class", "public", "--with-rules", "zero-retention"), []),
    ],
)
def test_check_ends_with_1_when_nothing_remains(
    folder: Path, arguments: tuple[str, ...], remaining: list[str]
) -> None:
    """The key declares, options declare instead of it, and what a client adds restricts."""
    made = entrepot("key", "create", "--name", "clinic", "--data-class", "phi", "--data-dir", folder / "data")
    assert made.status == 0
    ran = check(folder, *arguments, "--json")
    assert ran.json["remaining"] == remaining
    assert ran.status == (0 if remaining else 1)


def test_check_looks_at_every_model_that_a_virtual_one_stands_for(folder: Path) -> None:
    """The rules are those of the endpoints, whatever name was asked."""
    virtual = '[[virtual_models]]\nname = "auto/any"\nmodels = ["deepseek/deepseek-r1"]\n'
    (folder / "entrepot.toml").write_text(virtual + CONFIG)
    (folder / "request.json").write_text(json.dumps({**BODY, "model": "auto/any"}))
    ran = check(folder, "--data-class", "public", "--json")
    assert ran.json["remaining"] == ["deepseek/deepseek-r1@lambda"]


def test_check_as_json_has_every_rule(folder: Path) -> None:
    """Also those that do not apply, with what they saw."""
    shown = check(folder, "--data-class", "public", "--json").json
    rules = {rule["id"]: rule for rule in shown["endpoints"][0]["rules"]}
    assert rules["phi-baa"]["verdict"] == "applies_not"
    assert rules["idea"]["enforced"] is False
    assert rules["no-china-major-owner"]["seen"] == ["CN"]
    assert (rules["no-china-owner"]["verdict"], rules["no-china-owner"]["declared"]) == ("denies", True)
    assert shown["endpoints"][0]["denied_by"] == ["no-china-owner", "no-china-major-owner", "no-china-region"]
    assert shown["declared"] == {"data_classes": ["public"]}


@pytest.mark.parametrize(
    ("body", "words"),
    [("{", "cannot be read"), ('{"messages": [1]}', "messages[0]"), ("3", "JSON"), (None, "cannot be read")],
)
def test_what_is_no_request_is_a_usage_error(folder: Path, body: str | None, words: str) -> None:
    """The message names the file."""
    if body is None:
        (folder / "request.json").unlink()
    else:
        (folder / "request.json").write_text(body)
    ran = check(folder)
    assert ran.status == 2
    assert words in ran.err
    assert "request.json" in ran.err


def test_a_key_that_there_is_not_is_a_usage_error(folder: Path) -> None:
    """So that nobody takes the answer for that of another key."""
    ran = check(folder, "--key", "nobody")
    assert (ran.status, "no key is called 'nobody'" in ran.err) == (2, True)


# -- dry run


@pytest.fixture(params=BOTH)
def past(request: pytest.FixtureRequest, folder: Path) -> Iterator[Path]:
    """A data directory with four calls: of one the decision was not kept, of one it had no choice.

    Its store is of either kind.
    """
    data_dir = folder / "data"
    make_data_dir(data_dir)
    with data_dir_with(request.param, data_dir):
        write_past(data_dir)
        (folder / "rules.toml").write_text(NO_CN)
        yield data_dir


def write_past(data_dir: Path) -> None:
    """Write four calls into the journal of a data directory."""
    create_key(data_dir, "team", None, START_NS)
    ledger = Ledger.open(data_dir, START_NS)
    fleet = ENDPOINTS[:2]
    ids = [ledger.register(endpoint).endpoint_id for endpoint in fleet]
    cheap_in_china = (
        fleet[0],
        replace(fleet[1], prices=replace(fleet[1].prices, output_nusd_per_mtok=9 * 10**9)),
    )
    decisions = []
    for endpoints in (cheap_in_china, cheap_in_china[:1], (replace(fleet[0], context_tokens=1), fleet[1])):
        decided = router_of(*endpoints).decide(chat(usd_per_hour=0.0), now_s=0.0, draw=1.0)
        assert not isinstance(decided, Refusal)
        decisions.append(pack(decided, ids))
    for number, decision in enumerate((*decisions, b""), start=1):
        endpoint = ids[1] if number == 3 else ids[0]
        write(ledger, replace(make.reserve(number), decision=decision, endpoint_id=endpoint))
        write(ledger, replace(make.settle(number, 1_000), endpoint_id=endpoint))
    ledger.close()


def dry_run(folder: Path, data_dir: Path, *arguments: str) -> Ran:
    """Return how a dry run over all that there is ended."""
    rules, config = folder / "rules.toml", folder / "entrepot.toml"
    common = ("--config", config, "--data-dir", data_dir, "--since", "2020-01-01")
    return entrepot("policy", "dry-run", rules, *common, *arguments, columns=200)


def test_a_dry_run_tells_what_moves_what_is_refused_and_what_it_costs(folder: Path, past: Path) -> None:
    """Drafts that begin in 2099 count as if they were in force; the dearer host is what moving costs."""
    shown = dry_run(folder, past, "--json").json
    total = shown["total"]
    assert (total["calls"], total["moved"], total["refused"]) == (3, 1, 1)
    assert shown["without_decision"] == 1
    assert total["expected_elsewhere_usd"] > total["expected_usd"] > 0
    assert total["difference_usd"] == pytest.approx(total["expected_elsewhere_usd"] - total["expected_usd"])
    assert total["cost_usd"] == "0.000002"
    assert shown["rules"]["no-cn"] == {**total, "calls": 2}
    assert shown["models"][R1] == total
    assert shown["partly_known_endpoints"] == []


def test_a_dry_run_for_people(folder: Path, past: Path) -> None:
    """A sentence, a table by rule and one by model; what could not be judged goes to stderr."""
    ran = dry_run(folder, past)
    assert ran.status == 0
    assert "3 calls judged: 1 stay, 1 move, 1 are refused" in ran.out
    assert [line.split()[:4] for line in ran.out.splitlines() if line.startswith("no-cn")] == [
        ["no-cn", "2", "1", "1"]
    ]
    assert "1 calls have no kept decision" in ran.err


def test_a_dry_run_says_which_endpoints_it_hardly_knows(folder: Path, past: Path) -> None:
    """Without the configuration only countries and region are known: other attributes count as undeclared."""
    (folder / "entrepot.toml").unlink()
    shown = dry_run(folder, past, "--json")
    assert shown.json["partly_known_endpoints"] == [f"{R1}@deepseek", f"{R1}@lambda"]
    assert shown.json["total"]["refused"] == 1
    assert "judged by what the ledger has" in shown.err


def test_a_dry_run_of_a_shipped_pack(folder: Path, past: Path) -> None:
    """By its name; of keys whose sender nobody declared, all count."""
    config = folder / "entrepot.toml"
    common = ("--config", config, "--data-dir", past, "--since", "2020-01-01", "--json")
    shown = entrepot("policy", "dry-run", "s321-2025-draft", *common).json
    assert shown["total"]["refused"] == 3
    entrepot("key", "set", "team", "--us-person", "no", "--data-dir", past)
    shown = entrepot("policy", "dry-run", "s321-2025-draft", *common).json
    assert shown["total"]["refused"] == 0
    assert entrepot("policy", "dry-run", "s123", *common).status == 2


def test_a_window_limits_a_dry_run(folder: Path, past: Path) -> None:
    """The calls of these tests are long past."""
    config = folder / "entrepot.toml"
    common = ("--config", config, "--data-dir", past, "--json")
    assert entrepot("policy", "dry-run", folder / "rules.toml", *common).json["total"]["calls"] == 0


def test_packs_are_listed() -> None:
    """Names that a configuration can write."""
    assert "eu-only" in entrepot("policy", "packs").out.split()


# -- keys


def test_keys_declare_their_sender(tmp_path: Path) -> None:
    """`create` and `set` take the same options; what is not named stays, unknown takes it back."""
    made = ("--country", "DE", "--us-person", "no", "--sector", "health", "--data-class", "phi,pii")
    entrepot("key", "create", "--name", "a", *made, "--data-dir", tmp_path)
    ran = entrepot("key", "set", "a", "--us-person", "unknown", "--purpose", "none", "--data-dir", tmp_path)
    assert "declared of key 1, a: country DE, sector health, data_classes phi+pii, purposes none" in ran.out
    (key,) = list_keys(tmp_path)
    assert (key.claims.us_person, key.claims.defence_contractor, key.claims.purposes) == (None, None, ())
    shown = entrepot("key", "set", "a", "--defence-contractor", "yes", "--json", "--data-dir", tmp_path).json
    assert shown["claims"]["defence_contractor"] is True
    listed = entrepot("key", "list", "--json", "--data-dir", tmp_path).json
    assert listed[0]["claims"] == shown["claims"]
    assert "defence_contractor yes" in entrepot("key", "list", "--data-dir", tmp_path, columns=200).out


@pytest.mark.parametrize(
    "arguments",
    [(), ("--country", "Germany"), ("--sector", "A b"), ("--data-class", "phi!"), ("--us-person", "maybe")],
)
def test_what_cannot_be_declared_is_a_usage_error(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Nothing is written then."""
    entrepot("key", "create", "--name", "a", "--data-dir", tmp_path)
    before = (tmp_path / "keys.jsonl").read_text()
    assert entrepot("key", "set", "a", *arguments, "--data-dir", tmp_path).status == 2
    assert (tmp_path / "keys.jsonl").read_text() == before
