"""Tells who listens how many requests wait for a person: at once when it begins, then at most once a second.

Whether a request waits for a person is decided in `waiting.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

QUIET_S = 1.0


def appeal_text(count: int) -> str:
    """What the owner is told."""
    match count:
        case 0:
            return "no request is waiting for you any more"
        case 1:
            return "1 request is waiting for you"
        case _:
            return f"{count} requests are waiting for you"


class Appeal:
    """`listeners` are told the number, 0 when nobody waits for a person any more; they must not block or raise."""

    def __init__(self) -> None:
        self.listeners: list[Callable[[int], None]] = []
        self._count = 0
        self._told = 0
        self._quiet: asyncio.TimerHandle | None = None

    @property
    def count(self) -> int:
        return self._count

    def note(self, count: int) -> None:
        """So many wait for a person now."""
        self._count = count
        if self._quiet is None and count != self._told:
            self._tell()

    def _tell(self) -> None:
        self._told = self._count
        self._quiet = asyncio.get_running_loop().call_later(QUIET_S, self._speak_again)
        for listener in self.listeners:
            listener(self._told)

    def _speak_again(self) -> None:
        self._quiet = None
        self.note(self._count)
