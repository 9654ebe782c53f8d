"""Every answer that a token endpoint is known to give to a refresh: which ones disable, and which never may.

Source: docs/sources.md, section 2. Rows that only a code exchange can meet (malformed code, code verifier, reused code) are answers to a
refresh here all the same: what disables is the evidence of rule 1, not the wording.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.harness import Gateway, People, read_account, wait_until
from tests.sandbox_client import SandboxProcess

ANN = "ann@example.com"
SORRY = "<html><body><h1>We're sorry...</h1><p>... but your computer or network may be sending automated queries.</p>"
HTML = {"content-type": "text/html"}


@dataclass(frozen=True)
class Row:
    """One answer, and what becomes of the account: `disabled`, an attention code, or "" for neither."""

    status: int
    json: Any = None
    body: str = ""
    becomes: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    size: int = 0

    @property
    def behaviour(self) -> dict[str, Any]:
        said = {"json": self.json} if self.json is not None else {"body": self.body}
        return {"status": self.status, "headers": self.headers, "size": self.size, **said}


def said(status: int, error: str, description: str = "", becomes: str = "", **more: Any) -> Row:
    described = {"error_description": description} if description else {}
    return Row(status, {"error": error, **described, **more}, becomes=becomes)


def dead(description: str, **more: Any) -> Row:
    return said(400, "invalid_grant", description, "disabled", **more)


ROWS: dict[str, Row] = {
    "expired_or_revoked": dead("Token has been expired or revoked."),
    "bad_request": dead("Bad Request"),
    "account_deleted": dead("Account has been deleted"),
    "the_account_deleted": dead("The account has been deleted"),
    "invalid_rapt": dead("reauth related error (invalid_rapt)", error_subtype="invalid_rapt"),
    "rapt_required": dead("reauth related error (rapt_required)", error_subtype="rapt_required"),
    "malformed_code": dead("Malformed auth code."),
    "missing_verifier": dead("Missing code verifier."),
    "no_description": dead(""),
    "client_not_found": said(401, "invalid_client", "The OAuth client was not found.", "client_broken"),
    "client_secret_invalid": said(
        401, "invalid_client", "The provided client secret is invalid.", "client_broken"
    ),
    "client_unauthorized": said(401, "invalid_client", "Unauthorized", "client_broken"),
    "other_client": said(401, "unauthorized_client", "Unauthorized", "wrong_client"),
    "deleted_client": said(401, "deleted_client", "The OAuth client was deleted.", "client_broken"),
    "disabled_client": said(401, "disabled_client", "The OAuth client was disabled.", "client_broken"),
    "secret_missing": said(400, "invalid_request", "client_secret is missing.", "refresh_failing"),
    "token_missing": said(
        400, "invalid_request", "Missing required parameter: refresh_token", "refresh_failing"
    ),
    "client_undetermined": said(
        400, "invalid_request", "Could not determine client ID from request.", "refresh_failing"
    ),
    "grant_type_missing": said(
        400, "invalid_request", "Required parameter is missing: grant_type", "refresh_failing"
    ),
    "invalid_scope": said(400, "invalid_scope", "Bad Request", "scope_missing"),
    "invalid_scopes_listed": said(
        400,
        "invalid_scope",
        "Some requested scopes were invalid. {invalid=[a, b]}",
        "scope_missing",
        error_uri="https://developers.google.com/identity/protocols/oauth2",
    ),
    "admin_policy": said(400, "admin_policy_enforced", "", "admin_policy"),
    "account_restricted": said(400, "access_denied", "Account restricted", "admin_policy"),
    "client_not_authorized": said(403, "access_denied", "Requested client not authorized", "admin_policy"),
    "unsupported_grant_type": said(400, "unsupported_grant_type", "", "refresh_failing"),
    "redirect_uri_mismatch": said(400, "redirect_uri_mismatch", "", "refresh_failing"),
    "rate_limited_429": said(429, "rate_limit_exceeded", "Rate Limit Exceeded"),
    "rate_limited_403": said(403, "rate_limit_exceeded", "Rate Limit Exceeded"),
    "sorry_429": Row(429, body=SORRY, headers=HTML),
    "sorry_403": Row(403, body=SORRY, headers=HTML),
    "internal_failure": said(500, "internal_failure", "Backend Error"),
    "internal_failure_bare": said(500, "internal_failure"),
    "error_object_501": Row(
        501,
        {
            "error": {
                "code": 501,
                "status": "UNIMPLEMENTED",
                "message": "Operation is not implemented, or supported, or enabled.",
            }
        },
    ),
    "bad_gateway": Row(502, body="<html>Bad Gateway</html>", headers=HTML),
    "unavailable": Row(503, body=""),
    "gateway_timeout": Row(504, body="upstream request timeout"),
    # Evidence that is not: the word is there, the verdict is not.
    "word_in_the_description": said(
        400, "invalid_request", "this is not an invalid_grant", "refresh_failing"
    ),
    "word_in_another_field": Row(400, {"message": "invalid_grant", "code": "invalid_grant"}),
    "word_in_an_object": Row(
        400, {"error": {"code": 400, "status": "invalid_grant", "message": "invalid_grant"}}
    ),
    "word_in_a_list": Row(400, {"error": ["invalid_grant"]}),
    "word_in_an_array_body": Row(400, [{"error": "invalid_grant"}]),
    "word_in_html": Row(400, body="<html>invalid_grant</html>", headers=HTML),
    "word_in_another_case": Row(400, {"error": "Invalid_Grant"}, becomes="refresh_failing"),
    "verdict_with_another_status": said(401, "invalid_grant", "Token has been expired or revoked."),
    "verdict_with_403": said(403, "invalid_grant", "Token has been expired or revoked."),
    "verdict_with_500": said(500, "invalid_grant", "Token has been expired or revoked."),
    "verdict_with_200": said(200, "invalid_grant", "Token has been expired or revoked."),
    "captive_portal_200": Row(200, body="<html>Welcome! Accept the terms to go online.</html>", headers=HTML),
    "captive_portal_redirect": Row(302, headers={"location": "/_sandbox/state"}),
    "redirect_with_the_verdict": Row(
        307, {"error": "invalid_grant"}, headers={"location": "https://example.com/token"}
    ),
    "not_json": Row(400, body="{'error': 'invalid_grant'}"),
    "cut_json": Row(400, body='{"error": "invalid_grant"'),
    "empty_400": Row(400, body=""),
    "empty_200": Row(200, body=""),
    "no_access_token": Row(200, {"token_type": "Bearer", "expires_in": 3599}),
    "oversized": Row(400, {"error": "invalid_grant"}, size=4_000_000),
}


@pytest.mark.parametrize("name", ROWS)
def test_only_invalid_grant_with_400_disables_and_the_other_rows_get_what_they_deserve(
    sandbox: SandboxProcess, data_dir: Path, people: People, name: str
) -> None:
    row = ROWS[name]
    people("ann", "bob")
    sandbox.script("raw", email=ANN, endpoint="token", times=None, **row.behaviour)
    with Gateway(data_dir, sandbox.url, POOL__STRATEGY="round_robin") as gateway:
        answer = gateway.chat("hello")
        assert answer.status == 200, "whatever is said about Ann, Bob serves"
        assert answer.text.startswith("Hello from Bob")
        assert sandbox.token_calls(ANN) == 1
        wait_until(lambda: gateway.log("token_refresh_failed"), "the failure is logged")
        if row.becomes == "disabled":
            wait_until(lambda: read_account(data_dir, "ann").get("disabled"), "disabled on disk")
            assert gateway.ready()["reasons"] == {"disabled": 1}
        elif row.becomes:
            wait_until(lambda: read_account(data_dir, "ann").get("attention"), "attention on disk")
        shown = gateway.account("ann")
        gateway.stop()
    document = read_account(data_dir, "ann")
    assert bool(document.get("disabled")) is (row.becomes == "disabled")
    assert ("disabled_reason" in document) is (row.becomes == "disabled")
    attention = document.get("attention", {}).get("code", "")
    assert attention == ("" if row.becomes == "disabled" else row.becomes)
    if attention:
        assert shown["state"] == "attention"
        assert shown["advice"]["text"]
    assert len(gateway.log("account_disabled")) == (row.becomes == "disabled")


TRANSIENT = [
    "internal_failure",
    "unavailable",
    "sorry_429",
    "captive_portal_200",
    "captive_portal_redirect",
    "word_in_another_field",
    "client_not_found",
    "other_client",
    "admin_policy",
]


@pytest.mark.parametrize("name", TRANSIENT)
def test_an_account_whose_refresh_fails_for_another_reason_serves_again_when_the_reason_is_gone(
    sandbox: SandboxProcess, data_dir: Path, people: People, name: str
) -> None:
    people("ann")
    script = sandbox.script("raw", endpoint="token", times=None, **ROWS[name].behaviour)
    with Gateway(data_dir, sandbox.url, POOL__RESCUE_S="0") as gateway:
        assert gateway.chat("hello").status in {502, 503, 504}
        sandbox.unscript(script)
        wait_until(lambda: gateway.chat("hello").status == 200, "served again", every_s=0.2)
        wait_until(lambda: "attention" not in read_account(data_dir, "ann"), "nothing to attend to")
        assert gateway.ready() == {"ready": True, "reasons": {}}
    assert "disabled" not in read_account(data_dir, "ann")


def test_a_token_endpoint_that_cannot_be_resolved_disables_nobody(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann")
    away = "https://token.regrant.invalid/token"
    with Gateway(data_dir, sandbox.url, POOL__RESCUE_S="0", GOOGLE__ENDPOINTS__TOKEN=away) as gateway:
        answer = gateway.chat("hello")
        assert answer.status in {502, 503, 504}
        assert answer.json()["error"]["code"] == "upstream_unavailable"
        assert gateway.ready()["reasons"].get("disabled") is None
    assert "disabled" not in read_account(data_dir, "ann")
    with Gateway(data_dir, sandbox.url) as gateway:
        assert gateway.served_by() == "ann"


def test_a_token_endpoint_that_refuses_connections_disables_nobody(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        away = f"http://127.0.0.1:{port}/token"
        with Gateway(data_dir, sandbox.url, POOL__RESCUE_S="0", GOOGLE__ENDPOINTS__TOKEN=away) as gateway:
            assert gateway.chat("hello").status in {502, 503, 504}
    assert "disabled" not in read_account(data_dir, "ann")


@pytest.mark.parametrize("kind", ["reset", "cut"])
def test_a_connection_broken_in_mid_answer_disables_nobody(
    sandbox: SandboxProcess, data_dir: Path, people: People, kind: str
) -> None:
    people("ann", "bob")
    more: dict[str, Any] = {"after_chunks": 0, "mid_chunk": True} if kind == "cut" else {}
    sandbox.revoke(ANN)
    sandbox.script(kind, email=ANN, endpoint="token", **more)
    with Gateway(data_dir, sandbox.url, POOL__STRATEGY="round_robin") as gateway:
        assert gateway.chat("hello").text.startswith("Hello from Bob")
        assert "disabled" not in read_account(data_dir, "ann")
        assert gateway.ready()["reasons"] == {}


def test_a_broken_oauth_client_is_one_alarm_and_disables_no_account(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    names = [f"person{number}" for number in range(5)]
    people(*names)
    sandbox.client("100000000001-sandbox.apps.regrant.test", "sandbox-client-secret", state="deleted")
    with Gateway(data_dir, sandbox.url, POOL__RESCUE_S="0") as gateway:
        assert gateway.chat("hello").status in {502, 503, 504}
        for name in names:
            gateway.admin("POST", f"/api/accounts/{name}/verify")
        assert len(gateway.log("client_broken")) == 1
        assert not gateway.log("account_disabled")
        sandbox.client("100000000001-sandbox.apps.regrant.test", "sandbox-client-secret", state="ok")
        wait_until(lambda: gateway.chat("hello").status == 200, "served again", every_s=0.2)
    assert not any("disabled" in read_account(data_dir, name) for name in names)
