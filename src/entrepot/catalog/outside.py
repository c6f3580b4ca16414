"""What a configuration refers to outside of itself: files, secrets, proxies of the environment.

The environment is an argument, so that nothing depends on the process that reads it; a secret becomes a
`Secret` at once, and no message carries its value.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from entrepot.catalog.reading import Table, shown
from entrepot.catalog.settings import Secret
from entrepot.catalog.show import ENVIRONMENT_ORIGIN, FILE_ORIGIN
from entrepot.ledger.store.place import address_problem, has_password

NO_PROXY = "none"
STATED_ORIGIN = "the configuration"
_SECRET_FORM = (
    'write {} = {{ env = "NAME" }} or {{ file = "path" }}: a key never stands in the configuration itself'
)


class Outside:
    """Reads what lies outside. Relative paths start at `folder`, the configuration's own.

    Without `reads_secrets` their places are not looked into: for commands that call no host.
    """

    def __init__(self, folder: Path, environ: Mapping[str, str], *, reads_secrets: bool = True) -> None:
        self._folder = folder
        self._environ = environ
        self._reads_secrets = reads_secrets

    def file(self, table: Table, key: str) -> Path | None:
        """Return the path of a file that exists; None when absent or when it does not."""
        text = table.text(key, None)
        if text is None:
            return None
        path = self._path(text)
        if path is None:
            table.problem(key, f"there is no file {shown(text)}")
        return path

    def secret(self, table: Table, key: str) -> Secret | None:
        """Return the secret that `{ env = … }` or `{ file = … }` leads to; None when absent or unreadable."""
        if not isinstance(table.raw(key), dict):
            if key in table:
                table.problem(key, _SECRET_FORM.format(key))
            return None
        reference = table.table(key)
        assert reference is not None
        variable, file = reference.text("env", None), reference.text("file", None)
        reference.finish()
        if (variable is None) == (file is None):
            table.problem(key, _SECRET_FORM.format(key))
            return None
        if not self._reads_secrets:
            return Secret("", "not read")
        value, origin = self._read(table, key, variable, file)
        if value is None:
            return None
        if not value:
            table.problem(key, f"{origin} is empty; put the key there")
        elif not all("!" <= character <= "~" for character in value):
            table.problem(key, f"{origin} holds spaces, line breaks or characters that no header can carry")
        else:
            return Secret(value, origin)
        return None

    def database(self, table: Table, key: str) -> Secret | None:
        """Return the address of a PostgreSQL database; None when absent, empty or a mistake.

        One with a password stands behind a reference, like a key.
        """
        is_reference = isinstance(table.raw(key), dict)
        if not is_reference and table.raw(key) == "":
            return None
        address = self.secret(table, key) if is_reference else _stated(table.text(key, None))
        if address is None:
            return None
        if is_reference and not self._reads_secrets:
            return address
        problem = address_problem(address.reveal())
        if problem is None and not is_reference and has_password(address.reveal()):
            problem = 'holds a password; write store = { env = "NAME" } or { file = "path" } and put it there'
        if problem is not None:
            table.problem(key, problem)
            return None
        return address

    def proxy(self, table: Table, url: SplitResult) -> str | None:
        """Return the proxy for a host at `url`: the one under `proxy`, or that of the environment."""
        stated = table.text("proxy", None)
        if stated is not None:
            if stated == NO_PROXY:
                return None
            problem = proxy_problem(stated)
            if problem is not None:
                table.problem("proxy", problem)
            return stated
        for name in (f"{url.scheme}_proxy", f"{url.scheme}_proxy".upper()):
            found = self._environ.get(name)
            if found:
                if self._goes_direct(url):
                    return None
                problem = proxy_problem(found)
                if problem is not None:
                    table.problem("base_url", f"environment variable {name} {problem}")
                return found
        return None

    def _path(self, text: str) -> Path | None:
        path = self._folder / text
        try:
            return path if path.is_file() else None
        except (OSError, ValueError):  # a name too long, or with a NUL
            return None

    def _read(self, table: Table, key: str, variable: str | None, file: str | None) -> tuple[str | None, str]:
        if variable is not None:
            value = self._environ.get(variable)
            if value is None:
                table.problem(key, f"environment variable {shown(variable)} is not set; set it to the key")
            return value, f"{ENVIRONMENT_ORIGIN}{variable}"
        assert file is not None
        origin = f"{FILE_ORIGIN}{file}"
        path = self._path(file)
        try:
            if path is not None:
                return path.read_text(encoding="utf-8").strip(), origin
            reason = "there is no such file"
        except OSError as error:
            reason = error.strerror or "it cannot be opened"
        except UnicodeDecodeError:
            reason = "it is not a text"
        table.problem(key, f"file {shown(file)} cannot be read: {reason}")
        return None, origin

    def _goes_direct(self, url: SplitResult) -> bool:
        """Return whether NO_PROXY names the host; this machine is never reached through a proxy."""
        host = (url.hostname or "").rstrip(".")
        if host == "localhost" or _is_loopback(host):
            return True
        exceptions = self._environ.get("no_proxy") or self._environ.get("NO_PROXY") or ""
        authority = f"{host}:{url.port or (443 if url.scheme == 'https' else 80)}"
        return any(_excepts(entry.strip().lower(), host, authority) for entry in exceptions.split(","))


def _stated(address: str | None) -> Secret | None:
    return None if address is None else Secret(address, STATED_ORIGIN)


def proxy_problem(text: str) -> str | None:
    """Return what is wrong with a proxy's URL, or None. Never repeats it: it may hold a password."""
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        return "is not a URL"
    if url.scheme != "http" or not url.hostname or port == 0:
        return "is not a proxy that is known here; expected http://host:port"
    if url.path not in ("", "/") or url.query or url.fragment:
        return "has more than http://user:password@host:port"
    return None


def _excepts(entry: str, host: str, authority: str) -> bool:
    if not entry:
        return False
    if entry in ("*", host, authority, f"[{host}]"):
        return True
    try:
        return ip_address(host) in ip_network(entry, strict=False)
    except ValueError:
        return host.endswith("." + entry.removeprefix("*").lstrip("."))


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
