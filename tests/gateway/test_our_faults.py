"""A bug of ours is told as one: a 500, a line in the log without a user's words, no money left reserved."""

from __future__ import annotations

import asyncio
import gc
import json
from pathlib import Path

import pytest

from entrepot.gateway import attempt, gateway, relay, routes
from entrepot.gateway.exchange import Exchange
from entrepot.testing.gateway_here import Answer, read_answer
from entrepot.testing.scripted_host import (
    STREAM_HEAD,
    chunk,
    completion,
    delta,
    plain,
    sse,
    stream,
    usage_chunk,
)
from entrepot.wire.answer import AnswerScan
from tests.gateway.scene import Scene, chat, scene, until

WORDS = "the patient is called Alice"


def boom(*_: object, **__: object) -> object:
    """Fail as a bug would: with what it worked on in its message."""
    raise KeyError(WORDS)


def check_told(s: Scene, answer: Answer) -> None:
    """Check that the client got a 500 and the operator a line."""
    assert answer.status == 500
    error = answer.json["error"]
    assert isinstance(error, dict)
    assert (error["type"], error["code"]) == ("server_error", "internal_error")
    check_logged(s)
    assert WORDS not in answer.body.decode()
    assert "Traceback" not in answer.body.decode()


def check_logged(s: Scene, *, where: str = "boom") -> None:
    """Check that the log says what kind of bug it was and where, and nothing of the prompt."""
    (line,) = [
        line for line in map(json.loads, s.here.log.getvalue().splitlines()) if line["event"] == "fault"
    ]
    assert (line["level"], line["problem"]) == ("error", "KeyError")
    assert where in line["where"]
    assert "Alice" not in s.here.log.getvalue()


async def serves_on(s: Scene) -> bool:
    """Return whether the next call is answered."""
    s.a.script(plain(completion("Hi")))
    return (await s.here.post(chat())).status == 200


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("where", ["parse_body", "pack", "reason", "Attempt"])
async def test_a_bug_before_the_reservation_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, *, streamed: bool
) -> None:
    """Nothing is reserved, nothing is sent, and the next call is fine."""
    async with scene(tmp_path) as s:
        with monkeypatch.context() as patch:
            patch.setattr(gateway, where, boom)
            check_told(s, await s.here.post(chat(WORDS, stream=streamed)))
        assert s.reserves() == []
        assert await serves_on(s)


async def test_a_bug_in_the_choice_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The router is the part that will change most."""
    async with scene(tmp_path) as s:
        with monkeypatch.context() as patch:
            patch.setattr(s.here.gateway.router, "decide", boom)
            check_told(s, await s.here.post(chat(WORDS)))
        assert s.reserves() == []
        assert await serves_on(s)


@pytest.mark.parametrize("where", ["host_body", "request_id_text", "AnswerScan"])
async def test_a_bug_behind_the_reservation_gives_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """The attempt is void, and its endpoint is not blamed."""
    async with scene(tmp_path) as s:
        with monkeypatch.context() as patch:
            patch.setattr(attempt, where, boom)
            check_told(s, await s.here.post(chat(WORDS, stream=True)))
        assert await s.ended() == ["a void CANCELLED NOT_SENT"]
        assert await serves_on(s)


async def test_a_bug_in_a_running_stream_ends_it_with_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scan sees every byte: what it throws at is no reason to hang, or to end in silence."""
    go_on = asyncio.Event()
    async with scene(tmp_path) as s:
        asyncio.get_running_loop().set_exception_handler(s.here.gateway.loop_fault)
        s.a.script(
            STREAM_HEAD + chunk(sse(delta("Hel"))), go_on, chunk(sse(usage_chunk(3, 2))), "wait for close"
        )
        reader, writer = await s.here.open()
        writer.write(s.here.request(chat(WORDS, stream=True)))
        await reader.readuntil(b"Hel")
        with monkeypatch.context() as patch:
            patch.setattr(AnswerScan, "_without_usage_chunk", boom)
            go_on.set()
            rest = await reader.readuntil(b"0\r\n\r\n")
        assert b"answer_broken_off" in rest
        assert WORDS.encode() not in rest
        check_logged(s)
        assert await s.ended() == ["a settle TRUNCATED"]
        assert s.b.received == []
        assert await serves_on(s)
        writer.close()


async def test_a_bug_at_the_end_of_a_stream_does_not_hold_its_reservation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever never ends by itself is ended by the idle timeout."""
    async with scene(tmp_path, hosts=1, idle_timeout_s=0.1) as s:
        asyncio.get_running_loop().set_exception_handler(s.here.gateway.loop_fault)
        s.a.script(stream(delta("Hel"), delta(finish_reason="stop")))
        with monkeypatch.context() as patch:
            patch.setattr(relay.StreamRelay, "finish", boom)
            answer = await s.here.post(chat(WORDS, stream=True))
        assert b"answer_broken_off" in answer.body
        check_logged(s)
        assert await s.ended() == ["a settle TIMED_OUT estimated"]
        assert await serves_on(s)


async def test_a_bug_behind_the_answer_is_told_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is learned is put together after the booking: when it fails the money is right all the same."""
    async with scene(tmp_path) as s:
        s.a.script(plain(completion("Hi")))
        with monkeypatch.context() as patch:
            patch.setattr(gateway, "observation", boom)
            check_told(s, await s.here.post(chat(WORDS)))
        assert await s.ended() == ["a settle OK"]
        assert await serves_on(s)


async def test_a_bug_in_learning_is_told_in_the_log_and_to_no_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Learning is done beside the answers, which do not need it."""
    async with scene(tmp_path) as s:
        asyncio.get_running_loop().set_exception_handler(s.here.gateway.loop_fault)
        s.a.script(plain(completion("Hi")))
        with monkeypatch.context() as patch:
            patch.setattr(s.here.gateway.knowledge, "take_in", boom)
            assert (await s.here.post(chat(WORDS))).status == 200
            await until(lambda: "fault" in s.here.log.getvalue(), "the fault was not logged")
        check_logged(s)
        assert await s.ended() == ["a settle OK"]
        assert await serves_on(s)


async def test_a_bug_after_the_reply_does_not_get_into_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client has its answer: the 500 has no place any more."""
    reply = Exchange.reply

    def reply_and_fail(self: Exchange, *args: object, **options: object) -> None:
        reply(self, *args, **options)  # type: ignore[arg-type]
        boom()

    async with scene(tmp_path) as s:
        for text in ("one", "two"):
            s.a.script(plain(completion(text)))
        reader, writer = await s.here.open()
        with monkeypatch.context() as patch:
            patch.setattr(Exchange, "reply", reply_and_fail)
            writer.write(s.here.request(chat(WORDS)))
            assert (await read_answer(reader)).json == completion("one")
            await until(s.here.log.getvalue)
        writer.write(s.here.request(chat()))
        assert (await read_answer(reader)).json == completion("two")
        check_logged(s, where="reply_and_fail")
        writer.close()


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/test/model/endpoints", "/v1/generation?id=x"])
async def test_a_bug_in_a_read_is_not_taken_for_a_malformed_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """It is a 500 like any other, on a connection that serves on."""
    async with scene(tmp_path) as s:
        with monkeypatch.context() as patch:
            for name in ("model_json", "endpoints_json", "told"):
                patch.setattr(routes, name, boom)
            check_told(s, await s.here.get(path))
        assert await serves_on(s)


async def test_a_journal_that_cannot_be_written_stops_new_requests_and_nothing_else(tmp_path: Path) -> None:
    """What was not reserved is not sent: 503 with Retry-After. Reads go on, and calls later."""
    async with scene(tmp_path) as s:
        journal = s.here.gateway.ledger.journal
        journal.fault = "the disk is full"
        answer = await s.here.post(chat(WORDS))
        assert answer.status == 503
        error = answer.json["error"]
        assert isinstance(error, dict)
        assert error["code"] == "journal_unavailable"
        assert "the disk is full" in error["message"]
        assert int(answer.headers["retry-after"]) >= 1
        assert "the disk is full" in s.here.log.getvalue()
        assert "Alice" not in s.here.log.getvalue()
        assert (s.a.connections, s.b.connections) == (0, 0)
        assert (await s.here.get("/v1/models")).status == 200
        journal.fault = None
        assert await serves_on(s)


async def test_a_bug_in_telling_of_a_bug_closes_the_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client must not wait for ever; the operator gets a line for each of the two."""
    async with scene(tmp_path) as s:
        asyncio.get_running_loop().set_exception_handler(s.here.gateway.loop_fault)
        with monkeypatch.context() as patch:
            patch.setattr(gateway, "parse_body", boom)
            patch.setattr(Exchange, "refuse", boom)
            reader, writer = await s.here.open()
            writer.write(s.here.request(chat(WORDS)))
            with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                await read_answer(reader)
            writer.close()
        gc.collect()  # the loop tells of a task that failed when the task is gone
        await until(lambda: s.here.log.getvalue().count('"fault"') == 2)
        assert "Alice" not in s.here.log.getvalue()
        assert await serves_on(s)
