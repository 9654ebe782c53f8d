"""Who may enter the back office, over real sockets."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from tests.admin.office_server import OfficeServer, Reply
from tests.sandbox_client import SandboxControl

EVERY_ROUTE = [
    ("GET", "/api/accounts"),
    ("POST", "/api/accounts"),
    ("GET", "/api/accounts/x"),
    ("PATCH", "/api/accounts/x"),
    ("DELETE", "/api/accounts/x"),
    ("POST", "/api/accounts/x/verify"),
    ("POST", "/api/accounts/x/pause"),
    ("POST", "/api/accounts/x/resume"),
    ("POST", "/api/accounts/batch"),
    ("POST", "/api/oauth/start"),
    ("POST", "/api/oauth/complete"),
    ("GET", "/api/oauth/x"),
    ("GET", "/api/pool"),
    ("POST", "/api/pool/clear"),
    ("GET", "/api/quota"),
    ("GET", "/api/incidents"),
    ("GET", "/api/status"),
    ("GET", "/api/keys"),
    ("POST", "/api/keys"),
    ("DELETE", "/api/keys/x"),
    ("GET", "/api/settings"),
    ("PATCH", "/api/settings"),
    ("GET", "/api/models"),
    ("POST", "/api/models/explain"),
    ("GET", "/api/events"),
    ("GET", "/api/logs"),
    ("GET", "/api/traffic"),
    ("GET", "/api/traffic/x"),
    ("GET", "/api/stats"),
    ("POST", "/api/notify/test"),
    ("GET", "/api/session"),
    ("DELETE", "/api/session"),
    ("GET", "/api/openapi.json"),
    ("GET", "/api/unknown"),
    ("GET", "/api/"),
]


def sign_in(office: OfficeServer) -> tuple[str, str]:
    """A session's cookie and CSRF token."""
    reply = office.plain("POST", "/api/session", {"token": office.token})
    assert reply.status == 200, reply.raw
    return reply.headers["set-cookie"].partition(";")[0], reply.json["csrf"]


@pytest.mark.parametrize(("method", "path"), EVERY_ROUTE)
def test_nothing_opens_without_a_credential(office: OfficeServer, method: str, path: str) -> None:
    reply = office.plain(method, path)
    assert (reply.status, reply.error["code"]) == (401, "unauthorized")
    assert "Bearer" in reply.headers["www-authenticate"]


@pytest.mark.parametrize("header", ["Bearer wrong", "Bearer ", "Basic {token}", "{token}", "Bearer {token}x"])
def test_wrong_word_does_not_open(office: OfficeServer, header: str) -> None:
    headers = {"authorization": header.format(token=office.token)}
    assert office.plain("GET", "/api/accounts", headers=headers).status == 401


def test_client_key_never_opens_the_back_office(office: OfficeServer) -> None:
    key = office.call("POST", "/api/keys", {"name": "laptop"}).json["key"]
    for headers in ({"authorization": f"Bearer {key}"}, {"x-api-key": key}, {"x-goog-api-key": key}):
        assert office.plain("GET", "/api/accounts", headers=headers).status == 401
    assert office.plain("GET", f"/api/accounts?key={key}").status == 401


def test_admin_token_never_opens_the_gateway(tmp_path: Path, sandbox: SandboxControl) -> None:
    with OfficeServer(tmp_path, sandbox, **{"server.auth_mode": "strict"}) as office:
        assert office.call("GET", "/v1/models").status == 401
        assert office.call("GET", "/healthz").status == 401


def test_unknown_path_is_json_404_and_wrong_method_405(office: OfficeServer) -> None:
    unknown = office.call("GET", "/api/nowhere")
    assert (unknown.status, unknown.error["code"]) == (404, "not_found")
    wrong = office.call("PUT", "/api/accounts", {})
    assert (wrong.status, wrong.error["code"]) == (405, "method_not_allowed")


def test_malformed_json_is_400_wrong_type_415_and_too_much_413(office: OfficeServer) -> None:
    json_type = {"content-type": "application/json"}
    for body in (b"{", b'{"a":', b"\xff\xfe"):
        malformed = office.call("POST", "/api/accounts", body, **json_type)
        assert (malformed.status, malformed.error["code"]) == (400, "malformed_request"), body
    form = office.call("POST", "/api/accounts", b"a=b", **{"content-type": "text/plain"})
    assert (form.status, form.error["code"]) == (415, "unsupported_media_type")
    big = office.call("POST", "/api/accounts", b'{"label":"' + b"x" * 2_100_000 + b'"}', **json_type)
    assert (big.status, big.error["code"]) == (413, "too_large")


def test_every_answer_is_hardened(office: OfficeServer) -> None:
    for reply in (office.call("GET", "/api/accounts"), office.plain("GET", "/api/accounts")):
        assert reply.headers["cache-control"] == "no-store"
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in reply.headers


def test_session_cookie_opens_and_is_closed_to_scripts_and_other_sites(office: OfficeServer) -> None:
    reply = office.plain("POST", "/api/session", {"token": office.token})
    attributes = {part.strip().lower() for part in reply.headers["set-cookie"].split(";")[1:]}
    assert {"httponly", "samesite=strict", "path=/"} <= attributes
    assert "secure" not in attributes
    cookie = reply.headers["set-cookie"].partition(";")[0]
    assert len(cookie.partition("=")[2]) >= 43
    assert office.plain("GET", "/api/accounts", headers={"cookie": cookie}).status == 200
    again = office.plain("GET", "/api/session", headers={"cookie": cookie})
    assert again.json == reply.json


def test_session_cookie_is_secure_when_the_public_address_is_https(
    tmp_path: Path, sandbox: SandboxControl
) -> None:
    with OfficeServer(tmp_path, sandbox, **{"server.public_url": "https://gate.example.org"}) as office:
        reply = office.plain("POST", "/api/session", {"token": office.token})
        assert "secure" in reply.headers["set-cookie"].lower()


def test_unsafe_method_with_the_cookie_needs_the_csrf_token(office: OfficeServer) -> None:
    cookie, csrf = sign_in(office)
    other = sign_in(office)[1]

    def create(**headers: str) -> Reply:
        return office.plain("POST", "/api/keys", {"name": "k"}, {"cookie": cookie, **headers})

    for headers in ({}, {"x-csrf-token": ""}, {"x-csrf-token": "wrong"}, {"x-csrf-token": other}):
        refused = create(**headers)
        assert (refused.status, refused.error["code"]) == (403, "csrf_token_required")
    assert create(**{"x-csrf-token": csrf}).status == 201


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
    ],
)
def test_other_sites_neither_sign_in_nor_use_a_session(office: OfficeServer, headers: dict[str, str]) -> None:
    cookie, csrf = sign_in(office)
    refused = office.plain("POST", "/api/session", {"token": office.token}, headers)
    assert (refused.status, refused.error["code"]) == (403, "origin_not_allowed")
    used = office.plain("GET", "/api/accounts", headers={"cookie": cookie, "x-csrf-token": csrf, **headers})
    assert (used.status, used.error["code"]) == (403, "origin_not_allowed")
    assert (
        office.call("GET", "/api/accounts", **headers).status == 200
    )  # no browser sends the bearer by itself


def test_session_ends_on_delete(office: OfficeServer) -> None:
    cookie, csrf = sign_in(office)
    gone = office.plain("DELETE", "/api/session", headers={"cookie": cookie, "x-csrf-token": csrf})
    assert gone.status == 204
    assert "max-age=0" in gone.headers["set-cookie"].lower()
    assert office.plain("GET", "/api/accounts", headers={"cookie": cookie}).status == 401


def test_wrong_credentials_are_slowed_and_right_ones_are_not(office: OfficeServer) -> None:
    statuses = [office.plain("POST", "/api/session", {"token": "wrong"}).status for _ in range(12)]
    assert statuses == [401] * 10 + [429] * 2
    limited = office.plain("GET", "/api/accounts", headers={"authorization": "Bearer wrong"})
    assert limited.status == 429
    assert 0 < int(limited.headers["retry-after"]) <= 60
    assert office.call("GET", "/api/accounts").status == 200
    sign_in(office)


@pytest.mark.parametrize("body", [{"password": "secret"}, {"code": "123"}])
def test_password_and_code_open_nothing_yet_and_say_so(office: OfficeServer, body: dict[str, str]) -> None:
    reply = office.plain("POST", "/api/session", body)
    assert reply.status == 401
    assert "admin.token" in reply.error["hint"]


def test_sign_in_without_a_credential_is_422(office: OfficeServer) -> None:
    reply = office.plain("POST", "/api/session", {})
    assert (reply.status, reply.error["problems"][0]["key"]) == (422, "token")


def test_admin_token_is_private_and_survives_a_restart(tmp_path: Path, sandbox: SandboxControl) -> None:
    with OfficeServer(tmp_path, sandbox) as first:
        token = first.token
        mode = stat.S_IMODE((tmp_path / "admin.token").stat().st_mode)
    assert len(token) >= 43
    assert mode == 0o600
    with OfficeServer(tmp_path, sandbox) as second:
        assert second.token == token
