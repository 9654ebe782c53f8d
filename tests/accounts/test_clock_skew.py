"""The clock measured against Google's."""

from __future__ import annotations

from dataclasses import dataclass

from regrant.accounts.clock_skew import OLD_S, SAMPLES, ClockSkew

GOOGLE = 1_800_000_000.0


@dataclass
class TwoClocks:
    """The time of day is `ahead_s` ahead of Google's; the other one runs steadily."""

    passed_s: float = 0.0
    ahead_s: float = 0.0

    def now(self) -> float:
        return GOOGLE + 0.5 + self.passed_s + self.ahead_s

    def monotonic(self) -> float:
        return 77.0 + self.passed_s

    def google(self) -> float:
        return GOOGLE + self.passed_s


def test_nothing_is_known_before_an_answer_has_come() -> None:
    skew = ClockSkew(TwoClocks())
    assert (skew.seconds, skew.age_s) == (None, None)


def test_the_clock_s_lead_is_measured_with_its_age() -> None:
    clock = TwoClocks(ahead_s=90)
    skew = ClockSkew(clock)
    skew.measured(clock.google())
    clock.passed_s += 30
    assert (skew.seconds, skew.age_s) == (90, 30)


def test_one_strange_answer_does_not_move_the_median() -> None:
    clock = TwoClocks(ahead_s=-2)
    skew = ClockSkew(clock)
    for number in range(SAMPLES):
        skew.measured(clock.google() + (5000 if number == 4 else 0))
    assert skew.seconds == -2


def test_setting_the_clock_voids_what_was_measured_before() -> None:
    clock = TwoClocks(ahead_s=3600)
    skew = ClockSkew(clock)
    for _ in range(SAMPLES):
        skew.measured(clock.google())
    clock.ahead_s = 0
    assert skew.seconds is None
    skew.measured(clock.google())
    assert skew.seconds == 0


def test_what_was_measured_a_day_ago_is_not_shown() -> None:
    clock = TwoClocks(ahead_s=10)
    skew = ClockSkew(clock)
    skew.measured(clock.google())
    clock.passed_s += OLD_S + 1
    assert skew.seconds is None
