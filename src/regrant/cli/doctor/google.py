"""Google as it is seen from here: how its endpoints are reached, whether they answer, its clock, and the OAuth clients.

No account's grant is sent anywhere. An OAuth client is tried with a refresh token that never was one: Google judges the
client first, so `invalid_grant` means that the client is fine. Source: docs/sources.md, the token endpoint's errors.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from regrant.accounts.entry import Entry
from regrant.accounts.incidents import SKEW_S
from regrant.accounts.refresher import client_of
from regrant.app import App
from regrant.cli.doctor.finding import Finding, Level
from regrant.errors import RegrantError
from regrant.oauth.client import url_problem
from regrant.oauth.google import Granted, OAuthClient, RefusalKind, Refused, Unavailable, server_date
from regrant.secret import Secret
from regrant.transport.model import Request, Timeouts
from regrant.transport.proxy_rules import describe_route, proxy_rules
from regrant.upstream.google import vertex_host

TIMEOUTS = Timeouts(connect_s=10.0, first_byte_s=10.0, idle_s=10.0)
MAX_CLIENTS = 20
NO_GRANT = Secret("no-grant-but-a-question-of-regrant-doctor")


class Endpoint(msgspec.Struct, frozen=True):
    name: str
    url: str
    needed: bool
    """Whether something fails without it, as things are set up."""


def check_routes(app: App) -> Iterator[Finding]:
    """How each endpoint is reached, told once per way: a forgotten proxy variable is hard to find otherwise."""
    settings = app.settings()
    rules = proxy_rules(settings.network.proxy.reveal(), app.settings.environ)
    reached: dict[str, list[str]] = defaultdict(list)
    for endpoint in _endpoints(app, []):
        if endpoint.url not in reached[describe_route(endpoint.url, rules)]:
            reached[describe_route(endpoint.url, rules)].append(endpoint.url)
    for way, urls in reached.items():
        yield Finding("route", "ok", f"{way}: {', '.join(urls)}")


async def check_endpoints(app: App, entries: Sequence[Entry]) -> list[Finding]:
    """Whether each answers at all. Nothing is asked of them and no credential is sent."""
    return list(await asyncio.gather(*(_reach(app, one) for one in _endpoints(app, entries))))


def check_clock(app: App) -> Iterator[Finding]:
    """This machine's clock against the token endpoint's, as it was just measured."""
    skew_s = app.clock_skew.seconds
    if skew_s is None:
        yield Finding("clock", "note", "no answer of the token endpoint has a date to measure it against")
        return
    message = f"it is {abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'} that of the token endpoint"
    if abs(skew_s) > SKEW_S:
        advice = "Set this machine's clock right, best by a time service (NTP): ends are counted by it."
        yield Finding("clock", "FAIL", message, advice)
    else:
        yield Finding("clock", "ok", message)


async def check_clients(app: App, entries: Sequence[Entry]) -> list[Finding]:
    configured = app.oauth_clients()
    found = []
    if not configured and not any(entry.account.client_secret for entry in entries):
        advice = "Make one of type Desktop app in the Google Cloud console, then set google.client_id and google.client_secret."
        found.append(Finding("OAuth client", "FAIL", "none is configured", advice))
    own = {
        (client.client_id, client.client_secret.reveal()): client
        for entry in entries
        if entry.account.client_secret and (client := client_of(entry.account, configured)) is not None
    }
    tried = [*configured.values(), *own.values()][:MAX_CLIENTS]
    found += await asyncio.gather(*(_try_client(app, client) for client in tried))
    return [*found, *_missing_clients(configured, entries)]


def _endpoints(app: App, entries: Iterable[Entry]) -> list[Endpoint]:
    google = app.settings().google
    upstreams = {entry.account.upstream for entry in entries} or {google.upstream}
    locations = dict.fromkeys(
        [
            google.location,
            *(entry.account.location for entry in entries if entry.account.upstream == "vertex"),
        ]
    )
    endpoints = [Endpoint("Gemini API", google.endpoints.gemini, "gemini" in upstreams)]
    for location in filter(None, locations):
        url = (google.endpoints.vertex or vertex_host(location)).replace("{location}", location)
        endpoints.append(Endpoint("Vertex AI", url, "vertex" in upstreams))
    endpoints.append(Endpoint("token endpoint", google.endpoints.token, needed=True))
    endpoints.append(Endpoint("userinfo endpoint", google.endpoints.userinfo, needed=True))
    if app.settings().quota.read_cloud:
        endpoints.append(Endpoint("Cloud Quotas", google.endpoints.cloudquotas, needed=False))
        endpoints.append(Endpoint("Cloud Monitoring", google.endpoints.monitoring, needed=False))
    return _each_once(endpoints)


def _each_once(endpoints: Iterable[Endpoint]) -> list[Endpoint]:
    """One look at each address, under its first name; it is needed if it is needed for anything."""
    found: dict[str, Endpoint] = {}
    for one in endpoints:
        first = found.setdefault(one.url, one)
        if one.needed and not first.needed:
            found[one.url] = Endpoint(f"{first.name}, {one.name}", one.url, needed=True)
    return list(found.values())


async def _reach(app: App, endpoint: Endpoint) -> Finding:
    url = endpoint.url
    problem = url_problem(url)
    if problem:
        return Finding(endpoint.name, "FAIL", problem)
    try:
        response = await app.transport.send(Request("GET", url, timeouts=TIMEOUTS))
        await response.close()
    except RegrantError as error:
        advice = "Check the network, and network.proxy and network.ca_file in the settings."
        level: Level = "FAIL" if endpoint.needed else "note"
        return Finding(endpoint.name, level, f"{url} does not answer: {error}", advice)
    date = server_date(response.headers)
    if endpoint.name == "token endpoint":
        if response.status < 400:
            message = f"{url} answers {response.status}, as Google would not"
            return Finding(
                endpoint.name, "note", message, "A captive portal or a proxy may answer in its place."
            )
        if date is not None:
            app.clock_skew.measured(date)
    return Finding(endpoint.name, "ok", f"{url} answers")


async def _try_client(app: App, client: OAuthClient) -> Finding:
    check, named = "OAuth client", f"{client.client_id} ({client.name})" if client.name else client.client_id
    if not client.client_secret:
        advice = "Set its client_secret; the console shows it beside the id."
        return Finding(check, "FAIL", f"{client.client_id} has no secret", advice)
    match await app.oauth.refresh(client, NO_GRANT):
        case Refused(kind=RefusalKind.invalid_grant | RefusalKind.wrong_client):
            return Finding(check, "ok", f"{named}: Google knows it, and its secret is right")
        case Refused(kind=RefusalKind.client_broken) as refused:
            advice = (
                "Compare id and secret with https://console.cloud.google.com/auth/clients; if it was deleted, make another"
                " and sign in again with its accounts."
            )
            message = f"{named}: Google refuses it: {refused.error}: {refused.description}"
            return Finding(check, "FAIL", message, advice)
        case Refused() as refused:
            return Finding(check, "note", f"{named}: Google gave no verdict: {refused.error}")
        case Unavailable() as away:
            return Finding(check, "note", f"{named}: Google could not be asked: {away.reason}")
        case Granted():
            message = f"{named}: the token endpoint grants what it never gave; it is not Google's"
            return Finding(check, "FAIL", message, "See google.endpoints.token and the proxy.")


def _missing_clients(clients: dict[str, OAuthClient], entries: Iterable[Entry]) -> Iterator[Finding]:
    for entry in entries:
        account = entry.account
        if client_of(account, clients) is None and account.client_id:
            message = f"{account.client_id}, which gave {account.email}'s grant, is not configured"
            advice = f"Add it to google.clients, or sign in again: regrant accounts reauth {account.email}"
            yield Finding("OAuth client", "FAIL", message, advice)
