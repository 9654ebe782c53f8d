"""A webhook receiver on a real socket, in threads of its own; it judges signatures with code of its own.

It imports nothing of the gateway. `answers` are given in their order, then 200 for ever.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True)
class Post:
    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    at: float

    @property
    def json(self) -> dict[str, Any]:
        return dict(json.loads(self.body))

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


@dataclass
class Reply:
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"ok"
    hold: threading.Event | None = None
    """The answer waits until this is set."""


class Receiver:
    def __init__(self, *answers: Reply, port: int = 0) -> None:
        self.posts: list[Post] = []
        self.answers = list(answers)
        self._news = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=lambda: self._server.serve_forever(0.02), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def wait_for(
        self, count: int, *, deadline_s: float = 20.0, where: Callable[[Post], bool] = lambda _post: True
    ) -> list[Post]:
        """The posts once there are that many. Fails at the deadline."""
        end = time.monotonic() + deadline_s
        with self._news:
            while len(found := [post for post in self.posts if where(post)]) < count:
                left = end - time.monotonic()
                assert left > 0, f"{len(found)} of {count} alerts came: {[post.body for post in self.posts]}"
                self._news.wait(left)
        return found

    def _took(self, post: Post) -> Reply:
        with self._news:
            self.posts.append(post)
            self._news.notify_all()
            return self.answers.pop(0) if self.answers else Reply()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                reply = receiver._took(Post(self.path, headers, body, time.time()))
                if reply.hold is not None:
                    reply.hold.wait(60)
                try:
                    self.send_response(reply.status)
                    for name, value in {"content-length": str(len(reply.body)), **reply.headers}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(reply.body)
                except OSError:
                    self.close_connection = True  # the sender gave up waiting

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the standard library's
                """Quiet."""

        return Handler


def is_genuine(post: Post, secret: str, *, now: float | None = None, tolerance_s: float = 300.0) -> bool:
    """What docs/alerts.md tells receivers to do."""
    parts = dict(part.split("=", 1) for part in post.headers.get("x-regrant-signature", "").split(","))
    if "t" not in parts or "v1" not in parts:
        return False
    expected = hmac.new(secret.encode(), parts["t"].encode() + b"." + post.body, hashlib.sha256).hexdigest()
    fresh = abs((time.time() if now is None else now) - int(parts["t"])) <= tolerance_s
    return fresh and hmac.compare_digest(expected, parts["v1"])
