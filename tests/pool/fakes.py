"""A clock that tests move by hand, and accounts to choose from."""

from __future__ import annotations

from regrant.pool.selector import Candidate


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
