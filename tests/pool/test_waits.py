"""What is counted of requests that wait for an account: how it ended, and for how long it took."""

from __future__ import annotations

import asyncio

from tests.pool.fakes import HandClock, make_candidates

from regrant.pool.cooldown import Cooldown, CooldownKey
from regrant.pool.lease import Absence, Lease, Unavailable, Wish
from regrant.pool.pool import Pool
from regrant.pool.strategies.sticky import Sticky
from regrant.pool.waiting import Waits
from regrant.upstream.faults import FaultKind, Scope

WISH = Wish("m")
KEY = CooldownKey(scope=Scope.PROJECT_MODEL, project="project-0", model="m")


def cooling_pool(clock: HandClock, *, for_s: float = 10.0, max_waiting: int = 1000) -> Pool:
    """A pool of one account that will be free again."""
    pool = Pool(clock, Sticky(), max_waiting=max_waiting)
    pool.replace(make_candidates(1))
    pool.observe(KEY, Cooldown(clock.now() + for_s, FaultKind.RATE_LIMITED))
    return pool


async def begin_to_wait(
    pool: Pool, clock: HandClock, *, rescue_s: float = 0.0
) -> asyncio.Task[Lease | Unavailable]:
    deadline = clock.monotonic() + 60
    task = asyncio.create_task(pool.lease_or_wait(WISH, deadline=deadline, max_wait_s=30, rescue_s=rescue_s))
    for _ in range(3):
        await asyncio.sleep(0)  # it stands in line, or has its answer
    return task


async def test_a_request_that_gets_its_account_is_served_and_timed() -> None:
    clock = HandClock()
    pool = cooling_pool(clock)
    task = await begin_to_wait(pool, clock)
    clock.time += 4
    pool.clear(KEY)
    assert isinstance(await asyncio.wait_for(task, 5), Lease)
    assert pool.waits == Waits(served=1, seconds=4.0)


async def test_one_whose_account_is_brought_back_is_rescued() -> None:
    clock = HandClock()
    pool = cooling_pool(clock)
    pool.evict("id-0", Absence.DISABLED)
    task = await begin_to_wait(pool, clock, rescue_s=30)
    pool.admit(make_candidates(1, first=3)[0])
    assert isinstance(await asyncio.wait_for(task, 5), Lease)
    assert pool.waits == Waits(rescued=1)


async def test_a_client_that_leaves_the_line_has_given_up() -> None:
    clock = HandClock()
    pool = cooling_pool(clock)
    task = await begin_to_wait(pool, clock)
    clock.time += 2
    task.cancel()
    await asyncio.wait({task}, timeout=5)
    assert pool.waits == Waits(given_up=1, seconds=2.0)


async def test_who_has_no_hope_does_not_wait() -> None:
    clock = HandClock()
    pool = cooling_pool(clock, for_s=3600)
    assert isinstance(await (await begin_to_wait(pool, clock)), Unavailable)
    assert pool.waits == Waits()


async def test_who_finds_the_room_full_is_turned_away() -> None:
    clock = HandClock()
    pool = cooling_pool(clock, max_waiting=1)
    first = await begin_to_wait(pool, clock)
    assert isinstance(await (await begin_to_wait(pool, clock)), Unavailable)
    pool.clear(KEY)
    assert isinstance(await asyncio.wait_for(first, 5), Lease)
    assert pool.waits == Waits(served=1, turned_away=1)
