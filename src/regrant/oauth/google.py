"""The requests and answers of Google's OAuth endpoints, as values.

The evidence that may disable an account is judged here, in `parse_token_answer`, and nowhere else: HTTP 400 and a JSON
object whose `error` is the string `invalid_grant`. Whatever cannot be read beyond doubt is `Unavailable`, which harms
nobody. Nothing is sent here (`client.py`), no account is changed here (`accounts/lifecycle.py`), and a sign-in in the
browser is followed in `login.py`.
Source: RFC 6749 sections 5.1, 5.2 and 6; developers.google.com/identity/protocols/oauth2/native-app (November 2026).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from regrant.oauth.wire import appearance, decode_object, one_line, seconds, usable_token
from regrant.secret import Secret

DEFAULT_LIFETIME_S = 3600.0  # what Google grants; RFC 6749 lets a server leave `expires_in` out
MAX_RETRY_AFTER_S = 3600.0
MAX_DESCRIPTION_CHARS = 1000
MAX_CODE_CHARS = 100

_EMAIL = re.compile(r"[^\s@]+@[^\s@]+")
_SCOPE_ALIASES = {
    "https://www.googleapis.com/auth/userinfo.email": "email",
    "https://www.googleapis.com/auth/userinfo.profile": "profile",
}

Headers = Sequence[tuple[bytes, bytes]]


class OAuthClient(msgspec.Struct, frozen=True):
    """The application that a user consents to; Regrant's users bring their own (Desktop type)."""

    client_id: str
    client_secret: Secret
    name: str = ""

    @property
    def project_number(self) -> str:
        """The digits before the first `-` of the client id: the Google Cloud project that owns it; "" if there are none."""
        number, dash, _ = self.client_id.partition("-")
        return number if dash and number.isascii() and number.isdigit() else ""


class Granted(msgspec.Struct, frozen=True):
    """The token endpoint said yes. Lifetimes are seconds from the moment of the answer."""

    access_token: Secret
    lifetime_s: float
    token_type: str
    scope: str
    refresh_token: Secret | None
    """A new refresh token, to be stored before the access token is used; None: the one in use stays."""
    refresh_token_lifetime_s: float | None
    """Known only where the user granted access for a limited time or the app is in Testing."""
    id_token: Secret | None


class RefusalKind(StrEnum):
    """Whose fault a refusal is."""

    invalid_grant = "invalid_grant"
    client_broken = "client_broken"
    wrong_client = "wrong_client"
    admin_policy = "admin_policy"
    scope = "scope"
    bad_request = "bad_request"


class Refused(msgspec.Struct, frozen=True):
    """Google understood the request and said no; asking again unchanged is pointless.

    `error` and `subtype` are Google's codes, `description` is its text: one line, bounded, to explain and never to
    decide. It may quote anything; the secrets named to the parser are masked, a caller that knows more masks more.
    """

    kind: RefusalKind
    status: int
    error: str
    subtype: str
    description: str


class Unavailable(msgspec.Struct, frozen=True):
    """No verdict: nothing is known about the grant. `reason` is a sentence without any byte of the answer's body."""

    reason: str
    retry_after_s: float | None = None
    status: int | None = None


class Identity(msgspec.Struct, frozen=True):
    """Who signed in, as Google tells it. `sub` is Google's stable id, "" if it was not told."""

    email: str
    sub: str
    name: str
    verified: bool


class Revoked(msgspec.Struct, frozen=True):
    """The token is dead now; `already` when it was so before."""

    already: bool


_KINDS: Mapping[str, RefusalKind] = {
    "invalid_grant": RefusalKind.invalid_grant,
    "invalid_client": RefusalKind.client_broken,
    "deleted_client": RefusalKind.client_broken,
    "disabled_client": RefusalKind.client_broken,
    "unauthorized_client": RefusalKind.wrong_client,
    "admin_policy_enforced": RefusalKind.admin_policy,
    "access_denied": RefusalKind.admin_policy,
    "org_internal": RefusalKind.admin_policy,
    "invalid_scope": RefusalKind.scope,
}

_PASSING_ERRORS = frozenset(
    {"internal_failure", "server_error", "temporarily_unavailable", "rate_limit_exceeded", "slow_down"}
)
"""Codes of trouble that ends by itself, at whatever status. Source: google-auth 2.62 `_client.py`, docs/sources.md, section 2."""


def refresh_form(client: OAuthClient, refresh_token: Secret) -> bytes:
    """The body that asks for a new access token."""
    return _form(client, {"grant_type": "refresh_token", "refresh_token": refresh_token.reveal()})


def code_form(client: OAuthClient, code: Secret, redirect_uri: str, verifier: Secret) -> bytes:
    """The body that exchanges an authorization code; `redirect_uri` must be that of the sign-in, byte for byte."""
    fields = {"grant_type": "authorization_code", "code": code.reveal(), "redirect_uri": redirect_uri}
    return _form(client, fields | {"code_verifier": verifier.reveal()})


def revoke_form(token: Secret) -> bytes:
    """The body that revokes an access or refresh token."""
    return urlencode({"token": token.reveal()}).encode("ascii")


def _form(client: OAuthClient, fields: dict[str, str]) -> bytes:
    fields["client_id"] = client.client_id
    if client.client_secret:
        fields["client_secret"] = client.client_secret.reveal()
    return urlencode(fields).encode("ascii")


def authorize_url(
    endpoint: str,
    *,
    client_id: str,
    redirect_uri: str,
    scopes: Sequence[str],
    state: str,
    challenge: str,
    login_hint: str = "",
) -> str:
    """The address at which the user signs in and consents.

    Consent is always asked for, because only then Google surely returns a refresh token. Scopes granted earlier are not
    included, so that the stored scope is what was asked for now.
    """
    fields = {
        "client_id": client_id,
        "redirect_uri": redirect_uri,
        "response_type": "code",
        "scope": " ".join(scopes),
        "state": state,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
        "access_type": "offline",
        "include_granted_scopes": "false",
        "prompt": "consent" if login_hint else "consent select_account",
    }
    if login_hint:
        fields["login_hint"] = login_hint
    return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(fields, quote_via=quote, safe='')}"


def missing_scopes(granted: str, wanted: Sequence[str]) -> list[str]:
    """The wanted scopes that were not granted, in order. An empty `granted` means "as asked" (RFC 6749 section 5.1)."""
    held = {_SCOPE_ALIASES.get(scope, scope) for scope in granted.split()}
    return [scope for scope in wanted if held and _SCOPE_ALIASES.get(scope, scope) not in held]


def parse_token_answer(
    status: int, body: bytes, *, secrets: Sequence[Secret] = ()
) -> Granted | Refused | Unavailable:
    """Read an answer of the token endpoint. Never raises; `secrets` are masked in the description."""
    if status != 200:
        return _parse_refusal(status, body, secrets)
    answer = decode_object(body)
    if answer is None:
        return Unavailable(
            f"the token endpoint answered 200 with {appearance(body)}, not a token", status=200
        )
    access_token = usable_token(answer.get("access_token"))
    if access_token is None:
        return Unavailable("the token endpoint answered 200 without a usable access_token", status=200)
    return Granted(
        access_token=access_token,
        lifetime_s=seconds(answer.get("expires_in")) or DEFAULT_LIFETIME_S,
        token_type=one_line(answer.get("token_type"), MAX_CODE_CHARS) or "Bearer",
        scope=one_line(answer.get("scope"), 10_000),
        refresh_token=usable_token(answer.get("refresh_token")),
        refresh_token_lifetime_s=seconds(answer.get("refresh_token_expires_in")),
        id_token=usable_token(answer.get("id_token")),
    )


def _parse_refusal(status: int, body: bytes, secrets: Sequence[Secret]) -> Refused | Unavailable:
    if not 400 <= status < 500 or status in {407, 408, 429}:
        return Unavailable(_trouble(status), status=status)
    answer = decode_object(body)
    if answer is None:
        return Unavailable(
            f"Google's endpoint answered {status} with {appearance(body)}, not a verdict", status=status
        )
    error = answer.get("error")
    if not isinstance(error, str) or not error:
        return Unavailable(f"Google's endpoint answered {status} without an OAuth error code", status=status)
    if error in _PASSING_ERRORS:
        return Unavailable(f"Google's endpoint answered {status} {error}", status=status)
    kind = _KINDS.get(error, RefusalKind.bad_request)
    if kind is RefusalKind.invalid_grant and status != 400:
        return Unavailable(f"invalid_grant came with status {status}, which only a 400 proves", status=status)
    return Refused(
        kind=kind,
        status=status,
        error=one_line(error, MAX_CODE_CHARS, secrets),
        subtype=one_line(answer.get("error_subtype"), MAX_CODE_CHARS, secrets),
        description=one_line(answer.get("error_description"), MAX_DESCRIPTION_CHARS, secrets),
    )


def parse_userinfo(
    status: int, body: bytes, *, secrets: Sequence[Secret] = ()
) -> Identity | Refused | Unavailable:
    """Read an answer of the userinfo endpoint, in the OIDC or the v2 spelling. Never raises.

    401 is `bad_request` with error `invalid_token`: the access token does not work. 403 and a profile without an e-mail
    are `scope`: the user has not granted the `email` scope.
    """
    answer = decode_object(body)
    if status in {401, 403} and answer is not None:
        kind, error = (
            (RefusalKind.bad_request, "invalid_token")
            if status == 401
            else (RefusalKind.scope, "insufficient_scope")
        )
        text = one_line(_message(answer), MAX_DESCRIPTION_CHARS, secrets)
        return Refused(kind=kind, status=status, error=error, subtype="", description=text)
    if status != 200:
        return _parse_refusal(status, body, secrets)
    if answer is None:
        return Unavailable(
            f"the userinfo endpoint answered 200 with {appearance(body)}, not a profile", status=200
        )
    email = answer.get("email")
    if (
        not isinstance(email, str)
        or len(email) > 320
        or not email.isprintable()
        or not _EMAIL.fullmatch(email)
    ):
        text = "Google did not name the e-mail address; the email scope has to be granted"
        return Refused(
            kind=RefusalKind.scope, status=200, error="email_missing", subtype="", description=text
        )
    return Identity(
        email=email,
        sub=one_line(answer.get("sub") or answer.get("id"), 255),
        name=one_line(answer.get("name"), 200),
        verified=answer.get("email_verified", answer.get("verified_email")) in (True, "true"),
    )


def parse_revoke_answer(
    status: int, body: bytes, *, secrets: Sequence[Secret] = ()
) -> Revoked | Refused | Unavailable:
    """Read an answer of the revocation endpoint. A token that is dead already counts as revoked. Never raises."""
    if status == 200:
        return Revoked(already=False)
    outcome = _parse_refusal(status, body, secrets)
    if isinstance(outcome, Refused) and status == 400 and outcome.error in {"invalid_token", "invalid_grant"}:
        return Revoked(already=True)
    return outcome


def server_date(headers: Headers) -> float | None:
    """The server's clock as unix seconds (whole ones), or None. Source: RFC 9110 section 6.6.1."""
    value = _field(headers, b"date")
    return None if value is None else _http_date(value)


def retry_after(headers: Headers) -> float | None:
    """Seconds to wait before the next attempt, 0 to MAX_RETRY_AFTER_S, or None if the server named no time.

    A date is measured against the server's own `Date`, so that a wrong clock here does not matter.
    Source: RFC 9110 section 10.2.3.
    """
    value = _field(headers, b"retry-after")
    if value is None:
        return None
    if value.isdigit() and value.isascii():
        return min(float(value[:12]), MAX_RETRY_AFTER_S)
    until, now = _http_date(value), server_date(headers)
    return None if until is None or now is None else min(max(until - now, 0.0), MAX_RETRY_AFTER_S)


def _field(headers: Headers, wanted: bytes) -> str | None:
    return next((value.decode("latin-1").strip() for name, value in headers if name.lower() == wanted), None)


def _http_date(value: str) -> float | None:
    try:
        moment = parsedate_to_datetime(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _message(answer: Mapping[str, Any]) -> object:
    """The words of an error in OAuth's form or in the envelope of Google's APIs."""
    error = answer.get("error")
    return error.get("message") if isinstance(error, dict) else answer.get("error_description")


def _trouble(status: int) -> str:
    match status:
        case 429:
            return "Google asks to slow down (429)"
        case 408:
            return "Google gave up waiting for the request (408)"
        case 407:
            return "the proxy on the way asks for credentials (407)"
        case _ if 300 <= status < 400:
            return f"the endpoint answered with a redirect ({status}), which is not followed"
        case _ if status >= 500:
            return f"Google has trouble ({status})"
        case _:
            return f"the endpoint answered {status}, which is no OAuth answer"
