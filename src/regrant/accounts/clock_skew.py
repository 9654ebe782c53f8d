"""How far this machine's clock is off, measured against the `Date` of Google's answers to refreshes.

Only measures; what is said about it is `incident_words.py`. Nothing depends on it: the end of a token is counted from when it was received
by this very clock, so a clock that is wrong all the time does no harm to tokens.
"""

from __future__ import annotations

from collections import deque
from statistics import median

import msgspec

from regrant.clock import Clock

SAMPLES = 9
OLD_S = 86_400.0
TURNED_S = 5.0
"""The clock was turned when it moved so much more or less than the monotonic one: what was measured before is void."""


class _Sample(msgspec.Struct, frozen=True):
    skew_s: float
    monotonic: float


class ClockSkew:
    """The median of the last measurements. A `Date` has whole seconds, so it is good to about a second."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._samples: deque[_Sample] = deque(maxlen=SAMPLES)
        self._offset: float | None = None

    def measured(self, server_date: float) -> None:
        """An answer with this `Date` (unix seconds) has just come."""
        self._forget_if_turned()
        half_a_second = 0.5  # what a date in whole seconds leaves out, on average
        skew_s = self._clock.now() - server_date - half_a_second
        self._samples.append(_Sample(skew_s, self._clock.monotonic()))

    @property
    def seconds(self) -> float | None:
        """How far this clock is ahead of Google's (negative: behind); None when nothing recent was measured."""
        self._forget_if_turned()
        now = self._clock.monotonic()
        recent = [sample.skew_s for sample in self._samples if now - sample.monotonic <= OLD_S]
        return round(median(recent), 1) if recent else None

    @property
    def age_s(self) -> float | None:
        """Seconds since the last measurement; None when there is none."""
        return self._clock.monotonic() - self._samples[-1].monotonic if self._samples else None

    def _forget_if_turned(self) -> None:
        """A machine that slept looks the same; then the next answer measures anew."""
        offset = self._clock.now() - self._clock.monotonic()
        if self._offset is not None and abs(offset - self._offset) > TURNED_S:
            self._samples.clear()
        self._offset = offset
