"""What quota protection holds back is given to nobody, is explained, and comes back by itself."""

from __future__ import annotations

import asyncio
import time

from tests.pool.fakes import HandClock

from regrant.accounts.entry import Entry
from regrant.accounts.lifecycle import Kept
from regrant.accounts.model import Account, Pause
from regrant.clock import SystemClock
from regrant.pool.cooldown import Cooldown, CooldownKey
from regrant.pool.lease import Absence, Lease, Unavailable, Wish
from regrant.pool.members import Members
from regrant.pool.pool import Pool
from regrant.pool.selector import Candidate
from regrant.pool.strategies.round_robin import RoundRobin
from regrant.upstream.faults import FaultKind, Scope

MODEL = "m"
ANN = Candidate(id="a", email="ann@example.com", project="p")
BOB = Candidate(id="b", email="bob@example.com", project="p")
CARA = Candidate(id="c", email="cara@example.com", project="q")


def make_pool(*candidates: Candidate, clock: HandClock | SystemClock | None = None) -> Pool:
    pool = Pool(clock or HandClock(), RoundRobin())
    pool.replace(candidates)
    return pool


def day(until: float) -> Cooldown:
    return Cooldown(until, FaultKind.QUOTA_PER_DAY)


def minute(until: float) -> Cooldown:
    return Cooldown(until, FaultKind.RATE_LIMITED)


def leased(pool: Pool, model: str = MODEL) -> str:
    outcome = pool.lease(Wish(model))
    if isinstance(outcome, Unavailable):
        return ""
    outcome.release()
    return outcome.account.id


def absence(pool: Pool) -> Unavailable:
    outcome = pool.lease(Wish(MODEL))
    assert isinstance(outcome, Unavailable)
    return outcome


def test_exactly_the_accounts_of_the_project_are_left_out_for_the_model() -> None:
    pool = make_pool(ANN, BOB, CARA)
    pool.reserve("p", MODEL, day(2e6))
    assert {leased(pool) for _ in range(4)} == {"c"}
    assert {leased(pool, "other") for _ in range(4)} == {"a", "b", "c"}


def test_an_account_that_comes_later_is_left_out_too() -> None:
    pool = make_pool(CARA)
    pool.reserve("p", MODEL, day(2e6))
    pool.admit(ANN)
    assert {leased(pool) for _ in range(4)} == {"c"}


def test_it_ends_at_its_time_by_itself() -> None:
    clock = HandClock()
    pool = make_pool(ANN, clock=clock)
    pool.reserve("p", MODEL, minute(clock.time + 30))
    assert leased(pool) == ""
    clock.time += 29.9
    assert leased(pool) == ""
    clock.time += 0.1
    assert leased(pool) == "a"


def test_it_ends_when_the_guard_says_so_and_a_nearer_end_replaces_a_later_one() -> None:
    clock = HandClock()
    pool = make_pool(ANN, clock=clock)
    pool.reserve("p", MODEL, day(clock.time + 5000))
    pool.reserve("p", MODEL, minute(clock.time + 30))
    assert pool.reserves(MODEL) == {"p": minute(clock.time + 30)}
    assert absence(pool).retry_after_s == 30
    pool.reserve("p", MODEL, None)
    assert leased(pool) == "a"


def test_the_absence_says_quota_until_when_and_whether_it_is_the_day() -> None:
    clock = HandClock()
    pool = make_pool(ANN, BOB, CARA, clock=clock)
    pool.reserve("p", MODEL, day(clock.time + 5000))
    pool.reserve("q", MODEL, day(clock.time + 6000))
    told = absence(pool)
    assert (told.reasons, told.retry_after_s, told.per_day) == ({Absence.QUOTA: 3}, 5000, True)
    pool.reserve("q", MODEL, minute(clock.time + 10))
    told = absence(pool)
    assert (told.retry_after_s, told.free_in_s, told.per_day) == (10, 10, False)


def test_an_account_at_its_reserve_that_cools_as_well_is_back_when_both_have_ended() -> None:
    clock = HandClock()
    pool = make_pool(ANN, clock=clock)
    pool.reserve("p", MODEL, minute(clock.time + 10))
    key = CooldownKey(scope=Scope.ACCOUNT, account="a")
    pool.observe(key, Cooldown(clock.time + 40, FaultKind.RATE_LIMITED))
    told = absence(pool)
    assert (told.reasons, told.retry_after_s) == ({Absence.QUOTA: 1}, 40)


async def test_who_waits_for_a_reserve_to_end_gets_only_what_is_there_then() -> None:
    """Ten wait for a quota of which two calls are left when it comes back: the guard counts as they go."""
    pool = make_pool(ANN, clock=SystemClock())
    pool.reserve("p", MODEL, minute(time.time() + 0.1))
    called = 0

    async def ask() -> bool:
        nonlocal called
        outcome = await pool.lease_or_wait(Wish(MODEL), deadline=time.monotonic() + 10, max_wait_s=3)
        if isinstance(outcome, Unavailable):
            return False
        called += 1
        if called == 2:
            pool.reserve("p", MODEL, minute(time.time() + 60))
        await asyncio.sleep(0)
        outcome.release()
        return True

    answers = await asyncio.wait_for(asyncio.gather(*(ask() for _ in range(10))), 20)
    assert sum(answers) == called == 2
    assert pool.leases == 0


def test_the_guards_entries_in_a_file_hold_nobody_back_but_a_persons_do() -> None:
    pool = make_pool()
    members = Members(pool, lambda: "")
    account = Account(
        id="a", email="ann@example.com", protected_models=(MODEL, "hand"), protected_until={MODEL: 2**40}
    )
    members.fill([Entry(Kept(account), account)])
    assert leased(pool) == "a"
    assert leased(pool, "hand") == ""
    every = Account(id="a", email="ann@example.com", protected_models=("*",), paused=Pause(at=1))
    members.account_changed("a", Entry(Kept(every), every))
    assert pool.absences == {Absence.QUOTA: 1}, "quota protection comes before the owner's pause"


async def test_a_lease_that_is_out_when_the_reserve_begins_goes_on() -> None:
    pool = make_pool(ANN)
    lease = pool.lease(Wish(MODEL))
    assert isinstance(lease, Lease)
    pool.reserve("p", MODEL, day(2e6))
    assert pool.in_flight("a") == 1
    lease.release()
    assert pool.in_flight("a") == 0
