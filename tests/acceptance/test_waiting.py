"""When nobody is free: who waits, for how long, in which order, and what the others are told."""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.acceptance.harness import (
    Answer,
    Gateway,
    People,
    account_file,
    at_once,
    chat_body,
    http_call,
    wait_until,
)
from tests.acceptance.wire import asked, model_calls
from tests.sandbox_client import SandboxProcess


def cool(sandbox: SandboxProcess, gateway: Gateway, seconds: float) -> None:
    """Let the gateway learn that the accounts' project is at its limit for so long."""
    sandbox.script("error", name="429_per_minute", endpoint="generate", retry_delay=f"{seconds}s")
    assert gateway.chat("meets the limit").status == 429


def waiting(gateway: Gateway) -> int:
    found = gateway.admin("GET", "/api/pool").json()["waiting"]
    assert isinstance(found, int)
    return found


def test_nobody_waits_while_another_account_is_free(sandbox: SandboxProcess, data_dir: Path) -> None:
    for name in ("ann", "bob"):
        sandbox.person(f"{name}@example.com", projects=[name])
        account_file(data_dir, name, sandbox.grant(f"{name}@example.com"), fresh=True, project_id=name)
    with Gateway(data_dir, sandbox.url, POOL__STRATEGY="fill_first", POOL__MAX_WAIT_S="30") as gateway:
        sandbox.script("error", name="429_per_minute", project="ann", retry_delay="20s")
        started = time.monotonic()
        answers = at_once([gateway.chat] * 8)
        assert [answer.status for answer in answers] == [200] * 8
        assert time.monotonic() - started < 10


def test_a_wait_that_is_too_long_is_answered_at_once_with_its_exact_end(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", fresh=True)
    with Gateway(data_dir, sandbox.url, POOL__MAX_WAIT_S="4") as gateway:
        cool(sandbox, gateway, 30)
        started = time.monotonic()
        answer = gateway.chat()
        assert answer.status == 429
        assert 25 <= int(answer.headers["retry-after"]) <= 30
        assert time.monotonic() - started < 3


def test_the_client_s_own_deadline_bounds_the_wait(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", fresh=True)
    with Gateway(data_dir, sandbox.url, POOL__MAX_WAIT_S="30") as gateway:
        cool(sandbox, gateway, 8)
        for header in ("x-stainless-timeout", "x-server-timeout"):
            started = time.monotonic()
            answer = gateway.chat("hurry", {header: "3"})
            assert answer.status == 429
            assert int(answer.headers["retry-after"]) <= 8
            assert time.monotonic() - started < 2.5
        assert gateway.chat("patient", {"x-stainless-timeout": "600"}).status == 200


def test_the_client_s_own_deadline_bounds_the_answer(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", fresh=True)
    with Gateway(data_dir, sandbox.url) as gateway:
        sandbox.script("slow", seconds=8, endpoint="generate")
        started = time.monotonic()
        assert gateway.chat("hurry", {"x-stainless-timeout": "1"}).status == 504
        assert time.monotonic() - started < 6


def test_the_refusal_counts_the_accounts_by_reason(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", "bob", "cara", fresh=True)
    account_file(data_dir, "dead", sandbox.grant("dead@example.com"))
    sandbox.revoke("dead@example.com")
    with Gateway(data_dir, sandbox.url, POOL__MAX_WAIT_S="0") as gateway:
        assert gateway.admin("POST", "/api/accounts/dead/verify").json()["outcome"] == "dead"
        assert gateway.admin("POST", "/api/accounts/cara/pause", {}).status == 200
        cool(sandbox, gateway, 40)
        answer = gateway.chat()
        assert answer.status == 429
        said = answer.json()["error"]["message"]
        for words in ("2 cooling down", "1 disabled", "1 paused"):
            assert words in said, said
        assert 35 <= int(answer.headers["retry-after"]) <= 40


def test_a_crowd_is_let_loose_by_and_by_on_an_account_that_comes_back(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    """The limit has not ended after all: the first refusal stops the crowd, of which hardly anybody was sent."""
    people("ann", fresh=True)
    with Gateway(data_dir, sandbox.url, POOL__MAX_WAIT_S="20") as gateway:
        cool(sandbox, gateway, 3)
        sandbox.script("error", name="429_per_minute", endpoint="generate", retry_delay="300s", times=None)
        before = sandbox.last_seq()
        answers = at_once([gateway.chat] * 16)
        assert [answer.status for answer in answers] == [429] * 16
        assert all(int(answer.headers["retry-after"]) > 250 for answer in answers)
        assert len(asked(sandbox, before)) <= 3


def test_everyone_of_a_crowd_is_served_in_the_end_in_the_order_of_arrival(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", fresh=True)
    with Gateway(data_dir, sandbox.url, POOL__MAX_WAIT_S="20") as gateway:
        cool(sandbox, gateway, 4)
        before = sandbox.last_seq()
        with ThreadPoolExecutor(8) as threads:
            asking = []
            for number in range(8):
                asking.append(threads.submit(gateway.chat, f"number {number}"))
                wait_until(lambda: waiting(gateway) == len(asking), "one more waits", every_s=0.02)
            answers: list[Answer] = [one.result(30) for one in asking]
        assert [answer.status for answer in answers] == [200] * 8
        calls = model_calls(sandbox, before)
        numbers = [next(n for n in range(8) if f"number {n}" in str(call["body"])) for call in calls]
        assert numbers[0] == 0
        assert numbers[1] in {1, 2}  # two at once from now on: which arrives first is the network's matter
        assert max(abs(place - number) for place, number in enumerate(numbers)) <= 4
        assert waiting(gateway) == 0


def test_a_client_that_leaves_gives_up_its_place(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", fresh=True)
    with Gateway(data_dir, sandbox.url, POOL__MAX_WAIT_S="30") as gateway:
        cool(sandbox, gateway, 25)
        before = sandbox.last_seq()
        with ThreadPoolExecutor(1) as threads:

            def leave_early() -> None:
                with contextlib.suppress(TimeoutError):
                    http_call(gateway.url, "POST", "/v1/chat/completions", chat_body("gone"), timeout_s=2.0)

            leaving = threads.submit(leave_early)
            wait_until(lambda: waiting(gateway) == 1, "it waits", every_s=0.05)
            leaving.result(10)
        wait_until(lambda: waiting(gateway) == 0, "its place is free again", every_s=0.05)
        assert asked(sandbox, before) == []
