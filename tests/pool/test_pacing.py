"""Those who wait are let loose by and by, and nobody hears of a waiting crowd more than once a second."""

from __future__ import annotations

import asyncio

from regrant.pool.appeal import Appeal, appeal_text
from regrant.pool.pacing import FORGET_S, PACE_S, Pacing


def drain(pacing: Pacing, now: float, most: int = 1000) -> int:
    """How many of a crowd get the account at that moment."""
    for count in range(most):
        if "a" in pacing.spent(now):
            return count
        pacing.took("a", now)
    return most


def test_batches_double_while_there_is_a_crowd() -> None:
    pacing = Pacing()
    assert [drain(pacing, number * PACE_S * 1.01) for number in range(6)] == [1, 2, 4, 8, 16, 32]


def test_nothing_more_goes_out_within_a_batch_s_time() -> None:
    pacing = Pacing()
    assert [drain(pacing, PACE_S * part) for part in (0, 0.3, 0.9)] == [1, 0, 0]


def test_each_account_has_a_pace_of_its_own() -> None:
    pacing = Pacing()
    drain(pacing, 0)
    assert pacing.spent(0) == {"a"}
    assert pacing.took("b", 0)
    assert pacing.spent(0) == {"a", "b"}


def test_after_a_while_an_account_starts_with_one_again() -> None:
    pacing = Pacing()
    for number in range(5):
        drain(pacing, number * PACE_S * 1.01)
    later = 5 * PACE_S + FORGET_S
    assert drain(pacing, later) == 1


async def test_an_appeal_is_told_at_once_then_at_most_once_a_second_and_ends() -> None:
    told: list[int] = []
    again = asyncio.Event()

    def hear(count: int) -> None:
        told.append(count)
        again.set()

    appeal = Appeal()
    appeal.listeners.append(hear)
    for count in (1, 2, 3):
        appeal.note(count)
    assert told == [1]
    assert appeal.count == 3
    again.clear()
    await asyncio.wait_for(again.wait(), 10)
    assert told == [1, 3]
    again.clear()
    appeal.note(0)
    await asyncio.wait_for(again.wait(), 10)
    assert told == [1, 3, 0]


def test_the_owner_is_told_in_words() -> None:
    assert appeal_text(3) == "3 requests are waiting for you"
    assert appeal_text(1) == "1 request is waiting for you"
