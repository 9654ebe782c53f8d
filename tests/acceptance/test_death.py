"""A grant dies: the account is out durably, the request goes on, and everybody is told once, without a secret."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.harness import (
    MODEL,
    Answer,
    Gateway,
    People,
    account_file,
    at_once,
    chat_body,
    hand_edit,
    messages,
    read_account,
    regrant,
    wait_until,
)
from tests.sandbox_client import SandboxProcess

ANN = "ann@example.com"
REVOKED = "Token has been expired or revoked."
FAILED_LINE = f"token refresh failed ({ANN}): invalid_grant: {REVOKED}"
DISABLING_LINE = f"Disabling account due to invalid_grant ({ANN}): refresh_token likely revoked/expired"
SKIPPING_LINE = f"skipping disabled account ({ANN})"
DAY_S = 86_400


def test_a_revoked_account_is_disabled_on_disk_and_the_same_request_is_served_by_the_next(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", "bob")
    sandbox.revoke(ANN)
    before = int(time.time())
    with Gateway(data_dir, sandbox.url, POOL__STRATEGY="round_robin", LOG__LEVEL="debug") as gateway:
        answer = gateway.chat("who is there?")
        assert answer.status == 200
        assert answer.text.startswith("Hello from Bob's account")
        assert sandbox.token_calls(ANN) == 1
        assert answer.headers["x-regrant-attempts"] == "2"
        wait_until(lambda: read_account(data_dir, "ann").get("disabled"), "disabled on disk")
        document = read_account(data_dir, "ann")
        assert document["disabled"] is True
        assert before <= document["disabled_at"] <= time.time()
        assert document["disabled_reason"] == f"invalid_grant: {REVOKED}"
        assert document["disabled_cause"] == "revoked"
        assert "proxy_disabled" not in document
        assert [line["event"] for line in document["history"]] == ["disabled"]
        assert gateway.ready() == {"ready": True, "reasons": {"disabled": 1}}
        assert gateway.messages("token_refresh_failed") == [f"{FAILED_LINE}, trying next account"]
        assert gateway.messages("account_disabled") == [DISABLING_LINE]
        assert {record["level"] for record in gateway.log("account_disabled")} == {"error"}
        assert {record["email"] for record in gateway.log("account_disabled")} == {ANN}
        for _ in range(6):
            assert gateway.served_by() == "bob"
        assert sandbox.token_calls(ANN) == 1
        assert DISABLING_LINE in gateway.stderr


def test_the_failure_of_the_last_account_does_not_speak_of_a_next_one(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann")
    sandbox.revoke(ANN)
    with Gateway(data_dir, sandbox.url, POOL__RESCUE_S="0") as gateway:
        assert gateway.chat().status == 503
        assert gateway.messages("token_refresh_failed") == [FAILED_LINE]


def test_a_name_that_only_the_list_of_models_explains_is_not_called_unknown_while_nobody_can_ask_for_it(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann")
    sandbox.revoke(ANN)
    with Gateway(data_dir, sandbox.url, POOL__RESCUE_S="0") as gateway:
        answer = gateway.chat(model="gpt-5")
        assert (answer.status, answer.json()["error"]["code"]) == (503, "no_accounts")
        body = {"model": "claude-opus-4-5", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
        answer = gateway.call("POST", "/v1/messages", body)
        assert (answer.status, answer.json()["error"]["type"]) == (503, "api_error")


def openai_code(document: Any) -> tuple[str, str]:
    return document["error"]["type"], document["error"]["code"]


def gemini_code(document: Any) -> tuple[str, str]:
    return document["error"]["status"], str(document["error"]["code"])


@pytest.mark.parametrize(
    ("path", "body", "code", "expected"),
    [
        ("/v1/chat/completions", chat_body("hi"), openai_code, ("server_error", "no_accounts")),
        ("/v1/chat/completions", chat_body("hi", stream=True), openai_code, ("server_error", "no_accounts")),
        (
            f"/v1beta/models/{MODEL}:generateContent",
            {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
            gemini_code,
            ("UNAVAILABLE", "503"),
        ),
        (
            f"/v1beta/models/{MODEL}:streamGenerateContent?alt=sse",
            {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
            gemini_code,
            ("UNAVAILABLE", "503"),
        ),
    ],
    ids=["chat", "chat_stream", "gemini", "gemini_stream"],
)
def test_with_only_dead_accounts_a_client_gets_a_503_of_its_protocol_that_names_nobody(
    sandbox: SandboxProcess,
    data_dir: Path,
    people: People,
    path: str,
    body: Any,
    code: Callable[[Any], tuple[str, str]],
    expected: tuple[str, str],
) -> None:
    people("ann")
    sandbox.revoke(ANN)
    with Gateway(data_dir, sandbox.url, POOL__RESCUE_S="0") as gateway:
        for _ in range(2):  # the one that finds out, and one after it
            answer = gateway.call("POST", path, body)
            assert answer.status == 503
            assert answer.headers["content-type"].startswith("application/json")
            assert code(answer.json()) == expected
            text = answer.body.decode()
            assert "sign in again" in text
            assert "1 disabled" in text
            for foreign in (ANN, "example.com", "invalid_grant", REVOKED, "ann", "Bearer"):
                assert foreign not in text, foreign
        assert sandbox.token_calls(ANN) == 1


def test_a_restart_keeps_the_account_disabled_and_says_that_it_is_skipped(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", "bob")
    sandbox.revoke(ANN)
    with Gateway(data_dir, sandbox.url, POOL__STRATEGY="round_robin") as gateway:
        assert gateway.chat().status == 200
        wait_until(lambda: gateway.log("account_disabled"), "ann is disabled")
    stored = read_account(data_dir, "ann")
    skipped = messages(data_dir, "account_skipped").count(SKIPPING_LINE)
    with Gateway(data_dir, sandbox.url, POOL__STRATEGY="round_robin") as gateway:
        assert gateway.messages("account_skipped").count(SKIPPING_LINE) == skipped + 1
        assert gateway.log("account_skipped")[-1]["level"] == "warning"
        assert gateway.ready() == {"ready": True, "reasons": {"disabled": 1}}
        for _ in range(4):
            assert gateway.served_by() == "bob"
    assert sandbox.token_calls(ANN) == 1
    assert read_account(data_dir, "ann") == stored
    assert messages(data_dir, "account_disabled") == [DISABLING_LINE]


def test_many_requests_announce_one_death_once(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", "bob")
    sandbox.revoke(ANN)
    with Gateway(data_dir, sandbox.url, POOL__STRATEGY="round_robin") as gateway:
        answers = at_once([lambda: gateway.chat("hello") for _ in range(40)])
        assert {answer.status for answer in answers} == {200}
        for _ in range(5):
            assert gateway.chat().status == 200
        wait_until(lambda: read_account(data_dir, "ann").get("disabled"), "disabled on disk")
        assert gateway.messages("account_disabled") == [DISABLING_LINE]
        assert len(gateway.log("token_refresh_failed")) == 1
        assert [line["event"] for line in read_account(data_dir, "ann")["history"]] == ["disabled"]
    assert sandbox.token_calls(ANN) == 1


GEMINI_BODY = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}

WAYS: dict[str, Callable[[Gateway, SandboxProcess], object]] = {
    "chat": lambda gateway, _: gateway.chat(),
    "chat_stream": lambda gateway, _: gateway.chat(stream=True),
    "gemini": lambda gateway, _: gateway.call("POST", f"/v1beta/models/{MODEL}:generateContent", GEMINI_BODY),
    "count_tokens": lambda gateway, _: gateway.call(
        "POST", f"/v1beta/models/{MODEL}:countTokens", GEMINI_BODY
    ),
    "models": lambda gateway, _: gateway.call("GET", "/v1/models"),
    "verify_by_api": lambda gateway, _: gateway.admin("POST", "/api/accounts/ann/verify"),
    "verify_by_batch": lambda gateway, _: gateway.admin(
        "POST", "/api/accounts/batch", {"action": "verify", "ids": ["ann"]}
    ),
    "verify_by_command": lambda gateway, sandbox: regrant(
        gateway.data_dir, sandbox.url, "accounts", "verify", ANN
    ),
    "idle_keeper": lambda gateway, _: hand_edit(
        gateway.data_dir,
        "ann",
        lambda document: document.update(last_refresh_at=int(time.time()) - 30 * DAY_S),
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_a_token_goes_through_the_same_gate(
    sandbox: SandboxProcess, data_dir: Path, people: People, way: str
) -> None:
    people("ann")
    sandbox.revoke(ANN)
    hand_edit(data_dir, "ann", lambda document: document.update(last_refresh_at=int(time.time())))
    with Gateway(data_dir, sandbox.url, POOL__RESCUE_S="0") as gateway:
        WAYS[way](gateway, sandbox)
        wait_until(lambda: read_account(data_dir, "ann").get("disabled"), "disabled on disk")
        wait_until(lambda: gateway.ready() == {"ready": False, "reasons": {"disabled": 1}}, "out of the pool")
        assert gateway.chat().status == 503
    assert sandbox.token_calls(ANN) == 1
    assert read_account(data_dir, "ann")["disabled_reason"] == f"invalid_grant: {REVOKED}"


def death(**fields: Any) -> dict[str, Any]:
    return {"status": 400, "json": {"error": "invalid_grant", **fields}}


CAUSES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any], str]] = {
    "invalid_rapt": (
        death(error_description="reauth related error (invalid_rapt)", error_subtype="invalid_rapt"),
        {},
        {},
        "reauth_required",
    ),
    "rapt_required": (
        death(error_description="reauth", error_subtype="rapt_required"),
        {},
        {},
        "reauth_required",
    ),
    "account_deleted": (death(error_description="Account has been deleted"), {}, {}, "account_gone"),
    "the_account_deleted": (death(error_description="The account has been deleted"), {}, {}, "account_gone"),
    "consent_of_seven_days": (
        death(error_description=REVOKED),
        {},
        {"consented_at": -7 * DAY_S},
        "testing_expired",
    ),
    "known_lifetime_is_over": (
        death(error_description=REVOKED),
        {},
        {"consented_at": -10 * DAY_S, "refresh_token_expires_at": -3 * DAY_S},
        "testing_expired",
    ),
    "time_limited": (
        death(error_description=REVOKED),
        {},
        {"consented_at": -3 * DAY_S, "refresh_token_expires_at": -DAY_S},
        "time_limited",
    ),
    "unused": (death(error_description="Bad Request"), {"last_refresh_at": -181 * DAY_S}, {}, "unused"),
    "revoked": (death(error_description=REVOKED), {"last_refresh_at": -DAY_S}, {}, "revoked"),
    "no_description": (death(), {}, {}, "revoked"),
}


@pytest.mark.parametrize("case", CAUSES)
def test_each_cause_of_death_is_told_apart_and_has_its_advice(
    sandbox: SandboxProcess, data_dir: Path, case: str
) -> None:
    behaviour, fields, token, cause = CAUSES[case]
    now = int(time.time())
    account_file(
        data_dir,
        "ann",
        sandbox.grant(ANN),
        token={name: now + seconds for name, seconds in token.items()},
        **{name: now + seconds for name, seconds in fields.items()},
    )
    sandbox.script("raw", email=ANN, endpoint="token", times=None, **behaviour)
    with Gateway(data_dir, sandbox.url, POOL__RESCUE_S="0") as gateway:
        gateway.chat()
        wait_until(lambda: read_account(data_dir, "ann").get("disabled"), "disabled on disk")
        assert read_account(data_dir, "ann")["disabled_cause"] == cause
        shown = gateway.account("ann")
    assert (shown["state"], shown["cause"]) == ("disabled", cause)
    assert len(shown["advice"]["text"]) > 40
    assert shown["advice"]["url"].startswith("https://")
    assert ANN in shown["advice"]["command"]


def test_the_advice_of_different_causes_differs(sandbox: SandboxProcess, data_dir: Path) -> None:
    now = int(time.time())
    for case, (behaviour, fields, token, _) in CAUSES.items():
        email = f"{case}@example.com"
        account_file(
            data_dir,
            case,
            sandbox.grant(email),
            token={name: now + seconds for name, seconds in token.items()},
            **{name: now + seconds for name, seconds in fields.items()},
        )
        sandbox.script("raw", email=email, endpoint="token", times=None, **behaviour)
    with Gateway(data_dir, sandbox.url, POOL__RESCUE_S="0") as gateway:
        gateway.chat()
        items = gateway.admin("GET", "/api/accounts").json()["items"]
    texts = {item["cause"]: item["advice"]["text"] for item in items}
    assert set(texts) == {cause for *_, cause in CAUSES.values()}
    assert len(set(texts.values())) == len(texts) == 6


@pytest.mark.parametrize(
    "description",
    ["x" * 5000, "Grüße 😀" * 600, "e\u0301" * 1500, '"\\\n\t\x07' * 500],
    ids=["ascii", "emoji", "combining", "control"],
)
def test_an_oversized_reason_is_cut_at_800_characters_and_stays_valid(
    sandbox: SandboxProcess, data_dir: Path, people: People, description: str
) -> None:
    people("ann")
    sandbox.script("raw", endpoint="token", **death(error_description=description))
    with Gateway(data_dir, sandbox.url, POOL__RESCUE_S="0") as gateway:
        gateway.chat()
        wait_until(lambda: read_account(data_dir, "ann").get("disabled"), "disabled on disk")
    document = read_account(data_dir, "ann")
    reason = document["disabled_reason"]
    assert len(reason) == 800
    assert reason.startswith("invalid_grant: ")
    assert reason.endswith("…")
    reason.encode("utf-8")  # no half of a surrogate pair
    with Gateway(data_dir, sandbox.url) as gateway:
        assert gateway.ready()["reasons"] == {"disabled": 1}


def test_a_token_that_google_repeats_is_redacted_wherever_the_reason_shows(
    sandbox: SandboxProcess, data_dir: Path
) -> None:
    grant = sandbox.grant(ANN)
    account_file(data_dir, "ann", grant, token={"access_token": grant.access_token, "expiry_timestamp": 1})
    said = f"Refresh {grant.refresh_token} and access {grant.access_token} are of no use."
    sandbox.script("raw", endpoint="token", **death(error_description=said))
    with Gateway(data_dir, sandbox.url, POOL__RESCUE_S="0", LOG__LEVEL="debug") as gateway:
        answer: Answer = gateway.chat()
        wait_until(lambda: read_account(data_dir, "ann").get("disabled"), "disabled on disk")
        document = read_account(data_dir, "ann")
        seen = [
            document["disabled_reason"],
            json.dumps(document["history"]),
            json.dumps(gateway.account("ann")),
            json.dumps(gateway.admin("GET", "/api/accounts").json()),
            answer.body.decode(),
            gateway.stderr,
            (data_dir / "logs" / "regrant.log").read_text(),
            *(
                ended.stdout + ended.stderr
                for ended in (
                    regrant(data_dir, sandbox.url, "accounts", "show", ANN, "--json"),
                    regrant(data_dir, sandbox.url, "accounts", "export"),
                )
            ),
        ]
    for text in seen:
        assert grant.refresh_token not in text
        assert grant.access_token not in text
    assert re.fullmatch(
        r"invalid_grant: Refresh .+ and access .+ are of no use\.", document["disabled_reason"]
    )
