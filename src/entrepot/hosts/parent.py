"""Ends a child process when the process that started it is gone, however that ended.

A parent that is killed cannot end its children itself, and a pipe that the child watches would have to be
read by everything that the child runs. Linux can be asked to signal; elsewhere a thread looks.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from time import sleep

_PR_SET_PDEATHSIG = 1  # <sys/prctl.h>
_LOOK_INTERVAL_S = 0.5


def die_with_parent(parent_pid: int, signal_number: int = signal.SIGTERM) -> None:
    """Have `signal_number` sent to this process when its parent ends; call it first thing.

    `parent_pid` is what the parent says that it is: one that was killed while this process started up has
    been replaced by another by now, and nobody would ever tell.
    On Linux the kernel sends the signal when the thread that started this process ends, so start children
    from the main thread. Elsewhere a thread looks twice a second.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal_number), 0, 0, 0)
        if os.getppid() != parent_pid:  # it ended before the kernel was asked
            os.kill(os.getpid(), signal_number)
    else:
        watch = threading.Thread(target=_watch, args=(parent_pid, signal_number), name="parent", daemon=True)
        watch.start()


def _watch(parent_pid: int, signal_number: int) -> None:
    while os.getppid() == parent_pid:
        sleep(_LOOK_INTERVAL_S)
    os.kill(os.getpid(), signal_number)
