"""`/api/session`: a browser signs in to the console, and out of it. What a session may do is `doors.py`."""

from __future__ import annotations

import secrets
from typing import Any

import msgspec
from litestar import Request, Response, delete, get, post
from litestar.datastructures import Cookie
from litestar.params import JSONBody

from regrant.admin.desk import AtDesk
from regrant.admin.doors import COOKIE, refuse_credential, same_secret, session_of
from regrant.admin.errors import ApiError, FieldProblem
from regrant.secret import Secret


class Credentials(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One of them; today only the admin token opens a session."""

    token: Secret = msgspec.field(default_factory=Secret)
    password: Secret = msgspec.field(default_factory=Secret)
    code: Secret = msgspec.field(default_factory=Secret)


class SessionView(msgspec.Struct, frozen=True):
    """`csrf` goes into the header `x-csrf-token` of every request that changes something."""

    csrf: str


@post("/api/session", operation_id="sign_in", status_code=200, summary="Begin a console session")
async def sign_in(desk: AtDesk, data: JSONBody[Credentials]) -> Response[SessionView]:
    if not (data.token or data.password or data.code):
        problem = FieldProblem("token", "give the content of admin.token")
        raise ApiError(422, "invalid_request", f"token: {problem.message}", "", problems=[problem])
    if not data.token:
        hint = "Sign in with the content of admin.token in the data folder."
        raise refuse_credential(desk.brake, desk.parts.clock, "no password or code is set up here", hint)
    if not same_secret(data.token.reveal(), desk.token):
        hint = "It is in the file admin.token in the data folder."
        raise refuse_credential(desk.brake, desk.parts.clock, "this is not the admin token", hint)
    session_id, csrf = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    desk.sessions.open(session_id, csrf, desk.parts.clock.monotonic())
    cookie = Cookie(
        key=COOKIE,
        value=session_id,
        path="/",
        httponly=True,
        samesite="strict",
        secure=desk.parts.settings().server.public_url.startswith("https:"),
    )
    return Response(SessionView(csrf), cookies=[cookie])


@get(
    "/api/session",
    operation_id="show_session",
    summary="The CSRF token of the session, after a page was loaded anew",
)
async def show_session(desk: AtDesk, request: Request[Any, Any, Any]) -> SessionView:
    found = session_of(dict(request.scope["headers"]), desk.sessions, desk.parts.clock.monotonic())
    if found is None:
        raise ApiError(
            404, "no_session", "this request belongs to no session", "Begin one at POST /api/session."
        )
    return SessionView(found[1].csrf)


@delete("/api/session", operation_id="sign_out", summary="End the console session")
async def sign_out(desk: AtDesk, request: Request[Any, Any, Any]) -> Response[None]:
    found = session_of(dict(request.scope["headers"]), desk.sessions, desk.parts.clock.monotonic())
    if found is not None:
        desk.sessions.close(found[0])
    gone = Cookie(key=COOKIE, value="", path="/", httponly=True, samesite="strict", max_age=0)
    return Response(None, status_code=204, cookies=[gone])


ROUTES = [sign_in, show_session, sign_out]
