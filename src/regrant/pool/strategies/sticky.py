"""The same account for the same conversation, so that Google's prompt cache is hit.

Theory of operation. No conversation is remembered. Every account has a few places on a ring of 2**64 (`selector.Roster`); a
conversation's key is a place on it too, and the first free account on the short arc that follows is its account. If that arc
holds none, every free account draws a number from (account, key) and the highest wins. A small pool is decided almost wholly
by the draw, a large one by the arc, and both share what matters: an account that comes or goes moves only the conversations
that it gains or loses, whatever the size of the pool. The arc bounds the walk, the draw asks only accounts that are free.
"""

from __future__ import annotations

from bisect import bisect_left

from regrant.pool.field import Field
from regrant.pool.selector import RING, Allowed, Candidate
from regrant.pool.strategies.round_robin import RoundRobin

ARC = (
    RING >> 9
)  # about 150 places in a pool of 10,000: the first is free as a rule, and a walk past all is cheap


class Sticky:
    """Conversations without a key take turns."""

    tiered = False
    shares = True

    def __init__(self) -> None:
        self._turns = RoundRobin()

    def pick(self, field: Field, key: int | None, allowed: Allowed | None = None) -> Candidate | None:
        if key is None:
            return self._turns.pick(field, None, allowed)
        return _walk(field, key % RING, allowed) or _draw(field, key, allowed)


def _walk(field: Field, place: int, allowed: Allowed | None) -> Candidate | None:
    """The arc ends where the ring does: the few conversations near its end are merely drawn for sooner."""
    ring, free = field.ring, field.by_id
    points, owners = ring.points, ring.owners
    start = bisect_left(points, place)
    if start == len(points) or points[start] >= place + ARC:
        return None
    first = owners[start]
    if first.id in free and (allowed is None or allowed(first)):
        return first
    for owner in owners[start + 1 : bisect_left(points, place + ARC, start)]:
        if owner.id in free and (allowed is None or allowed(owner)):
            return owner
    return None


def _draw(field: Field, key: int, allowed: Allowed | None) -> Candidate | None:
    """Rendezvous hashing. A tuple of ints hashes alike in every process; of two it hashes badly, of three well."""
    if allowed is None:
        numbers = [hash((seed, key, seed)) for seed in field.seeds]
        return field.candidates[numbers.index(max(numbers))] if numbers else None
    best: Candidate | None = None
    highest = -RING
    for candidate, seed in zip(field.candidates, field.seeds, strict=True):
        number = hash((seed, key, seed))
        if number > highest and allowed(candidate):
            best, highest = candidate, number
    return best
