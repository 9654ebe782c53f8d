"""What was left alone by guess is tried by one request first, and an account that needs a person now and then."""

from __future__ import annotations

import math
from typing import Any

import pytest
from tests.pool.fakes import HandClock, make_candidates

from regrant.pool.breaker import FORGET_S, PROBE_S, TRIAL_GAP_S, UNCLEAR_S, Trials
from regrant.pool.cooldown import Cooldown, CooldownKey
from regrant.pool.lease import Absence, Lease, Unavailable, Wish
from regrant.pool.pool import Pool
from regrant.pool.selector import Candidate
from regrant.pool.strategies.sticky import Sticky
from regrant.upstream.faults import (
    UNTIL_A_PERSON_ACTS,
    Attention,
    Fault,
    FaultKind,
    Hold,
    Scope,
    Whose,
)

WISH = Wish("m")
SCOPES = [Scope.PROJECT_MODEL, Scope.PROJECT, Scope.ACCOUNT, Scope.MODEL]
Told = list[tuple[CooldownKey, Cooldown | None]]


def make_pool(count: int, clock: HandClock, **more: Any) -> Pool:
    pool = Pool(clock, Sticky(), **more)
    pool.replace(make_candidates(count))
    return pool


def take(pool: Pool, wish: Wish = WISH) -> Lease:
    lease = pool.lease(wish)
    assert isinstance(lease, Lease)
    return lease


def fail(
    pool: Pool, lease: Lease, scope: Scope, wait_s: float, clock: HandClock, *, guessed: bool = True
) -> None:
    """The attempt ends as the pipeline ends it: released first, then reported."""
    lease.release()
    hold = Hold(scope, clock.time + wait_s, guessed)
    pool.report(lease, Fault(kind=FaultKind.RATE_LIMITED, whose=Whose.PROJECT, status=429, hold=hold))


def half_opened(scope: Scope, clock: HandClock, count: int = 1, **more: Any) -> Pool:
    """A pool whose only cool-down, a guess, has just ended."""
    pool = make_pool(count, clock, **more)
    fail(pool, take(pool), scope, 30, clock)
    clock.time += 30
    return pool


@pytest.mark.parametrize("scope", SCOPES)
def test_after_a_guess_one_request_tries_and_the_others_are_told_when_to_come(scope: Scope) -> None:
    clock = HandClock()
    pool = half_opened(scope, clock)
    probe = take(pool)
    assert probe.strikes == 1
    none = pool.lease(WISH)
    assert isinstance(none, Unavailable)
    assert none.retry_after_s == PROBE_S
    assert none.reasons == {Absence.COOLDOWN: 1}


@pytest.mark.parametrize("scope", SCOPES)
def test_a_success_opens_it_for_everybody(scope: Scope) -> None:
    clock = HandClock()
    told: Told = []
    pool = half_opened(scope, clock, on_cooldown=lambda key, cooldown: told.append((key, cooldown)))
    probe = take(pool)
    pool.succeeded(probe)
    assert [take(pool).strikes for _ in range(5)] == [0] * 5
    assert told[-1] == (told[0][0], None), "the other processes hear of it"


@pytest.mark.parametrize("scope", SCOPES)
def test_the_same_failure_closes_it_again_and_counts(scope: Scope) -> None:
    clock = HandClock()
    pool = half_opened(scope, clock)
    for strikes in (1, 2, 3):
        probe = take(pool)
        assert probe.strikes == strikes
        fail(pool, probe, scope, 60, clock)
        assert isinstance(pool.lease(WISH), Unavailable)
        clock.time += 60


def test_while_one_tries_the_others_keep_to_other_accounts() -> None:
    clock = HandClock()
    pool = half_opened(Scope.PROJECT_MODEL, clock, count=2)
    leases = [take(pool) for _ in range(10)]
    probes = [lease for lease in leases if lease.probe is not None]
    assert len(probes) == 1
    assert len({lease.account.id for lease in leases if lease.probe is None}) == 1


def test_a_probe_that_ends_without_a_verdict_leaves_it_to_the_next() -> None:
    clock = HandClock()
    pool = half_opened(Scope.PROJECT_MODEL, clock)
    take(pool).release()
    second = take(pool)
    assert second.strikes == 1
    assert isinstance(pool.lease(WISH), Unavailable)


def test_a_probe_that_takes_long_does_not_keep_the_others_out() -> None:
    clock = HandClock()
    pool = half_opened(Scope.MODEL, clock)
    take(pool)
    clock.time += PROBE_S
    assert take(pool).strikes == 1
    assert isinstance(pool.lease(WISH), Unavailable), "again one at a time"


def test_a_late_success_of_a_request_from_before_proves_nothing() -> None:
    clock = HandClock()
    pool = make_pool(1, clock)
    early, late = take(pool), take(pool)
    fail(pool, early, Scope.PROJECT_MODEL, 30, clock)
    pool.succeeded(late)
    assert isinstance(pool.lease(WISH), Unavailable)


def test_a_known_end_needs_no_probe() -> None:
    clock = HandClock()
    pool = make_pool(1, clock)
    fail(pool, take(pool), Scope.PROJECT_MODEL, 45, clock, guessed=False)
    clock.time += 45
    assert [take(pool).probe for _ in range(3)] == [None] * 3


def test_a_replay_with_a_fresh_token_goes_on_probing() -> None:
    clock = HandClock()
    pool = half_opened(Scope.PROJECT_MODEL, clock)
    first = take(pool)
    first.release()
    replay = pool.renew(first)
    assert replay.strikes == 1
    assert isinstance(pool.lease(WISH), Unavailable)
    pool.succeeded(replay)
    assert take(pool).probe is None


def test_what_nobody_wanted_for_long_is_simply_open() -> None:
    clock = HandClock()
    pool = half_opened(Scope.PROJECT_MODEL, clock)
    pool.cooldowns()
    clock.time += FORGET_S + 1
    assert take(pool).probe is None


def test_clearing_by_hand_ends_what_is_named_and_nothing_else() -> None:
    clock = HandClock()
    pool = make_pool(3, clock)
    keys = [
        CooldownKey(scope=Scope.PROJECT_MODEL, project="project-0", model="m"),
        CooldownKey(scope=Scope.PROJECT, project="project-0"),
        CooldownKey(scope=Scope.PROJECT_MODEL, project="project-1", model="m"),
        CooldownKey(scope=Scope.MODEL, model="n"),
        CooldownKey(scope=Scope.ACCOUNT, account="id-2"),
    ]

    def left() -> set[int]:
        return {keys.index(key) for key, _ in pool.cooldowns()}

    def set_all() -> None:
        for key in keys:
            pool.observe(key, Cooldown(clock.time + 600, FaultKind.RATE_LIMITED))

    for named, rest in (
        ({"account": "id-2"}, {0, 1, 2, 3}),
        ({"project": "project-0"}, {2, 3, 4}),
        ({"model": "m"}, {1, 3, 4}),
        ({}, set()),
    ):
        set_all()
        assert pool.clear_all(**named) == 5 - len(rest)
        assert left() == rest


@pytest.mark.parametrize("guessed", [True, False])
@pytest.mark.parametrize("scope", SCOPES)
def test_a_late_success_ends_nothing_that_a_later_call_was_refused_with(
    scope: Scope, *, guessed: bool
) -> None:
    clock = HandClock()
    pool = half_opened(scope, clock)
    slow = take(pool)
    clock.time += PROBE_S
    fail(pool, take(pool), scope, 60, clock, guessed=guessed)
    pool.succeeded(slow)
    assert isinstance(pool.lease(WISH), Unavailable)
    clock.time += 60
    take(pool)


# -- accounts that need a person -------------------------------------------------------------------------------------------

ANN = Candidate(id="ann", email="ann@example.com", project="p-ann")
NEEDED = Attention(code="service_disabled", message="Enable the API.")


def refused(clock: HandClock, wait_s: float = 300) -> Fault:
    hold = Hold(Scope.ACCOUNT, clock.time + wait_s, guessed=True)
    return Fault(kind=FaultKind.PERMISSION, whose=Whose.ACCOUNT, status=403, hold=hold, attention=NEEDED)


def sent_away(clock: HandClock, count: int = 2, after_s: float = 300) -> Pool:
    pool = make_pool(count, clock, trial_after_s=lambda: after_s)
    pool.admit(ANN)
    pool.evict(ANN.id, Absence.ATTENTION, ANN)
    return pool


def takers(pool: Pool, count: int = 10) -> list[str]:
    return [take(pool, Wish("m", key=number)).account.id for number in range(count)]


def test_an_account_that_needs_a_person_is_tried_by_one_request_after_a_while() -> None:
    clock = HandClock()
    pool = sent_away(clock)
    assert "ann" not in takers(pool)
    clock.time += 300
    trial = take(pool)
    assert (trial.account.id, trial.trial) == ("ann", True)
    assert "ann" not in takers(pool)
    assert pool.absences == {Absence.ATTENTION: 1}


def test_each_trial_in_vain_makes_the_next_one_rarer_up_to_a_limit() -> None:
    clock = HandClock()
    pool = sent_away(clock)
    clock.time += 300
    for wait_s in (600, 1200, 2400, 3600, 3600):
        trial = take(pool)
        assert trial.trial
        trial.release()
        fault = Fault(kind=FaultKind.BILLING, whose=Whose.PROJECT, status=402, attention=NEEDED)
        pool.report(trial, fault)
        clock.time += wait_s - 1
        assert "ann" not in takers(pool)
        clock.time += 1


def test_the_cool_down_that_the_refusal_set_comes_first() -> None:
    clock = HandClock()
    pool = sent_away(clock)
    clock.time += 300
    trial = take(pool)
    trial.release()
    pool.report(trial, refused(clock, 900))
    clock.time += 899
    assert "ann" not in takers(pool)
    clock.time += 1
    again = take(pool)
    assert (again.account.id, again.strikes) == ("ann", 1)


def test_a_trial_that_tells_nothing_is_repeated_soon() -> None:
    clock = HandClock()
    pool = sent_away(clock)
    clock.time += 300
    take(pool).release()
    clock.time += UNCLEAR_S
    assert take(pool).trial


def test_a_trial_that_tells_nothing_is_repeated_no_later_than_a_first_one_would_be() -> None:
    clock = HandClock()
    pool = sent_away(clock, after_s=UNCLEAR_S / 10)
    clock.time += UNCLEAR_S / 10
    take(pool).release()
    clock.time += UNCLEAR_S / 10
    assert take(pool).trial


@pytest.mark.parametrize(
    "key",
    [
        CooldownKey(scope=Scope.MODEL, model="m"),
        CooldownKey(scope=Scope.PROJECT_MODEL, project="p-ann", model="m"),
    ],
    ids=["the model", "the model of the project"],
)
def test_a_project_that_waits_for_a_person_is_not_tried_with_what_is_held_back_besides(
    key: CooldownKey,
) -> None:
    clock = HandClock()
    pool = sent_away(clock, count=0)
    pool.observe(CooldownKey(scope=Scope.PROJECT, project="p-ann"), Cooldown(math.inf, FaultKind.BILLING))
    pool.observe(key, Cooldown(clock.time + 400, FaultKind.RATE_LIMITED))
    clock.time += 300
    assert isinstance(pool.lease(WISH), Unavailable)
    clock.time += 100
    assert take(pool).trial


def test_a_trial_leaves_the_reserve_of_a_quota_alone() -> None:
    clock = HandClock()
    pool = sent_away(clock, count=0)
    pool.reserve("p-ann", "m", Cooldown(clock.time + 400, FaultKind.QUOTA_PER_DAY))
    clock.time += 300
    assert isinstance(pool.lease(WISH), Unavailable)
    clock.time += 100
    assert take(pool).trial


def test_an_account_that_is_mended_is_an_account_like_the_others() -> None:
    clock = HandClock()
    pool = sent_away(clock, count=0)
    pool.observe(CooldownKey(scope=Scope.PROJECT, project="p-ann"), Cooldown(math.inf, FaultKind.BILLING))
    assert isinstance(pool.lease(WISH), Unavailable)
    clock.time += 300
    assert take(pool).trial, "also where the whole project waits for a person"
    pool.admit(ANN)
    assert not take(pool).trial
    assert pool.cooldowns() == []


def test_a_trial_is_never_forced_on_a_request_that_the_account_does_not_suit() -> None:
    clock = HandClock()
    pool = sent_away(clock)
    pool.observe(
        CooldownKey(scope=Scope.PROJECT_MODEL, project="p-ann", model="full"),
        Cooldown(1e12, FaultKind.RATE_LIMITED),
    )
    clock.time += 300
    for wish in (
        Wish("m", exclude={"ann"}),
        Wish("m", suits=lambda candidate: candidate.id != "ann"),
        Wish("full"),
    ):
        assert not take(pool, wish).trial
        clock.time += TRIAL_GAP_S
    assert take(pool).trial


def test_many_accounts_that_are_due_are_tried_by_one_request_a_second_and_never_two_by_one_request() -> None:
    clock = HandClock()
    pool = make_pool(1, clock, trial_after_s=lambda: 300.0)
    for account in make_candidates(50, first=100):
        pool.evict(account.id, Absence.ATTENTION, account)
    clock.time += 300
    trials = [lease for lease in (take(pool) for _ in range(20)) if lease.trial]
    assert len(trials) == 1
    assert not take(pool, Wish("m", exclude={trials[0].account.id})).trial
    clock.time += TRIAL_GAP_S
    assert take(pool).trial
    assert not take(pool).trial


def test_a_trial_waits_for_the_cool_down_that_another_process_told_of() -> None:
    trials = Trials(lambda: 300.0)
    trials.enter(ANN, 1000.0)
    assert trials.take(1300.0, lambda _: True, lambda _: 2000.0) is None
    assert trials.next_at == 2000.0
    assert trials.take(2000.0, lambda _: True, lambda _: 0.0) is ANN


def test_with_zero_only_a_person_brings_it_back() -> None:
    clock = HandClock()
    pool = sent_away(clock, after_s=0)
    clock.time += 1_000_000
    assert "ann" not in takers(pool)


def test_a_time_that_is_set_to_zero_later_ends_all_trials_and_one_that_is_set_again_begins_them() -> None:
    clock = HandClock()
    after_s = 300.0
    pool = make_pool(2, clock, trial_after_s=lambda: after_s)
    both = list(pool.candidates)
    pool.replace(both, {ANN.id: Absence.ATTENTION}, [ANN])
    after_s = 0.0
    pool.replace(both, {ANN.id: Absence.ATTENTION}, [ANN])  # as changed settings do
    clock.time += 1_000_000
    assert "ann" not in takers(pool)
    after_s = 60.0
    pool.replace(both, {ANN.id: Absence.ATTENTION}, [ANN])
    clock.time += 60
    assert take(pool).trial


def test_ending_its_cool_down_by_hand_makes_the_next_request_try_it() -> None:
    clock = HandClock()
    pool = sent_away(clock)
    pool.observe(
        CooldownKey(scope=Scope.ACCOUNT, account="ann"), Cooldown(clock.time + 600, FaultKind.PERMISSION, 1)
    )
    assert pool.clear_all(account="ann") == 1
    assert take(pool).trial


def test_a_pool_that_is_filled_anew_keeps_the_times_of_those_who_still_wait() -> None:
    clock = HandClock()
    trials = Trials(lambda: 300.0)
    bob = Candidate(id="bob", email="bob@example.com", project="p-bob")
    trials.enter(ANN, clock.time)
    trials.enter(bob, clock.time)
    clock.time += 200
    trials.keep([ANN], clock.time)
    assert trials.next_at == clock.time + 100
    trials.keep([], clock.time)
    assert trials.next_at == math.inf


def test_an_end_that_only_a_person_brings_is_no_guess() -> None:
    clock = HandClock()
    pool = make_pool(1, clock)
    lease = take(pool)
    lease.release()
    pool.report(
        lease,
        Fault(kind=FaultKind.BILLING, whose=Whose.PROJECT, hold=Hold(Scope.PROJECT, UNTIL_A_PERSON_ACTS)),
    )
    clock.time += 1_000_000
    assert isinstance(pool.lease(WISH), Unavailable)
