"""One request on one connection and the answer to it, which is the `Response` that callers hold.

Theory of operation. The connection feeds bytes into the parser; a single consumer (the task in `send`, then the one
that reads the body) sleeps on `_waiter` and is woken when there is something for it. The connection is let go the
moment the answer is complete, even if its last bytes are still unread here: back to the pool if the request was
written to its end, nothing came after the answer and the peer agrees to go on; otherwise it is closed. More than
`HIGH_WATER_BYTES` unread stops the reading from the socket until the consumer has taken them. An answer that comes
while a large body is still being written ends the writing. Leaving in any other way (error, cancellation, `close`)
closes the connection at once.

Over TLS a body that lasts until the end of the connection needs the peer's close_notify: otherwise anyone who can
cut the connection could make a cut answer look finished.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from regrant.errors import AnswerTimeout, BodyCut, BodyIdle, BodyTooLarge, TransportError
from regrant.transport.connection import Connection
from regrant.transport.model import Headers, Request
from regrant.transport.parser import AnswerParser

HIGH_WATER_BYTES = 128 * 1024
ONE_WRITE_BYTES = 256 * 1024  # bodies up to this go out in one write together with the head
SLICE_BYTES = 64 * 1024


class Answer:
    """Implements `Response`, and iterates over its own body."""

    __slots__ = (
        "_connection",
        "_error",
        "_host",
        "_parser",
        "_paused",
        "_request",
        "_sent",
        "_waiter",
    )

    def __init__(self, connection: Connection, request: Request, host: str) -> None:
        self._connection: Connection | None = connection
        self._request = request
        self._host = host
        self._parser = AnswerParser(to_head=request.method == "HEAD")
        self._error: TransportError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._paused = False
        self._sent = False
        connection.receiver = self

    @property
    def status(self) -> int:
        return self._parser.status

    @property
    def headers(self) -> Headers:
        return self._parser.headers

    def header(self, name: bytes) -> bytes | None:
        for field, value in self._parser.headers:
            if field == name:
                return value
        return None

    async def exchange(self, head: bytes) -> None:
        """Write the request and return when the final head has come. Raises a TransportError."""
        connection, body = self._connection, self._request.body
        assert connection is not None
        try:
            if len(body) <= ONE_WRITE_BYTES:
                connection.transport.write(head + body if body else head)
                self._sent = True
            else:
                await self._write_slices(connection, head, memoryview(body))
            while not self._parser.head_done:
                await self._wait(self._request.timeouts.first_byte_s)
        except BaseException:
            self._drop()
            raise

    def chunks(self) -> AsyncIterator[bytes]:
        return self

    def __aiter__(self) -> Answer:
        return self

    async def __anext__(self) -> bytes:
        parser = self._parser
        while not parser.buffered:
            if parser.complete:
                raise StopAsyncIteration
            if self._connection is None and self._error is None:
                raise BodyCut(f"the answer of {self._host} was closed before its end was read")
            try:
                await self._wait(self._request.timeouts.idle_s)
            except BaseException:
                self._drop()
                raise
        data = parser.take()
        if self._paused:
            self._resume_reading()
        return data

    def arrived(self) -> bytes:
        data = self._parser.take()
        if self._paused:
            self._resume_reading()
        return data

    @property
    def complete(self) -> bool:
        return self._parser.complete

    async def read(self, limit: int) -> bytes:
        parser = self._parser
        if parser.complete and parser.buffered <= limit:
            return parser.take()  # nearly always: a plain answer comes in the segment of its head
        length = self.header(b"content-length")
        if length is not None and int(length) > limit and not parser.complete:
            raise self._too_large(limit)
        parts = []
        size = 0
        async for data in self:
            size += len(data)
            if size > limit:
                raise self._too_large(limit)
            parts.append(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def close(self) -> None:
        self._drop()

    def feed(self, data: bytes) -> None:
        parser = self._parser
        head_was_done = parser.head_done
        try:
            parser.feed(data)
        except TransportError as exc:
            self._fail(exc)
            return
        if parser.complete:
            self._finish()
        elif parser.buffered > HIGH_WATER_BYTES and not self._paused:
            self._pause_reading()
        if parser.buffered or parser.complete or parser.head_done is not head_was_done:
            self._wake()

    def feed_end(self, *, proper: bool) -> None:
        try:
            self._parser.feed_end(proper=proper)
        except TransportError as exc:
            self._fail(exc)
        else:
            self._finish()
            self._wake()

    def expire(self) -> None:
        if self._waiter is None:
            return  # nobody waits for the peer: a slow consumer is not the peer's fault
        if self._parser.head_done:
            self._fail(BodyIdle(f"no byte of the answer's body came from {self._host} in time"))
        elif self._sent:
            self._fail(AnswerTimeout(f"no answer came from {self._host} in time"))
        else:
            self._fail(AnswerTimeout(f"{self._host} stopped reading the request"))

    def resume(self) -> None:
        self._wake()

    async def _write_slices(self, connection: Connection, head: bytes, body: memoryview) -> None:
        connection.transport.write(head)
        for start in range(0, len(body), SLICE_BYTES):
            while connection.write_paused and not self._parser.head_done:
                await self._wait(self._request.timeouts.idle_s)
            if self._parser.head_done or not connection.usable:
                return  # answered early, or broken: `exchange` hears of it next
            connection.transport.write(body[start : start + SLICE_BYTES])
        self._sent = True

    async def _wait(self, limit_s: float) -> None:
        """Sleep until woken. Raises the error that ended the exchange before: what came first is always used first."""
        if self._error is not None:
            raise self._error
        assert self._connection is not None
        assert self._waiter is None, "two tasks read the same answer"
        self._connection.deadline.set(limit_s)
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _finish(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._paused:
            self._paused = False
            connection.resume_reading()
        parser = self._parser
        if self._sent and parser.keep_alive and not parser.surplus and connection.flushed:
            connection.release()
        else:
            connection.drop()

    def _fail(self, error: TransportError) -> None:
        self._error = error
        self._drop()
        self._wake()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.drop()

    def _pause_reading(self) -> None:
        assert self._connection is not None
        self._paused = True
        self._connection.transport.pause_reading()

    def _resume_reading(self) -> None:
        self._paused = False
        if self._connection is not None:
            self._connection.resume_reading()

    def _too_large(self, limit: int) -> BodyTooLarge:
        self._drop()
        return BodyTooLarge(f"the answer of {self._host} is larger than {limit} bytes")
