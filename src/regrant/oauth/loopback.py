"""Waits on this machine for the browser to come back from Google's sign-in page.

For the command line; a running gateway has its own `/oauth/callback`. Whether an address belongs to the sign-in is
judged by `login.read_callback`: anything else that knocks (icons, other sign-ins, port scanners) gets a short page and
the wait goes on. No code, state or other part of a request is ever echoed.
Source: RFC 8252 section 7.3.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from html import escape

from regrant.clock import Clock
from regrant.oauth.login import REASONS, CallbackRefused, Code, Login, read_callback

MAX_HEAD_BYTES = 32 * 1024
HEAD_TIMEOUT_S = 30.0  # browsers open spare connections and send nothing on them

_DONE = "The sign-in has reached Regrant. Close this page and go back to the terminal."
_FOREIGN = "This address does not belong to the sign-in that Regrant is waiting for."


class LoopbackListener:
    """A port on 127.0.0.1 that waits for one sign-in. Made by `listening`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._login: Login | None = None
        self._outcome: asyncio.Future[Code | CallbackRefused] = asyncio.get_running_loop().create_future()
        self._connections: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = {}
        self.port = 0

    @property
    def redirect_uri(self) -> str:
        """What to begin the login with."""
        return f"http://127.0.0.1:{self.port}/"

    async def wait(self, login: Login, timeout_s: float) -> Code | CallbackRefused:
        """The outcome of `login`; `timed_out` if the browser has not come back within `timeout_s`."""
        self._login = login
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.shield(self._outcome)
        except TimeoutError:
            return CallbackRefused("timed_out", REASONS["timed_out"])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections[writer] = asyncio.current_task()
        try:
            async with asyncio.timeout(HEAD_TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
            status, text, outcome = self._judge(head)
            writer.write(_page(status, text))
            await writer.drain()
            if outcome is not None and not self._outcome.done():
                self._outcome.set_result(outcome)
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            pass  # nothing was asked, or nobody is there to be answered
        finally:
            self._connections.pop(writer, None)
            writer.close()

    def _judge(self, head: bytes) -> tuple[str, str, Code | CallbackRefused | None]:
        """The status and text to show, and the outcome if this request ends the wait."""
        method, _, rest = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
        if method != "GET":
            return "405 Method Not Allowed", "Only GET is answered here.", None
        target = rest.partition(" ")[0]
        if self._login is None or "?" not in target:
            return "404 Not Found", _FOREIGN, None
        outcome = read_callback(self._login, target, self._clock.now())
        match outcome:
            case Code():
                return "200 OK", _DONE, outcome
            case CallbackRefused(foreign=True):
                return "400 Bad Request", _FOREIGN, None
            case CallbackRefused():
                return "400 Bad Request", outcome.advice, outcome

    async def _close_connections(self) -> None:
        tasks = [task for task in self._connections.values() if task is not None]
        for writer in tuple(self._connections):
            writer.close()  # its reader ends, and with it the task
        await asyncio.gather(*tasks)


@contextlib.asynccontextmanager
async def listening(clock: Clock) -> AsyncIterator[LoopbackListener]:
    """Listen on any free port of 127.0.0.1 until the block ends. Raises OSError if there is none."""
    listener = LoopbackListener(clock)
    server = await asyncio.start_server(listener._serve, "127.0.0.1", 0, limit=MAX_HEAD_BYTES)
    listener.port = server.sockets[0].getsockname()[1]
    try:
        yield listener
    finally:
        server.close()
        await listener._close_connections()
        await server.wait_closed()


def _page(status: str, text: str) -> bytes:
    body = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Regrant</title><p>{escape(text)}</p></html>\n'
    fields = (
        f"HTTP/1.1 {status}",
        "Content-Type: text/html; charset=utf-8",
        f"Content-Length: {len(body.encode())}",
        "Content-Security-Policy: default-src 'none'; frame-ancestors 'none'",
        "Cache-Control: no-store",
        "Referrer-Policy: no-referrer",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
    )
    return ("\r\n".join(fields) + "\r\n\r\n" + body).encode()
