"""The consent page: `GET /o/oauth2/v2/auth`, answered by itself as one of the pretend people.

Redeeming the code is `oauth_endpoints.py`. Source: docs/sources.md, section 1.
"""

from __future__ import annotations

import html
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from regrant.sandbox.google import (
    GENERATIVE_LANGUAGE,
    Code,
    Google,
    OAuthClient,
    Person,
    SignIn,
    normalised_scope,
)
from regrant.sandbox.wire import Answer, Call, empty_answer, html_answer

_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


class PageError(Exception):
    """Shown on Google's own page: the browser never returns to the application."""

    def __init__(self, status: int, error: str, detail: str = "") -> None:
        super().__init__(error)
        self.status, self.error, self.detail = status, error, detail


def answer_authorize(google: Google, call: Call, now: float) -> Answer:
    try:
        client = _client(google, call.query)
        redirect_uri = _redirect_uri(client, call.query)
        scopes = _check(call.query)
    except PageError as error:
        return _error_page(error)
    visit = google.next_sign_in or SignIn()
    chosen = call.query.get("authuser_email", "")
    if (visit.choose or call.query.get("choose") == "1") and not chosen:
        return _choice_page(google, call)
    google.next_sign_in = None
    if visit.error:
        return _redirect(redirect_uri, {"error": visit.error}, call.query)
    person = _visitor(google, visit, chosen or call.query.get("login_hint", ""))
    granted = [scope for scope in scopes if _ticked(scope, person, visit)]
    code = Code(
        value=f"4/sandbox-code-{person.nick}-{google.new_id()}",
        person=person,
        client_id=client.client_id,
        redirect_uri=redirect_uri,
        challenge=call.query["code_challenge"],
        scope=" ".join(granted),
        offline=_gets_refresh_token(google, person, client, call.query),
        issued_at=now,
    )
    google.issue_code(code)
    return _redirect(redirect_uri, {"code": code.value, "scope": normalised_scope(code.scope)}, call.query)


def _client(google: Google, query: dict[str, str]) -> OAuthClient:
    if not (client_id := query.get("client_id", "")):
        raise PageError(400, "invalid_request", "Missing required parameter: client_id")
    client = google.clients.get(client_id)
    if client is None:
        raise PageError(401, "invalid_client", "The OAuth client was not found.")
    if client.state != "ok":
        raise PageError(401, f"{client.state}_client", f"The OAuth client was {client.state}.")
    return client


def _redirect_uri(client: OAuthClient, query: dict[str, str]) -> str:
    if not (uri := query.get("redirect_uri", "")):
        raise PageError(400, "invalid_request", "Missing required parameter: redirect_uri")
    parts = urlsplit(uri)
    loopback = parts.scheme == "http" and parts.hostname in _LOOPBACK and not parts.fragment
    if not loopback and uri not in client.redirect_uris:
        raise PageError(400, "redirect_uri_mismatch", uri)
    return uri


def _check(query: dict[str, str]) -> list[str]:
    if query.get("response_type") != "code":
        raise PageError(400, "unsupported_response_type" if query.get("response_type") else "invalid_request")
    if not query.get("code_challenge") or query.get("code_challenge_method") != "S256":
        raise PageError(400, "invalid_request", "PKCE with code_challenge_method S256 is required")
    scopes = query.get("scope", "").split()
    if not scopes:
        raise PageError(400, "invalid_request", "Missing required parameter: scope")
    if GENERATIVE_LANGUAGE in scopes:
        raise PageError(400, "invalid_scope", GENERATIVE_LANGUAGE)
    return scopes


def _visitor(google: Google, visit: SignIn, hint: str) -> Person:
    """The person of `login_hint`, else the one that the control API named, else the first."""
    named = google.person(visit.email) if visit.email else None
    hinted = google.person(hint) if hint else None
    first = next(iter(google.people.values()))
    return (named if visit.ignore_hint else None) or hinted or named or first


def _ticked(scope: str, person: Person, visit: SignIn) -> bool:
    if scope in visit.untick or normalised_scope(scope) in visit.untick:
        return False
    return person.scopes is None or scope in person.scopes or normalised_scope(scope) in person.scopes


def _gets_refresh_token(google: Google, person: Person, client: OAuthClient, query: dict[str, str]) -> bool:
    """Only for offline access, and after the first consent only when the consent is asked for again."""
    known = any(g.client_id == client.client_id and g.death is None for g in google.grants_of(person))
    asked_again = "consent" in query.get("prompt", "").split()
    return query.get("access_type") == "offline" and (asked_again or not known)


def _redirect(uri: str, values: dict[str, str], query: dict[str, str]) -> Answer:
    if "state" in query:
        values = {"state": query["state"], **values}
    parts = urlsplit(uri)
    merged = urlencode([*parse_qsl(parts.query, keep_blank_values=True), *values.items()])
    return empty_answer(
        302, (("location", urlunsplit(parts._replace(query=merged))), ("cache-control", "no-store"))
    )


def _error_page(error: PageError) -> Answer:
    text = f"<!doctype html><title>Error</title><h1>Error {error.status}: {error.error}</h1><p>{html.escape(error.detail)}</p>"
    return html_answer(text, status=error.status)


def _choice_page(google: Google, call: Call) -> Answer:
    kept = [(key, value) for key, value in parse_qsl(call.raw_query) if key not in {"choose", "login_hint"}]
    links = "".join(
        f'<li><a href="?{html.escape(urlencode([*kept, ("authuser_email", one.email)]))}">'
        f"{html.escape(one.name)} ({html.escape(one.email)})</a></li>"
        for one in google.people.values()
    )
    return html_answer(
        f"<!doctype html><title>Sandbox</title><h1>Choose an account</h1><p>This is a pretend Google.</p><ul>{links}</ul>"
    )
