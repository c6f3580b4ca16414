"""`entrepot requests` and `entrepot why`: the last requests, and all about one of them."""

from __future__ import annotations

import json
import subprocess
import sys
from math import nan
from pathlib import Path
from select import select

import msgspec
import pytest

from entrepot.domain.endpoint import Operation
from entrepot.domain.ids import request_id_text
from entrepot.domain.outcome import Outcome
from entrepot.domain.request import Request
from entrepot.domain.usage import Usage
from entrepot.ledger.keys.log import create_key
from entrepot.ledger.ledger import Ledger
from entrepot.routing.choose import Router
from entrepot.routing.decision import Decision, pack, unpack
from entrepot.routing.kpi.knowledge import Knowledge
from entrepot.routing.settings import RoutingSettings
from tests.cli.command_line import entrepot
from tests.ledger import entry_makers as make
from tests.ledger.traffic import ENDPOINTS, START_NS, write

R1 = ENDPOINTS[:3]
FAILED, ANSWERED = make.request_id(1), make.request_id(2)


def decision(max_usd_per_hour: float = 5.0) -> bytes:
    """Return a decision of the real router between three hosts, one of them excluded."""
    settings = RoutingSettings(value_of_time_usd_per_hour=max_usd_per_hour, exploration_share=0.0)
    router = Router(R1, {}, settings, Knowledge(R1, {}, settings))
    request = Request(Operation.CHAT, ("deepseek/deepseek-r1",), 4_000, 500)
    request = msgspec.structs.replace(
        request, preferences=msgspec.structs.replace(request.preferences, ignore=("azure",))
    )
    decided = router.decide(request, now_s=0.0, draw=0.9)
    assert isinstance(decided, Decision)
    return pack(decided, (1, 2, 3))


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A ledger with a request that was retried, one that was answered, and one under way."""
    create_key(tmp_path, "team", None, START_NS)
    ledger = Ledger.open(tmp_path, START_NS)
    for endpoint in ENDPOINTS:
        ledger.register(endpoint)
    reserve = msgspec.structs.replace(make.reserve(1, 4_000_000), decision=decision())
    write(ledger, reserve)
    write(ledger, make.void(1))
    write(ledger, msgspec.structs.replace(make.reserve(1, 4_000_000, attempt=2), endpoint_id=2))
    write(
        ledger,
        msgspec.structs.replace(
            make.settle(1, 43_800, attempt=2),
            endpoint_id=2,
            usage=Usage(10, 5, 0, 20, 3, estimated=True),
            outcome=Outcome.CANCELLED,
            tpot_s=nan,
            censored=True,
        ),
    )
    write(ledger, make.reserve(2))
    write(ledger, make.settle(2, 600))
    write(ledger, make.reserve(3))
    write(ledger, make.expire(3, 7_000_000))
    ledger.close()
    return tmp_path


def test_requests_lists_the_last_ones_newest_last(data_dir: Path) -> None:
    """One line each: who, where, how much, how fast, how it ended."""
    ran = entrepot("requests", "--data-dir", data_dir, columns=130)
    header, first, second, third = ran.out.splitlines()
    assert header.split() == ["time", "id", "key", "model@host", "in", "out", "$", "TTFT", "tok/s", "outcome"]
    assert [part in first for part in ("team", "deepseek-r1@lambda", "~", "cancelled, 2 tries")] == [True] * 4
    assert second.split()[-4:] == ["0.0000006", "0.50", "50", "ok"]
    assert "≤0.007" in third
    assert "timed out" in third


def test_the_id_in_the_list_is_enough_for_why(data_dir: Path) -> None:
    """What a user copies from the table is understood, here with several that begin alike."""
    listed = entrepot("requests", "--data-dir", data_dir).out.splitlines()[1].split()[2]
    ran = entrepot("why", listed, "--data-dir", data_dir)
    assert ran.status == 1  # these ids were made in the same nanosecond
    assert request_id_text(ANSWERED) in ran.err
    ledger = Ledger.open(data_dir, START_NS)
    later = make.request_id(9, make.AT_NS + 10**9)
    write(ledger, msgspec.structs.replace(make.reserve(9), request_id=later))
    ledger.close()
    listed = entrepot("requests", "--data-dir", data_dir).out.splitlines()[-1].split()[2]
    assert entrepot("why", listed, "--data-dir", data_dir).out.startswith(request_id_text(later))


def test_limit_and_json_of_requests(data_dir: Path) -> None:
    """A program gets an array of the same values as `/v1/generation` gives."""
    shown = entrepot("requests", "--limit", "2", "--json", "--data-dir", data_dir).json
    assert [request["id"][-1] for request in shown] == ["2", "3"]
    assert (shown[0]["key"], shown[0]["cost_usd"]) == ("team", "0.0000006")


@pytest.mark.parametrize("columns", [80, 100])
def test_requests_keep_to_the_terminal(data_dir: Path, columns: int) -> None:
    """One request is one line."""
    ran = entrepot("requests", "--data-dir", data_dir, columns=columns)
    lines = ran.out.splitlines()
    assert len(lines) == 4
    assert max(map(len, lines)) <= columns


def test_following_shows_requests_as_they_end(data_dir: Path) -> None:
    """The journal is read beside the gateway; an attempt that was reserved before is known too."""
    ledger = Ledger.open(data_dir, START_NS)
    write(ledger, make.reserve(7))
    command = [sys.executable, "-m", "entrepot", "requests", "--follow", "--json", "--limit", "0"]
    with subprocess.Popen([*command, "--data-dir", str(data_dir)], stdout=subprocess.PIPE) as following:
        assert following.stdout is not None
        number = 100
        while not select([following.stdout], [], [], 0.05)[0]:  # until it follows, and for no longer
            number += 1
            assert number < 1_000
            write(ledger, make.reserve(number))
            write(ledger, make.settle(number, 600))
        write(ledger, make.settle(7, 600))
        expected = request_id_text(make.request_id(7))
        shown = next(line for line in map(json.loads, following.stdout) if line["id"] == expected)
        following.terminate()
    ledger.close()
    assert (shown["state"], shown["cost_usd"], shown["key"]) == ("settled", "0.0000006", "team")


def test_why_tells_decision_and_outcome_of_every_attempt(data_dir: Path) -> None:
    """Candidates with what was expected, who was excluded and why, what happened, what it cost."""
    ran = entrepot("why", request_id_text(FAILED), "--data-dir", data_dir)
    assert ran.status == 0
    for part in (
        "key 1 team, chat/completions",
        "An hour of waiting was worth $5.00",
        "1. deepseek/deepseek-r1@deepseek",
        "2. deepseek/deepseek-r1@lambda",
        "deepseek/deepseek-r1@azure is in provider.ignore",
        "1. deepseek/deepseek-r1@deepseek: failed after 0.10 s; the host was not reached",
        "2. deepseek/deepseek-r1@lambda: cancelled (HTTP 200) after 1.50 s",
        "they are estimated, at the upper bound",
        "In all it cost $0.0000438; it took 1.50 s. Expected: $",
    ):
        assert part in ran.out, ran.out


def test_why_says_unknown_where_nobody_knows(data_dir: Path) -> None:
    """An expired attempt is unknown, at most X, and never zero."""
    ran = entrepot("why", request_id_text(make.request_id(3)), "--data-dir", data_dir, columns=200)
    assert "the host never said what it cost: unknown, at most $0.007" in ran.out
    assert "In all it cost $0.00, and at most $0.007 more is unknown" in ran.out
    assert "no header" in ran.err  # the makers of entries write no real decision


def test_why_accepts_the_hosts_own_id_and_works_before_anything_is_posted(data_dir: Path) -> None:
    """The id in the answer is what a client has; the journal knows it the moment the request ends."""
    ran = entrepot("why", "chatcmpl-2", "--data-dir", data_dir)
    assert ran.out.startswith(request_id_text(ANSWERED))
    assert not list(data_dir.glob("ledger.sqlite*"))


def test_why_as_json_has_attempts_and_decision(data_dir: Path) -> None:
    """Everything that the text says, as numbers."""
    shown = entrepot("why", request_id_text(FAILED), "--json", "--data-dir", data_dir).json
    assert [attempt["state"] for attempt in shown["attempts"]] == ["void", "settled"]
    told = shown["decision"]
    assert {candidate["endpoint"] for candidate in told["candidates"]} == {
        "deepseek/deepseek-r1@deepseek",
        "deepseek/deepseek-r1@lambda",
    }
    assert told["excluded"][0]["reason"] == "ignored"


@pytest.mark.parametrize("wanted", ["nonsense", "req-0000000000000000", "req-00", "0" * 40])
def test_why_of_an_unknown_request_exits_1(data_dir: Path, wanted: str) -> None:
    """The message says where to look."""
    ran = entrepot("why", wanted, "--data-dir", data_dir)
    assert (ran.status, ran.out) == (1, "")
    assert "entrepot requests" in ran.err


def test_a_stored_choice_is_worked_out_again(data_dir: Path) -> None:
    """The same winner from the stored inputs: said in a line, exit 0."""
    ran = entrepot("why", "req-" + FAILED.hex(), "--replay", "--data-dir", data_dir)
    assert ran.status == 0, ran
    assert "Worked out again from the stored inputs: the same winner" in ran.out


@pytest.mark.parametrize("how", ["another winner", "another score"])
def test_a_stored_choice_that_was_changed_is_found_out(tmp_path: Path, how: str) -> None:
    """Whoever moves another endpoint to the front of a record, or touches a score, is contradicted by it."""
    kept = unpack(decision())
    candidates = list(kept.candidates)
    if how == "another winner":
        candidates.reverse()
    else:
        candidates[0] = msgspec.structs.replace(candidates[0], score=candidates[0].score * 0.9)
    changed = msgspec.structs.replace(kept, candidates=tuple(candidates))
    create_key(tmp_path, "team", None, START_NS)
    ledger = Ledger.open(tmp_path, START_NS)
    for endpoint in ENDPOINTS:
        ledger.register(endpoint)
    write(ledger, msgspec.structs.replace(make.reserve(1), decision=pack(changed, range(10))))
    write(ledger, make.settle(1, 600))
    ledger.close()
    ran = entrepot("why", "req-" + FAILED.hex(), "--replay", "--data-dir", tmp_path)
    assert ran.status == 1
    assert "MISMATCH" in ran.out
    as_json = entrepot("why", "req-" + FAILED.hex(), "--replay", "--json", "--data-dir", tmp_path)
    assert as_json.status == 1
    assert json.loads(as_json.out)["replayed"]["same"] is False
