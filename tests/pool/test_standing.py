"""Every check, in the contract's order."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from regrant.pool.cooldown import CooldownKey, Cooldowns
from regrant.pool.standing import Obstacle, Standing, explain
from regrant.upstream.faults import FaultKind, Scope

ANN = Standing(id="1", email="ann@example.com", project="p")
ORDER = ["disabled", "quota", "paused", "attention", "cooldown", "client"]
WRONG = Obstacle(since=5.0, advice="mend it")


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
        ("disabled", replace(ANN, disabled=WRONG)),
        ("paused", replace(ANN, paused=WRONG)),
        ("attention", replace(ANN, attention=WRONG)),
        ("client", replace(ANN, client=WRONG)),
    ],
)
def test_each_obstacle_is_its_own_check(name: str, standing: Standing) -> None:
    assert failing(standing) == [name]
    (explanation,) = explain([standing], "m", Cooldowns().blocked("m", 0.0))
    (check,) = [check for check in explanation.checks if not check.ok]
    assert (check.since, check.advice) == (5.0, "mend it")


def test_protection_concerns_only_its_models() -> None:
    assert failing(replace(ANN, protected=frozenset({"m"}), protected_until=9.0)) == ["quota"]
    assert failing(replace(ANN, protected=frozenset({"other"}))) == []


@pytest.mark.parametrize("kind", list(FaultKind))
def test_a_cooldown_says_until_when_and_what_to_do(kind: FaultKind) -> None:
    cooldowns = Cooldowns()
    cooldowns.set(CooldownKey(scope=Scope.PROJECT, project="p"), 60.0, kind)
    (explanation,) = explain([ANN], "m", cooldowns.blocked("m", 0.0))
    check = explanation.checks[4]
    assert (check.ok, check.until) == (False, 60.0)
    assert check.advice


def test_a_cooldown_that_waits_for_a_person_has_no_end() -> None:
    cooldowns = Cooldowns()
    cooldowns.set(CooldownKey(scope=Scope.PROJECT, project="p"), math.inf, FaultKind.BILLING)
    (explanation,) = explain([ANN], "m", cooldowns.blocked("m", 0.0))
    assert explanation.checks[4].until is None


def test_all_obstacles_are_told_together() -> None:
    standing = replace(
        ANN, disabled=WRONG, paused=WRONG, protected=frozenset({"m"}), client=WRONG, attention=WRONG
    )
    assert failing(standing) == ["disabled", "quota", "paused", "attention", "client"]
