"""The accounts of the admin API, over real sockets, with the sandbox as Google."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.admin.office_server import OfficeServer, until
from tests.sandbox_client import CLIENT_ID, CLIENT_SECRET, SandboxControl

ALWAYS = {
    *("schema", "revision", "id", "email", "sub", "name", "label", "client_id", "project_id"),
    *("upstream", "location", "generation", "protected_models", "verified"),
    *("created_at", "updated_at", "last_used_at", "last_refresh_at", "history"),
    *("state", "since", "cause", "advice", "expires_hint", "freshness", "token_expires_at"),
    *("cooldowns", "persisted"),
}
WHEN_DISABLED = {"disabled", "disabled_at", "disabled_reason", "disabled_cause"}
WHEN_PAUSED = {"proxy_disabled", "proxy_disabled_at", "proxy_disabled_reason"}


def file_of(office: OfficeServer, account_id: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((office.folder / "accounts" / f"{account_id}.json").read_bytes())
    return document


def kill(office: OfficeServer, sandbox: SandboxControl, account: dict[str, Any]) -> dict[str, Any]:
    """Revoke the grant and let the gateway find out."""
    sandbox.revoke(account["email"])
    reply = office.call("POST", f"/api/accounts/{account['id']}/verify")
    assert reply.json["outcome"] == "dead"
    return dict(reply.json["account"])


def test_account_object_has_exactly_the_contracts_keys(office: OfficeServer, sandbox: SandboxControl) -> None:
    account = office.add(sandbox.grant("ann@example.com").refresh_token)
    assert set(account) == ALWAYS
    assert account["state"] == "active"
    assert account["advice"] is None
    assert account["persisted"] is True
    assert account["freshness"] == "fresh"
    paused = office.call("POST", f"/api/accounts/{account['id']}/pause", {"reason": "holiday"}).json[
        "account"
    ]
    assert set(paused) == ALWAYS | WHEN_PAUSED
    dead = kill(office, sandbox, account)
    assert set(dead) == ALWAYS | WHEN_PAUSED | WHEN_DISABLED
    assert dead["state"] == "disabled"  # disabled is judged before the pause
    assert dead["cause"] == dead["disabled_cause"] == "revoked"
    assert dead["since"] == dead["disabled_at"]
    assert set(dead["advice"]) == {"text", "url", "command"}
    assert "ann@example.com" in dead["advice"]["command"]


def test_every_grant_is_created_once_and_then_unchanged(
    office: OfficeServer, sandbox: SandboxControl
) -> None:
    token = sandbox.grant("ann@example.com").refresh_token
    first = office.call("POST", "/api/accounts", {"refresh_token": token, "label": "work"})
    assert (first.status, first.json["outcome"]) == (201, "created")
    again = office.call("POST", "/api/accounts", {"refresh_token": token})
    assert (again.status, again.json["outcome"]) == (200, "unchanged")
    assert again.json["account"]["label"] == "work"
    other = sandbox.grant("ann@example.com").refresh_token
    updated = office.call("POST", "/api/accounts", {"refresh_token": other})
    assert (updated.status, updated.json["outcome"]) == (200, "updated")
    assert updated.json["account"]["generation"] == 2


def test_new_grant_brings_a_disabled_account_back(office: OfficeServer, sandbox: SandboxControl) -> None:
    account = office.add(sandbox.grant("ann@example.com").refresh_token)
    kill(office, sandbox, account)
    assert file_of(office, account["id"])["disabled"] is True
    reply = office.call(
        "POST", "/api/accounts", {"refresh_token": sandbox.grant("ann@example.com").refresh_token}
    )
    assert (reply.status, reply.json["outcome"]) == (200, "recovered")
    assert set(reply.json["account"]) == ALWAYS
    assert not WHEN_DISABLED & set(file_of(office, account["id"]))


def test_access_token_alone_is_unverified_and_for_known_accounts_only(
    office: OfficeServer, sandbox: SandboxControl
) -> None:
    ann = sandbox.grant("ann@example.com")
    body = {"access_token": ann.access_token, "email": "ann@example.com"}
    refused = office.call("POST", "/api/accounts", body)
    assert (refused.status, refused.error["code"]) == (422, "refresh_token_required")
    office.add(ann.refresh_token)
    fresh = sandbox.grant("ann@example.com").access_token
    taken = office.call("POST", "/api/accounts", body | {"access_token": fresh})
    assert (taken.status, taken.json["outcome"]) == (200, "unverified")


def test_grant_refused_by_google_is_422_with_its_error_and_stores_nothing(
    office: OfficeServer, sandbox: SandboxControl
) -> None:
    token = sandbox.grant("ann@example.com").refresh_token
    sandbox.revoke("ann@example.com")
    reply = office.call("POST", "/api/accounts", {"refresh_token": token})
    assert (reply.status, reply.error["code"]) == (422, "invalid_grant")
    assert reply.error["hint"]
    assert list((office.folder / "accounts").glob("*.json")) == []
    assert office.call("GET", "/api/accounts").json == {"items": [], "next": None}


def test_unreachable_google_is_503_and_stores_nothing(office: OfficeServer, sandbox: SandboxControl) -> None:
    token = sandbox.grant("ann@example.com").refresh_token
    sandbox.script("error", name="internal_failure", endpoint="token", times=None)
    reply = office.call("POST", "/api/accounts", {"refresh_token": token})
    assert (reply.status, reply.error["code"]) == (503, "upstream_unavailable")
    assert list((office.folder / "accounts").glob("*.json")) == []


@pytest.mark.parametrize("as_text", [False, True])
def test_adc_file_is_taken_as_object_or_text_with_its_quota_project(
    office: OfficeServer, sandbox: SandboxControl, as_text: bool
) -> None:
    grant = sandbox.grant("ann@example.com")
    adc = {
        "type": "authorized_user",
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "refresh_token": grant.refresh_token,
        "quota_project_id": "ann-project",
    }
    reply = office.call("POST", "/api/accounts", {"adc": json.dumps(adc) if as_text else adc})
    assert reply.status == 201
    assert reply.json["account"]["project_id"] == "ann-project"
    chosen = office.call("POST", "/api/accounts", {"adc": adc, "project_id": "chosen"})
    assert chosen.json["account"]["project_id"] == "chosen"


def test_adc_of_googles_own_tools_is_refused(office: OfficeServer) -> None:
    adc = {"type": "authorized_user", "client_id": "764086051850-x.apps", "refresh_token": "refresh-ann-1"}
    reply = office.call("POST", "/api/accounts", {"adc": adc})
    assert (reply.status, reply.error["code"]) == (422, "googles_own_client")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"refresh_token": 5}, "refresh_token"),
        ({"refresh_token": "r", "upstream": "openai"}, "upstream"),
        ({"refresh_token": "r", "label": "x" * 101}, "label"),
        ({"refresh_token": "r", "location": "Mars!"}, "location"),
        ({"refresh_token": "r", "project_id": "a b"}, "project_id"),
        ({"refreshToken": "r"}, "refreshToken"),
    ],
)
def test_wrong_field_is_422_and_named(office: OfficeServer, body: dict[str, Any], field: str) -> None:
    reply = office.call("POST", "/api/accounts", body)
    assert reply.status == 422
    assert field in reply.error["message"]
    assert reply.error["problems"]


def test_nothing_to_add_is_refused(office: OfficeServer) -> None:
    reply = office.call("POST", "/api/accounts", {})
    assert (reply.status, reply.error["code"]) == (400, "credential_missing")


def test_list_goes_page_by_page_in_the_order_of_adding(office: OfficeServer, sandbox: SandboxControl) -> None:
    ids = {office.add(sandbox.grant(f"p{number}@example.com").refresh_token)["id"] for number in range(5)}
    seen: list[str] = []
    cursor = ""
    for _ in range(4):
        page = office.call("GET", f"/api/accounts?limit=2&cursor={cursor}").json
        assert set(page) == {"items", "next"}
        seen += [item["id"] for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert len(seen) == 5
    assert set(seen) == ids
    assert office.call("GET", "/api/accounts?limit=5").json["next"] is None


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "cursor=nonsense", "cursor=bm9uc2Vuc2U="]
)
def test_wrong_page_is_422_and_named(office: OfficeServer, query: str) -> None:
    reply = office.call("GET", f"/api/accounts?{query}")
    assert reply.status == 422
    assert query.partition("=")[0] in reply.error["message"]


def test_patch_changes_what_it_names_and_nothing_else(office: OfficeServer, sandbox: SandboxControl) -> None:
    account = office.add(sandbox.grant("ann@example.com").refresh_token, label="old", project_id="p-1")
    path = f"/api/accounts/{account['id']}"
    reply = office.call("PATCH", path, {"label": "new", "upstream": "vertex", "location": "europe-west1"})
    assert reply.status == 200
    assert reply.json["label"] == "new"
    assert (reply.json["upstream"], reply.json["location"]) == ("vertex", "europe-west1")
    assert reply.json["project_id"] == "p-1"
    assert file_of(office, account["id"])["label"] == "new"
    assert office.call("PATCH", path, {"project_id": ""}).json["project_id"] == ""
    assert office.call("PATCH", path, {}).json["label"] == "new"


@pytest.mark.parametrize(
    "changes",
    [{"upstream": "x"}, {"label": "x" * 101}, {"location": ""}, {"disabled": False}, {"label": None}, []],
)
def test_wrong_patch_is_422_and_changes_nothing(
    office: OfficeServer, sandbox: SandboxControl, changes: Any
) -> None:
    account = office.add(sandbox.grant("ann@example.com").refresh_token)
    path = f"/api/accounts/{account['id']}"
    assert office.call("PATCH", path, changes).status == 422
    assert office.call("GET", path).json == account


def test_pause_and_resume_leave_disabled_alone(office: OfficeServer, sandbox: SandboxControl) -> None:
    account = office.add(sandbox.grant("ann@example.com").refresh_token)
    path = f"/api/accounts/{account['id']}"
    paused = office.call("POST", f"{path}/pause", {"reason": "holiday"})
    assert paused.status == 200
    assert paused.json["account"]["state"] == "paused"
    assert paused.json["account"]["proxy_disabled_reason"] == "holiday"
    kill(office, sandbox, account)
    resumed = office.call("POST", f"{path}/resume").json["account"]
    assert resumed["disabled"] is True
    assert "proxy_disabled" not in resumed
    assert office.call("POST", f"{path}/pause").json["account"]["proxy_disabled_reason"] == ""


def test_verify_says_alive_dead_recovered_and_unknown(office: OfficeServer, sandbox: SandboxControl) -> None:
    account = office.add(sandbox.grant("ann@example.com").refresh_token)
    path = f"/api/accounts/{account['id']}/verify"
    assert office.call("POST", path).json["outcome"] == "alive"
    sandbox.script("error", name="internal_failure", endpoint="token")
    assert office.call("POST", path).json["outcome"] == "unknown"
    sandbox.script("error", name="invalid_grant", endpoint="token")
    dead = office.call("POST", path)
    assert dead.json["outcome"] == "dead"
    assert dead.json["account"]["state"] == "disabled"
    back = office.call("POST", path)
    assert (back.json["outcome"], back.json["account"]["state"]) == ("recovered", "active")


def test_delete_removes_the_file_and_does_not_revoke(office: OfficeServer, sandbox: SandboxControl) -> None:
    grant = sandbox.grant("ann@example.com")
    account = office.add(grant.refresh_token)
    path = f"/api/accounts/{account['id']}"
    reply = office.call("DELETE", path)
    assert (reply.status, reply.raw) == (204, b"")
    assert list((office.folder / "accounts").glob("*.json")) == []
    assert (office.call("GET", path).status, office.call("DELETE", path).status) == (404, 404)
    office.add(grant.refresh_token)


def test_delete_with_revoke_ends_the_grant_at_google(office: OfficeServer, sandbox: SandboxControl) -> None:
    grant = sandbox.grant("ann@example.com")
    account = office.add(grant.refresh_token)
    assert office.call("DELETE", f"/api/accounts/{account['id']}?revoke=true").status == 204
    assert office.call("POST", "/api/accounts", {"refresh_token": grant.refresh_token}).status == 422


def test_delete_whose_revocation_fails_removes_nothing(office: OfficeServer, sandbox: SandboxControl) -> None:
    account = office.add(sandbox.grant("ann@example.com").refresh_token)
    sandbox.script("error", name="internal_failure", endpoint="revoke")
    reply = office.call("DELETE", f"/api/accounts/{account['id']}?revoke=true")
    assert (reply.status, reply.error["code"]) == (503, "upstream_unavailable")
    assert office.call("GET", f"/api/accounts/{account['id']}").status == 200


def test_corrupt_file_is_listed_with_its_path_and_never_deleted(office: OfficeServer) -> None:
    path = office.folder / "accounts" / "broken.json"
    path.write_text("{")
    found = until(lambda: office.call("GET", "/api/accounts").json["items"])
    assert [item["state"] for item in found] == ["corrupt"]
    assert found[0]["id"] == "broken"
    assert str(path) in found[0]["advice"]["text"]
    assert set(found[0]) == ALWAYS
    assert office.call("GET", "/api/accounts/broken").json == found[0]
    for method, tail in [("DELETE", ""), ("POST", "/verify"), ("POST", "/pause")]:
        reply = office.call(method, f"/api/accounts/broken{tail}")
        assert (reply.status, reply.error["code"]) == (409, "corrupt")
    assert path.read_text() == "{"


def test_account_whose_file_breaks_serves_on_and_is_shown_as_corrupt(
    office: OfficeServer, sandbox: SandboxControl
) -> None:
    account = office.add(sandbox.grant("ann@example.com").refresh_token)
    path = office.folder / "accounts" / f"{account['id']}.json"
    path.write_text("not json")
    shown = until(
        lambda: next(
            (one for one in office.call("GET", "/api/accounts").json["items"] if one["state"] == "corrupt"),
            None,
        )
    )
    assert shown["email"] == "ann@example.com"
    assert office.call("DELETE", f"/api/accounts/{account['id']}").status == 409
    assert path.exists()


def test_change_that_cannot_be_stored_is_503_without_a_path(
    office: OfficeServer, sandbox: SandboxControl
) -> None:
    account = office.add(sandbox.grant("ann@example.com").refresh_token)
    lock = office.folder / "locks" / f"{account['id']}.write.lock"
    lock.unlink(missing_ok=True)
    lock.mkdir()  # nobody, not even root, can lock a folder as a file
    reply = office.call("PATCH", f"/api/accounts/{account['id']}", {"label": "new"})
    assert (reply.status, reply.error["code"]) == (503, "not_persisted")
    assert str(office.folder) not in reply.raw.decode()
    assert office.call("GET", f"/api/accounts/{account['id']}").json["label"] == ""


def test_unknown_account_is_404_everywhere(office: OfficeServer) -> None:
    for method, tail in [
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("POST", "/verify"),
        ("POST", "/pause"),
        ("POST", "/resume"),
    ]:
        reply = office.call(method, f"/api/accounts/nobody{tail}", {} if method == "PATCH" else None)
        assert (reply.status, reply.error["code"]) == (404, "account_not_found"), (method, tail)


def test_batch_answers_each_in_place_and_unknown_ones_with_an_error(
    office: OfficeServer, sandbox: SandboxControl
) -> None:
    ann = office.add(sandbox.grant("ann@example.com").refresh_token)
    bob = office.add(sandbox.grant("bob@example.com").refresh_token)
    order = {"action": "pause", "ids": [bob["id"], "nobody", ann["id"], bob["id"]], "reason": "move"}
    reply = office.call("POST", "/api/accounts/batch", order)
    assert reply.status == 200
    results = reply.json["results"]
    assert [one["id"] for one in results] == order["ids"]
    assert [one["ok"] for one in results] == [True, False, True, True]
    assert results[1]["error"]["code"] == "account_not_found"
    assert "error" not in results[0]
    assert office.call("GET", f"/api/accounts/{ann['id']}").json["proxy_disabled_reason"] == "move"
    by_email = {"action": "resume", "emails": ["BOB@example.com", "eve@example.com"]}
    results = office.call("POST", "/api/accounts/batch", by_email).json["results"]
    assert [(one["id"], one["ok"]) for one in results] == [(bob["id"], True), ("eve@example.com", False)]
    assert office.call("GET", f"/api/accounts/{bob['id']}").json["state"] == "active"


def test_batch_verify_brings_back_exactly_those_that_live(
    office: OfficeServer, sandbox: SandboxControl
) -> None:
    accounts = [office.add(sandbox.grant(f"p{number}@example.com").refresh_token) for number in range(4)]
    for account in accounts:
        sandbox.script("error", name="invalid_grant", endpoint="token", email=account["email"])
        assert office.call("POST", f"/api/accounts/{account['id']}/verify").json["outcome"] == "dead"
    sandbox.revoke("p2@example.com")
    ids = [account["id"] for account in accounts]
    results = office.call("POST", "/api/accounts/batch", {"action": "verify", "ids": ids}).json["results"]
    assert [one["ok"] for one in results] == [True, True, False, True]
    assert results[2]["error"]["code"] == "dead"
    states = {one["email"]: one["state"] for one in office.call("GET", "/api/accounts").json["items"]}
    assert [states[f"p{number}@example.com"] for number in range(4)] == [
        "active",
        "active",
        "disabled",
        "active",
    ]


def test_batch_remove_removes(office: OfficeServer, sandbox: SandboxControl) -> None:
    ids = [office.add(sandbox.grant(f"p{number}@example.com").refresh_token)["id"] for number in range(3)]
    reply = office.call("POST", "/api/accounts/batch", {"action": "remove", "ids": ids[:2]})
    assert [one["ok"] for one in reply.json["results"]] == [True, True]
    assert [one["id"] for one in office.call("GET", "/api/accounts").json["items"]] == ids[2:]


@pytest.mark.parametrize(
    "order",
    [
        {"action": "pause"},
        {"action": "pause", "ids": [], "emails": []},
        {"action": "explode", "ids": []},
        {"action": "pause", "ids": ["x"] * 1001},
        {"ids": []},
    ],
)
def test_wrong_batch_is_422(office: OfficeServer, order: dict[str, Any]) -> None:
    reply = office.call("POST", "/api/accounts/batch", order)
    assert (reply.status, reply.error["code"]) == (422, "invalid_request")
