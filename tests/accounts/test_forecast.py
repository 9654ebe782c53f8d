"""When a living grant will die, and when that is to be said."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace as changed

from regrant.accounts.diagnosis import DAY_S
from regrant.accounts.forecast import (
    HOUR_S,
    Countdown,
    Forecast,
    expires_hint,
    foresee,
    next_notice_at,
    stage_at,
)
from regrant.accounts.model import Account, Cause, Disablement, Token

NOW = 1_800_000_000
ANN = Account(id="ann", email="ann@example.com", last_refresh_at=NOW)


def limited(lifetime_s: int, *, consented_at: int | None = NOW) -> Account:
    return changed(ANN, token=Token(consented_at=consented_at, refresh_token_expires_at=NOW + lifetime_s))


@pytest.mark.parametrize(
    ("account", "expected"),
    [
        (ANN, None),
        (limited(7 * DAY_S), Forecast(NOW + 7 * DAY_S, Cause.TESTING_EXPIRED)),
        (limited(7 * DAY_S - 60), Forecast(NOW + 7 * DAY_S - 60, Cause.TESTING_EXPIRED)),
        (limited(7 * DAY_S, consented_at=None), Forecast(NOW + 7 * DAY_S, Cause.TIME_LIMITED)),
        (limited(DAY_S), Forecast(NOW + DAY_S, Cause.TIME_LIMITED)),
        (changed(ANN, last_refresh_at=NOW - 165 * DAY_S), None),
        (changed(ANN, last_refresh_at=NOW - 170 * DAY_S), Forecast(NOW + 10 * DAY_S, Cause.UNUSED)),
        (
            changed(limited(DAY_S), last_refresh_at=NOW - 170 * DAY_S),
            Forecast(NOW + DAY_S, Cause.TIME_LIMITED),
        ),
        (changed(ANN, last_refresh_at=0), None),
    ],
)
def test_the_known_end_of_a_grant_and_the_cause_that_it_will_have(
    account: Account, expected: Forecast | None
) -> None:
    assert foresee(account, NOW) == expected
    assert expires_hint(account, NOW) == (expected and expected.at)


def test_a_dead_grant_has_no_end_to_come() -> None:
    dead = Disablement(at=NOW, reason="invalid_grant: x", cause=Cause.REVOKED)
    assert expires_hint(changed(limited(DAY_S), disabled=dead), NOW) is None


@pytest.mark.parametrize(
    ("left_h", "stage"), [(49, None), (48.001, None), (48, 48), (7, 48), (6.001, 48), (6, 6), (0, 6), (-5, 6)]
)
def test_notices_are_due_at_48_and_at_6_hours(left_h: float, stage: int | None) -> None:
    assert stage_at(NOW + left_h * HOUR_S, NOW) == stage


@given(st.floats(-100, 100))
def test_the_stage_changes_exactly_at_the_next_notice(left_h: float) -> None:
    dies_at = NOW + left_h * HOUR_S
    at = next_notice_at(dies_at, NOW)
    if math.isinf(at):
        assert stage_at(dies_at, NOW) == 6
    else:
        assert stage_at(dies_at, at + 0.01) != stage_at(dies_at, NOW)


class TestCountdown:
    def test_each_notice_comes_due_once(self) -> None:
        countdown, dies_at = Countdown(), NOW + 50 * HOUR_S
        countdown.put("ann", dies_at, NOW)
        seen = []
        for hour in range(60):
            now = NOW + hour * HOUR_S
            for account_id in countdown.due(now):
                seen.append((hour, account_id))
                countdown.put(account_id, dies_at, now)
        assert seen == [(2, "ann"), (44, "ann")]

    def test_a_machine_that_slept_through_both_looks_once_when_it_wakes(self) -> None:
        countdown = Countdown()
        countdown.put("ann", NOW + 50 * HOUR_S, NOW)
        assert countdown.due(NOW + 47 * HOUR_S) == ["ann"]
        assert countdown.due(NOW + 49 * HOUR_S) == []

    def test_an_end_that_is_called_off_is_not_waited_for(self) -> None:
        countdown = Countdown()
        countdown.put("ann", NOW + 50 * HOUR_S, NOW)
        countdown.put("bob", NOW + 60 * HOUR_S, NOW)
        countdown.put("ann", None, NOW)
        assert countdown.due(NOW + 5 * HOUR_S) == []
        assert countdown.due(NOW + 12 * HOUR_S) == ["bob"]
