"""What follows from a receiver's answer, and when it is asked again."""

from __future__ import annotations

import pytest

from regrant.notify.answers import LONGEST_PAUSE_S, Again, Delivered, Refused, judge, pause

NOW = 784_111_777.0  # Sun, 06 Nov 1994 08:49:37 GMT


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_any_success_is_a_delivery(status: int) -> None:
    assert judge(status, None, NOW) == Delivered(status)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_what_passes_is_tried_again(status: int) -> None:
    assert isinstance(judge(status, None, NOW), Again)


@pytest.mark.parametrize("status", [301, 302, 307, 400, 401, 403, 404, 405, 410, 413, 422])
def test_what_does_not_pass_is_refused_with_advice(status: int) -> None:
    outcome = judge(status, b"1", NOW)
    assert isinstance(outcome, Refused)
    assert outcome.advice.endswith(".")


@pytest.mark.parametrize(
    ("field", "seconds"),
    [
        (b"7", 7.0),
        (b" 0 ", 0.0),
        (b"Sun, 06 Nov 1994 08:50:37 GMT", 60.0),
        (b"Sun, 06 Nov 1994 08:40:37 GMT", 0.0),
        (b"soon", None),
        (b"-5", None),
        (b"\xb2", None),
        (b"", None),
        (None, None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(field: bytes | None, seconds: float | None) -> None:
    outcome = judge(503, field, NOW)
    assert isinstance(outcome, Again)
    assert outcome.after_s == seconds


def test_pauses_double_up_to_a_quarter_of_an_hour_and_are_spread() -> None:
    assert [pause(tries, 1.0) for tries in (1, 2, 3, 4)] == [1.0, 2.0, 4.0, 8.0]
    assert pause(500, 1.0) == LONGEST_PAUSE_S
    assert pause(4, 0.0) == 4.0
