"""A TCP proxy that can be cut: what a client of a database sees when the server or the network goes away.

In threads, since what it stands in front of is used from threads and other processes. A cut closes all
connections hard (RST) and refuses new ones, at any moment or after a number of bytes; mended, it listens at
the same port.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from types import TracebackType

_CHUNK_BYTES = 4096  # small, so that a cut after a number of bytes comes about there
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close at once and tell the other side


class CutProxy:
    """Passes bytes between a port on 127.0.0.1 and a server, until it is cut."""

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._listening: socket.socket | None = None
        self._left_bytes: int | None = None
        self.port = 0
        self.cuts = 0
        self.mend()

    def mend(self) -> None:
        """Accept connections again."""
        if self._listening is not None:
            return
        listening = socket.create_server(("127.0.0.1", self.port))
        self.port = listening.getsockname()[1]
        self._listening = listening
        threading.Thread(target=self._accept, args=(listening,), daemon=True).start()

    def cut(self) -> None:
        """Close all connections and refuse new ones."""
        with self._lock:
            listening, self._listening = self._listening, None
            cut, self._open = self._open, []
            self._left_bytes = None
        if listening is None:
            return
        self.cuts += 1
        with contextlib.suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        listening.close()
        for one in cut:
            with contextlib.suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def cut_after(self, count: int) -> None:
        """Cut when so many more bytes went to the server."""
        self._left_bytes = count

    def __enter__(self) -> CutProxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                client, _ = listening.accept()
                server = socket.create_connection(self._server)
            except OSError:
                return
            with self._lock:
                if self._listening is not listening:
                    client.close()
                    server.close()
                    return
                self._open += [client, server]
            for source, sink in ((client, server), (server, client)):
                threading.Thread(
                    target=self._pump, args=(source, sink, source is client), daemon=True
                ).start()

    def _pump(self, source: socket.socket, sink: socket.socket, is_to_server: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK_BYTES):
                sink.sendall(data)
                if is_to_server and self._is_used_up(len(data)):
                    self.cut()
                    return
            sink.shutdown(socket.SHUT_WR)

    def _is_used_up(self, count: int) -> bool:
        with self._lock:
            if self._left_bytes is None:
                return False
            self._left_bytes -= count
            return self._left_bytes <= 0
