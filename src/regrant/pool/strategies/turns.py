"""Whose turn it is among the free accounts of a field, for the strategies that take turns."""

from __future__ import annotations

from bisect import bisect_right

from regrant.pool.field import Field
from regrant.pool.selector import Candidate, Part

MAX_FIELDS = 1024  # fields (model and part of the pool) whose last pick is remembered


class Turns:
    """Remembers the last pick by its id, so that changes of the pool starve nobody."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, Part], str] = {}

    def start(self, field: Field) -> int:
        """The position after the last pick in the order of ids; it may be one past the end."""
        last = self._last.get(field.name)
        return 0 if last is None else bisect_right(field.ids, last)

    def took(self, field: Field, candidate: Candidate) -> None:
        if field.name not in self._last and len(self._last) >= MAX_FIELDS:
            self._last.clear()
        self._last[field.name] = candidate.id
