"""`GET /api/quota`: what each project has used of each model, of which limits, and who says so."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Annotated

import msgspec
from litestar import get
from litestar.params import QueryParameter

from regrant.admin.desk import AtDesk
from regrant.admin.errors import ApiError, FieldProblem
from regrant.admin.quota_views import QuotaView, show_figure
from regrant.pool.quota import Figure
from regrant.pool.quota_limits import MEASURES

MAX_ITEMS = 1000
Place = tuple[str, str, int]


class QuotaList(msgspec.Struct, frozen=True):
    items: list[QuotaView]
    next: str | None


@get("/api/quota", operation_id="list_quotas", summary="What was used of which quota, and what is left")
async def list_quotas(
    desk: AtDesk,
    project: Annotated[str, QueryParameter(max_length=200)] = "",
    model: Annotated[str, QueryParameter(max_length=200)] = "",
    limit: Annotated[int, QueryParameter(ge=1, le=MAX_ITEMS)] = 100,
    cursor: Annotated[str, QueryParameter(max_length=2000)] = "",
) -> QuotaList:
    quota = desk.parts.quota
    start = _read_cursor(cursor)
    projects = {quota.project_of(entry.account.id) for entry in desk.parts.keeper.entries()}
    figures = quota.figures(projects & {project} if project else projects)
    places = [(_place(one), one) for one in figures if model in {"", one.model}]
    chosen = [(place, one) for place, one in places if start is None or place > start][: limit + 1]
    notes = {one.project: desk.parts.cloud_quotas.note(one.project) for _, one in chosen}
    items = [show_figure(one, notes[one.project]) for _, one in chosen[:limit]]
    return QuotaList(items, _cursor(chosen[limit - 1][0]) if len(chosen) > limit else None)


def _place(figure: Figure) -> Place:
    """A place that stays the same while other projects and models come and go."""
    return figure.project, figure.model, MEASURES.index(figure.measure)


def _cursor(place: Place) -> str:
    return urlsafe_b64encode(msgspec.json.encode(place)).decode()


def _read_cursor(cursor: str) -> Place | None:
    if not cursor:
        return None
    try:
        place: Place = msgspec.json.decode(urlsafe_b64decode(cursor.encode()), type=Place)
    except (ValueError, msgspec.MsgspecError) as error:
        problem = FieldProblem("cursor", "not a `next` of an earlier answer")
        raise ApiError(
            422,
            "invalid_request",
            f"cursor: {problem.message}",
            "Begin without a cursor.",
            problems=[problem],
        ) from error
    return place


ROUTES = [list_quotas]
