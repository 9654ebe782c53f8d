"""Follows the keeper and says once when many accounts of one OAuth client die together, and when all are back.

What an incident is, is decided in `incidents.py`. Kept in memory: each process says what it has seen.
"""

from __future__ import annotations

from collections.abc import Callable

from regrant import logs
from regrant.accounts.entry import Entry
from regrant.accounts.events import Notify
from regrant.accounts.incidents import Change, Closed, Grown, Incident, Incidents, Opened
from regrant.accounts.model import Account
from regrant.clock import Clock

log = logs.get("accounts")


class IncidentWatch:
    """A listener of the keeper. `listeners` are told of each change of an incident; they must not block or raise."""

    def __init__(self, clock: Clock, default_client_id: Callable[[], str]) -> None:
        self._clock = clock
        self._default_client_id = default_client_id
        self._incidents = Incidents()
        self.listeners: list[Callable[[Incident], None]] = []

    def all(self) -> list[Incident]:
        """The newest first."""
        return self._incidents.all()

    def account_changed(self, account_id: str, entry: Entry | None) -> None:
        now = self._clock.now()
        if entry is None:
            self._tell(self._incidents.recovered(account_id, now))
        elif entry.account.disabled is None and entry.kept.recovering:
            return  # back only on somebody's word, until a refresh has succeeded
        else:
            client_id = entry.account.client_id or self._default_client_id()
            self._tell(self._incidents.observe(entry.account, client_id, now))

    def account_notice(self, account: Account, notice: Notify) -> None:
        """Deaths are seen in the account itself, so that those found by other processes count too."""

    def _tell(self, change: Change | None) -> None:
        match change:
            case None:
                return
            case Opened(incident):
                log.error(
                    "incident_opened",
                    f"{len(incident.deaths)} accounts died together: {incident.advice.text}",
                    incident=incident.id,
                    cause=incident.cause,
                    client_id=incident.client_id,
                )
            case Closed(incident):
                log.info(
                    "incident_closed",
                    f"all {len(incident.deaths)} accounts of the incident are back",
                    incident=incident.id,
                    client_id=incident.client_id,
                )
            case Grown(incident):
                pass
        for listener in self.listeners:
            listener(incident)
