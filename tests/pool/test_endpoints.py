"""Endpoints that cannot be reached: how long each is left alone, and when it is tried again."""

from __future__ import annotations

from regrant.pool.endpoints import LONGEST_S, Endpoints

NOW = 1_800_000_000.0


def test_an_endpoint_that_failed_is_out_for_a_second_and_then_tried() -> None:
    endpoints = Endpoints()
    assert not endpoints
    endpoints.failed("gemini", NOW, 0.5)
    assert endpoints.out(NOW) == {"gemini"}
    assert endpoints.out(NOW + 1.1) == frozenset()
    assert endpoints, "until it works again it is known to have failed"


def test_failures_in_a_row_double_the_time_up_to_a_minute_and_those_of_one_moment_count_once() -> None:
    endpoints = Endpoints()
    now, lengths = NOW, []
    for _ in range(9):
        for _ in range(3):
            endpoints.failed("gemini", now, 0.5)
        length = next(step for step in range(1, 1000) if not endpoints.out(now + step / 2)) / 2
        lengths.append(length)
        now += length
    assert lengths == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, LONGEST_S, LONGEST_S, LONGEST_S]


def test_an_answer_forgets_the_failures() -> None:
    endpoints = Endpoints()
    endpoints.failed("gemini", NOW, 0.5)
    endpoints.failed("vertex global", NOW, 0.5)
    endpoints.worked("gemini")
    assert endpoints.out(NOW) == {"vertex global"}


def test_a_clock_that_is_set_back_keeps_no_endpoint_out_for_long() -> None:
    endpoints = Endpoints()
    endpoints.failed("gemini", NOW, 0.5)
    assert endpoints.out(NOW - 86_400) == frozenset()
