"""The sandbox's OAuth endpoints, met as an application meets Google's."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any
from urllib.parse import urlencode

import pytest
from tests.sandbox.wire import Got, asking, call, eventually, form, generate, refresh
from tests.sandbox_client import CLIENT_ID, CLIENT_SECRET, MintedGrant, SandboxControl

VERIFIER = "a-verifier-of-the-right-length-which-is-at-least-43-characters"
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
REDIRECT = "http://127.0.0.1:45678/callback"
CLOUD = "https://www.googleapis.com/auth/cloud-platform"
RETRIEVER = "https://www.googleapis.com/auth/generative-language.retriever"
LONG_EMAIL = "https://www.googleapis.com/auth/userinfo.email"


def authorize(sandbox: SandboxControl, **changed: str) -> Got:
    values = {
        "client_id": CLIENT_ID,
        "redirect_uri": REDIRECT,
        "response_type": "code",
        "scope": f"openid email {CLOUD} {RETRIEVER}",
        "state": "state-1",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        "access_type": "offline",
        "prompt": "consent",
        **changed,
    }
    query = urlencode({key: value for key, value in values.items() if value})
    return call(sandbox, "GET", f"/o/oauth2/v2/auth?{query}")


def exchange(sandbox: SandboxControl, code: str, **changed: str) -> Got:
    values = {
        "grant_type": "authorization_code",
        "code": code,
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "redirect_uri": REDIRECT,
        "code_verifier": VERIFIER,
        **changed,
    }
    return form(sandbox, "/token", **{key: value for key, value in values.items() if value})


def test_sign_in_gives_the_hinted_person_and_the_long_scope_names(sandbox: SandboxControl) -> None:
    landed = authorize(sandbox, login_hint="bob@example.com")
    assert landed.status == 302
    assert landed.headers["location"].startswith(REDIRECT + "?state=state-1&code=4%2F")
    body = exchange(sandbox, landed.query()["code"]).json()
    assert body["scope"] == f"openid {LONG_EMAIL} {CLOUD} {RETRIEVER}"
    assert body["expires_in"] == 3599
    assert body["token_type"] == "Bearer"
    assert "refresh_token_expires_in" not in body
    claims = json.loads(base64.urlsafe_b64decode(body["id_token"].split(".")[1] + "==="))
    assert claims["email"] == "bob@example.com"
    assert claims["aud"] == CLIENT_ID
    assert generate(sandbox, body["access_token"], asking("hi")).status == 200


def test_sign_in_without_hint_is_the_first_person(sandbox: SandboxControl) -> None:
    body = exchange(sandbox, authorize(sandbox).query()["code"]).json()
    assert userinfo(sandbox, body["access_token"]).json()["email"] == "ann@example.com"


def test_the_next_sign_in_can_be_somebody_else_in_spite_of_the_hint(sandbox: SandboxControl) -> None:
    sandbox.next_sign_in("cara@example.com", ignore_hint=True)
    body = exchange(sandbox, authorize(sandbox, login_hint="ann@example.com").query()["code"]).json()
    assert userinfo(sandbox, body["access_token"]).json()["email"] == "cara@example.com"
    again = exchange(sandbox, authorize(sandbox, login_hint="ann@example.com").query()["code"]).json()
    assert userinfo(sandbox, again["access_token"]).json()["email"] == "ann@example.com"


def test_denied_consent_returns_the_error_and_the_state(sandbox: SandboxControl) -> None:
    sandbox.next_sign_in(error="access_denied")
    assert authorize(sandbox).query() == {"state": "state-1", "error": "access_denied"}


def test_unticked_scopes_are_missing_from_what_is_granted(sandbox: SandboxControl) -> None:
    sandbox.next_sign_in(untick=[RETRIEVER])
    landed = authorize(sandbox)
    assert RETRIEVER not in landed.query()["scope"]
    body = exchange(sandbox, landed.query()["code"]).json()
    refused = generate(sandbox, body["access_token"], asking("hi"))
    assert (refused.status, refused.reason) == (403, "ACCESS_TOKEN_SCOPE_INSUFFICIENT")


def test_choosing_page_lists_people_and_leads_on(sandbox: SandboxControl) -> None:
    page = authorize(sandbox, choose="1")
    assert page.status == 200
    assert b"bob@example.com" in page.body
    link = page.body.decode().split('href="')[2].split('"')[0].replace("&amp;", "&")
    landed = call(sandbox, "GET", f"/o/oauth2/v2/auth{link}")
    body = exchange(sandbox, landed.query()["code"]).json()
    assert userinfo(sandbox, body["access_token"]).json()["email"] == "bob@example.com"


@pytest.mark.parametrize(
    ("changed", "status", "error"),
    [
        ({"client_id": "nobody"}, 401, "invalid_client"),
        ({"redirect_uri": "https://evil.example/cb"}, 400, "redirect_uri_mismatch"),
        ({"redirect_uri": "http://127.0.0.1.evil.example/cb"}, 400, "redirect_uri_mismatch"),
        ({"response_type": "token"}, 400, "unsupported_response_type"),
        ({"code_challenge": ""}, 400, "invalid_request"),
        ({"code_challenge_method": "plain"}, 400, "invalid_request"),
        ({"scope": ""}, 400, "invalid_request"),
        ({"scope": "https://www.googleapis.com/auth/generative-language"}, 400, "invalid_scope"),
    ],
)
def test_faulty_sign_in_stays_on_googles_page(
    sandbox: SandboxControl, changed: dict[str, str], status: int, error: str
) -> None:
    page = authorize(sandbox, **changed)
    assert page.status == status
    assert f"Error {status}: {error}" in page.body.decode()
    assert "location" not in page.headers


def test_registered_redirect_is_accepted(sandbox: SandboxControl) -> None:
    sandbox.client(CLIENT_ID, redirect_uris=["https://gateway.example/oauth/callback"])
    assert authorize(sandbox, redirect_uri="https://gateway.example/oauth/callback").status == 302


def test_refresh_token_needs_offline_access_and_a_new_consent(sandbox: SandboxControl) -> None:
    def minted(**changed: str) -> bool:
        return "refresh_token" in exchange(sandbox, authorize(sandbox, **changed).query()["code"]).json()

    assert not minted(access_type="")
    sandbox.revoke("ann@example.com")
    assert minted(prompt="")
    assert not minted(prompt="")
    assert minted(prompt="consent")


@pytest.mark.parametrize(
    ("changed", "error", "description"),
    [
        ({"code": "4/unknown"}, "invalid_grant", "Malformed auth code."),
        ({"redirect_uri": REDIRECT + "/"}, "invalid_grant", "Bad Request"),
        ({"code_verifier": ""}, "invalid_grant", "Missing code verifier."),
        ({"code_verifier": VERIFIER + "x"}, "invalid_grant", "Invalid code verifier."),
        ({"code": ""}, "invalid_request", "Missing required parameter: code"),
        ({"grant_type": "password"}, "unsupported_grant_type", "Invalid grant_type: password"),
    ],
)
def test_faulty_exchange_is_refused(
    sandbox: SandboxControl, changed: dict[str, str], error: str, description: str
) -> None:
    code = authorize(sandbox).query()["code"]
    refused = exchange(sandbox, **{"code": code, **changed})
    assert refused.status == 400
    assert refused.json() == {"error": error, "error_description": description}


def test_code_is_good_for_one_exchange(sandbox: SandboxControl) -> None:
    code = authorize(sandbox).query()["code"]
    assert exchange(sandbox, code).status == 200
    assert exchange(sandbox, code).json() == {"error": "invalid_grant", "error_description": "Bad Request"}


def test_refresh_mints_a_new_access_token_and_keeps_the_refresh_token(
    sandbox: SandboxControl, ann: MintedGrant
) -> None:
    body = refresh(sandbox, ann).json()
    assert set(body) == {"access_token", "expires_in", "scope", "token_type"}
    assert body["access_token"] != ann.access_token
    for token in (ann.access_token, body["access_token"]):
        assert generate(sandbox, token, asking("hi")).status == 200


@pytest.mark.parametrize(
    ("changed", "status", "error", "description"),
    [
        ({"grant_type": ""}, 400, "invalid_request", "Required parameter is missing: grant_type"),
        ({"refresh_token": ""}, 400, "invalid_request", "Missing required parameter: refresh_token"),
        ({"client_id": ""}, 400, "invalid_request", "Could not determine client ID from request."),
        ({"client_secret": ""}, 400, "invalid_request", "client_secret is missing."),
        ({"client_secret": "wrong"}, 401, "invalid_client", "The provided client secret is invalid."),
        ({"client_id": "nobody"}, 401, "invalid_client", "The OAuth client was not found."),
        ({"refresh_token": "garbled"}, 400, "invalid_grant", "Bad Request"),
        ({"scope": "https://www.googleapis.com/auth/drive"}, 400, "invalid_scope", None),
    ],
)
def test_faulty_refresh_is_refused(
    sandbox: SandboxControl,
    ann: MintedGrant,
    changed: dict[str, str],
    status: int,
    error: str,
    description: str | None,
) -> None:
    refused = refresh(sandbox, ann, **changed)
    assert (refused.status, refused.json()["error"]) == (status, error)
    if description is not None:
        assert refused.json()["error_description"] == description


def test_token_endpoint_reads_forms_only(sandbox: SandboxControl, ann: MintedGrant) -> None:
    body = json.dumps({"grant_type": "refresh_token", "refresh_token": ann.refresh_token}).encode()
    refused = call(sandbox, "POST", "/token", body, headers={"content-type": "application/json"})
    assert (refused.status, refused.json()["error"]) == (400, "invalid_request")
    assert call(sandbox, "GET", "/token").status == 405


def test_client_may_authenticate_with_basic(sandbox: SandboxControl, ann: MintedGrant) -> None:
    basic = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
    body = urlencode({"grant_type": "refresh_token", "refresh_token": ann.refresh_token}).encode()
    headers = {"content-type": "application/x-www-form-urlencoded", "authorization": f"Basic {basic}"}
    assert call(sandbox, "POST", "/token", body, headers=headers).status == 200
    assert CLIENT_SECRET not in json.dumps(sandbox.journal())
    assert basic not in json.dumps(sandbox.journal())


@pytest.mark.parametrize("state", ["deleted", "disabled"])
def test_broken_client_is_told_as_the_clients_fault(
    sandbox: SandboxControl, ann: MintedGrant, state: str
) -> None:
    sandbox.client(CLIENT_ID, state=state)
    refused = refresh(sandbox, ann)
    assert refused.status == 401
    expected = {"error": f"{state}_client", "error_description": f"The OAuth client was {state}."}
    assert refused.json() == expected
    sandbox.client(CLIENT_ID, state="ok")
    assert refresh(sandbox, ann).status == 200


def test_refresh_by_another_client_is_unauthorized(sandbox: SandboxControl, ann: MintedGrant) -> None:
    sandbox.client("200000000002-other.apps.regrant.test", "other-secret")
    refused = refresh(
        sandbox, ann, client_id="200000000002-other.apps.regrant.test", client_secret="other-secret"
    )
    assert refused.status == 401
    assert refused.json() == {"error": "unauthorized_client", "error_description": "Unauthorized"}


def test_revoked_grant_dies_with_all_its_access_tokens(sandbox: SandboxControl, ann: MintedGrant) -> None:
    bob = sandbox.grant("bob@example.com")
    assert sandbox.revoke("ann@example.com") == 1
    refused = refresh(sandbox, ann)
    assert refused.status == 400
    assert refused.json() == {
        "error": "invalid_grant",
        "error_description": "Token has been expired or revoked.",
    }
    assert generate(sandbox, ann.access_token, asking("hi")).status == 401
    assert refresh(sandbox, bob).status == 200
    assert refresh(sandbox, sandbox.grant("ann@example.com")).status == 200


def test_one_grant_can_die_alone_and_say_why(sandbox: SandboxControl, ann: MintedGrant) -> None:
    second = sandbox.grant("ann@example.com")
    description = "reauth related error (invalid_rapt)"
    sandbox.revoke(refresh_token=ann.refresh_token, error_subtype="invalid_rapt", description=description)
    assert refresh(sandbox, ann).json() == {
        "error": "invalid_grant",
        "error_description": description,
        "error_subtype": "invalid_rapt",
    }
    assert refresh(sandbox, second).status == 200


def test_recreated_account_has_a_new_sub_and_its_old_grants_are_gone(
    sandbox: SandboxControl, ann: MintedGrant
) -> None:
    sandbox.person("ann@example.com", sub="999")
    assert refresh(sandbox, ann).json()["error_description"] == "Account has been deleted"
    assert sandbox.grant("ann@example.com").sub == "999"


def test_rotation_gives_a_new_refresh_token_and_kills_the_old(
    sandbox: SandboxControl, ann: MintedGrant
) -> None:
    sandbox.settings("ann@example.com", rotate_refresh_token=True)
    rotated = refresh(sandbox, ann).json()["refresh_token"]
    assert rotated != ann.refresh_token
    assert refresh(sandbox, ann).json()["error"] == "invalid_grant"
    assert refresh(sandbox, ann, refresh_token=rotated).status == 200


def test_one_scripted_rotation_happens_once(sandbox: SandboxControl, ann: MintedGrant) -> None:
    sandbox.script("rotate", email="ann@example.com", endpoint="token")
    rotated = refresh(sandbox, ann).json()["refresh_token"]
    assert "refresh_token" not in refresh(sandbox, ann, refresh_token=rotated).json()


def test_time_limited_grant_tells_its_end_and_dies_then(sandbox: SandboxControl) -> None:
    limited = sandbox.grant("ann@example.com", refresh_token_expires_in=600)
    assert 595 <= refresh(sandbox, limited).json()["refresh_token_expires_in"] <= 600
    over = sandbox.grant("ann@example.com", refresh_token_expires_in=1)
    assert eventually(lambda: refresh(sandbox, over).status == 400)
    assert refresh(sandbox, over).json()["error"] == "invalid_grant"


def test_access_token_lives_as_long_as_set_for_the_person(sandbox: SandboxControl) -> None:
    sandbox.settings("ann@example.com", expires_in=1)
    brief = sandbox.grant("ann@example.com")
    assert brief.expires_in == 1
    assert refresh(sandbox, brief).json()["expires_in"] == 1
    assert eventually(lambda: generate(sandbox, brief.access_token, asking("hi")).status == 401)
    assert refresh(sandbox, brief).status == 200


def test_expiring_ends_access_tokens_and_not_the_grant(sandbox: SandboxControl, ann: MintedGrant) -> None:
    assert sandbox.expire("ann@example.com") == 1
    refused = generate(sandbox, ann.access_token, asking("hi"))
    assert (refused.status, refused.reason) == (401, "ACCESS_TOKEN_EXPIRED")
    fresh = refresh(sandbox, ann).json()["access_token"]
    assert generate(sandbox, fresh, asking("hi")).status == 200


def test_revoking_one_token_ends_every_grant_of_that_person_to_the_project(
    sandbox: SandboxControl, ann: MintedGrant
) -> None:
    sibling = sandbox.grant("ann@example.com")
    sandbox.client("200000000002-other.apps.regrant.test", "other-secret")
    elsewhere = sandbox.grant("ann@example.com", client_id="200000000002-other.apps.regrant.test")
    assert form(sandbox, "/revoke", token=ann.access_token).status == 200
    assert refresh(sandbox, ann).json()["error"] == "invalid_grant"
    assert refresh(sandbox, sibling).json()["error"] == "invalid_grant"
    assert refresh(sandbox, elsewhere).status == 200
    again = form(sandbox, "/revoke", token=ann.refresh_token)
    assert (again.status, again.json()["error"]) == (400, "invalid_token")


def userinfo(sandbox: SandboxControl, token: str, path: str = "/v1/userinfo") -> Got:
    return call(sandbox, "GET", path, headers={"authorization": f"Bearer {token}"})


def test_userinfo_tells_who_it_is_until_the_token_dies(sandbox: SandboxControl, ann: MintedGrant) -> None:
    told: dict[str, Any] = userinfo(sandbox, ann.access_token).json()
    assert told["email"] == "ann@example.com"
    assert told["sub"] == ann.sub
    assert told["email_verified"] is True
    assert told["name"] == "Ann Example"
    assert userinfo(sandbox, ann.access_token, "/oauth2/v2/userinfo").json()["id"] == ann.sub
    sandbox.revoke("ann@example.com")
    assert userinfo(sandbox, ann.access_token).status == 401
    assert call(sandbox, "GET", "/v1/userinfo").status == 401


def test_userinfo_needs_an_identity_scope(sandbox: SandboxControl) -> None:
    without = sandbox.grant("ann@example.com", scope=CLOUD)
    assert userinfo(sandbox, without.access_token).status == 403
    only_sub = sandbox.grant("ann@example.com", scope="openid")
    assert "email" not in userinfo(sandbox, only_sub.access_token).json()
