"""A child asks to be ended with its parent, which may be gone before it has asked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

SCRIPT = "import sys; from entrepot.hosts.parent import die_with_parent; die_with_parent(int(sys.argv[1]))"


def status_of_child(parent_pid: int) -> int:
    """Return how a process ends that does nothing but ask to be ended with the process `parent_pid`."""
    return subprocess.run([sys.executable, "-c", SCRIPT, str(parent_pid)], check=False).returncode


def test_a_child_whose_parent_is_there_goes_on() -> None:
    """Asking changes nothing by itself."""
    assert status_of_child(os.getpid()) == 0


def test_a_child_whose_parent_was_killed_before_it_asked_ends_at_once() -> None:
    """Who adopted it is not who started it, and will not end with it."""
    assert status_of_child(os.getppid()) == -signal.SIGTERM
