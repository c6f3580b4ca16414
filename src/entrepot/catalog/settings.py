"""The configuration as one frozen tree of values, parsed once at start-up.

Each part of the gateway takes the branch that it needs; nothing reads the environment or a file
later. How a text becomes this tree, with every mistake reported at once, is in `catalog.load`.
"""

from pathlib import Path
from typing import Literal

from msgspec import Struct, field

from entrepot.domain.endpoint import Endpoint, Model
from entrepot.domain.virtual import VirtualModel
from entrepot.routing.rule import Rule
from entrepot.routing.settings import RoutingSettings

MIB = 1024 * 1024

Auth = Literal["bearer", "api-key", "none"]


class Secret:
    """A key that a host wants, read once; neither its repr nor its text shows it."""

    __slots__ = ("_value", "origin")

    def __init__(self, value: str, origin: str) -> None:
        self._value = value
        self.origin = origin

    def reveal(self) -> str:
        """Return the secret itself, for the one header that carries it."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret(from {self.origin})"


class ServerSettings(Struct, frozen=True):
    """Where we listen, and the limits of what a client may send.

    Units: bytes, seconds. `request_timeout_s` bounds the time in which a client has to send a request, or to
    take a part of its answer.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    console_host: str = "127.0.0.1"
    console_port: int = 8001
    tls_certificate_file: Path | None = None
    tls_key_file: Path | None = None
    max_body_bytes: int = 32 * MIB
    max_header_bytes: int = 32 * 1024
    max_connections: int = 8192
    request_timeout_s: float = 60.0
    keep_alive_s: float = 120.0
    shutdown_grace_s: float = 10.0


class LedgerSettings(Struct, frozen=True):
    """How the journal and the store are kept.

    Units: bytes, seconds, days. `default_output_tokens` is the limit sent to the host when a key has a budget
    and the client set no limit: without one no reservation would be an upper bound. With `strict` nothing is
    sent before its reservation is on the disk. Segments older than `keep_days` (0: none) go to the directory
    `archive`, relative to the data directory; without one they are deleted. `store` is the address of a
    PostgreSQL database, a secret since it may hold a password; None stands for the SQLite file in the data
    directory. The store keeps decisions for `decisions_days`, entries for `entries_days`, prompts and answers
    (of keys that store them) for `contents_days`, and what clients call a task for `tasks_days` after they
    last did (0: for ever).
    """

    segment_bytes: int = 64 * MIB
    sync_interval_s: float = 0.02
    default_output_tokens: int = 8192
    strict: bool = False
    archive: str | None = None
    keep_days: float = 0.0
    store: Secret | None = None
    decisions_days: float = 0.0
    entries_days: float = 0.0
    contents_days: float = 30.0
    tasks_days: float = 0.0


class RequestCaps(Struct, frozen=True):
    """The largest values that a client may ask for, unless its key says otherwise.

    Units: USD per hour, seconds.
    """

    usd_per_hour: float = 100_000.0
    seconds: float = 86_400.0


class PolicySettings(Struct, frozen=True):
    """Which rules there are.

    `packs` are sets of rules that count for all requests, `on_request` those that a request may ask for.
    Drafts in them are enforced with `enforce_drafts` only. `data_classes` and `purposes` are words that
    clients may use although no rule asks for them. `rules` are all that were read, those of packs too.
    """

    packs: tuple[str, ...] = ()
    on_request: tuple[str, ...] = ()
    enforce_drafts: bool = False
    data_classes: tuple[str, ...] = ()
    purposes: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()


class HostSettings(Struct, frozen=True):
    """How a host is reached.

    Units: seconds. `cancels_plain_calls` is false for hosts that go on computing a non-streamed
    call when its connection closes (llama.cpp's server): those are driven with a stream.
    `first_byte_timeout_s` bounds the wait for the first content, `idle_timeout_s` a silence after it.
    `price_list` names the provider in genai-prices whose list prices count where an endpoint states none;
    None: the one that the URL belongs to, "none": no list.
    """

    name: str
    base_url: str
    owner_country: str | None = None
    auth: Auth = "bearer"
    secret: Secret | None = None
    headers: dict[str, str] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)
    ca_file: Path | None = None
    proxy: str | None = None
    connect_timeout_s: float = 5.0
    first_byte_timeout_s: float = 300.0
    idle_timeout_s: float = 60.0
    max_connections: int = 1024
    cancels_plain_calls: bool = True
    simulated: bool = False
    price_list: str | None = None
    major_owners: tuple[str, ...] | None = None


class EndpointSettings(Struct, frozen=True):
    """An endpoint with what the gateway needs to call it: its host, and its name for the model."""

    endpoint: Endpoint
    host: HostSettings
    upstream_model: str
    drop_parameters: frozenset[str] = frozenset()


class Settings(Struct, frozen=True):
    """Everything that one gateway process is told at its start."""

    server: ServerSettings = ServerSettings()
    ledger: LedgerSettings = LedgerSettings()
    routing: RoutingSettings = RoutingSettings()
    caps: RequestCaps = RequestCaps()
    policy: PolicySettings = PolicySettings()
    models: tuple[Model, ...] = ()
    hosts: tuple[HostSettings, ...] = ()
    endpoints: tuple[EndpointSettings, ...] = ()
    virtual_models: tuple[VirtualModel, ...] = ()
