"""Where the console of a running gateway is: a file in the data directory, for our own commands.

Apart from the process that writes it: the commands that read it would otherwise import the whole gateway.
"""

import msgspec

CONSOLE_FILE = "console.json"


class ConsoleAddress(msgspec.Struct, frozen=True):
    """Where the console of a running gateway is; written to the data directory for our own commands."""

    url: str
    token: str
