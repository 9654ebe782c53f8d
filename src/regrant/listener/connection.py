"""One client connection: requests one after the other, each answered before the next is begun.

Theory of operation. llhttp (by httptools) frames what comes; each request becomes a Conversation that is handled by a task
of its own, begun once its head is here, and with the body in hand when both came together. Requests that a client sends
ahead wait in line while reading pauses. There are no timers here: the server's sweep asks each connection now and then
whether its patience has ended (`overdue`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol, cast
from urllib.parse import unquote_to_bytes

import httptools

from regrant.listener.conversation import Conversation
from regrant.listener.head import STATUS_LINES

MAX_HEAD_BYTES = 128 * 1024
MAX_FIELDS = 1000
HEAD_S = 25.0
"""How long a client may take over the head of a request."""
STALL_S = 300.0
"""How long a client may take nothing of an answer that waits for it."""


class House(Protocol):
    """What a connection needs of its server."""

    date_line: bytes
    draining: bool

    @property
    def keep_alive_s(self) -> float: ...

    def begin(self, conversation: Conversation) -> None:
        """Have the request handled, in a task that is kept in `conversation.task`."""
        ...

    def arrived(self, connection: Connection) -> None: ...

    def left(self, connection: Connection) -> None: ...


class BadRequest(Exception):  # control flow of this module only
    """What a request head may not be. Holds the status to answer with."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Connection(asyncio.Protocol):
    __slots__ = (
        "_current",
        "_fed_bytes",
        "_field_bytes",
        "_flushed",
        "_fresh",
        "_headers",
        "_house",
        "_in_head",
        "_incoming",
        "_line",
        "_loop",
        "_parser",
        "_paused_at",
        "_reading_paused",
        "_since",
        "_transport",
        "_url",
        "closing",
        "write",
        "write_paused",
    )

    def __init__(self, house: House, loop: asyncio.AbstractEventLoop) -> None:
        self._house = house
        self._loop = loop
        self._transport: asyncio.Transport
        self._parser: httptools.HttpRequestParser = httptools.HttpRequestParser(self)
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._field_bytes = 0
        self._fed_bytes = 0
        self._in_head = False
        self._incoming: Conversation | None = None
        """The request that is coming in."""
        self._current: Conversation | None = None
        """The request that is being answered."""
        self._line: deque[Conversation] = deque()
        self._fresh = False
        """`_current` has not begun yet."""
        self._since = loop.time()
        self._reading_paused = False
        self.write_paused = False
        self._paused_at = 0.0
        self._flushed: asyncio.Future[None] | None = None
        self.closing = False

    # -- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name
        self.write = self._transport.write
        self._house.arrived(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's signature
        self._house.left(self)
        self.closing = True
        self.resume_writing()
        for conversation in (self._current, *self._line):
            if conversation is not None:
                conversation.leave()
        self._line.clear()
        del self._parser  # it holds this object: together they would wait for the garbage collector

    def data_received(self, data: bytes) -> None:
        if self.closing:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Answered in HTTP/1.1 all the same; what follows the head cannot be told from another protocol.
            self.closing = True
        except httptools.HttpParserError as error:
            self._refuse(error)
            return
        if self._fresh:
            self._begin()
        if self._in_head:
            self._fed_bytes += len(data)  # a field that has no end yet is not seen by `on_header`
            if self._fed_bytes > MAX_HEAD_BYTES:
                self._refuse(BadRequest(431, "The head of the request is too large."))

    def pause_writing(self) -> None:
        self.write_paused = True
        self._paused_at = self._loop.time()

    def resume_writing(self) -> None:
        self.write_paused = False
        if self._flushed is not None and not self._flushed.done():
            self._flushed.set_result(None)

    # -- llhttp's side

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers = []
        self._field_bytes = 0
        self._fed_bytes = 0
        self._in_head = True
        if self._current is None:
            self._since = self._loop.time()

    def on_url(self, url: bytes) -> None:
        self._url += url
        if len(self._url) > MAX_HEAD_BYTES:
            raise BadRequest(414, "The address of the request is too long.")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # else a trailer, which could only contradict the head
            headers = self._headers
            headers.append((name.lower(), value))
            self._field_bytes += len(name) + len(value)
            if len(headers) > MAX_FIELDS or self._field_bytes > MAX_HEAD_BYTES:
                raise BadRequest(431, "The head of the request is too large.")

    def on_headers_complete(self) -> None:
        self._in_head = False
        parser = self._parser
        conversation = Conversation(
            self,
            parser.get_method().decode("ascii"),
            split_target(self._url),
            self._headers,
            keep_alive=parser.should_keep_alive(),
            version_1_0=parser.get_http_version() == "1.0",
        )
        for name, value in self._headers:
            if name == b"expect" and value.lower() == b"100-continue":
                conversation.expect()
        self._incoming = conversation
        if self._current is None:
            self._current = conversation
            self._fresh = True
        else:
            self._line.append(conversation)
            self._pause_reading()

    def on_body(self, body: bytes) -> None:
        assert self._incoming is not None
        if self._incoming.feed(body):
            self._pause_reading()

    def on_message_complete(self) -> None:
        if self._incoming is not None:
            self._incoming.feed_end()
            self._incoming = None

    # -- the conversations' side

    @property
    def keeps_alive(self) -> bool:
        return not self.closing and not self._house.draining

    @property
    def date_line(self) -> bytes:
        return self._house.date_line

    @property
    def peer(self) -> tuple[str, int] | None:
        return _address(self._transport.get_extra_info("peername"))

    @property
    def local(self) -> tuple[str, int] | None:
        return _address(self._transport.get_extra_info("sockname"))

    def resume_reading(self) -> None:
        if self._reading_paused and not self._line:
            self._reading_paused = False
            self._transport.resume_reading()

    async def flushed(self) -> None:
        """Wait until the client has taken enough of what was written."""
        while self.write_paused:
            if self._flushed is None or self._flushed.done():
                self._flushed = self._loop.create_future()
            await asyncio.shield(self._flushed)  # a keep-alive may wait beside the answer itself

    def finished(self, conversation: Conversation, *, keep_alive: bool) -> None:
        """The answer has been written: the next request's turn, or the end."""
        assert conversation is self._current
        if not keep_alive or not self.keeps_alive:
            self.close()
            return
        self._since = self._loop.time()
        self._current = None
        if self._line:
            self._current = self._line.popleft()
            self._loop.call_soon(self._begin)
        self.resume_reading()

    def close(self) -> None:
        """End the connection once what was written is on its way."""
        self.closing = True
        self._transport.close()

    def abort(self) -> None:
        self.closing = True
        self._transport.abort()

    # -- the server's side

    @property
    def idle(self) -> bool:
        return self._current is None

    def overdue(self, now: float) -> None:
        """End what has waited too long: for a request, for the end of its head, for the client to take its answer."""
        if self.write_paused and now - self._paused_at > STALL_S:
            self.abort()
        elif self._current is not None or self.closing:
            return
        elif self._in_head:
            if now - self._since > HEAD_S:
                self._refuse(BadRequest(408, "The head of the request stopped coming."))
        elif now - self._since > self._house.keep_alive_s:
            self.close()

    def cancel(self) -> asyncio.Task[None] | None:
        """Stop answering, whatever is under way; the task that ends with it."""
        task = None if self._current is None else self._current.task
        if task is not None:
            task.cancel()
        self.abort()
        return task

    def _begin(self) -> None:
        self._fresh = False
        if self._current is not None and not self._current.gone:
            self._house.begin(self._current)

    def _pause_reading(self) -> None:
        if not self._reading_paused and not self.closing:
            self._reading_paused = True
            self._transport.pause_reading()

    def _refuse(self, error: Exception) -> None:
        """What came is no proper HTTP: say so, unless an answer is under way, and end the connection."""
        cause = error if isinstance(error, BadRequest) else error.__context__
        refused = (
            cause if isinstance(cause, BadRequest) else BadRequest(400, "This is no proper HTTP request.")
        )
        self._fresh = False
        if self._current is None or not self._current.started:
            body = b'{"error":{"message":"%b"}}' % str(refused).encode()
            self.write(
                b"%b%bcontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
                % (STATUS_LINES[refused.status], self._house.date_line, len(body), body)
            )
        self.close()


def split_target(url: bytes) -> tuple[str, bytes, bytes]:
    """Decoded path, raw path and query of a request's target. Raises BadRequest."""
    if not url.isascii():
        raise BadRequest(400, "The address of the request is not ASCII.")
    if not url.startswith(b"/"):
        return _split_absolute(url)
    raw, _, query = url.partition(b"?")
    if b"#" in url:
        raw, query = raw.partition(b"#")[0], query.partition(b"#")[0]
    path = unquote_to_bytes(raw).decode("utf-8", "replace") if b"%" in raw else raw.decode("ascii")
    return path, raw, query


def _split_absolute(url: bytes) -> tuple[str, bytes, bytes]:
    """`http://host/path`, as a proxy is asked; and `*`."""
    if url == b"*":
        return "*", url, b""
    try:
        parsed = httptools.parse_url(url)
    except httptools.HttpParserInvalidURLError:
        raise BadRequest(400, "The address of the request cannot be read.") from None
    return split_target((parsed.path or b"/") + (b"?" + parsed.query if parsed.query else b""))


def _address(name: object) -> tuple[str, int] | None:
    return (str(name[0]), int(name[1])) if isinstance(name, tuple) else None
