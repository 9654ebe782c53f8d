"""`GET /api/quota`: its form, its pages, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
from tests.admin.office_server import OfficeServer
from tests.sandbox_client import SandboxControl

FIELDS = {
    *("project", "model", "window", "unit", "used", "used_source", "used_as_of", "limit", "remaining"),
    *("source", "as_of", "state", "note", "protected", "resets_at"),
}
PROJECT = "100000000001"


@pytest.fixture
def limited(office: OfficeServer, sandbox: SandboxControl) -> OfficeServer:
    """An office with one account and limits for two models in the settings."""
    office.add(sandbox.grant("ann@example.com").refresh_token)
    tables = [{"model": model, "requests_per_day": 9} for model in ("m1", "m2")]
    assert office.call("PATCH", "/api/settings", {"quota.limits": tables}).status == 200
    return office


def names(items: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    return [(item["model"], item["unit"], item["window"]) for item in items]


def test_limits_of_the_settings_are_shown_before_anything_was_used(limited: OfficeServer) -> None:
    body = limited.call("GET", "/api/quota").json
    assert set(body) == {"items", "next"}
    assert body["next"] is None
    assert all(set(item) == FIELDS for item in body["items"])
    assert names(body["items"]) == [
        (model, unit, window)
        for model in ("m1", "m2")
        for unit, window in (
            ("requests", "minute"),
            ("tokens", "minute"),
            ("requests", "day"),
            ("tokens", "day"),
        )
    ]
    day = body["items"][2]
    assert (day["project"], day["used"], day["limit"], day["remaining"]) == (PROJECT, 0, 9, 9)
    assert (day["source"], day["state"], day["protected"], day["note"]) == ("settings", "known", False, "")
    assert day["resets_at"] > day["used_as_of"] >= day["as_of"] > 0
    minute = body["items"][0]
    assert (minute["limit"], minute["source"], minute["as_of"], minute["state"]) == (
        None,
        None,
        None,
        "unknown",
    )


def test_pages_hold_every_number_once(limited: OfficeServer) -> None:
    whole = limited.call("GET", "/api/quota").json["items"]
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = limited.call("GET", f"/api/quota?limit=3&cursor={cursor}").json
        assert len(page["items"]) <= 3
        found += page["items"]
        cursor = page["next"]
        if cursor is None:
            break
    assert names(found) == names(whole)


def test_one_project_and_one_model_can_be_asked_for(limited: OfficeServer) -> None:
    def asked(query: str) -> set[str]:
        return {item["model"] for item in limited.call("GET", f"/api/quota?{query}").json["items"]}

    assert asked(f"project={PROJECT}") == {"m1", "m2"}
    assert asked("model=m2") == {"m2"}
    assert asked("project=other") == set()


@pytest.mark.parametrize("query", ["cursor=nonsense", "cursor=W10=", "limit=0", "limit=1001"])
def test_what_makes_no_sense_is_refused(limited: OfficeServer, query: str) -> None:
    reply = limited.call("GET", f"/api/quota?{query}")
    assert reply.status == 422
    assert reply.error["code"] == "invalid_request"
