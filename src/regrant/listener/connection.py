"""One client connection: requests one after the other, each answered before the next is begun.

Theory of operation. llhttp (by httptools) frames what comes; each request becomes a Conversation that is handled by a task
of its own, begun once its head is here, and with the body in hand when both came together. Requests that a client sends
ahead wait in line while reading pauses, and so does the next one while the client does not take the answer before it.
What is no proper HTTP is refused in its turn, after the answers to what came before. There are no timers here: the
server's sweep asks each connection now and then whether its patience has ended (`overdue`).

A client that closes its side has left, also if it could still read: nothing else tells of those who give up.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys
from collections import deque
from typing import Protocol, cast

import httptools

from regrant.listener.conversation import Conversation
from regrant.listener.head import STATUS_LINES
from regrant.listener.limits import Limits
from regrant.listener.request import BadRequest, split_target, weigh_head
from regrant.listener.upgrade import parser_of_body

_RESET = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)


class House(Protocol):
    """What a connection needs of its server."""

    date_line: bytes
    draining: bool

    @property
    def limits(self) -> Limits: ...

    def begin(self, conversation: Conversation) -> None:
        """Have the request handled, in a task that is kept in `conversation.task`."""
        ...

    def arrived(self, connection: Connection) -> None: ...

    def left(self, connection: Connection) -> None: ...


class Connection(asyncio.Protocol):
    __slots__ = (
        "_current",
        "_deaf",
        "_fed_bytes",
        "_field_bytes",
        "_flushed",
        "_fresh",
        "_headers",
        "_house",
        "_in_head",
        "_incoming",
        "_limits",
        "_line",
        "_loop",
        "_moved_at",
        "_parser",
        "_reading_paused",
        "_refusal",
        "_since",
        "_transport",
        "_unsent",
        "_url",
        "closing",
        "write",
        "write_paused",
    )

    def __init__(self, house: House, loop: asyncio.AbstractEventLoop) -> None:
        self._house = house
        self._limits = house.limits
        self._loop = loop
        self._transport: asyncio.Transport
        self._parser: httptools.HttpRequestParser = httptools.HttpRequestParser(self)
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._field_bytes = 0
        self._fed_bytes = 0
        """What came of a head since its first piece, or of a body without a byte of content; below 0: that is yet to come."""
        self._in_head = False
        self._incoming: Conversation | None = None
        """The request that is coming in."""
        self._current: Conversation | None = None
        """The request that is being answered."""
        self._line: deque[Conversation] = deque()
        self._refusal: BadRequest | None = None
        """Ends the line."""
        self._fresh = False
        """`_current` has not begun yet."""
        self._since = loop.time()
        self._reading_paused = False
        self.write_paused = False
        self._unsent = 0
        self._moved_at = 0.0
        self._flushed: asyncio.Future[None] | None = None
        self._deaf = False
        """What else comes is dropped."""
        self.closing = False

    # -- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name
        self.write = self._transport.write
        self._house.arrived(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's signature
        self._house.left(self)
        self.closing = self._deaf = True
        self._fresh = False
        self.resume_writing()
        for conversation in (self._current, self._incoming, *self._line):
            if conversation is not None:
                conversation.leave()
        # These hold this object: together they would wait for the garbage collector.
        self._line.clear()
        self._current = self._incoming = None
        del self._parser

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        while True:
            try:
                self._parser.feed_data(data)
                break
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
            except httptools.HttpParserError as error:
                self._refuse(_reason(error))
                break
            if not self._disregard_upgrade():
                break
        if self._fresh and not self.write_paused:
            self._begin()
        if self._in_head or self._incoming is not None:
            self._count(len(data))

    def pause_writing(self) -> None:
        self.write_paused = True
        self._moved_at = self._loop.time()

    def resume_writing(self) -> None:
        self.write_paused = False
        if self._flushed is not None and not self._flushed.done():
            self._flushed.set_result(None)
        if self._fresh:
            self._begin()

    # -- llhttp's side

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers = []
        self._field_bytes = 0
        self._fed_bytes = -1
        self._in_head = True
        if self._current is None:
            self._since = self._loop.time()

    def on_url(self, url: bytes) -> None:
        self._url += url
        if len(self._url) > self._limits.max_head_bytes:
            raise BadRequest(414, "The address of the request is too long.")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # else a trailer, which could only contradict the head
            headers = self._headers
            headers.append((name.lower(), value))
            self._field_bytes += len(name) + len(value)
            limits = self._limits
            if len(headers) > limits.max_fields or self._field_bytes > limits.max_head_bytes:
                raise BadRequest(431, "The head of the request is too large.")

    def on_headers_complete(self) -> None:
        self._in_head = False
        parser = self._parser
        version = parser.get_http_version()
        expects = weigh_head(version, self._headers)
        conversation = Conversation(
            self,
            parser.get_method().decode("ascii"),
            split_target(self._url),
            self._headers,
            keep_alive=parser.should_keep_alive(),
            version_1_0=version == "1.0",
            expects=expects,
        )
        if self._current is None:
            self._current = conversation
            self._fresh = True
        elif len(self._line) < self._limits.max_ahead:
            self._line.append(conversation)
            self._pause_reading()
        else:
            raise BadRequest(429, "Too many requests were sent ahead of their answers.")
        self._incoming = conversation

    def on_body(self, body: bytes) -> None:
        assert self._incoming is not None
        self._fed_bytes = -1
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
        if self._reading_paused and not self._line and not self.closing:
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
        self._current = None
        self._since = self._loop.time()
        if not keep_alive or not self.keeps_alive:
            self._end()
        elif self._line:
            self._current = self._line.popleft()
            self._fresh = True
            self._loop.call_soon(self._continue)
            self.resume_reading()
        elif self._refusal is not None:
            self._tell(self._refusal)
        else:
            self.resume_reading()

    def close(self) -> None:
        """End the connection once what was written is on its way."""
        self.closing = self._deaf = True
        self._moved_at = self._loop.time()
        self._transport.close()

    def abort(self) -> None:
        """End the connection at once, whatever is unsent."""
        self.closing = self._deaf = True
        self._transport.abort()

    def reset(self) -> None:
        """End the connection so that the client cannot take it for the end of a body."""
        with contextlib.suppress(OSError):
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.abort()

    # -- the server's side

    @property
    def idle(self) -> bool:
        return self._current is None

    def overdue(self, now: float) -> None:
        """End what has waited too long: for a request, for the end of its head, for the client to take its answer."""
        limits = self._limits
        if self.write_paused or self.closing:
            unsent = self._transport.get_write_buffer_size()
            if unsent != self._unsent:
                self._unsent, self._moved_at = unsent, now
            elif now - self._moved_at > (limits.stall_s if unsent else limits.linger_s):
                self.abort()
        elif self._current is not None:
            return
        elif self._in_head and now - self._since > limits.head_s:
            self._refuse(BadRequest(408, "The head of the request stopped coming."))
        elif self._house.draining or now - self._since > limits.keep_alive_s:
            self.close()

    def _begin(self) -> None:
        self._fresh = False
        if self._current is not None:
            self._house.begin(self._current)

    def _continue(self) -> None:
        if self._fresh and not self.write_paused:
            self._begin()

    def _pause_reading(self) -> None:
        if not self._reading_paused and not self.closing:
            self._reading_paused = True
            self._transport.pause_reading()

    def _count(self, size: int) -> None:
        """A field or a chunk's extension without an end is not seen by `on_header`, nor what trailers add up to."""
        if self._fed_bytes < 0:
            self._fed_bytes = 0
        else:
            self._fed_bytes += size
            if self._fed_bytes > self._limits.max_head_bytes:
                self._refuse(BadRequest(431, "The head of the request is too large."))

    def _disregard_upgrade(self) -> bool:
        """Answer in HTTP/1.1 all the same, as every server may; whether there is more to read. Source: RFC 9110 section 7.8."""
        conversation = self._line[-1] if self._line else self._current
        assert conversation is not None
        if conversation.method == "CONNECT":
            conversation.be_last()
            self._deaf = True
            return False
        conversation.received = False
        self._incoming = conversation
        self._parser = parser_of_body(self, conversation.headers)
        return True

    def _refuse(self, refusal: BadRequest) -> None:
        """Say why no more is read, after the answers to what came before; then end the connection."""
        self._deaf = True
        self._in_head = False
        broken, self._incoming = self._incoming, None
        if broken is not None and broken.finished:
            self._end()  # it has its answer
            return
        if broken is not None and broken is self._current:
            self._current = None
            self._fresh = False
            broken.leave()
            if broken.started:
                broken.abort()
                return
            broken.finished = True  # its answer is the refusal
        elif broken is not None:
            self._line.pop()
        if self._current is not None:
            self._refusal = refusal
        else:
            self._tell(refusal)

    def _tell(self, refusal: BadRequest) -> None:
        body = b'{"error":{"message":"%b"}}' % str(refusal).encode()
        self.write(
            b"%b%bcontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
            % (STATUS_LINES[refusal.status], self._house.date_line, len(body), body)
        )
        self._deaf = True
        self._end()

    def _end(self) -> None:
        """Close; but if the client may still be sending, drop that for a while first.

        To close over unread bytes would reset the connection, and the client would never see its answer.
        """
        if self._incoming is None and not self._reading_paused and not self._deaf:
            self.close()
            return
        self.closing = self._deaf = True
        self._moved_at = self._loop.time()
        try:
            self._transport.write_eof()
            if self._reading_paused:
                self._transport.resume_reading()
        except OSError:  # the client has just gone
            self.abort()


def _reason(error: httptools.HttpParserError) -> BadRequest:
    """Raises what is no fault of the client's."""
    cause = error.__context__ if isinstance(error, httptools.HttpParserCallbackError) else None
    if isinstance(cause, BadRequest):
        return cause
    if cause is not None:
        raise cause
    return BadRequest(400, "This is no proper HTTP request.")


def _address(name: object) -> tuple[str, int] | None:
    return (str(name[0]), int(name[1])) if isinstance(name, tuple) else None
