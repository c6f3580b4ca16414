"""Fails when a file of the repository names a package registry's host or a path of a developer's machine.

Such a name works for one person and breaks, or leads elsewhere, for the next. A script rather than a grep
in the Makefile, because the patterns must not find themselves.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Each pattern is cut in two so that this file does not match.
FORBIDDEN = {
    "a package registry's host": ("pypi" + r"\.org", "python" + r"hosted\.org", "registry" + r"\.npmjs"),
    "a path of one machine": (
        r"(?<![\w.])/" + "work/",
        r"(?<![\w.])/" + "root/",
        r"(?<![\w.])/home/" + r"\w",
    ),
}
SKIPPED_FOLDERS = {".git", ".venv", "build", "dist", "__pycache__"}


def repository_files() -> list[Path]:
    """Return the files that are, or would be, committed; without git, all but what is built."""
    if shutil.which("git") and (ROOT / ".git").exists():
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
        paths = [ROOT / name for name in listed.split("\0") if name]
    else:
        paths = [
            path
            for path in ROOT.rglob("*")
            if not SKIPPED_FOLDERS & set(path.relative_to(ROOT).parts) and "cache" not in path.parts
        ]
    return sorted(path for path in paths if path.is_file())


def findings_in(path: Path) -> list[str]:
    """Return one line per forbidden name in the file; binary files have none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        return []
    return [
        f"{path.relative_to(ROOT)}:{number}: names {what}: {line.strip()[:100]}"
        for number, line in enumerate(lines, start=1)
        for what, patterns in FORBIDDEN.items()
        if any(re.search(pattern, line) for pattern in patterns)
    ]


def main() -> int:
    """Print every finding; return 1 if there is one."""
    findings = [finding for path in repository_files() for finding in findings_in(path)]
    for finding in findings:
        print(finding, file=sys.stderr)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
