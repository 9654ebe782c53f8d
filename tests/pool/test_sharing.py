"""A cool-down that one process learns of holds in the others, and after a restart."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from regrant.clock import SystemClock
from regrant.pool.cooldown import Cooldown, CooldownKey
from regrant.pool.lease import Lease, Wish
from regrant.pool.pool import Pool
from regrant.pool.selector import Candidate
from regrant.pool.sharing import SharedCooldowns
from regrant.pool.strategies.round_robin import RoundRobin
from regrant.state import StateDatabase
from regrant.upstream.faults import Fault, FaultKind, Hold, Scope, Whose

ANN = Candidate(id="a", email="ann@example.com", project="p")
KEY = CooldownKey(scope=Scope.PROJECT_MODEL, project="p", model="m")


@pytest.fixture
def states(tmp_path: Path) -> Iterator[tuple[StateDatabase, StateDatabase]]:
    ours, theirs = (StateDatabase(tmp_path / "state.sqlite3", SystemClock()) for _ in range(2))
    yield ours, theirs
    ours.close()
    theirs.close()


def make_pool(shared: SharedCooldowns) -> Pool:
    pool = Pool(SystemClock(), RoundRobin(), on_cooldown=shared.publish)
    pool.replace([ANN])
    return pool


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)


def serves(pool: Pool) -> bool:
    outcome = pool.lease(Wish("m"))
    if isinstance(outcome, Lease):
        outcome.release()
        return True
    return False


class TurnedClock:
    """A clock that a person, or the network, sets."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def now(self) -> float:
        return time.time() + self.ahead_s

    def monotonic(self) -> float:
        return time.monotonic()


async def test_what_was_set_by_a_clock_that_was_far_ahead_ends_when_it_is_set_right(
    states: tuple[StateDatabase, StateDatabase],
) -> None:
    clock = TurnedClock()
    clock.ahead_s = 365 * 86_400.0
    shared = SharedCooldowns(states[0])
    pool = Pool(clock, RoundRobin(), on_cooldown=shared.publish)
    pool.replace([ANN])
    task = asyncio.create_task(shared.follow(pool))
    lease = pool.lease(Wish("m"))
    assert isinstance(lease, Lease)
    lease.release()
    hold = Hold(Scope.PROJECT_MODEL, clock.now() + 60)
    pool.report(lease, Fault(kind=FaultKind.RATE_LIMITED, whose=Whose.PROJECT, status=429, hold=hold))
    assert not serves(pool)
    assert await asyncio.to_thread(states[0].flush, 10)
    clock.ahead_s = 0.0
    late = make_pool(SharedCooldowns(states[1]))  # a process that is begun now
    await SharedCooldowns(states[1]).take_in(late)
    assert serves(late)
    await until(lambda: serves(pool))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_cooldown_of_one_process_holds_in_the_other_until_it_is_cleared(
    states: tuple[StateDatabase, StateDatabase],
) -> None:
    first, second = (make_pool(SharedCooldowns(state)) for state in states)
    follower = asyncio.create_task(SharedCooldowns(states[1]).follow(second))
    lease = first.lease(Wish("m"))
    assert isinstance(lease, Lease)
    hold = Hold(Scope.PROJECT_MODEL, time.time() + 600)
    first.report(lease, Fault(kind=FaultKind.RATE_LIMITED, whose=Whose.PROJECT, hold=hold))
    await until(lambda: not serves(second))
    assert second.blocked("m").project_models["p"] == Cooldown(hold.until, FaultKind.RATE_LIMITED)
    first.clear(KEY)
    await until(lambda: serves(second))
    follower.cancel()
    await asyncio.wait({follower}, timeout=5)


async def test_how_often_it_failed_in_a_row_is_shared_with_a_guessed_end(
    states: tuple[StateDatabase, StateDatabase],
) -> None:
    guess = Cooldown(time.time() + 600, FaultKind.RATE_LIMITED, 3)
    SharedCooldowns(states[0]).publish(KEY, guess)
    assert states[0].flush(10)
    pool = make_pool(SharedCooldowns(states[1]))
    await SharedCooldowns(states[1]).take_in(pool)
    assert pool.cooldowns() == [(KEY, guess)]


async def test_cooldowns_survive_a_restart_and_what_cannot_be_read_is_passed_over(
    states: tuple[StateDatabase, StateDatabase], tmp_path: Path
) -> None:
    SharedCooldowns(states[0]).publish(KEY, Cooldown(time.time() + 600, FaultKind.QUOTA_PER_DAY))
    assert states[0].flush(10)
    with closing(sqlite3.connect(tmp_path / "state.sqlite3")) as connection:
        for number, (key, value) in enumerate(
            [
                ("no key", '"billing"'),
                ('["moon","","",""]', '"billing"'),
                (KEY.encode() + " ", '"of the future"'),
                ("[]", "{}"),
            ]
        ):
            connection.execute(
                "insert into observed values ('cooldown', ?, ?, ?, 'x', ?)",
                (key, value, time.time() + 600, 90 + number),
            )
        connection.commit()
    pool = make_pool(SharedCooldowns(states[1]))
    follower = asyncio.create_task(SharedCooldowns(states[1]).follow(pool))
    await until(lambda: not serves(pool))
    assert [key for key, _ in pool.cooldowns()] == [KEY]
    assert not follower.done()
    follower.cancel()
    await asyncio.wait({follower}, timeout=5)
