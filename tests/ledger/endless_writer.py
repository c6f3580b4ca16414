"""A gateway's ledger in a process of its own, for tests that kill it or read beside it.

Usage: endless_writer.py DATA_DIR REQUESTS SEGMENT_BYTES; prints a line `number kind` behind each entry
that was written, and ends after REQUESTS; every fifth stays open.
"""

from __future__ import annotations

import sys
from pathlib import Path

from entrepot.ledger.ledger import Ledger
from tests.ledger import entry_makers as make


def tell(line: str) -> None:
    """Write a line that reaches the reader even if we die next."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(path: Path, requests: int, segment_bytes: int) -> None:
    """Reserve and settle one request after the other, and tell of each."""
    ledger = Ledger.open(path, make.AT_NS, segment_bytes=segment_bytes)
    for number in range(1, requests + 1):
        assert ledger.reserve(make.reserve(number)) is None
        tell(f"{number} reserve")
        if number % 5:
            assert ledger.settle(make.settle(number)) is None
            tell(f"{number} settle")
    ledger.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
