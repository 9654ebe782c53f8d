"""Every check, in the contract's order."""

from __future__ import annotations

import math

import msgspec
import pytest

from regrant.accounts.diagnosis import Advice
from regrant.pool.cooldown import Cooldown, CooldownKey, Cooldowns
from regrant.pool.standing import Obstacle, Standing, explain
from regrant.upstream.fault_words import words_of
from regrant.upstream.faults import FaultKind, Scope

ANN = Standing(id="1", email="ann@example.com", project="p")
ORDER = ["disabled", "quota", "paused", "attention", "cooldown", "client"]
WRONG = Obstacle(since=5.0, advice=Advice("mend it", "https://example.com", "regrant mend"))


def failing(standing: Standing, cooldowns: Cooldowns | None = None) -> list[str]:
    (explanation,) = explain([standing], "m", (cooldowns or Cooldowns()).blocked("m", 0.0))
    assert [check.check for check in explanation.checks] == ORDER
    assert explanation.serves == all(check.ok for check in explanation.checks)
    return [check.check for check in explanation.checks if not check.ok]


def test_an_account_with_nothing_in_the_way_serves() -> None:
    assert failing(ANN) == []


@pytest.mark.parametrize(
    ("name", "standing"),
    [
        ("disabled", msgspec.structs.replace(ANN, disabled=WRONG)),
        ("paused", msgspec.structs.replace(ANN, paused=WRONG)),
        ("attention", msgspec.structs.replace(ANN, attention=WRONG)),
        ("client", msgspec.structs.replace(ANN, client=WRONG)),
    ],
)
def test_each_obstacle_is_its_own_check(name: str, standing: Standing) -> None:
    assert failing(standing) == [name]
    (explanation,) = explain([standing], "m", Cooldowns().blocked("m", 0.0))
    (check,) = [check for check in explanation.checks if not check.ok]
    assert (check.since, check.advice) == (5.0, WRONG.advice)


def test_protection_concerns_only_its_models() -> None:
    assert failing(msgspec.structs.replace(ANN, protected=frozenset({"m"}))) == ["quota"]
    assert failing(msgspec.structs.replace(ANN, protected=frozenset({"*"}))) == ["quota"]
    assert failing(msgspec.structs.replace(ANN, protected=frozenset({"other"}))) == []


def test_the_guards_reserve_ends_by_itself_and_a_persons_word_does_not() -> None:
    reserve = Cooldown(9.0, FaultKind.QUOTA_PER_DAY)
    checks = explain([msgspec.structs.replace(ANN, reserve=reserve)], "m", Cooldowns().blocked("m", 0.0))[
        0
    ].checks
    assert (checks[1].ok, checks[1].until) == (False, 9.0)
    assert checks[1].advice is not None
    assert "ends by itself" in checks[1].advice.text
    standing = msgspec.structs.replace(ANN, reserve=reserve, protected=frozenset({"m"}))
    checks = explain([standing], "m", Cooldowns().blocked("m", 0.0))[0].checks
    assert (checks[1].ok, checks[1].until) == (False, None)
    assert checks[1].advice is not None
    assert "by hand" in checks[1].advice.text


@pytest.mark.parametrize("kind", list(FaultKind))
def test_a_cooldown_says_until_when_and_what_to_do(kind: FaultKind) -> None:
    cooldowns = Cooldowns()
    cooldowns.set(CooldownKey(scope=Scope.PROJECT, project="p"), 60.0, kind, since=2.0)
    (explanation,) = explain([ANN], "m", cooldowns.blocked("m", 0.0))
    check = explanation.checks[4]
    assert (check.ok, check.since, check.until) == (False, 2.0, 60.0)
    assert check.advice is not None
    assert words_of(kind).meaning in check.advice.text
    assert check.advice.text.endswith("It concerns every account of project p.")


def test_of_several_cooldowns_the_last_to_end_is_told_and_whom_it_concerns() -> None:
    cooldowns = Cooldowns()
    told = []
    for end, scope in enumerate((Scope.ACCOUNT, Scope.MODEL, Scope.PROJECT_MODEL, Scope.PROJECT), 1):
        key = CooldownKey.of(scope, project="p", model="m", account="1")
        cooldowns.set(key, 10.0 * end, FaultKind.RATE_LIMITED)
        check = explain([ANN], "m", cooldowns.blocked("m", 0.0))[0].checks[4]
        assert check.advice is not None
        told.append((check.until, check.advice.text.rpartition("It concerns ")[2]))
    assert told == [
        (10.0, "this account alone."),
        (20.0, "this model on every account."),
        (30.0, "this model on every account of project p."),
        (40.0, "every account of project p."),
    ]


def test_a_trial_says_that_one_request_is_trying() -> None:
    cooldowns = Cooldowns()
    cooldowns.set(CooldownKey(scope=Scope.ACCOUNT, account="1"), 5.0, FaultKind.OVERLOADED, strikes=1)
    cooldowns.prune(6.0)
    assert cooldowns.probe(project="p", account="1", model="m", now=6.0) is not None
    check = explain([ANN], "m", cooldowns.blocked("m", 6.0))[0].checks[4]
    assert (check.ok, check.since) == (False, 6.0)
    assert check.advice is not None
    assert "One request is trying it now." in check.advice.text


def test_a_cooldown_that_waits_for_a_person_has_no_end() -> None:
    cooldowns = Cooldowns()
    cooldowns.set(CooldownKey(scope=Scope.PROJECT, project="p"), math.inf, FaultKind.BILLING)
    (explanation,) = explain([ANN], "m", cooldowns.blocked("m", 0.0))
    assert explanation.checks[4].until is None


def test_all_obstacles_are_told_together() -> None:
    standing = msgspec.structs.replace(
        ANN, disabled=WRONG, paused=WRONG, protected=frozenset({"m"}), client=WRONG, attention=WRONG
    )
    assert failing(standing) == ["disabled", "quota", "paused", "attention", "client"]


def test_the_first_check_that_fails_is_the_reason() -> None:
    standing = msgspec.structs.replace(ANN, paused=WRONG, attention=WRONG)
    assert explain([standing], "m", Cooldowns().blocked("m", 0.0))[0].reason == "paused"
    assert explain([ANN], "m", Cooldowns().blocked("m", 0.0))[0].reason == ""
