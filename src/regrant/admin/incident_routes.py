"""`GET /api/incidents` and `GET /api/status`: what is wrong, what was, and what this process measures about itself.

What an incident is: `accounts/incidents.py`. A mass failure is undone by a batch verify (`batch.py`).
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import get
from litestar.params import QueryParameter

from regrant import __version__
from regrant.admin.desk import AtDesk
from regrant.admin.fields import MAX_ITEMS
from regrant.admin.views import IncidentView, show_incident


class IncidentList(msgspec.Struct, frozen=True):
    items: list[IncidentView]
    next: str | None


class ClockView(msgspec.Struct, frozen=True):
    """`ahead_s`: seconds that this machine's clock is ahead of Google's (negative: behind), measured `age_s` seconds ago; null: unknown."""

    ahead_s: float | None
    age_s: float | None


class StatusView(msgspec.Struct, frozen=True):
    """`in_charge`: this is the process of the data folder that watches for incidents and tells people of them."""

    version: str
    open_incidents: int
    in_charge: bool
    clock: ClockView


@get(
    "/api/incidents",
    operation_id="list_incidents",
    summary="What is wrong and what was: one incident per cause, the open ones first, the newest first",
)
async def list_incidents(
    desk: AtDesk,
    limit: Annotated[int, QueryParameter(ge=1, le=MAX_ITEMS)] = 100,
    cursor: Annotated[str, QueryParameter(max_length=200)] = "",
    only_open: Annotated[
        bool, QueryParameter(name="open", description="only those that are not over")
    ] = False,
) -> IncidentList:
    found = [one for one in desk.parts.incidents.all() if one.until is None or not only_open]
    # Where the cursor's incident is no longer listed it begins anew: nothing is missed, something may be seen twice.
    start = next((place + 1 for place, one in enumerate(found) if one.id == cursor), 0)
    chosen = found[start : start + limit]
    more = len(found) > start + limit
    return IncidentList([show_incident(one) for one in chosen], chosen[-1].id if more else None)


@get(
    "/api/status",
    operation_id="show_status",
    summary="This process: open incidents and how far its clock is off",
)
async def show_status(desk: AtDesk) -> StatusView:
    parts = desk.parts
    clock = ClockView(parts.clock_skew.seconds, parts.clock_skew.age_s)
    return StatusView(__version__, parts.incidents.open_count, parts.incidents.in_charge, clock)


ROUTES = [list_incidents, show_status]
