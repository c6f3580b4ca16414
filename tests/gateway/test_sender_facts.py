"""What the choice learns of a sender: its key, its task tag, its conversation, what its time is worth."""

from __future__ import annotations

from pathlib import Path
from time import time_ns
from typing import Any

import pytest

from entrepot.domain.errors import Refusal
from entrepot.domain.ids import session_of
from entrepot.domain.request import Request
from entrepot.ledger.accounts.senders import Sender
from entrepot.ledger.keys.events import KeyCaps
from entrepot.ledger.keys.log import assign_key, create_tag, set_caps, set_value_of_time
from entrepot.routing.choose import Router
from entrepot.routing.decision import Decision
from entrepot.testing.gateway_here import MODEL
from entrepot.testing.scripted_host import completion, plain
from tests.gateway.scene import Scene, chat, scene

SESSION = "x-entrepot-session: %s\r\n"
TAG = "x-entrepot-tag: %s\r\n"


class NotingRouter(Router):
    """A router that remembers the request that it was asked about last."""

    noted: Request

    def decide(self, request: Request, **arguments: Any) -> Decision | Refusal:  # noqa: ANN401 - passed on
        """Note the request, and decide as ever."""
        self.noted = request
        return super().decide(request, **arguments)


async def asked(s: Scene, headers: str = "", **fields: object) -> Request:
    """Return what the router is asked about a call."""
    router = s.here.gateway.router
    router.__class__ = NotingRouter
    assert isinstance(router, NotingRouter)
    s.a.script(plain(completion("Hi")))
    answer = await s.here.post(chat(**fields), headers=headers)
    assert answer.status == 200, answer.body
    return router.noted


async def test_the_value_of_time_is_the_requests_else_the_keys_else_the_configured(tmp_path: Path) -> None:
    """Also for a running gateway; the caps of the key hold for its own value too."""
    async with scene(tmp_path, hosts=1) as s:
        assert (await asked(s)).slo.usd_per_hour is None
        set_value_of_time(tmp_path, "test", 20.0, time_ns())
        s.here.gateway.ledger.refresh_keys()
        assert (await asked(s)).slo.usd_per_hour == 20.0
        assert (await asked(s, slo={"ttft_s": 60})).slo.usd_per_hour == 20.0
        assert (await asked(s, slo={"usd_per_hour": 0})).slo.usd_per_hour == 0.0
        set_caps(tmp_path, "test", KeyCaps(usd_per_hour=8.0), time_ns())
        s.here.gateway.ledger.refresh_keys()
        assert (await asked(s)).slo.usd_per_hour == 8.0
        assert (await asked(s, slo={"usd_per_hour": 3})).slo.usd_per_hour == 3.0


async def test_a_request_has_the_tag_that_the_client_named_first_else_the_keys_first(tmp_path: Path) -> None:
    """Verbosity goes by it."""
    async with scene(tmp_path, hosts=1) as s:
        assert (await asked(s)).tag_id == 0
        for tag in ("a", "b", "b/one", "a/one"):
            create_tag(tmp_path, tag, time_ns())
        assign_key(tmp_path, "test", None, ["b", "a"], time_ns())
        s.here.gateway.ledger.refresh_keys()
        found = await asked(s)
        assert (found.key_id, found.tag_id) == (1, 2)
        assert (await asked(s, TAG % "a/one, b/one")).tag_id == 4
        assert (await asked(s, TAG % "b/one,a/one")).tag_id == 3
        assert (await asked(s, TAG % "a")).tag_id == 1
        ledger = s.here.gateway.ledger
        once, again = (ledger.sender(ledger.keys.by_id[1], "a") for _ in range(2))
        assert isinstance(once, Sender)
        assert once is again


async def test_a_conversation_is_named_in_a_header_else_in_the_body(tmp_path: Path) -> None:
    """A digest, never the words: neither the journal nor the log has them."""
    async with scene(tmp_path, hosts=1) as s:
        assert (await asked(s)).session == 0
        assert (await asked(s, user="alice")).session == session_of(1, b"alice")
        named = await asked(s, SESSION % "chat-4711", user="alice", prompt_cache_key="key")
        assert named.session == session_of(1, b"chat-4711")
        assert (await asked(s, SESSION % " ", user="alice")).session == session_of(1, b"alice")
        kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
        assert b"chat-4711" not in kept
        assert "chat-4711" not in s.here.log.getvalue()
        refused = await s.here.post(chat(), headers=SESSION % ("x" * 257))
        assert (refused.status, refused.json["error"]["param"]) == (400, "x-entrepot-session")


@pytest.mark.parametrize(("suffix", "sort"), [("floor", "price"), ("nitro", "throughput")])
async def test_a_suffix_of_a_served_model_is_a_sort(tmp_path: Path, suffix: str, sort: str) -> None:
    """The model is found; one that is not served is a 404 with the name as it was sent."""
    async with scene(tmp_path, hosts=1) as s:
        request = await asked(s, model=f"{MODEL}:{suffix}")
        assert (request.models, request.preferences.sort) == ((MODEL,), sort)
        unknown = await s.here.post(chat(model=f"test/other:{suffix}"))
        assert unknown.status == 404
        assert f"test/other:{suffix}" in unknown.body.decode()
        both = await s.here.post(chat(model=f"{MODEL}:{suffix}", provider={"sort": "latency"}))
        assert (both.status, both.json["error"]["code"]) == (400, "contradictory_values")


async def test_a_long_prompt_tells_how_it_begins(tmp_path: Path) -> None:
    """The next turn of a conversation begins with the blocks of the one before."""
    async with scene(tmp_path, hosts=1) as s:
        turns = [{"role": "user", "content": "word " * 2_000}]
        first = await asked(s, messages=turns)
        turns += [{"role": "assistant", "content": "Yes."}, {"role": "user", "content": "more " * 1_000}]
        second = await asked(s, messages=turns)
        assert len(first.blocks) >= 2
        assert second.blocks[: len(first.blocks)] == first.blocks
        assert (await asked(s)).blocks == ()
