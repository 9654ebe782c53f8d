"""Whom strategies choose from, and what a strategy is: accounts as far as choosing goes, their order and their ring.

The strategies are in `strategies/`, which accounts are free for a model is kept in `field.py`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import NamedTuple

import msgspec

POINTS = 8  # one blake2b digest; an account's share of a large pool then varies by about a third
RING = 1 << 64


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """An account as far as choosing goes. `project` is never empty: the keeper fills in the client's own project."""

    id: str
    email: str
    project: str
    upstream: str = "gemini"
    location: str = "global"
    protected: frozenset[str] = frozenset()
    """Models that quota protection holds back."""
    groups: frozenset[str] = frozenset()
    priority: int = 0
    weight: float = 1.0


Allowed = Callable[[Candidate], bool]
"""Whether one request may be given this account."""


class Part(NamedTuple):
    """A part of the pool: a group ("": everyone), and one priority of it (None: all)."""

    group: str = ""
    priority: int | None = None

    def has(self, candidate: Candidate) -> bool:
        return (not self.group or self.group in candidate.groups) and (
            self.priority is None or candidate.priority == self.priority
        )


EVERYONE = Part()


class Roster:
    """The candidates in the order of their ids, and their ring. Immutable; `with_one` and `without` make a changed copy."""

    __slots__ = ("by_id", "candidates", "ids", "owners", "points")

    def __init__(self, candidates: Iterable[Candidate] = ()) -> None:
        by_id = {candidate.id: candidate for candidate in candidates}
        self.ids: Sequence[str] = sorted(by_id)
        self.by_id = by_id
        self.candidates = tuple(by_id[id_] for id_ in self.ids)
        ring = sorted((point, id_) for id_ in self.ids for point in _points(id_))
        self.points: list[int] = [point for point, _ in ring]
        self.owners: list[Candidate] = [by_id[id_] for _, id_ in ring]

    def __len__(self) -> int:
        return len(self.candidates)

    def with_one(self, candidate: Candidate) -> Roster:
        """This roster with `candidate` added, or put in the place of the one with its id."""
        if candidate.id in self.by_id:
            return self.without(candidate.id).with_one(candidate)
        changed = self._copy()
        position = bisect_left(self.ids, candidate.id)
        changed.by_id[candidate.id] = candidate
        changed.ids = [*self.ids[:position], candidate.id, *self.ids[position:]]
        changed.candidates = (*self.candidates[:position], candidate, *self.candidates[position:])
        for point in _points(candidate.id):
            place = bisect_left(changed.points, point)
            changed.points.insert(place, point)
            changed.owners.insert(place, candidate)
        return changed

    def without(self, id_: str) -> Roster:
        """This roster without the candidate of that id; itself if there is none."""
        if id_ not in self.by_id:
            return self
        changed = self._copy()
        position = bisect_left(self.ids, id_)
        del changed.by_id[id_]
        changed.ids = [*self.ids[:position], *self.ids[position + 1 :]]
        changed.candidates = (*self.candidates[:position], *self.candidates[position + 1 :])
        for point in _points(id_):
            place = bisect_left(changed.points, point)
            while changed.owners[place].id != id_:
                place += 1
            del changed.points[place], changed.owners[place]
        return changed

    def _copy(self) -> Roster:
        twin = Roster()
        twin.by_id = dict(self.by_id)
        twin.points, twin.owners = self.points.copy(), self.owners.copy()
        return twin


def seed_of(id_: str) -> int:
    """What an account brings to a draw."""
    return _points(id_)[0]


def _points(id_: str) -> list[int]:
    digest = blake2b(id_.encode(), digest_size=8 * POINTS).digest()
    return [int.from_bytes(digest[at : at + 8]) for at in range(0, len(digest), 8)]
