"""Groups in the order of their priority: a lower one serves only while no account of a higher one is free. Sticky within each."""

from __future__ import annotations

from regrant.pool.field import Field
from regrant.pool.selector import Allowed, Candidate
from regrant.pool.strategies.sticky import Sticky


class Priority:
    """The pool hands it one field for each priority, the highest first, until one has an account."""

    tiered = True
    shares = True

    def __init__(self) -> None:
        self._within = Sticky()

    def pick(self, field: Field, key: int | None, allowed: Allowed | None = None) -> Candidate | None:
        return self._within.pick(field, key, allowed)
