"""`entrepot demo` as a newcomer meets it: the unmodified OpenAI SDK, the commands of the README, Ctrl-C."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.gateways import EMBEDDING, R1, SMOL, Running, chat, demo
from tests.e2e.programs import command, descendants, free_port, is_open, until

SIX_HOSTS = {"deepseek", "parasail", "friendli", "azure", "lambda", "nebius"}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Return a demo with everything: the local model and the simulated hosts."""
    with demo(tmp_path_factory.mktemp("demo") / "data", "--speedup", "20") as running:
        yield running


@pytest.mark.parametrize("model", [SMOL, R1])
def test_the_openai_sdk_gets_a_plain_answer(here: Running, model: str) -> None:
    """The local model and the simulated hosts answer in one piece, with usage and a finish reason."""
    with here.client() as client:
        answer = client.chat.completions.create(**chat("Say hello.", model=model, max_tokens=16))
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert answer.usage is not None
    assert 0 < answer.usage.completion_tokens <= 16
    assert answer.usage.prompt_tokens > 0


@pytest.mark.parametrize("model", [SMOL, R1])
def test_the_openai_sdk_gets_a_streamed_answer(here: Running, model: str) -> None:
    """Chunks arrive one by one; without `include_usage` the client sees no usage, as it asked for none."""
    with here.client() as client:
        stream = client.chat.completions.create(**chat("Say hello.", model=model, max_tokens=16, stream=True))
        chunks = list(stream)
    contents = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    assert len([content for content in contents if content]) > 1
    assert chunks[-1].choices[0].finish_reason in ("stop", "length")
    assert all(chunk.usage is None for chunk in chunks)


@pytest.mark.parametrize("model", [SMOL, R1])
def test_a_client_that_asks_for_usage_in_the_stream_gets_it(here: Running, model: str) -> None:
    """With `include_usage` the last chunk has the usage and no choices."""
    with here.client() as client:
        fields = chat("Say hello.", model=model, max_tokens=8, stream=True)
        stream = client.chat.completions.create(**fields, stream_options={"include_usage": True})
        *_, last = stream
    assert last.choices == []
    assert last.usage is not None
    assert 0 < last.usage.completion_tokens <= 8


def test_the_openai_sdk_gets_completions_embeddings_and_the_list_of_models(here: Running) -> None:
    """The other operations and the list of models work with the same client."""
    with here.client() as client:
        text = client.completions.create(model=R1, prompt="An entrepot is", max_tokens=8)
        vectors = client.embeddings.create(model=EMBEDDING, input=["one", "two", "one"])
        models = {model.id for model in client.models.list()}
        one = client.models.retrieve(R1)
    assert text.choices[0].text
    first, second, third = (item.embedding for item in vectors.data)
    assert len(first) == 256
    assert first == third != second
    assert models == {SMOL, R1, EMBEDDING}
    assert one.id == R1


@pytest.mark.parametrize("stream", [False, True])
def test_every_answer_says_who_answered_what_it_costs_and_why(here: Running, *, stream: bool) -> None:
    """The headers are there, streamed or not, in printable ASCII; the actual cost only where it is known."""
    with here.client() as client:
        raw = client.chat.completions.with_raw_response.create(**chat(max_tokens=8, stream=stream))
        headers = raw.headers
        parsed = raw.parse()
        if stream:
            assert list(parsed)
    assert headers["x-request-id"].startswith("req-")
    assert headers["x-entrepot-endpoint"].startswith(f"{R1}@")
    assert headers["x-entrepot-model"] == R1
    assert headers["x-entrepot-simulated"] == "true"
    assert float(headers["x-entrepot-expected-cost-usd"]) > 0
    assert ("x-entrepot-cost-usd" in headers) is not stream
    assert "expected" in headers["x-entrepot-reason"]
    assert all(value.isascii() and value.isprintable() for value in headers.values())


def test_the_local_model_is_not_called_simulated_and_costs_nothing(here: Running) -> None:
    """What answers badly and truly is no simulation, and its price is zero unless configured."""
    answer = here.post(chat("Say hello.", model=SMOL, max_tokens=8))
    assert "x-entrepot-simulated" not in answer.headers
    assert float(answer.headers["x-entrepot-cost-usd"]) == 0


@pytest.mark.parametrize("model", [SMOL, R1])
def test_why_and_generation_know_a_request_the_moment_it_ends_by_either_id(here: Running, model: str) -> None:
    """Our id and the host's own id of the answer lead to the same account, in the command and over HTTP."""
    answer = here.post(chat("Say hello.", model=model, max_tokens=8))
    ours, theirs = answer.headers["x-request-id"], answer.json["id"]
    told = here.ask("why", ours)
    assert told == here.ask("why", theirs)
    assert told["id"] == ours
    assert told["upstream_id"] == theirs
    assert told["decision"]["candidates"][0]["endpoint"] == answer.headers["x-entrepot-endpoint"]
    assert told["tokens_completion"] == answer.json["usage"]["completion_tokens"]
    for text in (ours, theirs):
        account = here.exchange("GET", f"/v1/generation?id={text}").json["data"]
        assert account["id"] == ours
        assert account["endpoint"] == answer.headers["x-entrepot-endpoint"]
        assert float(account["cost_usd"]) == float(answer.headers["x-entrepot-cost-usd"])


def test_why_tells_people_the_candidates_and_what_happened(here: Running) -> None:
    """Without --json it is text that names every host that was considered."""
    answer = here.post(chat(max_tokens=8))
    told = here.command("why", answer.headers["x-request-id"])
    assert all(f"{R1}@{host}" in told for host in SIX_HOSTS)
    assert "What happened" in told
    assert "simulated" in told


def test_requests_endpoints_report_and_audit_work_beside_a_running_gateway(here: Running) -> None:
    """The commands of the README say what was just done, and the books agree."""
    answer = here.post(chat(max_tokens=8))
    listed = here.ask("requests", "--limit", "1")
    assert [request["id"] for request in listed] == [answer.headers["x-request-id"]]
    assert answer.headers["x-request-id"][4:20] in here.command("requests")
    hosts = {endpoint["host"] for endpoint in here.ask("endpoints")}
    assert hosts == {*SIX_HOSTS, "local", "simulated"}
    table = here.command("endpoints", "--model", R1)
    assert all(host in table for host in SIX_HOSTS)
    report = here.ask("ledger", "report", "--by", "host")
    assert report["total"]["requests"] >= 1
    assert report["total"]["cost_nusd"] > 0
    assert report["total"]["reserved_nusd"] == 0
    for by in ("key", "day"):
        same = here.ask("ledger", "report", "--by", by)["total"]
        assert same == report["total"]
    assert "unknown" in here.command("ledger", "report", "--by", "host")
    assert here.ask("ledger", "audit")["ok"]


def test_metrics_and_health_are_where_the_docs_say(here: Running) -> None:
    """Health needs no key; metrics are on the console's port and want its own token, not a client's key."""
    assert here.exchange("GET", "/health", key="none").status == 200
    assert here.exchange("GET", "/metrics").status == 404
    console = json.loads((here.data_dir / "console.json").read_bytes())
    at_console = replace(here, port=here.console_port)
    assert at_console.exchange("GET", "/metrics", key=console["token"]).status == 200
    assert at_console.exchange("GET", "/metrics").status == 401


@pytest.mark.parametrize("taken", ["--data-dir", "--port", "--console-port"])
def test_a_demo_that_cannot_start_says_why_and_leaves_the_running_one_alone(
    here: Running, tmp_path: Path, taken: str
) -> None:
    """A second demo on the same directory or port exits 1 with one line; the first keeps its key."""
    free = {"--data-dir": tmp_path / "data", "--port": free_port(), "--console-port": free_port()}
    busy = {"--data-dir": here.data_dir, "--port": here.port, "--console-port": here.console_port}
    options = [str(part) for option in ({**free, taken: busy[taken]}).items() for part in option]
    ended = command("demo", "--no-local-model", *options, status=1)
    assert ended.stdout == ""
    assert len(ended.stderr.splitlines()) == 1
    assert str(busy[taken]) in ended.stderr
    assert here.post(chat(max_tokens=1)).status == 200
    assert here.ask("endpoints")


@pytest.fixture(scope="module")
def one_data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data directory that several demos use, one after the other."""
    return tmp_path_factory.mktemp("again") / "data"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_however_a_demo_ends_nothing_of_it_stays_and_the_next_one_starts(
    one_data_dir: Path, number: signal.Signals
) -> None:
    """SIGTERM and Ctrl-C end every child in order; kill -9 of the parent ends them too.

    All three run on one data directory, so each but the first is also a second start on what is there.
    """
    with demo(one_data_dir, "--speedup", "20") as here:
        before = len(here.ask("requests", "--limit", "1000"))
        here.post(chat(max_tokens=4))
        until(lambda: len(descendants(here.program.process.pid)) == 3, "hosts, local model and poster run")
        here.program.signal(number)
        status = here.program.wait()
        assert status == (-number if number is signal.SIGKILL else 0)
        until(lambda: not here.program.left, "all children end")
        assert not is_open(here.port)
        assert not is_open(here.console_port)
        assert len(here.ask("requests", "--limit", "1000")) == before + 1
