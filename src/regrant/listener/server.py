"""Accepts connections, has their requests handled, and ends in order: what is under way is finished first."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate

from regrant import logs
from regrant.listener.connection import Connection
from regrant.listener.conversation import ClientLeft, Conversation
from regrant.listener.head import encode_fields
from regrant.listener.limits import Limits

Handler = Callable[[Conversation], Awaitable[None]]

CUT_S = 5.0
_FAILED = (
    500,
    encode_fields(((b"content-type", b"application/json"),)),
    b'{"error":{"message":"The server failed."}}',
)

log = logs.get("listener")


class Server:
    """Implements `House`. `handle` answers a conversation; what it leaves unfinished is dropped."""

    def __init__(self, handle: Handler, *, limits: Limits = Limits()) -> None:  # noqa: B008  a frozen value
        self._handle = handle
        self.limits = limits
        self.date_line = b""
        self.draining = False
        self.connections: set[Connection] = set()
        self._loop: asyncio.AbstractEventLoop
        self._listening: list[asyncio.Server] = []
        self._sweeping: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended: list[asyncio.Task[None]] = []
        """Were told to end at once."""
        self._emptied: asyncio.Event = asyncio.Event()

    async def start(self, listener: socket.socket) -> None:
        """Accept from now on. The socket is bound and listens already."""
        self._loop = asyncio.get_running_loop()
        self._sweep()
        self._listening.append(
            await self._loop.create_server(lambda: Connection(self, self._loop), sock=listener, backlog=2048)
        )

    async def stop(self, *, drain_s: float) -> None:
        """Accept no more, finish what is under way within `drain_s` seconds, cancel what is left then."""
        self.draining = True
        for listening in self._listening:
            listening.close()
        for connection in [one for one in self.connections if one.idle]:
            connection.close()
        try:
            async with asyncio.timeout(drain_s):
                while self.connections or self._tasks:
                    self._emptied.clear()
                    await self._emptied.wait()
        except TimeoutError:
            log.warning("drain_ended", f"{len(self._tasks)} requests did not end in {drain_s:g} s")
        finally:
            self.cut()
            if self._ended:
                await asyncio.wait(self._ended, timeout=CUT_S)
            if self._sweeping is not None:
                self._sweeping.cancel()

    def cut(self) -> None:
        """End every request and every connection at once."""
        for task in self._tasks:
            task.cancel()
        self._ended += self._tasks
        self._tasks.clear()
        for connection in list(self.connections):
            connection.abort()
        self._emptied.set()

    @property
    def busy(self) -> int:
        """How many requests are being handled."""
        return len(self._tasks)

    # -- the connections' side

    def begin(self, conversation: Conversation) -> None:
        task = conversation.task = self._loop.create_task(self._converse(conversation))
        self._tasks.add(task)

    def arrived(self, connection: Connection) -> None:
        self.connections.add(connection)

    def left(self, connection: Connection) -> None:
        self.connections.discard(connection)
        self._emptied.set()

    async def _converse(self, conversation: Conversation) -> None:
        try:
            await self._handle(conversation)
        except ClientLeft:
            pass
        except Exception as error:
            # The last boundary: handlers answer their own errors.
            where = f"{conversation.method} {conversation.raw_path.decode('ascii')}"
            log.error("request_failed", f"{where} failed: {error!r}")
            if not conversation.started:
                conversation.reply(*_FAILED)
        finally:
            if not conversation.finished:
                conversation.abort()
            if conversation.task is not None:
                self._tasks.discard(conversation.task)
            if self.draining:
                self._emptied.set()

    def _sweep(self) -> None:
        self.date_line = f"date: {formatdate(time.time(), usegmt=True)}\r\n".encode()
        now = self._loop.time()
        for connection in list(self.connections):
            connection.overdue(now)
        self._sweeping = self._loop.call_later(self.limits.sweep_s, self._sweep)
