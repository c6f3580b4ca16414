"""Mistakes as their makers see them: requests, configurations and keys that are wrong, over real HTTP.

The whole table of refusals is in tests/gateway; here are those that depend on a real socket, a real file or
a second process.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.gateways import R1, Running, chat, demo, make_key
from tests.e2e.programs import DEADLINE_S, command, json_of, until

PROMISED_S = 1.0  # after which a running gateway knows of a change to its keys
TOO_MANY_BYTES = 33 * 1024 * 1024
TOO_MANY_WORDS = "word " * 200_000  # more tokens than the largest window of the scenario


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Return a demo of the simulated hosts."""
    directory = tmp_path_factory.mktemp("bad") / "data"
    with demo(directory, "--no-local-model", "--speedup", "50") as running:
        yield running


REFUSED_BODIES = {
    "not JSON": (b"{", 400, "JSON"),
    "not an object": (b"[]", 400, "object"),
    "no messages": ({"model": R1}, 400, "messages"),
    "empty messages": ({**chat(), "messages": []}, 400, "messages"),
    "wrong type of messages": ({**chat(), "messages": "hi"}, 400, "messages"),
    "wrong type of a limit": (chat(max_tokens="ten"), 400, "max_tokens"),
    "unknown model": (chat(model="deepseek/deepseek-r2"), 404, R1),
    "unknown field of slo": (chat(slo={"usd_per_hours": 1}), 400, "usd_per_hour"),
    "slo.probability": (chat(slo={"probability": 1}), 400, "probability"),
    "a prompt that no window holds": (chat(TOO_MANY_WORDS), 400, "163,840"),
}


@pytest.mark.parametrize("row", REFUSED_BODIES)
def test_a_bad_body_is_refused_in_words_that_help(here: Running, row: str) -> None:
    """The error has OpenAI's shape and names the thing at fault; the gateway saw no fault of its own."""
    body, status, named = REFUSED_BODIES[row]
    answer = here.post(body)
    assert answer.status == status
    assert named in answer.error["message"].replace("163840", "163,840")
    check_nothing_happened(here)


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/v1/chat/completions", {}, 405),
        ("POST", "/v1/models", {}, 405),
        ("POST", "/v1/nowhere", {}, 404),
        ("POST", "/v1/chat/completions", {"content-length": str(TOO_MANY_BYTES)}, 413),
        ("POST", "/v1/chat/completions", {"x-much": "x" * 40_000}, 431),
        ("POST", "/v1/chat/completions", {"content-encoding": "br", "content-length": "1"}, 415),
        ("POST", "/v1/chat/completions", {"authorization": "Bearer sk-ent-wrong"}, 401),
        ("POST", "/v1/chat/completions", {"authorization": "Basic aGk6aGk="}, 401),
        ("GET", "/v1/models", {"authorization": ""}, 401),
        ("GET", "/v1/generation?id=req-00000000000000000000000000000000", {}, 404),
    ],
)
def test_a_bad_head_is_refused_before_its_body(
    here: Running, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    """Method, path, sizes, encoding and key are judged by the head; nobody has to send a body first."""
    connection = http.client.HTTPConnection("127.0.0.1", here.port, timeout=DEADLINE_S)
    with closing(connection):
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in {"authorization": f"Bearer {here.key}", "content-length": "0", **headers}.items():
            connection.putheader(name, value)
        connection.endheaders(b"x" if headers.get("content-length") == "1" else None)
        with connection.getresponse() as response:
            error = json.load(response)["error"]
    assert response.status == status, error
    assert error["message"]
    assert set(error) >= {"message", "type", "param", "code"}
    check_nothing_happened(here)


def check_nothing_happened(here: Running) -> None:
    """Check that the gateway wrote no entry for a refused request, met no fault, and goes on."""
    assert "Traceback" not in here.program.errors
    assert '"level":"error"' not in here.program.errors
    assert here.exchange("GET", "/health").status == 200


def test_refused_requests_leave_no_trace_in_the_ledger(here: Running) -> None:
    """After refusals only what was sent to a host is in the books."""
    known = {request["id"] for request in here.ask("requests", "--limit", "1000")}
    for body, _, _ in REFUSED_BODIES.values():
        here.post(body)
    sent = here.post(chat(max_tokens=2)).headers["x-request-id"]
    assert {request["id"] for request in here.ask("requests", "--limit", "1000")} == {*known, sent}
    assert here.ask("ledger", "report", "--by", "key")["total"]["reserved_nusd"] == 0


# -- keys


def status_of(here: Running, key: str) -> int:
    """Return how a cheap request with this key is answered."""
    return here.post(chat(max_tokens=1), key=key).status


def test_a_new_key_works_and_a_revoked_one_stops_within_a_second(here: Running) -> None:
    """A running gateway follows the log of keys without being told or restarted."""
    key = make_key(here.data_dir, "short-lived")
    until(lambda: status_of(here, key) == 200, "the new key works", deadline_s=PROMISED_S)
    here.command("key", "revoke", "short-lived")
    until(lambda: status_of(here, key) == 401, "the revoked key is refused", deadline_s=PROMISED_S)
    assert [known["revoked"] for known in here.ask("key", "list") if known["name"] == "short-lived"] == [True]


def test_a_secret_is_shown_once_and_kept_nowhere(here: Running) -> None:
    """The data directory holds a digest only, and no log or list shows the secret."""
    key = make_key(here.data_dir, "secret")
    kept = [path.read_bytes() for path in here.data_dir.rglob("*") if path.is_file()]
    assert not any(key.encode() in data for data in kept)
    assert key not in here.command("key", "list")
    assert key not in here.command("key", "list", "--json")


def test_a_key_sees_only_its_own_requests(here: Running) -> None:
    """Another key's request is unknown to it, as if it did not exist."""
    other = make_key(here.data_dir, "other")
    until(lambda: status_of(here, other) == 200, "the key works", deadline_s=PROMISED_S)
    ours = here.post(chat(max_tokens=2)).headers["x-request-id"]
    assert here.exchange("GET", f"/v1/generation?id={ours}").status == 200
    assert here.exchange("GET", f"/v1/generation?id={ours}", key=other).status == 404


def test_a_budget_stops_with_402_and_goes_on_when_it_is_raised(here: Running) -> None:
    """Requests are refused before the budget could be passed; the message says what is left."""
    key = make_key(here.data_dir, "team", budget_usd="0.002")
    until(lambda: status_of(here, key) == 200, "the key works", deadline_s=PROMISED_S)
    answers = [here.post(chat(max_tokens=200), key=key) for _ in range(10)]
    refused = [answer for answer in answers if answer.status != 200]
    assert {answer.status for answer in refused} == {402}
    assert refused[0].error["code"] == "insufficient_quota"
    assert "$0.00" in refused[0].error["message"]
    (team,) = (known for known in here.ask("key", "list") if known["name"] == "team")
    assert 0 < float(team["spent_usd"]) <= 0.002
    here.command("key", "budget", "team", "1")
    until(
        lambda: here.post(chat(max_tokens=200), key=key).status == 200,
        "the raised budget is known",
        deadline_s=PROMISED_S,
    )
    unlimited = here.post(chat(), key=key)
    assert unlimited.status == 200
    assert int(unlimited.headers["x-entrepot-max-tokens"]) > 0


@pytest.mark.parametrize("budget", ["-1", "much", "0.0000000001"])
def test_a_budget_that_is_no_amount_is_refused(tmp_path: Path, budget: str) -> None:
    """The command says what an amount looks like, exits 2 and makes no key."""
    arguments = ("--data-dir", str(tmp_path / "data"))
    ended = command("key", "create", "--name", "n", "--budget-usd", budget, *arguments, status=2)
    assert "Traceback" not in ended.stderr
    assert "0.55" in ended.stderr or "nano-dollar" in ended.stderr or "≥ 0" in ended.stderr


# -- configurations

THREE_MISTAKES = """\
[server]
port = 80000

[[hosts]]
name = "one"
base_ur = "https://api.example.com/v1"

[[hosts.endpoints]]
model = "deepseek/deepseek-r1"
context_tokens = "many"
"""

NO_MISTAKE = """\
[[hosts]]
name = "one"
base_url = "https://api.example.com/v1"
key = { env = "HOST_KEY" }

[[hosts.endpoints]]
model = "deepseek/deepseek-r1"
context_tokens = 1000
"""


@pytest.mark.parametrize("arguments", [("config", "check"), ("serve",)])
def test_a_config_with_three_mistakes_reports_all_three(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Each is named with file, key and line, the misspelt key with its nearest known one; exit code 2."""
    config = tmp_path / "entrepot.toml"
    config.write_text(THREE_MISTAKES, encoding="utf-8")
    places = ("--data-dir", str(tmp_path / "data")) if arguments == ("serve",) else ()
    ended = command(*arguments, "--config", str(config), *places, status=2)
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr
    for place in (":2: server.port", ":6: hosts[0].base_ur", ":10: hosts[0].endpoints[0].context_tokens"):
        assert f"entrepot.toml{place}" in ended.stderr
    assert "base_url" in ended.stderr


def test_a_config_shows_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`config show` prints where a key comes from, never the key."""
    monkeypatch.setenv("HOST_KEY", "very-secret")
    config = tmp_path / "entrepot.toml"
    right = THREE_MISTAKES.replace("80000", "8000").replace("base_ur ", "base_url ").replace('"many"', "1000")
    config.write_text(
        right.replace("\n\n[[hosts.", '\nkey = { env = "HOST_KEY" }\n\n[[hosts.'), encoding="utf-8"
    )
    shown: Any = json_of("config", "show", "--config", str(config))
    assert "HOST_KEY" in json.dumps(shown)
    assert "very-secret" not in json.dumps(shown)
    assert "1 endpoint" in command("config", "check", "--config", str(config)).stdout
