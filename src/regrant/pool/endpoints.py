"""Which of Google's endpoints could not be reached just now: accounts of the others are asked first, where there are any.

Pure. Kept by each process for itself: another may have another way to Google. What is out is out for a guessed time, doubled
with each failure in a row; after it the next request tries, as everybody did before.
"""

from __future__ import annotations

from regrant.upstream.waits import backoff

FIRST_S, LONGEST_S = 1.0, 60.0


class Endpoints:
    """Endpoints go by a name that the caller makes; there are few."""

    def __init__(self) -> None:
        self._failures: dict[str, int] = {}
        self._until: dict[str, float] = {}

    def __bool__(self) -> bool:
        """Whether any has failed since it last worked."""
        return bool(self._failures)

    def failed(self, name: str, now: float, jitter: float) -> None:
        """It could not be connected to. Failures of one moment count once. `now` in unix seconds, `jitter` from 0 to 1."""
        if now < self._until.get(name, 0.0):
            return
        strikes = self._failures.get(name, 0)
        self._failures[name] = strikes + 1
        self._until[name] = now + backoff(FIRST_S, LONGEST_S, strikes, jitter)

    def worked(self, name: str) -> None:
        """It has answered."""
        self._failures.pop(name, None)
        self._until.pop(name, None)

    def out(self, now: float) -> frozenset[str]:
        """Those to be left alone at this moment."""
        return frozenset(name for name, until in self._until.items() if now < until <= now + 1.2 * LONGEST_S)
