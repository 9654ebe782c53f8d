"""Incidents in plain words: a title of one line, and advice with the page and the command that mend it.

Pure. What is an incident, and when it is over, is `incidents.py`; the advice about one account is `diagnosis.py`.
"""

from __future__ import annotations

from typing import Literal

from regrant.accounts.diagnosis import PERMISSIONS_URL, PUBLISH_URL, Advice, attention_command, death_advice
from regrant.accounts.forecast import HOUR_S
from regrant.accounts.incidents import CLOCK, DIED, MIXED, Incident, IncidentView, Kind
from regrant.accounts.model import Cause

CLIENTS_URL = "https://console.cloud.google.com/auth/clients"
_CRITICAL = frozenset(
    {Kind.ACCOUNT_DIED, Kind.MASS_FAILURE, Kind.CLIENT_BROKEN, Kind.POOL_EMPTY, Kind.NOT_PERSISTED}
)
_UNDO = " Verify these accounts in a batch afterwards: exactly those whose grants live come back."
_MASS: dict[str, tuple[str, str]] = {
    CLOCK: (
        "{count} accounts died together, and this machine's clock was turned meanwhile. Set the clock right."
        + _UNDO,
        "",
    ),
    Cause.TESTING_EXPIRED: (
        (
            "{count} grants of the OAuth client {client} ended together: its app is in Testing, where grants live 7 days."
            " Publish the app, then sign in again with each account."
        ),
        PUBLISH_URL,
    ),
    Cause.REAUTH_REQUIRED: (
        (
            "The organisation's session control ended {count} grants together. Sign in again with each account, or ask the"
            " administrator to mark the OAuth client {client} as trusted."
        ),
        "https://support.google.com/a/answer/9368756",
    ),
    Cause.ACCOUNT_GONE: (
        "{count} accounts were deleted or disabled together. Ask the administrator of their organisation."
        + _UNDO,
        "",
    ),
    Cause.TIME_LIMITED: (
        "{count} grants were given for a limited time that ended together. Sign in again with each account.",
        PERMISSIONS_URL,
    ),
    Cause.UNUSED: (
        "{count} grants were not used for six months. Sign in again with each account.",
        PERMISSIONS_URL,
    ),
    Cause.REVOKED: (
        (
            "{count} grants of the OAuth client {client} were refused within two minutes. Likely something they share: the"
            " client was reset or replaced, an administrator withdrew its access, or something between here and Google"
            " answers in its place. Look at the client first." + _UNDO
        ),
        CLIENTS_URL,
    ),
    MIXED: (
        (
            "{count} grants of the OAuth client {client} died within two minutes, of different causes. Look at the client"
            " and at each account." + _UNDO
        ),
        CLIENTS_URL,
    ),
}
_WILL_DIE: dict[str, tuple[str, str]] = {
    Cause.TESTING_EXPIRED: (
        (
            "The OAuth app is in Testing: its grants live 7 days. Publish the app first, then sign in again: the new grant"
            " has no such end."
        ),
        PUBLISH_URL,
    ),
    Cause.TIME_LIMITED: (
        "Access was granted for a limited time that is nearly over. Sign in again before it ends.",
        PERMISSIONS_URL,
    ),
    Cause.UNUSED: (
        (
            "Google ends a grant that was not used for six months, and Regrant could not refresh this one for a long time."
            " Verify the account, and see that Google can be reached."
        ),
        PERMISSIONS_URL,
    ),
}


def view(incident: Incident, requests: int = 0) -> IncidentView:
    """The incident as people are told of it; `requests` that it touched."""
    advice = advise(incident)
    severity: Literal["warning", "critical"] = "critical" if incident.kind in _CRITICAL else "warning"
    return IncidentView(
        id=incident.id,
        kind=incident.kind.value,
        title=title(incident),
        text=advice.text,
        url=advice.url,
        command=advice.command,
        since=incident.since,
        until=incident.until,
        accounts=tuple(incident.members),
        emails=tuple(member.email for member in incident.members.values()),
        client_id=incident.client_id,
        cause=incident.cause,
        requests=requests,
        severity=severity,
    )


def title(incident: Incident) -> str:
    """One line: what is wrong, or how it ended."""
    return _now(incident) if incident.open else _over(incident)


def _now(incident: Incident) -> str:
    who = _who(incident)
    match incident.kind:
        case Kind.ACCOUNT_DIED:
            return f"The grant of {who} died: {incident.cause}"
        case Kind.MASS_FAILURE:
            return f"{len(incident.members)} accounts of one OAuth client died together: {incident.cause}"
        case Kind.WILL_DIE:
            return f"The grant of {who} will die within {incident.stage} hours"
        case Kind.ATTENTION:
            return f"{who} needs attention: {incident.cause}"
        case Kind.CLIENT_BROKEN:
            return f"Google refuses the OAuth client {_client(incident)}"
        case Kind.POOL_EMPTY:
            return f"No account can serve: {incident.message}"
        case Kind.NOT_PERSISTED:
            return f"{_count(incident)} cannot be stored: {incident.message}"
        case Kind.CLOCK_SKEW:
            return f"This machine's clock is {_off(incident)} Google's"


def _over(incident: Incident) -> str:
    who = _who(incident)
    match incident.kind:
        case Kind.ACCOUNT_DIED if incident.part_of:
            return f"The death of {who} is part of a mass failure: {incident.part_of}"
        case Kind.ACCOUNT_DIED:
            return f"{who} is back, or was removed"
        case Kind.MASS_FAILURE:
            return f"All {len(incident.members)} accounts that died together are back, or were removed"
        case Kind.WILL_DIE if incident.message == DIED:
            return f"The grant of {who} has died, as foretold"
        case Kind.WILL_DIE:
            return f"The grant of {who} no longer has an end that is near"
        case Kind.ATTENTION:
            return f"{who} no longer needs attention, was: {incident.cause}"
        case Kind.CLIENT_BROKEN:
            return f"The OAuth client {_client(incident)} works again"
        case Kind.POOL_EMPTY:
            return "The pool is back: an account can serve"
        case Kind.NOT_PERSISTED:
            return f"{_count(incident)} stored: the disk can be written again"
        case Kind.CLOCK_SKEW:
            return "This machine's clock agrees with Google's"


def advise(incident: Incident) -> Advice:
    """What to do about it."""
    emails = [member.email for member in incident.members.values()]
    match incident.kind:
        case Kind.ACCOUNT_DIED:
            return death_advice(incident.cause, emails[0])
        case Kind.MASS_FAILURE:
            text, url = _MASS.get(incident.cause, _MASS[MIXED])
            words = text.format(client=_client(incident), count=len(emails))
            return Advice(words, url, f"regrant accounts verify {' '.join(emails[:20])}")
        case Kind.WILL_DIE:
            text, url = _WILL_DIE.get(incident.cause, _WILL_DIE[Cause.TIME_LIMITED])
            verb = "verify" if incident.cause == Cause.UNUSED else "reauth"
            return Advice(f"{text} {_end(incident)}", url, f"regrant accounts {verb} {emails[0]}")
        case Kind.ATTENTION:
            return Advice(incident.message, incident.url, attention_command(incident.cause, emails[0]))
        case Kind.CLIENT_BROKEN:
            text = f"{incident.message} No account is disabled; all of them go on when the client is mended."
            return Advice(text, incident.url or CLIENTS_URL, "regrant config show")
        case Kind.POOL_EMPTY:
            text = f"Requests are refused until an account can serve. Out of the pool: {incident.message}."
            return Advice(text, "", "regrant accounts list")
        case Kind.NOT_PERSISTED:
            text = f"{incident.message}. What was decided is in force and is written as soon as the disk lets it."
            return Advice(text, "", "regrant doctor")
        case Kind.CLOCK_SKEW:
            text = f"It is {_off(incident)} Google's. Set it right, best by a time service (NTP): ends are counted by it."
            return Advice(text, "", "timedatectl status")


def _who(incident: Incident) -> str:
    emails = [member.email for member in incident.members.values()]
    return f"{emails[0]} and {len(emails) - 1} more" if len(emails) > 1 else "".join(emails)


def _count(incident: Incident) -> str:
    count = len(incident.members)
    return f"{count} account{'' if count == 1 else 's'}"


def _client(incident: Incident) -> str:
    return incident.client_id or "the default one"


def _off(incident: Incident) -> str:
    seconds = int(incident.message or 0)
    return f"{abs(seconds)} s {'ahead of' if seconds > 0 else 'behind'}"


def _end(incident: Incident) -> str:
    hours = (incident.newest - incident.since) / HOUR_S
    return (
        f"It ended {-hours:.0f} h before this was noticed."
        if hours < 0
        else f"{incident.stage} h or less are left."
    )
