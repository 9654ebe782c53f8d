"""A mass failure from end to end: one incident, undone by one batch."""

from __future__ import annotations

import functools
import json
from typing import Any

from tests.admin.office_server import OfficeServer, until
from tests.admin.test_events_api import listening
from tests.sandbox_client import CLIENT_ID, SandboxControl

FIELDS = (
    *("id", "kind", "title", "severity", "client_id", "cause", "since", "until", "length_s", "requests"),
    *("accounts", "emails", "advice"),
)


def log_of(office: OfficeServer, event: str) -> list[dict[str, Any]]:
    path = office.folder / "logs" / "regrant.log"
    lines = path.read_text().splitlines() if path.exists() else []
    return [record for record in map(json.loads, lines) if record["event"] == event]


def told(office: OfficeServer, event: str, kind: str) -> bool:
    return kind in [one["kind"] for one in log_of(office, event)]


def incidents(office: OfficeServer) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = office.call("GET", "/api/incidents").json["items"]
    return found


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
        shown = [one for one in incidents(office) if one["kind"] != "pool_empty"]
        assert len(shown) == 1
        assert set(shown[0]) == set(FIELDS)
        assert shown[0]["kind"] == "mass_failure"
        assert set(shown[0]["accounts"]) == set(ids)
        assert (shown[0]["client_id"], shown[0]["cause"], shown[0]["until"]) == (CLIENT_ID, "revoked", None)
        assert shown[0]["advice"]["text"]
        order = {"action": "verify", "incident": "there is none"}
        assert office.call("POST", "/api/accounts/batch", order).error["code"] == "incident_not_found"
        undone = office.call("POST", "/api/accounts/batch", order | {"incident": shown[0]["id"]})
        assert {one["id"] for one in undone.json["results"]} == set(ids)
        assert [one["ok"] for one in undone.json["results"]] == [True] * 4
        assert office.call("GET", "/api/incidents?open=true").json["items"] == []
        [closed] = [one for one in incidents(office) if one["id"] == shown[0]["id"]]
        assert closed["until"] >= shown[0]["since"]
        assert closed["length_s"] == closed["until"] - closed["since"]
        until(lambda: any(one["id"] == closed["id"] and one["until"] for one in reader.of("incident")))
    for event in ("incident_opened", "incident_closed"):
        until(functools.partial(told, office, event, "mass_failure"))
        assert sorted(one["kind"] for one in log_of(office, event)) == ["mass_failure", "pool_empty"]


def test_incidents_are_listed_page_by_page(office: OfficeServer, sandbox: SandboxControl) -> None:
    ids = [office.add(sandbox.grant(f"p{number}@example.com").refresh_token)["id"] for number in range(2)]
    sandbox.revoke("p0@example.com")
    sandbox.revoke("p1@example.com")
    office.call("POST", "/api/accounts/batch", {"action": "verify", "ids": ids})
    every = [one["id"] for one in incidents(office)]
    assert len(every) == 3  # two deaths, and nobody is left to serve
    first = office.call("GET", "/api/incidents?limit=2").json
    rest = office.call("GET", f"/api/incidents?limit=2&cursor={first['next']}").json
    assert [one["id"] for one in (*first["items"], *rest["items"])] == every
    assert rest["next"] is None


def test_the_status_shows_how_far_the_clock_is_off(office: OfficeServer, sandbox: SandboxControl) -> None:
    unknown = office.call("GET", "/api/status").json
    assert unknown["clock"] == {"ahead_s": None, "age_s": None}
    assert (unknown["in_charge"], unknown["open_incidents"]) == (True, 0)
    office.add(sandbox.grant("ann@example.com").refresh_token)
    clock = office.call("GET", "/api/status").json["clock"]
    assert abs(clock["ahead_s"]) <= 2
    assert 0 <= clock["age_s"] < 60
