"""`GET /api/traffic` and `GET /api/stats`: what happened to requests, from the traffic log. Read in threads."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
from litestar import get
from litestar.params import FromPath, FromQuery, QueryParameter

from regrant.admin.cursors import no_cursor
from regrant.admin.desk import AtDesk, Desk
from regrant.admin.errors import ApiError
from regrant.admin.fields import MAX_ITEMS
from regrant.traffic.explanation import Explanation, Person, explain
from regrant.traffic.history import Filter, History
from regrant.traffic.record import BodyPair, Record
from regrant.traffic.stats import By, Stats, measure

DAY_S = 86_400.0
LARGEST_NUMBER = 1 << 62

Time = Annotated[float | None, QueryParameter(ge=0, le=1e11)]


class TrafficList(msgspec.Struct, frozen=True):
    """The newest first, in the order in which they ended. `next` is the `cursor` of the next page."""

    items: list[Record]
    next: str | None


class ToldRecord(Record, frozen=True, kw_only=True):
    """A request with its story; `bodies` are null unless `traffic.record_bodies` was on."""

    explanation: Explanation
    bodies: BodyPair | None


class StatsView(Stats, frozen=True, kw_only=True):
    """`dropped` requests of this process were not recorded since it started, `queued` are about to be."""

    dropped: int
    queued: int


@get(
    "/api/traffic", operation_id="list_traffic", summary="Requests and what became of them, the newest first"
)
async def list_traffic(  # noqa: PLR0917 - query parameters, given by name
    desk: AtDesk,
    limit: Annotated[int, QueryParameter(ge=1, le=MAX_ITEMS)] = 100,
    cursor: Annotated[str, QueryParameter(max_length=20)] = "",
    model: Annotated[str, QueryParameter(max_length=200, description="Asked for, or served.")] = "",
    account: Annotated[
        str, QueryParameter(max_length=320, description="Id or e-mail of one that was tried.")
    ] = "",
    status: Annotated[int | None, QueryParameter(ge=0, le=999)] = None,
    key: Annotated[str, QueryParameter(max_length=200, description="Name of the client key.")] = "",
    fault: Annotated[str, QueryParameter(max_length=64, description="What any attempt met.")] = "",
    problem: Annotated[str, QueryParameter(max_length=64)] = "",
    since: Time = None,
    until: Time = None,
    failed: FromQuery[bool] = False,
) -> TrafficList:
    entry = desk.parts.keeper.find(account) if account else None
    wanted = Filter(
        model=model,
        account=entry.account.id if entry is not None else account,
        status=status,
        key=key,
        fault=fault,
        problem=problem,
        since=since,
        until=until,
        failed=failed,
    )
    page = await asyncio.to_thread(_history(desk).newest, wanted, limit, _read_cursor(cursor))
    return TrafficList(page.records, None if page.last is None else str(page.last))


@get(
    "/api/traffic/{request_id:str}",
    operation_id="show_traffic",
    summary="One request: what happened, and why",
)
async def show_traffic(desk: AtDesk, request_id: FromPath[str]) -> ToldRecord:
    history = _history(desk)
    found = await asyncio.to_thread(history.matching, request_id, 2)
    exact = [one for one in found if one.id.removeprefix("req_") == request_id.removeprefix("req_")]
    if len(exact or found) != 1:
        raise ApiError(
            404,
            "request_not_found",
            f"the traffic log has {'several requests' if found else 'no request'} {request_id[:100]!r}",
            "It may be older than traffic.keep_days, or not written yet; GET /api/traffic lists what there is.",
        )
    [record] = exact or found
    bodies = await asyncio.to_thread(history.bodies, record.id)
    return ToldRecord(
        **msgspec.structs.asdict(record),
        explanation=explain(record, _people(desk, record)),
        bodies=bodies,
    )


@get("/api/stats", operation_id="show_stats", summary="How many requests, how fast, how many tokens")
async def show_stats(
    desk: AtDesk, by: FromQuery[By] = "hour", since: Time = None, until: Time = None
) -> StatsView:
    end = desk.parts.clock.now() if until is None else until
    start = end - DAY_S if since is None else since
    stats = await asyncio.to_thread(measure, _history(desk), since=start, until=end, by=by)
    log = desk.parts.traffic
    return StatsView(**msgspec.structs.asdict(stats), dropped=log.dropped, queued=log.queued)


def _history(desk: Desk) -> History:
    return History(desk.parts.settings.data_dir)


def _people(desk: Desk, record: Record) -> dict[str, Person]:
    entries = [desk.parts.keeper.entry(attempt.account_id) for attempt in record.attempts]
    views = [desk.show(entry) for entry in entries if entry is not None]
    return {view.id: Person(view.email, view.state) for view in views}


def _read_cursor(cursor: str) -> int | None:
    if not cursor:
        return None
    if not (cursor.isascii() and cursor.isdigit()) or int(cursor) > LARGEST_NUMBER:
        raise no_cursor()
    return int(cursor)


ROUTES = [list_traffic, show_traffic, show_stats]
