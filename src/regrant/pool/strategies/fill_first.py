"""The first account until it cools, then the next: the others keep their quota. First is the highest priority, then the highest
weight, then the lowest id.
"""

from __future__ import annotations

from regrant.pool.field import Field
from regrant.pool.selector import Allowed, Candidate


class FillFirst:
    tiered = False
    shares = False  # whoever comes first is meant to have everything

    def pick(self, field: Field, key: int | None, allowed: Allowed | None = None) -> Candidate | None:
        del key
        ranked = field.ranked
        if allowed is None:
            return ranked[0] if ranked else None
        return next((candidate for candidate in ranked if allowed(candidate)), None)
