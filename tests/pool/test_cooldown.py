"""Cool-downs: known times are never shortened, and what has ended is forgotten."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrant.pool.cooldown import CooldownKey, Cooldowns
from regrant.upstream.faults import FaultKind, Scope

KEYS = [
    CooldownKey.of(scope, project=project, model=model, account=account)
    for scope in Scope
    for project in ("p", "q")
    for model in ("m", "n")
    for account in ("a", "b")
]
WHY = FaultKind.RATE_LIMITED


@given(
    told=st.lists(st.tuples(st.sampled_from(KEYS), st.floats(0, 100) | st.just(math.inf)), max_size=40),
    now=st.floats(0, 100),
)
def test_an_account_is_held_back_until_the_latest_end_that_was_ever_told(
    told: list[tuple[CooldownKey, float]], now: float
) -> None:
    cooldowns = Cooldowns()
    for key, until in told:
        cooldowns.set(key, until, WHY)
    for project in "pq":
        for model in "mn":
            for account in "ab":
                keys = {
                    CooldownKey.of(scope, project=project, model=model, account=account) for scope in Scope
                }
                ends = [until for key, until in told if key in keys and until > now]
                found = cooldowns.active_until(project=project, model=model, account=account, now=now)
                assert found == max(ends, default=None)


def test_a_shorter_time_changes_nothing() -> None:
    cooldowns = Cooldowns()
    assert cooldowns.set(KEYS[0], 50, WHY)
    assert not cooldowns.set(KEYS[0], 20, FaultKind.QUOTA_PER_DAY)
    assert not cooldowns.set(KEYS[0], 50, WHY)
    known = cooldowns.get(KEYS[0])
    assert known is not None
    assert (known.until, known.why) == (50, WHY)
    assert cooldowns.set(KEYS[0], 90, WHY)


def test_an_extended_cooldown_survives_its_first_end() -> None:
    cooldowns = Cooldowns()
    cooldowns.set(KEYS[0], 50, WHY)
    cooldowns.set(KEYS[0], 90, WHY)
    cooldowns.prune(60)
    assert cooldowns.get(KEYS[0]) is not None


def test_what_has_ended_is_forgotten() -> None:
    cooldowns = Cooldowns()
    for key in KEYS:
        cooldowns.set(key, 50, WHY)
    assert len(list(cooldowns.items())) == len(set(KEYS))
    cooldowns.prune(50)
    assert list(cooldowns.items()) == []
    assert cooldowns.blocked("m", 50).nothing


def test_clearing_ends_it_at_once_and_a_later_one_counts_anew() -> None:
    cooldowns = Cooldowns()
    cooldowns.set(KEYS[0], math.inf, WHY)
    assert cooldowns.clear(KEYS[0])
    assert not cooldowns.clear(KEYS[0])
    cooldowns.set(KEYS[0], 10, WHY)
    cooldowns.prune(9)
    known = cooldowns.get(KEYS[0])
    assert known is not None
    assert known.until == 10


@pytest.mark.parametrize("key", KEYS)
def test_a_key_survives_its_text_form(key: CooldownKey) -> None:
    assert CooldownKey.decode(key.encode()) == key
