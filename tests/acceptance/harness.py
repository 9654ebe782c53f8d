"""What acceptance tests act with: a gateway process, its data folder, its clients, its commands.

Everything goes over real sockets, files and processes; nothing of the gateway is imported. What Google received is asked
of the sandbox (`tests/sandbox_client.py`). Fixtures are in `conftest.py`.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from tests.sandbox_client import CLIENT_ID, CLIENT_SECRET, MintedGrant

T = TypeVar("T")

START_S = 60.0
STOP_S = 60.0
COMMAND_S = 90.0
WAIT_S = 20.0
MODEL = "gemini-3.5-flash-lite"
Json = dict[str, Any]
People = Callable[..., dict[str, MintedGrant]]
"""What the fixture `people` is: names in, their grants out."""


@dataclass(frozen=True)
class Answer:
    """An HTTP answer that was read to its end; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        """What the model said in a chat completion."""
        return str(self.json()["choices"][0]["message"]["content"])


def http_call(
    url: str,
    method: str,
    path: str,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
    *,
    timeout_s: float = 60.0,
) -> Answer:
    """One request on a connection of its own. `body`: bytes as they are, else encoded as JSON."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_s)
    raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    with contextlib.closing(connection):
        connection.request(method, path, raw, {"content-type": "application/json", **(headers or {})})
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, found, answer.read())


def chat_body(text: str, **options: Any) -> Json:
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], **options}


def wait_until(
    predicate: Callable[[], T], what: str, *, deadline_s: float = WAIT_S, every_s: float = 0.01
) -> T:
    """The first truthy value of `predicate`. Fails after `deadline_s`, naming `what` was waited for."""
    end = time.monotonic() + deadline_s
    while True:
        found = predicate()
        if found:
            return found
        assert time.monotonic() < end, f"{what}: not within {deadline_s} s, last {found!r}"
        time.sleep(every_s)


def at_once(work: Sequence[Callable[[], T]]) -> list[T]:
    """Do all of it at the same time, each in a thread; results in the order of `work`."""
    with ThreadPoolExecutor(max_workers=len(work)) as threads:
        return [future.result() for future in [threads.submit(one) for one in work]]


# -- the data folder ---------------------------------------------------------------------------------------------------


def account_path(data_dir: Path, account_id: str) -> Path:
    return data_dir / "accounts" / f"{account_id}.json"


def read_account(data_dir: Path, account_id: str) -> Json:
    document: Json = json.loads(account_path(data_dir, account_id).read_bytes())
    return document


def write_account(data_dir: Path, account_id: str, document: Json) -> None:
    """Put an account's file in place as a careful editor does: in one step."""
    path = account_path(data_dir, account_id)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_name(f".{account_id}.edited")
    fresh.write_text(json.dumps(document, indent=2, ensure_ascii=False))
    fresh.chmod(0o600)
    fresh.replace(path)


def account_file(
    data_dir: Path, account_id: str, grant: MintedGrant, *, fresh: bool = False, **fields: Any
) -> Path:
    """A minimal account file with a grant of the sandbox; `fresh`: with an access token that is good for an hour."""
    token: Json = {"refresh_token": grant.refresh_token}
    if fresh:
        token |= {"access_token": grant.access_token, "expiry_timestamp": int(time.time()) + 3600}
    token |= fields.pop("token", {})
    document = {
        "id": account_id,
        "email": grant.email,
        "sub": grant.sub,
        "client_id": grant.client_id,
        "token": token,
        **fields,
    }
    write_account(data_dir, account_id, document)
    return account_path(data_dir, account_id)


def hand_edit(data_dir: Path, account_id: str, change: Callable[[Json], None]) -> None:
    """Change an account's file as its owner does in an editor, `revision` untouched."""
    document = read_account(data_dir, account_id)
    change(document)
    write_account(data_dir, account_id, document)


def log_records(data_dir: Path, event: str = "") -> list[Json]:
    """The records of `<data>/logs/regrant.log`, all or those of one event, oldest first."""
    path = data_dir / "logs" / "regrant.log"
    lines = path.read_text().splitlines() if path.exists() else []
    records = [json.loads(line) for line in lines]
    return [record for record in records if not event or record["event"] == event]


def messages(data_dir: Path, event: str) -> list[str]:
    return [record["message"] for record in log_records(data_dir, event)]


# -- processes ---------------------------------------------------------------------------------------------------------


def environment(sandbox_url: str, **settings: str) -> dict[str, str]:
    """The environment of a process whose Google is the sandbox. `settings`: `POOL__STRATEGY="round_robin"`."""
    paths = {
        "AUTHORIZE": "/o/oauth2/v2/auth",
        "TOKEN": "/token",
        "REVOKE": "/revoke",
        "USERINFO": "/v1/userinfo",
        "GEMINI": "",
        "VERTEX": "",
        "CLOUDQUOTAS": "",
        "MONITORING": "",
        "SERVICEUSAGE": "",
    }
    google = {f"REGRANT_GOOGLE__ENDPOINTS__{name}": sandbox_url + path for name, path in paths.items()}
    google |= {"REGRANT_GOOGLE__CLIENT_ID": CLIENT_ID, "REGRANT_GOOGLE__CLIENT_SECRET": CLIENT_SECRET}
    return {**os.environ, **google, **{f"REGRANT_{name}": value for name, value in settings.items()}}


def regrant(
    data_dir: Path, sandbox_url: str, *arguments: str, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """One command as a process, on that data folder; its exit code is the caller's to judge."""
    return subprocess.run(
        [sys.executable, "-m", "regrant", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=False,
        env=environment(sandbox_url) | {"REGRANT_DATA_DIR": str(data_dir)},
    )


class Gateway:
    """`regrant serve` as a process. Use it as a context manager: on leaving it is stopped and must end with 0.

    `settings` are REGRANT_ variables without the prefix; `prefix` is a command that runs it, such as `as_nobody`.
    """

    def __init__(
        self,
        data_dir: Path,
        sandbox_url: str,
        *arguments: str,
        prefix: Sequence[str] = (),
        port: int = 0,
        **settings: str,
    ) -> None:
        self.data_dir = data_dir
        self._stderr_path = data_dir.parent / f"{data_dir.name}-stderr-{time.monotonic_ns()}.txt"
        command = [*prefix, sys.executable, "-m", "regrant", "serve", "--port", str(port)]
        with self._stderr_path.open("wb") as stderr:
            self.process = subprocess.Popen(
                [*command, "--data-dir", str(data_dir), *arguments],
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env=environment(sandbox_url, **settings),
            )
        self.url = self._ready_url()

    def _ready_url(self) -> str:
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], START_S)
        line = self.process.stdout.readline() if ready else ""
        if not line.startswith("Regrant is ready: "):
            self._end(signal.SIGKILL)
            raise AssertionError(f"the gateway did not start: {line!r}\n{self.stderr}")
        return line.removeprefix("Regrant is ready: ").strip()

    # -- its life --

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def stderr(self) -> str:
        return self._stderr_path.read_text()

    def stop(self) -> None:
        """SIGTERM; the process must drain, exit with 0, and have shown no traceback."""
        code = self._end(signal.SIGTERM)
        assert code == 0, f"exit code {code}\n{self.stderr}"
        assert "Traceback" not in self.stderr, self.stderr

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            code = self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            if self.process.stdout is not None:
                self.process.stdout.close()
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.kill()
            sys.stdout.write(self.stderr[-8000:])
        elif self.process.poll() is None:
            self.stop()
        elif self.process.stdout is not None:
            self.process.stdout.close()

    # -- its clients --

    def call(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        return http_call(self.url, method, path, body, headers)

    def chat(self, text: str = "hi", headers: Mapping[str, str] | None = None, **options: Any) -> Answer:
        """One chat completion, whatever its status."""
        return self.call("POST", "/v1/chat/completions", chat_body(text, **options), headers)

    def served_by(self, text: str = "hi") -> str:
        """Whose account answered a chat completion, which must succeed: `ann`."""
        answer = self.chat(text)
        assert answer.status == 200, answer.body
        said = answer.text
        assert said.startswith("Hello from "), said
        return said.removeprefix("Hello from ").partition("'")[0].lower()

    @contextlib.contextmanager
    def opened(
        self, path: str, body: Any
    ) -> Iterator[tuple[http.client.HTTPConnection, http.client.HTTPResponse]]:
        """A request whose answer is read bit by bit; leaving closes the connection, read to the end or not."""
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        with contextlib.closing(connection):
            connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
            yield connection, connection.getresponse()

    def ready(self) -> Json:
        """`/readyz`: `{"ready": bool, "reasons": {...}}`."""
        document: Json = self.call("GET", "/readyz").json()
        return document

    # -- its owner --

    def admin(self, method: str, path: str, body: Any = None) -> Answer:
        """A call of the admin API with the admin token of the data folder."""
        token = (self.data_dir / "admin.token").read_text().strip()
        return self.call(method, path, body, {"authorization": f"Bearer {token}"})

    def account(self, account_id: str) -> Json:
        """The account as the admin API shows it."""
        answer = self.admin("GET", f"/api/accounts/{account_id}")
        assert answer.status == 200, answer.body
        document: Json = answer.json()
        return document

    def checks(self, account_id: str, model: str = MODEL) -> list[Json]:
        """Why the account serves the model or not: the checks of `/api/pool`, in their order."""
        answer = self.admin("GET", f"/api/pool?model={model}")
        assert answer.status == 200, answer.body
        [found] = [one for one in answer.json()["accounts"] if one["id"] == account_id]
        checks: list[Json] = found["checks"]
        return checks

    def log(self, event: str = "") -> list[Json]:
        return log_records(self.data_dir, event)

    def messages(self, event: str) -> list[str]:
        return messages(self.data_dir, event)
