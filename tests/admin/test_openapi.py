"""The OpenAPI description, what it promises under fire, and that no answer ever holds a secret."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from tests.admin.office_server import OfficeServer
from tests.admin.test_doors import EVERY_ROUTE, sign_in
from tests.sandbox_client import CLIENT_ID, CLIENT_SECRET, SandboxControl

PLACES = {
    "x": {
        "/api/accounts/": "{account_id}",
        "/api/oauth/": "{flow}",
        "/api/keys/": "{key}",
        "/api/traffic/": "{request_id}",
    }
}


def described_path(path: str) -> str:
    for prefix, place in PLACES["x"].items():
        if path.startswith(f"{prefix}x"):
            return path.replace(f"{prefix}x", f"{prefix}{place}")
    return path


def test_every_route_is_described_and_every_refusal_has_one_shape(office: OfficeServer) -> None:
    reply = office.call("GET", "/api/openapi.json")
    assert reply.status == 200
    schema = reply.json
    described = {
        (method.upper(), path) for path, operations in schema["paths"].items() for method in operations
    }
    undescribed = {"/api/openapi.json", "/api/unknown", "/api/"}
    routes = {(method, described_path(path)) for method, path in EVERY_ROUTE if path not in undescribed}
    assert routes | {("POST", "/api/session")} == described
    ids = [one["operationId"] for operations in schema["paths"].values() for one in operations.values()]
    assert len(set(ids)) == len(ids)
    for operations in schema["paths"].values():
        for operation in operations.values():
            refused = operation["responses"]["default"]["content"]["application/json"]["schema"]
            assert refused == {"$ref": "#/components/schemas/Failure"}


def test_account_in_the_description_requires_what_is_always_there(office: OfficeServer) -> None:
    account = office.call("GET", "/api/openapi.json").json["components"]["schemas"]["AccountView"]
    assert {"id", "email", "state", "advice", "cooldowns", "persisted"} <= set(account["required"])
    assert "disabled" not in account["required"]
    assert not {"token", "client_secret", "refresh_token", "access_token"} & set(account["properties"])


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_no_generated_request_breaks_the_office_or_its_promises(
    office: OfficeServer, sandbox: SandboxControl
) -> None:
    office.add(sandbox.grant("ann@example.com").refresh_token)
    command = [
        *(sys.executable, "-W", "ignore", "-m", "schemathesis.cli", "run", f"{office.url}/api/openapi.json"),
        *("--header", f"Authorization: Bearer {office.token}", "--max-examples", "15", "--seed", "7"),
        *("--checks", "not_a_server_error,response_schema_conformance,content_type_conformance"),
        *("--exclude-path", "/api/events", "--phases", "examples,coverage,fuzzing", "--max-time", "30"),
    ]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=170, check=False)
    assert ended.returncode == 0, ended.stdout[-6000:] + ended.stderr[-2000:]


def secrets_of(office: OfficeServer) -> set[str]:
    """Every secret that the gateway holds, read from its own files."""
    found = {CLIENT_SECRET, office.token, "word-of-an-adc-client"}
    for path in (office.folder / "accounts").glob("*.json"):
        token: dict[str, Any] = json.loads(path.read_bytes())["token"]
        found |= {token["refresh_token"], token["access_token"]}
    return found - {""}


def test_no_answer_holds_a_secret(office: OfficeServer, sandbox: SandboxControl) -> None:
    ann, bob = sandbox.grant("ann@example.com"), sandbox.grant("bob@example.com")
    account = office.add(ann.refresh_token)
    office.call("POST", "/api/accounts", {"refresh_token": ann.refresh_token, "upstream": ann.refresh_token})
    office.call("POST", "/api/accounts", {"refresh_token": bob.refresh_token, "client_secret": 5})
    adc = {"type": "authorized_user", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
    office.call("POST", "/api/accounts", {"adc": adc | {"refresh_token": bob.refresh_token}})
    sandbox.revoke("bob@example.com", description=f"Token {bob.refresh_token} was revoked.")
    items = office.call("GET", "/api/accounts").json["items"]
    ids = [one["id"] for one in items]
    office.call("POST", "/api/accounts/batch", {"action": "verify", "ids": ids})
    office.call("POST", "/api/accounts", {"refresh_token": bob.refresh_token})
    office.call(
        "PATCH", "/api/settings", {"server.api_key": office.token, "google.client_secret": CLIENT_SECRET}
    )
    office.plain("POST", "/api/session", {"token": "nearly-" + office.token})
    cookie = sign_in(office)[0]
    office.answers.pop()  # the cookie and the CSRF token are given to their owner there, once
    office.plain("GET", "/api/accounts", headers={"cookie": cookie})
    for path in (
        *("/api/accounts?limit=10", "/api/pool", "/api/incidents", "/api/keys", "/api/settings"),
        *("/api/models", "/api/openapi.json", f"/api/accounts/{account['id']}"),
    ):
        office.call("GET", path)
    everything = b"\n".join(office.answers).decode()
    known = secrets_of(office) | {ann.refresh_token, ann.access_token, bob.refresh_token, bob.access_token}
    assert len(known) >= 6
    assert "ann@example.com" in everything
    assert not [word for word in known if word in everything]
