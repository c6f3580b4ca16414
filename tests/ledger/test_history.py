"""All that is known of a request is one value, the same from the journal as from the store."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from entrepot.domain.ids import request_id_text
from entrepot.domain.outcome import Outcome
from entrepot.domain.prices import Bill
from entrepot.domain.usage import Usage
from entrepot.ledger.data_dir import DataDir
from entrepot.ledger.entries import Correct, Expire, OfAttempt, Settle
from entrepot.ledger.history import Names, account, history_of, names_in_journal
from entrepot.ledger.history_json import history_json
from entrepot.ledger.journal.segment import segment_numbers
from entrepot.ledger.ledger import Ledger
from entrepot.ledger.store.poster import run
from entrepot.ledger.store.store import Store
from tests.ledger import entry_makers as make
from tests.ledger.traffic import ENDPOINTS, START_NS, write, write_requests

NO_NAMES = Names({}, {})


@pytest.fixture
def written(tmp_path: Path) -> list[OfAttempt]:
    """Requests in a journal of several segments."""
    return write_requests(tmp_path, 80, segment_bytes=16 * 1024)


def test_every_request_is_found_in_the_journal_at_once(tmp_path: Path, written: list[OfAttempt]) -> None:
    """Nothing has to be posted for `why` to know a request, in whichever segment it is."""
    assert len(segment_numbers(DataDir(tmp_path).journal)) > 2
    for request_id in {entry.request_id for entry in written}:
        history = account(tmp_path, request_id_text(request_id))
        assert history is not None
        found = [entry for attempt in history.attempts for entry in (attempt.reserve, attempt.closing)]
        expected = [e for e in written if e.request_id == request_id and not isinstance(e, Correct)]
        assert repr(found) == repr(expected)  # nan differs from itself, its text does not
        assert history.final.endpoint is not None


def test_the_store_tells_the_same_as_the_journal(tmp_path: Path, written: list[OfAttempt]) -> None:
    """Corrections, names, prices and decisions included."""
    run(tmp_path, follow=False)
    with Store.open_existing(DataDir(tmp_path).store) as store:
        for history in store.recent(1_000):
            assert repr(account(tmp_path, request_id_text(history.request_id))) == repr(history)


def test_names_are_read_from_the_last_segment_alone(tmp_path: Path, written: list[OfAttempt]) -> None:
    """Each segment repeats the names before it; those given in the last one are added."""
    ledger = Ledger.open(tmp_path, START_NS)
    ledger.register(msgspec.structs.replace(ENDPOINTS[0], owner_country="FR"))
    names = names_in_journal(tmp_path)
    assert dict(names.endpoints) == ledger.balances.endpoints
    assert dict(names.prices) == ledger.balances.prices
    ledger.close()
    assert names_in_journal(tmp_path / "nowhere") == NO_NAMES


def test_a_request_is_found_by_the_hosts_id_of_its_answer(tmp_path: Path, written: list[OfAttempt]) -> None:
    """The id in the answer's body is the one that a client has."""
    settle = next(entry for entry in written if isinstance(entry, Settle) and entry.answer_id)
    history = account(tmp_path, settle.answer_id.decode())
    assert history is not None
    assert history.request_id == settle.request_id
    assert settle.answer_id.decode() in history.answer_ids


def test_a_key_sees_only_its_own_requests(tmp_path: Path, written: list[OfAttempt]) -> None:
    """Neither by our id nor by a host's id does another key's request appear."""
    settle = next(entry for entry in written if isinstance(entry, Settle) and entry.answer_id)
    for name in (request_id_text(settle.request_id), settle.answer_id.decode()):
        assert account(tmp_path, name, key_id=settle.key_id) is not None
        assert account(tmp_path, name, key_id=settle.key_id + 1) is None


def test_what_nobody_wrote_is_not_found(tmp_path: Path, written: list[OfAttempt]) -> None:
    """An unknown id is no error here; the caller says so in its own words."""
    assert account(tmp_path, request_id_text(make.request_id(1))) is None
    assert account(tmp_path, "chatcmpl-unknown") is None
    assert account(tmp_path, "") is None


def test_corrections_are_added_to_what_was_booked() -> None:
    """Tokens and money of an attempt are the settle and all differences; the flags those of the last word."""
    settle = msgspec.structs.replace(make.settle(), usage=Usage(10, 5, 0, 20, 3, estimated=True))
    history = history_of([make.reserve(), settle, make.correct(1, -50)], NO_NAMES)
    assert history is not None
    assert history.final.usage == Usage(10, 5, 0, 22, 3)
    assert history.final.bill == Bill(output_nusd=550)
    assert (history.cost_nusd, history.unknown_nusd) == (550, 0)


def test_unknown_is_unknown_until_it_is_corrected() -> None:
    """An expired attempt costs *at most X*; the correction that knows better takes X away."""
    entries: list[OfAttempt] = [make.reserve(), make.expire(1, 1_000)]
    before = history_of(entries, NO_NAMES)
    after = history_of([*entries, make.correct(1, 400, unknown_nusd=1_000)], NO_NAMES)
    assert before is not None
    assert after is not None
    assert (before.cost_nusd, before.unknown_nusd) == (0, 1_000)
    assert (after.cost_nusd, after.unknown_nusd) == (400, 0)


def test_an_attempt_under_way_has_no_ending_and_costs_nothing_yet() -> None:
    """A request may be asked about while it streams."""
    history = history_of([make.reserve()], NO_NAMES)
    assert history is not None
    assert history.final.closing is None
    assert history_json(history)["state"] == "open"
    assert history.cost_nusd == 0


def test_json_tells_every_line_in_exact_decimals(tmp_path: Path) -> None:
    """Programs get text that is exact, and the fields of OpenRouter's generation in its names and units."""
    ledger = Ledger.open(tmp_path, START_NS)
    ledger.register(ENDPOINTS[0])
    failed, ended = make.void(1), msgspec.structs.replace(make.settle(1, 6_570_000, attempt=2), ttft_s=0.5)
    for entry in (make.reserve(1), failed, make.reserve(1, attempt=2), ended):
        write(ledger, entry)
    ledger.close()
    history = account(tmp_path, request_id_text(make.request_id(1)))
    assert history is not None
    shown = msgspec.json.decode(msgspec.json.encode(history_json(history)))
    assert shown["id"] == request_id_text(make.request_id(1))
    assert (shown["upstream_id"], shown["provider_name"]) == ("chatcmpl-1", "deepseek")
    assert (shown["cost_usd"], shown["total_cost"]) == ("0.00657", 0.00657)
    assert (shown["tokens_prompt"], shown["tokens_completion"], shown["latency"]) == (15, 20, 500.0)
    assert [attempt["state"] for attempt in shown["attempts"]] == ["void", "settled"]
    assert shown["attempts"][1]["lines"]["output"] == {"tokens": 17, "usd": "0.00657"}
    assert shown["attempts"][1]["lines"]["reasoning"] == {"tokens": 3, "usd": "0.00"}
    assert shown["attempts"][1]["prices"]["output_usd_per_mtok"] == "2.19"


def test_json_of_an_expired_attempt_says_unknown_and_never_zero_alone() -> None:
    """Who reads only the cost must still see that something is unknown."""
    history = history_of([make.reserve(), make.expire(1, 1_000)], NO_NAMES)
    assert history is not None
    assert isinstance(history.final.closing, Expire)
    shown = history_json(history)
    assert (shown["state"], shown["unknown_at_most_usd"]) == ("expired", "0.000001")
    assert shown["outcome"] == Outcome.TIMED_OUT.name.lower().replace("_", " ")
