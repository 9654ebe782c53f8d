"""How fast is it: every figure that Regrant is to reach, measured side by side with nginx and litellm in one run.

    make bench                                        all rows, about six minutes
    make bench-quick                                  all rows but litellm's, smaller, under three minutes
    python bench/compare.py --only chat --rounds 3    one row: CPU microseconds per request of nginx and Regrant, and their ratio

Regrant runs as shipped, with default settings: logging and traffic log on, a client key, ten accounts. Each row checks every answer; a
wrong one ends the run with exit code 1. The results are printed and written to `bench/results/`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
from bench.goals import Result, table
from bench.scale import Bench, Scale
from bench.stage import LITELLM, ROOT, DidNotStart, NotRun
from bench.work import Wrong

from bench import costs, deaths, selection, speed, starting

Row = Callable[[Bench], list[Result]]

ROWS: Mapping[str, Row] = {
    "chat": costs.chat,
    "tls": costs.tls,
    "short": costs.short,
    "relay": costs.relay,
    "agent": costs.agent,
    "chunks": costs.chunks,
    "first-token": costs.first_token,
    "throughput": speed.throughput,
    "latency": speed.latency,
    "streams": speed.open_streams,
    "selection": selection.selection,
    "loading": starting.load_accounts,
    "start": starting.healthz,
    "memory": starting.memory,
    "deaths": deaths.dead_tokens,
}

FULL = Scale()
QUICK = Scale(
    rounds=3, requests=1500, seconds=2.0, streams=1000, ticks=6, accounts=10_000, revoked=20, picks=5_000
)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="smaller, and without litellm")
    parser.add_argument("--without-litellm", action="store_true")
    parser.add_argument("--only", default="", help=f"comma-separated rows: {' '.join(ROWS)}")
    parser.add_argument("--rounds", type=int, help="how often each contestant has its turn")
    parser.add_argument("--requests", type=int, help="per round and contestant")
    parser.add_argument("--connections", type=int)
    parser.add_argument("--json", type=Path, help="where the results go (default: bench/results/<time>.json)")
    return parser.parse_args()


def measure(names: list[str], scale: Scale, *, without_litellm: str = "") -> tuple[list[Result], list[str]]:
    """The results of these rows, and what failed: a row ends at its first wrong answer, the others go on."""
    results: list[Result] = []
    failures: list[str] = []
    for name in names:
        print(f"-- {name}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="regrant-bench-") as folder:
            Path(folder).chmod(0o755)  # nginx's worker process has another user
            try:
                results += ROWS[name](Bench(Path(folder), scale, without_litellm))
            except* (Wrong, NotRun, DidNotStart, OSError, subprocess.SubprocessError) as errors:
                failures.append(f"{name}: {_innermost(errors)!r}")
    return results, failures


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def machine() -> dict[str, Any]:
    """What ran it, without what would name it."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": model,
        "python": platform.python_version(),
        "kernel": platform.release().split("-")[0],
        "load_before": round(os.getloadavg()[0], 1),
    }


def main() -> int:
    options = parse()
    names = [name for name in options.only.split(",") if name] or list(ROWS)
    if unknown := [name for name in names if name not in ROWS]:
        print(f"no such row: {', '.join(unknown)}. There are: {', '.join(ROWS)}", file=sys.stderr)
        return 2
    chosen = {name: getattr(options, name) for name in ("rounds", "requests", "connections")}
    scale = replace(QUICK if options.quick else FULL, **{name: size for name, size in chosen.items() if size})
    about = machine()
    started = time.time()
    without = ""
    if options.quick or options.without_litellm:
        without = "litellm was left out"
    elif not LITELLM.exists():
        without = "litellm is not installed (scripts/install_litellm)"
    results, failures = measure(names, scale, without_litellm=without)
    print(table(results))
    for failure in failures:
        print(f"FAILED    {failure}")
    report = {
        "at": int(started),
        "seconds": round(time.time() - started),
        "quick": options.quick,
        "rounds": scale.rounds,
        "machine": about,
        "failures": failures,
        "results": [result.as_json() for result in results],
    }
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(started))
    out = options.json or ROOT / "bench" / "results" / f"{stamp}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=2) + "\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
