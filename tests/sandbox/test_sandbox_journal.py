"""The journal and the rest of the control API."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from typing import Any
from urllib.error import HTTPError

import pytest
from tests.sandbox.wire import FLASH, asking, call, form, generate, refresh, stream
from tests.sandbox_client import CLIENT_ID, CLIENT_SECRET, MintedGrant, SandboxControl

from regrant.sandbox.journal import MAX_BODY_BYTES, MAX_ENTRIES, Journal
from regrant.sandbox.wire import Call


def test_entry_tells_everything_about_a_call(sandbox: SandboxControl, ann: MintedGrant) -> None:
    got = generate(sandbox, ann.access_token, asking("hi"), headers={"x-goog-user-project": "ann-project"})
    (entry,) = sandbox.journal()
    assert entry["endpoint"] == "generate"
    assert (entry["method"], entry["path"]) == ("POST", f"/v1beta/models/{FLASH}:generateContent")
    assert (entry["email"], entry["grant"]) == ("ann@example.com", "ann/grant-1")
    assert (entry["model"], entry["project"], entry["client_id"]) == (FLASH, "ann-project", CLIENT_ID)
    assert (entry["status"], entry["aborted"]) == (200, False)
    assert json.loads(entry["body"]) == asking("hi")
    assert entry["body_sha256"] == hashlib.sha256(entry["body"].encode()).hexdigest()
    assert entry["answered_sha256"] == hashlib.sha256(got.body).hexdigest()
    assert ["authorization", "Bearer <ann/token-1>"] in entry["headers"]
    assert abs(entry["at"] - time.time()) < 60


def test_streamed_answer_is_hashed_too(sandbox: SandboxControl, ann: MintedGrant) -> None:
    got = stream(sandbox, ann.access_token, asking("hi"))
    assert sandbox.journal()[-1]["answered_sha256"] == hashlib.sha256(got.body).hexdigest()


def test_journal_names_tokens_and_secrets_and_never_shows_them(
    sandbox: SandboxControl, ann: MintedGrant
) -> None:
    refreshed = refresh(sandbox, ann).json()["access_token"]
    form(sandbox, "/revoke", token=ann.refresh_token)
    call(sandbox, "GET", f"/v1/userinfo?access_token={refreshed}")
    shown = json.dumps(sandbox.journal())
    for secret in (ann.refresh_token, ann.access_token, refreshed, CLIENT_SECRET):
        assert secret not in shown
    assert "refresh_token=<ann/grant-1>" in shown
    assert f"client_secret=<secret of {CLIENT_ID}>" in shown
    assert "access_token=<ann/token-2>" in shown
    assert "Bearer <unknown token>" not in shown
    generate(sandbox, "key-of-a-client", asking("hi"))
    assert ["authorization", "Bearer <unknown token>"] in sandbox.journal()[-1]["headers"]


def test_journal_is_filtered_and_read_on_from_a_number(sandbox: SandboxControl, ann: MintedGrant) -> None:
    bob = sandbox.grant("bob@example.com")
    start = sandbox.last_seq()
    for grant in (ann, bob, ann):
        refresh(sandbox, grant)
        generate(sandbox, grant.access_token, asking("hi"))
    assert len(sandbox.journal(since=start)) == 6
    assert len(sandbox.journal(since=start + 4)) == 2
    assert [e["email"] for e in sandbox.journal(endpoint="token")] == [ann.email, bob.email, ann.email]
    assert len(sandbox.journal(email="BOB@example.com")) == 2
    page = sandbox.request("GET", f"journal?since={start}&limit=4")
    assert (len(page["entries"]), page["next"]) == (4, start + 4)
    assert sandbox.request("GET", "journal")["next"] == start + 6


def test_counts_are_by_endpoint_person_and_status(sandbox: SandboxControl, ann: MintedGrant) -> None:
    refresh(sandbox, ann)
    refresh(sandbox, ann, client_secret="wrong")
    refresh(sandbox, ann, refresh_token="garbled")
    assert sandbox.counts() == {
        "endpoints": {"token": 3},
        "emails": {"token": {"ann@example.com": 2, "": 1}},
        "statuses": {"token": {"200": 1, "400": 1, "401": 1}},
    }
    assert (sandbox.token_calls("ann@example.com"), sandbox.token_calls()) == (2, 3)
    sandbox.clear_journal()
    assert sandbox.token_calls() == 0
    assert sandbox.journal() == []


def test_waiting_reader_is_woken_by_the_next_call(sandbox: SandboxControl, ann: MintedGrant) -> None:
    found: list[Any] = []
    start = sandbox.last_seq()
    reader = threading.Thread(
        target=lambda: found.extend(sandbox.journal(since=start, wait=20, email="ann@example.com"))
    )
    reader.start()
    generate(sandbox, sandbox.grant("bob@example.com").access_token, asking("hi"))
    generate(sandbox, ann.access_token, asking("hi"))
    reader.join(timeout=10)
    assert not reader.is_alive()
    assert [entry["email"] for entry in found] == ["ann@example.com"]


def test_waiting_reader_is_sent_home_when_nothing_comes(sandbox: SandboxControl) -> None:
    assert sandbox.journal(since=sandbox.last_seq(), wait=1) == []


def test_reset_forgets_people_grants_scripts_and_entries(sandbox: SandboxControl, ann: MintedGrant) -> None:
    sandbox.grant("dora@example.com")
    sandbox.script("hang", times=None)
    sandbox.client(CLIENT_ID, state="deleted")
    before = sandbox.last_seq()
    sandbox.reset()
    state = sandbox.state()
    emails = [person["email"] for person in state["people"]]
    assert emails == ["ann@example.com", "bob@example.com", "cara@example.com"]
    assert all(person["grants"] == [] for person in state["people"])
    assert (state["scripts"], state["clients"][0]["state"]) == ([], "ok")
    assert refresh(sandbox, ann).json()["error"] == "invalid_grant"
    assert sandbox.journal()[0]["seq"] > before


def test_grant_creates_a_person_who_is_not_known_yet(sandbox: SandboxControl) -> None:
    first, second = sandbox.grant("dora@example.com"), sandbox.grant("dora@example.com")
    assert (first.grant, second.grant) == ("dora/grant-1", "dora/grant-2")
    assert first.sub == second.sub
    assert first.refresh_token.startswith("sandbox-refresh-dora-1-")
    assert first.access_token.startswith("sandbox-access-dora-1-")
    same_name = sandbox.grant("dora@other.example")
    assert same_name.grant.partition("/")[0] != "dora"
    projects = sandbox.person("dora@example.com", name="Dora Doe", projects=["p1", "p2"])["projects"]
    assert projects == ["p1", "p2"]
    headers = {"x-goog-user-project": "p2"}
    assert generate(sandbox, first.access_token, asking("hi"), headers=headers).status == 200


def test_state_shows_no_token(sandbox: SandboxControl, ann: MintedGrant) -> None:
    sandbox.revoke("ann@example.com")
    state = sandbox.state()
    assert state["people"][0]["grants"][0]["alive"] is False
    assert "sandbox-refresh" not in json.dumps(state)
    assert CLIENT_SECRET not in json.dumps(state)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "revoke", {"email": "nobody@example.com"}, 404),
        ("POST", "revoke", {"refresh_token": "garbled"}, 404),
        ("POST", "expire", {"email": "nobody@example.com"}, 404),
        ("POST", "grants", {"email": "ann@example.com", "client_id": "nobody"}, 404),
        ("POST", "grants", {"mail": "ann@example.com"}, 400),
        ("POST", "clients", {"client_id": "new"}, 400),
        ("POST", "clients", {"client_id": CLIENT_ID, "state": "tired"}, 400),
        ("POST", "settings", {"signatures": "nobody"}, 400),
        ("GET", "journal?since=x", None, 400),
        ("DELETE", "script/17", None, 404),
        ("GET", "nowhere", None, 404),
    ],
)
def test_control_request_that_makes_no_sense_is_refused(
    sandbox: SandboxControl, method: str, path: str, body: Any, status: int
) -> None:
    with pytest.raises(HTTPError) as refused:
        sandbox.request(method, path, body)
    with refused.value as answer:
        assert answer.code == status
        assert json.loads(answer.read())["error"]


def test_control_api_does_not_answer_pages_of_other_sites(sandbox: SandboxControl) -> None:
    got = call(sandbox, "GET", "/_sandbox/state", headers={"origin": "https://evil.example"})
    assert got.status == 403


def test_unknown_path_is_a_404_and_is_journaled(sandbox: SandboxControl) -> None:
    assert call(sandbox, "GET", "/v1internal:loadCodeAssist").status == 404
    assert sandbox.journal()[-1]["endpoint"] == "unknown"


def _filled(number: int, body: bytes) -> Journal:
    journal = Journal(lambda token: token, dict)
    for _ in range(number):
        journal.identified(journal.open(0.0, Call("POST", "/token", "", {}, (), body), "token"))
    return journal


def test_journal_is_bounded_by_entries_and_its_counts_are_not() -> None:
    journal = _filled(MAX_ENTRIES + 10, b"")
    kept = journal.since(0, limit=MAX_ENTRIES * 2)
    assert len(kept) == MAX_ENTRIES
    assert kept[0].seq == 11
    assert journal.counts()["endpoints"] == {"token": MAX_ENTRIES + 10}
    assert [entry.seq for entry in journal.since(MAX_ENTRIES + 8)] == [MAX_ENTRIES + 9, MAX_ENTRIES + 10]


def test_journal_is_bounded_by_the_bytes_of_its_bodies() -> None:
    body = bytes(16 * 1024 * 1024)
    journal = _filled(20, body)
    assert len(journal.since(0)) == MAX_BODY_BYTES // len(body)
