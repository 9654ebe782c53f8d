"""Gives a new or repaired account its share of the requests by and by, so that a weak one is not hit by all at once.

Pure; time is passed in. The first pick is always honoured: it proves that the account works. After it the share grows from nothing
to all within some seconds. Which share a conversation falls into never changes, so that each moves to the account at most once
(the one that proved it may go back for a while).
"""

from __future__ import annotations

import msgspec

GOLDEN = 0.618033988749894848
SALT = 0x5C0FF1E5
STEPS = 1 << 32


class _Newcomer(msgspec.Struct):
    since: float
    proven: bool = False
    turns: float = 0.0


class SlowStart:
    """0 seconds: every account has its whole share at once."""

    def __init__(self, seconds: float = 0.0) -> None:
        self._seconds = seconds
        self._newcomers: dict[str, _Newcomer] = {}

    def __bool__(self) -> bool:
        """Whether anybody is new."""
        return bool(self._newcomers)

    def begin(self, id_: str, now: float) -> None:
        if self._seconds > 0:
            self._newcomers[id_] = _Newcomer(now)

    def end(self, id_: str) -> None:
        self._newcomers.pop(id_, None)

    def use(self, seconds: float) -> None:
        """Take another time from now on, for those who are new already, too."""
        self._seconds = seconds

    def defers(self, id_: str, key: int | None, now: float) -> bool:
        """Whether this pick should rather go to another account. `key` is the conversation, if known."""
        newcomer = self._newcomers.get(id_)
        if newcomer is None:
            return False
        share = (now - newcomer.since) / self._seconds if self._seconds else 1.0
        if not 0.0 <= share < 1.0:  # below 0: the clock was set back
            del self._newcomers[id_]
            return False
        if not newcomer.proven:
            newcomer.proven = True
            return False
        if key is None:
            newcomer.turns = (newcomer.turns + GOLDEN) % 1.0
            return newcomer.turns >= share
        return hash((key, SALT)) % STEPS / STEPS >= share
