"""Google's token endpoint as it is met in the wild, over real sockets: every known answer, and what it may do.

What the transport itself may raise is in `test_oauth_client_failures.py`. Longer than other files because the
catalogue of answers stands beside the server that gives them.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from socket import SO_LINGER, SOL_SOCKET
from urllib.parse import parse_qsl

import pytest
import trustme

from regrant.oauth.client import GoogleOAuth
from regrant.oauth.google import (
    Granted,
    Identity,
    OAuthClient,
    RefusalKind,
    Refused,
    Revoked,
    Unavailable,
)
from regrant.secret import Secret
from regrant.transport.client import HttpClient
from regrant.transport.model import Timeouts

CLIENT = OAuthClient("123-app.apps.example", Secret("client-secret-1"))
TOKEN = Secret("refresh-ann-1")
ANSWER_S = 10.0
QUICK = Timeouts(connect_s=0.2, first_byte_s=0.3, idle_s=0.3)
JSON = "application/json; charset=utf-8"
DEAD = b'{"error":"invalid_grant","error_description":"Token has been expired or revoked."}'


@dataclass
class Endpoints:
    token: str
    revoke: str
    userinfo: str
    authorize: str = "https://accounts.example/auth"


@dataclass
class Seen:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class ScriptedServer:
    """Answers every request to a path with the bytes scripted for it, then closes; empty bytes mean silence."""

    scheme: str
    answers: dict[str, bytes] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    drip_s: float = 0
    reset: bool = False
    port: int = 0
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def url(self, path: str) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}{path}"

    def endpoints(self) -> Endpoints:
        return Endpoints(self.url("/token"), self.url("/revoke"), self.url("/userinfo"))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            method, path, _ = head[0].split(" ")
            headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in head[1:] if line)}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            self.seen.append(Seen(method, path, headers, body))
            self.asked.set()
            await self._answer(writer, self.answers[path])
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, answer: bytes) -> None:
        if self.reset:
            writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
            return
        if not answer:
            await self.over.wait()
        head, blank, body = answer.partition(b"\r\n\r\n")
        pieces = [head + blank, *(body[at : at + 1] for at in range(len(body)))] if self.drip_s else [answer]
        for piece in pieces:
            if self.over.is_set():
                return
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(self.drip_s)


def http(status: int, body: bytes, kind: str = JSON, **fields: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Because", f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode() + body


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


async def _running(
    server: ScriptedServer, context: ssl.SSLContext | None = None
) -> AsyncIterator[ScriptedServer]:
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=context)
    server.port = listener.sockets[0].getsockname()[1]
    yield server
    server.over.set()
    listener.close()
    await listener.wait_closed()


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async for running in _running(ScriptedServer("http")):
        yield running


@pytest.fixture
async def tls_server(authority: trustme.CA) -> AsyncIterator[ScriptedServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    async for running in _running(ScriptedServer("https"), context):
        yield running


@pytest.fixture
async def transport(trusted: str) -> AsyncIterator[HttpClient]:
    client = HttpClient(user_agent="regrant/test", ca_file=trusted)
    yield client
    await client.close()


@pytest.fixture
def google(server: ScriptedServer, transport: HttpClient) -> GoogleOAuth:
    return GoogleOAuth(transport, server.endpoints(), Timeouts(ANSWER_S, ANSWER_S, ANSWER_S))


# The catalogue: one row per answer that is documented or was seen in the wild.


@dataclass(frozen=True)
class Row:
    """`expected` is the kind of refusal, `granted` or `unavailable`; `error` what Google's code must be read as."""

    name: str
    answer: bytes
    expected: str
    subtype: str = ""
    description: str = ""


def said(status: int, error: str, description: str = "", subtype: str = "") -> bytes:
    fields = {"error": error, "error_description": description, "error_subtype": subtype}
    return http(status, json.dumps({key: value for key, value in fields.items() if value}).encode())


def refusal(expected: str, status: int, error: str, description: str = "", subtype: str = "") -> Row:
    name = f"{status} {error} {subtype or description}".strip()
    return Row(name, said(status, error, description, subtype), expected, subtype, description)


def unavailable(name: str, answer: bytes) -> Row:
    return Row(name, answer, "unavailable")


PORTAL = b"<!DOCTYPE html><html><body>Sign in to the network. invalid_grant</body></html>"
GRANTED = b'{"access_token":"access-ann-1","expires_in":3599,"scope":"openid","token_type":"Bearer"}'

CATALOGUE = [
    Row("200 granted", http(200, GRANTED), "granted"),
    Row("200 granted, any content type", http(200, GRANTED, "text/plain"), "granted"),
    refusal("invalid_grant", 400, "invalid_grant", "Token has been expired or revoked."),
    refusal("invalid_grant", 400, "invalid_grant", "Bad Request"),
    refusal("invalid_grant", 400, "invalid_grant", "Account has been deleted"),
    refusal("invalid_grant", 400, "invalid_grant", "The account has been deleted"),
    refusal("invalid_grant", 400, "invalid_grant", "reauth related error (invalid_rapt)", "invalid_rapt"),
    refusal("invalid_grant", 400, "invalid_grant", "reauth related error (rapt_required)", "rapt_required"),
    refusal("invalid_grant", 400, "invalid_grant", "Malformed auth code."),
    refusal("invalid_grant", 400, "invalid_grant", "Missing code verifier."),
    refusal("invalid_grant", 400, "invalid_grant", "Invalid code verifier."),
    refusal("invalid_grant", 400, "invalid_grant", "code_verifier or verifier is not needed."),
    refusal("invalid_grant", 400, "invalid_grant"),
    refusal("invalid_grant", 400, "invalid_grant", "temporarily_unavailable"),
    Row(
        "400 invalid_grant as text/html",
        http(400, DEAD, "text/html"),
        "invalid_grant",
        description="Token has been expired or revoked.",
    ),
    refusal("client_broken", 401, "invalid_client", "The OAuth client was not found."),
    refusal("client_broken", 401, "invalid_client", "The provided client secret is invalid."),
    refusal("client_broken", 401, "invalid_client", "Unauthorized"),
    refusal("client_broken", 400, "invalid_client"),
    refusal("client_broken", 401, "deleted_client", "The OAuth client was deleted."),
    refusal("client_broken", 401, "disabled_client", "The OAuth client was disabled."),
    refusal("wrong_client", 401, "unauthorized_client", "Unauthorized"),
    refusal("wrong_client", 400, "unauthorized_client"),
    refusal("bad_request", 400, "invalid_request", "client_secret is missing."),
    refusal("bad_request", 400, "invalid_request", "Missing required parameter: refresh_token"),
    refusal("bad_request", 400, "invalid_request", "Could not determine client ID from request."),
    refusal("bad_request", 400, "invalid_request", "invalid_grant"),
    refusal("bad_request", 400, "unsupported_grant_type"),
    refusal("bad_request", 400, "redirect_uri_mismatch"),
    refusal("bad_request", 400, "invalid_grant: Token has been expired or revoked."),
    refusal("bad_request", 400, "INVALID_GRANT"),
    refusal("bad_request", 400, "invalid_token", "invalid_grant", "invalid_grant"),
    refusal("scope", 400, "invalid_scope", "Some requested scopes were invalid. {invalid=[x]}"),
    refusal("admin_policy", 400, "admin_policy_enforced"),
    refusal("admin_policy", 403, "access_denied", "Account restricted"),
    refusal("admin_policy", 403, "org_internal"),
    unavailable("400 internal_failure", said(400, "internal_failure")),
    unavailable("403 rate_limit_exceeded", said(403, "rate_limit_exceeded")),
    unavailable("429 rate_limit_exceeded", said(429, "rate_limit_exceeded")),
    unavailable("429 invalid_grant", http(429, DEAD)),
    unavailable("408 invalid_grant", http(408, DEAD)),
    unavailable("407 invalid_grant", http(407, DEAD)),
    unavailable("401 invalid_grant", http(401, DEAD)),
    unavailable("403 invalid_grant", http(403, DEAD)),
    unavailable("404 invalid_grant", http(404, DEAD)),
    unavailable("500 invalid_grant", http(500, DEAD)),
    unavailable("503 invalid_grant", http(503, DEAD)),
    unavailable("200 invalid_grant", http(200, DEAD)),
    unavailable("201 granted", http(201, GRANTED)),
    unavailable("500 internal_failure", said(500, "internal_failure", "Backend Error")),
    unavailable("501 error is an object", http(501, b'{"error":{"code":501,"status":"UNIMPLEMENTED"}}')),
    unavailable("400 error is an object", http(400, b'{"error":{"code":400,"status":"invalid_grant"}}')),
    unavailable("400 error is a list", http(400, b'{"error":["invalid_grant"]}')),
    unavailable("400 error is null", http(400, b'{"error":null,"error_description":"invalid_grant"}')),
    unavailable("400 error is empty", http(400, b'{"error":"","error_description":"invalid_grant"}')),
    unavailable("400 no error", http(400, b'{"error_description":"invalid_grant"}')),
    unavailable("400 error deeper", http(400, b'{"data":{"error":"invalid_grant"}}')),
    unavailable("400 error twice", http(400, b'{"error":"invalid_request","error":"invalid_grant"}')),
    unavailable("400 list", http(400, b"[" + DEAD + b"]")),
    unavailable("400 string", http(400, b'"invalid_grant"')),
    unavailable("400 plain text", http(400, b"invalid_grant", "text/plain")),
    unavailable("400 two objects", http(400, DEAD + DEAD)),
    unavailable("400 text before", http(400, b")]}'\n" + DEAD)),
    unavailable("400 cut JSON", http(400, DEAD[:-1])),
    unavailable("400 UTF-16", http(400, DEAD.decode().encode("utf-16"))),
    unavailable("400 UTF-16 without mark", http(400, DEAD.decode().encode("utf-16-le"))),
    unavailable("400 form", http(400, b"error=invalid_grant", "application/x-www-form-urlencoded")),
    unavailable("400 empty", http(400, b"")),
    unavailable("400 HTML", http(400, PORTAL, "text/html")),
    unavailable("400 HTML as JSON", http(400, PORTAL)),
    unavailable("403 HTML", http(403, b"<html>We're sorry... automated queries", "text/html")),
    unavailable("200 HTML of a captive portal", http(200, PORTAL, "text/html")),
    unavailable("200 empty", http(200, b"")),
    unavailable("200 no access_token", http(200, b'{"expires_in":3599}')),
    unavailable("204", b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"),
    unavailable("502 HTML", http(502, PORTAL, "text/html")),
    unavailable("503 empty", http(503, b"")),
    unavailable("504", http(504, b"upstream request timeout", "text/plain")),
    unavailable("511 portal", http(511, PORTAL, "text/html")),
    unavailable("gzip that was not asked for", http(400, gzip.compress(DEAD), Content_Encoding="gzip")),
    unavailable("gzip that is none", http(400, DEAD, Content_Encoding="gzip")),
    unavailable("gzip without a word", http(400, gzip.compress(DEAD))),
    unavailable("oversized refusal", http(400, DEAD[:-1] + b',"x":"' + b"x" * 70_000 + b'"}')),
    unavailable("oversized grant", http(200, GRANTED[:-1] + b',"x":"' + b"x" * 70_000 + b'"}')),
    unavailable("no HTTP", b"SSH-2.0-OpenSSH_9.6\r\n"),
    unavailable("cut body", http(400, DEAD)[:-10]),
    unavailable("cut head", b"HTTP/1.1 400 Bad Req"),
]


@pytest.mark.parametrize("row", CATALOGUE, ids=lambda row: row.name)
async def test_each_answer_to_a_refresh_is_read_for_what_it_is(
    row: Row, server: ScriptedServer, google: GoogleOAuth
) -> None:
    server.answers["/token"] = row.answer
    outcome = await google.refresh(CLIENT, TOKEN)
    assert len(server.seen) == 1
    match outcome:
        case Granted():
            assert row.expected == "granted"
            assert (outcome.access_token, outcome.lifetime_s) == (Secret("access-ann-1"), 3599)
        case Refused():
            assert row.expected == outcome.kind
            assert (outcome.subtype, outcome.description) == (row.subtype, row.description)
        case Unavailable():
            assert row.expected == "unavailable"
            assert outcome.reason
            assert "invalid_grant" not in outcome.reason or outcome.status in {401, 403, 404}


def test_the_catalogue_holds_both_sides_of_the_rule() -> None:
    assert len({row.name for row in CATALOGUE}) == len(CATALOGUE)
    assert {row.expected for row in CATALOGUE} == {"granted", "unavailable", *RefusalKind}


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
async def test_a_redirect_to_an_answer_of_invalid_grant_is_not_followed(
    status: int, server: ScriptedServer, google: GoogleOAuth
) -> None:
    server.answers = {
        "/token": http(status, DEAD, Location=server.url("/elsewhere")),
        "/elsewhere": http(400, DEAD),
    }
    outcome = await google.refresh(CLIENT, TOKEN)
    assert isinstance(outcome, Unavailable)
    assert outcome.status == status
    assert "redirect" in outcome.reason
    assert [seen.path for seen in server.seen] == ["/token"]


async def test_a_refresh_sends_exactly_one_form(server: ScriptedServer, google: GoogleOAuth) -> None:
    server.answers["/token"] = http(200, GRANTED)
    assert isinstance(await google.refresh(CLIENT, TOKEN), Granted)
    (seen,) = server.seen
    assert (seen.method, seen.headers["content-type"]) == ("POST", "application/x-www-form-urlencoded")
    assert seen.headers["accept-encoding"] == "identity"
    assert dict(parse_qsl(seen.body.decode())) == {
        "grant_type": "refresh_token",
        "refresh_token": "refresh-ann-1",
        "client_id": "123-app.apps.example",
        "client_secret": "client-secret-1",
    }


async def test_an_exchange_proves_the_verifier(server: ScriptedServer, google: GoogleOAuth) -> None:
    server.answers["/token"] = http(200, GRANTED[:-1] + b',"refresh_token":"refresh-ann-2"}')
    outcome = await google.exchange(CLIENT, Secret("4/0code"), "http://127.0.0.1:5/", Secret("verifier-1"))
    assert isinstance(outcome, Granted)
    assert outcome.refresh_token == Secret("refresh-ann-2")
    form = dict(parse_qsl(server.seen[0].body.decode()))
    assert (form["code"], form["code_verifier"]) == ("4/0code", "verifier-1")


async def test_an_identity_is_asked_for_with_the_token_in_the_header_alone(
    server: ScriptedServer, google: GoogleOAuth
) -> None:
    server.answers["/userinfo"] = http(200, b'{"sub":"42","email":"ann@example.com","email_verified":true}')
    assert await google.identify(Secret("access-ann-1")) == Identity(
        "ann@example.com", "42", "", verified=True
    )
    (seen,) = server.seen
    assert (seen.method, seen.path, seen.body) == ("GET", "/userinfo", b"")
    assert seen.headers["authorization"] == "Bearer access-ann-1"


async def test_an_access_token_that_would_inject_a_header_is_never_sent(
    server: ScriptedServer, google: GoogleOAuth
) -> None:
    outcome = await google.identify(Secret("a\r\nx-injected: 1"))
    assert isinstance(outcome, Refused)
    assert outcome.error == "invalid_token"
    assert server.seen == []


async def test_a_revocation_names_the_token_in_the_body(server: ScriptedServer, google: GoogleOAuth) -> None:
    server.answers["/revoke"] = http(200, b"{}")
    assert await google.revoke(TOKEN) == Revoked(already=False)
    assert server.seen[0].body == b"token=refresh-ann-1"
    server.answers["/revoke"] = http(
        400, b'{"error":"invalid_token","error_description":"Token expired or revoked"}'
    )
    assert await google.revoke(TOKEN) == Revoked(already=True)


async def test_an_answer_that_quotes_what_was_sent_shows_none_of_it(
    server: ScriptedServer, google: GoogleOAuth
) -> None:
    quoted = "refused refresh_token=refresh-ann-1 client_secret=client-secret-1"
    server.answers["/token"] = said(400, "invalid_grant", quoted, "refresh-ann-1")
    outcome = await google.refresh(CLIENT, TOKEN)
    assert "refresh-ann-1" not in repr(outcome)
    assert "client-secret-1" not in repr(outcome)
    assert isinstance(outcome, Refused)
    assert outcome.description == "refused refresh_token=[secret] client_secret=[secret]"


@pytest.mark.parametrize("status", [429, 503])
async def test_the_wait_that_google_asks_for_is_passed_on(
    status: int, server: ScriptedServer, google: GoogleOAuth
) -> None:
    server.answers["/token"] = http(status, b"{}", Retry_After="17")
    outcome = await google.refresh(CLIENT, TOKEN)
    assert isinstance(outcome, Unavailable)
    assert (outcome.retry_after_s, outcome.status) == (17, status)


async def test_silence_ends_in_no_verdict(server: ScriptedServer, transport: HttpClient) -> None:
    server.answers["/token"] = b""
    outcome = await GoogleOAuth(transport, server.endpoints(), QUICK).refresh(CLIENT, TOKEN)
    assert isinstance(outcome, Unavailable)
    assert outcome.status is None


async def test_an_answer_that_drips_ends_in_no_verdict(server: ScriptedServer, transport: HttpClient) -> None:
    server.answers["/token"] = http(400, DEAD)
    server.drip_s = 0.02  # each byte is in time, the whole is not
    outcome = await GoogleOAuth(transport, server.endpoints(), QUICK).refresh(CLIENT, TOKEN)
    assert isinstance(outcome, Unavailable)
    assert outcome.reason == "no complete answer from 127.0.0.1 within 0.5 s"


async def test_a_reset_connection_is_no_verdict(server: ScriptedServer, google: GoogleOAuth) -> None:
    server.answers["/token"] = http(400, DEAD)
    server.reset = True
    assert isinstance(await google.refresh(CLIENT, TOKEN), Unavailable)
    assert len(server.seen) == 1


async def test_nobody_listening_is_no_verdict(server: ScriptedServer, transport: HttpClient) -> None:
    closed = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = closed.sockets[0].getsockname()[1]
    closed.close()
    await closed.wait_closed()
    url = f"http://127.0.0.1:{port}/token"
    outcome = await GoogleOAuth(transport, Endpoints(url, url, url)).refresh(CLIENT, TOKEN)
    assert isinstance(outcome, Unavailable)
    assert "cannot connect to" in outcome.reason


async def test_a_trusted_certificate_makes_a_verdict_possible(
    tls_server: ScriptedServer, transport: HttpClient
) -> None:
    tls_server.answers["/token"] = http(400, DEAD)
    outcome = await GoogleOAuth(transport, tls_server.endpoints()).refresh(CLIENT, TOKEN)
    assert isinstance(outcome, Refused)
    assert outcome.kind is RefusalKind.invalid_grant


async def test_a_foreign_certificate_is_no_verdict_and_sees_no_token(tls_server: ScriptedServer) -> None:
    tls_server.answers["/token"] = http(400, DEAD)
    transport = HttpClient(user_agent="regrant/test")
    outcome = await GoogleOAuth(transport, tls_server.endpoints()).refresh(CLIENT, TOKEN)
    await transport.close()
    assert isinstance(outcome, Unavailable)
    assert "certificate" in outcome.reason
    assert "network.ca_file" in outcome.reason
    assert tls_server.seen == []


async def test_an_endpoint_that_no_request_can_be_sent_to_is_no_verdict(transport: HttpClient) -> None:
    endpoint = "https://oauth2..example/token"
    outcome = await GoogleOAuth(transport, Endpoints(endpoint, endpoint, endpoint)).refresh(CLIENT, TOKEN)
    assert isinstance(outcome, Unavailable)
    assert "is the URL right" in outcome.reason


async def test_endpoints_are_read_at_each_call(server: ScriptedServer, transport: HttpClient) -> None:
    endpoints = server.endpoints()
    google = GoogleOAuth(transport, endpoints)
    server.answers = {"/token": http(503, b""), "/new": http(200, GRANTED)}
    assert isinstance(await google.refresh(CLIENT, TOKEN), Unavailable)
    endpoints.token = server.url("/new")
    assert isinstance(await google.refresh(CLIENT, TOKEN), Granted)


async def test_a_cancelled_call_is_not_turned_into_an_answer(
    server: ScriptedServer, google: GoogleOAuth
) -> None:
    server.answers["/token"] = b""
    call = asyncio.create_task(google.refresh(CLIENT, TOKEN))
    async with asyncio.timeout(ANSWER_S):
        await server.asked.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
