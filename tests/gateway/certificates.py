"""A throw-away authority and a certificate for 127.0.0.1 and localhost, made by the openssl command."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

_EXTENSIONS = "subjectAltName=IP:127.0.0.1,DNS:localhost\n"


class Certificates:
    """An authority's certificate, and a server's certificate and key that it signed; all in one folder."""

    def __init__(self, folder: Path) -> None:
        openssl = shutil.which("openssl")
        if openssl is None:
            pytest.skip("no openssl command to make a certificate with")
        self.authority = folder / "ca.pem"
        self._key = folder / "server.key"
        self._certificate = folder / "server.pem"
        (folder / "extensions").write_text(_EXTENSIONS)
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        for command in (
            [
                "req",
                "-x509",
                *curve,
                "-subj",
                "/CN=test authority",
                "-days",
                "2",
                "-keyout",
                "ca.key",
                "-out",
                "ca.pem",
            ],
            ["req", *curve, "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr"],
            [
                *(
                    "x509",
                    "-req",
                    "-in",
                    "server.csr",
                    "-CA",
                    "ca.pem",
                    "-CAkey",
                    "ca.key",
                    "-CAcreateserial",
                ),
                *("-days", "2", "-extfile", "extensions", "-out", "server.pem"),
            ],
        ):
            subprocess.run([openssl, *command], cwd=folder, check=True, capture_output=True)

    def server_context(self) -> ssl.SSLContext:
        """Return what a server needs to show the certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._certificate, self._key)
        return context
