"""Whose turn it is: strategies that pick one of the accounts in the pool.

Theory of operation. `sticky` needs no memory of conversations. Every account has POINTS places on a ring of 2**64, derived
from its id. A conversation's key is a place on the ring too, and the first free account on the arc that follows it is its
account. If that arc holds none, every free account draws a number from (account, key) and the highest wins. A small pool is
decided almost wholly by the draw, a large one by the arc, and both rules share what matters: an account that comes or goes
moves only the conversations that it gains or loses, whatever the size of the pool.

`round_robin` remembers, per model, the id it picked last and takes the next free one in the order of ids, so changes of the
pool starve nobody. Which accounts are free is the pool's knowledge, passed in.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Protocol

POINTS = 8  # one blake2b digest; an account's share of a large pool then varies by about a third
RING = 1 << 64
ARC = RING >> 8  # about 300 places in a pool of 10,000: ample when a few percent are free
MAX_MODELS = 1024  # models whose last pick round_robin remembers


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An account as far as choosing goes. `project` is never empty: the keeper fills in the client's own project."""

    id: str
    email: str
    project: str
    upstream: str = "gemini"
    location: str = "global"
    protected: frozenset[str] = frozenset()
    """Models that quota protection holds back."""


Free = Callable[[Candidate], bool]


class Roster:
    """The candidates in the order of their ids, and their ring. Immutable; `with_one` and `without` make a changed copy."""

    __slots__ = ("by_id", "candidates", "ids", "owners", "points", "seeds")

    def __init__(self, candidates: Iterable[Candidate] = ()) -> None:
        by_id = {candidate.id: candidate for candidate in candidates}
        self.ids: Sequence[str] = sorted(by_id)
        self.by_id = by_id
        self.candidates = tuple(by_id[id_] for id_ in self.ids)
        ring = sorted((point, id_) for id_ in self.ids for point in _points(id_))
        self.points: list[int] = [point for point, _ in ring]
        self.owners: list[Candidate] = [by_id[id_] for _, id_ in ring]
        self.seeds: list[int] = [_points(id_)[0] for id_ in self.ids]

    def __len__(self) -> int:
        return len(self.candidates)

    def with_one(self, candidate: Candidate) -> Roster:
        """This roster with `candidate` added, or put in the place of the one with its id."""
        if candidate.id in self.by_id:
            return self.without(candidate.id).with_one(candidate)
        changed = self._copy()
        position = bisect_left(self.ids, candidate.id)
        points = _points(candidate.id)
        changed.by_id[candidate.id] = candidate
        changed.ids = [*self.ids[:position], candidate.id, *self.ids[position:]]
        changed.candidates = (*self.candidates[:position], candidate, *self.candidates[position:])
        changed.seeds.insert(position, points[0])
        for point in points:
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
        del changed.seeds[position]
        for point in _points(id_):
            place = bisect_left(changed.points, point)
            while changed.owners[place].id != id_:
                place += 1
            del changed.points[place], changed.owners[place]
        return changed

    def _copy(self) -> Roster:
        twin = Roster()
        twin.by_id = dict(self.by_id)
        twin.points, twin.owners, twin.seeds = self.points.copy(), self.owners.copy(), self.seeds.copy()
        return twin


class Strategy(Protocol):
    def pick(self, roster: Roster, free: Free, *, model: str, key: int | None) -> Candidate | None:
        """A candidate for which `free` holds, or None only if there is none. `key` is the conversation, if known."""
        ...


class RoundRobin:
    def __init__(self) -> None:
        self._last: dict[str, str] = {}

    def pick(self, roster: Roster, free: Free, *, model: str, key: int | None = None) -> Candidate | None:
        del key
        last = self._last.get(model)
        start = 0 if last is None else bisect_right(roster.ids, last)
        candidate = _first(roster.candidates, free, start, len(roster)) or _first(
            roster.candidates, free, 0, start
        )
        if candidate is not None:
            if last is None and len(self._last) >= MAX_MODELS:
                self._last.clear()
            self._last[model] = candidate.id
        return candidate


class Sticky:
    """The same account for the same conversation; conversations without a key take turns."""

    def __init__(self) -> None:
        self._turns = RoundRobin()

    def pick(self, roster: Roster, free: Free, *, model: str, key: int | None) -> Candidate | None:
        if key is None:
            return self._turns.pick(roster, free, model=model)
        return _pick_on_arc(roster, free, key % RING) or _draw(roster, free, key)


def _first(candidates: Sequence[Candidate], free: Free, start: int, end: int) -> Candidate | None:
    for position in range(start, end):
        candidate = candidates[position]
        if free(candidate):
            return candidate
    return None


def _pick_on_arc(roster: Roster, free: Free, place: int) -> Candidate | None:
    """The arc ends where the ring does: the few conversations near its end are merely drawn for sooner."""
    start = bisect_left(roster.points, place)
    return _first(roster.owners, free, start, bisect_left(roster.points, place + ARC, start))


def _draw(roster: Roster, free: Free, key: int) -> Candidate | None:
    """Rendezvous hashing. A tuple of ints hashes alike in every process, and well."""
    best: Candidate | None = None
    highest = -RING
    for candidate, seed in zip(roster.candidates, roster.seeds, strict=True):
        number = hash((seed, key))
        if number > highest and free(candidate):
            best, highest = candidate, number
    return best


def _points(id_: str) -> list[int]:
    digest = blake2b(id_.encode(), digest_size=8 * POINTS).digest()
    return [int.from_bytes(digest[at : at + 8]) for at in range(0, len(digest), 8)]


STRATEGIES: dict[str, Callable[[], Strategy]] = {"sticky": Sticky, "round_robin": RoundRobin}
"""The values of the setting `pool.strategy`."""
