"""A refusal by rules is evidence: written down, found again by its id, without money, and bounded."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from entrepot.catalog.kept_rules import keep_rules
from entrepot.catalog.settings import EndpointSettings, LedgerSettings
from entrepot.domain.claims import Claims, KeyClaims
from entrepot.domain.errors import Refusal
from entrepot.gateway.forbidden import EACH_PER_MINUTE, RefusalWriter
from entrepot.gateway.log import EventLog
from entrepot.ledger.data_dir import DataDir, make_data_dir
from entrepot.ledger.entries import Refused
from entrepot.ledger.history import RefusalHistory, account, told
from entrepot.ledger.journal.reader import JournalReader
from entrepot.ledger.keys.log import create_key
from entrepot.ledger.ledger import Ledger
from entrepot.ledger.store.poster import run
from entrepot.routing.policy import PolicySet
from entrepot.testing.disk import Disk
from entrepot.testing.gateway_here import MODEL
from tests.cli.command_line import entrepot
from tests.gateway.scene import Scene, chat, scene, until
from tests.gateway.test_journal_faults import full_disk
from tests.gateway.test_policy import NO_CN, PHI, rules
from tests.ledger import entry_makers as make
from tests.ledger.stores import BOTH, data_dir_with
from tests.routing.builders import R1, endpoint, router_of
from tests.routing.builders import chat as request_of

PATIENT = KeyClaims(country="DE", data_classes=("phi",))
MINUTE_NS = 60 * 10**9


def in_china(entry: EndpointSettings) -> EndpointSettings:
    """Return the endpoint of host a in China; that of b is in the US, without an agreement."""
    owner = "CN" if entry.host.name == "a" else "US"
    return replace(entry, endpoint=replace(entry.endpoint, owner_country=owner, baa=False))


def refused_in(s: Scene) -> list[Refused]:
    """Return the refusals in the journal."""
    return [entry for entry in s.here.entries() if isinstance(entry, Refused)]


@pytest.mark.parametrize("kind", BOTH)
async def test_a_refusal_is_told_by_its_id_wherever_one_asks(tmp_path: Path, kind: str) -> None:
    """By the API, `why` and the export; from the journal, and from either store when that is gone."""
    make_data_dir(tmp_path)
    with data_dir_with(kind, tmp_path):
        async with scene(tmp_path, change=in_china, policy=rules(NO_CN, PHI), claims=PATIENT) as s:
            keep_rules(tmp_path, s.here.gateway.rules.policy)
            answer = await s.here.post(chat("a secret"), headers="x-entrepot-data-class: phi\r\n")
            assert answer.status == 403
            request_id = answer.headers["x-request-id"]
            generation = (await s.here.get(f"/v1/generation?id={request_id}")).json["data"]
            version = s.here.gateway.rules.policy.digest
        assert isinstance(generation, dict)
        assert (generation["id"], generation["state"]) == (request_id, "refused")
        assert (generation["rules"], generation["total_cost"]) == (["no-cn", "phi-baa"], 0.0)
        shown = generation["refusal"]
        assert (shown["policy"], shown["models"]) == (version, [MODEL])
        assert shown["claims"] == {"data_classes": ["phi"], "added_data_classes": ["phi"]}
        assert [(gone["endpoint"], gone["rule"]) for gone in shown["excluded"]] == [
            (f"{MODEL}@a", "no-cn"),
            (f"{MODEL}@b", "phi-baa"),
        ]
        exported = entrepot("policy", "export", request_id, "--data-dir", tmp_path).json
        assert exported["refusal"] == shown
        assert [rule["id"] for rule in exported["versions"]["rules"]["rules"]] == ["no-cn", "phi-baa"]
        assert len(exported["versions"]["prices"]["prices"]) == 2
        assert len(exported["versions"]["catalog"]["endpoints"]) == 2
        assert exported["versions"]["rules"]["excluded_by"][0] == f"policy:{version}"
        assert "secret" not in str(exported)
        run(tmp_path, follow=False)
        assert entrepot("ledger", "audit", "--data-dir", tmp_path).status == 0
        for name in (
            request_id,
            request_id[: 4 + 16],
        ):  # in full, from the journal; its start, from the store
            why = entrepot("why", name, "--data-dir", tmp_path, columns=200).out
            assert "Refused by rules (403 policy_forbidden): nothing was sent, and it cost nothing." in why
            assert "data_classes phi, added_data_classes phi" in why
            assert f"{MODEL}@a is excluded by the rule no-cn (house: a decision)" in why
            assert version in why
        assert entrepot("why", request_id, "--replay", "--data-dir", tmp_path).status == 1
        counted = entrepot("policy", "refusals", "--json", "--data-dir", tmp_path).json
        assert counted["requests"] == 1
        assert [(row["rule"], row["key"], row["requests"]) for row in counted["refusals"]] == [
            ("no-cn", "test", 1),
            ("phi-baa", "test", 1),
        ]
        assert "no-cn" in entrepot("policy", "refusals", "--data-dir", tmp_path).out


async def test_a_refusal_is_told_to_its_own_key_only_and_takes_no_feedback(tmp_path: Path) -> None:
    """As a request that was served; there is no answer that anybody could judge."""
    async with scene(tmp_path, hosts=1, change=in_china, policy=rules(NO_CN)) as s:
        request_id = (await s.here.post(chat())).headers["x-request-id"]
        assert isinstance(told(tmp_path, request_id, key_id=1), RefusalHistory)
        assert told(tmp_path, request_id, key_id=2) is None
        assert account(tmp_path, request_id) is None
        said = await s.here.post({"id": request_id, "success": True}, path="/v1/feedback")
        assert said.status == 404
    assert entrepot("data", "show-content", request_id, "--data-dir", tmp_path).status == 1


async def test_other_refusals_leave_no_entry(tmp_path: Path) -> None:
    """A model that is not there, a limit that nobody would keep without rules either."""
    async with scene(tmp_path, hosts=1, policy=rules(NO_CN)) as s:
        for fields in ({"model": "x/y"}, {"slo": {"max_usd": "0.0000000001"}}, {"max_tokens": 10**9}):
            assert (await s.here.post(chat(**fields))).status in {400, 404}
        assert refused_in(s) == []


async def test_a_refusal_does_not_wait_for_the_disk(tmp_path: Path) -> None:
    """Not even in strict mode: nothing was sent that the entry has to come before."""
    disk = Disk()
    strict = LedgerSettings(strict=True)
    async with scene(tmp_path, hosts=1, ledger=strict, sync=disk, change=in_china, policy=rules(NO_CN)) as s:
        disk.hold()
        call = asyncio.ensure_future(s.here.post(chat()))
        assert (await call).status == 403
        assert len(refused_in(s)) == 1
        disk.release()


async def test_a_full_disk_refuses_all_the_same_and_writes_it_down_later(tmp_path: Path) -> None:
    """Whoever is refused must not be told to come again, and the evidence is not lost."""
    async with scene(tmp_path, hosts=1, change=in_china, policy=rules(NO_CN)) as s:
        assert (await s.here.post(chat())).status == 403
        with full_disk(s):
            first, second = await s.here.post(chat()), await s.here.post(chat())
            assert (first.status, second.status) == (403, 403)
        assert first.headers["x-request-id"] in str(second.json)
        await until(lambda: len(refused_in(s)) == 2, "it is written when there is space again")
        kept = refused_in(s)[1]
        assert (f"req-{kept.request_id.hex()}", kept.count) == (first.headers["x-request-id"], 2)
        assert s.here.gateway.ledger.balances.balance(1).committed_nusd == 0


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """A ledger with one key."""
    create_key(make_data_dir(tmp_path).path, "a", None, make.AT_NS)
    return Ledger.open(tmp_path, make.AT_NS)


def test_a_loop_of_refusals_is_kept_together(tmp_path: Path, ledger: Ledger) -> None:
    """Of a minute some have entries of their own, the others one for each set of rules; every one counts."""
    router = router_of(replace(endpoint("a"), owner_country="CN"))
    router.enforce(PolicySet([NO_CN]).on(make.AT_NS))
    asked = replace(request_of(), key_id=1, claims=Claims(country="DE"))
    forbidden = router.decide(asked, now_s=0.0, draw=1.0)
    assert isinstance(forbidden, Refusal)
    log = EventLog()
    writer = RefusalWriter(ledger, (1,), log)
    (key,) = ledger.keys.by_id.values()
    sender = ledger.sender(key, None)
    assert not isinstance(sender, Refusal)
    begin_ns = make.AT_NS // MINUTE_NS * MINUTE_NS

    def refuse(number: int, at_ns: int) -> str:
        return writer.note(forbidden, asked, sender, make.request_id(number, at_ns), at_ns).message

    more = 1_000
    told_to = [refuse(number, begin_ns + number) for number in range(EACH_PER_MINUTE + more)]
    first = f"req-{make.request_id(EACH_PER_MINUTE, begin_ns + EACH_PER_MINUTE).hex()}"
    assert [first in message for message in told_to] == [False] * (EACH_PER_MINUTE + 1) + [True] * (more - 1)
    other = Refusal(404, "not_found_error", "model_not_found", "no")
    assert writer.note(other, asked, sender, make.request_id(9), begin_ns) is other
    refuse(5_000, begin_ns + MINUTE_NS)
    writer.write_kept()
    ledger.close()
    with JournalReader(DataDir(tmp_path).journal) as reader:
        entries = [entry for _, entry in reader.entries() if isinstance(entry, Refused)]
    assert [entry.count for entry in entries] == [1] * EACH_PER_MINUTE + [more, 1]
    assert f"req-{entries[EACH_PER_MINUTE].request_id.hex()}" == first
    history = told(tmp_path, first)
    assert isinstance(history, RefusalHistory)
    grounds = history.read_grounds()
    assert (grounds.models, grounds.claims) == ((R1,), Claims(country="DE"))
    assert [gone.rule for gone in grounds.excluded] == ["no-cn"]
