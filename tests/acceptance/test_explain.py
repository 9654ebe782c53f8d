"""Why an account serves or not, in the contract's order; and that the owner's pause and Google's verdict never mix."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.harness import (
    MODEL,
    Gateway,
    Json,
    People,
    account_file,
    hand_edit,
    read_account,
    regrant,
    wait_until,
)
from tests.sandbox_client import SandboxProcess

ANN = "ann@example.com"
BOB = "bob@example.com"
ORDER = ["disabled", "quota", "paused", "attention", "cooldown", "client"]
DISABLED = {
    "disabled": True,
    "disabled_at": 1_700_000_000,
    "disabled_reason": "invalid_grant: Token has been expired or revoked.",
    "disabled_cause": "revoked",
}
PAUSED = {
    "proxy_disabled": True,
    "proxy_disabled_at": 1_700_000_100,
    "proxy_disabled_reason": "on holiday",
}
ATTENTION = {
    "attention": {
        "code": "403_permission",
        "message": "Ask for the permission.",
        "url": "",
        "since": 1_700_000_200,
    }
}
PROTECTED = {"protected_models": [MODEL]}
STATES = {"disabled": "disabled", "quota": "protected", "paused": "paused", "attention": "attention"}
FIELDS: dict[str, Json] = {"disabled": DISABLED, "quota": PROTECTED, "paused": PAUSED, "attention": ATTENTION}


def failed(checks: list[Json]) -> list[str]:
    return [check["check"] for check in checks if not check["ok"]]


@pytest.mark.parametrize("first", range(4))
def test_absence_is_judged_and_explained_in_the_contracts_order_after_a_load(
    sandbox: SandboxProcess, data_dir: Path, people: People, first: int
) -> None:
    people("ann", "bob", fresh=True)
    reasons = list(FIELDS)[first:]
    hand_edit(
        data_dir,
        "ann",
        lambda document: document.update(
            {k: v for reason in reversed(reasons) for k, v in FIELDS[reason].items()}
        ),
    )
    with Gateway(data_dir, sandbox.url) as gateway:
        checks = gateway.checks("ann")
        assert [check["check"] for check in checks] == ORDER
        assert failed(checks) == reasons
        assert gateway.account("ann")["state"] == STATES[reasons[0]]
        # Protection holds back single models, so it is no reason of the pool as a whole.
        assert gateway.ready()["reasons"] == {next(one for one in reasons if one != "quota"): 1}
        assert failed(gateway.checks("bob")) == []
        assert {gateway.served_by(f"number {number}") for number in range(8)} == {"bob"}


def test_each_failed_check_says_since_when_and_what_to_do(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", fresh=True)
    hand_edit(data_dir, "ann", lambda document: document.update(DISABLED | PAUSED | ATTENTION))
    with Gateway(data_dir, sandbox.url) as gateway:
        by_name = {check["check"]: check for check in gateway.checks("ann")}
    assert by_name["disabled"]["since"] == 1_700_000_000
    assert by_name["paused"]["since"] == 1_700_000_100
    assert by_name["attention"]["since"] == 1_700_000_200
    assert all(by_name[name]["advice"] for name in ("disabled", "paused", "attention"))


def by_api(gateway: Gateway, _: SandboxProcess, action: str, *ids: str) -> None:
    for account_id in ids:
        body = {"reason": "maintenance"} if action == "pause" else None
        assert gateway.admin("POST", f"/api/accounts/{account_id}/{action}", body).status == 200


def by_batch(gateway: Gateway, _: SandboxProcess, action: str, *ids: str) -> None:
    order: dict[str, Any] = {"action": action, "ids": list(ids)}
    if action == "pause":
        order["reason"] = "maintenance"
    answer = gateway.admin("POST", "/api/accounts/batch", order)
    assert answer.status == 200
    assert answer.json() == {"results": [{"id": account_id, "ok": True} for account_id in ids]}


def by_command(gateway: Gateway, sandbox: SandboxProcess, action: str, *ids: str) -> None:
    emails = [f"{account_id}@example.com" for account_id in ids]
    reason = ["--reason", "maintenance"] if action == "pause" else []
    ended = regrant(gateway.data_dir, sandbox.url, "accounts", action, *emails, *reason)
    assert ended.returncode == 0, ended.stderr


By = Callable[..., None]
WAYS = pytest.mark.parametrize("by", [by_api, by_batch, by_command], ids=["api", "batch", "command"])


def disablement(document: Json) -> Json:
    return {key: value for key, value in document.items() if key.startswith("disabled")}


def pause_of(document: Json) -> Json:
    return {key: value for key, value in document.items() if key.startswith("proxy_disabled")}


@WAYS
def test_pausing_and_resuming_leave_a_disablement_untouched(
    sandbox: SandboxProcess, data_dir: Path, people: People, by: By
) -> None:
    people("ann", "bob", fresh=True)
    hand_edit(data_dir, "ann", lambda document: document.update(DISABLED))
    before = int(time.time())
    with Gateway(data_dir, sandbox.url) as gateway:
        assert gateway.ready() == {"ready": True, "reasons": {"disabled": 1}}
        by(gateway, sandbox, "pause", "ann", "bob")
        wait_until(
            lambda: gateway.ready() == {"ready": False, "reasons": {"disabled": 1, "paused": 1}}, "both out"
        )
        document = read_account(data_dir, "ann")
        assert disablement(document) == DISABLED
        assert document["proxy_disabled"] is True
        assert document["proxy_disabled_reason"] == "maintenance"
        assert before <= document["proxy_disabled_at"] <= time.time()
        assert failed(gateway.checks("ann"))[:2] == ["disabled", "paused"]
        by(gateway, sandbox, "resume", "ann", "bob")
        wait_until(lambda: gateway.ready() == {"ready": True, "reasons": {"disabled": 1}}, "bob is back")
        document = read_account(data_dir, "ann")
        assert disablement(document) == DISABLED
        assert pause_of(document) == {}
        assert gateway.served_by() == "bob"
    assert sandbox.token_calls(ANN) == 0


def test_disabling_and_recovering_leave_a_pause_untouched(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    grants = people("ann", "bob")
    sandbox.revoke(ANN)
    hand_edit(data_dir, "ann", lambda document: document.update(PAUSED))
    with Gateway(data_dir, sandbox.url) as gateway:
        assert gateway.admin("POST", "/api/accounts/ann/verify").json()["outcome"] == "dead"
        document = read_account(data_dir, "ann")
        assert document["disabled"] is True
        assert pause_of(document) == PAUSED
        fresh = sandbox.grant(ANN)
        answer = gateway.admin("POST", "/api/accounts", {"refresh_token": fresh.refresh_token})
        assert (answer.status, answer.json()["outcome"]) == (200, "recovered")
        document = read_account(data_dir, "ann")
        assert disablement(document) == {}
        assert pause_of(document) == PAUSED
        assert gateway.account("ann")["state"] == "paused"
        assert gateway.ready()["reasons"] == {"paused": 1}
    assert grants["ann"].refresh_token != fresh.refresh_token


def test_quota_protection_in_a_file_of_the_predecessor_is_no_pause(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", fresh=True)
    hand_edit(
        data_dir,
        "ann",
        lambda document: document.update(
            proxy_disabled=True,
            proxy_disabled_at=1_700_000_000,
            proxy_disabled_reason="quota_protection",
            protected_models=[MODEL],
        ),
    )
    with Gateway(data_dir, sandbox.url) as gateway:
        assert failed(gateway.checks("ann")) == ["quota"]
        assert gateway.account("ann")["protected_models"] == [MODEL]


# -- since, until, advice, and whom it concerns --------------------------------------------------------------------------


def in_projects(sandbox: SandboxProcess, data_dir: Path, projects: dict[str, str], **fields: Any) -> None:
    """Accounts with live tokens, in these projects."""
    for name, project in projects.items():
        sandbox.person(f"{name}@example.com", projects=[project])
        grant = sandbox.grant(f"{name}@example.com")
        account_file(data_dir, name, grant, fresh=True, project_id=project, **fields)


def pool(gateway: Gateway, model: str = MODEL, key: str = "") -> Json:
    answer = gateway.admin("GET", f"/api/pool?model={model}&key={key}")
    assert answer.status == 200, answer.body
    found: Json = answer.json()
    return found


def serving(gateway: Gateway, model: str = MODEL, key: str = "") -> set[str]:
    return {place["id"] for place in pool(gateway, model, key)["accounts"] if place["serves"]}


def the_reason(gateway: Gateway, account_id: str, model: str = MODEL) -> Json:
    """The first check that fails; empty when none does."""
    return next((check for check in gateway.checks(account_id, model) if not check["ok"]), {})


def test_a_death_is_explained_with_its_moment_a_link_and_the_command(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann")
    sandbox.revoke(ANN)
    before = int(time.time())
    with Gateway(data_dir, sandbox.url) as gateway:
        assert gateway.chat().status == 503
        found = the_reason(gateway, "ann")
        assert found["check"] == "disabled"
        assert before <= found["since"] <= time.time()
        assert "until" not in found
        assert found["advice"] == gateway.account("ann")["advice"]
        assert found["advice"]["url"].startswith("https://")
        assert found["advice"]["command"] == f"regrant accounts reauth {ANN}"


def test_a_limit_of_a_project_and_model_says_from_when_to_when_and_whom_it_concerns(
    sandbox: SandboxProcess, data_dir: Path
) -> None:
    in_projects(sandbox, data_dir, {"ann": "one", "bob": "one", "cara": "two"})
    sandbox.script("error", name="429_per_minute", project="one", times=None, retry_delay="3600s")
    before = time.time()
    with Gateway(data_dir, sandbox.url, POOL__STRATEGY="round_robin") as gateway:
        assert [gateway.served_by(str(number)) for number in range(3)] == ["cara"] * 3
        for name in ("ann", "bob"):
            found = the_reason(gateway, name)
            assert found["check"] == "cooldown"
            assert before <= found["since"] <= time.time()
            assert before + 3590 < found["until"] < time.time() + 3610
            assert "this model on every account of project one" in found["advice"]["text"]
        assert serving(gateway) == {"cara"}
        assert serving(gateway, "gemini-2.5-flash") == {"ann", "bob", "cara"}, "another model is free"
        assert serving(gateway, "") == {"ann", "bob", "cara"}, "what holds for every model"
        since = the_reason(gateway, "ann")["since"]
    with Gateway(data_dir, sandbox.url) as gateway:
        assert the_reason(gateway, "ann")["since"] == since, "a restart does not begin it anew"


def test_a_cool_down_of_an_account_is_not_its_projects(sandbox: SandboxProcess, data_dir: Path) -> None:
    in_projects(sandbox, data_dir, {"ann": "one", "bob": "one"})
    sandbox.script("error", name="401", email=ANN, endpoint="generate", times=None)
    with Gateway(data_dir, sandbox.url, POOL__STRATEGY="round_robin") as gateway:
        assert [gateway.served_by(str(number)) for number in range(3)] == ["bob"] * 3
        assert the_reason(gateway, "bob") == {}
        found = the_reason(gateway, "ann")
        assert found["check"] == "cooldown"
        assert "this account alone" in found["advice"]["text"]
        assert found["advice"]["command"] == f"regrant accounts verify {ANN}"


def test_a_quota_at_its_reserve_says_until_when(sandbox: SandboxProcess, data_dir: Path) -> None:
    in_projects(sandbox, data_dir, {"ann": "one", "bob": "two"})
    limits = json.dumps([{"project_id": "one", "model": MODEL, "requests_per_day": 5}])
    settings: Json = {"QUOTA__PROTECTION": "true", "QUOTA__RESERVE": "0.2", "QUOTA__LIMITS": limits}
    with Gateway(data_dir, sandbox.url, POOL__STRATEGY="round_robin", **settings) as gateway:
        assert [gateway.served_by(str(number)) for number in range(10)].count("ann") == 4
        found = the_reason(gateway, "ann")
        assert found["check"] == "quota"
        assert time.time() < found["until"] < time.time() + 90_000
        assert MODEL in found["advice"]["text"]
        assert "ends by itself" in found["advice"]["text"]
        assert serving(gateway) == {"bob"}


def test_a_missing_oauth_client_matters_as_soon_as_the_token_is_over(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", "bob", fresh=True)
    hand_edit(data_dir, "ann", lambda document: document.update(client_id="200000000002-gone"))
    with Gateway(data_dir, sandbox.url) as gateway:
        assert serving(gateway) == {"ann", "bob"}, "nobody needs a refresh yet"
        hand_edit(data_dir, "ann", lambda document: document["token"].update(expiry_timestamp=1))
        wait_until(lambda: serving(gateway) == {"bob"}, "the token is over")
        found = the_reason(gateway, "ann")
        assert found["check"] == "client"
        assert "200000000002-gone" in found["advice"]["text"]
        assert found["advice"]["command"] == "regrant config show"
        assert {gateway.served_by(str(number)) for number in range(6)} == {"bob"}


def test_claude_is_asked_of_accounts_of_vertex_under_its_name_there(
    sandbox: SandboxProcess, data_dir: Path
) -> None:
    in_projects(sandbox, data_dir, {"ann": "one"}, upstream="vertex")
    in_projects(sandbox, data_dir, {"bob": "two"})
    with Gateway(data_dir, sandbox.url) as gateway:
        found = pool(gateway, "claude-sonnet-4-5-20250929")
        assert found["served_model"] == "claude-sonnet-4-5@20250929"
        by_id = {place["id"]: place for place in found["accounts"]}
        assert (by_id["ann"]["serves"], by_id["ann"]["turn"]) == (True, 1)
        assert by_id["bob"]["serves"] is False
        assert "vertex" in by_id["bob"]["left_out"]
        assert [check["check"] for check in by_id["bob"]["checks"]] == ORDER
        sandbox.script("error", name="429_vertex", project="one", times=None)
        body = {
            "model": "claude-sonnet-4-5-20250929",
            "max_tokens": 9,
            "messages": [{"role": "user", "content": "hi"}],
        }
        gateway.call("POST", "/v1/messages", body)
        assert the_reason(gateway, "ann", "claude-sonnet-4-5-20250929")["check"] == "cooldown"
        assert the_reason(gateway, "ann") == {}, "Gemini is another model"


def test_a_key_sees_its_group_and_the_turns_are_those_of_the_strategy(
    sandbox: SandboxProcess, data_dir: Path
) -> None:
    in_projects(sandbox, data_dir, {"ann": "one", "bob": "two", "cara": "three"})
    groups = [{"name": "work", "accounts": [ANN, BOB], "priority": 1}, {"name": "late", "accounts": [ANN]}]
    choices = [{"key": "laptop", "group": "work", "strategy": "fill_first"}]
    settings: Json = {"POOL__GROUPS": json.dumps(groups), "POOL__CHOICES": json.dumps(choices)}
    with Gateway(data_dir, sandbox.url, POOL__STRATEGY="round_robin", **settings) as gateway:
        assert serving(gateway) == {"ann", "bob", "cara"}
        found = pool(gateway, key="laptop")
        assert found["strategy"] == "fill_first"
        turns = {place["id"]: place.get("turn") for place in found["accounts"]}
        assert turns == {"ann": 1, "bob": 2, "cara": None}
        [cara] = [place for place in found["accounts"] if place["id"] == "cara"]
        assert cara["serves"] is False
        assert "group work" in cara["left_out"]


def test_round_robin_serves_in_the_order_that_was_told(sandbox: SandboxProcess, data_dir: Path) -> None:
    in_projects(sandbox, data_dir, {"ann": "one", "bob": "two", "cara": "three"})
    with Gateway(data_dir, sandbox.url, POOL__STRATEGY="round_robin") as gateway:
        gateway.chat("somebody begins")
        for number in range(4):
            told = sorted((place["turn"], place["id"]) for place in pool(gateway)["accounts"])
            assert gateway.served_by(f"number {number}") == told[0][1]


def test_a_name_that_leads_nowhere_is_served_by_nobody(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", fresh=True)
    with Gateway(data_dir, sandbox.url, MODELS__PRESETS="false") as gateway:
        found = pool(gateway, "parrot-1")
        assert (found["can_serve"], found["served_model"]) == (False, None)
        assert "parrot-1" in found["note"]
        assert failed(found["accounts"][0]["checks"]) == []


def test_the_log_of_a_refused_request_says_why_nobody_was_left(
    sandbox: SandboxProcess, data_dir: Path
) -> None:
    in_projects(sandbox, data_dir, {"ann": "one", "bob": "two", "cara": "three"})
    hand_edit(data_dir, "ann", lambda document: document.update(DISABLED))
    hand_edit(data_dir, "bob", lambda document: document.update(PAUSED))
    sandbox.script("error", name="429_per_minute", project="three", times=None, retry_delay="3600s")
    with Gateway(data_dir, sandbox.url) as gateway:
        answers = [gateway.chat() for _ in range(2)]
        assert [answer.status for answer in answers] == [429, 429]
        told = [recorded(gateway, answer.headers["x-request-id"]) for answer in answers]
    assert [len(one["attempts"]) for one in told] == [1, 0]
    assert [one["reasons"] for one in told] == [{"disabled": 1, "paused": 1, "cooldown": 1}] * 2
    assert all("1 disabled" in one["explanation"]["untried"] for one in told)


def recorded(gateway: Gateway, request_id: str) -> Json:
    """The request as the traffic log tells it, once it is written."""

    def look() -> Json | None:
        answer = gateway.admin("GET", f"/api/traffic/{request_id}")
        found: Json | None = answer.json() if answer.status == 200 else None
        return found

    found = wait_until(look, f"{request_id} is written")
    assert found is not None
    return found


def test_a_refused_list_of_models_is_no_obstacle_for_requests(
    sandbox: SandboxProcess, data_dir: Path
) -> None:
    in_projects(sandbox, data_dir, {"ann": "one"})
    sandbox.script("error", name="429_per_minute", endpoint="models", times=None, retry_delay="3600s")
    with Gateway(data_dir, sandbox.url) as gateway:
        assert gateway.call("GET", "/v1/models").status == 429
        assert serving(gateway, "") == {"ann"}
        account = gateway.account("ann")
        assert (account["state"], account["cooldowns"]) == ("active", [])
        assert gateway.served_by() == "ann"
