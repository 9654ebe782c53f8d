"""Each account in its turn: the one after the last in the order of ids, so that changes of the pool starve nobody."""

from __future__ import annotations

from bisect import bisect_right

from regrant.pool.field import Field
from regrant.pool.selector import Allowed, Candidate, Part

MAX_FIELDS = 1024  # fields (model and part of the pool) whose last pick is remembered


class RoundRobin:
    tiered = False
    shares = True

    def __init__(self) -> None:
        self._last: dict[tuple[str, Part], str] = {}

    def pick(self, field: Field, key: int | None, allowed: Allowed | None = None) -> Candidate | None:
        del key
        candidates = field.candidates
        last = self._last.get(field.name)
        start = 0 if last is None else bisect_right(field.ids, last)
        if allowed is not None:
            candidate = _first_allowed(candidates, allowed, start)
        elif candidates:
            candidate = candidates[start if start < len(candidates) else 0]
        else:
            candidate = None
        if candidate is not None:
            if last is None and len(self._last) >= MAX_FIELDS:
                self._last.clear()
            self._last[field.name] = candidate.id
        return candidate


def _first_allowed(candidates: list[Candidate], allowed: Allowed, start: int) -> Candidate | None:
    count = len(candidates)
    for step in range(count):
        candidate = candidates[(start + step) % count]
        if allowed(candidate):
            return candidate
    return None
