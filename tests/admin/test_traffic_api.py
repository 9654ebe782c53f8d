"""Traffic and figures over the admin API: one shape, filters, pages, the story of one request, and figures that add up."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.admin.office_server import OfficeServer, until
from tests.sandbox_client import SandboxControl

from regrant.messages.model import Usage
from regrant.traffic.exchange import Attempt, Exchange

NOW = float(int(time.time()))
CONTRACT = {"id", "at", "dialect", "model", "served_model", "status", "key", "ms", "tokens", "attempts"}


@pytest.fixture
def office(tmp_path: Path, sandbox: SandboxControl) -> Iterator[OfficeServer]:
    with OfficeServer(tmp_path / "data", sandbox, **{"traffic.record_bodies": True}) as server:
        yield server


def put(office: OfficeServer, *exchanges: Exchange) -> None:
    """Record as the gateway does, and wait until it is written."""

    def record() -> None:
        for one in exchanges:
            office.app.traffic.record(one)

    office.on_loop(record)
    assert office.app.traffic.flush(10)


def exchange(number: int, **fields: Any) -> Exchange:
    base: dict[str, Any] = {
        "id": f"req_{number:024x}",
        "at": NOW - 100 + number,
        "dialect": "openai",
        "model": "gpt-5",
        "served_model": "gemini-pro",
        "status": 200,
        "key": "laptop",
        "ms": 100.0 * number,
        "attempts": [Attempt(account_id="ann", status=200, ms=90.0)],
        "usage": Usage(input_tokens=10, output_tokens=number),
    }
    return Exchange(**(base | fields))


def ids(office: OfficeServer, query: str = "") -> list[int]:
    reply = office.call("GET", f"/api/traffic?{query}")
    assert reply.status == 200, reply.raw
    return [int(one["id"].removeprefix("req_"), 16) for one in reply.json["items"]]


def test_a_request_is_shown_in_the_contracts_shape_with_its_story(
    office: OfficeServer, sandbox: SandboxControl
) -> None:
    account = office.add(sandbox.grant("ann@example.com").refresh_token)
    body = {
        "model": "gemini-3.5-flash-lite",
        "messages": [{"role": "user", "content": "my api_key=word-1 ok"}],
    }
    answer = office.plain("POST", "/v1/chat/completions", body)
    assert answer.status == 200
    [item] = until(lambda: office.call("GET", "/api/traffic").json["items"])
    assert set(item) == CONTRACT | {"first_ms", "problem", "dropped", "reasons"}
    assert item["id"] == answer.headers["x-request-id"]
    assert (item["dialect"], item["status"], item["model"]) == ("openai", 200, "gemini-3.5-flash-lite")
    assert item["tokens"]["output_tokens"] > 0
    [attempt] = item["attempts"]
    assert set(attempt) == {"account_id", "status", "fault", "ms", "said", "model"}
    assert (attempt["account_id"], attempt["status"], attempt["fault"]) == (account["id"], 200, "")

    shown = office.call("GET", f"/api/traffic/{item['id']}").json
    assert {name: shown[name] for name in item} == item
    [step] = shown["explanation"]["steps"]
    assert (step["email"], step["state"]) == ("ann@example.com", "active")
    assert shown["explanation"]["outcome"].startswith("ann@example.com served it with 200")
    assert "my api_key=[secret] ok" in shown["bodies"]["request"]["text"]
    assert "word-1" in answer.json["choices"][0]["message"]["content"], "the model repeats what it was told"
    assert "You said: my api_key=[secret] ok" in shown["bodies"]["answer"]["text"]
    for short in (item["id"].removeprefix("req_"), item["id"][:20]):
        assert office.call("GET", f"/api/traffic/{short}").json["id"] == item["id"]


def test_pages_follow_each_other_without_gap_or_repetition_while_more_arrives(office: OfficeServer) -> None:
    put(office, *(exchange(number) for number in range(1, 8)))
    first = office.call("GET", "/api/traffic?limit=3").json
    assert [int(one["id"][4:], 16) for one in first["items"]] == [7, 6, 5]
    put(office, exchange(8))
    second = office.call("GET", f"/api/traffic?limit=3&cursor={first['next']}").json
    third = office.call("GET", f"/api/traffic?limit=3&cursor={second['next']}").json
    seen = [int(one["id"][4:], 16) for page in (second, third) for one in page["items"]]
    assert (seen, third["next"]) == ([4, 3, 2, 1], None)
    assert ids(office) == [8, 7, 6, 5, 4, 3, 2, 1]


def test_filters(office: OfficeServer, sandbox: SandboxControl) -> None:
    account = office.add(sandbox.grant("ann@example.com").refresh_token)
    tried = [
        Attempt(account_id=account["id"], status=429, fault="rate_limited", said='"fault":"reset"'),
        Attempt(account_id="bob", status=200),
    ]
    put(
        office,
        exchange(1),
        exchange(2, model="claude", served_model="claude"),
        exchange(3, attempts=tried, key="phone"),
        exchange(4, status=503, problem="no_accounts", attempts=[]),
        exchange(5, status=0, problem="client left"),
        exchange(6, status=200, problem="cut"),
    )
    assert ids(office, "model=gpt-5") == ids(office, "model=gemini-pro") == [6, 5, 4, 3, 1]
    assert ids(office, "account=ann@example.com") == ids(office, f"account={account['id']}") == [3]
    assert ids(office, "account=bob") == [3]
    assert ids(office, "status=503") == [4]
    assert ids(office, "key=phone") == [3]
    assert ids(office, "fault=rate_limited") == [3]
    assert ids(office, "fault=reset") == [], "what Google says is no fault"
    assert ids(office, "problem=cut") == [6]
    assert ids(office, "failed=true") == [6, 4], "a client that left is nobody's failure"
    assert ids(office, f"since={NOW - 98}&until={NOW - 95}") == [4, 3, 2]
    assert ids(office, "model=gpt-5&status=200&key=laptop") == [6, 1]


def test_what_is_not_there_or_wrong_is_told_so(office: OfficeServer) -> None:
    put(office, exchange(1), exchange(2))
    for name in ("req_nothing", "x", "0000"):
        reply = office.call("GET", f"/api/traffic/{name}")
        assert (reply.status, reply.error["code"]) == (404, "request_not_found")
    for query in ("limit=0", "limit=1001", "cursor=abc", f"cursor={'9' * 20}", "status=a", "since=-1"):
        assert office.call("GET", f"/api/traffic?{query}").status == 422, query
    assert office.call("GET", "/api/stats?by=moon").status == 422


def test_an_unreadable_log_is_a_503_and_requests_are_served(
    office: OfficeServer, sandbox: SandboxControl
) -> None:
    office.add(sandbox.grant("ann@example.com").refresh_token)
    (office.folder / "traffic.sqlite3").mkdir()
    for path in ("/api/traffic", "/api/traffic/abc", "/api/stats"):
        reply = office.call("GET", path)
        assert (reply.status, reply.error["code"]) == (503, "traffic_unreadable")
    body = {"model": "gemini-3.5-flash-lite", "messages": [{"role": "user", "content": "hi"}]}
    assert office.plain("POST", "/v1/chat/completions", body).status == 200


def test_figures_add_up(office: OfficeServer) -> None:
    tried = [
        Attempt(account_id="ann", status=500, fault="server_error"),
        Attempt(account_id="bob", status=200),
    ]
    put(
        office,
        *(exchange(number) for number in range(1, 101)),
        exchange(101, at=NOW, attempts=tried, first_ms=50.0, ms=100.0, model="claude"),
        exchange(102, at=NOW, status=429, problem="rate_limited", attempts=[], usage=None, ms=1.0),
        exchange(103, at=NOW, status=0, problem="client left", usage=None, ms=1.0),
        exchange(104, at=NOW - 3 * 86_400),
    )
    stats = office.call("GET", f"/api/stats?until={NOW + 1}").json
    total = stats["total"]
    assert (stats["by"], stats["until"] - stats["since"]) == ("hour", 86_400)
    assert (total["requests"], total["failures"], total["left"]) == (103, 1, 1)
    assert (total["attempts"], total["rescued"]) == (103, 1)
    assert total["tokens"]["input_tokens"] == 1010
    assert total["tokens"]["output_tokens"] == sum(range(1, 102))
    assert total["first_ms"] == {"p50": 50.0, "p95": 50.0, "p99": 50.0}
    # Of 103 times, sorted: 1, 1, 100, 100, 200, 300 and so on to 10,000.
    assert total["ms"] == {"p50": 4_900.0, "p95": 9_500.0, "p99": 9_900.0}
    assert (stats["dropped"], stats["queued"]) == (0, 0)
    hours = stats["items"]
    assert sum(one["requests"] for one in hours) == 103
    assert all(one["at"] % 3600 == 0 and one["at"] <= NOW for one in hours)
    assert [one["at"] for one in hours] == sorted(one["at"] for one in hours)

    def groups(by: str) -> dict[str, int]:
        reply = office.call("GET", f"/api/stats?by={by}&since={NOW - 7 * 86_400}&until={NOW + 1}").json
        return {one["name"]: one["requests"] for one in reply["items"]}

    assert groups("model") == {"gpt-5": 103, "claude": 1}
    assert groups("account") == {"ann": 102, "bob": 1, "": 1}, "the account that was tried last"
    assert groups("dialect") == {"openai": 104}
    assert groups("key") == {"laptop": 104}
    assert groups("status") == {"200": 102, "429": 1, "0": 1}
    assert groups("problem") == {"": 102, "rate_limited": 1, "client left": 1}
    days = office.call("GET", f"/api/stats?by=day&since={NOW - 7 * 86_400}&until={NOW + 1}").json["items"]
    assert sum(one["requests"] for one in days) == 104
    assert len(days) in {2, 3}


def test_there_may_have_been_no_traffic(office: OfficeServer) -> None:
    assert office.call("GET", "/api/traffic").json == {"items": [], "next": None}
    stats = office.call("GET", "/api/stats").json
    assert (stats["total"]["requests"], stats["items"]) == (0, [])
    assert stats["total"]["ms"] == {"p50": None, "p95": None, "p99": None}
