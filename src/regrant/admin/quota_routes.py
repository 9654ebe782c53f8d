"""`GET /api/quota`: what each project has used of each model, of which limits, and who says so."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import get
from litestar.params import QueryParameter

from regrant.admin.cursors import cursor_of, place_of
from regrant.admin.desk import AtDesk
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
    start = place_of(cursor, tuple[str, str, int])
    projects = {quota.project_of(entry.account.id) for entry in desk.parts.keeper.entries()}
    figures = quota.figures(projects & {project} if project else projects)
    places = [(_place(one), one) for one in figures if model in {"", one.model}]
    chosen = [(place, one) for place, one in places if start is None or place > start][: limit + 1]
    notes = {one.project: desk.parts.cloud_quotas.note(one.project) for _, one in chosen}
    items = [show_figure(one, notes[one.project]) for _, one in chosen[:limit]]
    return QuotaList(items, cursor_of(chosen[limit - 1][0]) if len(chosen) > limit else None)


def _place(figure: Figure) -> Place:
    """A place that stays the same while other projects and models come and go."""
    return figure.project, figure.model, MEASURES.index(figure.measure)


ROUTES = [list_quotas]
