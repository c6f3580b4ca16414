"""Faults and refusals, by whose doing they are and what to do next.

    EntrepotError                      root of everything that we raise
    ├── ConfigError                    the operator's: every problem of the configuration at once
    ├── DataError                      the operator's: the data directory is locked, newer, or damaged
    │   └── StoreAway                  nobody's for now: the store is locked, full or not reached; try again
    ├── HostFault                      the host's: an attempt failed; another endpoint may answer
    └── ClientGone                     nobody's: the client left; the attempt is settled, not failed

A refusal that is expected (unknown model, budget spent, no endpoint within the limits) is not an
exception but a returned `Refusal`, which every caller has to look at.
"""

from msgspec import Struct


class Refusal(Struct, frozen=True):
    """Why a request is not served, in the words of OpenAI's error object.

    Units: `retry_after_s` seconds. `message` names the thing, the value seen and the next step.
    Nothing was sent to a host and nothing is charged.
    """

    http_status: int
    type: str
    code: str
    message: str
    param: str | None = None
    retry_after_s: float | None = None


class EntrepotError(Exception):
    """Root of the faults that we raise on purpose."""

    http_status = 500
    retryable = False
    charged = False


class ConfigError(EntrepotError):
    """The configuration has mistakes; `problems` holds one line for each."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class DataError(EntrepotError):
    """The data directory cannot be used as it is; the message says why and what to do."""


class StoreAway(DataError):
    """The store cannot be used now: locked, full, read-only, not reached. Later the same may work."""

    retryable = True


class HostFault(EntrepotError):
    """An attempt failed at its host.

    Units: `status` HTTP status of the host's reply, 0 when there was none. `charged` is set when the
    host may bill what it had produced. `reason` is our sentence; `words` are the host's, which may quote the
    request or tell of our account.
    """

    http_status = 502
    retryable = True

    def __init__(self, reason: str, *, status: int = 0, charged: bool = False, words: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.words = words
        self.status = status
        self.charged = charged


class ClientGone(EntrepotError):
    """The client closed its connection before the answer was complete."""

    http_status = 499
    charged = True
