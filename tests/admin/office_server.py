"""A whole gateway on a real socket, in a thread of its own, with a sandbox as its Google; and a small client of its API."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from tests.sandbox_client import CLIENT_ID, CLIENT_SECRET, SandboxControl

from regrant import logs
from regrant.app import App, build
from regrant.listener.server import Server
from regrant.settings import ensure_layout
from regrant.settings.live import LiveSettings

DEADLINE_S = 10.0


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.raw)

    @property
    def error(self) -> dict[str, Any]:
        """The error, after checking that it is exactly one."""
        body = self.json
        assert set(body) == {"error"}, body
        error: dict[str, Any] = body["error"]
        assert set(error) - {"problems"} == {"code", "message", "hint"}, error
        return error


class OfficeServer:
    """`call` speaks as the owner (bearer); `plain` adds nothing. `answers` keeps every byte that came back."""

    def __init__(self, folder: Path, sandbox: SandboxControl, **changes: Any) -> None:
        self.folder = folder
        self.sandbox = sandbox
        ensure_layout(folder)
        google = {
            "google.client_id": CLIENT_ID,
            "google.client_secret": CLIENT_SECRET,
            "google.endpoints.authorize": f"{sandbox.url}/o/oauth2/v2/auth",
            "google.endpoints.token": f"{sandbox.url}/token",
            "google.endpoints.revoke": f"{sandbox.url}/revoke",
            "google.endpoints.userinfo": f"{sandbox.url}/v1/userinfo",
            "google.endpoints.gemini": sandbox.url,
            "google.endpoints.vertex": sandbox.url,
        }
        self.flags = google | changes
        self.environ: dict[str, str] = {}
        self.answers: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.app: App
        self._loop: asyncio.AbstractEventLoop
        self._over: asyncio.Event
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)
        self._ready: Future[None] = Future()

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.result(DEADLINE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Begin to end as `serve` does: streams are told, then requests drain."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._begin_to_end)
            self._thread.join(DEADLINE_S)
            assert not self._thread.is_alive(), "the server did not end"

    def _begin_to_end(self) -> None:
        self.app.begin_close()
        self._over.set()

    async def _main(self) -> None:
        try:
            self._loop = asyncio.get_running_loop()
            self.app = build(LiveSettings(self.folder, self.flags, self.environ))
            self.app.address = self.url
            await self.app.start()
            self._over = asyncio.Event()
            server = Server(self.app.answer)
            await server.start(self._listener)
            self._ready.set_result(None)
            await self._over.wait()
            await server.stop(drain_s=60)
            await self.app.close()
        except BaseException as error:
            if not self._ready.done():
                self._ready.set_exception(error)
            raise

    # -- speaking to it

    @property
    def token(self) -> str:
        return (self.folder / "admin.token").read_text().strip()

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        return self.plain(method, path, body, {"authorization": f"Bearer {self.token}"} | headers)

    def plain(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """`body`: bytes as they are, anything else as JSON."""
        fields = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            fields.setdefault("content-type", "application/json")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body=body, headers=fields)
            answer = connection.getresponse()
            raw = answer.read()
            names = {name.lower(): value for name, value in answer.getheaders()}
        finally:
            connection.close()
        self.answers.append(raw + repr(names).encode())
        return Reply(answer.status, names, raw)

    def add(self, refresh_token: str, **more: Any) -> dict[str, Any]:
        """Add an account and return its object."""
        reply = self.call("POST", "/api/accounts", {"refresh_token": refresh_token, **more})
        assert reply.status == 201, reply.raw
        account: dict[str, Any] = reply.json["account"]
        return account

    def configure_log(self) -> None:
        """Send the log to the data folder, as `serve` does."""
        self.on_loop(lambda: logs.configure(self.app.settings().log, self.folder))

    def on_loop(self, work: Callable[[], Any]) -> Any:
        """Run `work` in the server's own thread and return what it returns."""
        done: Future[Any] = Future()

        def run() -> None:
            try:
                done.set_result(work())
            except Exception as error:
                done.set_exception(error)

        self._loop.call_soon_threadsafe(run)
        return done.result(DEADLINE_S)

    def sign_in_at(self, authorize_url: str) -> str:
        """Visit the consent page as a browser and return the address that it leads to, unvisited."""
        parts = urlsplit(authorize_url)
        connection = http.client.HTTPConnection(parts.netloc, timeout=30)
        try:
            connection.request("GET", f"{parts.path}?{parts.query}")
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 302, answer.status
            return answer.getheader("location") or ""
        finally:
            connection.close()


def until(probe: Callable[[], Any], *, timeout_s: float = DEADLINE_S) -> Any:
    """The first true answer of `probe`. Raises TimeoutError."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = probe()
        if found:
            return found
        time.sleep(0.02)
    raise TimeoutError("it did not come to pass in time")
