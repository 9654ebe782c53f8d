"""`POST /api/accounts/batch`: one action on many accounts, each with its own result.

An account that cannot be found or changed is an error in its place; the others are done all the same.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

import msgspec
from litestar import post
from litestar.params import JSONBody

from regrant.accounts.events import Paused, Resumed
from regrant.admin.accounts import remove, verified_outcome
from regrant.admin.desk import AtDesk, Desk
from regrant.admin.errors import ApiError, ErrorBody, FieldProblem, describe
from regrant.admin.fields import MAX_ITEMS, Email, Reason
from regrant.errors import RegrantError

AT_ONCE = 8
ENOUGH_S = 120.0

Ids = Annotated[list[Annotated[str, msgspec.Meta(max_length=100)]], msgspec.Meta(max_length=MAX_ITEMS)]
Emails = Annotated[list[Email], msgspec.Meta(max_length=MAX_ITEMS)]


class BatchOrder(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Which accounts by `ids`, by `emails` or by an `incident`, one of them; `reason` is for pausing."""

    action: Literal["pause", "resume", "verify", "remove"]
    ids: Ids | None = None
    emails: Emails | None = None
    incident: Annotated[str, msgspec.Meta(max_length=200)] | None = None
    reason: Reason = ""


class BatchResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """`id` is the account's, or what was asked for where there is none. A verified account is `ok` if its grant lives."""

    id: str
    ok: bool
    error: ErrorBody | None = None


class BatchResults(msgspec.Struct, frozen=True):
    results: list[BatchResult]


@post("/api/accounts/batch", operation_id="batch", status_code=200, summary="One action on many accounts")
async def batch(desk: AtDesk, data: JSONBody[BatchOrder]) -> BatchResults:
    wanted = _wanted(desk, data)
    gate = asyncio.Semaphore(AT_ONCE)
    give_up_at = desk.parts.clock.monotonic() + ENOUGH_S
    once = {
        account_id: asyncio.ensure_future(_do_one(desk, data, account_id, gate, give_up_at))
        for account_id in dict.fromkeys(wanted)
    }
    return BatchResults([await once[account_id] for account_id in wanted])


def _wanted(desk: Desk, order: BatchOrder) -> list[str]:
    """Account ids; an e-mail that no account has stays as it is and is refused in its place."""
    if [order.ids, order.emails, order.incident].count(None) != 2:
        problem = FieldProblem("ids", "give one of `ids`, `emails` and `incident`")
        raise ApiError(422, "invalid_request", f"ids: {problem.message}", "", problems=[problem])
    if order.ids is not None:
        return order.ids
    if order.incident is not None:
        return _concerned(desk, order.incident)
    by_email = {
        entry.account.email.strip().casefold(): entry.account.id for entry in desk.parts.keeper.entries()
    }
    return [by_email.get(email.strip().casefold(), email) for email in order.emails or ()]


def _concerned(desk: Desk, incident_id: str) -> list[str]:
    """The accounts of an incident. Raises ApiError."""
    for incident in desk.parts.incidents.all():
        if incident.id == incident_id:
            return list(incident.accounts)
    raise ApiError(404, "incident_not_found", "there is no such incident", "GET /api/incidents lists them.")


async def _do_one(
    desk: Desk, order: BatchOrder, account_id: str, gate: asyncio.Semaphore, give_up_at: float
) -> BatchResult:
    async with gate:
        try:
            if desk.parts.clock.monotonic() > give_up_at:
                raise ApiError(503, "not_tried", "the batch took too long", "Send the rest again.")
            await _act(desk, order, account_id)
        except (ApiError, RegrantError) as error:
            return BatchResult(account_id, ok=False, error=describe(error).body)
    return BatchResult(account_id, ok=True)


async def _act(desk: Desk, order: BatchOrder, account_id: str) -> None:
    entry = desk.entry(account_id)
    match order.action:
        case "pause":
            await desk.parts.keeper.change(account_id, Paused(order.reason.strip()))
        case "resume":
            await desk.parts.keeper.change(account_id, Resumed())
        case "remove":
            await remove(desk, account_id)
        case "verify":
            match verified_outcome(await desk.parts.enrolment.verify(entry)):
                case "dead":
                    raise ApiError(
                        422, "dead", "Google refuses the grant", "Sign in again with this account."
                    )
                case "unknown":
                    raise ApiError(503, "unknown", "Google gave no verdict", "Try again later.")


ROUTES = [batch]
