"""A clock that tests move by hand, and accounts to choose from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from regrant.pool.field import Field
from regrant.pool.selector import EVERYONE, Candidate, Roster


class HandClock:
    def __init__(self, now: float = 1_000_000.0) -> None:
        self.time = now

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


def make_candidates(count: int, *, first: int = 0) -> list[Candidate]:
    return [
        Candidate(id=f"id-{number}", email=f"a{number}@example.com", project=f"project-{number}")
        for number in range(first, first + count)
    ]


def make_field(
    pool: Iterable[Candidate] | Roster,
    free: Callable[[Candidate], bool] = lambda _: True,
    *,
    model: str = "m",
    load: Mapping[str, int] | None = None,
) -> Field:
    """What a strategy sees of a pool whose free accounts are those."""
    roster = pool if isinstance(pool, Roster) else Roster(pool)
    return Field((model, EVERYONE), roster, {} if load is None else load, filter(free, roster.candidates))
