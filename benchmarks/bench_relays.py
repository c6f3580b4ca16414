"""The relays that a benchmark compares: nginx, the bare relay and our gateway.

Each start function returns a relay that has answered one plain and one streamed request
correctly, or raises RelayError with what went wrong. All get the same request with the same key,
though only the prototype and the gateway check it, and only the gateway chooses and keeps books.
"""

import contextlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bench_load import EVENTS_PER_STREAM, Load, MissingToolError
from bench_processes import Running, free_port

START_LIMIT_S = 30.0
COMMAND_LIMIT_S = 60.0
ASK_LIMIT_S = 5.0
POLL_S = 0.1
SYSTEM_PATHS = "/usr/sbin:/usr/local/sbin"  # where nginx lives and ordinary users do not look

NGINX_CONFIG = """\
daemon off; master_process off; worker_processes 1; worker_rlimit_nofile 16384;
pid nginx.pid; error_log stderr error;
events {{ worker_connections 8192; multi_accept on; }}
http {{
  access_log off; tcp_nodelay on; keepalive_timeout 300s; keepalive_requests 100000000;
  client_body_buffer_size 64k; client_body_temp_path body; proxy_temp_path proxy;
  fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  upstream host {{ server 127.0.0.1:{upstream_port}; keepalive 1024;
                   keepalive_timeout 300s; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ proxy_pass http://host; proxy_http_version 1.1; proxy_buffering off;
                  proxy_set_header Connection ""; proxy_read_timeout 300s; }}
  }}
}}
"""

HOST_CONFIG = """
[[hosts]]
name = "h{number}"
base_url = "http://127.0.0.1:{upstream_port}/h{number}/v1"
auth = "none"
[[hosts.endpoints]]
model = "{model}"
upstream_model = "gpt-4o-mini"
input_usd_per_mtok = "{input_price}"
output_usd_per_mtok = "{output_price}"
context_tokens = 131072
"""
HOST_PRICES = [
    ("0.50", "1.50"),
    ("0.55", "1.60"),
    ("0.60", "1.40"),
    ("0.45", "1.70"),
    ("0.70", "1.80"),
    ("0.40", "2.00"),
]


class RelayError(Exception):
    """A relay did not start or did not answer correctly; the message says how."""


class Relay(NamedTuple):
    """A relay that runs and answers correctly."""

    name: str
    running: Running
    port: int
    console_port: int | None = None
    data_dir: Path | None = None


class Place(NamedTuple):
    """Where relays are started: the repository, the folder for their files, and the load."""

    repository: Path
    build: Path
    load: Load


def post(load: Load, port: int, *, stream: bool) -> tuple[int, bytes]:
    """Status and body of one chat completion."""
    body: dict[str, object] = {
        "model": load.model,
        "messages": [{"role": "user", "content": "Are you there?"}],
    }
    if stream:
        body.update(stream=True, stream_options={"include_usage": True})
    headers = {"Authorization": f"Bearer {load.key}", "Content-Type": "application/json"}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ASK_LIMIT_S)
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def flaw(load: Load, port: int) -> str:
    """What is wrong with the relay's answers; empty when nothing is.

    Raises OSError or http.client.HTTPException while nobody answers.
    """
    status, body = post(load, port, stream=False)
    if status != http.client.OK or b'"usage"' not in body:
        return f"a plain request got {status} {body[:500]!r}"
    status, body = post(load, port, stream=True)
    events = [line for line in body.splitlines() if line.startswith(b"data:")]
    if status != http.client.OK or not events:
        return f"a streamed request got {status} {body[:500]!r}"
    if len(events) != EVENTS_PER_STREAM + 1 or b"[DONE]" not in events[-1]:
        return f"a stream had {len(events)} events, not {EVENTS_PER_STREAM} and [DONE]"
    return ""


def await_answers(name: str, load: Load, running: Running, port: int) -> None:
    """Returns when the relay answers correctly; raises RelayError when it does not in time."""
    deadline_s = time.monotonic() + START_LIMIT_S
    found = "no answer"
    while time.monotonic() < deadline_s and not running.ended():
        with contextlib.suppress(OSError, http.client.HTTPException):
            found = flaw(load, port)
            if not found:
                return
        time.sleep(POLL_S)
    state = f"ended with {running.process.returncode}" if running.ended() else found
    tail = running.log_tail()
    running.end()
    raise RelayError(f"{name} did not get ready: {state}\n{tail}")


def start_nginx(place: Place) -> Relay:
    """nginx as a reverse proxy that streams: what forwarding bytes costs in C."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:{SYSTEM_PATHS}")
    if program is None:
        raise MissingToolError("no nginx: apt-get install nginx-light")
    folder = place.build / "nginx"
    folder.mkdir(exist_ok=True)
    port = free_port()
    config = NGINX_CONFIG.format(port=port, upstream_port=place.load.upstream_port)
    (folder / "nginx.conf").write_text(config)
    command = [program, "-p", f"{folder}/", "-c", "nginx.conf", "-e", "stderr"]
    running = Running(command, core=place.load.cores.relay, log=place.build / "nginx.log")
    await_answers("nginx", place.load, running, port)
    return Relay("nginx", running, port)


def start_prototype(place: Place) -> Relay:
    """The bare relay, `bare_relay.py`."""
    port = free_port()
    command = [sys.executable, str(Path(__file__).with_name("bare_relay.py"))]
    command += ["--port", str(port), "--upstream-port", str(place.load.upstream_port)]
    command += ["--key", place.load.key, "--model", place.load.model]
    running = Running(command, core=place.load.cores.relay, log=place.build / "prototype.log")
    await_answers("prototype", place.load, running, port)
    return Relay("prototype", running, port)


def gateway_program(repository: Path) -> Path:
    """The gateway's command, as `make setup` installs it."""
    program = repository / ".venv" / "bin" / "entrepot"
    if not program.exists():
        raise MissingToolError("no gateway: make setup")
    return program


def create_key(repository: Path, data_dir: Path) -> str:
    """A new key in a new data directory. Raises RelayError when the command fails."""
    shutil.rmtree(data_dir, ignore_errors=True)
    command = [str(gateway_program(repository)), "key", "create", "--name", "bench"]
    command += ["--data-dir", str(data_dir), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_LIMIT_S, check=False)
    try:
        return str(json.loads(done.stdout)["key"])
    except (ValueError, KeyError, TypeError) as error:
        raise RelayError(f"key create gave no key: {done.stdout} {done.stderr}") from error


def write_config(path: Path, load: Load) -> None:
    """Six hosts at six prices, all of them the one upstream under six path prefixes."""
    text = f'[[models]]\nname = "{load.model}"\n'
    for number, (input_price, output_price) in enumerate(HOST_PRICES, start=1):
        text += HOST_CONFIG.format(
            number=number,
            upstream_port=load.upstream_port,
            model=load.model,
            input_price=input_price,
            output_price=output_price,
        )
    path.write_text(text)


def start_gateway(place: Place) -> Relay:
    """Our gateway with everything on: key, choice among six endpoints, KPIs, journal, poster."""
    config, data_dir = place.build / "entrepot.toml", place.build / "data"
    write_config(config, place.load)
    port, console_port = free_port(), free_port()
    command = [str(gateway_program(place.repository)), "serve", "--config", str(config)]
    command += ["--data-dir", str(data_dir), "--port", str(port)]
    command += ["--console-port", str(console_port)]
    running = Running(command, core=place.load.cores.relay, log=place.build / "gateway.log")
    await_answers("gateway", place.load, running, port)
    running.pin_children(place.load.cores.load)
    return Relay("gateway", running, port, console_port, data_dir)


STARTERS: dict[str, Callable[[Place], Relay]] = {
    "nginx": start_nginx,
    "prototype": start_prototype,
    "gateway": start_gateway,
}
