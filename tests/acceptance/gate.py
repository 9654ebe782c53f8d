"""A gate before the token endpoint: an answer of Google's that is on its way, and comes when the test says so."""

from __future__ import annotations

import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from tests.acceptance.harness import http_call

HELD_AT_MOST_S = 60.0


class Gate:
    """Passes token requests on to the sandbox at once; the answer to the first is held back until `open` is called.

    Use as a context manager; `url` is for the setting `google.endpoints.token`. So what the sandbox decides is decided
    before the test goes on, however slow the machine is.
    """

    def __init__(self, sandbox_url: str) -> None:
        gate = self
        self._sandbox_url = sandbox_url
        self._first = threading.Lock()
        self._opened = threading.Event()
        self._answered = threading.Event()
        self._delivered = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                gate._pass_on(self, body)

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class's name
                """Nothing: the sandbox's journal has it."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/token"

    def wait(self) -> None:
        """Until the sandbox has answered the first request, and the answer is held here."""
        assert self._answered.wait(HELD_AT_MOST_S), "no token request came"

    @property
    def holds(self) -> bool:
        return self._answered.is_set() and not self._delivered.is_set()

    def open(self) -> None:
        """Let the answer go, and wait until it is written."""
        self._opened.set()
        assert self._delivered.wait(HELD_AT_MOST_S), "the answer was not taken"

    def _pass_on(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        held = self._first.acquire(blocking=False)
        kind = {"content-type": request.headers["content-type"]}
        answer = http_call(self._sandbox_url, "POST", "/token", body, kind)
        if held:
            self._answered.set()
            self._opened.wait(HELD_AT_MOST_S)
        with suppress(OSError):  # the gateway was stopped
            request.send_response(answer.status)
            request.send_header("content-type", answer.headers["content-type"])
            request.send_header("content-length", str(len(answer.body)))
            request.end_headers()
            request.wfile.write(answer.body)
        if held:
            self._delivered.set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
