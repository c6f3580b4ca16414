"""`entrepot endpoints`: what a gateway measured of its endpoints, as people read it.

The estimates are those of a gateway with scripted hosts, told by the console as they are told to anyone.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from time import monotonic

import msgspec
import pytest
from msgspec.structs import replace

from entrepot.cli.console_address import CONSOLE_FILE, ConsoleAddress
from entrepot.domain.outcome import Outcome
from entrepot.gateway.routes import endpoints_json
from tests.cli.command_line import Ran, entrepot
from tests.gateway.scene import scene
from tests.routing.builders import seen

COLUMNS = 100


@contextmanager
def console(data_dir: Path, told: bytes) -> Iterator[None]:
    """Answer every question of a command with the same words."""

    class Told(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)

        def log_message(self, *_: object) -> None:
            """Stay silent: the tests read what commands print."""

    server = HTTPServer(("127.0.0.1", 0), Told)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    try:
        address = ConsoleAddress(url=f"http://127.0.0.1:{server.server_port}", token="t")
        (data_dir / CONSOLE_FILE).write_bytes(msgspec.json.encode(address))
        yield
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


async def told_by_gateway(data_dir: Path) -> bytes:
    """Return what a gateway tells whose first endpoint charges more and says 429, unlike its second."""
    good = replace(
        seen(0, monotonic(), ttft_s=1.0, tpot_s=0.02, output_tokens=100),
        prompt_tokens=1000,
        wire_bytes=20_000,
    )
    dear = replace(good, billed_nusd=1000, told_nusd=1250)
    cached = replace(good, cached_tokens=800, known_tokens=900, billed_nusd=600, discount_nusd=400)
    async with scene(data_dir) as s:
        knowledge = s.here.gateway.knowledge
        for one in (
            *[dear] * 20,
            *[replace(cached, told_nusd=900)] * 12,
            *[replace(seen(0, monotonic(), Outcome.RATE_LIMITED))] * 8,
            *[replace(good, endpoint_index=1, billed_nusd=1000, told_nusd=1000)] * 20,
        ):
            knowledge.observe(one)
        return msgspec.json.encode({"data": endpoints_json(s.here.gateway)})


@pytest.fixture
def told(tmp_path: Path) -> bytes:
    """Return what the gateway tells."""
    return asyncio.run(told_by_gateway(tmp_path / "gateway"))


def printed(tmp_path: Path, told: bytes, *arguments: str) -> Ran:
    """Return what the command prints when a gateway tells this."""
    with console(tmp_path, told):
        return entrepot("endpoints", *arguments, "--data-dir", tmp_path, columns=COLUMNS)


def test_what_is_unusual_of_an_endpoint_stands_below_the_table(tmp_path: Path, told: bytes) -> None:
    """Of the one that is as it ought to be nothing is said; no line is longer than the terminal."""
    ran = printed(tmp_path, told)
    assert ran.status == 0
    assert "model@a: 20.0% of attempts answered 429 (1" in ran.out
    assert "charges 1.25 times its list price (" in ran.out
    assert "honours 25.0% of its discount on cached tokens (" in ran.out
    assert "model@b:" not in ran.out
    assert max(map(len, ran.out.splitlines())) <= COLUMNS


def test_a_detail_view_has_every_estimate_with_how_sure_it_is(tmp_path: Path, told: bytes) -> None:
    """Value, interval with its share, basis, observations, age: a line each."""
    ran = printed(tmp_path, told, "show", "@a")
    assert ran.status == 0
    assert max(map(len, ran.out.splitlines())) <= COLUMNS
    assert "90% interval" in ran.out
    lines = {line[:31].strip(): line[31:].split() for line in ran.out.splitlines()}
    limited = lines["answers 429"]
    assert limited[0] == "20.0%"
    assert limited[4:6] == ["measured", "40.0"]
    assert lines["paid / listed"][0] == "1.25"
    assert lines["cached discount honoured"][:5] == ["25.0%", "10.5%", "to", "48.7%", "measured"]
    everything = set(msgspec.json.decode(told)["data"][0]["kpis"]) - {"in_flight"}
    assert len(ran.out.splitlines()) == len(everything) + 3


def test_a_detail_view_of_a_name_that_nobody_has_tells_the_names(tmp_path: Path, told: bytes) -> None:
    """And ends with a failure."""
    ran = printed(tmp_path, told, "show", "@nobody")
    assert (ran.status, ran.out) == (1, "")
    assert "@a" in ran.err
    assert len(printed(tmp_path, told, "show", "model", "--json").json) == 2
