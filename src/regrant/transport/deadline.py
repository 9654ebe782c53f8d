"""One timer that moves: a connection's current time limit, at the price of an assignment per change.

A loop timer per request would cost more than the request's parsing; so the timer is left where it is while the
deadline moves on, and re-armed when it fires too early. What an expired deadline means is the owner's business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Deadline:
    """Calls `on_expiry` once when the moment that was set last has passed. Times are of `loop.time()`."""

    __slots__ = ("_armed_for", "_loop", "_on_expiry", "_timer", "_when")

    def __init__(self, loop: asyncio.AbstractEventLoop, on_expiry: Callable[[], None]) -> None:
        self._loop = loop
        self._on_expiry = on_expiry
        self._when: float | None = None
        self._armed_for = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def set(self, after_s: float) -> None:
        """Expire in `after_s` seconds, whatever was set before."""
        self._when = when = self._loop.time() + after_s
        if self._timer is None:
            self._arm(when)
        elif when < self._armed_for:
            self._timer.cancel()
            self._arm(when)

    def stop(self) -> None:
        """Let go of the timer for good."""
        self._when = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, when: float) -> None:
        self._armed_for = when
        self._timer = self._loop.call_at(when, self._fire)

    def _fire(self) -> None:
        self._timer = None
        if self._when is None:
            return
        if self._loop.time() < self._when:
            self._arm(self._when)
            return
        self._when = None
        self._on_expiry()
