"""The account with the fewest requests in flight; among equals, each in its turn."""

from __future__ import annotations

from itertools import chain

from regrant.pool.field import Field
from regrant.pool.selector import Allowed, Candidate
from regrant.pool.strategies.turns import Turns


class LeastLoaded:
    """Looks no further than the first idle account after its last pick; all are compared only while every one is busy."""

    tiered = False
    shares = True

    def __init__(self) -> None:
        self._turns = Turns()

    def pick(self, field: Field, key: int | None, allowed: Allowed | None = None) -> Candidate | None:
        del key
        candidate = _least(field, self._turns.start(field), allowed)
        if candidate is not None:
            self._turns.took(field, candidate)
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
