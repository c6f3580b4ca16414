"""How fast the poster moves a journal into a store, roll-ups included, on a core of its own.

The journal is written first, by the ledger itself, with the traffic of a day: 20 endpoints, 50 keys,
decisions of six candidates. Then a process that is pinned to one core posts all of it into a new store; its
clock and its CPU time are read from within, so that neither the start of Python nor the making of the
journal counts. A PostgreSQL server runs where it likes, on the other core as a rule; its own CPU is not in
the figure of CPU per entry. Each store is measured several times; medians are given.

`own_core` leaves out the time in which the poster was ready to run and something else had its core, which the
kernel counts (/proc/self/schedstat): on a busy machine that is what a core of its own would give. Waiting
for the disk or for the server is in both rates.
"""

import json
import os
import secrets
import subprocess
import sys
import tempfile
from math import nan
from pathlib import Path
from random import Random
from statistics import median

from bench_processes import child_setup, choose_cores

from entrepot.domain.endpoint import Endpoint, Operation
from entrepot.domain.ids import RequestIds
from entrepot.domain.outcome import Outcome
from entrepot.domain.prices import Bill, Prices
from entrepot.domain.usage import Usage
from entrepot.ledger.data_dir import DataDir
from entrepot.ledger.entries import Reserve, Settle
from entrepot.ledger.ledger import EndpointRef, Ledger
from entrepot.ledger.store.place import note_store_place

DAY_NS = 86_400_000_000_000
START_NS = 1_763_942_400_000_000_000  # 2025-11-24 00:00 UTC
ENDPOINTS, KEYS = 20, 50
DECISION_BYTES = 594  # six candidates, packed
ANSWER_ID_BYTES = 20
SQLITE_TARGET_PER_S, POSTGRES_TARGET_PER_S = 60_000, 20_000
TEST_POSTGRES = "ENTREPOT_TEST_POSTGRES_URL"
DEFAULT_POSTGRES_URL = "postgresql://postgres@127.0.0.1:5432/test"

# Run in the pinned child: the poster as the gateway starts it, but until all is posted.
POST = """
import json, resource, sys, time
from pathlib import Path
from entrepot.ledger.store.poster import calm_collector, run

def cpu_s():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime

def waited_s():
    return int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9 if sys.platform == "linux" else 0.0

calm_collector()
cpu_before_s, waited_before_s, before_s = cpu_s(), waited_s(), time.monotonic()
entries = run(Path(sys.argv[1]), follow=False)
took_s, used_s = time.monotonic() - before_s, cpu_s() - cpu_before_s
waited = waited_s() - waited_before_s
peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
seen = {"entries": entries, "took_s": took_s, "cpu_s": used_s, "waited_s": waited}
print(json.dumps(seen | {"peak_mib": peak_kib / 1024}))
"""


def endpoint(number: int) -> Endpoint:
    """One of the endpoints of the traffic."""
    return Endpoint(
        name=f"model-{number % 5}@host-{number // 5}",
        model=f"model-{number % 5}",
        host=f"host-{number // 5}",
        prices=Prices(550_000_000, 2_190_000_000, 140_000_000, source="benchmark", checked="2025-11-24"),
        context_tokens=64_000,
        owner_country="US",
    )


def write_journal(data_dir: Path, requests: int, *, seed: int = 1) -> None:
    """Writes the traffic of a day: requests of one attempt, each reserved and settled."""
    rng, ids = Random(seed), RequestIds(seed)
    ledger = Ledger.open(data_dir, START_NS, sync_interval_s=1.0)
    try:
        refs = [ledger.register(endpoint(number)) for number in range(ENDPOINTS)]
        for number in range(requests):
            at_ns = START_NS + DAY_NS * number // requests
            reserve = reserved(rng, ids.next(at_ns), at_ns, rng.choice(refs))
            ledger.reserve(reserve)
            ledger.settle(settled(rng, reserve))
    finally:
        ledger.close()


def reserved(rng: Random, request_id: bytes, at_ns: int, ref: EndpointRef) -> Reserve:
    """A reservation as the gateway makes it."""
    return Reserve(
        request_id,
        1,
        at_ns,
        rng.randrange(1, KEYS + 1),
        ref.endpoint_id,
        ref.price_version,
        amount_nusd=rng.randrange(10**9),
        prompt_bytes=rng.randrange(10_000),
        operation=Operation.CHAT,
        stream=rng.random() < 0.5,
        decision=rng.randbytes(DECISION_BYTES),
    )


def settled(rng: Random, reserve: Reserve) -> Settle:
    """Its settlement two seconds later."""
    return Settle(
        reserve.request_id,
        reserve.attempt,
        reserve.at_ns + 2_000_000_000,
        reserve.key_id,
        reserve.endpoint_id,
        reserve.price_version,
        Outcome.OK,
        200,
        Usage(rng.randrange(5000), rng.randrange(500), 0, rng.randrange(2000), rng.randrange(10)),
        Bill(rng.randrange(10**7), rng.randrange(10**6), 0, rng.randrange(10**7)),
        rng.random(),
        rng.random() if reserve.stream else nan,
        10 * rng.random(),
        first_tokens=1,
        in_flight=rng.randrange(20),
        wire_bytes=rng.randrange(100_000),
        answer_id=b"chatcmpl-" + rng.randbytes(ANSWER_ID_BYTES // 2).hex().encode(),
    )


def post(data_dir: Path) -> dict[str, float]:
    """Posts all of a journal in a pinned process and returns what that took."""
    child = subprocess.run(
        [sys.executable, "-c", POST, str(data_dir)],
        check=True,
        stdout=subprocess.PIPE,
        preexec_fn=child_setup(choose_cores().relay),
    )
    return dict(json.loads(child.stdout))


def measure(requests: int, rounds: int) -> dict[str, object]:
    """The figures of both stores; those of PostgreSQL only where there is one."""
    found: dict[str, object] = {}
    with tempfile.TemporaryDirectory(prefix="entrepot-bench-") as folder:
        data_dir = Path(folder)
        write_journal(data_dir, requests)
        found |= figures("sqlite", [post_into_sqlite(data_dir) for _ in range(rounds)], SQLITE_TARGET_PER_S)
        url = os.environ.get(TEST_POSTGRES, DEFAULT_POSTGRES_URL)
        problem = postgres_problem(url)
        if problem is not None:
            print(f"no PostgreSQL at {url} ({problem}): set {TEST_POSTGRES}", file=sys.stderr)
            return found
        seen = [post_into_postgres(data_dir, url) for _ in range(rounds)]
        found |= figures("postgres", seen, POSTGRES_TARGET_PER_S)
    return found


def postgres_problem(url: str) -> str | None:
    """Why PostgreSQL cannot be measured, or None."""
    try:
        import psycopg

        psycopg.connect(url, connect_timeout=3).close()
    except (ImportError, OSError) as error:
        return str(error)
    except psycopg.Error as error:
        return " ".join(str(error).split())
    return None


def post_into_sqlite(data_dir: Path) -> dict[str, float]:
    """Posts into a new file."""
    for file in (*data_dir.glob("ledger.sqlite*"), data_dir / "posted"):
        file.unlink(missing_ok=True)
    return post(data_dir)


def post_into_postgres(data_dir: Path, url: str) -> dict[str, float]:
    """Posts into a new schema, which is dropped."""
    import psycopg

    schema = f"entrepot_bench_{secrets.token_hex(8)}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {schema}".encode())
        try:
            separator = "&" if "?" in url else "?"
            note_store_place(DataDir(data_dir), f"{url}{separator}options=-csearch_path%3D{schema}")
            return post(data_dir)
        finally:
            note_store_place(DataDir(data_dir), None)
            connection.execute(f"DROP SCHEMA {schema} CASCADE".encode())


def figures(name: str, seen: list[dict[str, float]], target_per_s: int) -> dict[str, object]:
    """The flat figures of one store."""
    rates = [one["entries"] / one["took_s"] for one in seen]
    own_core = [one["entries"] / (one["took_s"] - one["waited_s"]) for one in seen]
    cpu_us = [one["cpu_s"] / one["entries"] * 1e6 for one in seen]
    return {
        f"posting_{name}_entries": round(seen[0]["entries"]),
        f"posting_{name}_entries_per_s": round(median(rates)),
        f"posting_{name}_entries_per_s_range": f"{min(rates):.0f} to {max(rates):.0f}",
        f"posting_{name}_own_core_entries_per_s": round(median(own_core)),
        f"posting_{name}_own_core_range": f"{min(own_core):.0f} to {max(own_core):.0f}",
        f"posting_{name}_target_entries_per_s": target_per_s,
        f"posting_{name}_cpu_us_per_entry": round(median(cpu_us), 2),
        f"posting_{name}_peak_mib": round(max(one["peak_mib"] for one in seen)),
    }
