"""A mass failure from end to end: one incident, undone by one batch."""

from __future__ import annotations

import json
from typing import Any

from tests.admin.office_server import OfficeServer, until
from tests.admin.test_events_api import listening
from tests.sandbox_client import CLIENT_ID, SandboxControl


def log_of(office: OfficeServer, event: str) -> list[dict[str, Any]]:
    path = office.folder / "logs" / "regrant.log"
    lines = path.read_text().splitlines() if path.exists() else []
    return [record for record in map(json.loads, lines) if record["event"] == event]


def test_deaths_together_are_one_incident_that_batch_verify_undoes(
    office: OfficeServer, sandbox: SandboxControl
) -> None:
    office.configure_log()
    ids = [office.add(sandbox.grant(f"p{number}@example.com").refresh_token)["id"] for number in range(4)]
    assert office.call("GET", "/api/incidents").json == {"items": [], "next": None}
    with listening(office) as reader:
        for number in range(4):
            sandbox.script("error", name="invalid_grant", endpoint="token", email=f"p{number}@example.com")
        dead = office.call("POST", "/api/accounts/batch", {"action": "verify", "ids": ids}).json["results"]
        assert [one["ok"] for one in dead] == [False] * 4
        shown = office.call("GET", "/api/incidents").json["items"]
        assert len(shown) == 1
        assert set(shown[0]) == {"id", "client_id", "cause", "since", "until", "accounts", "advice"}
        assert set(shown[0]["accounts"]) == set(ids)
        assert (shown[0]["client_id"], shown[0]["cause"], shown[0]["until"]) == (CLIENT_ID, "revoked", None)
        assert shown[0]["advice"]["text"]
        undone = office.call("POST", "/api/accounts/batch", {"action": "verify", "ids": shown[0]["accounts"]})
        assert [one["ok"] for one in undone.json["results"]] == [True] * 4
        closed = office.call("GET", "/api/incidents").json["items"]
        assert [one["id"] for one in closed] == [shown[0]["id"]]
        assert closed[0]["until"] >= shown[0]["since"]
        until(lambda: reader.of("incident") and reader.of("incident")[-1]["until"])
    assert len(log_of(office, "incident_opened")) == 1
    assert len(log_of(office, "incident_closed")) == 1
