"""Who may enter the back office: the bearer of the admin token, or a console session.

Judges every request before the framework sees it, so that also an unknown path is first a matter of who asks. Client
keys are not looked at. The cookie door is for browsers and therefore asks for our own host and origin (DNS rebinding,
drive-by pages) and for the CSRF token; the bearer door needs neither, as no browser sends that header by itself.
"""

from __future__ import annotations

import hmac
import math
from collections.abc import Awaitable, Callable, Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Any

from regrant.admin.errors import ApiError
from regrant.admin.sessions import Brake, Session, Sessions
from regrant.clock import Clock
from regrant.gateway.guard import foreign_origin
from regrant.secret import Secret
from regrant.settings import Settings

Asgi = Callable[[Any, Any, Any], Awaitable[None]]
RawHeaders = Mapping[bytes, bytes]

CALLBACK_PATH = "/oauth/callback"
SESSION_PATH = "/api/session"
COOKIE = "regrant_session"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
HINT = "Send Authorization: Bearer with the content of admin.token in the data folder, or sign in at POST /api/session."

_HARDENING = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


class Doors:
    """The ASGI application in front of `inner`."""

    def __init__(
        self,
        inner: Asgi,
        *,
        token: Secret,
        sessions: Sessions,
        brake: Brake,
        settings: Callable[[], Settings],
        clock: Clock,
    ) -> None:
        self._inner = inner
        self._token = token
        self._sessions = sessions
        self._brake = brake
        self._settings = settings
        self._clock = clock

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_hardened(message: Any) -> None:
            if message["type"] == "http.response.start":
                given = list(message.get("headers", ()))
                names = {name.lower() for name, _ in given}
                message["headers"] = [*given, *(field for field in _HARDENING if field[0] not in names)]
            await send(message)

        try:
            self._judge(scope)
        except ApiError as refused:
            await _answer(send_hardened, refused)
            return
        await self._inner(scope, receive, send_hardened)

    def _judge(self, scope: Any) -> None:
        """Raises ApiError for whoever may not come in."""
        path, method = scope["path"], scope["method"]
        if path == CALLBACK_PATH:
            return  # the state in its query is the credential
        headers = dict(scope["headers"])
        if path == SESSION_PATH and method == "POST":
            self._check_origin(headers)  # the credentials are in the body
        else:
            self._authenticate(headers, method)
        _check_content_type(headers, method)

    def _authenticate(self, headers: RawHeaders, method: str) -> None:
        shown = bearer_of(headers)
        if shown and same_secret(shown, self._token):
            return
        session = session_of(headers, self._sessions, self._clock.monotonic())
        if session is not None:
            self._check_origin(headers)
            csrf = headers.get(b"x-csrf-token", b"").decode("latin-1")
            if method not in SAFE_METHODS and not session[1].allows(csrf):
                raise ApiError(
                    403,
                    "csrf_token_required",
                    "the header x-csrf-token is missing or wrong",
                    "GET /api/session returns the token of your session.",
                )
            return
        if shown:
            raise refuse_credential(
                self._brake, self._clock, "the bearer token is not this gateway's admin token"
            )
        raise unauthorized("this needs the admin token or a console session")

    def _check_origin(self, headers: RawHeaders) -> None:
        foreign = foreign_origin(headers, self._settings().server)
        if foreign:
            raise ApiError(403, "origin_not_allowed", foreign, "Call the gateway under its own address.")


def same_secret(shown: str, token: Secret) -> bool:
    """In constant time."""
    return bool(token) and hmac.compare_digest(
        shown.encode("utf-8", "surrogatepass"), token.reveal().encode()
    )


def bearer_of(headers: RawHeaders) -> str:
    scheme, _, word = headers.get(b"authorization", b"").decode("latin-1").strip().partition(" ")
    return word.strip() if scheme.lower() == "bearer" else ""


def session_of(headers: RawHeaders, sessions: Sessions, now: float) -> tuple[str, Session] | None:
    """The id and the session that the request's cookie names."""
    jar = SimpleCookie()
    try:
        jar.load(headers.get(b"cookie", b"").decode("latin-1"))
    except CookieError:
        return None
    morsel = jar.get(COOKIE)
    session = sessions.find(morsel.value, now) if morsel is not None else None
    return (morsel.value, session) if morsel is not None and session is not None else None


def unauthorized(message: str, hint: str = HINT) -> ApiError:
    return ApiError(
        401, "unauthorized", message, hint, headers=[("www-authenticate", 'Bearer realm="regrant"')]
    )


def refuse_credential(brake: Brake, clock: Clock, message: str, hint: str = HINT) -> ApiError:
    """The answer to a wrong credential: 401, after too many 429."""
    wait_s = brake.failed(clock.monotonic())
    if not wait_s:
        return unauthorized(message, hint)
    return ApiError(
        429,
        "too_many_attempts",
        "too many wrong credentials within a minute",
        hint,
        headers=[("retry-after", str(math.ceil(wait_s)))],
    )


def _check_content_type(headers: RawHeaders, method: str) -> None:
    has_body = headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers
    if method in SAFE_METHODS or not has_body:
        return
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if kind != b"application/json":
        raise ApiError(
            415, "unsupported_media_type", "the body must be JSON", "Send content-type: application/json."
        )


async def _answer(send: Any, refused: ApiError) -> None:
    body = refused.encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *((name.encode(), value.encode()) for name, value in refused.headers),
    ]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
