"""Each account in its turn: the one after the last in the order of ids, so that changes of the pool starve nobody."""

from __future__ import annotations

from regrant.pool.field import Field
from regrant.pool.selector import Allowed, Candidate
from regrant.pool.strategies.turns import Turns


class RoundRobin:
    tiered = False
    shares = True

    def __init__(self) -> None:
        self._turns = Turns()

    def pick(self, field: Field, key: int | None, allowed: Allowed | None = None) -> Candidate | None:
        del key
        candidates, start = field.candidates, self._turns.start(field)
        if allowed is not None:
            candidate = _first_allowed(candidates, allowed, start)
        elif candidates:
            candidate = candidates[start if start < len(candidates) else 0]
        else:
            candidate = None
        if candidate is not None:
            self._turns.took(field, candidate)
        return candidate


def _first_allowed(candidates: list[Candidate], allowed: Allowed, start: int) -> Candidate | None:
    count = len(candidates)
    for step in range(count):
        candidate = candidates[(start + step) % count]
        if allowed(candidate):
            return candidate
    return None
