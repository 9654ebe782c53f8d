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
        self._touched_at = 0.0
        self._sending: asyncio.Task[None] | None = None
        self.idle = idle

    def __enter__(self) -> Self:
        self.touch()
        self._timer = self._loop.call_later(KEEP_ALIVE_S, self._beat)
        return self

    def touch(self) -> None:
        """Something was sent: the silence begins anew."""
        self._touched_at = self._loop.time()

    def _beat(self) -> None:
        """The timer is left where it is while silence begins anew, which is with every event of a stream."""
        left_s = self._touched_at + KEEP_ALIVE_S - self._loop.time()
        if left_s <= 0:
            if self.idle and (self._sending is None or self._sending.done()):
                self._sending = self._loop.create_task(self._answering.write(self._pulse))
            self.touch()
            left_s = KEEP_ALIVE_S
        self._timer = self._loop.call_later(left_s, self._beat)

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._sending is not None:
            self._sending.cancel()  # what follows must not be overtaken by a pulse that waits for a slow client
