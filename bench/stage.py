"""The contestants as processes: the pretend upstream, nginx, Regrant and litellm, each started, measured and ended by its own pid.

What they are asked is `work.py`; what is compared is in the modules of the rows. Everything listens on 127.0.0.1.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from bench.work import Door

ROOT = Path(__file__).parent.parent
KEY = "bench-client-key"
START_S = 90.0
NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
LITELLM = Path(os.environ.get("BENCH_LITELLM", ROOT / ".bench" / "litellm" / "bin" / "litellm"))
ENDPOINTS = [
    "AUTHORIZE",
    "TOKEN",
    "REVOKE",
    "USERINFO",
    "GEMINI",
    "VERTEX",
    "CLOUDQUOTAS",
    "MONITORING",
    "SERVICEUSAGE",
]

# Debian's defaults, but for these: one worker process, no limit to the requests of a kept connection, room for 1,000 streams,
# bodies of 200 kB kept in memory, and no buffering (a stream must pass at once).
NGINX_CONF = """
worker_processes 1; pid nginx.pid; error_log nginx.err; daemon off;
events {{ worker_connections 8192; }}
http {{
  sendfile on; tcp_nopush on; gzip on; access_log access.log; keepalive_timeout 65; keepalive_requests 100000000;
  client_max_body_size 100m; client_body_buffer_size 1m;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
{rest}
}}
"""
NGINX_PROXY = """
  upstream mock {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=2048;
    location / {{ proxy_pass {scheme}://mock; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; {tls} }}
  }}
"""


class DidNotStart(Exception):
    """A contestant gave no sign of life in time."""


class NotRun(Exception):
    """A row cannot be measured here; the message says why."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """A running gateway."""

    name: str
    pid: int
    port: int
    command: str
    headers: Sequence[str] = ()
    folder: Path = field(default_factory=Path)

    @property
    def door(self) -> Door:
        return Door(self.port, self.headers, translates=self.name != "nginx")


@dataclass(frozen=True, slots=True)
class Upstream:
    port: int
    ca: Path | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self.ca else 'http'}://127.0.0.1:{self.port}"

    @property
    def door(self) -> Door:
        """The upstream itself, asked without anybody between."""
        return Door(self.port, translates=False)


def cores(gateway: bool) -> list[str]:
    """The prefix that pins a command: the gateway to one core, all else to the others. Nothing where there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2 or not shutil.which("taskset"):
        return []
    mine = usable[:1] if gateway else usable[1:]
    return ["taskset", "-c", ",".join(map(str, mine))]


@contextlib.contextmanager
def process(
    command: Sequence[str],
    *,
    ready: bytes = b"",
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    log: Path | None = None,
) -> Iterator[tuple[int, str]]:
    """Its pid and its first line on stdout, which must hold `ready`. Ended by SIGTERM, and by SIGKILL when that does not help."""
    stderr: IO[bytes] | int = log.open("wb") if log else subprocess.DEVNULL
    stdout = subprocess.PIPE if ready else stderr
    child = subprocess.Popen(command, stdout=stdout, stderr=stderr, env=env, cwd=cwd)
    try:
        yield child.pid, _first_line(child, command, ready, log) if ready else ""
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(40)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        if child.stdout:
            child.stdout.close()
        if not isinstance(stderr, int):
            stderr.close()


def _first_line(
    child: subprocess.Popen[bytes], command: Sequence[str], ready: bytes, log: Path | None
) -> str:
    assert child.stdout is not None
    readable, _, _ = select.select([child.stdout], [], [], START_S)
    line = child.stdout.readline() if readable else b""
    if ready not in line:
        last = log.read_text().splitlines()[-1:] if log and log.exists() else []
        raise DidNotStart(" ".join([f"did not start: {shown(command)}", *last]))
    return line.decode()


def shown(command: Sequence[str]) -> str:
    """A command as a reader would type it: without the folders and ports of this machine."""
    names = [Path(part).name if os.path.isabs(part) else part for part in command]
    names = [re.sub(r"(litellm)-\d+|^\d{5}$", r"\1", name) or "PORT" for name in names]
    return " ".join(names)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str, *, deadline_s: float = START_S, every_s: float = 0.02) -> None:
    """Return when `url` answers 200. Raises DidNotStart after `deadline_s`."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
            if answer.status == 200:
                return
        time.sleep(every_s)
    raise DidNotStart(f"no answer from {url}")


def tree(pid: int) -> list[int]:
    """A process and its living descendants."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return []
    return [pid, *(one for child in children for one in tree(int(child)))]


def cpu_s(pid: int) -> float:
    """CPU seconds of a process tree, all living threads, as the scheduler counts them (nanoseconds)."""
    total = 0
    for one in tree(pid):
        for thread in Path(f"/proc/{one}/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                total += int((thread / "schedstat").read_text().split()[0])
    return total / 1e9


def resident_mb(pid: int) -> float:
    """Resident memory of a process tree in MB (10**6 bytes)."""
    page = os.sysconf("SC_PAGE_SIZE")
    return sum(int(Path(f"/proc/{one}/statm").read_text().split()[1]) * page for one in tree(pid)) / 1e6


@contextlib.contextmanager
def upstream(folder: Path, *, tls: bool = False) -> Iterator[Upstream]:
    """The pretend upstream in Python, for everything but the race for throughput."""
    command = [*cores(False), sys.executable, str(ROOT / "bench" / "upstream.py")]
    ca = None
    if tls:
        ca, cert, key = certificates(folder)
        command += ["--cert", str(cert), "--key", str(key)]
    with process(command, ready=b"ready") as (_, line):
        yield Upstream(int(line.split()[1]), ca)


def certificates(folder: Path, *names: str) -> tuple[Path, Path, Path]:
    """A certificate authority made for this run, and a certificate of it with its key."""
    import trustme

    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost", *names)
    ca, cert, key = (folder / name for name in ("ca.pem", "cert.pem", "key.pem"))
    authority.cert_pem.write_to_path(ca)
    cert.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(key)
    return ca, cert, key


@contextlib.contextmanager
def stone(folder: Path) -> Iterator[Upstream]:
    """An upstream that costs next to nothing: nginx with answers in its configuration. It does not stream."""
    from bench.upstream import CATALOGUE_BODY, CHAT_BODY, GEMINI_BODY, TOKEN_BODY

    port = free_port()
    answers = (
        ("= /token", TOKEN_BODY),
        ("= /v1beta/models", CATALOGUE_BODY),
        ("= /v1/chat/completions", CHAT_BODY),
        ("/", GEMINI_BODY),
    )
    places = "\n".join(f"location {where} {{ return 200 '{body.decode()}'; }}" for where, body in answers)
    rest = f"server {{ listen 127.0.0.1:{port}; default_type application/json; access_log off;\n{places}\n}}"
    with _nginx(folder / "stone", rest, cores(False), port):
        yield Upstream(port)


@contextlib.contextmanager
def nginx(folder: Path, to: Upstream, *, pinned: bool = False) -> Iterator[Contestant]:
    """nginx as Debian sets it up (with its access log), passing everything to `to` over kept connections."""
    port = free_port()
    tls = ""
    if to.ca:
        tls = f"proxy_ssl_verify on; proxy_ssl_trusted_certificate {to.ca}; proxy_ssl_name localhost;"
    rest = NGINX_PROXY.format(upstream=to.port, port=port, scheme=to.url.split(":")[0], tls=tls)
    prefix = cores(True) if pinned else []
    with _nginx(folder / f"nginx-{port}", rest, prefix, port) as pid:
        yield Contestant("nginx", pid, port, shown([*prefix, "nginx", "-c", "nginx.conf"]))


@contextlib.contextmanager
def _nginx(folder: Path, rest: str, prefix: list[str], port: int) -> Iterator[int]:
    folder.mkdir()
    conf = folder / "nginx.conf"
    conf.write_text(NGINX_CONF.format(rest=rest))
    with process([*prefix, NGINX, "-p", str(folder), "-c", str(conf)], log=folder / "start.err") as (pid, _):
        wait_until_open(port)
        yield pid


def wait_until_open(port: int) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.01)
    raise DidNotStart(f"nobody listens on port {port}")


@contextlib.contextmanager
def regrant(folder: Path, to: Upstream, *, pinned: bool = False, accounts: int = 10) -> Iterator[Contestant]:
    """The shipped command with default settings, a client key and ten accounts of ten OAuth clients."""
    data = folder / f"regrant-{free_port()}" / "data"
    write_accounts(data, accounts)
    with serve(data, regrant_environment(to), pinned=pinned) as contestant:
        yield contestant


@contextlib.contextmanager
def serve(data: Path, environment: dict[str, str], *, pinned: bool = False) -> Iterator[Contestant]:
    prefix = cores(True) if pinned else []
    command = [*prefix, sys.executable, "-m", "regrant", "serve", "--port", "0", "--data-dir", str(data)]
    with process(command, ready=b"ready", env=environment, log=data.with_suffix(".log")) as (pid, line):
        port = int(line.rsplit(":", 1)[1])
        yield Contestant("regrant", pid, port, shown(command), (f"authorization: Bearer {KEY}",), data)


def write_accounts(data: Path, count: int) -> None:
    """Account files of `count` accounts with a project each."""
    folder = data / "accounts"
    folder.mkdir(parents=True, mode=0o700)
    data.chmod(0o700)
    for number in range(count):
        account = {
            "id": f"bench{number}",
            "email": f"bench{number}@example.com",
            "client_id": f"{number % 10}-bench",
            "project_id": f"bench-project-{number}",
            "token": {"refresh_token": f"bench-refresh-{number}"},
        }
        path = folder / f"bench{number}.json"
        path.write_text(json.dumps(account))
        path.chmod(0o600)


def regrant_environment(to: Upstream, *, key: str = KEY) -> dict[str, str]:
    """All endpoints at `to`; the token endpoint is plain wherever the model API is."""
    clients = [
        {"client_id": f"{number}-bench", "client_secret": "bench-secret", "name": f"c{number}"}
        for number in range(10)
    ]
    endpoints = {f"REGRANT_GOOGLE__ENDPOINTS__{name}": to.url for name in ENDPOINTS}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("REGRANT_")}
    found = {
        **kept,
        **endpoints,
        "REGRANT_GOOGLE__ENDPOINTS__TOKEN": to.url + "/token",
        "REGRANT_GOOGLE__CLIENTS": json.dumps(clients),
        "REGRANT_SERVER__AUTH_MODE": "all_except_health",
        "REGRANT_SERVER__API_KEY": key,
    }
    return found | ({"REGRANT_NETWORK__CA_FILE": str(to.ca)} if to.ca else {})


@contextlib.contextmanager
def litellm(
    folder: Path, config: dict[str, Any], *, env: dict[str, str] | None = None, pinned: bool = False
) -> Iterator[Contestant]:
    """litellm's proxy with one worker in its production mode. Raises NotRun when it is not installed."""
    if not LITELLM.exists():
        raise NotRun("litellm is not installed (scripts/install_litellm)")
    import secrets

    key, port = "sk-" + secrets.token_urlsafe(24), free_port()
    path = folder / f"litellm-{port}.yaml"
    # JSON is YAML.
    path.write_text(json.dumps({**config, "general_settings": {"master_key": key}}))
    prefix = cores(True) if pinned else []
    command = [
        *prefix,
        str(LITELLM),
        "--config",
        str(path),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--num_workers",
        "1",
    ]
    environment = {
        **os.environ,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_MODE": "PRODUCTION",
        **(env or {}),
    }
    with process(command, env=environment, cwd=folder, log=path.with_suffix(".log")) as (pid, _):
        wait_for(f"http://127.0.0.1:{port}/health/liveliness", every_s=0.2)
        yield Contestant("litellm", pid, port, shown(command), (f"authorization: Bearer {key}",), folder)
