"""What one process counts and learns of quotas is known to the others, and after a restart."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.pool.fakes import HandClock

from regrant.clock import SystemClock
from regrant.pool.quota import Ledger, Reported, Rules, day_at
from regrant.pool.quota_limits import Limit, Measure, Source
from regrant.pool.quota_sharing import COUNTS, LIMIT, USAGE, SharedQuota
from regrant.state import StateDatabase

RPD = Measure.REQUESTS_PER_DAY


class Process:
    """The ledger of one process on the data folder."""

    def __init__(self, folder: Path) -> None:
        self.clock = SystemClock()
        self.state = StateDatabase(folder / "state.sqlite3", self.clock)
        self.ledger = Ledger()
        self.ledger.use(Rules(), self.clock.now())
        self.shared = SharedQuota(self.ledger, self.state, self.clock)

    def call(self, times: int = 1) -> None:
        for _ in range(times):
            self.ledger.count_request("p", "m", self.clock.now())

    def store(self) -> None:
        self.shared.flush()
        assert self.state.flush(5)

    def used(self) -> int:
        figures = self.ledger.figures(self.clock.now(), ["p"])
        return next((one.used for one in figures if one.measure is RPD), 0)

    def limit(self) -> Limit | None:
        figures = self.ledger.figures(self.clock.now(), ["p"])
        return next((one.limit for one in figures if one.measure is RPD), None)


@pytest.fixture
def open_process(tmp_path: Path) -> Iterator[Callable[[], Process]]:
    opened: list[Process] = []

    def open_one() -> Process:
        opened.append(Process(tmp_path))
        return opened[-1]

    yield open_one
    for process in opened:
        process.state.close()


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)


async def test_the_counts_of_processes_that_ended_are_taken_in(open_process: Callable[[], Process]) -> None:
    for times in (3, 4):
        process = open_process()
        await process.shared.take_in()
        process.call(times)
        process.store()
    again = open_process()
    await again.shared.take_in()
    assert again.used() == 7
    again.call()
    again.store()
    await again.shared.take_in()
    assert again.used() == 8, "its own row is not taken for somebody else's"


async def test_processes_that_run_at_the_same_time_follow_each_other_and_count_nothing_twice(
    open_process: Callable[[], Process],
) -> None:
    first, second = open_process(), open_process()
    followers = [asyncio.create_task(one.shared.follow()) for one in (first, second)]
    try:
        for _ in range(3):
            first.call(2)
            second.call(1)
            first.store()
            second.store()
        await until(lambda: first.used() == second.used() == 9)
        first.store()
        second.store()
        third = open_process()
        await third.shared.take_in()
        assert third.used() == 9
    finally:
        for follower in followers:
            follower.cancel()
        await asyncio.gather(*followers, return_exceptions=True)


async def test_limits_and_reports_are_shared_with_source_and_age(
    open_process: Callable[[], Process],
) -> None:
    first = open_process()
    now = first.clock.now()
    limit = Limit(250, Source.LEARNED, now - 60)
    first.shared.tell_limit("p", "m", RPD, limit)
    reported = Reported(240, Source.CLOUD, now - 30)
    first.shared.tell_usage("p", "m", RPD, reported, day_at(now, first.ledger.rules.zone)[1])
    first.store()
    second = open_process()
    await second.shared.take_in()
    assert (second.limit(), second.used()) == (limit, 240)


async def test_what_somebody_else_wrote_that_cannot_be_read_is_passed_over(
    open_process: Callable[[], Process],
) -> None:
    first = open_process()
    later = first.clock.now() + 1000
    for kind in (COUNTS, LIMIT, USAGE):
        first.state.put(kind, "not json", 1, later)
        first.state.put(kind, '["p","m"]', [1], later)
        first.state.put(kind, '["w",0,1,"p","m"]', {"a": 1}, later)
        first.state.put(kind, '["p","m","requests_per_century","learned"]', [5, 1.0], later)
    first.state.put(COUNTS, f'["w",0.0,{later},"p","m"]', [0, -1, -1, -1, -1], later)
    first.call(2)
    first.store()
    second = open_process()
    await second.shared.take_in()
    assert second.used() == 2


async def test_a_day_that_is_over_leaves_no_row(tmp_path: Path) -> None:
    clock = HandClock(time.time())
    state = StateDatabase(tmp_path / "state.sqlite3", clock)
    ledger = Ledger()
    ledger.use(Rules(), clock.now())
    shared = SharedQuota(ledger, state, clock)
    try:
        ledger.count_request("p", "m", clock.now())
        shared.flush()
        assert state.flush(5)
        assert len(state.load(COUNTS)) == 1
        clock.time += 86_400
        ledger.count_request("p", "m", clock.now())
        shared.flush()
        assert state.flush(5)
        assert len(state.load(COUNTS)) == 1
    finally:
        state.close()
