"""Teams, tags, periods, tasks, rate limits and feedback, as clients of a gateway meet them."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from time import time_ns

import msgspec
import pytest

from entrepot.catalog.settings import EndpointSettings
from entrepot.domain.errors import Refusal
from entrepot.domain.ids import request_id_from_text, task_id_of
from entrepot.domain.money import nusd_from_usd
from entrepot.ledger.accounts.senders import Sender
from entrepot.ledger.entries import Feedback, NameRules, NameSender, Scope
from entrepot.ledger.keys.budgets import Period
from entrepot.ledger.keys.events import KeyLimits
from entrepot.ledger.keys.log import assign_key, create_tag, create_team, set_budget_of, set_limits
from entrepot.testing.scripted_host import completion, plain
from tests.gateway.scene import Scene, chat, scene, until

USD = nusd_from_usd(1)
CENT = nusd_from_usd("0.01")
TAG = "x-entrepot-tag: %s\r\n"
TASK = "x-entrepot-task: %s\r\n"
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}


def budget(
    s: Scene, scope: Scope, name: str, nusd: int, period: Period = Period.TOTAL, *, hard: bool = True
) -> None:
    """Set a budget in the running gateway."""
    set_budget_of(s.here.data_dir, scope, name, nusd, time_ns(), period=period, hard=hard)
    s.here.gateway.ledger.refresh_keys()


def assigned(s: Scene, team: str | None, *tags: str) -> None:
    """Make the team and the tags, and give them to the key."""
    if team is not None:
        create_team(s.here.data_dir, team, time_ns())
    for tag in tags:
        create_tag(s.here.data_dir, tag, time_ns())
    assign_key(s.here.data_dir, "test", team, tags, time_ns())
    s.here.gateway.ledger.refresh_keys()


@pytest.mark.parametrize("scope", [Scope.TEAM, Scope.TAG])
@pytest.mark.parametrize("period", list(Period))
async def test_every_budget_over_a_key_has_to_hold_a_request(
    tmp_path: Path, scope: Scope, period: Period
) -> None:
    """The key's own budget is ample; the team's or the tag's refuses, and is named."""
    async with scene(tmp_path, hosts=1, budget_nusd=100 * USD) as s:
        assigned(s, "blue", "research")
        budget(s, scope, "blue" if scope is Scope.TEAM else "research", CENT, period)
        answer = await s.here.post(chat(max_tokens=10_000))
        assert answer.status == 402
        message = answer.json["error"]["message"]
        assert f"the budget of {scope.value} {'blue' if scope is Scope.TEAM else 'research'}" in message
        assert ("it renews on" in message) == (period is not Period.TOTAL)
        s.a.script(plain(completion("Hi")))
        assert (await s.here.post(chat(max_tokens=10))).status == 200


async def test_a_soft_budget_warns_in_a_header(tmp_path: Path) -> None:
    """The answer comes all the same."""
    async with scene(tmp_path, hosts=1) as s:
        budget(s, Scope.KEY, "test", 0, Period.DAY, hard=False)
        s.a.script(plain(completion("Hi")))
        answer = await s.here.post(chat(max_tokens=10))
        assert answer.status == 200
        warning = answer.headers["x-entrepot-budget-warning"]
        assert warning.startswith("the budget of this key for this day (UTC)")


async def test_a_client_may_narrow_its_tag_and_never_leave_it(tmp_path: Path) -> None:
    """A request with `research/eu` counts for `research` too; a tag of others is refused."""
    async with scene(tmp_path, hosts=1) as s:
        assigned(s, None, "research")
        for other in ("research/eu", "sales"):
            create_tag(s.here.data_dir, other, time_ns())
        s.here.gateway.ledger.refresh_keys()
        s.a.script(plain(completion("Hi", 10, 5)))
        s.a.script(plain(completion("Hi", 10, 5)))
        assert (await s.here.post(chat())).status == 200
        assert (await s.here.post(chat(), headers=TAG % "research/eu")).status == 200
        for tag in ("sales", "research/us", "researcher", ""):
            refused = await s.here.post(chat(), headers=TAG % tag)
            assert (refused.status, refused.json["error"]["code"]) == (403, "tag_not_allowed")
        senders = [entry for entry in s.here.entries() if isinstance(entry, NameSender)]
        assert [sender.tags for sender in senders] == [(1,), (1, 2)]
        balances = s.here.gateway.ledger.balances
        whole, narrow = (balances.balance(tag, Scope.TAG).spent_nusd for tag in (1, 2))
        assert whole == 2 * narrow > 0


async def test_a_client_cannot_name_sets_of_tags_without_end(tmp_path: Path) -> None:
    """Each set is named in the journal for ever: a thousand of one key are enough, and the others go on."""
    async with scene(tmp_path, hosts=1) as s:
        assigned(s, None, "a", *(f"a/{number}" for number in range(10)))
        assign_key(s.here.data_dir, "test", None, ["a"], time_ns())
        ledger = s.here.gateway.ledger
        ledger.refresh_keys()
        key, found = ledger.keys.by_id[1], []
        for number in range(1_024):
            tags = ["a", *(f"a/{bit}" for bit in range(10) if number >> bit & 1)]
            found.append(ledger.sender(key, ",".join(tags)))
        refused = [one for one in found if isinstance(one, Refusal)]
        assert len(refused) == 1_024 - 1_000
        assert "1,000 sets of tags" in refused[0].message
        assert isinstance(ledger.sender(key, "a"), Sender)


async def test_five_hundred_calls_at_once_never_pass_five_cents(tmp_path: Path) -> None:
    """Some with n = 4, some without a limit, some at a host that fails first, some lying about their tag."""
    most = nusd_from_usd("0.05")
    async with scene(tmp_path, hosts=2) as s:
        assigned(s, "blue", "research")
        budget(s, Scope.TEAM, "blue", most)
        budget(s, Scope.KEY, "test", 2 * most)
        create_tag(s.here.data_dir, "sales", time_ns())
        s.here.gateway.ledger.refresh_keys()
        limits = ({"max_tokens": 900}, {"max_tokens": 300, "n": 4}, {}, {"max_completion_tokens": 2_000})
        for number in range(500):
            s.a.script(plain(completion("Hi", 400, 250), status=500 if number % 7 == 0 else 200))
            s.b.script(plain(completion("Hi", 400, 250)))

        async def call(number: int) -> int:
            lies = TAG % "sales" if number % 50 == 0 else ""
            answer = await s.here.post(chat("Hello", **limits[number % 4]), headers=lies)
            team = s.here.gateway.ledger.balances.balance(1, Scope.TEAM)
            assert team.committed_nusd <= most
            return answer.status

        statuses = Counter(await asyncio.gather(*(call(number) for number in range(500))))
        assert set(statuses) <= {200, 402, 403, 502}
        assert statuses[403] == 10
        assert statuses[402] > 0
        assert statuses[200] > 0
        await until(lambda: not s.here.gateway.ledger.open_reservations)
        team = s.here.gateway.ledger.balances.balance(1, Scope.TEAM)
        assert (team.reserved_nusd, team.committed_nusd <= most) == (0, True)
        assert sum(settle.bill.total_nusd for settle in s.settles()) == team.spent_nusd


async def test_rate_limits_of_a_key_answer_429_with_when_to_try_again(tmp_path: Path) -> None:
    """Requests per minute, tokens per minute, and requests under way."""
    async with scene(tmp_path, hosts=1) as s:
        for limits in (KeyLimits(requests_per_min=1), KeyLimits(tokens_per_min=1)):
            set_limits(s.here.data_dir, "test", limits, time_ns())
            s.here.gateway.ledger.refresh_keys()
            s.a.script(plain(completion("Hi", 10, 5)))
            assert (await s.here.post(chat(max_tokens=5))).status == 200
            answer = await s.here.post(chat(max_tokens=5))
            assert (answer.status, answer.json["error"]["code"]) == (429, "rate_limit_exceeded")
            assert 1 <= int(answer.headers["retry-after"]) <= 61
        set_limits(s.here.data_dir, "test", KeyLimits(concurrent_requests=0), time_ns())
        s.here.gateway.ledger.refresh_keys()
        assert (await s.here.post(chat())).status == 429
        set_limits(s.here.data_dir, "test", KeyLimits(requests_per_min=1), time_ns())
        s.here.gateway.ledger.refresh_keys()
        assert (await s.here.post({"task": "a", "success": True}, path="/v1/feedback")).status == 429


async def test_a_task_and_the_rules_ride_in_the_reservation(tmp_path: Path) -> None:
    """The journal has numbers: a digest of the task's name, a number for the rules that excluded hosts."""
    async with scene(tmp_path) as s:
        s.a.script(plain(completion("Hi")))
        body = chat(provider={"ignore": ["b"]})
        assert (await s.here.post(body, headers=TASK % "ticket-4711")).status == 200
        (reserve,) = s.reserves()
        assert reserve.task_id == task_id_of(1, b"ticket-4711")
        named = [entry for entry in s.here.entries() if isinstance(entry, NameRules)]
        assert named == [NameRules(reserve.rules_id, ("ignored",))]
        assert b"ticket-4711" not in b"".join(path.read_bytes() for path in (tmp_path / "journal").iterdir())
        refused = await s.here.post(body, headers=TASK % ("x" * 257))
        assert (refused.status, refused.json["error"]["param"]) == (400, "x-entrepot-task")


async def test_feedback_on_a_task_and_on_an_answer_is_written_down(tmp_path: Path) -> None:
    """By the task's name, by our id, or by the host's own id of the answer."""
    async with scene(tmp_path, hosts=1) as s:
        s.a.script(plain(completion("Hi")))
        answer = await s.here.post(chat(), headers=TASK % "ticket-4711")
        own_id = answer.headers["x-request-id"]
        for body in (
            {"task": "ticket-4711", "success": True},
            {"id": own_id, "success": False, "score": 0.25},
            {"id": answer.json["id"], "success": True},
        ):
            assert (await s.here.post(body, path="/v1/feedback")).status == 200
        task_id, request_id = task_id_of(1, b"ticket-4711"), request_id_from_text(own_id)
        found = [entry for entry in s.here.entries() if isinstance(entry, Feedback)]
        assert [(entry.request_id, entry.task_id, entry.succeeded) for entry in found] == [
            (bytes(16), task_id, True),
            (request_id, task_id, False),
            (request_id, task_id, True),
        ]
        assert found[1].score == 0.25


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"success": True}, 400),
        ({"id": "a", "task": "b", "success": True}, 400),
        ({"task": "", "success": True}, 400),
        ({"task": "a"}, 400),
        ({"task": "a", "success": "yes"}, 400),
        ({"task": "a", "success": True, "stars": 5}, 400),
        ({"id": "req-" + "0" * 32, "success": True}, 404),
    ],
)
async def test_feedback_that_says_nothing_is_refused(tmp_path: Path, body: object, status: int) -> None:
    """And nothing is written."""
    async with scene(tmp_path, hosts=1) as s:
        assert (await s.here.post(body, path="/v1/feedback")).status == status
        assert not [entry for entry in s.here.entries() if isinstance(entry, Feedback)]


async def test_a_hard_budget_takes_an_image_only_where_its_tokens_are_bounded(tmp_path: Path) -> None:
    """The cheapest host declared nothing, so the next is tried, and its bound is reserved."""

    def declared(entry: EndpointSettings) -> EndpointSettings:
        bound = 2_000 if entry.host.name == "b" else None
        endpoint = msgspec.structs.replace(entry.endpoint, max_image_tokens=bound)
        return msgspec.structs.replace(entry, endpoint=endpoint)

    body = chat(max_tokens=10)
    body["messages"] = [{"role": "user", "content": [{"type": "text", "text": "?"}, IMAGE]}]
    async with scene(tmp_path / "one", budget_nusd=USD, change=declared) as s:
        s.b.script(plain(completion("Hi")))
        assert (await s.here.post(body)).status == 200
        assert s.a.connections == 0
        assert s.reserves()[0].amount_nusd > 2_000 * 2_000
    async with scene(tmp_path / "none", hosts=1, budget_nusd=USD) as s:
        answer = await s.here.post(body)
        assert (answer.status, answer.json["error"]["code"]) == (402, "cost_unbounded")
        assert "set max_image_tokens" in answer.json["error"]["message"]
        tier = await s.here.post(chat(service_tier="priority"))
        assert (tier.status, tier.json["error"]["param"]) == (400, "service_tier")
    async with scene(tmp_path / "free", hosts=1) as s:
        s.a.script(plain(completion("Hi")))
        assert (await s.here.post(body)).status == 200
