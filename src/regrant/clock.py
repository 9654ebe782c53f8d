"""Where the time comes from. Pure code takes `now` as an argument; shells ask a Clock."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    def now(self) -> float:
        """Unix seconds, for everything that is stored or compared with what Google says."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards, for intervals inside one process."""
        ...


class SystemClock:
    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()
