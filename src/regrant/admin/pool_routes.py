"""`GET /api/pool`, `POST /api/pool/clear` and `GET /api/incidents`: who can serve, who cannot and why, and what is wrong."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import get, post
from litestar.params import JSONBody, QueryParameter

from regrant.admin.desk import AtDesk, Desk
from regrant.admin.errors import ApiError, FieldProblem
from regrant.admin.fields import Word
from regrant.admin.pool_views import PoolView, view_pool
from regrant.gateway import routing


@get(
    "/api/pool",
    operation_id="explain_pool",
    summary="Which accounts can serve a model, and what is in the way",
)
async def show_pool(
    desk: AtDesk,
    model: Annotated[str, QueryParameter(max_length=200)] = "",
    key: Annotated[
        str, QueryParameter(max_length=200, description="Name of a client key: the pool as it sees it.")
    ] = "",
) -> PoolView:
    return await view_pool(desk.parts, model, key)


class ClearOrder(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Whose cool-downs end: an account's (by id or e-mail; those of its project as well), a project's, a model's; of all with `all`."""

    account: Word = ""
    project: Word = ""
    model: Word = ""
    all: bool = False


class Cleared(msgspec.Struct, frozen=True):
    """How many cool-downs ended."""

    cleared: int


@post(
    "/api/pool/clear",
    operation_id="clear_cooldowns",
    status_code=200,
    summary="End cool-downs early, in every process",
)
async def clear_cooldowns(desk: AtDesk, data: JSONBody[ClearOrder]) -> Cleared:
    pool = desk.parts.pool
    match [bool(part) for part in (data.account, data.project, data.model, data.all)].count(True):
        case 1 if data.account:
            found = desk.parts.keeper.find(data.account)
            account = (found or desk.entry(data.account)).account
            project = account.project(desk.default_client_id) or account.id
            return Cleared(pool.clear_all(account=account.id, project=project))
        case 1:
            return Cleared(pool.clear_all(project=data.project, model=_served_model(desk, data.model)))
        case _:
            problem = FieldProblem("account", "give exactly one of `account`, `project`, `model`, `all`")
            raise ApiError(422, "invalid_request", f"account: {problem.message}", "", problems=[problem])


def _served_model(desk: Desk, name: str) -> str:
    """Google's own name of the model, as far as it is known without asking Google."""
    rules = routing.rules_for(desk.parts.settings().models)
    routed = routing.route(name, rules, desk.parts.offer.discovery.now_known()) if name else None
    return routed.model if routed else name


ROUTES = [show_pool, clear_cooldowns]
