"""`GET /api/pool` and `GET /api/incidents`: who can serve, who cannot and why, and what is wrong."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from litestar import get
from litestar.params import QueryParameter

from regrant.admin.desk import AtDesk, Desk
from regrant.admin.fields import MAX_ITEMS
from regrant.admin.views import IncidentView, show_incident
from regrant.gateway import routing
from regrant.pool.members import standing_of
from regrant.pool.standing import Check, explain


class CheckView(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One thing that could be in the way, and whether it is not. Unix seconds; left out where not known."""

    check: Literal["disabled", "quota", "paused", "attention", "cooldown", "client"]
    ok: bool
    since: float | None = None
    until: float | None = None
    advice: str = ""


class PlaceView(msgspec.Struct, frozen=True):
    id: str
    email: str
    serves: bool
    checks: list[CheckView]


class PoolView(msgspec.Struct, frozen=True):
    """`model` is the one that was asked for; null: what holds for every model."""

    model: str | None
    can_serve: bool
    accounts: list[PlaceView]


class IncidentList(msgspec.Struct, frozen=True):
    items: list[IncidentView]
    next: str | None


@get(
    "/api/pool",
    operation_id="explain_pool",
    summary="Which accounts can serve a model, and what is in the way",
)
async def show_pool(desk: AtDesk, model: Annotated[str, QueryParameter(max_length=200)] = "") -> PoolView:
    served = _served_model(desk, model)
    default_client_id = desk.default_client_id
    standings = [standing_of(entry, default_client_id, served) for entry in desk.parts.keeper.entries()]
    places = [
        PlaceView(one.id, one.email, one.serves, [_show_check(check) for check in one.checks])
        for one in explain(standings, served, desk.parts.pool.blocked(served))
    ]
    return PoolView(model or None, any(place.serves for place in places), places)


def _served_model(desk: Desk, name: str) -> str:
    """Google's own name of the model, as far as it is known without asking Google."""
    models = desk.parts.settings().models
    rules = routing.Rules(models.aliases, models.default, models.presets)
    routed = routing.route(name, rules, desk.parts.offer.discovery.now_known()) if name else None
    return routed.model if routed else name


def _show_check(check: Check) -> CheckView:
    return msgspec.convert(check, CheckView, from_attributes=True)


@get(
    "/api/incidents",
    operation_id="list_incidents",
    summary="What is wrong and what was: one incident per cause, the open ones first, the newest first",
)
async def list_incidents(
    desk: AtDesk,
    limit: Annotated[int, QueryParameter(ge=1, le=MAX_ITEMS)] = 100,
    cursor: Annotated[str, QueryParameter(max_length=200)] = "",
    only_open: Annotated[bool, QueryParameter(name="open", description="only those that are not over")] = False,
) -> IncidentList:
    found = [one for one in desk.parts.incidents.all() if one.until is None or not only_open]
    # What was deleted since, or is over now, begins again at the front: nothing is missed, something may be seen twice.
    start = next((place + 1 for place, one in enumerate(found) if one.id == cursor), 0)
    chosen = found[start : start + limit]
    more = len(found) > start + limit
    return IncidentList([show_incident(one) for one in chosen], chosen[-1].id if more else None)


ROUTES = [show_pool, list_incidents]
