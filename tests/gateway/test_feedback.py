"""What clients say of answers and tasks, and what the choice learns of it: once, and after the journal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from entrepot.catalog.settings import EndpointSettings
from entrepot.domain.virtual import Member, VirtualModel
from entrepot.gateway.feedback import Words
from entrepot.ledger.entries import Feedback
from entrepot.testing.gateway_here import MODEL
from entrepot.testing.scripted_host import completion, plain
from tests.gateway.scene import Scene, chat, scene
from tests.gateway.test_journal_faults import full_disk

OTHER = "b/y"
TASK = "x-entrepot-task: %s\r\n"
VIRTUAL = VirtualModel("auto/coder", (Member(MODEL), Member(OTHER)))


@asynccontextmanager
async def two_models(data_dir: Path) -> AsyncIterator[Scene]:
    """Run a gateway with a virtual model of two, each at a host of its own."""

    def other(entry: EndpointSettings) -> EndpointSettings:
        if entry.host.name == "a":
            return entry
        return replace(entry, endpoint=replace(entry.endpoint, model=OTHER, name=f"{OTHER}@b"))

    async with scene(data_dir, virtual_models=(VIRTUAL,), change=other) as s:
        yield s


async def answered(s: Scene, model: str, task: str | None = None) -> str:
    """Return the id of an answer of a model, for a task or for none."""
    (s.a if model == MODEL else s.b).script(plain(completion("Hi")))
    answer = await s.here.post({**chat(), "model": model}, headers=TASK % task if task else "")
    assert answer.status == 200
    return answer.headers["x-request-id"]


async def say(s: Scene, status: int = 200, **body: str | bool | float) -> None:
    """Post feedback."""
    assert (await s.here.post(body, path="/v1/feedback")).status == status


async def told(s: Scene, model: str = MODEL) -> tuple[float, float]:
    """Return how many words were said of a model, and how many of them were good, as the API tells it."""
    members = (await s.here.get("/v1/models/auto/coder")).json["entrepot"]["members"]
    told: dict[str, Any] | None = next(one for one in members if one["model"] == model)[
        "measured_success_share"
    ]
    return (0.0, 0.0) if told is None else (told["count"], told["count"] * told["value"])


def about(count: float, good: float) -> object:
    """Return what `told` ought to be: each word makes the others fade by a part in five hundred."""
    return pytest.approx((count, good), abs=0.05)


async def test_a_word_on_an_answer_is_shown_with_its_count_and_basis(tmp_path: Path) -> None:
    """The measured share is told; the one that the choice goes by is not known of so few."""
    async with two_models(tmp_path) as s:
        await say(s, id=await answered(s, MODEL), success=True)
        await say(s, id=await answered(s, MODEL), success=False)
        members = (await s.here.get("/v1/models/auto/coder")).json["entrepot"]["members"]
        share = members[0]["measured_success_share"]
        assert share["value"] == pytest.approx(0.5, abs=0.01)
        assert (share["basis"], share["count"]) == ("measured", pytest.approx(2.0, abs=0.05))
        assert share["interval"]["low"] < 0.5 < share["interval"]["high"]
        assert 0 <= share["age_s"] < 30
        assert members[0]["success_share"] is None
        assert members[1]["measured_success_share"] is None


async def test_the_same_word_again_counts_once_and_another_one_replaces_it(tmp_path: Path) -> None:
    """By our id or by the host's; the journal has them all, and the last counts, as in reports."""
    async with two_models(tmp_path) as s:
        answer = await answered(s, MODEL)
        for _ in range(5):
            await say(s, id=answer, success=True)
        assert await told(s) == about(1.0, 1.0)
        await say(s, id=answer, success=False)
        assert await told(s) == about(1.0, 0.0)
        await say(s, id=answer, success=True, score=1.0)
        assert await told(s) == about(1.0, 1.0)
        assert len([entry for entry in s.here.entries() if isinstance(entry, Feedback)]) == 7


async def test_the_same_word_many_times_at_once_counts_once(tmp_path: Path) -> None:
    """All are looked up before the first is written."""
    async with two_models(tmp_path) as s:
        answer = await answered(s, MODEL)
        await asyncio.gather(*(say(s, id=answer, success=False) for _ in range(8)))
        assert await told(s) == about(1.0, 0.0)


@pytest.mark.parametrize("of_task", [True, False])
async def test_a_word_from_before_a_restart_is_known_by_the_journal(tmp_path: Path, *, of_task: bool) -> None:
    """What was learned is kept over a restart, so it must not be counted again, and can be replaced."""
    async with two_models(tmp_path) as s:
        answer = await answered(s, MODEL, "ticket-1")
        subject: dict[str, str] = {"task": "ticket-1"} if of_task else {"id": answer}
        for success, good in ((True, 1.0), (True, 1.0), (False, 0.0), (False, 0.0), (True, 1.0)):
            s.here.gateway.words = Words()
            await say(s, success=success, **subject)
            assert await told(s) == about(1.0, good)


async def test_a_word_on_a_task_is_about_its_answers_as_one(tmp_path: Path) -> None:
    """Three answers of one model and one of another: three quarters of a word, and a quarter."""
    async with two_models(tmp_path) as s:
        for model in (MODEL, MODEL, OTHER, MODEL):
            await answered(s, model, "ticket-1")
        await answered(s, OTHER, "ticket-2")
        await answered(s, OTHER)
        await say(s, task="ticket-1", success=True)
        assert await told(s, MODEL) == about(0.75, 0.75)
        assert await told(s, OTHER) == about(0.25, 0.25)
        await say(s, task="ticket-1", success=False)
        assert await told(s, MODEL) == about(0.75, 0.0)
        assert await told(s, OTHER) == about(0.25, 0.0)


async def test_a_word_on_a_task_passes_over_answers_of_which_the_client_spoke(tmp_path: Path) -> None:
    """The first try was of no use, the second did it: neither counts twice."""
    async with two_models(tmp_path) as s:
        first = await answered(s, MODEL, "ticket-1")
        await answered(s, OTHER, "ticket-1")
        await say(s, id=first, success=False)
        await say(s, task="ticket-1", success=True)
        assert await told(s, MODEL) == about(1.0, 0.0)
        assert await told(s, OTHER) == about(1.0, 1.0)


async def test_a_changed_word_on_a_task_takes_back_just_what_was_said(tmp_path: Path) -> None:
    """The task went on meanwhile: the new word is about its new answers too."""
    async with two_models(tmp_path) as s:
        await answered(s, MODEL, "ticket-1")
        await say(s, task="ticket-1", success=True)
        assert await told(s, MODEL) == about(1.0, 1.0)
        await answered(s, OTHER, "ticket-1")
        await say(s, task="ticket-1", success=True)
        assert await told(s, OTHER) == about(0.0, 0.0)
        await say(s, task="ticket-1", success=False)
        assert await told(s, MODEL) == about(0.5, 0.0)
        assert await told(s, OTHER) == about(0.5, 0.0)


async def test_a_task_without_answers_teaches_nothing(tmp_path: Path) -> None:
    """A request that no host answered is not the model's; nor is a task that was never asked for."""
    async with two_models(tmp_path) as s:
        s.a.script(plain({"error": {}}, status=500))
        assert (await s.here.post(chat(), headers=TASK % "ticket-1")).status == 502
        await say(s, task="ticket-1", success=False)
        await say(s, task="never", success=False)
        assert await told(s) == about(0.0, 0.0)


async def test_what_the_journal_does_not_have_is_not_learned(tmp_path: Path) -> None:
    """The disk is full: the client is told so, and says it again later."""
    async with two_models(tmp_path) as s:
        answer = await answered(s, MODEL, "ticket-1")
        with full_disk(s):
            await say(s, 503, id=answer, success=False)
            await say(s, 503, task="ticket-1", success=False)
        assert await told(s) == about(0.0, 0.0)
        assert not [entry for entry in s.here.entries() if isinstance(entry, Feedback)]
        await say(s, id=answer, success=False)
        assert await told(s) == about(1.0, 0.0)
