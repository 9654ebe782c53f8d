"""Assembles the back office: the Litestar application, its doors, its error answers and its OpenAPI description."""

from __future__ import annotations

import asyncio
import functools

import msgspec
from litestar import Litestar, Response, get
from litestar.di import Provide
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.config import OpenAPIConfig

from regrant.admin import (
    accounts,
    batch,
    events_routes,
    incident_routes,
    keys,
    logs_route,
    models,
    notify_routes,
    pool_routes,
    quota_routes,
    session_routes,
    settings_routes,
    signin_routes,
    traffic_routes,
)
from regrant.admin.desk import Desk
from regrant.admin.doors import Asgi, Doors
from regrant.admin.errors import answer
from regrant.admin.fields import SecretSchema, read_secret
from regrant.admin.openapi import describe_api
from regrant.admin.parts import Parts
from regrant.admin.token import ensure_token
from regrant.secret import Secret

MAX_BODY_BYTES = 2_000_000
ROUTES: list[HTTPRouteHandler] = [
    *accounts.ROUTES,
    *batch.ROUTES,
    *signin_routes.ROUTES,
    *pool_routes.ROUTES,
    *quota_routes.ROUTES,
    *incident_routes.ROUTES,
    *keys.ROUTES,
    *settings_routes.ROUTES,
    *models.ROUTES,
    *events_routes.ROUTES,
    *logs_route.ROUTES,
    *traffic_routes.ROUTES,
    *notify_routes.ROUTES,
    *session_routes.ROUTES,
]


@get("/api/openapi.json", include_in_schema=False)
async def show_openapi() -> Response[bytes]:
    # Made in a thread: it takes a while the first time, and requests go on meanwhile.
    return Response(await asyncio.to_thread(_openapi), media_type="application/vnd.oai.openapi+json")


@functools.cache
def _openapi() -> bytes:
    return msgspec.json.encode(describe_api(lambda config: _application(None, config)))


def _application(desk: Desk | None, openapi: OpenAPIConfig | None = None) -> Litestar:
    return Litestar(
        [*ROUTES, show_openapi],
        dependencies={"desk": Provide(lambda: desk, sync_to_thread=False)},
        exception_handlers={Exception: answer},
        type_decoders=[(lambda kind: kind is Secret, read_secret)],
        plugins=[SecretSchema()],
        openapi_config=openapi,
        request_max_body_size=MAX_BODY_BYTES,
        logging_config=None,
    )


def assemble(parts: Parts) -> Asgi:
    """The ASGI application of the back office. Raises TokenError when there can be no admin token."""
    desk = Desk(parts, ensure_token(parts.settings.data_dir))
    events_routes.Newsroom(desk).follow()
    return Doors(
        _application(desk),
        token=desk.token,
        sessions=desk.sessions,
        brake=desk.brake,
        settings=parts.settings,
        clock=parts.clock,
    )
