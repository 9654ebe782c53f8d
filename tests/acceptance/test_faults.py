"""Each answer of Google's over real sockets: who is asked next, what rests, what the owner is told, and how it ends by itself."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path

import pytest
from tests.acceptance.harness import (
    MODEL,
    Gateway,
    Json,
    People,
    account_file,
    at_once,
    read_account,
    regrant,
    wait_until,
)
from tests.acceptance.wire import asked, model_calls
from tests.sandbox_client import SandboxProcess
from tests.upstream.recorded import CALL, CASES, Case

from regrant.upstream.faults import Remedy, Scope

ANN = "ann@example.com"
PLAYED = [case for case in CASES if case.listed and case.call == CALL]
"""Those that a first answer shows; a second 401 and Vertex have tests of their own."""


def in_own_projects(sandbox: SandboxProcess, data_dir: Path, *names: str) -> None:
    """Accounts with live tokens, each in a project of its own."""
    for name in names:
        project = f"project-{name}"
        sandbox.person(f"{name}@example.com", projects=[project])
        grant = sandbox.grant(f"{name}@example.com")
        account_file(data_dir, name, grant, fresh=True, project_id=project)


def play(sandbox: SandboxProcess, case: Case) -> None:
    """The next call of the model API is answered with the recorded body."""
    headers = {name.decode(): value.decode() for name, value in case.headers}
    if isinstance(case.body, bytes):
        sandbox.script(
            "raw", endpoint="generate", status=case.status, headers=headers, body=case.body.decode()
        )
    else:
        sandbox.script("raw", endpoint="generate", status=case.status, headers=headers, json=case.body)


def held(gateway: Gateway, account_id: str) -> list[tuple[str, str]]:
    """The cool-downs that the account's owner sees, as (model, why)."""
    return [(one["model"], one["why"]) for one in gateway.account(account_id)["cooldowns"]]


def clear_all(gateway: Gateway) -> None:
    answer = gateway.admin("POST", "/api/pool/clear", {"all": True})
    assert answer.status == 200, answer.body


def test_each_answer_of_googles_is_met_as_the_page_of_faults_says(
    sandbox: SandboxProcess, data_dir: Path
) -> None:
    in_own_projects(sandbox, data_dir, "ann", "bob", "cara")
    with Gateway(data_dir, sandbox.url, POOL__STRATEGY="round_robin") as gateway:
        for case in PLAYED:
            meet(sandbox, gateway, case)
        assert len(PLAYED) > 30
        assert gateway.ready() == {"ready": True, "reasons": {}}


def meet(sandbox: SandboxProcess, gateway: Gateway, case: Case) -> None:
    before = sandbox.last_seq()
    play(sandbox, case)
    answer = gateway.chat(case.says)
    called = asked(sandbox, before)
    match case.remedy:
        case Remedy.GIVE_UP | Remedy.MEND:
            assert answer.status == case.status, (case.says, answer)
            assert len(called) == 1, case.says
        case Remedy.REFRESH:
            assert answer.status == 200, (case.says, answer)
            assert called == [called[0]] * 2, case.says
        case _:
            assert answer.status == 200, (case.says, answer)
            assert len(set(called)) == len(called) == 2, case.says
    first = called[0]
    expected = [] if case.scope is None or case.scope is Scope.MODEL else [case.kind.value]
    if case.attention is None:
        assert [why for _, why in held(gateway, first)] == expected, case.says
        assert "attention" not in gateway.account(first), case.says
    else:
        needs_attention(gateway, first, case)
    clear_all(gateway)
    assert held(gateway, first) == []


def needs_attention(gateway: Gateway, account_id: str, case: Case) -> None:
    wait_until(lambda: "attention" in gateway.account(account_id), f"{case.says}: attention is stored")
    shown = gateway.account(account_id)
    assert shown["attention"]["code"] == case.attention, case.says
    assert shown["attention"]["message"]
    assert case.url in shown["attention"]["url"]
    assert shown["attention"]["since"] > 0
    assert shown["state"] == "attention"
    assert gateway.admin("POST", f"/api/accounts/{account_id}/verify").json()["outcome"] == "alive"
    wait_until(lambda: gateway.account(account_id)["state"] == "active", f"{case.says}: back after verify")


# -- attention ends by itself ----------------------------------------------------------------------------------------------


def chat_until(gateway: Gateway, over: float) -> int:
    """Chats without a pause until that monotonic time; every one must be answered. How many."""
    count = 0
    while time.monotonic() < over:
        answer = gateway.chat(f"number {count}")
        assert answer.status == 200, answer.body
        count += 1
    return count


def test_an_account_that_a_person_mends_comes_back_by_itself_without_being_hammered(
    sandbox: SandboxProcess, data_dir: Path
) -> None:
    in_own_projects(sandbox, data_dir, "ann", "bob")
    refusal = sandbox.script("error", name="403_service_disabled", email=ANN, endpoint="generate", times=None)
    settings: Json = {
        "POOL__STRATEGY": "round_robin",
        "POOL__ATTENTION_RETRY_S": "1",
        "POOL__SLOW_START_S": "0",
    }
    with Gateway(data_dir, sandbox.url, **settings) as gateway:
        chat_until(gateway, time.monotonic() + 5)
        assert gateway.account("ann")["state"] == "attention"
        refused = [entry for entry in model_calls(sandbox) if entry["email"] == ANN]
        assert 2 <= len(refused) <= 4, "at first, after one second, after two more"
        since = read_account(data_dir, "ann")["attention"]["since"]
        assert since <= refused[0]["at"] + 1, "the same attention all the time"

        sandbox.unscript(refusal)
        before = sandbox.last_seq()
        wait_until(
            lambda: (
                chat_until(gateway, time.monotonic() + 0.05) and "attention" not in gateway.account("ann")
            ),
            "the first success ends the attention",
        )
        assert asked(sandbox, before).count("ann") >= 1
        assert "ann" in {gateway.served_by(f"again {number}") for number in range(4)}
        wait_until(lambda: "attention" not in read_account(data_dir, "ann"), "it is stored")
        history = [event["event"] for event in read_account(data_dir, "ann")["history"]]
        assert history == ["attention", "attention_ended"]
        assert held(gateway, "ann") == []
    assert sandbox.token_calls(ANN) == 0, "nobody had to verify"


def test_a_project_whose_billing_is_mended_comes_back_with_all_its_accounts(
    sandbox: SandboxProcess, data_dir: Path
) -> None:
    for name, project in (("ann", "one"), ("bob", "one")):
        sandbox.person(f"{name}@example.com", projects=[project])
        account_file(data_dir, name, sandbox.grant(f"{name}@example.com"), fresh=True, project_id=project)
    sandbox.script("error", name="402", endpoint="generate", times=1)
    with Gateway(data_dir, sandbox.url, POOL__ATTENTION_RETRY_S="1", POOL__MAX_WAIT_S="0") as gateway:
        assert gateway.chat().status == 503
        before = sandbox.last_seq()
        assert gateway.chat().status == 503, "both accounts are of that project"
        assert model_calls(sandbox, before) == []
        wait_until(
            lambda: gateway.chat().status == 200, "one request finds that it was topped up", every_s=0.1
        )
        wait_until(lambda: gateway.ready() == {"ready": True, "reasons": {}}, "both are back")
        assert held(gateway, "bob") == []


def test_a_restricted_account_needs_attention_after_a_fresh_token_was_refused_too(
    sandbox: SandboxProcess, data_dir: Path
) -> None:
    in_own_projects(sandbox, data_dir, "ann", "bob")
    sandbox.script("error", name="401_account_state", email=ANN, endpoint="generate", times=None)
    with Gateway(data_dir, sandbox.url, POOL__STRATEGY="round_robin") as gateway:
        assert {gateway.served_by(str(number)) for number in range(4)} == {"bob"}
        wait_until(lambda: gateway.account("ann")["state"] == "attention", "ann needs her owner")
        assert gateway.account("ann")["attention"]["code"] == "account_state"
    assert asked(sandbox).count("ann") == 2
    assert sandbox.token_calls(ANN) == 1


# -- one tries first -------------------------------------------------------------------------------------------------------


def test_after_a_guessed_cool_down_one_request_tries_and_a_crowd_waits(
    sandbox: SandboxProcess, data_dir: Path
) -> None:
    sandbox.person(ANN, projects=["project-ann"])
    grant = sandbox.grant(ANN)
    account_file(data_dir, "ann", grant, fresh=True, project_id="project-ann", upstream="vertex")
    with Gateway(data_dir, sandbox.url, POOL__MAX_WAIT_S="0") as gateway:
        sandbox.script("error", name="429_vertex", endpoint="generate")
        assert gateway.chat().status == 429
        wait_until(lambda: held(gateway, "ann") == [], "the guess is over")

        before = sandbox.last_seq()
        sandbox.script("error", name="429_vertex", endpoint="generate", delay=1.0)
        statuses = at_once([lambda number=number: gateway.chat(f"crowd {number}") for number in range(12)])  # type: ignore[misc]
        assert {answer.status for answer in statuses} == {429}
        assert len(model_calls(sandbox, before)) == 1
        assert all(1 <= int(answer.headers["retry-after"]) <= 5 for answer in statuses)

        [cooldown] = gateway.account("ann")["cooldowns"]
        assert cooldown["until"] > time.time() + 0.5, "longer the second time"
        wait_until(lambda: held(gateway, "ann") == [], "the second guess is over")
        assert gateway.chat("works again").status == 200
        everybody = at_once([lambda: gateway.chat("all").status] * 6)
        assert everybody == [200] * 6


# -- shared, lasting, and ended by hand ------------------------------------------------------------------------------------


def test_two_processes_share_cool_downs_and_one_word_ends_them_in_both(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", fresh=True)
    with (
        Gateway(data_dir, sandbox.url, POOL__MAX_WAIT_S="0") as one,
        Gateway(data_dir, sandbox.url, POOL__MAX_WAIT_S="0") as two,
    ):
        for end in (by_api, by_command):
            assert two.chat().status == 200
            sandbox.script("error", name="429_per_minute", endpoint="generate", retry_delay="60s")
            assert one.chat().status == 429
            wait_until(
                lambda: held(two, "ann") == [(MODEL, "rate_limited")], "the other process knows", deadline_s=5
            )
            before = sandbox.last_seq()
            answer = two.chat()
            assert (answer.status, answer.headers["x-regrant-attempts"]) == (429, "0")
            assert 50 < int(answer.headers["retry-after"]) <= 60
            assert model_calls(sandbox, before) == []

            end(one, sandbox)
            for gateway in (one, two):
                wait_until(lambda gateway=gateway: held(gateway, "ann") == [], "ended", deadline_s=5)  # type: ignore[misc]
            assert (one.chat().status, two.chat().status) == (200, 200)


def by_api(gateway: Gateway, _: SandboxProcess) -> None:
    answer = gateway.admin("POST", "/api/pool/clear", {"model": MODEL})
    assert (answer.status, answer.json()) == (200, {"cleared": 1})


def by_command(gateway: Gateway, sandbox: SandboxProcess) -> None:
    ended = regrant(gateway.data_dir, sandbox.url, "accounts", "resume", ANN, "--cooldowns")
    assert ended.returncode == 0, ended.stderr
    assert "cool-down" in ended.stdout


def test_cool_downs_survive_kill_9_and_can_be_ended_while_no_gateway_runs(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", fresh=True)
    settings: Json = {"POOL__MAX_WAIT_S": "0"}
    with Gateway(data_dir, sandbox.url, **settings) as gateway:
        sandbox.script("error", name="429_per_day", endpoint="generate")
        assert gateway.chat().status == 429
        wait_until(
            lambda: shown_by_command(sandbox, data_dir) == ["quota_per_day"], "it is stored", every_s=0.2
        )
        gateway.kill()
    before = sandbox.last_seq()
    with Gateway(data_dir, sandbox.url, **settings) as gateway:
        answer = gateway.chat()
        assert answer.status == 429
        assert answer.json()["error"]["type"] == "insufficient_quota"
        assert model_calls(sandbox, before) == []
        message = answer.json()["error"]["message"]
        seconds = int(answer.headers["retry-after"])
        assert " h" in message if seconds > 7200 else " min" in message or " s" in message
    assert regrant(data_dir, sandbox.url, "accounts", "resume", ANN, "--cooldowns").returncode == 0
    with Gateway(data_dir, sandbox.url, **settings) as gateway:
        assert gateway.chat().status == 200


def shown_by_command(sandbox: SandboxProcess, data_dir: Path) -> list[str]:
    ended = regrant(data_dir, sandbox.url, "accounts", "show", ANN, "--json")
    shown: Json = json.loads(ended.stdout)
    return [one["why"] for one in shown["cooldowns"]]


@pytest.mark.parametrize(
    "order", [{}, {"account": ANN, "model": MODEL}, {"all": False}, {"everything": True}], ids=str
)
def test_clearing_wants_to_know_what(
    sandbox: SandboxProcess, data_dir: Path, people: People, order: Json
) -> None:
    people("ann", fresh=True)
    with Gateway(data_dir, sandbox.url) as gateway:
        assert gateway.admin("POST", "/api/pool/clear", order).status in {400, 422}
        assert gateway.admin("POST", "/api/pool/clear", {"account": "nobody@example.com"}).status == 404


# -- a project is refused --------------------------------------------------------------------------------------------------


def test_a_refused_project_costs_one_call_however_many_accounts_share_it(
    sandbox: SandboxProcess, data_dir: Path
) -> None:
    for name in [f"a{number}" for number in range(6)]:
        sandbox.person(f"{name}@example.com", projects=["shared"])
        grant = sandbox.grant(f"{name}@example.com")
        account_file(data_dir, name, grant, fresh=True, project_id="shared")
    in_own_projects(sandbox, data_dir, "zoe")
    sandbox.script("error", name="403_service_disabled", project="shared", endpoint="generate", times=None)
    with Gateway(data_dir, sandbox.url, POOL__STRATEGY="round_robin", POOL__MAX_ATTEMPTS="2") as gateway:
        for number in range(12):
            assert gateway.served_by(str(number)) == "zoe"
        assert len(asked(sandbox)) == 12 + 6, "each owner is told, and each request loses one call at most"
        assert gateway.ready()["reasons"] == {"attention": 6}


def test_an_endpoint_that_cannot_be_reached_costs_one_request_a_second_call_and_the_next_ones_nothing(
    sandbox: SandboxProcess, data_dir: Path
) -> None:
    project = "project-bob"
    sandbox.person("bob@example.com", projects=[project])
    grant = sandbox.grant("bob@example.com")
    account_file(data_dir, "bob", grant, fresh=True, upstream="vertex", location="global", project_id=project)
    in_own_projects(sandbox, data_dir, "ann")
    with socket.socket() as unused:  # bound and never listening: connections to it are refused
        unused.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with Gateway(
            data_dir, sandbox.url, GOOGLE__ENDPOINTS__GEMINI=nowhere, POOL__STRATEGY="round_robin"
        ) as gateway:
            answers = [gateway.chat(f"number {number}") for number in range(6)]
            assert {answer.status for answer in answers} == {200}
            attempts = [int(answer.headers["x-regrant-attempts"]) for answer in answers]
            assert sorted(attempts)[:4] == [1, 1, 1, 1]
            assert max(attempts) == 2, "ann's endpoint was tried and found out of reach"
