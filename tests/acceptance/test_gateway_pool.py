"""What the gateway does when Google refuses, fails or is slow: whom it asks next, and what the client is told."""

from __future__ import annotations

import socket
import time
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from tests.acceptance.harness import (
    MODEL,
    Answer,
    Gateway,
    People,
    account_file,
    chat_body,
    read_account,
    wait_until,
)
from tests.acceptance.wire import OPENAI_CHAT, arrived, asked, gemini_body, gemini_path, model_calls
from tests.sandbox_client import SandboxProcess

OTHER_MODEL = "gemini-2.5-flash"
GENERATE = gemini_path("generateContent")
STREAM = gemini_path("streamGenerateContent", query="alt=sse")


def attempts(answer: Answer) -> int:
    return int(answer.headers["x-regrant-attempts"])


def projects(sandbox: SandboxProcess, data_dir: Path, **owners: str) -> None:
    """Accounts in quota projects of their own choice: `projects(…, ann="one", bob="one")`."""
    for name, project in owners.items():
        sandbox.person(f"{name}@example.com", projects=[project])
        grant = sandbox.grant(f"{name}@example.com")
        account_file(data_dir, name, grant, fresh=True, project_id=project)


# -- quotas ------------------------------------------------------------------------------------------------------------


def test_a_limit_of_a_project_and_model_is_respected_by_exactly_that_project_and_model(
    sandbox: SandboxProcess, data_dir: Path
) -> None:
    projects(sandbox, data_dir, ann="one", bob="one", cara="two")
    with Gateway(data_dir, sandbox.url, POOL__STRATEGY="round_robin", POOL__MAX_WAIT_S="0") as gateway:
        sandbox.script("error", name="429_per_minute", project="one", model=MODEL, times=None)
        assert {gateway.served_by(str(number)) for number in range(4)} == {"cara"}
        of_one = [name for name in asked(sandbox) if name != "cara"]
        assert len(of_one) == 1, "one refusal is enough for every account of that project"

        before = sandbox.last_seq()
        for number in range(6):
            assert gateway.chat(str(number), model=OTHER_MODEL).status == 200
        assert set(asked(sandbox, before)) == {"ann", "bob", "cara"}


def test_all_cooling_is_429_with_the_time_that_google_named(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", "bob", fresh=True)
    with Gateway(data_dir, sandbox.url, POOL__MAX_WAIT_S="0") as gateway:
        sandbox.script("error", name="429_per_minute", endpoint="generate", retry_delay="37.2s")
        assert gateway.chat().status == 429  # ann and bob share the OAuth client's own project
        before = sandbox.last_seq()

        answer = gateway.chat()
        assert answer.status == 429
        assert 34 <= int(answer.headers["retry-after"]) <= 38
        error = answer.json()["error"]
        assert (error["type"], error["code"]) == ("rate_limit_exceeded", "rate_limit_exceeded")
        assert "2 cooling down" in error["message"]
        assert "@" not in error["message"]
        assert attempts(answer) == 0

        answer = gateway.call("POST", GENERATE, gemini_body())
        assert answer.status == 429
        error = answer.json()["error"]
        assert (error["code"], error["status"]) == (429, "RESOURCE_EXHAUSTED")
        [info] = [detail for detail in error["details"] if detail["@type"].endswith("google.rpc.RetryInfo")]
        assert 34 <= float(info["retryDelay"].removesuffix("s")) <= 37.2
        assert 34 <= int(answer.headers["retry-after"]) <= 38
        assert model_calls(sandbox, before) == [], "a cooling account is not asked"


def test_the_request_that_meets_the_limit_last_is_told_the_exact_time(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", fresh=True)
    with Gateway(data_dir, sandbox.url, POOL__MAX_WAIT_S="0") as gateway:
        sandbox.script("error", name="429_per_minute", endpoint="generate", retry_delay="37.2s")
        answer = gateway.chat()
        assert (answer.status, answer.headers["retry-after"], attempts(answer)) == (429, "38", 1)


def test_a_used_up_day_is_insufficient_quota_until_midnight_pacific(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", fresh=True)
    with Gateway(data_dir, sandbox.url) as gateway:
        sandbox.script("error", name="429_per_day", endpoint="generate")
        gateway.chat()
        answer = gateway.chat()
        now = datetime.now(ZoneInfo("America/Los_Angeles"))
        midnight = datetime.combine(now.date() + timedelta(days=1), datetime.min.time(), now.tzinfo)
        assert answer.status == 429
        assert answer.json()["error"]["type"] == "insufficient_quota"
        assert abs(int(answer.headers["retry-after"]) - (midnight.timestamp() - now.timestamp())) < 10
        assert gateway.chat(model=OTHER_MODEL).status == 200


def test_a_short_cool_down_is_waited_out(sandbox: SandboxProcess, data_dir: Path, people: People) -> None:
    people("ann", fresh=True)
    with Gateway(data_dir, sandbox.url) as gateway:
        sandbox.script("error", name="429_per_minute", endpoint="generate", retry_delay="1s")
        assert gateway.chat().status == 429
        started = time.monotonic()
        assert gateway.served_by() == "ann"
        assert time.monotonic() - started > 0.5


def test_cool_downs_survive_a_restart(sandbox: SandboxProcess, data_dir: Path, people: People) -> None:
    people("ann", fresh=True)
    sandbox.script("error", name="429_per_minute", endpoint="generate", retry_delay="60s")
    with Gateway(data_dir, sandbox.url, POOL__MAX_WAIT_S="0") as gateway:
        assert gateway.chat().status == 429
    before = sandbox.last_seq()
    with Gateway(data_dir, sandbox.url, POOL__MAX_WAIT_S="0") as gateway:
        answer = gateway.chat()
        assert answer.status == 429
        assert 30 < int(answer.headers["retry-after"]) <= 60
        assert model_calls(sandbox, before) == []


# -- Google fails ------------------------------------------------------------------------------------------------------


def test_overload_is_told_as_503_and_costs_two_calls(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", "bob", "cara", fresh=True)
    with Gateway(data_dir, sandbox.url) as gateway:
        sandbox.script("error", name="503_overloaded", endpoint="generate", times=None)
        answer = gateway.chat()
        assert answer.status == 503
        assert answer.json()["error"]["code"] == "upstream_unavailable"
        assert int(answer.headers["retry-after"]) >= 1
        assert len(model_calls(sandbox)) == 2
        assert gateway.chat(model=OTHER_MODEL).status == 503, "the script is for all models"
        assert gateway.ready()["ready"]


@pytest.mark.parametrize("fault", ["500", "502", "504"])
def test_a_failure_of_google_s_is_repeated_once_on_another_account(
    sandbox: SandboxProcess, data_dir: Path, people: People, fault: str
) -> None:
    people("ann", "bob", "cara", fresh=True)
    with Gateway(data_dir, sandbox.url) as gateway:
        sandbox.script("error", name=fault, endpoint="generate")
        answer = gateway.chat()
        assert (answer.status, attempts(answer)) == (200, 2)
        assert len(set(asked(sandbox))) == 2

        before = sandbox.last_seq()
        sandbox.script("error", name=fault, endpoint="generate", times=None)
        answer = gateway.chat()
        assert answer.status == (504 if fault == "504" else 502)
        assert answer.json()["error"]["code"] == "upstream_unavailable"
        assert len(set(asked(sandbox, before))) == 2
        assert len(asked(sandbox, before)) == 2


def test_a_reset_before_the_answer_is_repeated_once_on_another_account(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", "bob", "cara", fresh=True)
    with Gateway(data_dir, sandbox.url) as gateway:
        sandbox.script("reset", endpoint="generate")
        answer = gateway.chat()
        assert (answer.status, attempts(answer)) == (200, 2)
        before = sandbox.last_seq()
        sandbox.script("reset", endpoint="generate", times=None)
        answer = gateway.chat()
        assert (answer.status, attempts(answer)) == (502, 2)
        assert len(asked(sandbox, before)) == 2


@pytest.mark.parametrize(
    ("path", "body"),
    [(OPENAI_CHAT, chat_body("hi")), (OPENAI_CHAT, chat_body("hi", stream=True)), (GENERATE, gemini_body())],
    ids=["openai", "openai stream", "gemini"],
)
def test_an_answer_that_does_not_come_in_time_is_504_and_not_repeated(
    sandbox: SandboxProcess, data_dir: Path, people: People, path: str, body: object
) -> None:
    people("ann", "bob", fresh=True)
    with Gateway(data_dir, sandbox.url, POOL__DEADLINE_S="1") as gateway:
        sandbox.script("hang", endpoint="any", times=None)
        answer = gateway.call("POST", path, body)
        assert answer.status == 504
        assert len(model_calls(sandbox)) == 1
        wait_until(lambda: model_calls(sandbox)[0]["aborted"], "the upstream connection is closed")


def test_nothing_listening_is_502_and_the_next_request_is_served_when_it_does(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", "bob", fresh=True)
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # taken, and nobody accepts
        nobody = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        with Gateway(data_dir, sandbox.url, GOOGLE__ENDPOINTS__GEMINI=nobody) as gateway:
            for path, body in ((OPENAI_CHAT, chat_body("hi")), (GENERATE, gemini_body())):
                answer = gateway.call("POST", path, body)
                assert (answer.status, attempts(answer)) == (502, 2)
            assert gateway.ready()["ready"], "no account is to blame"


def test_a_dead_token_endpoint_is_503_and_no_account_is_to_blame(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", "bob")
    with Gateway(data_dir, sandbox.url) as gateway:
        sandbox.script("error", name="internal_failure", endpoint="token", times=None)
        answer = gateway.chat()
        assert answer.status == 503
        assert answer.json()["error"]["code"] == "upstream_unavailable"
        assert model_calls(sandbox) == []
        assert gateway.ready()["ready"]
        assert "disabled" not in read_account(data_dir, "ann")


# -- accounts are refused ----------------------------------------------------------------------------------------------


def test_a_refused_token_is_renewed_once_and_the_request_replayed_on_the_same_account(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", "bob", fresh=True)
    with Gateway(data_dir, sandbox.url) as gateway:
        first = gateway.served_by("same conversation")
        sandbox.expire(f"{first}@example.com")
        before = sandbox.last_seq()
        answer = gateway.chat("same conversation")
        assert (answer.status, attempts(answer)) == (200, 2)
        assert asked(sandbox, before) == [first, first]
        assert sandbox.token_calls(f"{first}@example.com") == 1


def test_a_401_that_stays_is_never_the_client_s(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", "bob", fresh=True)
    with Gateway(data_dir, sandbox.url) as gateway:
        sandbox.script("error", name="401", endpoint="generate", times=None)
        for path, body in ((OPENAI_CHAT, chat_body("hi")), (GENERATE, gemini_body())):
            assert gateway.call("POST", path, body).status in {429, 503}
        calls = asked(sandbox)
        assert sorted(calls) == ["ann", "ann", "bob", "bob"], "one replay each, then nobody is asked"


def test_a_403_needs_attention_and_the_next_account_serves(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", "bob", fresh=True)
    with Gateway(data_dir, sandbox.url) as gateway:
        first = gateway.served_by("same conversation")
        sandbox.script(
            "error", name="403_service_disabled", endpoint="generate", email=f"{first}@example.com"
        )
        answer = gateway.chat("same conversation")
        assert (answer.status, attempts(answer)) == (200, 2)
        wait_until(lambda: "attention" in read_account(data_dir, first), "attention is stored")
        stored = read_account(data_dir, first)["attention"]
        assert stored["code"]
        assert stored["url"].startswith("https://console.developers.google.com/apis/api/")
        assert "disabled" not in read_account(data_dir, first)
        before = sandbox.last_seq()
        gateway.chat("same conversation")
        assert first not in asked(sandbox, before)


@pytest.mark.parametrize(("name", "status"), [("400_invalid_argument", 400), ("404_model", 404)])
def test_the_client_s_own_mistakes_are_passed_on_and_blame_no_account(
    sandbox: SandboxProcess, data_dir: Path, people: People, name: str, status: int
) -> None:
    people("ann", "bob", fresh=True)
    with Gateway(data_dir, sandbox.url) as gateway:
        sandbox.script("error", name=name, endpoint="any", times=3)
        openai = gateway.chat()
        assert (openai.status, attempts(openai)) == (status, 1)
        assert openai.json()["error"]["type"] == "invalid_request_error"
        if status == 404:
            assert openai.json()["error"]["code"] == "model_not_found"
        for path in (GENERATE, STREAM):
            answer = gateway.call("POST", path, gemini_body())
            assert (answer.status, attempts(answer)) == (status, 1)
            assert answer.json()["error"]["code"] == status
        assert len(model_calls(sandbox)) == 3
        assert gateway.ready() == {"ready": True, "reasons": {}}
        for account in ("ann", "bob"):
            assert not {"disabled", "attention"} & read_account(data_dir, account).keys()


def test_max_attempts_counts_calls_to_the_model_and_not_dead_accounts(
    sandbox: SandboxProcess, data_dir: Path
) -> None:
    names = ["ann", "bob", "cara", "dora", "eve", "finn"]
    projects(sandbox, data_dir, **{name: f"project-{name}" for name in names})
    with Gateway(
        data_dir, sandbox.url, POOL__MAX_ATTEMPTS="2", POOL__MAX_WAIT_S="0", POOL__STRATEGY="round_robin"
    ) as gateway:
        sandbox.script("error", name="429_per_minute", endpoint="generate", times=None)
        answer = gateway.chat()
        assert (answer.status, attempts(answer)) == (429, 2)
        assert len(model_calls(sandbox)) == 2

        sandbox.unscript()
        for name in names[:5]:
            sandbox.revoke(f"{name}@example.com")
        # What is left: calls with dead tokens get 401, their refresh dies, and none of that counts.
        assert gateway.chat(model=OTHER_MODEL).status == 200


def test_refused_tokens_that_cannot_be_renewed_cost_no_more_calls_than_max_attempts(
    sandbox: SandboxProcess, data_dir: Path
) -> None:
    names = ["ann", "bob", "cara", "dora", "eve", "finn"]
    projects(sandbox, data_dir, **{name: f"project-{name}" for name in names})
    with Gateway(data_dir, sandbox.url, POOL__MAX_ATTEMPTS="2", POOL__MAX_WAIT_S="0") as gateway:
        for name in names:
            sandbox.expire(f"{name}@example.com")
        sandbox.script("error", name="internal_failure", endpoint="token", times=None)
        assert gateway.chat().status == 503
        assert len(model_calls(sandbox)) == 2


# -- whose turn --------------------------------------------------------------------------------------------------------


def test_sticky_keeps_a_conversation_on_its_account(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", "bob", "cara", "dora", fresh=True)
    turns = [{"role": "system", "content": "Be kind."}]
    with Gateway(data_dir, sandbox.url) as gateway:
        for number in range(4):
            turns += [{"role": "user", "content": f"turn {number}"}]
            answer = gateway.chat(messages=turns)
            turns += [{"role": "assistant", "content": answer.text}]
        assert len(set(asked(sandbox))) == 1

        before = sandbox.last_seq()
        for number in range(24):
            gateway.chat(f"conversation {number}")
        assert len(set(asked(sandbox, before))) >= 3

        before = sandbox.last_seq()
        for number in range(6):
            gateway.chat(f"anything {number}", {"x-session-id": "one session"})
        assert len(set(asked(sandbox, before))) == 1


def test_round_robin_gives_every_account_its_turn(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", "bob", "cara", fresh=True)
    with Gateway(data_dir, sandbox.url, POOL__STRATEGY="round_robin") as gateway:
        for _ in range(6):
            assert gateway.chat("the same").status == 200
        calls = asked(sandbox)
        assert sorted(calls[:3]) == ["ann", "bob", "cara"]
        assert calls[3:] == calls[:3]


def test_no_account_is_503_that_names_the_next_step(sandbox: SandboxProcess, data_dir: Path) -> None:
    with Gateway(data_dir, sandbox.url) as gateway:
        answer = gateway.chat()
        assert answer.status == 503
        error = answer.json()["error"]
        assert (error["type"], error["code"]) == ("server_error", "no_accounts")
        assert "regrant accounts add" in error["message"]
        answer = gateway.call("POST", GENERATE, gemini_body())
        assert (answer.status, answer.json()["error"]["status"]) == (503, "UNAVAILABLE")
        answer = gateway.call("GET", "/readyz")
        assert (answer.status, answer.json()) == (503, {"ready": False, "reasons": {}})
        assert gateway.call("GET", "/v1/models").status == 503


def test_dead_accounts_are_counted_by_cause_without_their_names(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", "bob")
    with Gateway(data_dir, sandbox.url) as gateway:
        sandbox.revoke("ann@example.com")
        sandbox.revoke("bob@example.com")
        for path, body in ((OPENAI_CHAT, chat_body("hi")), (GENERATE, gemini_body())):
            answer = gateway.call("POST", path, body)
            assert answer.status == 503
            assert b"2 disabled" in answer.body
            assert b"@" not in answer.body
        assert gateway.ready() == {"ready": False, "reasons": {"disabled": 2}}
        assert sandbox.token_calls() == 2


# -- every answer ------------------------------------------------------------------------------------------------------


def test_every_answer_says_its_id_its_model_and_its_attempts(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", fresh=True)
    with Gateway(data_dir, sandbox.url) as gateway:
        answers = [
            (gateway.chat(), 200, MODEL, 1),
            (gateway.chat(stream=True), 200, MODEL, 1),
            (gateway.call("POST", GENERATE, gemini_body()), 200, MODEL, 1),
            (gateway.call("POST", STREAM, gemini_body()), 200, MODEL, 1),
            (gateway.call("POST", gemini_path("countTokens"), gemini_body()), 200, MODEL, 1),
            (gateway.call("POST", OPENAI_CHAT, b"{"), 400, "", 0),
            (gateway.chat(model="nobody-knows"), 404, "", 0),
            (gateway.call("GET", "/v1/models"), 200, "", 0),
            (gateway.call("GET", "/v1/models/nope"), 404, "", 0),
            (gateway.call("GET", "/healthz"), 200, "", 0),
            (gateway.call("GET", "/readyz"), 200, "", 0),
            (gateway.call("HEAD", "/"), 200, "", 0),
            (gateway.call("GET", "/nope"), 404, "", 0),
            (gateway.call("DELETE", OPENAI_CHAT), 405, "", 0),
            (gateway.call("GET", "/healthz", None, {"host": "evil.example"}), 403, "", 0),
        ]
        ids = [answer.headers["x-request-id"] for answer, *_ in answers]
        assert all(ids)
        assert len(set(ids)) == len(ids)
        for answer, status, model, count in answers:
            assert answer.status == status, answer
            assert answer.headers["x-regrant-model"] == model
            assert answer.headers["x-regrant-attempts"] == str(count)


def test_an_account_that_dies_under_way_costs_the_client_nothing(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", "bob", fresh=True)
    with Gateway(data_dir, sandbox.url) as gateway:
        first = gateway.served_by("same conversation")
        sandbox.revoke(f"{first}@example.com")
        answer = gateway.chat("same conversation")
        assert answer.status == 200
        assert wait_until(lambda: read_account(data_dir, first).get("disabled"), "the death is stored")
        arrived(sandbox, "token")
        assert sandbox.token_calls() == 1
