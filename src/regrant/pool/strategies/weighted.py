"""Each account as often as its weight says, spread evenly.

Theory of operation. The weights laid end to end make a line, and picks step along it by the golden ratio. Such points never
bunch: after any number of picks each account has had its share give or take a few, without a counter per account. The step
is of the strategy and not of the field, so that accounts that come and go disturb nothing.
"""

from __future__ import annotations

from bisect import bisect_right

from regrant.pool.field import Field
from regrant.pool.selector import Allowed, Candidate

GOLDEN = 0.618033988749894848
TRIES = 8  # steps that may land on accounts that are not allowed, before the next allowed one is taken


class Weighted:
    tiered = False
    shares = True

    def __init__(self) -> None:
        self._at = 0.0

    def pick(self, field: Field, key: int | None, allowed: Allowed | None = None) -> Candidate | None:
        del key
        candidates, sums = field.candidates, field.sums
        if not candidates:
            return None
        position = self._step(sums)
        if allowed is None:
            return candidates[position]
        for _ in range(TRIES):
            if allowed(candidates[position]):
                return candidates[position]
            position = self._step(sums)
        count = len(candidates)
        following = (candidates[(position + step) % count] for step in range(count))
        return next((candidate for candidate in following if allowed(candidate)), None)

    def _step(self, sums: list[float]) -> int:
        self._at = (self._at + GOLDEN) % 1.0
        return min(bisect_right(sums, self._at * sums[-1]), len(sums) - 1)
