"""Who may call: a key is looked up by its digest, and changes to keys work within a second."""

from __future__ import annotations

from pathlib import Path
from time import monotonic, time_ns

import pytest

from entrepot.ledger.keys.events import KeyCaps
from entrepot.ledger.keys.log import create_key, revoke_key, set_caps
from entrepot.testing.gateway_here import Answer, GatewayHere
from entrepot.testing.scripted_host import completion, plain
from tests.gateway.scene import chat, scene, until, until_later

PROMISED_S = 1.0


async def models(here: GatewayHere, *headers: str) -> Answer:
    """Return the reply to a read with these headers."""
    lines = "".join(f"{line}\r\n" for line in headers)
    return await here.exchange(f"GET /v1/models HTTP/1.1\r\nhost: here\r\n{lines}\r\n".encode())


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ((), "missing_api_key"),
        (("authorization: ",), "missing_api_key"),
        (("authorization: KEY",), "missing_api_key"),
        (("authorization: Basic KEY",), "missing_api_key"),
        (("api-key: KEY",), "missing_api_key"),
        (("authorization: Bearer",), "missing_api_key"),
        (("authorization: Bearer ",), "invalid_api_key"),
        (("authorization: Bearer sk-ent-wrong",), "invalid_api_key"),
        (("authorization: Bearer KEYx",), "invalid_api_key"),
        (("authorization: Bearer xKEY",), "invalid_api_key"),
        (("authorization: Bearer \xff\xfe",), "invalid_api_key"),
        (("authorization: Bearer sk-ent-wrong", "authorization: Bearer KEY"), "invalid_api_key"),
    ],
)
@pytest.mark.parametrize("call", [True, False])
async def test_without_a_valid_key_every_route_says_401(
    tmp_path: Path, headers: tuple[str, ...], code: str, *, call: bool
) -> None:
    """Reads and calls; the message says what to send and never repeats what was sent."""
    async with scene(tmp_path) as s:
        lines = [line.replace("KEY", s.here.key) for line in headers]
        if call:
            request = s.here.request(chat()).replace(f"authorization: Bearer {s.here.key}\r\n".encode(), b"")
            sent = "".join(f"{line}\r\n" for line in lines).encode("latin-1")
            answer = await s.here.exchange(request.replace(b"host: here\r\n", b"host: here\r\n" + sent))
        else:
            lines_sent = "".join(f"{line}\r\n" for line in lines)
            request = f"GET /v1/models HTTP/1.1\r\nhost: here\r\n{lines_sent}\r\n".encode("latin-1")
            answer = await s.here.exchange(request)
        assert answer.status == 401
        error = answer.json["error"]
        assert isinstance(error, dict)
        assert (error["type"], error["code"]) == ("authentication_error", code)
        assert s.here.key not in answer.body.decode()
        assert "sk-ent-wrong" not in answer.body.decode()
        assert s.reserves() == []


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer   "])
async def test_the_word_bearer_may_be_written_in_any_case(tmp_path: Path, scheme: str) -> None:
    """HTTP's schemes have no case, and some clients send more than one space."""
    async with scene(tmp_path) as s:
        assert (await models(s.here, f"authorization: {scheme} {s.here.key}")).status == 200


async def test_health_needs_no_key(tmp_path: Path) -> None:
    """Whoever watches over the process has none; it tells nothing but that we live."""
    async with scene(tmp_path) as s:
        answer = await s.here.exchange(b"GET /health HTTP/1.1\r\n\r\n")
        assert (answer.status, answer.body) == (200, b'{"status":"ok"}')


async def test_a_new_key_works_within_a_second(tmp_path: Path) -> None:
    """Without a restart and without asking the gateway."""
    async with scene(tmp_path) as s:
        created_s = monotonic()
        key = create_key(tmp_path, "new", None, time_ns())
        line = f"authorization: Bearer {key}"
        while (await models(s.here, line)).status != 200:
            assert monotonic() - created_s < PROMISED_S
            await until_later(0.01)


async def test_a_revoked_key_is_refused_within_a_second_and_its_streams_end_as_they_began(
    tmp_path: Path,
) -> None:
    """What is under way was admitted and is paid for; what comes after is not admitted."""
    async with scene(tmp_path) as s:
        s.a.script(plain(completion("Hi")))
        assert (await s.here.post(chat())).status == 200
        revoked_s = monotonic()
        revoke_key(tmp_path, "test", time_ns())
        while (await s.here.post(chat())).status != 401:
            assert monotonic() - revoked_s < PROMISED_S
            await until_later(0.01)
        assert (await s.here.get("/v1/models")).status == 401


async def test_a_key_may_be_capped_lower_than_others(tmp_path: Path) -> None:
    """The caps of a key replace those of the configuration, also for a running gateway."""
    async with scene(tmp_path) as s:
        set_caps(tmp_path, "test", KeyCaps(usd_per_hour=10.0), time_ns())
        s.here.gateway.ledger.refresh_keys()
        refused = await s.here.post(chat(slo={"usd_per_hour": 11}))
        assert refused.status == 400
        assert "at most 10" in refused.body.decode()
        s.a.script(plain(completion("Hi")))
        assert (await s.here.post(chat(slo={"usd_per_hour": 10}))).status == 200


async def test_a_damaged_log_of_keys_leaves_the_known_keys_and_the_clock_running(tmp_path: Path) -> None:
    """It is told once, and timeouts and sweeps go on."""
    async with scene(tmp_path, hosts=1, first_byte_timeout_s=0.2) as s:
        log = tmp_path / "keys.jsonl"
        with log.open("ab") as file:
            file.write(b"damage\n")
        await until(lambda: "is damaged at" in s.here.log.getvalue(), "nobody was told")
        s.a.script("wait for close")
        assert (await s.here.post(chat())).status == 502
        assert s.here.log.getvalue().count("is damaged at") == 1


async def test_a_key_is_written_nowhere(tmp_path: Path) -> None:
    """Only its digest is in the data directory."""
    async with scene(tmp_path) as s:
        s.a.script(plain(completion("Hi")))
        assert (await s.here.post(chat())).status == 200
        secret = s.here.key.removeprefix("sk-ent-").encode()
        for path in tmp_path.rglob("*"):
            assert not path.is_file() or secret not in path.read_bytes()
