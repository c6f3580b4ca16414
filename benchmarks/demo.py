"""How long a newcomer waits: a fresh clone of the last commit, `make demo`, ready; then the second start.

Run by `make bench-demo`. Prints a table and writes build/demo.json. pip may use its cache: the network
is not what is measured.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

from bench_processes import free_port

ROOT = Path(__file__).resolve().parent.parent
FIRST_TARGET_S = 120.0
SECOND_TARGET_S = 5.0
LIMIT_S = 600.0
ANSWER_LIMIT_S = 60.0
MODELS = {"local": "huggingface/smollm2-135m-instruct", "simulated": "deepseek/deepseek-r1"}


def start(checkout: Path, data_dir: Path) -> tuple[subprocess.Popen[str], str, float]:
    """Returns the running demo, its ready line, and the seconds until it came."""
    arguments = f"--port {free_port()} --console-port {free_port()} --data-dir {data_dir}"
    began_s = time.monotonic()
    demo = subprocess.Popen(
        ["make", "demo", f"ARGS={arguments}"],
        cwd=checkout,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS")},
    )
    assert demo.stdout is not None
    limit = threading.Timer(LIMIT_S, stop, [demo])  # a silent demo ends too
    limit.start()
    try:
        for line in demo.stdout:
            if line.startswith("ready "):
                return demo, line, time.monotonic() - began_s
    finally:
        limit.cancel()
    stop(demo)
    raise SystemExit("demo was not ready; its messages are above")


def stop(demo: subprocess.Popen[str]) -> None:
    """Ends the demo, which ends its children."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(demo.pid, signal.SIGTERM)
    demo.wait(30)


def answer_s(ready: str, model: str) -> float:
    """Returns the seconds until a plain answer of the model came."""
    url, key = ready.split()[1], ready.split("key=")[1].strip()
    body = {"model": model, "max_tokens": 16, "messages": [{"role": "user", "content": "Say hello."}]}
    request = urllib.request.Request(
        f"{url}/chat/completions",
        json.dumps(body).encode(),
        {"authorization": f"Bearer {key}", "content-type": "application/json"},
    )
    began_s = time.monotonic()
    with urllib.request.urlopen(request, timeout=ANSWER_LIMIT_S) as reply:
        assert json.load(reply)["choices"][0]["message"]["content"]
    return time.monotonic() - began_s


def main() -> None:
    """Measures once, prints and writes."""
    argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0]).parse_args()
    folder = Path(tempfile.mkdtemp(prefix="entrepot-demo-"))
    figures: dict[str, float] = {}
    try:
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder / "clone")], check=True)
        for name in ("first", "second"):
            demo, ready, figures[f"{name}_start_to_ready_s"] = start(folder / "clone", folder / "data")
            try:
                for kind, model in MODELS.items():
                    figures[f"{name}_start_{kind}_answer_s"] = answer_s(ready, model)
            finally:
                stop(demo)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    targets = {"first_start_to_ready_s": FIRST_TARGET_S, "second_start_to_ready_s": SECOND_TARGET_S}
    for name, seconds in figures.items():
        target = targets.get(name)
        verdict = ""
        if target is not None:
            verdict = f"  target <= {target:g}  {'reached' if seconds <= target else 'NOT reached'}"
        print(f"{name:<32} {seconds:8.2f}{verdict}")
    (ROOT / "build").mkdir(exist_ok=True)
    (ROOT / "build" / "demo.json").write_text(
        json.dumps({k: round(v, 3) for k, v in figures.items()}, indent=2)
    )


if __name__ == "__main__":
    main()
