"""How long to leave something alone: until the quota's day ends, as a header asks, or backing off by guess.

Pure: the time and the random number come from the caller. Which of these a fault means is decided in `classifier.py`.
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta, timezone, tzinfo
from email.utils import parsedate_to_datetime

from regrant.transport.model import Headers


def next_midnight(now: float, tz: tzinfo) -> float:
    """Unix seconds of the next midnight in `tz`, right across changes of daylight saving time."""
    day: date = datetime.fromtimestamp(now, tz).date() + timedelta(days=1)
    return datetime(day.year, day.month, day.day, tzinfo=tz).timestamp()


def retry_after(headers: Headers, now: float) -> float | None:
    """Seconds that the Retry-After header asks for, or None; a date in the past gives 0.0. Source: RFC 9110 10.2.3."""
    text = (
        next((value for name, value in headers if name.lower() == b"retry-after"), b"")
        .decode("latin-1")
        .strip()
    )
    if re.fullmatch(r"[0-9]{1,12}(\.[0-9]+)?", text, re.ASCII):
        return float(text)
    try:
        when = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=timezone.utc)  # noqa: UP017 - an RFC 850 or asctime date is GMT by definition
    return max(0.0, when.timestamp() - now)


def backoff(first_s: float, cap_s: float, strikes: int, jitter: float) -> float:
    """Seconds to wait after the same thing happened `strikes` times before: doubling, then spread by a fifth.

    `jitter` is a random number from 0 to 1, so that processes which met the failure together do not come back together.
    """
    return min(cap_s, first_s * 2.0 ** min(strikes, 30)) * (0.8 + 0.4 * jitter)
