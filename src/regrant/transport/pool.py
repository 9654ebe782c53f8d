"""The connections to one origin: who may use which, how many there are, and in what order callers wait.

The most recently used idle connection is lent first, so that the others grow old and are closed. When as many are
open as may be, callers wait in line; a caller that leaves the line, even at the moment of being served, loses
nothing for those behind it. How a connection is opened is `dial.py`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from regrant.errors import ConnectFailed
from regrant.transport.connection import Connection

Open = Callable[["Pool"], Awaitable[Connection]]


class Pool:
    """Implements `Home`. `open_connection` must create the connection with this pool as its home."""

    def __init__(self, open_connection: Open, *, limit: int, keepalive_s: float) -> None:
        self._open_connection = open_connection
        self._limit = limit
        self._keepalive_s = keepalive_s
        self._idle: list[Connection] = []
        self._members: set[Connection] = set()
        self._opening = 0
        self._waiters: deque[asyncio.Future[Connection | None]] = deque()
        self._emptied: asyncio.Future[None] | None = None
        self._closed = False

    @property
    def open(self) -> int:
        """How many connections are open, in use or not."""
        return len(self._members)

    def take(self) -> Connection | None:
        """An idle connection that still lives, or None."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.usable:
                return connection
        return None

    async def acquire(self, limit_s: float) -> Connection:
        """Wait for a connection to become free or open one. Raises ConnectFailed, also after `limit_s` seconds."""
        try:
            async with asyncio.timeout(limit_s):
                return await self._acquire()
        except TimeoutError as exc:
            raise ConnectFailed(f"no connection within {limit_s:g} s") from exc

    def put(self, connection: Connection) -> None:
        if self._grant(connection):
            return
        if self._closed:
            connection.drop()
            return
        connection.deadline.set(self._keepalive_s)
        self._idle.append(connection)

    def forget(self, connection: Connection) -> None:
        if connection not in self._members:
            return
        self._members.remove(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._pass_slot_on()
        if self._emptied is not None and not self._members and not self._emptied.done():
            self._emptied.set_result(None)

    async def close(self) -> None:
        """Close every connection, in use or not, and turn away those who wait. Idempotent."""
        self._closed = True
        self._idle.clear()
        while self._grant(None):
            pass
        if not self._members:
            return
        if self._emptied is None:
            self._emptied = asyncio.get_running_loop().create_future()
        for connection in list(self._members):
            connection.interrupt()
        await self._emptied

    async def _acquire(self) -> Connection:
        while (connection := self.take()) is None:
            if self._slot_free():
                self._opening += 1
                return await self._open()
            connection = await self._queue()
            if connection is None:
                return await self._open()
            if connection.usable:
                return connection
        return connection

    async def _queue(self) -> Connection | None:
        """Stand in line. Returns a connection, or None for the right, already counted, to open one."""
        waiter: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():
                self._give_back(waiter.result())
            raise

    async def _open(self) -> Connection:
        """Open a connection in a slot that `_opening` counts already."""
        try:
            self._require_open()
            connection = await self._open_connection(self)
        except BaseException:
            self._give_back(None)
            raise
        self._opening -= 1
        if not connection.lost:
            self._members.add(connection)
            if self._closed:
                connection.drop()
        if not connection.usable:
            self._pass_slot_on()
            raise ConnectFailed("the connection was closed as soon as it was open")
        return connection

    def _require_open(self) -> None:
        if self._closed:
            raise ConnectFailed("the HTTP client is closed")

    def _give_back(self, given: Connection | None) -> None:
        if given is None:
            self._opening -= 1
            self._pass_slot_on()
        elif given.usable:
            self.put(given)

    def _slot_free(self) -> bool:
        return len(self._members) + self._opening < self._limit

    def _pass_slot_on(self) -> None:
        if self._slot_free():
            self._grant(None)

    def _grant(self, given: Connection | None) -> bool:
        """Serve the first in line who is still there with a connection or a slot; whether there was one."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                self._opening += given is None
                waiter.set_result(given)
                return True
        return False
