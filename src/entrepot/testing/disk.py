"""A disk whose syncs a test can hold, break and count; a real one does none of that on demand."""

from __future__ import annotations

import errno
import os
import threading

PATIENCE_S = 20.0


class Disk:
    """Stands in for `sync_data`: notes the inode of each file that it was asked to sync, in `synced`.

    While it is held, `waiting` says whether a sync waits in it. With `broken` set, syncs fail.
    """

    def __init__(self) -> None:
        self.synced: list[int] = []
        self.broken = False
        self.waiting = threading.Event()
        self._open = threading.Event()
        self._open.set()

    def __call__(self, fd: int) -> None:
        """Sync a file, once it may."""
        self.waiting.set()
        if not self._open.wait(PATIENCE_S):
            raise TimeoutError(errno.ETIMEDOUT, "the test held the disk for too long")
        self.waiting.clear()
        if self.broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self.synced.append(os.fstat(fd).st_ino)

    def hold(self) -> None:
        """Let no sync end from now on."""
        self._open.clear()

    def release(self) -> None:
        """Let those that wait, and all to come, end."""
        self._open.set()
