"""The accounts that are free for one model, kept up to date as cool-downs begin and end: what strategies pick from.

Theory of operation. A pick must not look at accounts that cool, however many do. So each model in use has a field of its free
accounts, built at its first request and then changed by single steps: `Fields` hears of every cool-down that begins or ends
and of every account that comes or goes, and lets in or out exactly the accounts concerned. What holds for one request only
(accounts it has tried, accounts that suit it) is asked of the candidate at the pick.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from itertools import accumulate

from regrant.pool.cooldown import CooldownKey, Cooldowns
from regrant.pool.selector import Candidate, Part, Roster, seed_of
from regrant.upstream.faults import Scope

MAX_FIELDS = 64  # a field of 10,000 accounts takes about a megabyte


class Field:
    """The free accounts of one part of the pool for one model, in the order of their ids. Strategies only read it."""

    __slots__ = ("_ranked", "_sums", "by_id", "candidates", "ids", "load", "name", "ring", "seeds")

    def __init__(
        self, name: tuple[str, Part], ring: Roster, load: Mapping[str, int], free: Iterable[Candidate]
    ) -> None:
        """`free` in the order of ids; `load` is how many requests each account has in flight (absent: none)."""
        self.name = name
        self.ring = ring
        self.load = load
        self.candidates = list(free)
        self.ids = [candidate.id for candidate in self.candidates]
        self.by_id = dict(zip(self.ids, self.candidates, strict=True))
        self.seeds = [seed_of(id_) for id_ in self.ids]
        self._sums: list[float] | None = None
        self._ranked: list[Candidate] | None = None

    @property
    def sums(self) -> list[float]:
        """The weights added up, in the order of the candidates."""
        if self._sums is None:
            self._sums = list(accumulate(candidate.weight for candidate in self.candidates))
        return self._sums

    @property
    def ranked(self) -> list[Candidate]:
        """The candidates by priority, then by weight, the highest first."""
        if self._ranked is None:
            self._ranked = sorted(self.candidates, key=lambda one: (-one.priority, -one.weight))
        return self._ranked

    def put(self, candidate: Candidate) -> None:
        """Let an account in, or take over its changed self."""
        if self.by_id.get(candidate.id) is candidate:
            return
        self.drop(candidate.id)
        position = bisect_left(self.ids, candidate.id)
        self.ids.insert(position, candidate.id)
        self.candidates.insert(position, candidate)
        self.seeds.insert(position, seed_of(candidate.id))
        self.by_id[candidate.id] = candidate
        self._sums = self._ranked = None

    def drop(self, id_: str) -> None:
        if self.by_id.pop(id_, None) is None:
            return
        position = bisect_left(self.ids, id_)
        del self.ids[position], self.candidates[position], self.seeds[position]
        self._sums = self._ranked = None


class Fields:
    """`reserves` are what quota protection holds back; `load` is the pool's own count of requests in flight."""

    def __init__(self, cooldowns: Cooldowns, reserves: Cooldowns, load: Mapping[str, int]) -> None:
        self._cooldowns = cooldowns
        self._reserves = reserves
        self._load = load
        self._roster = Roster()
        self._projects: dict[str, dict[str, Candidate]] = {}
        self._fields: dict[tuple[str, Part], Field] = {}

    def of(self, name: tuple[str, Part]) -> Field:
        """The free accounts for that model in that part of the pool."""
        return self._fields.get(name) or self._build(name)

    def look(self, name: tuple[str, Part]) -> Field:
        """The same, for somebody who asks once and serves nobody: no field in use makes room for it."""
        return self._fields.get(name) or self._make(name)

    def use(self, roster: Roster) -> None:
        """Another pool altogether."""
        self._roster = roster
        self._fields.clear()
        self._projects = {}
        for candidate in roster.candidates:
            self._projects.setdefault(candidate.project, {})[candidate.id] = candidate

    def change(self, roster: Roster, id_: str) -> None:
        """One account came, went or changed; `roster` is the pool after that."""
        before, now = self._roster.by_id.get(id_), roster.by_id.get(id_)
        self._roster = roster
        if before is not None:
            members = self._projects[before.project]
            del members[id_]
            if not members:
                del self._projects[before.project]
        if now is not None:
            self._projects.setdefault(now.project, {})[id_] = now
        for name, field in self._fields.items():
            field.ring = roster
            if now is not None and self._is_free(now, name):
                field.put(now)
            else:
                field.drop(id_)

    def recheck(self, key: CooldownKey) -> None:
        """A cool-down began or ended."""
        concerned = self._concerned(key)
        for name, field in self._fields.items():
            if key.scope is Scope.PROJECT_MODEL and name[0] != key.model:
                continue
            for candidate in concerned:
                if self._is_free(candidate, name):
                    field.put(candidate)
                else:
                    field.drop(candidate.id)

    def _concerned(self, key: CooldownKey) -> list[Candidate]:
        match key.scope:
            case Scope.ACCOUNT:
                found = self._roster.by_id.get(key.account)
                return [] if found is None else [found]
            case Scope.PROJECT | Scope.PROJECT_MODEL:
                return list(self._projects.get(key.project, {}).values())
            case _:
                return []  # what holds a model back for everyone is asked of the cool-downs themselves

    def _build(self, name: tuple[str, Part]) -> Field:
        if len(self._fields) >= MAX_FIELDS:
            del self._fields[next(iter(self._fields))]
        field = self._fields[name] = self._make(name)
        return field

    def _make(self, name: tuple[str, Part]) -> Field:
        free = (candidate for candidate in self._roster.candidates if self._is_free(candidate, name))
        return Field(name, self._roster, self._load, free)

    def _is_free(self, candidate: Candidate, name: tuple[str, Part]) -> bool:
        model, part = name
        return (
            part.has(candidate)
            and model not in candidate.protected
            and not self._reserves.holds(candidate.project, candidate.id, model)
            and not self._cooldowns.holds(candidate.project, candidate.id, model)
        )
