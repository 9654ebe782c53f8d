"""A small synchronous client of the sandbox for tests: it starts the process and speaks to its control API.

It imports nothing of the gateway. The control API is described in `docs/sandbox.md`.
"""

from __future__ import annotations

import json
import os
import select
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

START_DEADLINE_S = 20.0

CLIENT_ID = "100000000001-sandbox.apps.regrant.test"
CLIENT_SECRET = "sandbox-client-secret"


@dataclass(frozen=True)
class MintedGrant:
    """What the sandbox answers to `POST /_sandbox/grants`."""

    email: str
    sub: str
    grant: str
    client_id: str
    client_secret: str
    refresh_token: str
    access_token: str
    expires_in: int
    scope: str


class SandboxControl:
    """The control API of a sandbox that listens at `url`. Every method raises urllib's HTTPError on a refusal."""

    def __init__(self, url: str, *, context: ssl.SSLContext | None = None) -> None:
        self.url = url
        self._context = context

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """One control request: `path` follows `/_sandbox/`; the answer is decoded JSON."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/_sandbox/{path}", data=data, method=method)
        request.add_header("content-type", "application/json")
        with urllib.request.urlopen(request, timeout=70, context=self._context) as answer:
            return json.loads(answer.read())

    def grant(self, email: str, **options: Any) -> MintedGrant:
        """A new grant for that person, who is created if unknown. Options: client_id, scope, expires_in, refresh_token_expires_in."""
        return MintedGrant(**self.request("POST", "grants", {"email": email, **options}))

    def person(self, email: str, **options: Any) -> dict[str, Any]:
        """Create or change a person. Options: name, sub, projects."""
        return dict(self.request("POST", "people", {"email": email, **options}))

    def revoke(self, email: str = "", **options: Any) -> int:
        """End all grants of that person, or one by refresh_token=. Options: error_subtype, description. Returns how many died."""
        return int(self.request("POST", "revoke", {"email": email, **options})["revoked"])

    def expire(self, email: str) -> int:
        """End all access tokens of that person now; the grants live on. Returns how many ended."""
        return int(self.request("POST", "expire", {"email": email})["expired"])

    def settings(self, email: str = "", **options: Any) -> dict[str, Any]:
        """Options: expires_in, refresh_token_expires_in, rotate_refresh_token, scopes; for all: signatures."""
        return dict(self.request("POST", "settings", {"email": email, **options}))

    def client(self, client_id: str, client_secret: str = "", **options: Any) -> None:
        """Create or change an OAuth client. Options: state (ok, deleted, disabled), redirect_uris."""
        self.request("POST", "clients", {"client_id": client_id, "client_secret": client_secret, **options})

    def quota(self, project: str, model: str, **options: Any) -> None:
        """What the cloud APIs tell of a project. Options: requests_per_minute, requests_per_day, used."""
        self.request("POST", "quotas", {"project": project, "model": model, **options})

    def next_sign_in(self, email: str = "", **options: Any) -> None:
        """How the next visit of the consent page ends. Options: ignore_hint, error, untick, choose."""
        self.request("POST", "sign-in", {"email": email, **options})

    def script(
        self,
        kind: str,
        *,
        email: str = "",
        endpoint: str = "any",
        model: str = "",
        project: str = "",
        times: int | None = 1,
        **behaviour: Any,
    ) -> int:
        """Queue a behaviour: `script("error", name="429_per_minute", email="ann@example.com", endpoint="generate")`."""
        order = {
            "email": email,
            "endpoint": endpoint,
            "model": model,
            "project": project,
            "times": times,
            "behaviour": {"kind": kind, **behaviour},
        }
        return int(self.request("POST", "script", order)["id"])

    def unscript(self, script_id: int | None = None) -> None:
        """Take one behaviour out of the queue, or all."""
        self.request("DELETE", "script" if script_id is None else f"script/{script_id}")

    def state(self) -> dict[str, Any]:
        return dict(self.request("GET", "state"))

    def journal(
        self, *, since: int = 0, endpoint: str = "", email: str = "", wait: int = 0, limit: int = 10_000
    ) -> list[dict[str, Any]]:
        """Entries numbered above `since`, oldest first; `wait` is how many seconds to wait for the first one."""
        query = urlencode(
            {"since": since, "endpoint": endpoint, "email": email, "wait": wait, "limit": limit}
        )
        return list(self.request("GET", f"journal?{query}")["entries"])

    def last_seq(self) -> int:
        """The number of the newest journal entry, to use as `since`."""
        return int(self.state()["journal"]["next"])

    def clear_journal(self) -> None:
        self.request("DELETE", "journal")

    def counts(self) -> dict[str, Any]:
        return dict(self.request("GET", "journal/counts"))

    def token_calls(self, email: str = "") -> int:
        """How many requests the token endpoint received, of that person or in all."""
        counts = self.counts()
        if email:
            return int(counts["emails"].get("token", {}).get(email, 0))
        return int(counts["endpoints"].get("token", 0))

    def wait_for(
        self,
        predicate: Callable[[dict[str, Any]], bool],
        *,
        since: int = 0,
        timeout_s: float = 10.0,
        endpoint: str = "",
        email: str = "",
    ) -> dict[str, Any]:
        """The first journal entry for which `predicate` holds. Raises TimeoutError after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            entries = self.journal(since=since, endpoint=endpoint, email=email)
            for entry in entries:
                if predicate(entry):
                    return entry
            time.sleep(0.02)
        raise TimeoutError(f"no such journal entry within {timeout_s} s")

    def reset(self) -> None:
        self.request("POST", "reset", {})


class SandboxProcess(SandboxControl):
    """`python -m regrant.sandbox` as a process of its own. Use it as a context manager, or call `stop`."""

    def __init__(
        self, *arguments: str, people: Sequence[str] = (), context: ssl.SSLContext | None = None
    ) -> None:
        command = [sys.executable, "-m", "regrant.sandbox", *arguments]
        if people:
            command += ["--people", ",".join(people)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ))
        super().__init__(self._ready_url(), context=context)

    def _ready_url(self) -> str:
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], START_DEADLINE_S)
        line = self.process.stdout.readline() if ready else ""
        if not line.startswith("Sandbox is ready: "):
            self.stop()
            raise RuntimeError(f"the sandbox did not start: {line!r}")
        return line.removeprefix("Sandbox is ready: ").strip()

    def stop(self) -> int:
        """End the process and return its exit code. Idempotent."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            code = self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
