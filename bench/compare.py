"""What a request costs: Regrant against nginx passing the same bytes through, in one run, as ratios.

`make bench` runs it. Every contestant gets the same upstream and the same load, in rounds that alternate; what counts is
the CPU time of its process tree per request, which other work on the machine disturbs least. Figures are printed and
written to `.make/bench.json`. Regrant runs as shipped: logging on, a client key, ten accounts.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).parent.parent))
from bench.load import Load, Measured, run

UPSTREAM, NGINX, REGRANT = 39411, 39401, 39421
KEY = "bench-client-key"
ROUNDS = 5
ROOT = Path(__file__).parent.parent

CHAT = json.dumps(
    {
        "model": "gemini-3.8-flash",
        "messages": [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": "Say hello to the reader of this line."},
        ],
        "temperature": 0.2,
        "max_tokens": 256,
    }
).encode()
STREAM = CHAT[:-1] + b', "stream": true}'
GEMINI = b'{"contents":[{"role":"user","parts":[{"text":"Say hello to the reader of this line."}]}]}'
GENERATE = "/v1beta/models/gemini-3.8-flash:generateContent"

NGINX_CONF = """
worker_processes 1; pid nginx.pid; error_log nginx.err; daemon off;
events {{}}
http {{
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
  upstream mock {{ server 127.0.0.1:{upstream}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://mock; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison: the work, nginx's load, Regrant's load, and the ratio that must be reached (None: none is set)."""

    work: str
    through_nginx: Load
    through_regrant: Load
    must: float | None


def rows() -> list[Row]:
    key = (f"authorization: Bearer {KEY}",)
    said = b"Hello from the upstream."
    return [
        Row(
            "chat completion, translated",
            Load(NGINX, "/v1/chat/completions", CHAT, said),
            Load(REGRANT, "/v1/chat/completions", CHAT, said, key),
            2.5,
        ),
        Row(
            "chat completion, streamed in 5 events",
            Load(NGINX, "/v1beta/models/m:streamGenerateContent?alt=sse", STREAM, b"STOP"),
            Load(REGRANT, "/v1/chat/completions", STREAM, b"[DONE]", key),
            None,
        ),
        Row(
            "Gemini, relayed byte for byte",
            Load(NGINX, GENERATE, GEMINI, said),
            Load(REGRANT, GENERATE, GEMINI, said, key),
            None,
        ),
    ]


@contextlib.contextmanager
def process(
    command: list[str], *, ready: bytes = b"", env: dict[str, str] | None = None, cwd: Path | None = None
) -> Iterator[int]:
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env, cwd=cwd)
    try:
        assert child.stdout is not None
        if ready and ready not in child.stdout.readline():
            raise SystemExit(f"did not start: {' '.join(command)}")
        yield child.pid
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(40)


def cpu_s(pid: int) -> float:
    """CPU seconds of a process and its living children, all threads, as the scheduler counts them (nanoseconds)."""
    threads = Path(f"/proc/{pid}/task")
    own = sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads.iterdir()) / 1e9
    children = (threads / str(pid) / "children").read_text().split()
    return own + sum(cpu_s(int(child)) for child in children)


@contextlib.contextmanager
def contestants(folder: Path) -> Iterator[dict[str, int]]:
    (folder / "nginx").mkdir()
    conf = folder / "nginx" / "nginx.conf"
    conf.write_text(NGINX_CONF.format(upstream=UPSTREAM, port=NGINX))
    accounts = folder / "data" / "accounts"
    accounts.mkdir(parents=True)
    for number in range(10):
        account = {
            "id": f"bench{number}",
            "email": f"bench{number}@example.com",
            "client_id": f"{number}-bench",
            "token": {"refresh_token": f"bench-refresh-{number}"},
        }
        (accounts / f"bench{number}.json").write_text(json.dumps(account))
    serve = [
        sys.executable,
        "-m",
        "regrant",
        "serve",
        "--port",
        str(REGRANT),
        "--data-dir",
        str(folder / "data"),
    ]
    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    with contextlib.ExitStack() as stack:
        stack.enter_context(
            process([sys.executable, str(ROOT / "bench" / "upstream.py"), str(UPSTREAM)], ready=b"ready")
        )
        proxy = stack.enter_context(process([nginx, "-p", str(folder / "nginx"), "-c", str(conf)]))
        gateway = stack.enter_context(process(serve, ready=b"ready", env=regrant_environment()))
        yield {"nginx": proxy, "regrant": gateway}


def regrant_environment() -> dict[str, str]:
    base = f"http://127.0.0.1:{UPSTREAM}"
    clients = [
        {"client_id": f"{number}-bench", "client_secret": "bench-secret", "name": f"c{number}"}
        for number in range(10)
    ]
    names = (
        "AUTHORIZE",
        "TOKEN",
        "REVOKE",
        "USERINFO",
        "GEMINI",
        "VERTEX",
        "CLOUDQUOTAS",
        "MONITORING",
        "SERVICEUSAGE",
    )
    endpoints = {
        f"REGRANT_GOOGLE__ENDPOINTS__{name}": base + ("/token" if name == "TOKEN" else "") for name in names
    }
    return {
        **os.environ,
        **endpoints,
        "REGRANT_GOOGLE__CLIENTS": json.dumps(clients),
        "REGRANT_SERVER__AUTH_MODE": "strict",
        "REGRANT_SERVER__API_KEY": KEY,
    }


async def compare(row: Row, pids: dict[str, int], *, requests: int, connections: int) -> dict[str, object]:
    """Alternate rounds of both; the medians, and how often Regrant's CPU time per request is nginx's."""
    costs: dict[str, list[float]] = {"nginx": [], "regrant": []}
    speeds: dict[str, list[Measured]] = {"nginx": [], "regrant": []}
    for load in (row.through_nginx, row.through_regrant):
        await run(load, requests=requests // 5, connections=connections)
    for _ in range(ROUNDS):
        for name, load in (("nginx", row.through_nginx), ("regrant", row.through_regrant)):
            before = cpu_s(pids[name])
            speeds[name].append(await run(load, requests=requests, connections=connections))
            costs[name].append((cpu_s(pids[name]) - before) / requests * 1e6)
    cost = {name: statistics.median(values) for name, values in costs.items()}
    rate = {name: statistics.median(one.rate for one in values) for name, values in speeds.items()}
    ratio = cost["regrant"] / cost["nginx"]
    return {
        "work": row.work,
        "cpu_us": {name: round(value, 1) for name, value in cost.items()},
        "cpu_ratio": round(ratio, 2),
        "rate_ratio": round(rate["regrant"] / rate["nginx"], 2),
        "p50_added_ms": round(
            statistics.median(one.p50_ms for one in speeds["regrant"])
            - statistics.median(one.p50_ms for one in speeds["nginx"]),
            3,
        ),
        "must": row.must,
    }


def show(results: list[dict[str, object]]) -> None:
    print(
        f"{'work':40} {'nginx us':>9} {'regrant us':>11} {'ratio':>6} {'must':>5} {'rate':>6} {'p50 +ms':>8}"
    )
    for result in results:
        cpu = result["cpu_us"]
        assert isinstance(cpu, dict)
        print(
            f"{result['work']!s:40} {cpu['nginx']:9} {cpu['regrant']:11} {result['cpu_ratio']!s:>6}"
            f" {result['must'] or '-'!s:>5} {result['rate_ratio']!s:>6} {result['p50_added_ms']!s:>8}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=3000, help="per round and contestant")
    parser.add_argument("--connections", type=int, default=8)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, contestants(Path(name)) as pids:
        results = [
            uvloop.run(compare(row, pids, requests=options.requests, connections=options.connections))
            for row in rows()
        ]
    show(results)
    report = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "results": results,
    }
    out = ROOT / ".make" / "bench.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
