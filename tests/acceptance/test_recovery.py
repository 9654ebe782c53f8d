"""Back in the pool: an account is added again, by each way there is, while the gateway serves."""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.acceptance.harness import (
    Answer,
    Gateway,
    Json,
    People,
    at_once,
    hand_edit,
    read_account,
    regrant,
    wait_until,
)
from tests.sandbox_client import SandboxProcess

ANN = "ann@example.com"


def dead(gateway: Gateway, sandbox: SandboxProcess) -> None:
    """Ann's grant is revoked and the gateway has found out."""
    sandbox.revoke(ANN)
    assert gateway.admin("POST", "/api/accounts/ann/verify").json()["outcome"] == "dead"
    assert read_account(gateway.data_dir, "ann")["disabled"] is True


def by_api(gateway: Gateway, sandbox: SandboxProcess, refresh_token: str) -> None:
    answer = gateway.admin("POST", "/api/accounts", {"refresh_token": refresh_token})
    assert (answer.status, answer.json()["outcome"]) == (200, "recovered"), answer.body
    assert answer.json()["account"]["state"] == "active"


def by_command(gateway: Gateway, sandbox: SandboxProcess, refresh_token: str) -> None:
    ended = regrant(
        gateway.data_dir, sandbox.url, "accounts", "add", "--refresh-token-file", "-", stdin=refresh_token
    )
    assert ended.returncode == 0, ended.stderr
    assert "recovered" in ended.stdout


def by_hand(gateway: Gateway, sandbox: SandboxProcess, refresh_token: str) -> None:
    hand_edit(gateway.data_dir, "ann", lambda document: document["token"].update(refresh_token=refresh_token))


def by_sign_in(gateway: Gateway, sandbox: SandboxProcess, refresh_token: str) -> None:
    started = gateway.admin("POST", "/api/oauth/start", {"account_id": "ann", "redirect": "gateway"}).json()
    assert "login_hint=ann%40example.com" in started["authorize_url"]
    with urllib.request.urlopen(started["authorize_url"], timeout=20) as page:
        assert page.status == 200
    flow = gateway.admin("GET", f"/api/oauth/{started['flow']}").json()
    assert (flow["status"], flow["outcome"]) == ("done", "recovered")


@pytest.mark.parametrize(
    "add", [by_api, by_command, by_hand, by_sign_in], ids=["api", "command", "hand", "sign_in"]
)
def test_adding_a_dead_account_again_brings_it_back_in_the_running_process(
    sandbox: SandboxProcess,
    data_dir: Path,
    people: People,
    add: Callable[[Gateway, SandboxProcess, str], None],
) -> None:
    people("ann")
    hand_edit(
        data_dir,
        "ann",
        lambda document: document.update(label="the first", project_id="ann-project", kept_by="a user"),
    )
    with Gateway(data_dir, sandbox.url, POOL__RESCUE_S="0") as gateway:
        dead(gateway, sandbox)
        assert gateway.chat().status == 503
        generation = read_account(data_dir, "ann")["generation"]
        asked = sandbox.last_seq()
        add(gateway, sandbox, sandbox.grant(ANN).refresh_token)
        wait_until(lambda: gateway.ready()["ready"], "back in the pool", deadline_s=2)
        wait_until(lambda: gateway.log("account_recovered"), "recovery is announced")
        document = read_account(data_dir, "ann")
        assert not [key for key in document if key.startswith("disabled")]
        assert document["verified"] is True
        assert document["generation"] == generation + 1
        assert (document["label"], document["project_id"], document["kept_by"]) == (
            "the first",
            "ann-project",
            "a user",
        )
        assert "recovered" in [line["event"] for line in document["history"]] or add is by_hand
        live = [entry for entry in sandbox.journal(since=asked, endpoint="token") if entry["status"] == 200]
        assert len(live) == 1, "verified by one live answer of the token endpoint"
        assert set(gateway.messages("account_recovered")) == {f"account recovered ({ANN})"}
        assert gateway.stderr.count("account recovered") == 1, "once in each process"
        assert gateway.served_by() == "ann"
        assert len(sandbox.journal(since=asked, endpoint="token")) == 1
        assert list((data_dir / "accounts").glob("*.json")) == [data_dir / "accounts" / "ann.json"]


def test_a_new_refresh_token_that_google_refuses_recovers_nothing(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann")
    with Gateway(data_dir, sandbox.url) as gateway:
        dead(gateway, sandbox)
        stored = read_account(data_dir, "ann")
        second = sandbox.grant(ANN)
        sandbox.revoke(ANN)
        answer = gateway.admin("POST", "/api/accounts", {"refresh_token": second.refresh_token})
        assert answer.status == 422
        assert answer.json()["error"]["code"] == "invalid_grant"
        assert read_account(data_dir, "ann") == stored
        assert not gateway.log("account_recovered")


def test_the_stored_dead_token_is_tried_once_and_refused_with_the_date_of_its_death(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    grants = people("ann")
    with Gateway(data_dir, sandbox.url) as gateway:
        dead(gateway, sandbox)
        calls = sandbox.token_calls(ANN)
        answer = gateway.admin("POST", "/api/accounts", {"refresh_token": grants["ann"].refresh_token})
        assert answer.status == 422
        error = answer.json()["error"]
        assert error["code"] == "invalid_grant"
        assert re.search(r"20\d\d-\d\d-\d\d", error["message"] + error["hint"])
        assert sandbox.token_calls(ANN) == calls + 1
        assert read_account(data_dir, "ann")["disabled"] is True


def supply_by_api(gateway: Gateway, sandbox: SandboxProcess, access_token: str) -> Json:
    answer = gateway.admin("POST", "/api/accounts", {"access_token": access_token, "email": ANN})
    assert answer.status == 200, answer.body
    outcome: Json = answer.json()
    return outcome


@pytest.mark.parametrize("alive", [False, True], ids=["grant_still_dead", "grant_alive"])
def test_an_access_token_alone_is_taken_unverified_and_the_grant_behind_it_asked_at_once(
    sandbox: SandboxProcess, data_dir: Path, people: People, *, alive: bool
) -> None:
    people("ann")
    with Gateway(data_dir, sandbox.url) as gateway:
        if alive:
            sandbox.script("error", name="invalid_grant", endpoint="token")
            assert gateway.admin("POST", "/api/accounts/ann/verify").json()["outcome"] == "dead"
        else:
            dead(gateway, sandbox)
        calls = sandbox.token_calls(ANN)
        access_token = sandbox.grant(ANN).access_token
        sandbox.script("slow", endpoint="token", seconds=0.5)
        given = supply_by_api(gateway, sandbox, access_token)
        assert given["outcome"] == "unverified"
        document = read_account(data_dir, "ann")
        assert document["verified"] is False
        assert "disabled" not in document
        assert not gateway.log("account_recovered")
        settled = {"disabled": True} if not alive else {"verified": True}
        wait_until(
            lambda: settled.items() <= read_account(data_dir, "ann").items(),
            "the grant was asked",
            deadline_s=5,
        )
        assert sandbox.token_calls(ANN) == calls + 1
        wait_until(lambda: gateway.ready()["ready"] is alive, "the pool knows")
        if alive:
            wait_until(lambda: gateway.log("account_recovered"), "recovery is announced")
        else:
            assert not gateway.log("account_recovered")


def test_an_access_token_for_an_unknown_person_is_refused(sandbox: SandboxProcess, data_dir: Path) -> None:
    grant = sandbox.grant(ANN)
    with Gateway(data_dir, sandbox.url) as gateway:
        answer = gateway.admin("POST", "/api/accounts", {"access_token": grant.access_token, "email": ANN})
        assert answer.status == 422
        assert answer.json()["error"]["code"] == "refresh_token_required"
        assert not list((data_dir / "accounts").glob("*.json"))


def test_removing_disabled_by_hand_is_taken_at_its_word_and_verified_once(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann")
    with Gateway(data_dir, sandbox.url) as gateway:
        dead(gateway, sandbox)
        calls = sandbox.token_calls(ANN)

        def clear(document: Json) -> None:
            for key in [key for key in document if key.startswith("disabled")]:
                del document[key]

        hand_edit(data_dir, "ann", clear)
        wait_until(lambda: sandbox.token_calls(ANN) > calls, "asked", deadline_s=5)
        wait_until(lambda: read_account(data_dir, "ann").get("disabled"), "dead again", deadline_s=5)
        assert sandbox.token_calls(ANN) == calls + 1
        assert not gateway.log("account_recovered")


def test_an_incident_is_not_closed_by_the_owner_s_word_before_a_refresh_has_proved_it(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    names = ("ann", "bob", "cara")
    people(*names)
    for name in names:
        sandbox.revoke(f"{name}@example.com")

    def clear(document: Json) -> None:
        for key in [key for key in document if key.startswith("disabled")]:
            del document[key]

    with Gateway(data_dir, sandbox.url, POOL__RESCUE_S="0") as gateway:
        gateway.chat()
        wait_until(lambda: gateway.log("incident_opened"), "three died together")
        wait_until(
            lambda: all(read_account(data_dir, name).get("disabled") for name in names), "it is stored"
        )
        sandbox.script("slow", endpoint="token", seconds=1, times=3)
        for name in names:
            hand_edit(data_dir, name, clear)
        wait_until(
            lambda: len(gateway.log("account_disabled")) == 2 * len(names), "all are dead again", deadline_s=8
        )
        assert not gateway.log("incident_closed")


def test_an_account_that_is_brought_back_serves_a_request_that_is_waiting(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    """In-flight rescue: the last account died under the request; its owner signs in again meanwhile."""
    people("ann")
    sandbox.revoke(ANN)

    with Gateway(data_dir, sandbox.url, POOL__RESCUE_S="20") as gateway:

        def mend() -> Answer:
            wait_until(lambda: gateway.log("account_disabled"), "ann is dead")
            return gateway.admin("POST", "/api/accounts", {"refresh_token": sandbox.grant(ANN).refresh_token})

        started = time.monotonic()
        served, mended = at_once([lambda: gateway.chat("wait for me"), mend])
        assert mended.json()["outcome"] == "recovered"
        assert served.status == 200
        assert served.text.startswith("Hello from Ann")
        assert time.monotonic() - started < 20
