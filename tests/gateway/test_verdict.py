"""Section 8 of the contract, case by case."""

from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec
import pytest

from regrant.gateway.verdict import (
    Ending,
    EndingKind,
    GiveUp,
    Progress,
    RetryOther,
    RetrySame,
    describe,
    describe_absence,
    is_about_the_model,
    is_outage,
    judge,
)
from regrant.pool.lease import Absence, Unavailable
from regrant.upstream.faults import UNTIL_A_PERSON_ACTS, Fault, FaultKind, Hold, Scope, Whose

PACIFIC = ZoneInfo("America/Los_Angeles")
NOW = datetime(2026, 7, 1, 12, 0, tzinfo=PACIFIC).timestamp()
FIRST = Progress(calls=1, max_attempts=4, time_left_s=60.0)


def fault(kind: FaultKind, status: int = 0, hold: Hold | None = None) -> Fault:
    return Fault(kind=kind, whose=Whose.GOOGLE, status=status, hold=hold)


def problem_of(kind: FaultKind, progress: Progress, status: int = 0) -> Ending:
    verdict = judge(fault(kind, status), progress, now=NOW)
    assert isinstance(verdict, GiveUp)
    return verdict.ending


def test_a_401_is_replayed_once_on_the_same_account_then_moves_on() -> None:
    refused = fault(FaultKind.TOKEN_REJECTED, 401)
    assert judge(refused, FIRST, now=NOW) == RetrySame()
    assert judge(refused, msgspec.structs.replace(FIRST, calls=2, replayed=True), now=NOW) == RetryOther()


def test_a_refused_signature_is_repeated_only_with_a_mended_body_and_counts_as_a_call() -> None:
    refused = fault(FaultKind.SIGNATURE_REFUSED, 400)
    assert judge(refused, msgspec.structs.replace(FIRST, mended=True), now=NOW) == RetrySame()
    assert problem_of(FaultKind.SIGNATURE_REFUSED, FIRST, 400).kind is EndingKind.PASS_ON
    exhausted = msgspec.structs.replace(FIRST, calls=4, mended=True)
    assert problem_of(FaultKind.SIGNATURE_REFUSED, exhausted, 400).kind is EndingKind.PASS_ON


@pytest.mark.parametrize(
    "kind",
    [FaultKind.RATE_LIMITED, FaultKind.QUOTA_PER_DAY, FaultKind.NO_QUOTA, FaultKind.BILLING, FaultKind.PERMISSION,
     FaultKind.UNUSABLE_HERE, FaultKind.MODEL_NOT_ALLOWED],
)  # fmt: skip
def test_what_one_account_or_project_lacks_is_asked_of_another_until_the_attempts_are_used_up(
    kind: FaultKind,
) -> None:
    for calls in (1, 2, 3):
        assert judge(fault(kind), msgspec.structs.replace(FIRST, calls=calls), now=NOW) == RetryOther()
    assert isinstance(judge(fault(kind), msgspec.structs.replace(FIRST, calls=4), now=NOW), GiveUp)


@pytest.mark.parametrize(
    "kind",
    [
        FaultKind.SERVER_ERROR,
        FaultKind.CONNECT_FAILED,
        FaultKind.RESET,
        FaultKind.CUT,
        FaultKind.OVERLOADED,
        FaultKind.BAD_ANSWER,
    ],
)
def test_an_outage_is_repeated_once_on_another_account_and_no_more(kind: FaultKind) -> None:
    assert is_outage(fault(kind))
    assert judge(fault(kind), FIRST, now=NOW) == RetryOther()
    assert (
        problem_of(kind, msgspec.structs.replace(FIRST, calls=2, outages=1)).kind
        is EndingKind.UPSTREAM_UNAVAILABLE
    )


def test_two_different_outages_are_two_outages() -> None:
    assert problem_of(FaultKind.RESET, msgspec.structs.replace(FIRST, calls=2, outages=1), 0).status == 502


@pytest.mark.parametrize("kind", [FaultKind.ANSWER_TIMEOUT, FaultKind.IDLE])
def test_a_call_that_may_be_billed_is_not_repeated(kind: FaultKind) -> None:
    assert problem_of(kind, FIRST).status == 504


def test_an_answer_cut_after_its_first_byte_is_not_repeated() -> None:
    assert (
        problem_of(FaultKind.CUT, msgspec.structs.replace(FIRST, answered=True)).kind
        is EndingKind.UPSTREAM_UNAVAILABLE
    )


@pytest.mark.parametrize(
    ("kind", "status"),
    [(FaultKind.CLIENT_ERROR, 400), (FaultKind.CLIENT_ERROR, 413), (FaultKind.MODEL_NOT_FOUND, 404)],
)
def test_the_clients_own_mistake_is_passed_on_at_once(kind: FaultKind, status: int) -> None:
    problem = problem_of(kind, FIRST, status)
    assert (problem.kind, problem.status) == (EndingKind.PASS_ON, status)


@pytest.mark.parametrize("kind", list(FaultKind))
def test_nothing_is_retried_after_the_commit_point(kind: FaultKind) -> None:
    assert problem_of(kind, msgspec.structs.replace(FIRST, committed=True)).kind is EndingKind.CUT


@pytest.mark.parametrize("kind", list(FaultKind))
def test_nothing_is_retried_when_the_time_is_up(kind: FaultKind) -> None:
    assert isinstance(judge(fault(kind), msgspec.structs.replace(FIRST, time_left_s=0.0), now=NOW), GiveUp)


@pytest.mark.parametrize("kind", [FaultKind.ACCOUNT_DIED, FaultKind.TOKEN_UNAVAILABLE])
def test_the_death_of_an_account_does_not_use_up_an_attempt(kind: FaultKind) -> None:
    assert judge(fault(kind), msgspec.structs.replace(FIRST, calls=4), now=NOW) == RetryOther(counted=False)


@pytest.mark.parametrize("kind", list(FaultKind))
def test_a_401_of_googles_never_becomes_the_clients(kind: FaultKind) -> None:
    assert describe(fault(kind, 401 if kind is FaultKind.TOKEN_REJECTED else 400), now=NOW).status != 401


def test_a_rate_limit_says_when_to_come_back() -> None:
    held = fault(FaultKind.RATE_LIMITED, 429, Hold(Scope.PROJECT_MODEL, NOW + 7))
    assert describe(held, now=NOW) == Ending(kind=EndingKind.RATE_LIMITED, status=429, retry_after_s=7)
    day = fault(FaultKind.QUOTA_PER_DAY, 429, Hold(Scope.PROJECT_MODEL, NOW + 7000))
    assert describe(day, now=NOW).per_day


def test_a_hold_without_an_end_names_no_time() -> None:
    assert (
        describe(
            fault(FaultKind.BILLING, 402, Hold(Scope.PROJECT, UNTIL_A_PERSON_ACTS)), now=NOW
        ).retry_after_s
        is None
    )


def test_a_504_of_googles_stays_one() -> None:
    assert problem_of(FaultKind.SERVER_ERROR, msgspec.structs.replace(FIRST, outages=1), 504).status == 504
    assert problem_of(FaultKind.SERVER_ERROR, msgspec.structs.replace(FIRST, outages=1), 500).status == 502


DEAD = Unavailable(reasons={Absence.DISABLED: 3})
COOLING = Unavailable(reasons={Absence.COOLDOWN: 2}, retry_after_s=9.0, free_in_s=9.0)


@pytest.mark.parametrize(
    ("unavailable", "last", "kind", "status", "retry_after_s", "per_day"),
    [
        (DEAD, None, EndingKind.NO_ACCOUNTS, 503, None, False),
        (DEAD, FaultKind.ACCOUNT_DIED, EndingKind.NO_ACCOUNTS, 503, None, False),
        (COOLING, FaultKind.RATE_LIMITED, EndingKind.RATE_LIMITED, 429, 9.0, False),
        (msgspec.structs.replace(COOLING, per_day=True), None, EndingKind.RATE_LIMITED, 429, 9.0, True),
        (msgspec.structs.replace(COOLING, overloaded=True), None, EndingKind.UPSTREAM_UNAVAILABLE, 503, 9.0, False),
        (COOLING, FaultKind.RESET, EndingKind.UPSTREAM_UNAVAILABLE, 502, None, False),
        (DEAD, FaultKind.TOKEN_UNAVAILABLE, EndingKind.UPSTREAM_UNAVAILABLE, 503, 5.0, False),
        (Unavailable(reasons={Absence.QUOTA: 1}), None, EndingKind.RATE_LIMITED, 429, 12 * 3600, True),
        (Unavailable(reasons={}), None, EndingKind.NO_ACCOUNTS, 503, None, False),
    ],
)  # fmt: skip
def test_an_empty_pool_is_told_by_its_cause(
    unavailable: Unavailable,
    last: FaultKind | None,
    kind: EndingKind,
    status: int,
    retry_after_s: float | None,
    per_day: bool,
) -> None:
    problem = describe_absence(unavailable, None if last is None else fault(last), now=NOW, tz=PACIFIC)
    assert (problem.kind, problem.status, problem.retry_after_s, problem.per_day) == (
        kind,
        status,
        retry_after_s,
        per_day,
    )


def test_another_model_is_no_help_against_a_mistake_or_where_google_is_out_of_reach() -> None:
    rest = {kind for kind in FaultKind if not is_about_the_model(fault(kind))}
    assert rest == {
        FaultKind.CLIENT_ERROR,
        FaultKind.SIGNATURE_REFUSED,
        FaultKind.ANSWER_TIMEOUT,
        FaultKind.IDLE,
        FaultKind.CUT,
        FaultKind.CONNECT_FAILED,
        FaultKind.RESET,
        FaultKind.BAD_ANSWER,
        FaultKind.BLOCKED,
        FaultKind.TOKEN_UNAVAILABLE,
    }
