"""Running gateways as these tests see them: an address, a key, a data directory, and what a user can ask."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openai import AsyncOpenAI, OpenAI

from tests.e2e.programs import DEADLINE_S, Program, command, free_port, json_of, running

R1 = "deepseek/deepseek-r1"
SMOL = "huggingface/smollm2-135m-instruct"
EMBEDDING = "simulated/embedding"


@dataclass
class Answer:
    """A whole reply."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401 - whatever the gateway says
        """Return the body as a value."""
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """Return the error that the body is; fail when it is none in OpenAI's shape."""
        error = self.json["error"]
        assert set(error) >= {"message", "type", "param", "code"}, error
        assert isinstance(error, dict)
        return error


@dataclass
class Running:
    """A gateway that accepts requests."""

    program: Program
    data_dir: Path
    port: int
    console_port: int
    key: str

    @property
    def url(self) -> str:
        """Return the base URL for clients."""
        return f"http://127.0.0.1:{self.port}/v1"

    def client(self, key: str | None = None) -> OpenAI:
        """Return the unmodified SDK, told where to go; it hides no failure by trying again."""
        return OpenAI(base_url=self.url, api_key=key or self.key, max_retries=0, timeout=DEADLINE_S)

    def async_client(self, key: str | None = None) -> AsyncOpenAI:
        """Return the SDK's asynchronous client."""
        return AsyncOpenAI(base_url=self.url, api_key=key or self.key, max_retries=0, timeout=DEADLINE_S)

    def exchange(
        self, method: str, path: str, body: object = None, *, key: str | None = None, **headers: str
    ) -> Answer:
        """Return the reply to one request; a body that is not bytes goes as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        with contextlib.closing(connection):
            data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
            sent = {"authorization": f"Bearer {key or self.key}", **headers}
            connection.request(method, path, data, sent)
            with connection.getresponse() as response:
                names = {name.lower(): value for name, value in response.getheaders()}
                return Answer(response.status, names, response.read())

    def post(self, body: object, *, key: str | None = None) -> Answer:
        """Return the reply to a chat request."""
        return self.exchange("POST", "/v1/chat/completions", body, key=key)

    def command(self, *arguments: str, status: int | None = 0) -> str:
        """Return what a command prints about this data directory."""
        return command(*arguments, "--data-dir", str(self.data_dir), status=status).stdout

    def ask(self, *arguments: str, status: int | None = 0) -> Any:  # noqa: ANN401 - whatever it says
        """Return what a command says about this data directory with `--json`."""
        return json_of(*arguments, "--data-dir", str(self.data_dir), status=status)

    def kpis(self, model: str) -> dict[str, dict[str, Any]]:
        """Return the KPIs of each endpoint of a model, by host."""
        found = self.exchange("GET", f"/v1/models/{model}/endpoints").json["data"]["endpoints"]
        return {endpoint["host"]: endpoint["kpis"] for endpoint in found}


@contextlib.contextmanager
def demo(data_dir: Path, *flags: str) -> Iterator[Running]:
    """Run `entrepot demo` on free ports, and end it with all of its children."""
    port, console_port = free_port(), free_port()
    ports = ("--port", str(port), "--console-port", str(console_port))
    arguments = ("demo", "--data-dir", str(data_dir), *ports, *flags)
    with running(*arguments, directory=data_dir.with_name(data_dir.name + ".said")) as program:
        address, _, key = program.ready().partition(" key=")
        assert address == f"http://127.0.0.1:{port}/v1"
        yield Running(program, data_dir, port, console_port, key)


@contextlib.contextmanager
def serve(data_dir: Path, config: Path, key: str) -> Iterator[Running]:
    """Run `entrepot serve` with a configuration on free ports."""
    port, console_port = free_port(), free_port()
    ports = ("--port", str(port), "--console-port", str(console_port))
    arguments = ("serve", "--config", str(config), "--data-dir", str(data_dir), *ports)
    with running(*arguments, directory=data_dir.with_name(data_dir.name + ".said")) as program:
        yield Running(program, data_dir, port, console_port, key)


def make_key(data_dir: Path, name: str, *, budget_usd: str | None = None) -> str:
    """Return a new key of the data directory."""
    budget = () if budget_usd is None else ("--budget-usd", budget_usd)
    secret = json_of("key", "create", "--name", name, *budget, "--data-dir", str(data_dir))["key"]
    assert isinstance(secret, str)
    return secret


def chat(text: str = "What is an entrepot?", *, model: str = R1, **fields: object) -> dict[str, Any]:
    """Return the fields of a chat request."""
    return {"model": model, "messages": [{"role": "user", "content": text}], **fields}


def raw_post(path: str, body: object, key: str) -> bytes:
    """Return the bytes of a request whose connection ends with its answer, for clients that read bytes."""
    data = json.dumps(body).encode()
    return (
        b"POST %b HTTP/1.1\r\nhost: here\r\nconnection: close\r\nauthorization: Bearer %b\r\n"
        b"content-length: %d\r\n\r\n%b" % (path.encode(), key.encode(), len(data), data)
    )
