"""Prompts and answers: kept for keys that ask for it, as the client saw them, and for no other key."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from time import time_ns

import pytest

from entrepot.gateway.transcript import Transcript
from entrepot.ledger.journal.spool import (
    Content,
    Kind,
    SpoolRecord,
    TaskText,
    closed_file,
    records_in,
    spool_files,
)
from entrepot.ledger.keys.log import revoke_key, set_storing
from entrepot.testing.gateway_here import GatewayHere
from entrepot.testing.scripted_host import (
    STREAM_END,
    STREAM_HEAD,
    chunk,
    completion,
    delta,
    plain,
    sse,
    stream,
    usage_chunk,
)
from tests.gateway.scene import Scene, chat, scene, until
from tests.ledger.journal.test_spool import largest_file

PIECES = [delta(role="assistant", content=""), *map(delta, "Hällo"), delta(finish_reason="stop")]
PROMPT = "a secret prompt"
ANSWER = "a secret answer"


def store_contents(here: GatewayHere, *, stored: bool = True) -> None:
    """Switch the storing of the test's key, as `entrepot key contents` does."""
    set_storing(here.data_dir, "test", time_ns(), stored=stored)
    here.gateway.ledger.refresh_keys()


def kept(here: GatewayHere) -> list[SpoolRecord]:
    """Return what was handed to the spool."""
    here.gateway.contents.close()
    records: list[SpoolRecord] = []
    for path in spool_files(here.data_dir / "contents"):
        with closed_file(path) as data:
            assert data is not None
            records += records_in(data)[0]
    return records


async def kept_contents(s: Scene) -> dict[Kind, Content]:
    """Return the contents of the one request, once it is over."""
    await s.ended()
    found = [record for record in kept(s.here) if isinstance(record, Content)]
    assert len({content.kind for content in found}) == len(found)
    return {content.kind: content for content in found}


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_key_without_the_switch_leaves_no_word_anywhere(tmp_path: Path, streamed: bool) -> None:
    """Not in the spool, the journal, the log of keys or the event log."""
    async with scene(tmp_path) as s:
        s.a.script(
            stream(delta(ANSWER), delta(finish_reason="stop")) if streamed else plain(completion(ANSWER))
        )
        answer = await s.here.post(chat(PROMPT, stream=streamed))
        assert ANSWER.encode() in answer.body
        await s.ended()
        assert kept(s.here) == []
        assert ANSWER not in s.here.log.getvalue()
    for path in filter(Path.is_file, tmp_path.rglob("*")):
        data = path.read_bytes()
        assert PROMPT.encode() not in data, path
        assert ANSWER.encode() not in data, path


@pytest.mark.parametrize("http", ["HTTP/1.1", "HTTP/1.0"])
async def test_a_streamed_answer_is_kept_as_the_client_read_it(tmp_path: Path, http: str) -> None:
    """Byte for byte, without the framing; the usage report that only we asked for is not in it."""
    async with scene(tmp_path) as s:
        store_contents(s.here)
        pieces = b"".join(chunk(sse(piece)) for piece in [*PIECES, usage_chunk(10, 5), "[DONE]"])
        s.a.script(STREAM_HEAD, *(pieces[at : at + 50] for at in range(0, len(pieces), 50)), STREAM_END)
        request = s.here.request(chat(PROMPT, stream=True)).replace(b"HTTP/1.1", http.encode(), 1)
        answer = await s.here.exchange(request)
        contents = await kept_contents(s)
        assert contents[Kind.ANSWER].body == answer.body
        assert b"usage" not in answer.body
        assert contents[Kind.PROMPT].body == json.dumps(chat(PROMPT, stream=True)).encode()
        (reserve,) = s.reserves()
        assert {(c.request_id, c.key_id, c.attempt, c.truncated) for c in contents.values()} == {
            (reserve.request_id, 1, 1, False)
        }


@pytest.mark.parametrize("options", [{}, {"cancels_plain_calls": False}])
async def test_a_whole_answer_is_kept_as_the_client_read_it(tmp_path: Path, options: dict[str, bool]) -> None:
    """The host's own bytes, or the reply that was folded from a stream."""
    async with scene(tmp_path, **options) as s:
        store_contents(s.here)
        s.a.script(stream(*PIECES) if options else plain(completion(ANSWER)))
        answer = await s.here.post(
            b'{ "model":"test/model",\n"messages":[{"role":"user","content":"\\u00e4"}]}'
        )
        assert answer.status == 200
        contents = await kept_contents(s)
        assert contents[Kind.ANSWER].body == answer.body
        assert contents[Kind.PROMPT].body == (
            b'{ "model":"test/model",\n"messages":[{"role":"user","content":"\\u00e4"}]}'
        )


async def test_the_answer_of_the_second_attempt_is_kept_with_its_number(tmp_path: Path) -> None:
    """The first host's refusal never reached the client; the prompt is kept once."""
    async with scene(tmp_path) as s:
        store_contents(s.here)
        s.a.script(plain({"error": {"message": "never seen"}}, status=500))
        s.b.script(plain(completion(ANSWER)))
        answer = await s.here.post(chat(PROMPT))
        contents = await kept_contents(s)
        assert (contents[Kind.PROMPT].attempt, contents[Kind.ANSWER].attempt) == (1, 2)
        assert contents[Kind.ANSWER].body == answer.body


async def test_a_stream_that_breaks_is_kept_with_the_error_that_ended_it(tmp_path: Path) -> None:
    """What the client got is the half answer and our last event."""
    async with scene(tmp_path) as s:
        store_contents(s.here)
        s.a.script(STREAM_HEAD, chunk(sse(delta("Half"))), chunk(sse(delta(" an"))), "abort")
        answer = await s.here.post(chat(PROMPT, stream=True))
        assert b'"error"' in answer.body
        assert (await kept_contents(s))[Kind.ANSWER].body == answer.body


async def test_a_request_that_was_not_served_is_not_kept(tmp_path: Path) -> None:
    """A bad body, or a model that nobody has, never was a request of the ledger."""
    async with scene(tmp_path) as s:
        store_contents(s.here)
        assert (await s.here.post(b'{"messages": "secret"')).status == 400
        assert (await s.here.post({**chat(PROMPT), "model": "no/such"})).status == 404
        assert kept(s.here) == []


@pytest.mark.parametrize("change", ["off", "revoked"])
async def test_a_key_that_is_switched_off_in_mid_answer_keeps_none(tmp_path: Path, change: str) -> None:
    """What is erased after the switch does not come back with a stream that was under way."""
    async with scene(tmp_path) as s:
        store_contents(s.here)
        gate = asyncio.Event()
        s.a.script(STREAM_HEAD, chunk(sse(delta("a"))), gate, chunk(sse(*PIECES, "[DONE]")), STREAM_END)
        reader, writer = await s.here.open()
        writer.write(s.here.request(chat(PROMPT, stream=True)))
        await reader.readuntil(b'"a"')
        if change == "off":
            store_contents(s.here, stored=False)
        else:
            revoke_key(tmp_path, "test", time_ns())
            s.here.gateway.ledger.refresh_keys()
        gate.set()
        await reader.readuntil(b"[DONE]")
        assert set(await kept_contents(s)) == {Kind.PROMPT}
        writer.close()


async def test_the_name_of_a_task_is_noted_once_for_any_key(tmp_path: Path) -> None:
    """The ledger has its number; the words go where they can be erased."""
    async with scene(tmp_path) as s:
        for _ in range(3):
            s.a.script(plain(completion(ANSWER)))
            await s.here.post(chat(PROMPT), headers="x-entrepot-task:  ticket 4711\r\n")
        await s.ended()
        (task,) = kept(s.here)
        assert isinstance(task, TaskText)
        assert (task.key_id, task.text) == (1, "ticket 4711")
        assert {reserve.task_id for reserve in s.reserves()} == {task.task_id}


async def test_a_spool_that_cannot_be_made_fails_no_request(tmp_path: Path) -> None:
    """Each content is counted as dropped, and the event log says so once."""
    async with scene(tmp_path) as s:
        (tmp_path / "contents").write_bytes(b"a file where the directory should be")
        store_contents(s.here)
        for _ in range(3):
            s.a.script(plain(completion(ANSWER)))
            assert (await s.here.post(chat(PROMPT))).status == 200
        assert await s.ended() == ["a settle OK"] * 3
        assert s.here.gateway.contents.dropped == 6
        lines = [json.loads(line) for line in s.here.log.getvalue().splitlines()]
        told = [line for line in lines if line["event"] == "contents_dropped"]
        assert len(told) == 1
        assert "contents" in told[0]["problem"]


async def test_a_disk_without_room_for_contents_fails_no_request(tmp_path: Path) -> None:
    """What does not fit is dropped as a whole and counted; what is kept is whole."""
    async with scene(tmp_path) as s:
        store_contents(s.here)
        body = chat("x" * 250_000)
        with largest_file(1_200_000):  # more than a segment of the journal, so that only the spool is hit
            for _ in range(12):
                s.a.script(plain(completion(ANSWER)))
                assert (await s.here.post(body)).status == 200
        await s.ended()
        contents = [record for record in kept(s.here) if isinstance(record, Content)]
        assert s.here.gateway.contents.dropped > 0
        assert len(contents) + s.here.gateway.contents.dropped == 24
        prompts = {content.body for content in contents if content.kind is Kind.PROMPT}
        assert prompts == {json.dumps(body).encode()}


async def test_what_was_written_is_handed_over_while_the_gateway_runs(tmp_path: Path) -> None:
    """The poster does not wait for the end of the process."""
    async with scene(tmp_path) as s:
        store_contents(s.here)
        s.a.script(plain(completion(ANSWER)))
        await s.here.post(chat(PROMPT))

        def is_closed() -> bool:
            with closed_file(spool_files(tmp_path / "contents")[0]) as data:
                return data is not None

        await until(is_closed, "the file is still locked")


@pytest.mark.parametrize(
    ("pieces", "body", "truncated"),
    [
        ([b"1234", b"5678"], b"12345678", False),
        ([b"12345678"], b"12345678", False),
        ([b"1234", b"56789"], b"12345678", True),
        ([b"123456789", b"0"], b"12345678", True),
        ([b"12345678", b"9"], b"12345678", True),
        ([b""], b"", False),
    ],
)
def test_a_transcript_keeps_the_start_of_what_is_too_long(
    pieces: list[bytes], body: bytes, truncated: bool
) -> None:
    """An endless answer takes bounded memory, and the cut is flagged."""
    transcript = Transcript(room_bytes=8)
    for piece in pieces:
        transcript.note(piece)
    assert (transcript.body, transcript.truncated) == (body, truncated)
