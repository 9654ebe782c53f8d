"""Why an account serves or not, in the contract's order; and that the owner's pause and Google's verdict never mix."""

from __future__ import annotations

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
