"""Child processes of a command: started, awaited until ready, ended in order.

Every child is a command of our own in a session of its own, so that Ctrl-C reaches only the parent,
which then ends them one after the other; a parent that is killed takes them with it (each child asks
the kernel for that with `--die-with-parent`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Mapping

READY = "ready "
STOP_TIMEOUT_S = 10.0


class ChildFailed(Exception):
    """A child ended, or stayed silent, before it was ready."""


class Child:
    """One child process; `name` is what messages call it."""

    def __init__(self, name: str, arguments: list[str], environment: Mapping[str, str] | None = None) -> None:
        self.name = name
        self._arguments = arguments
        self._environment = {**os.environ, **(environment or {})}
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """Return the process id, or None when it is not running."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def start(self) -> None:
        """Start the process."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "entrepot",
            *self._arguments,
            "--die-with-parent",
            str(os.getpid()),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            env=self._environment,
            start_new_session=True,
        )

    async def ready(self, timeout_s: float) -> str:
        """Return what the child says after `ready `, such as its address.

        Raises: ChildFailed when it ends or stays silent for `timeout_s` seconds.
        """
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(timeout_s):
                while line := (await self._process.stdout.readline()).decode():
                    if line.startswith(READY):
                        return line.removeprefix(READY).strip()
        except TimeoutError:
            await self.stop()
            raise ChildFailed(f"{self.name} was not ready within {timeout_s:g} s") from None
        status = await self._process.wait()
        raise ChildFailed(f"{self.name} ended with status {status} before it was ready")

    async def wait(self) -> int:
        """Return the exit status once the process has ended."""
        assert self._process is not None
        return await self._process.wait()

    async def stop(self) -> None:
        """End the process: SIGTERM, and SIGKILL when that does not help."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
