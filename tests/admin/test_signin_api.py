"""Sign-ins through the admin API: the sandbox's consent page stands in for Google's."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.admin.office_server import OfficeServer, Reply
from tests.sandbox_client import SandboxControl


def query_of(url: str) -> dict[str, str]:
    return {key: values[0] for key, values in parse_qs(urlsplit(url).query).items()}


def land(office: OfficeServer, address: str) -> Reply:
    """The browser's visit of the callback, without any credential."""
    parts = urlsplit(address)
    return office.plain("GET", f"{parts.path}?{parts.query}")


def test_browser_signs_in_and_the_account_serves(office: OfficeServer, sandbox: SandboxControl) -> None:
    sandbox.person("ann@example.com")
    started = office.call("POST", "/api/oauth/start", {"login_hint": "ann@example.com", "label": "work"})
    assert started.status == 200
    assert set(started.json) == {"flow", "authorize_url", "redirect_uri", "expires_at"}
    assert started.json["redirect_uri"] == f"http://127.0.0.1:{office.port}/oauth/callback"
    flow = f"/api/oauth/{started.json['flow']}"
    assert office.call("GET", flow).json == {"status": "pending"}
    address = office.sign_in_at(started.json["authorize_url"])
    page = land(office, address)
    assert page.status == 200
    assert page.headers["content-type"].startswith("text/html")
    assert office.call("GET", flow).json == {"status": "done", "outcome": "created"}
    account = office.call("GET", "/api/accounts").json["items"][0]
    assert (account["email"], account["label"], account["state"]) == ("ann@example.com", "work", "active")


def test_callback_page_is_small_strict_and_never_echoes_the_code(
    office: OfficeServer, sandbox: SandboxControl
) -> None:
    sandbox.person("ann@example.com")
    started = office.call("POST", "/api/oauth/start", {}).json
    address = office.sign_in_at(started["authorize_url"])
    secrets = query_of(address)
    for page in (
        land(office, address),
        land(office, address),
        land(office, "/oauth/callback?state=x&code=<script>"),
    ):
        text = page.raw.decode()
        assert secrets["code"] not in text
        assert secrets["state"] not in text
        assert "<script" not in text
        assert page.headers["content-security-policy"].startswith("default-src 'none'")
        assert page.headers["referrer-policy"] == "no-referrer"
        assert page.headers["cache-control"] == "no-store"
        assert "set-cookie" not in page.headers


@pytest.mark.parametrize(
    "query", ["", "?state=wrong&code=abc", "?code=abc", "?error=access_denied", "?state=&code="]
)
def test_callback_of_no_sign_in_is_refused(office: OfficeServer, query: str) -> None:
    office.call("POST", "/api/oauth/start", {})
    assert land(office, f"/oauth/callback{query}").status == 400
    assert office.call("GET", "/api/accounts").json["items"] == []


def test_consent_that_is_refused_fails_the_flow_with_advice(
    office: OfficeServer, sandbox: SandboxControl
) -> None:
    sandbox.person("ann@example.com")
    sandbox.next_sign_in("ann@example.com", error="access_denied")
    started = office.call("POST", "/api/oauth/start", {}).json
    page = land(office, office.sign_in_at(started["authorize_url"]))
    assert page.status == 422
    shown = office.call("GET", f"/api/oauth/{started['flow']}").json
    assert shown["status"] == "failed"
    assert shown["error"]["code"] == "access_denied"
    assert set(shown["error"]) == {"code", "message", "hint"}


def test_pasted_address_completes_and_counts_once(office: OfficeServer, sandbox: SandboxControl) -> None:
    sandbox.person("ann@example.com")
    started = office.call("POST", "/api/oauth/start", {"redirect": "paste"}).json
    assert started["redirect_uri"] != f"http://127.0.0.1:{office.port}/oauth/callback"
    address = office.sign_in_at(started["authorize_url"])
    body = {"flow": started["flow"], "url": address}
    done = office.call("POST", "/api/oauth/complete", body)
    assert (done.status, done.json["outcome"]) == (201, "created")
    assert done.json["account"]["email"] == "ann@example.com"
    again = office.call("POST", "/api/oauth/complete", body)
    assert (again.status, again.error["code"]) == (409, "flow_finished")


def test_sign_in_is_pending_while_google_is_asked_and_counts_once(
    office: OfficeServer, sandbox: SandboxControl
) -> None:
    sandbox.person("ann@example.com")
    sandbox.script("slow", endpoint="token", seconds=1.5)
    started = office.call("POST", "/api/oauth/start", {"redirect": "paste"}).json
    body = {"flow": started["flow"], "url": office.sign_in_at(started["authorize_url"])}
    since = sandbox.last_seq()
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(office.call, "POST", "/api/oauth/complete", body) for _ in range(2)]
        refused = next(as_completed(both, timeout=30)).result()
        assert (refused.status, refused.error["code"]) == (409, "flow_finished")
        assert office.call("GET", f"/api/oauth/{started['flow']}").json == {"status": "pending"}
        assert sorted(one.result(30).status for one in both) == [201, 409]
    assert len(sandbox.journal(since=since, endpoint="token")) == 1


def test_address_of_another_sign_in_leaves_the_flow_pending(
    office: OfficeServer, sandbox: SandboxControl
) -> None:
    sandbox.person("ann@example.com")
    mine, other = (office.call("POST", "/api/oauth/start", {"redirect": "paste"}).json for _ in range(2))
    address = office.sign_in_at(other["authorize_url"])
    refused = office.call("POST", "/api/oauth/complete", {"flow": mine["flow"], "url": address})
    assert (refused.status, refused.error["code"]) == (422, "state_mismatch")
    assert office.call("GET", f"/api/oauth/{mine['flow']}").json["status"] == "pending"


def test_reauthorization_suggests_the_account_and_brings_it_back(
    office: OfficeServer, sandbox: SandboxControl
) -> None:
    account = office.add(sandbox.grant("ann@example.com").refresh_token, label="work")
    sandbox.revoke("ann@example.com")
    assert office.call("POST", f"/api/accounts/{account['id']}/verify").json["outcome"] == "dead"
    started = office.call("POST", "/api/oauth/start", {"account_id": account["id"]}).json
    assert query_of(started["authorize_url"])["login_hint"] == "ann@example.com"
    assert land(office, office.sign_in_at(started["authorize_url"])).status == 200
    assert office.call("GET", f"/api/oauth/{started['flow']}").json["outcome"] == "recovered"
    shown = office.call("GET", f"/api/accounts/{account['id']}").json
    assert (shown["state"], shown["label"], shown["generation"]) == ("active", "work", 2)


def test_signing_in_as_somebody_else_during_a_reauthorization_is_refused(
    office: OfficeServer, sandbox: SandboxControl
) -> None:
    account = office.add(sandbox.grant("ann@example.com").refresh_token)
    sandbox.person("bob@example.com")
    sandbox.next_sign_in("bob@example.com", ignore_hint=True)
    started = office.call("POST", "/api/oauth/start", {"account_id": account["id"]}).json
    page = land(office, office.sign_in_at(started["authorize_url"]))
    assert page.status == 409
    assert office.call("GET", f"/api/oauth/{started['flow']}").json["error"]["code"] == "wrong_account"
    assert [one["email"] for one in office.call("GET", "/api/accounts").json["items"]] == ["ann@example.com"]


def test_public_address_is_where_the_browser_comes_back_to(tmp_path: Path, sandbox: SandboxControl) -> None:
    with OfficeServer(tmp_path, sandbox, **{"server.public_url": "https://gate.example.org"}) as office:
        started = office.call("POST", "/api/oauth/start", {}).json
        assert started["redirect_uri"] == "https://gate.example.org/oauth/callback"


def test_unknown_flow_and_account_are_404(office: OfficeServer) -> None:
    flow = office.call("GET", "/api/oauth/nothing")
    assert (flow.status, flow.error["code"]) == (404, "flow_not_found")
    completed = office.call(
        "POST", "/api/oauth/complete", {"flow": "nothing", "url": "http://x/?code=1&state=2"}
    )
    assert completed.status == 404
    started = office.call("POST", "/api/oauth/start", {"account_id": "nobody"})
    assert (started.status, started.error["code"]) == (404, "account_not_found")


def test_sign_in_without_an_oauth_client_says_how_to_make_one(
    tmp_path: Path, sandbox: SandboxControl
) -> None:
    none = {"google.client_id": "", "google.client_secret": ""}
    with OfficeServer(tmp_path, sandbox, **none) as office:
        reply = office.call("POST", "/api/oauth/start", {})
        assert (reply.status, reply.error["code"]) == (422, "client_not_configured")
        assert "Desktop" in reply.error["hint"]


@pytest.mark.parametrize("body", [{"redirect": "elsewhere"}, {"redirect": "https://evil.example"}, {"x": 1}])
def test_wrong_start_is_422(office: OfficeServer, body: dict[str, object]) -> None:
    assert office.call("POST", "/api/oauth/start", body).status == 422
