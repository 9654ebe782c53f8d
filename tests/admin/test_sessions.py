"""Sessions and the brake, as pure values."""

from __future__ import annotations

from regrant.admin.sessions import IDLE_S, MAX_SESSIONS, Brake, Sessions


def test_session_ends_after_twelve_idle_hours_and_not_before() -> None:
    sessions = Sessions()
    sessions.open("a", "csrf", 0.0)
    assert sessions.find("a", IDLE_S) is not None
    assert sessions.find("a", 2 * IDLE_S) is not None  # its use began the idle time anew
    assert sessions.find("a", 3 * IDLE_S + 1) is None
    assert sessions.find("a", 3 * IDLE_S + 1) is None


def test_longest_idle_session_goes_when_there_are_too_many() -> None:
    sessions = Sessions()
    for number in range(MAX_SESSIONS):
        sessions.open(str(number), "csrf", float(number))
    assert sessions.find("0", 2000.0) is not None
    sessions.open("new", "csrf", 2001.0)
    assert sessions.find("0", 2002.0) is not None
    assert sessions.find("1", 2002.0) is None


def test_csrf_token_of_another_session_is_refused() -> None:
    session = Sessions().open("a", "csrf-a", 0.0)
    assert session.allows("csrf-a")
    assert not session.allows("csrf-b")
    assert not session.allows("")


def test_brake_lets_ten_a_minute_through() -> None:
    brake = Brake()
    assert [brake.failed(float(second)) for second in range(10)] == [0.0] * 10
    assert brake.failed(10.0) == 50.0
    assert brake.failed(59.5) == 0.5
    assert brake.failed(60.0) == 0.0
    assert brake.failed(60.5) == 0.5
