"""The sandbox's Cloud Quotas and Cloud Monitoring tell what they were told, and what the journal shows."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import pytest
from tests.sandbox_client import SandboxProcess

MODEL = "gemini-2.5-flash"
SERVICE = "generativelanguage.googleapis.com"
METRIC = f"{SERVICE}/quota/generate_content_free_tier_requests/usage"


@pytest.fixture(scope="module")
def google() -> Iterator[SandboxProcess]:
    with SandboxProcess() as process:
        yield process


@pytest.fixture
def token(google: SandboxProcess) -> str:
    google.reset()
    google.person("ann@example.com", projects=["p1"])
    return google.grant("ann@example.com").access_token


def get(google: SandboxProcess, path: str, token: str, body: Any = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(google.url + path, data=data)
    request.add_header("authorization", f"Bearer {token}")
    request.add_header("content-type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def quota_infos(google: SandboxProcess, token: str, project: str = "p1") -> dict[str, dict[str, str]]:
    """Window -> model ("" for the rest) -> limit, over all pages."""
    found: dict[str, dict[str, str]] = {}
    page = ""
    while True:
        path = f"/v1/projects/{project}/locations/global/services/{SERVICE}/quotaInfos?pageToken={page or 0}"
        status, body = get(google, path, token)
        assert status == 200, body
        for info in body["quotaInfos"]:
            rows = info["dimensionsInfos"]
            found[info["refreshInterval"]] = {
                row.get("dimensions", {}).get("model", ""): row["details"]["value"] for row in rows
            }
        page = body.get("nextPageToken", "")
        if not page:
            return found


def usage(google: SandboxProcess, token: str, starts: float) -> dict[str, str]:
    def moment(at: float) -> str:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    query = {
        "filter": f'metric.type = "{METRIC}"',
        "interval.startTime": moment(starts),
        "interval.endTime": moment(time.time()),
    }
    status, body = get(google, f"/v3/projects/p1/timeSeries?{urlencode(query)}", token)
    assert status == 200, body
    return {
        one["metric"]["labels"]["model"]: one["points"][0]["value"]["int64Value"]
        for one in body.get("timeSeries", [])
    }


def test_the_limits_are_those_of_a_free_tier_unless_told_otherwise(
    google: SandboxProcess, token: str
) -> None:
    google.quota("p1", MODEL, requests_per_day=7)
    limits = quota_infos(google, token)
    assert (limits["day"][MODEL], limits["day"][""], limits["minute"][MODEL]) == ("7", "250", "10")


def test_a_reset_forgets_what_was_told(google: SandboxProcess) -> None:
    google.quota("p1", MODEL, requests_per_day=7, used=3)
    google.reset()
    google.person("ann@example.com", projects=["p1"])
    token = google.grant("ann@example.com").access_token
    assert quota_infos(google, token)["day"][MODEL] == "250"
    assert usage(google, token, time.time() - 5) == {}


def test_the_use_is_what_the_journal_shows_and_what_was_used_elsewhere(
    google: SandboxProcess, token: str
) -> None:
    starts = time.time() - 5
    body = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
    request = urllib.request.Request(
        f"{google.url}/v1beta/models/{MODEL}:generateContent",
        data=json.dumps(body).encode(),
        headers={
            "authorization": f"Bearer {token}",
            "content-type": "application/json",
            "x-goog-user-project": "p1",
        },
    )
    with urllib.request.urlopen(request, timeout=20):
        assert usage(google, token, starts) == {MODEL: "1"}
    google.quota("p1", MODEL, used=30)
    assert usage(google, token, starts) == {MODEL: "31"}


def test_a_project_of_somebody_else_is_refused(google: SandboxProcess, token: str) -> None:
    path = f"/v1/projects/other/locations/global/services/{SERVICE}/quotaInfos"
    status, body = get(google, path, token)
    assert (status, body["error"]["status"]) == (403, "PERMISSION_DENIED")


def test_a_script_may_take_the_permission_away(google: SandboxProcess, token: str) -> None:
    google.script("error", name="403_service_disabled", endpoint="usage", times=None)
    status, body = get(google, "/v3/projects/p1/timeSeries", token)
    assert status == 403
    assert body["error"]["details"][0]["metadata"]["service"] == "monitoring.googleapis.com"
    assert quota_infos(google, token)
