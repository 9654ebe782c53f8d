"""One request of a client, and the way to answer it.

What the bytes on the wire are, and whose turn it is on a connection, is `connection.py`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from regrant.listener.head import BODILESS, STATUS_LINES

if TYPE_CHECKING:
    from regrant.listener.connection import Connection

HIGH_WATER_BYTES = 256 * 1024  # of a body that nobody has taken yet


class ClientLeft(Exception):  # control flow, for those who wait for a client
    """Nobody is left to answer."""


class Conversation:
    """A request and its answer. Belongs to the task that handles it.

    `path` is decoded, `query` is not; header names are in lower case, in the order in which they came. An answer is told
    with `reply` in one piece, or with `start`, `write` and `end`. All of them do nothing once the client has left.
    """

    __slots__ = (
        "_buffered",
        "_chunked",
        "_connection",
        "_expects",
        "_held",
        "_keep_alive",
        "_owed",
        "_pieces",
        "_reader",
        "_silent",
        "_until_close",
        "_version_1_0",
        "finished",
        "gone",
        "headers",
        "leaving_cancels",
        "method",
        "path",
        "query",
        "raw_path",
        "received",
        "started",
        "task",
    )

    def __init__(
        self,
        connection: Connection,
        method: str,
        target: tuple[str, bytes, bytes],
        headers: list[tuple[bytes, bytes]],
        *,
        keep_alive: bool,
        version_1_0: bool,
        expects: bool,
    ) -> None:
        self._connection = connection
        self.method = method
        self.path, self.raw_path, self.query = target
        self.headers = headers
        self._keep_alive = keep_alive
        self._version_1_0 = version_1_0
        self._expects = expects
        """The client waits for a word before it sends the body."""
        self._pieces: list[bytes] = []
        self._buffered = 0
        self._reader: asyncio.Future[None] | None = None
        self._held = b""
        self._chunked = False
        self._silent = False
        """The answer has no body, whatever is written."""
        self._until_close = False
        """The end of the answer is the end of the connection."""
        self._owed: int | None = None
        """How much of the announced body has not been written."""
        self.received = False
        """The whole body is here."""
        self.started = False
        self.finished = False
        self.gone = False
        """The client has closed the connection, or it broke."""
        self.leaving_cancels = False
        """Whether the handling task is cancelled when the client leaves before the answer's end."""
        self.task: asyncio.Task[None] | None = None

    @property
    def client(self) -> tuple[str, int] | None:
        return self._connection.peer

    @property
    def local(self) -> tuple[str, int] | None:
        return self._connection.local

    # -- the request's body

    def take(self) -> bytes:
        """What of the body has come since the last call."""
        pieces = self._pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        if self._buffered > HIGH_WATER_BYTES:
            self._connection.resume_reading()
        self._buffered = 0
        return data

    async def read(self) -> bytes:
        """The next piece of the body, b"" at its end. Raises ClientLeft."""
        if not self._pieces and not self.received:
            if self._expects and not self.started:
                self._expects = False
                self._connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            if not self.gone:
                self._reader = asyncio.get_running_loop().create_future()
                try:
                    await self._reader
                finally:
                    self._reader = None
        if self._pieces:
            return self.take()
        if self.gone and not self.received:
            raise ClientLeft
        return b""

    async def until_gone(self) -> None:
        """Sleep until the client leaves or the answer is over."""
        while not self.gone and not self.finished:
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None

    # -- its answer

    def reply(self, status: int, lines: bytes, body: bytes) -> None:
        """The whole answer. `lines` are whole header lines (`encode_fields`), but those of framing."""
        if self.gone or self.finished:
            return
        self.started = True
        length = b"" if status in BODILESS else b"content-length: %d\r\n" % len(body)
        self._connection.write(
            b"".join((*self._head(status, lines), length, b"\r\n", b"" if self._bodiless(status) else body))
        )
        self._finish()

    def start(self, status: int, lines: bytes, *, length: int | None = None) -> None:
        """The head of an answer, which is sent with the first bytes of its body. `length` None: not known."""
        self.started = True
        self._silent = self._bodiless(status)
        self._owed = length
        framing = b""
        if length is not None:
            if status not in BODILESS:
                framing = b"content-length: %d\r\n" % length
        elif self._silent:
            pass
        elif self._version_1_0:
            self._until_close = True
            self._keep_alive = False
        else:
            self._chunked = True
            framing = b"transfer-encoding: chunked\r\n"
        self._held = b"".join((*self._head(status, lines), framing, b"\r\n"))

    async def write(self, data: bytes) -> None:
        """Part of the body. Waits while the client reads slower than this is called."""
        if self.gone or not data or self.finished:
            return
        held, self._held = self._held, b""
        if self._chunked:
            self._connection.write(b"%b%x\r\n%b\r\n" % (held, len(data), data))
        else:
            self._connection.write(held + self._payable(data))
        if self._connection.write_paused:
            await self._connection.flushed()

    def end(self, data: bytes = b"") -> None:
        """The last part of the body. One that is not of the announced length is cut, so that it does not look whole."""
        if self.gone or self.finished:
            return
        held, self._held = self._held, b""
        if self._chunked:
            tail = b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data) if data else b"0\r\n\r\n"
            self._connection.write(held + tail)
        elif held or data:
            self._connection.write(held + self._payable(data))
        if self._owed and not self._silent:
            self.abort()
        else:
            self._finish()

    def abort(self) -> None:
        """Drop the connection: the answer cannot be ended honestly."""
        if not self.finished:
            self.finished = True
            if self._until_close:
                self._connection.reset()
            else:
                self._connection.abort()

    def _payable(self, data: bytes) -> bytes:
        """What of `data` may go out after the head. Raises ValueError for more than was announced."""
        if self._silent:
            return b""
        if self._owed is not None:
            if len(data) > self._owed:
                raise ValueError("the body is longer than its content-length")
            self._owed -= len(data)
        return data

    def _head(self, status: int, lines: bytes) -> tuple[bytes, bytes, bytes]:
        if b"\nconnection: close\r" in lines or lines.startswith(b"connection: close\r"):
            self._keep_alive = False
        elif not self._keep_alive or self._expects or not self._connection.keeps_alive:
            # A client that was not told to continue may send its body or not: what follows cannot be told apart.
            self._keep_alive = False
            lines += b"connection: close\r\n"
        elif self._version_1_0:
            lines += b"connection: keep-alive\r\n"
        return STATUS_LINES[status], self._connection.date_line, lines

    def _bodiless(self, status: int) -> bool:
        return self.method == "HEAD" or status in BODILESS

    def _finish(self) -> None:
        self.finished = True
        self._wake()
        self._connection.finished(self, keep_alive=self._keep_alive)

    # -- what the connection tells

    def be_last(self) -> None:
        """Nothing that follows is a request."""
        self._keep_alive = False

    def feed(self, data: bytes) -> bool:
        """More of the body; whether that is too much for now."""
        if self.finished:
            return False
        self._pieces.append(data)
        self._buffered += len(data)
        self._wake()
        return self._buffered > HIGH_WATER_BYTES

    def feed_end(self) -> None:
        self.received = True
        self._expects = False
        self._wake()

    def leave(self) -> None:
        """The connection is gone."""
        if self.gone:
            return
        self.gone = True
        self._wake()
        if self.leaving_cancels and not self.finished and self.task is not None:
            self.task.cancel()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
