"""Console sessions, and the brake on wrong credentials. Pure: random words and the time (monotonic seconds) come in.

Sessions are kept in memory: a restart ends them. Which request belongs to one is judged in `doors.py`.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict, deque

import msgspec

IDLE_S = 12 * 3600.0
MAX_SESSIONS = 1000
MAX_FAILURES = 10
FAILURE_WINDOW_S = 60.0


class Session(msgspec.Struct):
    """`csrf` must come back in the header `x-csrf-token` of every unsafe request."""

    csrf: str
    used_at: float

    def allows(self, csrf: str) -> bool:
        return hmac.compare_digest(self.csrf.encode(), csrf.encode("utf-8", "surrogatepass"))


class Sessions:
    """By their random id; the one that was idle the longest goes when there are too many."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    def open(self, session_id: str, csrf: str, now: float) -> Session:
        """Begin one. `session_id` and `csrf` are fresh random words of 256 bits."""
        while len(self._sessions) >= MAX_SESSIONS:
            self._sessions.popitem(last=False)
        self._sessions[session_id] = Session(csrf, now)
        return self._sessions[session_id]

    def find(self, session_id: str, now: float) -> Session | None:
        """The session, used now; None if there is none or it was idle for 12 hours."""
        session = self._sessions.get(session_id)
        if session is None:
            return None
        if now - session.used_at > IDLE_S:
            del self._sessions[session_id]
            return None
        session.used_at = now
        self._sessions.move_to_end(session_id)
        return session

    def close(self, session_id: str) -> None:
        self._sessions.pop(session_id, None)


class Brake:
    """Counts wrong credentials of the last minute. Right ones are never held up by it."""

    def __init__(self) -> None:
        self._failures: deque[float] = deque(maxlen=MAX_FAILURES)

    def failed(self, now: float) -> float:
        """Note one more; seconds to wait before the next attempt is looked at again, 0 while there are few."""
        if len(self._failures) == MAX_FAILURES and now - self._failures[0] < FAILURE_WINDOW_S:
            return FAILURE_WINDOW_S - (now - self._failures[0])
        self._failures.append(now)
        return 0.0
