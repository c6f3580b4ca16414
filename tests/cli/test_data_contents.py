"""`entrepot key contents`, `entrepot data show-content` and `erase`: what they say and how they end."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from entrepot.domain.ids import request_id_text
from entrepot.ledger.data_dir import DataDir
from entrepot.ledger.journal.spool import Content, Kind, Spool, TaskText
from entrepot.ledger.keys.keys import list_keys
from entrepot.ledger.keys.log import create_key
from entrepot.ledger.ledger import Ledger
from tests.cli.command_line import entrepot
from tests.ledger import entry_makers as make
from tests.ledger.traffic import ENDPOINTS, START_NS, write

STORED, OTHER = make.request_id(1), make.request_id(2)
STORED_TEXT, OTHER_TEXT = request_id_text(STORED), request_id_text(OTHER)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A ledger with two requests of one key; the spool has the words of the first."""
    create_key(tmp_path, "alice", None, START_NS)
    ledger = Ledger.open(tmp_path, START_NS)
    ledger.register(ENDPOINTS[0])
    for number in (1, 2):
        write(ledger, make.reserve(number))
        write(ledger, make.settle(number))
    ledger.close()
    spool = Spool(DataDir(tmp_path).contents)
    key_id = make.reserve(1).key_id
    spool.append(Content(STORED, 1, Kind.PROMPT, key_id, START_NS, False, "{“grüß”}".encode()))
    spool.append(Content(STORED, 2, Kind.ANSWER, key_id, START_NS, True, b"\xff\x00"))
    spool.append(TaskText(make.reserve(1).task_id, key_id, START_NS, "ticket 4711"))
    spool.close()
    return tmp_path


def test_a_key_is_switched_on_and_off(data_dir: Path) -> None:
    """The list shows which keys store contents."""
    on = entrepot("key", "contents", "alice", "on", "--data-dir", data_dir)
    assert (on.status, "alice, are stored from now on" in on.out) == (0, True)
    assert entrepot("key", "list", "--json", "--data-dir", data_dir).json[0]["stores_contents"] is True
    assert "stored" in entrepot("key", "list", "--data-dir", data_dir, columns=200).out
    off = entrepot("key", "contents", "1", "off", "--json", "--data-dir", data_dir)
    assert off.json == {"id": 1, "name": "alice", "stores_contents": False}
    assert not list_keys(data_dir)[0].stores_contents
    assert entrepot("key", "contents", "alice", "maybe", "--data-dir", data_dir).status == 2


def test_show_content_tells_prompt_and_answer_as_they_were(data_dir: Path) -> None:
    """Text as text, what is no text in base 64, and what was cut is flagged."""
    shown = entrepot("data", "show-content", STORED_TEXT, "--json", "--data-dir", data_dir).json
    prompt, answer = shown["contents"]
    assert (shown["request_id"], shown["key"]) == (STORED_TEXT, "alice")
    assert (prompt["kind"], prompt["body"], prompt["truncated"]) == ("prompt", "{“grüß”}", False)
    assert (answer["kind"], answer["body_base64"], answer["attempt"]) == ("answer", "/wA=", 2)
    assert answer["truncated"] is True
    text = entrepot("data", "show-content", STORED_TEXT, "--data-dir", data_dir).out
    assert text.index("--- prompt, attempt 1") < text.index("{“grüß”}") < text.index("cut after 2 bytes")


def test_show_content_without_contents_says_why_and_exits_1(data_dir: Path) -> None:
    """A request that stored nothing, and one that never was."""
    nothing = entrepot("data", "show-content", OTHER_TEXT, "--data-dir", data_dir)
    unknown = entrepot("data", "show-content", "req-" + "9" * 32, "--data-dir", data_dir)
    assert (nothing.status, unknown.status) == (1, 1)
    assert "key contents NAME on" in nothing.err
    assert "no request" in unknown.err


def test_erase_asks_before_it_erases(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever does not say yes has erased nothing; a script passes --yes."""
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    asked = entrepot("data", "erase", "--key", "alice", "--data-dir", data_dir)
    assert asked.status == 1
    assert "cannot be undone" in asked.err
    assert list_keys(data_dir)[0].name == "alice"
    assert entrepot("data", "show-content", STORED_TEXT, "--data-dir", data_dir).status == 0


def test_erase_says_what_was_erased_and_what_it_cannot_reach(data_dir: Path) -> None:
    """Counts, the copies elsewhere, and that the key goes on to store, if it does."""
    entrepot("key", "contents", "alice", "on", "--data-dir", data_dir)
    erased = entrepot("data", "erase", "--key", "alice", "--yes", "--data-dir", data_dir)
    assert erased.status == 0
    assert "2 prompts and answers, 1 names of tasks" in erased.out
    assert "backups" in erased.err
    assert "still stores" in erased.err
    assert entrepot("data", "show-content", STORED_TEXT, "--data-dir", data_dir).status == 1
    again = entrepot("data", "erase", "--key", "1", "--yes", "--json", "--data-dir", data_dir)
    assert again.json == {"key_id": 1, "contents": 0, "tasks": 0}
    assert entrepot("data", "erase", "--key", "alice", "--yes", "--data-dir", data_dir).status == 2


@pytest.mark.parametrize(
    ("days", "has_contents", "has_task"),
    [
        ((), True, True),
        (("--contents-days", "30"), False, True),
        (("--contents-days", "30", "--tasks-days", "30"), False, False),
        (("--contents-days", "36500", "--tasks-days", "36500"), True, True),
    ],
)
def test_the_poster_lets_go_what_is_older_than_it_is_told(
    data_dir: Path, days: tuple[str, ...], has_contents: bool, has_task: bool
) -> None:
    """The gateway passes the days of the configuration; the money of the request stays."""
    assert entrepot("ledger", "post", *days, "--data-dir", data_dir).status == 0
    shown = entrepot("data", "show-content", STORED_TEXT, "--json", "--data-dir", data_dir)
    assert bool(shown.json["contents"]) is has_contents
    assert (shown.json["task"] == "ticket 4711") is has_task
    assert entrepot("why", STORED_TEXT, "--data-dir", data_dir).status == 0
