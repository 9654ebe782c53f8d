"""The OAuth endpoints: authorize, token, revoke, userinfo.

Requests in, answers out; the state is `google.py`, the texts of the named errors are `faults.py`. Source: docs/sources.md, sections 1 and 2.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote

import msgspec

from regrant.sandbox.faults import About, oauth_error, scope_insufficient, unauthenticated
from regrant.sandbox.google import (
    CODE_LIFETIME_S,
    USERINFO_EMAIL,
    AccessToken,
    Code,
    Death,
    Google,
    Grant,
    OAuthClient,
    normalised_scope,
)
from regrant.sandbox.wire import Answer, Call, JsonObject, json_answer

_FORM_TYPE = "application/x-www-form-urlencoded"
_USERINFO = About(service="openidconnect.googleapis.com", method="google.openidconnect.UserInfo")


class Refused(Exception):
    """A request that an OAuth endpoint answers with an error."""

    def __init__(self, status: int, error: str, description: str = "", *, subtype: str = "") -> None:
        super().__init__(error)
        self.answer = oauth_error(status, error, description, subtype=subtype)


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A request to the token endpoint, read but not judged. `grant` is whoever the token or code belongs to."""

    form: dict[str, str]
    client_id: str
    client_secret: str
    email: str
    grant_label: str


def read_form(call: Call) -> dict[str, str]:
    if call.header("content-type").partition(";")[0].strip().casefold() != _FORM_TYPE:
        return {}
    try:
        return dict(parse_qsl(call.body.decode("ascii"), keep_blank_values=True))
    except UnicodeDecodeError:
        return {}


def read_token_request(google: Google, call: Call) -> TokenRequest:
    """Who is asking, for the journal and for scripts; judged later by `answer_token`."""
    form = read_form(call)
    basic_id, basic_secret = _basic_credentials(call.header("authorization"))
    grant = google.grants.get(form.get("refresh_token", ""))
    code = google.codes.get(form.get("code", ""))
    person = grant.person if grant else code.person if code else None
    return TokenRequest(
        form=form,
        client_id=form.get("client_id", basic_id),
        client_secret=form.get("client_secret", basic_secret),
        email=person.email if person else "",
        grant_label=grant.label if grant else "",
    )


def _basic_credentials(header: str) -> tuple[str, str]:
    scheme, _, value = header.partition(" ")
    if scheme.casefold() != "basic":
        return "", ""
    try:
        user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return unquote(user), unquote(password)


def answer_token(google: Google, request: TokenRequest, now: float, *, rotate: bool = False) -> Answer:
    """Exchange a code or refresh a token. `rotate` gives this refresh a new refresh token."""
    try:
        grant_type = _required_grant_type(request)
        client = _authenticated_client(google, request)
        if grant_type == "authorization_code":
            return _exchange(google, client, request.form, now)
        return _refresh(google, client, request.form, now, rotate=rotate)
    except Refused as refused:
        return refused.answer


def _required_grant_type(request: TokenRequest) -> str:
    if not (grant_type := request.form.get("grant_type", "")):
        raise Refused(400, "invalid_request", "Required parameter is missing: grant_type")
    if grant_type not in {"authorization_code", "refresh_token"}:
        raise Refused(400, "unsupported_grant_type", f"Invalid grant_type: {grant_type}")
    return grant_type


def _authenticated_client(google: Google, request: TokenRequest) -> OAuthClient:
    if not request.client_id:
        raise Refused(400, "invalid_request", "Could not determine client ID from request.")
    client = _usable_client(google, request.client_id)
    if not request.client_secret:
        raise Refused(400, "invalid_request", "client_secret is missing.")
    if not hmac.compare_digest(client.client_secret.encode(), request.client_secret.encode()):
        raise Refused(401, "invalid_client", "The provided client secret is invalid.")
    return client


def _usable_client(google: Google, client_id: str) -> OAuthClient:
    client = google.clients.get(client_id)
    if client is None:
        raise Refused(401, "invalid_client", "The OAuth client was not found.")
    if client.state != "ok":
        raise Refused(401, f"{client.state}_client", f"The OAuth client was {client.state}.")
    return client


def _exchange(google: Google, client: OAuthClient, form: dict[str, str], now: float) -> Answer:
    code = _redeemed_code(google, client, form, now)
    grant = google.mint_grant(code.person, client.client_id, code.scope, now)
    token = google.mint_token(grant, now)
    body = _token_body(token, now)
    if code.offline:
        body["refresh_token"] = grant.refresh_token
        if grant.ends_at is not None:
            body["refresh_token_expires_in"] = int(grant.ends_at - now)
    if "openid" in grant.scope.split():
        body["id_token"] = _id_token(grant, now)
    return json_answer(body)


def _redeemed_code(google: Google, client: OAuthClient, form: dict[str, str], now: float) -> Code:
    if not (value := form.get("code", "")):
        raise Refused(400, "invalid_request", "Missing required parameter: code")
    code = google.codes.get(value)
    if code is None:
        raise Refused(400, "invalid_grant", "Malformed auth code.")
    stale = code.used or now - code.issued_at > CODE_LIFETIME_S
    if stale or code.client_id != client.client_id or code.redirect_uri != form.get("redirect_uri"):
        raise Refused(400, "invalid_grant", "Bad Request")
    if not (verifier := form.get("code_verifier", "")):
        raise Refused(400, "invalid_grant", "Missing code verifier.")
    if challenge_of(verifier) != code.challenge:
        raise Refused(400, "invalid_grant", "Invalid code verifier.")
    code.used = True
    return code


def challenge_of(verifier: str) -> str:
    """The S256 code challenge of RFC 7636."""
    digest = hashlib.sha256(verifier.encode("ascii", "replace")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _refresh(
    google: Google, client: OAuthClient, form: dict[str, str], now: float, *, rotate: bool
) -> Answer:
    grant = _living_grant(google, client, form.get("refresh_token", ""), now)
    _check_narrower_scope(grant, form.get("scope", ""))
    body = _token_body(google.mint_token(grant, now), now)
    if rotate or grant.person.rotate_refresh_token:
        google.rotate(grant)
        body["refresh_token"] = grant.refresh_token
    if grant.ends_at is not None:
        body["refresh_token_expires_in"] = int(grant.ends_at - now)
    return json_answer(body)


def _living_grant(google: Google, client: OAuthClient, value: str, now: float) -> Grant:
    if not value:
        raise Refused(400, "invalid_request", "Missing required parameter: refresh_token")
    grant = google.grants.get(value)
    if grant is None:
        raise Refused(400, "invalid_grant", "Bad Request")
    if grant.client_id != client.client_id:
        raise Refused(401, "unauthorized_client", "Unauthorized")
    if death := grant.death_at(now):
        raise Refused(400, "invalid_grant", death.description, subtype=death.subtype)
    if grant.refresh_token != value:
        raise Refused(400, "invalid_grant", "Token has been expired or revoked.")
    return grant


def _check_narrower_scope(grant: Grant, scope: str) -> None:
    extra = set(normalised_scope(scope).split()) - set(grant.scope.split())
    if extra:
        raise Refused(
            400, "invalid_scope", f"Some requested scopes were invalid. {{invalid={sorted(extra)}}}"
        )


def _token_body(token: AccessToken, now: float) -> JsonObject:
    return {
        "access_token": token.value,
        "expires_in": max(0, round(token.expires_at - now)),
        "scope": token.grant.scope,
        "token_type": "Bearer",
    }


def _id_token(grant: Grant, now: float) -> str:
    """An unsigned JWT: there is no key to sign with, and nothing here may depend on its signature."""
    person = grant.person
    claims = {
        "iss": "https://accounts.google.com",
        "azp": grant.client_id,
        "aud": grant.client_id,
        "sub": person.sub,
        "email": person.email,
        "email_verified": True,
        "iat": int(now),
        "exp": int(now) + 3599,
    }
    parts = [msgspec.json.encode({"alg": "none", "typ": "JWT"}), msgspec.json.encode(claims), b""]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def token_to_revoke(call: Call) -> str:
    return read_form(call).get("token") or call.query.get("token", "")


def answer_revoke(google: Google, call: Call, now: float) -> Answer:
    """Revoking any token of a grant ends every grant of that person to clients of the same project. Source: docs/sources.md, section 1."""
    value = token_to_revoke(call)
    if not value:
        return oauth_error(400, "invalid_request", "Missing required parameter: token")
    grant = google.grant_by_any_token(value)
    if grant is None or grant.death_at(now) is not None:
        return oauth_error(400, "invalid_token", "Token expired or revoked")
    project = grant.client_id.partition("-")[0]
    siblings = [g for g in google.grants_of(grant.person) if g.client_id.partition("-")[0] == project]
    google.kill(siblings, Death())
    return json_answer({})


def bearer(call: Call) -> str:
    scheme, _, value = call.header("authorization").partition(" ")
    return value.strip() if scheme.casefold() == "bearer" else ""


def answer_userinfo(google: Google, call: Call, now: float) -> Answer:
    value = bearer(call) or call.query.get("access_token", "")
    if not value:
        return unauthenticated("CREDENTIALS_MISSING", _USERINFO)
    token = google.tokens.get(value)
    if token is None or not token.alive(now):
        return unauthenticated("ACCESS_TOKEN_EXPIRED", _USERINFO)
    scopes = token.grant.scope.split()
    if "openid" not in scopes and USERINFO_EMAIL not in scopes:
        return scope_insufficient(_USERINFO)
    return json_answer(_identity(token.grant, call.path, with_email=USERINFO_EMAIL in scopes))


def _identity(grant: Grant, path: str, *, with_email: bool) -> JsonObject:
    person = grant.person
    old_form = path.startswith("/oauth2/v2/")
    body: JsonObject = {
        "id" if old_form else "sub": person.sub,
        "name": person.name,
        "given_name": person.first_name,
        "family_name": person.name.partition(" ")[2],
    }
    if with_email:
        body |= {"email": person.email, "verified_email" if old_form else "email_verified": True}
    return body
