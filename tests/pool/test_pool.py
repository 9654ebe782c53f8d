"""Leases, cool-downs, coming and going, and waiting in line."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import msgspec
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.pool.fakes import HandClock, make_candidates

from regrant.clock import Clock, SystemClock
from regrant.pool.cooldown import Cooldown, CooldownKey
from regrant.pool.lease import Absence, Lease, Unavailable, Wish
from regrant.pool.pool import Pool
from regrant.pool.selector import Candidate
from regrant.pool.strategies.round_robin import RoundRobin
from regrant.pool.strategies.sticky import Sticky
from regrant.pool.waiting import WaitingRoom
from regrant.upstream.faults import UNTIL_A_PERSON_ACTS, Fault, FaultKind, Hold, Scope, Whose

WISH = Wish("m")


def make_pool(count: int = 3, clock: Clock | None = None, **more: Any) -> Pool:
    pool = Pool(clock or HandClock(), RoundRobin(), **more)
    pool.replace(make_candidates(count))
    return pool


def take(pool: Pool, wish: Wish = WISH) -> Lease:
    lease = pool.lease(wish)
    assert isinstance(lease, Lease)
    return lease


def refuse(pool: Pool, wish: Wish = WISH) -> Unavailable:
    none = pool.lease(wish)
    assert isinstance(none, Unavailable)
    return none


def held(
    scope: Scope, until: float, kind: FaultKind = FaultKind.RATE_LIMITED, *, guessed: bool = False
) -> Fault:
    return Fault(kind=kind, whose=Whose.PROJECT, status=429, hold=Hold(scope, until, guessed))


def cool(pool: Pool, number: int, until: float, model: str = "m") -> None:
    key = CooldownKey(scope=Scope.PROJECT_MODEL, project=f"project-{number}", model=model)
    pool.observe(key, Cooldown(until, FaultKind.RATE_LIMITED))


def test_a_lease_is_counted_and_given_back_exactly_once() -> None:
    pool = make_pool(1)
    with take(pool) as first:
        second = take(pool)
        assert pool.in_flight("id-0") == pool.leases == 2
        second.release()
        second.release()
        assert pool.leases == 1
        first.release()
    assert pool.in_flight("id-0") == pool.leases == 0


def test_a_lease_is_given_back_when_its_request_fails() -> None:
    pool = make_pool(1)
    with pytest.raises(ZeroDivisionError), take(pool):
        _ = 1 / 0
    assert pool.leases == 0


def test_an_evicted_account_is_never_leased_again_and_its_leases_go_on() -> None:
    pool = make_pool(1)
    lease = take(pool)
    pool.evict("id-0", Absence.DISABLED)
    assert refuse(pool).reasons == {Absence.DISABLED: 1}
    assert pool.leases == 1
    lease.release()
    assert pool.leases == 0
    assert pool.absences == {Absence.DISABLED: 1}


def test_reasons_are_counted_by_account() -> None:
    pool = make_pool(5)
    pool.evict("id-0", Absence.DISABLED)
    pool.evict("id-0", Absence.PAUSED)
    pool.admit(msgspec.structs.replace(make_candidates(1, first=1)[0], protected=frozenset({"m"})))
    cool(pool, 2, math.inf)
    cool(pool, 3, 2_000_000)
    wish = Wish("m", exclude={"id-4"})
    assert refuse(pool, wish).reasons == {
        Absence.PAUSED: 1,
        Absence.QUOTA: 1,
        Absence.ATTENTION: 1,
        Absence.COOLDOWN: 1,
        Absence.TRIED: 1,
    }
    unsuited = refuse(pool, Wish("m", suits=lambda candidate: candidate.upstream == "vertex"))
    assert unsuited.reasons == {Absence.PAUSED: 1, Absence.UNSUITED: 4}
    pool.forget("id-0")
    assert Absence.PAUSED not in refuse(pool, wish).reasons


def test_a_rate_limit_cools_exactly_the_project_and_model() -> None:
    clock = HandClock()
    pool = make_pool(0, clock)
    shared = [Candidate(id=name, email=f"{name}@example.com", project="shared") for name in "ab"]
    pool.replace([*shared, Candidate(id="c", email="c@example.com", project="own")])
    with take(pool) as lease:
        assert lease.account.id == "a"
        pool.report(lease, held(Scope.PROJECT_MODEL, clock.time + 30))
    assert {take(pool).account.id for _ in range(4)} == {"c"}
    assert {take(pool, Wish("other")).account.id for _ in range(3)} == {"a", "b", "c"}
    clock.time += 30
    assert {take(pool).account.id for _ in range(3)} == {"a", "b", "c"}


def test_overload_holds_the_model_back_on_every_account() -> None:
    clock = HandClock()
    pool = make_pool(3, clock)
    pool.report(take(pool), held(Scope.MODEL, clock.time + 2, FaultKind.OVERLOADED))
    none = refuse(pool)
    assert (none.overloaded, none.retry_after_s, none.per_day) == (True, 2.0, False)
    take(pool, Wish("other"))


def test_the_end_for_the_client_counts_tried_accounts_and_the_end_for_waiting_does_not() -> None:
    clock = HandClock()
    pool = make_pool(2, clock)
    cool(pool, 0, clock.time + 5)
    cool(pool, 1, clock.time + 50)
    none = refuse(pool, Wish("m", exclude={"id-0"}))
    assert (none.retry_after_s, none.free_in_s) == (5.0, 50.0)


def test_a_used_up_day_is_told_from_a_moments_limit() -> None:
    clock = HandClock()
    pool = make_pool(1, clock)
    pool.report(take(pool), held(Scope.PROJECT_MODEL, clock.time + 9000, FaultKind.QUOTA_PER_DAY))
    assert refuse(pool).per_day


def test_requests_refused_at_the_same_time_are_one_strike() -> None:
    clock = HandClock()
    pool = make_pool(1, clock)
    leases = [take(pool) for _ in range(10)]
    for lease in leases:
        assert lease.strikes == 0
        pool.report(lease, held(Scope.PROJECT_MODEL, clock.time + 30, guessed=True))
    clock.time += 31
    probe = take(pool)
    assert probe.strikes == 1
    probe.release()
    pool.report(probe, held(Scope.PROJECT_MODEL, clock.time + 60, guessed=True))
    clock.time += 61
    last = take(pool)
    assert last.strikes == 2
    pool.succeeded(last)
    assert take(pool).strikes == 0


def test_a_person_who_brings_an_account_back_ends_what_waited_for_a_person() -> None:
    told: list[tuple[CooldownKey, Cooldown | None]] = []
    pool = make_pool(1, on_cooldown=lambda key, cooldown: told.append((key, cooldown)))
    lease = take(pool)
    pool.report(lease, held(Scope.PROJECT, UNTIL_A_PERSON_ACTS, FaultKind.BILLING))
    pool.report(lease, held(Scope.ACCOUNT, 2_000_000, FaultKind.PERMISSION))
    pool.evict("id-0", Absence.ATTENTION)
    assert refuse(pool).retry_after_s is None
    pool.admit(lease.account)
    take(pool)
    assert [cooldown is None for _, cooldown in told] == [False, False, True, True]


def test_an_account_that_was_in_keeps_its_cooldowns_when_it_changes() -> None:
    clock = HandClock()
    pool = make_pool(1, clock)
    lease = take(pool)
    pool.report(lease, held(Scope.ACCOUNT, clock.time + 50))
    pool.admit(msgspec.structs.replace(lease.account, location="us-east5"))
    refuse(pool)


def test_what_was_said_about_an_empty_pool_is_never_kept_past_a_change() -> None:
    clock = HandClock()
    pool = make_pool(2, clock)
    cool(pool, 0, clock.time + 10)
    cool(pool, 1, clock.time + 20)
    assert refuse(pool).retry_after_s == 10
    clock.time += 4
    assert refuse(pool).retry_after_s == 6
    clock.time += 6
    assert take(pool).account.id == "id-0"
    cool(pool, 0, clock.time + 100)
    assert refuse(pool).retry_after_s == 10
    pool.clear(CooldownKey(scope=Scope.PROJECT_MODEL, project="project-0", model="m"))
    assert take(pool).account.id == "id-0"
    pool.evict("id-0", Absence.PAUSED)
    assert refuse(pool).reasons[Absence.PAUSED] == 1
    pool.replace(make_candidates(1, first=7))
    assert take(pool).account.id == "id-7"


def test_the_pool_is_right_when_all_but_one_of_ten_thousand_cool() -> None:
    clock = HandClock()
    for strategy in (RoundRobin(), Sticky()):
        pool = Pool(clock, strategy)
        pool.replace(make_candidates(10_000))
        for number in range(10_000):
            if number != 1234:
                cool(pool, number, clock.time + 1 + number % 50)
        for key in range(5):
            assert take(pool, Wish("m", key)).account.id == "id-1234"
        assert refuse(pool, Wish("m", exclude={"id-1234"})).retry_after_s == 1
        clock.time += 60
        assert len({take(pool, Wish("m", key * 2**58)).account.id for key in range(40)}) > 30


def test_a_longer_time_told_by_another_process_counts_at_once() -> None:
    clock = HandClock()
    pool = make_pool(1, clock)
    cool(pool, 0, clock.time + 10)
    assert refuse(pool).retry_after_s == 10
    cool(pool, 0, clock.time + 30)
    assert refuse(pool).retry_after_s == 30
    lease = Lease(make_candidates(1)[0], "m", {})
    pool.report(lease, held(Scope.PROJECT_MODEL, clock.time + 50))
    assert refuse(pool).retry_after_s == 50


async def wait(
    pool: Pool, wish: Wish = WISH, *, max_wait_s: float = 30.0, rescue_s: float = 0.0, in_s: float = 60.0
) -> Lease | Unavailable:
    now = pool._clock.monotonic()
    return await pool.lease_or_wait(wish, deadline=now + in_s, max_wait_s=max_wait_s, rescue_s=rescue_s)


async def stand_in_line(pool: Pool, *wishes: Wish, **more: float) -> list[asyncio.Task[Lease | Unavailable]]:
    tasks = []
    for wish in wishes:
        tasks.append(asyncio.create_task(wait(pool, wish, **more)))
        await asyncio.sleep(0)
    assert pool.waiting == len(wishes)
    return tasks


async def test_nobody_waits_while_any_account_is_free() -> None:
    pool = make_pool(2)
    cool(pool, 0, 2_000_000)
    lease = await asyncio.wait_for(wait(pool), 5)
    assert isinstance(lease, Lease)
    assert lease.account.id == "id-1"


async def test_a_short_known_time_is_waited_out() -> None:
    clock = SystemClock()
    pool = Pool(clock, RoundRobin())
    pool.replace(make_candidates(1))
    until = clock.now() + 0.05
    cool(pool, 0, until)
    lease = await asyncio.wait_for(wait(pool), 5)
    assert isinstance(lease, Lease)
    assert clock.now() >= until


@pytest.mark.parametrize(("max_wait_s", "in_s"), [(5.0, 60.0), (60.0, 5.0)])
async def test_a_time_longer_than_allowed_is_not_waited_for(max_wait_s: float, in_s: float) -> None:
    clock = HandClock()
    pool = make_pool(1, clock)
    cool(pool, 0, clock.time + 10)
    none = await asyncio.wait_for(wait(pool, max_wait_s=max_wait_s, in_s=in_s), 5)
    assert isinstance(none, Unavailable)
    assert pool.waiting == 0


async def test_those_who_wait_are_served_in_the_order_of_arrival() -> None:
    clock = SystemClock()
    pool = make_pool(1, clock)
    cool(pool, 0, clock.now() + 10)
    order: list[int] = []

    async def queue_up(number: int) -> None:
        with await wait(pool) as lease:  # type: ignore[union-attr]  # an Unavailable here fails the test
            assert lease.account.id == "id-0"
            order.append(number)

    tasks = []
    for number in range(5):
        tasks.append(asyncio.create_task(queue_up(number)))
        await asyncio.sleep(0)
    pool.clear(CooldownKey(scope=Scope.PROJECT_MODEL, project="project-0", model="m"))
    await asyncio.wait_for(asyncio.gather(*tasks), 5)
    assert order == [0, 1, 2, 3, 4]
    assert pool.leases == pool.waiting == 0


async def test_a_newcomer_does_not_overtake_those_who_wait() -> None:
    clock = HandClock()
    pool = make_pool(2, clock)
    for number in (0, 1):
        cool(pool, number, clock.time + 10)
    (first,) = await stand_in_line(pool, Wish("m", exclude={"id-1"}))
    clock.time += 11  # free now, and the alarm of the one who waits has not rung yet
    newcomer = asyncio.create_task(wait(pool))
    leases = await asyncio.wait_for(asyncio.gather(first, newcomer), 5)
    assert all(isinstance(lease, Lease) for lease in leases)
    assert [lease.account.id for lease in leases if isinstance(lease, Lease)] == ["id-0", "id-1"]


async def test_an_admitted_account_wakes_those_who_wait_for_a_cooldown() -> None:
    clock = SystemClock()
    pool = make_pool(1, clock)
    cool(pool, 0, clock.now() + 10)
    tasks = await stand_in_line(pool, WISH, WISH)
    pool.admit(make_candidates(1, first=9)[0])
    leases = await asyncio.wait_for(asyncio.gather(*tasks), 5)
    assert [lease.account.id for lease in leases if isinstance(lease, Lease)] == ["id-9", "id-9"]


async def test_requests_outlive_the_last_account_until_its_owner_signs_in() -> None:
    pool = make_pool(1)
    pool.evict("id-0", Absence.DISABLED)
    (task,) = await stand_in_line(pool, WISH, rescue_s=30)
    pool.admit(make_candidates(1)[0])
    assert isinstance(await asyncio.wait_for(task, 5), Lease)


async def test_nobody_waits_for_a_rescue_that_cannot_come() -> None:
    clock = HandClock()
    pool = make_pool(1, clock)
    assert isinstance(
        await asyncio.wait_for(wait(pool, Wish("m", exclude={"id-0"}), rescue_s=30), 5), Unavailable
    )
    pool.evict("id-0", Absence.PAUSED)
    assert isinstance(await asyncio.wait_for(wait(pool, rescue_s=30), 5), Unavailable)


async def test_a_rescue_that_does_not_come_in_time_is_given_up() -> None:
    pool = Pool(SystemClock(), RoundRobin())
    pool.evict("id-0", Absence.DISABLED)
    assert isinstance(await asyncio.wait_for(wait(pool, rescue_s=0.05), 5), Unavailable)
    assert pool.waiting == 0


async def test_waiting_that_becomes_hopeless_ends_at_once() -> None:
    clock = HandClock()
    pool = make_pool(1, clock)
    cool(pool, 0, clock.time + 10)
    (task,) = await stand_in_line(pool, WISH)
    pool.evict("id-0", Absence.DISABLED)
    none = await asyncio.wait_for(task, 5)
    assert isinstance(none, Unavailable)
    assert none.reasons == {Absence.DISABLED: 1}


async def test_a_client_that_leaves_gives_up_its_place() -> None:
    clock = HandClock()
    pool = make_pool(1, clock)
    cool(pool, 0, clock.time + 10)
    gone, stays = await stand_in_line(pool, WISH, WISH)
    gone.cancel()
    await asyncio.wait({gone}, timeout=5)
    assert pool.waiting == 1
    pool.admit(make_candidates(1, first=9)[0])
    assert isinstance(await asyncio.wait_for(stays, 5), Lease)
    assert pool.leases == 1


async def test_a_lease_handed_to_a_client_that_is_just_leaving_is_given_back() -> None:
    clock = HandClock()
    pool = make_pool(1, clock)
    cool(pool, 0, clock.time + 10)
    (task,) = await stand_in_line(pool, WISH)
    pool.admit(make_candidates(1, first=9)[0])
    assert pool.leases == 1
    task.cancel()
    await asyncio.wait({task}, timeout=5)
    assert task.cancelled()
    assert pool.leases == pool.waiting == 0


async def test_an_account_that_comes_in_the_moment_a_client_leaves_harms_nobody() -> None:
    clock = SystemClock()
    pool = make_pool(1, clock)
    cool(pool, 0, clock.now() + 10)
    gone, stays = await stand_in_line(pool, WISH, WISH)
    gone.cancel()
    pool.admit(make_candidates(1, first=9)[0])
    assert isinstance(await asyncio.wait_for(stays, 5), Lease)
    await asyncio.wait({gone}, timeout=5)
    assert gone.cancelled()
    assert pool.leases == 1


async def test_the_room_is_bounded() -> None:
    clock = HandClock()
    pool = make_pool(1, clock, max_waiting=2)
    cool(pool, 0, clock.time + 10)
    tasks = await stand_in_line(pool, WISH, WISH)
    assert isinstance(await asyncio.wait_for(wait(pool), 5), Unavailable)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks, timeout=5)
    assert pool.waiting == 0


async def test_those_who_wait_for_a_person_are_counted_until_she_comes_or_they_leave() -> None:
    pool = make_pool(1, SystemClock())
    pool.evict("id-0", Absence.DISABLED)
    leaves, stays = await stand_in_line(pool, WISH, WISH, rescue_s=30)
    assert pool.appeal.count == 2
    leaves.cancel()
    await asyncio.wait({leaves}, timeout=5)
    assert pool.appeal.count == 1
    pool.admit(make_candidates(1)[0])
    assert isinstance(await asyncio.wait_for(stays, 5), Lease)
    assert pool.appeal.count == pool.waiting == 0
    assert pool.waits.rescued == 1


async def test_the_pace_refuses_nobody_whose_patience_ends() -> None:
    clock = SystemClock()
    pool = make_pool(1, clock)
    cool(pool, 0, clock.now() + 0.1)
    tasks = await stand_in_line(pool, *[WISH] * 20, max_wait_s=0.3)
    outcomes = await asyncio.wait_for(asyncio.gather(*tasks), 5)
    assert all(isinstance(outcome, Lease) for outcome in outcomes)


async def test_a_crowd_that_wants_the_same_asks_the_pool_once() -> None:
    asked: list[Wish] = []

    def lease(wish: Wish) -> Unavailable:
        asked.append(wish)
        return Unavailable(reasons={Absence.COOLDOWN: 1}, retry_after_s=5.0, free_in_s=5.0)

    room = WaitingRoom(SystemClock(), lease, max_waiting=1000)
    tasks = [
        asyncio.create_task(
            room.wait(WISH, deadline=SystemClock().monotonic() + 60, max_wait_s=30, rescue_s=0)
        )
        for _ in range(200)
    ]
    await asyncio.sleep(0)
    asked.clear()
    room.serve()
    assert len(asked) == 1
    assert len(room) == 200
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks, timeout=5)
    assert not room.expects("m")


class PoolMachine(RuleBasedStateMachine):
    """Any history: never an unavailable or excluded account, and every lease comes back."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = HandClock(0.0)
        self.pool = Pool(self.clock, Sticky())
        self.members: dict[str, Candidate] = {}
        self.ends: dict[str, float] = {}
        self.leases: list[Lease] = []

    @rule(number=st.integers(0, 6))
    def admit(self, number: int) -> None:
        (candidate,) = make_candidates(1, first=number)
        self.pool.admit(candidate)
        self.members[candidate.id] = candidate

    @rule(number=st.integers(0, 6), why=st.sampled_from([Absence.DISABLED, Absence.PAUSED]))
    def evict(self, number: int, why: Absence) -> None:
        self.pool.evict(f"id-{number}", why)
        self.members.pop(f"id-{number}", None)

    @rule(key=st.none() | st.integers(0, 2**64), exclude=st.sets(st.integers(0, 6)))
    def lease(self, key: int | None, exclude: set[int]) -> None:
        names = {f"id-{number}" for number in exclude}
        free = {
            id_
            for id_, candidate in self.members.items()
            if self.ends.get(candidate.project, 0.0) <= self.clock.time and id_ not in names
        }
        outcome = self.pool.lease(Wish("m", key, exclude=names))
        assert isinstance(outcome, Lease) == bool(free)
        if isinstance(outcome, Lease):
            assert outcome.account.id in free
            self.leases.append(outcome)

    @precondition(lambda self: self.leases)
    @rule(at=st.integers(0, 100), seconds=st.floats(0, 20))
    def fail(self, at: int, seconds: float) -> None:
        lease = self.leases.pop(at % len(self.leases))
        until = self.clock.time + seconds
        self.pool.report(lease, held(Scope.PROJECT_MODEL, until))
        self.ends[lease.account.project] = max(until, self.ends.get(lease.account.project, 0.0))
        lease.release()

    @rule(seconds=st.floats(0, 15))
    def let_time_pass(self, seconds: float) -> None:
        self.clock.time += seconds

    @invariant()
    def counts_are_those_of_the_leases(self) -> None:
        assert self.pool.leases == len(self.leases)
        assert {candidate.id for candidate in self.pool.candidates} == set(self.members)


TestAnyHistory = PoolMachine.TestCase
