"""Says now and then that a stream is alive, while the model thinks."""

from __future__ import annotations

import asyncio
from typing import Self

from regrant.gateway.answering import Answering

KEEP_ALIVE_S = 10.0  # below the idle limits of clients and proxies in between


class KeepAlive:
    """Sends `pulse` after each KEEP_ALIVE_S of silence. `idle` is whether that is legal just now: between two events."""

    def __init__(self, answering: Answering, pulse: bytes, *, idle: bool) -> None:
        self._answering = answering
        self._pulse = pulse
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._sending: asyncio.Task[None] | None = None
        self.idle = idle

    def __enter__(self) -> Self:
        self.touch()
        return self

    def touch(self) -> None:
        """Something was sent: the silence begins anew."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(KEEP_ALIVE_S, self._beat)

    def _beat(self) -> None:
        if self.idle and (self._sending is None or self._sending.done()):
            self._sending = self._loop.create_task(self._answering.write(self._pulse))
        self.touch()

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._sending is not None:
            self._sending.cancel()  # what follows must not be overtaken by a pulse that waits for a slow client
