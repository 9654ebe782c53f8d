"""Sends Regrant's requests to Google's OAuth endpoints, each exactly once.

What is said and how the answers are read is in `google.py`. Nothing is retried here: when to ask again is decided in
`accounts`. Every failure comes back as a value; no message holds a secret.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar
from urllib.parse import urlsplit

import msgspec

from regrant.errors import TransportError, UnsendableRequest
from regrant.oauth import google
from regrant.oauth.google import (
    Granted,
    Headers,
    Identity,
    OAuthClient,
    RefusalKind,
    Refused,
    Revoked,
    Unavailable,
)
from regrant.oauth.wire import one_line, usable_token
from regrant.secret import Secret
from regrant.settings.addresses import google_endpoint, show_without_password
from regrant.transport.model import Request, Timeouts, Transport

MAX_ANSWER_BYTES = 64 * 1024
OAUTH_TIMEOUTS = Timeouts(connect_s=10.0, first_byte_s=20.0, idle_s=20.0)

_FORM: Headers = ((b"content-type", b"application/x-www-form-urlencoded"),)
_ALWAYS: Headers = (
    (b"accept", b"application/json"),
    (b"accept-encoding", b"identity"),
)

T = TypeVar("T")
RefreshAnswered = Callable[[Granted | Refused | Unavailable, float], None]
"""Told how each refresh ended, and after how many seconds. Must not block or raise."""


class Endpoints(Protocol):
    """Where Google is; the settings' `google.endpoints`. Read at each call, so that changes apply at once."""

    @property
    def authorize(self) -> str: ...
    @property
    def token(self) -> str: ...
    @property
    def revoke(self) -> str: ...
    @property
    def userinfo(self) -> str: ...


class _Answer(msgspec.Struct, frozen=True):
    status: int
    headers: Headers
    body: bytes


class GoogleOAuth:
    """Google's OAuth endpoints behind one transport. One call is one request; the answer is a value, never an exception."""

    def __init__(
        self,
        transport: Transport,
        endpoints: Endpoints,
        timeouts: Timeouts = OAUTH_TIMEOUTS,
        *,
        on_refresh: RefreshAnswered = lambda _answer, _seconds: None,
        on_date: Callable[[float], None] = lambda _: None,
    ) -> None:
        """`on_date` is told the server's clock (unix seconds) as soon as an answer of the token endpoint begins."""
        self._transport = transport
        self._endpoints = endpoints
        self._timeouts = timeouts
        self._on_refresh = on_refresh
        self._on_date = on_date

    async def refresh(self, client: OAuthClient, refresh_token: Secret) -> Granted | Refused | Unavailable:
        """Ask for a new access token. The only call whose `invalid_grant` says anything about a grant."""
        secrets = (client.client_secret, refresh_token)
        started = time.perf_counter()
        answer = await self._post(self._endpoints.token, google.refresh_form(client, refresh_token), secrets)
        outcome = _read(answer, google.parse_token_answer, secrets)
        self._on_refresh(outcome, time.perf_counter() - started)
        return outcome

    async def exchange(
        self, client: OAuthClient, code: Secret, redirect_uri: str, verifier: Secret
    ) -> Granted | Refused | Unavailable:
        """Turn an authorization code into tokens. An `invalid_grant` here is about the code: sign in again."""
        secrets = (client.client_secret, code, verifier)
        form = google.code_form(client, code, redirect_uri, verifier)
        return _read(
            await self._post(self._endpoints.token, form, secrets), google.parse_token_answer, secrets
        )

    async def identify(self, access_token: Secret) -> Identity | Refused | Unavailable:
        """Ask Google whose access token this is."""
        if usable_token(access_token.reveal()) is None:
            return Refused(RefusalKind.bad_request, 0, "invalid_token", "", "no access token looks like that")
        bearer = (b"authorization", b"Bearer " + access_token.reveal().encode())
        request = self._request("GET", self._endpoints.userinfo, (bearer,))
        return _read(await self._call(request, (access_token,)), google.parse_userinfo, (access_token,))

    async def revoke(self, token: Secret) -> Revoked | Refused | Unavailable:
        """Revoke an access or refresh token at Google.

        Google revokes every grant that the user has given to the whole project, not this token alone.
        """
        answer = await self._post(self._endpoints.revoke, google.revoke_form(token), (token,))
        return _read(answer, google.parse_revoke_answer, (token,))

    async def _post(self, url: str, form: bytes, secrets: Sequence[Secret]) -> _Answer | Unavailable:
        return await self._call(self._request("POST", url, _FORM, form), secrets)

    def _request(self, method: str, url: str, headers: Headers, body: bytes = b"") -> Request:
        return Request(method, url, (*headers, *_ALWAYS), body, self._timeouts)

    async def _call(self, request: Request, secrets: Sequence[Secret]) -> _Answer | Unavailable:
        problem = url_problem(request.url)
        if problem:
            return Unavailable(problem)
        host = urlsplit(request.url).hostname or ""
        limit_s = self._timeouts.connect_s + self._timeouts.first_byte_s
        try:
            async with asyncio.timeout(limit_s):
                return await self._fetch(request)
        except TransportError as error:
            return Unavailable(_sentence(error, host, secrets))
        except UnsendableRequest:
            return Unavailable(f"no request can be sent to the endpoint at {host}: is the URL right?")
        except TimeoutError:
            return Unavailable(f"no complete answer from {host} within {limit_s:g} s")

    async def _fetch(self, request: Request) -> _Answer:
        response = await self._transport.send(request)
        date = google.server_date(response.headers)
        if date is not None and request.url == self._endpoints.token:
            self._on_date(date)
        try:
            return _Answer(response.status, response.headers, await response.read(MAX_ANSWER_BYTES))
        finally:
            await response.close()


def url_problem(url: str) -> str | None:
    """Why no credential may be sent to `url`, as a sentence; None when it is fine. The rule itself is the settings'."""
    if google_endpoint(url):
        return None
    return f"no credential is sent to {show_without_password(url)}: use https (http is for this machine's loopback only)"


def _read(
    answer: _Answer | Unavailable, parse: Callable[..., T | Refused | Unavailable], secrets: Sequence[Secret]
) -> T | Refused | Unavailable:
    if isinstance(answer, Unavailable):
        return answer
    encodings = {value.strip().lower() for name, value in answer.headers if name == b"content-encoding"}
    if encodings - {b"identity"}:
        return Unavailable("the answer came in an encoding that was not asked for", status=answer.status)
    outcome = parse(answer.status, answer.body, secrets=secrets)
    if isinstance(outcome, Unavailable):
        return msgspec.structs.replace(outcome, retry_after_s=google.retry_after(answer.headers))
    return outcome


def _sentence(error: TransportError, host: str, secrets: Sequence[Secret]) -> str:
    return f"no verdict from {host}: {one_line(str(error), 300, secrets) or 'the exchange broke off'}"
