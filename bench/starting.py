"""Rows of a gateway that has just started: how soon it answers, what it weighs, and how long 10,000 account files take."""

from __future__ import annotations

import compileall
import json
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from bench.goals import Result
from bench.scale import Bench
from bench.stage import Upstream
from bench.work import Wrong

from bench import stage

IMPORTS = "import uvicorn, msgspec, httptools, uvloop"


def healthz(bench: Bench) -> list[Result]:
    """From the start of the process to the first 200 of /healthz, against a Python that only imports the parts of the server."""
    compileall.compile_dir(stage.ROOT / "src", quiet=1)  # an installed program has its byte code
    with stage.upstream(bench.folder) as upstream:
        times: dict[str, list[float]] = {"imports": [], "regrant": []}
        data = bench.folder / "start" / "data"
        stage.write_accounts(data, 10)
        for _ in range(bench.scale.rounds + 1):
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", IMPORTS], check=True)
            times["imports"].append(time.perf_counter() - started)
            times["regrant"].append(_start_s(data, upstream, "/healthz"))
    medians = {f"{name} ms": statistics.median(found[1:]) * 1000 for name, found in times.items()}
    command = f"python -m regrant serve --port <free> --data-dir data; python -c '{IMPORTS}'"
    return [Result("healthz", medians["regrant ms"] / medians["imports ms"], medians, command)]


def _start_s(data: Path, upstream: Upstream, path: str) -> float:
    """Seconds from the start of `regrant serve` to the first 200 of `path`."""
    port = stage.free_port()
    command = [sys.executable, "-m", "regrant", "serve", "--port", str(port), "--data-dir", str(data)]
    started = time.perf_counter()
    with stage.process(command, env=stage.regrant_environment(upstream)):
        stage.wait_for(f"http://127.0.0.1:{port}{path}", every_s=0.002)
        return time.perf_counter() - started


def load_accounts(bench: Bench) -> list[Result]:
    """Start until /readyz says that accounts can serve, with all the files and with ten; the difference is the loading."""
    medians = {}
    with stage.upstream(bench.folder) as upstream:
        for count in (10, bench.scale.accounts):
            data = bench.folder / f"load-{count}" / "data"
            stage.write_accounts(data, count)
            rounds = range(min(3, bench.scale.rounds))
            medians[f"with {count} s"] = statistics.median(
                _start_s(data, upstream, "/readyz") for _ in rounds
            )
    few, many = medians.values()
    return [
        Result("load_10000", many - few, medians, "python -m regrant serve --port <free> --data-dir data")
    ]


def memory(bench: Bench) -> list[Result]:
    """Resident memory of a gateway with ten accounts that has served nothing yet, then after one GET /api/accounts."""
    with stage.upstream(bench.folder) as upstream, stage.regrant(bench.folder, upstream) as regrant:
        time.sleep(bench.scale.settle_s)
        before = stage.resident_mb(regrant.pid)
        token = (regrant.folder / "admin.token").read_text().strip()
        request = urllib.request.Request(f"http://127.0.0.1:{regrant.port}/api/accounts")
        request.add_header("authorization", f"Bearer {token}")
        with urllib.request.urlopen(request, timeout=30) as answer:
            accounts = json.load(answer)["items"]
        if len(accounts) != 10:
            raise Wrong(f"/api/accounts listed {len(accounts)} accounts, not 10")
        time.sleep(bench.scale.settle_s)
        after = stage.resident_mb(regrant.pid)
        return [
            Result("memory_idle", before, {}, regrant.command),
            Result("memory_admin", after, {}, f"{regrant.command}; GET /api/accounts"),
        ]
