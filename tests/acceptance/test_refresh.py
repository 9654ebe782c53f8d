"""One refresh however many wait for it; whose client leaves, whose account is removed, whose token is refused."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import struct
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.acceptance.gate import Gate
from tests.acceptance.harness import (
    Answer,
    Gateway,
    People,
    account_file,
    at_once,
    chat_body,
    read_account,
    wait_until,
)
from tests.sandbox_client import SandboxProcess

ANN = "ann@example.com"
BOB = "bob@example.com"


def started(gateway: Gateway, text: str) -> http.client.HTTPConnection:
    """A chat completion that was sent and whose answer nobody has read yet."""
    parts = urlsplit(gateway.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    connection.request(
        "POST", "/v1/chat/completions", json.dumps(chat_body(text)), {"content-type": "application/json"}
    )
    return connection


def established(gateway: Gateway) -> int:
    """How many clients have a connection to the gateway, as the system knows it."""
    port = f":{urlsplit(gateway.url).port:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(port) and row[3] == "01" for row in rows)


def abandon(connection: http.client.HTTPConnection) -> None:
    """The client is gone at once: its connection is reset."""
    assert connection.sock is not None
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def test_fifty_concurrent_requests_on_an_expired_token_cause_one_refresh(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann")
    sandbox.script("slow", endpoint="token", seconds=0.5)
    with Gateway(data_dir, sandbox.url) as gateway:
        answers = at_once([lambda n=number: gateway.chat(f"number {n}") for number in range(50)])  # type: ignore[misc]
        assert {answer.status for answer in answers} == {200}
    assert sandbox.token_calls() == 1
    assert sandbox.counts()["endpoints"]["generate"] == 50


def test_one_failure_of_the_token_endpoint_is_outlasted_by_a_crowd(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann")
    sandbox.script("error", name="500", endpoint="token")
    with Gateway(data_dir, sandbox.url) as gateway:
        answers = at_once([lambda n=number: gateway.chat(f"number {n}") for number in range(30)])  # type: ignore[misc]
        assert {answer.status for answer in answers} == {200}
    assert sandbox.token_calls() == 2


def test_a_refresh_that_hangs_holds_no_request_while_another_account_is_ready(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann")
    people("bob", fresh=True)
    with (
        Gate(sandbox.url) as gate,
        Gateway(
            data_dir, sandbox.url, GOOGLE__ENDPOINTS__TOKEN=gate.url, POOL__STRATEGY="round_robin"
        ) as gateway,
    ):
        answers = [gateway.chat(f"number {number}") for number in range(3)]
        gate.wait()  # ann's refresh began, and nothing has let it end
        assert {answer.status for answer in answers} == {200}
        assert {"Bob" in answer.text for answer in answers} == {True}
        gate.open()


def test_a_token_endpoint_that_stays_away_is_told_in_bounded_time(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann")
    sandbox.script("error", name="500", endpoint="token", times=None)
    with Gateway(data_dir, sandbox.url, POOL__MAX_WAIT_S="2") as gateway:
        answer = gateway.chat("hello")
        assert answer.status == 503
        assert answer.json()["error"]["code"] == "upstream_unavailable"
    assert sandbox.token_calls() <= 3


def test_a_client_that_leaves_does_not_cancel_the_refresh_that_it_started(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann")
    sandbox.script("rotate", endpoint="token")
    with (
        Gate(sandbox.url) as gate,
        Gateway(data_dir, sandbox.url, GOOGLE__ENDPOINTS__TOKEN=gate.url) as gateway,
    ):
        before = read_account(data_dir, "ann")["token"]["refresh_token"]
        connection = started(gateway, "I shall not wait")
        gate.wait()
        abandon(connection)
        gateway.ready()  # a moment for the gateway to notice
        gate.open()
        wait_until(lambda: read_account(data_dir, "ann")["token"].get("access_token"), "the answer is stored")
        after = read_account(data_dir, "ann")["token"]["refresh_token"]
        assert after != before, "the rotated refresh token is not lost"
        [entry] = sandbox.journal(endpoint="token")
        assert not entry["aborted"]
        assert gateway.served_by() == "ann"
    assert sandbox.token_calls() == 1


def test_one_of_many_waiting_clients_leaves_and_the_others_are_served(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann")
    with (
        Gate(sandbox.url) as gate,
        Gateway(data_dir, sandbox.url, GOOGLE__ENDPOINTS__TOKEN=gate.url) as gateway,
    ):
        leaving = [started(gateway, f"leaving {number}") for number in range(5)]
        gate.wait()
        staying = [started(gateway, f"staying {number}") for number in range(5)]
        for connection in leaving:
            abandon(connection)
        wait_until(lambda: established(gateway) == 5, "the gateway has seen them leave")
        gate.open()
        for connection in staying:
            with contextlib.closing(connection):
                assert connection.getresponse().status == 200
    assert sandbox.token_calls() == 1
    texts = [entry["body"] for entry in sandbox.journal(endpoint="generate")]
    assert all("staying" in text for text in texts)
    assert len(texts) == 5


@pytest.mark.parametrize("late", ["alive", "dead", "rotated"])
@pytest.mark.parametrize("by", ["api", "hand"])
def test_an_account_removed_while_a_request_waits_for_it_stays_removed_and_another_serves(
    sandbox: SandboxProcess, data_dir: Path, people: People, late: str, by: str
) -> None:
    people("ann")
    people("bob", fresh=True)
    if late == "dead":
        sandbox.revoke(ANN)
    if late == "rotated":
        sandbox.script("rotate", email=ANN, endpoint="token")
    with (
        Gate(sandbox.url) as gate,
        Gateway(
            data_dir, sandbox.url, POOL__STRATEGY="round_robin", GOOGLE__ENDPOINTS__TOKEN=gate.url
        ) as gateway,
    ):

        def remove() -> Answer:
            gate.wait()
            if by == "hand":
                (data_dir / "accounts" / "ann.json").unlink()
                wait_until(lambda: gateway.admin("GET", "/api/accounts/ann").status == 404, "gone")
            else:
                assert gateway.admin("DELETE", "/api/accounts/ann").status == 204
            gate.open()
            return gateway.chat("and afterwards?")

        for served in at_once([lambda: gateway.chat("for whom?"), remove]):
            assert served.status == 200
            assert served.text.startswith("Hello from Bob")
        gateway.stop()
    assert [path.name for path in (data_dir / "accounts").glob("*.json")] == ["bob.json"]
    assert sandbox.token_calls(ANN) == 1
    assert not sandbox.journal(endpoint="generate", email=ANN)


def test_a_refused_access_token_is_refreshed_once_and_the_request_replayed_on_the_same_account(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", "bob", fresh=True)
    sandbox.expire(ANN)
    with Gateway(data_dir, sandbox.url, POOL__STRATEGY="round_robin") as gateway:
        assert gateway.served_by("who?") == "ann"
    assert sandbox.token_calls(ANN) == 1
    assert sandbox.token_calls(BOB) == 0
    statuses = [entry["status"] for entry in sandbox.journal(endpoint="generate")]
    assert statuses == [401, 200]


def test_a_second_401_after_the_forced_refresh_rotates_to_another_account(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", "bob", fresh=True)
    sandbox.script("error", name="401", email=ANN, endpoint="generate", times=2)
    with Gateway(data_dir, sandbox.url, POOL__STRATEGY="round_robin") as gateway:
        answer = gateway.chat("who?")
        assert answer.status == 200
        assert answer.text.startswith("Hello from Bob")
    assert sandbox.token_calls(ANN) == 1
    calls = [(entry["email"], entry["status"]) for entry in sandbox.journal(endpoint="generate")]
    assert calls == [(ANN, 401), (ANN, 401), (BOB, 200)]
    assert "disabled" not in read_account(data_dir, "ann")


def test_a_401_of_google_is_never_handed_on(sandbox: SandboxProcess, data_dir: Path, people: People) -> None:
    people("ann", fresh=True)
    sandbox.script("error", name="401", endpoint="generate", times=None)
    with Gateway(data_dir, sandbox.url, POOL__RESCUE_S="0") as gateway:
        answer = gateway.chat("who?")
        assert answer.status == 503
        assert answer.json()["error"]["code"] == "no_accounts"
        assert "1 in need of attention" in answer.json()["error"]["message"]
        assert gateway.ready()["reasons"].get("disabled") is None
    assert sandbox.token_calls(ANN) == 1
    assert "disabled" not in read_account(data_dir, "ann")


def test_many_requests_refused_with_401_at_once_share_one_forced_refresh(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", fresh=True)
    sandbox.expire(ANN)
    sandbox.script("slow", endpoint="token", seconds=0.3)
    with Gateway(data_dir, sandbox.url) as gateway:
        answers = at_once([lambda: gateway.chat("hello") for _ in range(30)])
        assert {answer.status for answer in answers} == {200}
    assert sandbox.token_calls(ANN) == 1


def test_a_late_401_about_the_old_access_token_does_not_reject_the_new_one(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", fresh=True)
    sandbox.script("error", name="401", endpoint="generate", delay=2.0)
    with Gateway(data_dir, sandbox.url) as gateway:
        with contextlib.closing(started(gateway, "the late one")) as late:
            sandbox.wait_for(lambda entry: True, endpoint="generate")
            sandbox.expire(ANN)
            assert gateway.served_by("the early one") == "ann"
            assert sandbox.token_calls(ANN) == 1
            assert late.getresponse().status == 200
    assert sandbox.token_calls(ANN) == 1


CROWD = [f"person{number}" for number in range(10)]


@pytest.mark.parametrize("fresh", [False, True], ids=["access_tokens_expired", "access_tokens_refused"])
def test_a_hundred_requests_on_ten_accounts_of_which_nine_are_revoked_all_succeed(
    sandbox: SandboxProcess, data_dir: Path, people: People, *, fresh: bool
) -> None:
    people(*CROWD, fresh=fresh)
    for name in CROWD[:-1]:
        sandbox.revoke(f"{name}@example.com")
    with Gateway(data_dir, sandbox.url) as gateway:
        answers = at_once([lambda n=number: gateway.chat(f"number {n}") for number in range(100)])  # type: ignore[misc]
        assert [answer.status for answer in answers] == [200] * 100
        assert all(answer.text.startswith("Hello from Person9") for answer in answers)
        # Those whom no conversation has met yet are found out by later ones: every account is asked, none twice.
        number = iter(range(100, 1000))

        def all_met() -> bool:
            assert gateway.chat(f"number {next(number)}").status == 200
            return bool(gateway.ready()["reasons"] == {"disabled": 9})

        wait_until(all_met, "nine are disabled", deadline_s=20)
        gateway.stop()
    calls = {name: sandbox.token_calls(f"{name}@example.com") for name in CROWD}
    assert calls == dict.fromkeys(CROWD, 1) | ({CROWD[-1]: 0} if fresh else {})
    for name in CROWD[:-1]:
        assert read_account(data_dir, name)["disabled_reason"].startswith("invalid_grant: ")
    assert len(gateway.log("account_disabled")) == 9


def test_a_rotated_refresh_token_is_stored_before_its_access_token_is_used(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    grants = people("ann")
    sandbox.script("rotate", endpoint="token")
    with Gateway(data_dir, sandbox.url) as gateway:
        sandbox.script("hang", endpoint="generate")
        connection = started(gateway, "hold on")
        sandbox.wait_for(lambda entry: True, endpoint="generate")
        token = read_account(data_dir, "ann")["token"]
        assert token["refresh_token"] != grants["ann"].refresh_token
        assert token["access_token"]
        abandon(connection)
        gateway.kill()
    sandbox.expire(ANN)
    with Gateway(data_dir, sandbox.url) as gateway:
        assert gateway.served_by() == "ann", "the rotated token survived kill -9"


def test_reloads_under_load_never_show_an_empty_pool(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    """Files are rewritten, renamed over and touched, all accounts at once, while clients call and readiness is polled."""
    names = ("ann", "bob", "cara")
    grants = people(*names, fresh=True)
    over = threading.Event()
    with Gateway(data_dir, sandbox.url) as gateway:

        def edit() -> int:
            rounds = 0
            while not over.is_set():
                rounds += 1
                for name in names:
                    account_file(data_dir, name, grants[name], fresh=True, label=f"round {rounds}")
                (data_dir / "config.toml").write_text(f"[traffic]\nkeep_days = {1 + rounds % 30}\n")
                over.wait(0.02)
            return rounds

        def call() -> int:
            for number in range(60):
                answer = gateway.chat(f"number {number}")
                assert answer.status == 200, answer.body
            return 0

        def poll() -> int:
            seen = 0
            while not over.is_set():
                assert gateway.ready() == {"ready": True, "reasons": {}}
                seen += 1
            return seen

        def work() -> int:
            try:
                at_once([call, call, call])
                time.sleep(0.6)  # for one more look at the settings
            finally:
                over.set()
            return 0

        rounds, seen, _ = at_once([edit, poll, work])
        assert rounds > 5
        assert seen > 5
        wait_until(
            lambda: gateway.account("cara")["label"] == f"round {rounds}", "the last edit was taken in"
        )
    assert sandbox.token_calls() == 0
