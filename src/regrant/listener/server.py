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

Handler = Callable[[Conversation], Awaitable[None]]

KEEP_ALIVE_S = 75.0
SWEEP_S = 1.0
CUT_S = 5.0

log = logs.get("listener")


class Server:
    """Implements `House`. `handle` answers a conversation; what it leaves unfinished is dropped."""

    def __init__(self, handle: Handler, *, keep_alive_s: float = KEEP_ALIVE_S) -> None:
        self._handle = handle
        self.keep_alive_s = keep_alive_s
        self.date_line = b""
        self.draining = False
        self.connections: set[Connection] = set()
        self._loop: asyncio.AbstractEventLoop
        self._listening: list[asyncio.Server] = []
        self._sweeping: asyncio.TimerHandle | None = None
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
                while self.connections:
                    self._emptied.clear()
                    await self._emptied.wait()
        except TimeoutError:
            log.warning("drain_ended", f"{len(self.connections)} requests did not end in {drain_s:g} s")
        finally:
            if cancelled := self.cut():
                await asyncio.wait(cancelled, timeout=CUT_S)
            if self._sweeping is not None:
                self._sweeping.cancel()

    def cut(self) -> list[asyncio.Task[None]]:
        """End every connection at once; the tasks that end with them."""
        tasks = [connection.cancel() for connection in list(self.connections)]
        return [task for task in tasks if task is not None]

    # -- the connections' side

    def begin(self, conversation: Conversation) -> None:
        conversation.task = self._loop.create_task(self._converse(conversation))

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
            log.error("request_failed", f"{conversation.method} {conversation.path} failed: {error!r}")
        finally:
            if not conversation.finished:
                conversation.abort()

    def _sweep(self) -> None:
        self.date_line = f"date: {formatdate(time.time(), usegmt=True)}\r\n".encode()
        now = self._loop.time()
        for connection in list(self.connections):
            connection.overdue(now)
        self._sweeping = self._loop.call_later(SWEEP_S, self._sweep)
