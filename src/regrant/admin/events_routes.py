"""`GET /api/events`: the event stream over HTTP, and what is published on it. Queues are `events.py`."""

from __future__ import annotations

from collections.abc import AsyncIterator

from litestar import get
from litestar.response import Stream

from regrant.accounts.entry import Entry
from regrant.accounts.events import Notify
from regrant.accounts.incidents import IncidentView
from regrant.accounts.model import Account
from regrant.admin.desk import AtDesk, Desk
from regrant.admin.errors import ApiError
from regrant.admin.events import Subscriber
from regrant.admin.views import show_incident
from regrant.pool.appeal import appeal_text
from regrant.traffic.exchange import Exchange
from regrant.traffic.record import record_of


@get(
    "/api/events",
    operation_id="events",
    media_type="text/event-stream",
    summary="What happens, as server-sent events",
    description=(
        "Events `hello`, `account` (an account object, or `{id, removed: true}`), `exchange`, `incident`, `settings`, `waiting` and"
        " `dropped` for a reader that is too slow; their data is JSON. A comment comes every 15 seconds."
    ),
)
async def events(desk: AtDesk) -> Stream:
    subscriber = desk.hub.subscribe()
    if subscriber is None:
        raise ApiError(429, "too_many_streams", "too many event streams are open", "Close some of them.")
    return Stream(
        _until_over(desk, subscriber), media_type="text/event-stream", headers={"x-accel-buffering": "no"}
    )


async def _until_over(desk: Desk, subscriber: Subscriber) -> AsyncIterator[bytes]:
    try:
        async for chunk in subscriber.stream():
            yield chunk
    finally:
        desk.hub.leave(subscriber)


class Newsroom:
    """Publishes what the gateway's parts tell. A listener of the keeper."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def follow(self) -> None:
        parts = self._desk.parts
        parts.keeper.listen(self)
        parts.incidents.followers.append(self.incident_changed)
        parts.exchange_listeners.append(self.exchange_finished)
        parts.settings_listeners.append(self.settings_changed)
        parts.pool.appeal.listeners.append(self.waiting_changed)
        parts.closing_listeners.append(self._desk.hub.close)

    def account_changed(self, account_id: str, entry: Entry | None) -> None:
        if not self._desk.hub.listened_to:
            return
        shown = self._desk.show(entry) if entry is not None else {"id": account_id, "removed": True}
        self._desk.hub.publish("account", shown, key=account_id)

    def account_notice(self, account: Account, notice: Notify) -> None:
        """What a notice is about shows in the account itself."""

    def incident_changed(self, incident: IncidentView) -> None:
        self._desk.hub.publish("incident", show_incident(incident), key=incident.id)

    def exchange_finished(self, exchange: Exchange) -> None:
        if self._desk.hub.listened_to:
            self._desk.hub.publish("exchange", record_of(exchange))

    def waiting_changed(self, count: int) -> None:
        """Requests began or ceased to wait for somebody to sign in."""
        waiting = self._desk.parts.pool.waiting
        data = {"waiting": waiting, "waiting_for_you": count, "message": appeal_text(count)}
        self._desk.hub.publish("waiting", data, key="waiting")

    def settings_changed(self, restart: list[str]) -> None:
        self._desk.hub.publish("settings", {"restart": restart}, key="settings")


ROUTES = [events]
