"""What follows from the answer of a webhook: it has the alert, it is asked again later, or it will never take it.

Pure. Sources: RFC 9110 section 10.2.3 (Retry-After), RFC 6585 section 4 (429), and what Slack answers
(https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks#handling_errors).
"""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 900.0
_AGAIN = {408, 425, 429}


class Delivered(msgspec.Struct, frozen=True):
    status: int


class Again(msgspec.Struct, frozen=True):
    """`after_s`: how long the receiver asked to wait, in seconds; None if it did not say."""

    why: str
    after_s: float | None = None
    status: int | None = None


class Refused(msgspec.Struct, frozen=True):
    status: int
    advice: str


Outcome = Delivered | Again | Refused


def judge(status: int, retry_after: bytes | None, now: float) -> Outcome:
    """`retry_after` is the field of that name; `now` in unix seconds."""
    if 200 <= status < 300:
        return Delivered(status)
    if status in _AGAIN or status >= 500:
        return Again(f"it answers {status}", wait_asked(retry_after, now), status)
    return Refused(status, _ADVICE.get(status, _REDIRECT if 300 <= status < 400 else _ANY))


_REDIRECT = "It sends elsewhere, which is not followed: set the final address."
_ANY = "Look at the address and at the format of this webhook in notify.webhooks."
_ADVICE = {
    400: "It does not understand the message: see that the format of this webhook in notify.webhooks is the receiver's.",
    401: "It wants another secret or token: see the address and the secret of this webhook in notify.webhooks.",
    403: "It does not let this webhook post: see its settings at the receiver.",
    404: "It does not know this address: the webhook was deleted there. Make a new one and set its address.",
    410: "The webhook, or the channel that it posts to, was given up there. Make a new one and set its address.",
    413: "The message is too large for it.",
}


def wait_asked(retry_after: bytes | None, now: float) -> float | None:
    """Seconds from now, for a number of seconds or a date; None when there is none that can be read."""
    text = (retry_after or b"").decode("latin-1").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        at = datetime.strptime(text, "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
    except ValueError:
        return None
    return max(0.0, at.timestamp() - now)


def pause(tries: int, chance: float) -> float:
    """Seconds until the next try after `tries` in vain: doubled each time up to 15 minutes. `chance`: 0 to 1, spreads it."""
    longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(max(tries, 1) - 1, 20))
    return longest * (0.5 + 0.5 * chance)
