"""A local host as tests start one: the command that users type, in a process of its own."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from entrepot.hosts.local import LOCAL_API_KEY_VARIABLE

API_KEY = "the-key-of-this-test"
COMMAND = [sys.executable, "-m", "entrepot", "host", "local"]
ENVIRONMENT = {**os.environ, LOCAL_API_KEY_VARIABLE: API_KEY}
DEADLINE_S = 60.0


@dataclass
class LocalChild:
    """A local host that is ready at `base_url`."""

    process: subprocess.Popen[str]
    base_url: str

    @property
    def address(self) -> tuple[str, int]:
        """Return host and port."""
        parts = urlsplit(self.base_url)
        assert parts.hostname is not None
        assert parts.port is not None
        return parts.hostname, parts.port

    @contextlib.contextmanager
    def request(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        """Send a request with the key and give its response, still open."""
        connection = http.client.HTTPConnection(*self.address, timeout=DEADLINE_S)
        with contextlib.closing(connection):
            given = {"authorization": f"Bearer {API_KEY}"} if headers is None else headers
            connection.request(method, path, None if body is None else json.dumps(body), given)
            with connection.getresponse() as response:
                yield response

    def post(self, path: str, body: object) -> bytes:
        """Return the body of a successful reply."""
        with self.request("POST", path, body) as response:
            data = response.read()
            assert response.status == 200, data
            return data

    def metric(self, name: str) -> float:
        """Return one of the engine's own counters."""
        with self.request("GET", "/metrics") as response:
            lines = response.read().decode().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"llamacpp:{name} "))


@contextlib.contextmanager
def local_child(*options: str) -> Iterator[LocalChild]:
    """Start a local host on a free port and end it."""
    process = subprocess.Popen(
        [*COMMAND, "--port", "0", "--die-with-parent", str(os.getpid()), *options],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            word, _, base_url = process.stdout.readline().strip().partition(" ")
            assert word == "ready"
            yield LocalChild(process, base_url)
        finally:
            process.terminate()
            process.wait(DEADLINE_S)


def wait_until(condition: Callable[[], bool]) -> None:
    """Return once the condition holds; fails when it does not within the deadline."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s, f"not within {DEADLINE_S:g} s"
        time.sleep(0.02)


def parsed(data: bytes | None) -> dict[str, Any]:
    """Return a JSON object."""
    assert data is not None
    value = json.loads(data)
    assert isinstance(value, dict)
    return value
