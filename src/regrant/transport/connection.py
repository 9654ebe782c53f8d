"""One TCP or TLS connection: hands what arrives to the answer being received, and is its own watchman while idle.

Any byte, end or silence beyond the keep-alive time on an idle connection makes it unusable. What the bytes mean is
`answer.py`; who may use the connection next is `pool.py`.
"""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

from regrant.transport.deadline import Deadline
from regrant.transport.tls import ended_properly

WRITE_HIGH_WATER_BYTES = 64 * 1024


class Receiver(Protocol):
    """The exchange that a connection is busy with."""

    def feed(self, data: bytes) -> None: ...

    def feed_end(self, *, proper: bool) -> None: ...

    def expire(self) -> None: ...

    def resume(self) -> None: ...


class Home(Protocol):
    """Where a connection returns to. `forget` is called exactly once, when it is lost."""

    def put(self, connection: Connection) -> None: ...

    def forget(self, connection: Connection) -> None: ...


class Connection(asyncio.Protocol):
    __slots__ = ("_home", "deadline", "lost", "receiver", "transport", "write_paused")

    def __init__(self, loop: asyncio.AbstractEventLoop, home: Home) -> None:
        self._home = home
        self.deadline = Deadline(loop, self._expire)
        self.receiver: Receiver | None = None
        self.transport: asyncio.Transport
        self.write_paused = False
        self.lost = False

    @property
    def usable(self) -> bool:
        return not self.lost and not self.transport.is_closing()

    @property
    def flushed(self) -> bool:
        """Whether all that was written has left this process, as far as the transport can tell."""
        return not self.write_paused and self.transport.get_write_buffer_size() == 0

    def release(self) -> None:
        """Offer the connection for the next request."""
        self.receiver = None
        self._home.put(self)

    def drop(self) -> None:
        """Close at once and throw away what was not written yet. Idempotent."""
        self.receiver = None
        self.deadline.stop()
        self.transport.abort()

    def interrupt(self) -> None:
        """Close at once and let whoever uses the connection know, which `drop` does not."""
        self.transport.abort()

    def resume_reading(self) -> None:
        if self.usable:  # uvloop raises on a closed transport whose loss has not been announced yet
            self.transport.resume_reading()

    def adopt(self, transport: asyncio.Transport) -> None:
        """Use `transport` from now on: the fresh one, or the TLS layer laid over a tunnel."""
        self.transport = transport
        transport.set_write_buffer_limits(high=WRITE_HIGH_WATER_BYTES)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.adopt(cast("asyncio.Transport", transport))  # uvloop's are not of that class

    def data_received(self, data: bytes) -> None:
        if self.receiver is None:
            self.drop()
        else:
            self.receiver.feed(data)

    def eof_received(self) -> None:
        if self.receiver is not None:
            self.receiver.feed_end(proper=ended_properly(self.transport))
        self.drop()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio.Protocol
        self.lost = True
        self.deadline.stop()
        if self.receiver is not None:
            self.receiver.feed_end(proper=False)
            self.receiver = None
        self._home.forget(self)

    def pause_writing(self) -> None:
        self.write_paused = True

    def resume_writing(self) -> None:
        self.write_paused = False
        if self.receiver is not None:
            self.receiver.resume()

    def _expire(self) -> None:
        if self.receiver is None:
            self.drop()
        else:
            self.receiver.expire()
