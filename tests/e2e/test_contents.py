"""Words of users in a running gateway: nowhere unless switched on, exact when shown, gone when erased."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.gateways import Running, chat, make_key, serve
from tests.e2e.host_logs import simulated_hosts
from tests.e2e.programs import until

PROMPT_OF_BOB, PROMPT_OF_ALICE = "quokkas-of-bob", "wombats-of-alice"
TASK_OF_BOB, TASK_OF_ALICE = "ticket-bob-4711", "ticket-alice-4712"
SPEEDUP = 50


def files_with(data_dir: Path, word: str) -> list[str]:
    """Return the files of a data directory in which a word stands."""
    found = []
    for path in sorted(data_dir.rglob("*")):
        try:
            if path.is_file() and word.encode() in path.read_bytes():
                found.append(str(path.relative_to(data_dir)))
        except FileNotFoundError:
            pass  # the spool's files go as soon as they are moved
    return found


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A gateway with a key that stores contents, alice's, and one that does not, bob's."""
    directory = tmp_path_factory.mktemp("contents")
    data_dir, config = directory / "data", directory / "entrepot.toml"
    with simulated_hosts(directory, speedup=SPEEDUP) as hosts:
        config.write_text(f"[routing]\ntime_scale = {SPEEDUP}\n{hosts.config}", encoding="utf-8")
        bob = make_key(data_dir, "bob-the-customer")
        with serve(data_dir, config, bob) as running:
            yield running


@pytest.fixture(scope="module")
def alice(here: Running) -> str:
    """The key that stores contents."""
    key = make_key(here.data_dir, "alice-the-customer")
    here.command("key", "contents", "alice-the-customer", "on")
    until(lambda: here.exchange("GET", "/v1/models", key=key).status == 200, "the key is known")
    # What is switched in the log of keys after a key was made is taken over with it or in a later look.
    until(lambda: _stores(here, key), "the switch is known")
    return key


def _stores(here: Running, key: str) -> bool:
    answer = here.post(chat("Hi", max_tokens=1), key=key)
    return json_of_content(here, answer.headers["x-request-id"]) is not None


def json_of_content(here: Running, request_id: str) -> dict[str, Any] | None:
    """Return what is stored of a request, or None when nothing is."""
    shown = here.command("data", "show-content", request_id, "--json", status=None)
    found = json.loads(shown)
    assert isinstance(found, dict)
    return found if found["contents"] else None


def words_of(answer: bytes) -> set[str]:
    """Return the distinctive words of a plain answer."""
    text = json.loads(answer)["choices"][0]["message"]["content"]
    return {text[at : at + 40] for at in range(0, len(text) - 40, 40)}


def test_a_key_without_the_switch_leaves_no_word_in_the_data_directory(here: Running) -> None:
    """Neither prompt nor answer, streamed or not; the name of its task is in the store alone."""
    headers = {"x-entrepot-task": TASK_OF_BOB}
    plain = here.exchange("POST", "/v1/chat/completions", chat(PROMPT_OF_BOB, max_tokens=60), **headers)
    streamed = here.exchange(
        "POST", "/v1/chat/completions", chat(PROMPT_OF_BOB, stream=True, max_tokens=60), **headers
    )
    assert (plain.status, streamed.status) == (200, 200)
    assert json_of_content(here, plain.headers["x-request-id"]) is None
    assert files_with(here.data_dir, PROMPT_OF_BOB) == []
    words = words_of(plain.body)
    assert words
    assert [found for word in words if (found := files_with(here.data_dir, word))] == []
    assert {name.partition("-")[0] for name in files_with(here.data_dir, TASK_OF_BOB)} == {"ledger.sqlite"}


@pytest.mark.parametrize("streamed", [False, True])
def test_show_content_gives_what_was_sent_and_received(here: Running, alice: str, streamed: bool) -> None:
    """Byte for byte, right after the answer."""
    body = json.dumps(chat(PROMPT_OF_ALICE, stream=streamed, max_tokens=80), indent=1).encode()
    headers = {"x-entrepot-task": TASK_OF_ALICE}
    answer = here.exchange("POST", "/v1/chat/completions", body, key=alice, **headers)
    assert answer.status == 200
    shown = json_of_content(here, answer.headers["x-request-id"])
    assert shown is not None
    assert (shown["key"], shown["task"]) == ("alice-the-customer", TASK_OF_ALICE)
    prompt, reply = shown["contents"]
    assert prompt["body"].encode() == body
    assert reply["body"].encode() == answer.body
    assert not prompt["truncated"]
    assert not reply["truncated"]


def test_erasing_leaves_no_byte_of_a_key_and_every_number(here: Running, alice: str) -> None:
    """While the gateway serves: words and name are gone from all files, money and audit are as before."""
    answer = here.post(chat(PROMPT_OF_ALICE, max_tokens=60), key=alice)
    words = words_of(answer.body)
    assert json_of_content(here, answer.headers["x-request-id"]) is not None
    assert files_with(here.data_dir, PROMPT_OF_ALICE) != []
    before, audited = here.ask("ledger", "report", "--by", "key"), here.ask("ledger", "audit")
    assert audited["open"] == []

    erased = here.ask("data", "erase", "--key", "alice-the-customer", "--yes")
    assert erased["contents"] >= 2
    assert erased["tasks"] == 1

    for word in (PROMPT_OF_ALICE, TASK_OF_ALICE, "alice-the-customer", *words):
        assert files_with(here.data_dir, word) == [], word
    assert files_with(here.data_dir, TASK_OF_BOB) != [], "others keep theirs"
    after = here.ask("ledger", "report", "--by", "key")
    assert _without_names(after) == _without_names(before)
    assert here.ask("ledger", "audit") == audited
    assert here.post(chat("Hi", max_tokens=1), key=alice).status == 200, "the key itself goes on"


def _without_names(report: Any) -> Any:  # noqa: ANN401 - whatever the report is
    """Return a report by key with its keys called by number only."""
    text = json.dumps(report)
    return json.loads(text.replace("alice-the-customer", "(erased)"))
