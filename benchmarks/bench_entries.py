"""What an entry costs in the gateway: what `reserve` and `settle` take, with the write, beside a bare write.

A process pinned to one core makes the entries of a hundred requests of one attempt (as the gateway would
have them in hand), reserves and settles them through the ledger, and so on; its CPU time is that of the
writing thread in the ledger. Three kinds of senders: without a budget, with one, and with budgets of a key,
a team and a tag in three periods. Write calls are counted by the kernel (/proc/self/io). The bare write is
`pwrite` of the same sizes into the same kind of file in the same process: what no ledger can go below.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from bench_processes import child_setup, choose_cores

TARGET_US, TARGET_WRITES = 3.0, 2.0
SENDERS = ("no_budget", "one_budget", "three_budgets")

# Run in the pinned child.
MEASURE = """
import json, os, sys, time
from pathlib import Path
from random import Random
from bench_posting import ENDPOINTS, endpoint, reserved, settled
from entrepot.domain.ids import RequestIds
from entrepot.ledger.keys.budgets import Period
from entrepot.ledger.entries import Scope, encode_reserve, encode_settle
from entrepot.ledger.keys.log import create_key, create_tag, create_team, set_budget_of
from entrepot.ledger.keys.keys import digest_of
from entrepot.ledger.ledger import Ledger
from msgspec.structs import replace

data_dir, sender, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
MUCH, BATCH = 10**18, 100  # few at a time, so that entries are as warm as they are in the gateway
create_team(data_dir, "team", 1)
create_tag(data_dir, "tag", 1)
all_three = sender == "three_budgets"
secret = create_key(data_dir, "key", None if sender == "no_budget" else MUCH, 1,
    team="team" if all_three else None, tags=("tag",) if all_three else ())
if all_three:
    set_budget_of(data_dir, Scope.TEAM, "team", MUCH, 1, period=Period.MONTH)
    set_budget_of(data_dir, Scope.TAG, "tag", MUCH, 1, period=Period.DAY)
ledger = Ledger.open(data_dir, time.time_ns())
ledger.refresh_keys()
sender_id = ledger.sender(ledger.key(digest_of(secret)), None).sender_id
rng, ids, now_ns = Random(1), RequestIds(1), time.time_ns()
refs = [ledger.register(endpoint(number)) for number in range(ENDPOINTS)]

def writes():
    return int(Path("/proc/self/io").read_text().split("syscw:")[1].split()[0])

def some_pairs(first):
    numbers = range(first, first + BATCH)
    reserves = [reserved(rng, ids.next(now_ns + n), now_ns + n, refs[n % ENDPOINTS]) for n in numbers]
    reserves = [replace(reserve, key_id=1, sender_id=sender_id) for reserve in reserves]
    return [(reserve, settled(rng, reserve)) for reserve in reserves]

sizes, ledger_ns, calls = [], 0, 0
for first in range(0, count, BATCH):
    pairs = some_pairs(first)
    sizes += [(len(encode_reserve(reserve)) + 8, len(encode_settle(settle)) + 8) for reserve, settle in pairs]
    before, started_ns = writes(), time.thread_time_ns()
    for reserve, settle in pairs:
        ledger.reserve(reserve)
        ledger.settle(settle)
    ledger_ns += time.thread_time_ns() - started_ns
    calls += writes() - before
assert ledger.open_reservations == 0
segments = ledger.journal.position.segment
ledger.close()

fd = os.open(data_dir / "bare", os.O_RDWR | os.O_CREAT)
os.posix_fallocate(fd, 0, sum(map(sum, sizes)))
blank, offset, bare_ns = bytes(2_000), 0, 0
for place in range(0, count, BATCH):
    pieces = [(blank[:first], blank[:second]) for first, second in sizes[place : place + BATCH]]
    started_ns = time.thread_time_ns()
    for first, second in pieces:
        offset += os.pwrite(fd, first, offset)
        offset += os.pwrite(fd, second, offset)
    bare_ns += time.thread_time_ns() - started_ns
print(json.dumps({"entry_us": ledger_ns / count / 2000, "bare_us": bare_ns / count / 2000,
    "writes": calls / count, "segments": segments}))
"""


def measure(requests: int, rounds: int) -> dict[str, object]:
    """CPU microseconds per entry, write calls per request, and the ratio to a bare write."""
    figures: dict[str, object] = {"entries_target_us": TARGET_US, "entries_write_calls_target": TARGET_WRITES}
    core = choose_cores().relay
    for sender in SENDERS:
        seen = [_one(sender, requests, core) for _ in range(rounds)]
        entry_us, bare_us = (median(one[name] for one in seen) for name in ("entry_us", "bare_us"))
        figures |= {
            f"entries_{sender}_us": round(entry_us, 2),
            f"entries_{sender}_bare_write_us": round(bare_us, 2),
            f"entries_{sender}_to_bare_write": round(
                median(one["entry_us"] / one["bare_us"] for one in seen), 2
            ),
            f"entries_{sender}_write_calls_per_request": round(median(one["writes"] for one in seen), 3),
        }
    return figures


def _one(sender: str, requests: int, core: int | None) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="entrepot-bench-") as directory:
        ran = subprocess.run(
            [sys.executable, "-c", MEASURE, directory, sender, str(requests)],
            cwd=Path(__file__).parent,
            preexec_fn=child_setup(core),
            capture_output=True,
            text=True,
            check=True,
        )
    seen: dict[str, float] = json.loads(ran.stdout)
    return seen
