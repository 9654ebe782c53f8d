"""Many deaths at once are one incident: what is said about a mass failure (rule 8 of docs/lifecycle.md).

Pure. Changes nothing about any account: every one of them was disabled on its own evidence. Watching the accounts and
telling people is `incident_watch.py`; undoing an incident is verifying its accounts in a batch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from regrant.accounts.diagnosis import Advice
from regrant.accounts.model import Account, Cause

WINDOW_S = 120
LEAST_DEATHS = 3
MAX_INCIDENTS = 100
CLOCK_SLACK_S = 300
CLOCK, MIXED = "clock", "mixed"


@dataclass(frozen=True, slots=True)
class IncidentView:
    """One incident as people are told of it. Times are unix seconds; `until` None: it is not over.

    `kind`: account_died, mass_failure, will_die, attention, client_broken, pool_empty, not_persisted, clock_skew.
    """

    id: str
    kind: str
    title: str
    """One line in plain words."""
    text: str
    """The advice, with the page (`url`) and the command that mend it; empty where there is none."""
    url: str
    command: str
    since: int
    until: int | None
    accounts: tuple[str, ...]
    emails: tuple[str, ...]
    """In the order of `accounts`."""
    client_id: str
    cause: str
    requests: int
    """How many requests failed or had to be served by another account because of it."""
    severity: Literal["warning", "critical"]

    @property
    def length_s(self) -> int:
        """How long it lasted; 0 while it is not over."""
        return 0 if self.until is None else self.until - self.since


@dataclass(frozen=True, slots=True)
class IncidentChange:
    """What is told, once among all processes of a data folder."""

    what: Literal["opened", "updated", "closed"]
    incident: IncidentView


@dataclass(frozen=True, slots=True)
class Death:
    account_id: str
    at: int
    cause: str
    before_last_refresh: bool = False
    """It died before it was last refreshed, by this machine's clock: the clock has been turned."""


@dataclass(slots=True)
class Incident:
    """Three or more deaths of one OAuth client within two minutes. Unix seconds; `until` None: still open."""

    id: str
    client_id: str
    since: int
    deaths: dict[str, Death] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    """Its accounts that are back, or were removed."""
    until: int | None = None

    @property
    def accounts(self) -> list[str]:
        return list(self.deaths)

    @property
    def last_death_at(self) -> int:
        return max(death.at for death in self.deaths.values())

    @property
    def cause(self) -> str:
        """The likely shared cause: `clock`, one of the causes of death when all have it, else `mixed`."""
        if any(death.before_last_refresh for death in self.deaths.values()):
            return CLOCK
        causes = {death.cause for death in self.deaths.values()}
        return causes.pop() if len(causes) == 1 else MIXED

    @property
    def advice(self) -> Advice:
        text, url = _ADVICE.get(self.cause, _ADVICE[MIXED])
        return Advice(text.format(client=self.client_id or "the default one", count=len(self.deaths)), url)


_UNDO = " Verify these accounts in a batch afterwards: exactly those whose grants live come back."
_ADVICE = {
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
        "https://console.cloud.google.com/auth/audience",
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
        "https://myaccount.google.com/permissions",
    ),
    Cause.UNUSED: (
        "{count} grants were not used for six months. Sign in again with each account.",
        "https://myaccount.google.com/permissions",
    ),
    Cause.REVOKED: (
        "{count} grants of the OAuth client {client} were refused within two minutes. Likely something they share: the"
        " client was reset or replaced, an administrator withdrew its access, or something between here and Google"
        " answers in its place. Look at the client first." + _UNDO,
        "https://console.cloud.google.com/auth/clients",
    ),
    MIXED: (
        "{count} grants of the OAuth client {client} died within two minutes, of different causes. Look at the client"
        " and at each account." + _UNDO,
        "https://console.cloud.google.com/auth/clients",
    ),
}


@dataclass(frozen=True, slots=True)
class Opened:
    incident: Incident


@dataclass(frozen=True, slots=True)
class Grown:
    """One more account joined an incident that is open."""

    incident: Incident


@dataclass(frozen=True, slots=True)
class Closed:
    incident: Incident


Change = Opened | Grown | Closed


class Incidents:
    """What is known of deaths and incidents; bounded. Fed with each account as it is now, says what changed."""

    def __init__(self) -> None:
        self._recent: dict[str, dict[str, Death]] = {}
        self._open: dict[str, Incident] = {}
        self._all: dict[str, Incident] = {}

    def all(self) -> list[Incident]:
        """The newest first."""
        return list(reversed(self._all.values()))

    def observe(self, account: Account, client_id: str, now: float) -> Change | None:
        """The account is this now; `client_id` is the OAuth client of its grant. At most one thing follows."""
        if account.disabled is None:
            return self.recovered(account.id, now)
        if not 0 <= now - account.disabled.at <= WINDOW_S:
            return None  # not news: something else about a dead account has changed
        died = Death(
            account.id,
            account.disabled.at,
            account.disabled.cause,
            account.last_refresh_at > account.disabled.at + CLOCK_SLACK_S,
        )
        return self._died(died, client_id)

    def recovered(self, account_id: str, now: float) -> Closed | None:
        """The account lives again, or is no more. The last one closes its incident."""
        for deaths in self._recent.values():
            deaths.pop(account_id, None)
        for incident in self._open.values():
            if account_id in incident.deaths and account_id not in incident.gone:
                incident.gone.add(account_id)
                if incident.gone >= incident.deaths.keys():
                    incident.until = int(now)
                    del self._open[incident.id]
                    return Closed(incident)
                return None
        return None

    def _died(self, death: Death, client_id: str) -> Change | None:
        for incident in self._open.values():
            known = incident.deaths.get(death.account_id)
            if known is not None and known.at == death.at:
                return None
            if incident.client_id == client_id and death.at - incident.last_death_at <= WINDOW_S:
                incident.deaths[death.account_id] = death
                incident.gone.discard(death.account_id)
                return Grown(incident)
        deaths = _within_window((*self._recent.get(client_id, {}).values(), death), death.at)
        recent = {one.account_id: one for one in deaths}
        if len(recent) >= LEAST_DEATHS:
            self._recent.pop(client_id, None)
            return self._opened(client_id, list(recent.values()))
        self._recent[client_id] = recent
        return None

    def _opened(self, client_id: str, deaths: list[Death]) -> Opened:
        deaths.sort(key=lambda death: death.at)
        incident = Incident(f"{deaths[0].at}-{deaths[0].account_id[:8]}", client_id, deaths[0].at)
        incident.deaths = {death.account_id: death for death in deaths}
        self._open[incident.id] = self._all[incident.id] = incident
        while len(self._all) > MAX_INCIDENTS:
            oldest = next(iter(self._all))
            self._all.pop(oldest)
            self._open.pop(oldest, None)
        return Opened(incident)


def _within_window(deaths: Iterable[Death], now: int) -> list[Death]:
    return [death for death in deaths if abs(now - death.at) <= WINDOW_S]
