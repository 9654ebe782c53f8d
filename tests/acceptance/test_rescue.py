"""In-flight rescue: the last account died, requests wait, somebody signs in, and they finish."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.acceptance.harness import Answer, Gateway, Json, People, regrant, wait_until
from tests.acceptance.wire import asked
from tests.sandbox_client import SandboxProcess

ANN = "ann@example.com"


def bury(gateway: Gateway, sandbox: SandboxProcess) -> None:
    """Ann was the last account."""
    sandbox.revoke(ANN)
    assert gateway.admin("POST", "/api/accounts/ann/verify").json()["outcome"] == "dead"


def sign_in(gateway: Gateway, sandbox: SandboxProcess) -> Answer:
    return gateway.admin("POST", "/api/accounts", {"refresh_token": sandbox.grant(ANN).refresh_token})


def pool(gateway: Gateway) -> Json:
    found: Json = gateway.admin("GET", "/api/pool").json()
    return found


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as executor:
        yield executor


class Events:
    """The owner's event stream."""

    def __init__(self, gateway: Gateway) -> None:
        parts = urlsplit(gateway.url)
        token = (gateway.data_dir / "admin.token").read_text().strip()
        self._connection = HTTPConnection(parts.hostname or "", parts.port, timeout=20)
        self._connection.request("GET", "/api/events", headers={"authorization": f"Bearer {token}"})
        self._answer: HTTPResponse = self._connection.getresponse()

    def next_waiting(self) -> Json:
        """The data of the next `waiting` event; the socket's time-out bounds the wait."""
        name = ""
        while True:
            line = self._answer.readline().decode().rstrip("\n")
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: ") and name == "waiting":
                data: Json = json.loads(line.removeprefix("data: "))
                return data

    def close(self) -> None:
        self._answer.close()
        self._connection.close()


def test_three_requests_wait_for_the_owner_are_told_of_and_finish_when_she_signs_in(
    sandbox: SandboxProcess, data_dir: Path, people: People, threads: ThreadPoolExecutor
) -> None:
    people("ann", fresh=True)
    with Gateway(data_dir, sandbox.url, POOL__RESCUE_S="60") as gateway:
        bury(gateway, sandbox)
        before = sandbox.last_seq()
        events = Events(gateway)
        asking: list[Future[Answer]] = [threads.submit(gateway.chat, f"wait {n}") for n in range(3)]
        told = events.next_waiting()
        while told["waiting_for_you"] < 3:
            told = events.next_waiting()
        assert told == {"waiting": 3, "waiting_for_you": 3, "message": "3 requests are waiting for you"}
        seen = pool(gateway)
        assert (seen["can_serve"], seen["waiting"], seen["waiting_for_you"]) == (False, 3, 3)
        assert "waiting for you" in gateway.messages("requests_waiting")[0]

        examined = regrant(data_dir, sandbox.url, "doctor")
        assert "3 requests are waiting for you" in examined.stdout
        assert "regrant accounts reauth" in examined.stdout

        started = time.monotonic()
        assert sign_in(gateway, sandbox).json()["outcome"] == "recovered"
        answers = [one.result(30) for one in asking]
        assert [answer.status for answer in answers] == [200] * 3
        assert time.monotonic() - started < 10
        assert asked(sandbox, before) == ["ann"] * 3
        while told["waiting_for_you"]:
            told = events.next_waiting()
        assert told["message"] == "no request is waiting for you any more"
        events.close()
        assert pool(gateway)["waiting"] == 0
        examined = regrant(data_dir, sandbox.url, "doctor")
        assert "waiting for you" not in examined.stdout


def test_a_client_with_a_short_deadline_is_told_at_once(
    sandbox: SandboxProcess, data_dir: Path, people: People, threads: ThreadPoolExecutor
) -> None:
    people("ann", fresh=True)
    with Gateway(data_dir, sandbox.url, POOL__RESCUE_S="20") as gateway:
        bury(gateway, sandbox)
        started = time.monotonic()
        for header in ("x-stainless-read-timeout", "x-stainless-timeout", "x-server-timeout"):
            answer = gateway.chat("hurry", {header: "15"})
            assert (answer.status, answer.json()["error"]["code"]) == (503, "no_accounts")
        assert time.monotonic() - started < 6
        patient = threads.submit(gateway.chat, "patient", {"x-stainless-timeout": "600"})
        wait_until(lambda: pool(gateway)["waiting_for_you"] == 1, "it waits", every_s=0.05)
        sign_in(gateway, sandbox)
        assert patient.result(20).status == 200


def test_nobody_waits_for_a_person_unless_the_owner_wants_it(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", fresh=True)
    with Gateway(data_dir, sandbox.url) as gateway:
        bury(gateway, sandbox)
        started = time.monotonic()
        assert gateway.chat().status == 503
        assert time.monotonic() - started < 5


def test_the_wait_for_a_person_is_bounded(sandbox: SandboxProcess, data_dir: Path, people: People) -> None:
    people("ann", fresh=True)
    with Gateway(data_dir, sandbox.url, POOL__RESCUE_S="1.5") as gateway:
        bury(gateway, sandbox)
        started = time.monotonic()
        answer = gateway.chat()
        assert (answer.status, answer.json()["error"]["code"]) == (503, "no_accounts")
        assert 1.2 < time.monotonic() - started < 12
        assert pool(gateway)["waiting"] == 0
