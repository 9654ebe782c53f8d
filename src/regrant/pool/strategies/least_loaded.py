"""The account with the fewest requests in flight; among equals, each in its turn."""

from __future__ import annotations

from bisect import bisect_right
from itertools import chain

from regrant.pool.field import Field
from regrant.pool.selector import Allowed, Candidate, Part

MAX_FIELDS = 1024  # fields whose last pick is remembered


class LeastLoaded:
    """Looks no further than the first idle account after its last pick; all are compared only while every one is busy."""

    tiered = False
    shares = True

    def __init__(self) -> None:
        self._last: dict[tuple[str, Part], str] = {}

    def pick(self, field: Field, key: int | None, allowed: Allowed | None = None) -> Candidate | None:
        del key
        last = self._last.get(field.name)
        start = 0 if last is None else bisect_right(field.ids, last)
        candidate = _least(field, start, allowed)
        if candidate is not None:
            if last is None and len(self._last) >= MAX_FIELDS:
                self._last.clear()
            self._last[field.name] = candidate.id
        return candidate


def _least(field: Field, start: int, allowed: Allowed | None) -> Candidate | None:
    candidates, load = field.candidates, field.load
    best: Candidate | None = None
    fewest = 0
    for position in chain(range(start, len(candidates)), range(start)):
        candidate = candidates[position]
        count = load.get(candidate.id, 0)
        if (best is None or count < fewest) and (allowed is None or allowed(candidate)):
            if not count:
                return candidate
            best, fewest = candidate, count
    return best
