"""What a webhook is told of an incident, in words and in facts; the JSON form of `Alert` is documented in docs/alerts.md.

Pure. How it is written for each receiver is in `formats.py`; which webhook was told already is known by `outbox.py`.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Literal

import msgspec

from regrant.accounts.incidents import IncidentChange
from regrant.settings.model import Webhook

Phase = Literal["opened", "updated", "closed", "test"]
SHOWN_EMAILS = 10


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """`id` is the same however often it is sent. Times are unix seconds; `until` null: the incident is not over."""

    id: str
    event: str
    """The kind of the incident, or `test`."""
    phase: Phase
    at: int
    incident: str
    severity: str
    title: str
    text: str
    url: str = ""
    command: str = ""
    since: int
    until: int | None = None
    length_s: int = 0
    requests: int = 0
    accounts: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    client_id: str = ""
    cause: str = ""


def alert_of(change: IncidentChange, now: float) -> Alert:
    incident = change.incident
    number = f"{incident.id}-{change.what}"
    if (
        change.what == "updated"
    ):  # there may be several, each with words of its own: 48 hours are left, then 6
        number += f"-{blake2b(incident.title.encode(), digest_size=4).hexdigest()}"
    return Alert(
        id=number,
        event=incident.kind,
        phase=change.what,
        at=int(now),
        incident=incident.id,
        severity=incident.severity,
        title=incident.title,
        text=incident.text,
        url=incident.url,
        command=incident.command,
        since=incident.since,
        until=incident.until,
        length_s=incident.length_s,
        requests=incident.requests,
        accounts=incident.accounts,
        emails=incident.emails,
        client_id=incident.client_id,
        cause=incident.cause,
    )


def trial_alert(number: str, now: float) -> Alert:
    """What a webhook gets when its owner tries it. `number` makes it unlike any other."""
    return Alert(
        id=f"test-{number}",
        event="test",
        phase="test",
        at=int(now),
        incident="",
        severity="warning",
        title="Regrant can reach you here",
        text="This is a test. Nothing has happened.",
        since=int(now),
    )


def is_wanted(alert: Alert, webhook: Webhook) -> bool:
    return not webhook.events or alert.event in webhook.events


def facts(alert: Alert) -> list[str]:
    """Sentences about whom and how much it concerns, for people."""
    sentences = []
    if len(alert.emails) > 1:
        more = len(alert.emails) - SHOWN_EMAILS
        named = ", ".join(alert.emails[:SHOWN_EMAILS]) + (f" and {more} more" if more > 0 else "")
        sentences.append(f"Accounts: {named}.")
    if alert.phase == "closed":
        sentences.append(f"It lasted {lasting(alert.length_s)}; {_touched(alert.requests)}.")
    elif alert.requests:
        sentences.append(f"So far {_touched(alert.requests)}.")
    return sentences


def lasting(seconds: int) -> str:
    """A duration in its two largest units: `45 s`, `5 min 3 s`, `2 h`, `3 d 4 h`."""
    units = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
    for index, (size, name) in enumerate(units):
        if seconds >= size:
            parts = [f"{seconds // size} {name}"]
            rest = seconds % size
            if index + 1 < len(units) and rest >= units[index + 1][0]:
                parts.append(f"{rest // units[index + 1][0]} {units[index + 1][1]}")
            return " ".join(parts)
    return "less than a second"


def _touched(requests: int) -> str:
    match requests:
        case 0:
            return "no request was touched"
        case 1:
            return "1 request was touched"
        case _:
            return f"{requests} requests were touched"
