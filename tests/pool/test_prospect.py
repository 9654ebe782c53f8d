"""Who would serve next: told without anybody's turn being changed by asking."""

from __future__ import annotations

import pytest

from regrant.clock import SystemClock
from regrant.pool.choices import Choice, Choices, Rule
from regrant.pool.cooldown import Cooldown
from regrant.pool.lease import Lease, Wish
from regrant.pool.pool import Pool
from regrant.pool.prospect import MAX_TURNS
from regrant.pool.selector import Candidate
from regrant.pool.strategies import STRATEGIES
from regrant.upstream.faults import FaultKind


def people(count: int) -> list[Candidate]:
    return [
        Candidate(
            id=f"{number:04}", email=f"{number}@example.com", project=f"p{number}", weight=1.0 + number % 3
        )
        for number in range(count)
    ]


def make_pool(strategy: str, count: int = 5, choices: Choices | None = None) -> Pool:
    pool = Pool(SystemClock(), STRATEGIES[strategy]())
    pool.use(None, choices)
    pool.replace(people(count))
    return pool


def serve(pool: Pool) -> str:
    lease = pool.lease(Wish("m"))
    assert isinstance(lease, Lease)
    with lease:
        return lease.account.id


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_asking_changes_nobodys_turn_and_the_first_is_the_next(strategy: str) -> None:
    asked, unasked = make_pool(strategy), make_pool(strategy)
    for _ in range(12):
        prospect = asked.prospect("m", suits=lambda candidate: candidate.id != "0003")
        assert (prospect.strategy, prospect.limit) == (strategy, "")
        assert sorted(prospect.order) == ["0000", "0001", "0002", "0004"]
        first = asked.prospect("m").order[0]
        assert serve(asked) == serve(unasked) == first


def test_an_account_whose_quota_is_held_back_has_no_turn_but_is_a_member() -> None:
    pool = make_pool("round_robin", 3)
    pool.reserve("p1", "m", Cooldown(SystemClock().now() + 60, FaultKind.QUOTA_PER_DAY))
    prospect = pool.prospect("m")
    assert sorted(prospect.order) == ["0000", "0002"]
    assert prospect.members == {"0000", "0001", "0002"}
    assert len(pool.prospect("another").order) == 3


def test_a_rule_confines_a_key_and_leaves_the_others_alone() -> None:
    pool = make_pool("sticky", 3, Choices([Rule(Choice("work", "fill_first"), key="laptop")]))
    pool.admit(Candidate(id="w", email="w@example.com", project="pw", groups=frozenset({"work"})))
    confined = pool.prospect("m", "laptop")
    assert (confined.strategy, confined.limit) == ("fill_first", "work")
    assert confined.members == {"w"}
    assert confined.order == ("w",)
    assert len(pool.prospect("m", "phone").order) == 4


def test_turns_of_a_large_pool_are_told_of_the_first_only() -> None:
    assert len(make_pool("fill_first", MAX_TURNS + 50).prospect("m").order) == MAX_TURNS
