"""One incident per cause: told once, among processes and across restarts, and closed by the first success."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path

import pytest
from tests.acceptance.harness import (
    Gateway,
    Json,
    People,
    account_file,
    at_once,
    hand_edit,
    log_records,
    read_account,
    regrant,
    wait_until,
)
from tests.sandbox_client import CLIENT_ID, CLIENT_SECRET, SandboxProcess

ANN, BOB = "ann@example.com", "bob@example.com"
HOUR_S = 3600


def eager(data_dir: Path, sandbox: SandboxProcess) -> Gateway:
    """A gateway that refuses requests at once when nobody can serve."""
    return Gateway(data_dir, sandbox.url, POOL__RESCUE_S="0", POOL__MAX_WAIT_S="0")


def incidents(gateway: Gateway, kind: str = "", *, only_open: bool = False) -> list[Json]:
    answer = gateway.admin("GET", f"/api/incidents?open={'true' if only_open else 'false'}")
    assert answer.status == 200, answer.body
    items: list[Json] = answer.json()["items"]
    return [one for one in items if not kind or one["kind"] == kind]


def told(data_dir: Path, what: str, kind: str = "") -> list[Json]:
    """What was told to people, by all processes: the log says it when listeners are told."""
    return [one for one in log_records(data_dir, f"incident_{what}") if not kind or one["kind"] == kind]


def wait_told(data_dir: Path, what: str, kind: str, count: int = 1) -> None:
    wait_until(lambda: len(told(data_dir, what, kind)) >= count, f"{kind} {what}", deadline_s=30)
    assert len(told(data_dir, what, kind)) == count


def kill(gateway: Gateway, sandbox: SandboxProcess, name: str) -> None:
    """The grant is revoked, and the gateway finds out."""
    sandbox.revoke(f"{name}@example.com")
    gateway.admin("POST", f"/api/accounts/{name}/verify")
    assert gateway.account(name)["state"] == "disabled"


def revive(gateway: Gateway, sandbox: SandboxProcess, name: str) -> None:
    grant = sandbox.grant(f"{name}@example.com")
    answer = gateway.admin("POST", "/api/accounts", {"refresh_token": grant.refresh_token})
    assert answer.json()["outcome"] == "recovered", answer.body


def test_a_mass_failure_is_one_incident_and_batch_verify_brings_back_exactly_those_that_live(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    names = ("ann", "bob", "cara", "dan")
    people(*names)
    for name in names:
        sandbox.script("error", name="invalid_grant", endpoint="token", email=f"{name}@example.com")
    sandbox.revoke("dan@example.com")
    with eager(data_dir, sandbox) as gateway:
        assert gateway.chat().status == 503
        [mass] = incidents(gateway, "mass_failure")
        assert sorted(mass["accounts"]) == sorted(names)
        assert (mass["client_id"], mass["cause"], mass["until"]) == (CLIENT_ID, "revoked", None)
        assert incidents(gateway, "account_died") == []
        wait_told(data_dir, "opened", "mass_failure")
        assert gateway.chat().status == 503
        wait_until(lambda: incidents(gateway, "pool_empty")[0]["requests"] == 2, "both were refused")

        undo = gateway.admin(
            "POST", "/api/accounts/batch", {"action": "verify", "ids": mass["accounts"]}
        ).json()["results"]
        assert {one["id"]: one["ok"] for one in undo} == {
            "ann": True,
            "bob": True,
            "cara": True,
            "dan": False,
        }
        assert gateway.chat().status == 200
        assert [one["id"] for one in incidents(gateway, only_open=True)] == [mass["id"]]
        revive(gateway, sandbox, "dan")
        assert incidents(gateway, only_open=True) == []
        wait_told(data_dir, "closed", "mass_failure")

        [over] = incidents(gateway, "mass_failure")
        assert over["id"] == mass["id"]
        assert over["length_s"] == over["until"] - over["since"]
        assert over["requests"] == 1  # the first: the second one met nobody to fail with
        assert "touched 1 request" in told(data_dir, "closed", "mass_failure")[0]["message"]
    assert told(data_dir, "opened", "account_died") == []
    assert len(told(data_dir, "opened", "mass_failure")) == 1


def test_a_restart_announces_nothing_twice_and_ends_what_was_open(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", "bob", "cara")
    with Gateway(data_dir, sandbox.url) as gateway:
        kill(gateway, sandbox, "ann")
        wait_told(data_dir, "opened", "account_died")
        before = incidents(gateway)
        gateway.kill()
    with Gateway(data_dir, sandbox.url) as gateway:
        assert [one["id"] for one in incidents(gateway)] == [one["id"] for one in before]
        kill(gateway, sandbox, "bob")
        wait_told(data_dir, "opened", "account_died", 2)
        revive(gateway, sandbox, "ann")
        wait_told(data_dir, "closed", "account_died")
    ids = [one["incident"] for one in told(data_dir, "opened")]
    assert len(ids) == len(set(ids)) == 2
    assert told(data_dir, "closed")[0]["incident"] == before[0]["id"]


def test_a_death_that_was_not_told_before_the_end_is_told_after_the_restart(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", "bob")
    with Gateway(data_dir, sandbox.url) as gateway:
        kill(gateway, sandbox, "ann")
    assert told(data_dir, "opened") == []
    with Gateway(data_dir, sandbox.url):
        wait_told(data_dir, "opened", "account_died")


def test_two_processes_tell_once_count_together_and_the_survivor_takes_over(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", "bob", "cara")
    with eager(data_dir, sandbox) as one, eager(data_dir, sandbox) as two:
        kill(two, sandbox, "ann")
        wait_told(data_dir, "opened", "account_died")
        wait_until(lambda: incidents(two, "account_died"), "the other shows it too")
        for name in ("bob", "cara"):
            for gateway in (one, two):
                gateway.admin("POST", f"/api/accounts/{name}/pause")
        wait_until(lambda: incidents(two, "pool_empty"), "nobody serves")
        statuses = at_once([lambda g=g: g.chat().status for g in (one, two, one, two)])  # type: ignore[misc]
        assert statuses == [503] * 4
        for gateway in (one, two):
            wait_until(
                lambda g=gateway: incidents(g, "pool_empty")[0]["requests"] == 4,  # type: ignore[misc]
                "counted together",
            )
        wait_told(data_dir, "opened", "pool_empty")
        one.kill()
        two.admin("POST", "/api/accounts/bob/resume")
        wait_told(data_dir, "closed", "pool_empty")
        assert "touched 4 requests" in told(data_dir, "closed", "pool_empty")[0]["message"]
        revive(two, sandbox, "ann")
        wait_told(data_dir, "closed", "account_died")
    for what in ("opened", "closed"):
        assert sorted(one["kind"] for one in told(data_dir, what)) == ["account_died", "pool_empty"]


def test_an_empty_pool_is_told_with_its_reasons_and_so_is_its_return(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", "bob")
    with eager(data_dir, sandbox) as gateway:
        gateway.admin("POST", "/api/accounts/bob/pause")
        sandbox.revoke(ANN)
        assert gateway.chat().status == 503
        [empty] = incidents(gateway, "pool_empty", only_open=True)
        assert "1 disabled, 1 paused" in empty["title"]
        wait_told(data_dir, "opened", "pool_empty")
        gateway.admin("POST", "/api/accounts/bob/resume")
        assert gateway.served_by() == "bob"
        wait_told(data_dir, "closed", "pool_empty")
        wait_until(lambda: incidents(gateway, "pool_empty")[0]["requests"] == 1, "the one that was refused")
        assert incidents(gateway, "account_died", only_open=True)[0]["requests"] == 1


def test_a_broken_oauth_client_is_one_incident_until_the_first_success(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", "bob", "cara")
    with eager(data_dir, sandbox) as gateway:
        sandbox.client(CLIENT_ID, CLIENT_SECRET, state="disabled")
        assert gateway.chat().status >= 500
        [broken] = incidents(gateway, "client_broken", only_open=True)
        assert broken["client_id"] == CLIENT_ID
        wait_told(data_dir, "opened", "client_broken")
        sandbox.client(CLIENT_ID, CLIENT_SECRET, state="ok")
        gateway.admin("POST", "/api/accounts/bob/verify")
        assert incidents(gateway, "client_broken", only_open=True) == []
        wait_told(data_dir, "closed", "client_broken")
        [over] = incidents(gateway, "client_broken")
        assert over["requests"] == 1
    assert told(data_dir, "opened", "account_died") == []


def test_attention_is_an_incident_that_a_success_ends(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", "bob")
    with Gateway(data_dir, sandbox.url) as gateway:
        first = gateway.served_by()
        sandbox.script("error", name="403_scope", endpoint="generate", email=f"{first}@example.com")
        assert gateway.served_by() != first
        wait_until(lambda: incidents(gateway, "attention", only_open=True), "somebody is needed")
        [needed] = incidents(gateway, "attention")
        assert needed["accounts"] == [first]
        assert needed["advice"]["text"]
        wait_told(data_dir, "opened", "attention")
        wait_until(lambda: incidents(gateway, "attention")[0]["requests"] == 1, "it was served by another")
        gateway.admin("POST", f"/api/accounts/{first}/verify")
        assert incidents(gateway, only_open=True) == []
        wait_told(data_dir, "closed", "attention")


def known_end(data_dir: Path) -> int:
    """When ann's grant will end, by her file."""
    return int(read_account(data_dir, "ann")["token"]["refresh_token_expires_at"])


def ends_in(sandbox: SandboxProcess, data_dir: Path, seconds: float) -> int:
    end = int(time.time() + seconds)
    account_file(
        data_dir,
        "ann",
        sandbox.grant(ANN),
        fresh=True,
        token={"refresh_token_expires_at": end, "consented_at": end - 7 * 24 * HOUR_S},
    )
    return end


def test_a_known_end_is_told_at_48_hours_and_at_6_hours_once_each(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("bob")
    end = ends_in(sandbox, data_dir, 48 * HOUR_S + 8)
    with Gateway(data_dir, sandbox.url) as gateway:
        assert gateway.account("ann")["expires_hint"] == end
        assert incidents(gateway) == []
        wait_told(data_dir, "opened", "will_die")
        [coming] = incidents(gateway, "will_die")
        assert (coming["accounts"], coming["cause"]) == (["ann"], "testing_expired")
        assert time.time() >= end - 48 * HOUR_S
    nearer = int(time.time()) + 6 * HOUR_S + 15

    def move(document: Json) -> None:
        document["token"]["refresh_token_expires_at"] = nearer

    hand_edit(data_dir, "ann", move)
    with Gateway(data_dir, sandbox.url) as gateway:
        assert [one["id"] for one in incidents(gateway)] == [coming["id"]]
        assert told(data_dir, "updated") == []
        wait_told(data_dir, "updated", "will_die")
        assert time.time() >= nearer - 6 * HOUR_S
        assert "6 hours" in incidents(gateway, "will_die")[0]["title"]
        grant = sandbox.grant(ANN)
        gateway.admin("POST", "/api/accounts", {"refresh_token": grant.refresh_token})
        hand_edit(
            data_dir,
            "ann",
            lambda document: document["token"].update(refresh_token_expires_at=int(time.time()) + 10**6),
        )
        wait_told(data_dir, "closed", "will_die")
    assert len(told(data_dir, "opened")) == 1
    assert "grant ends" in regrant(data_dir, sandbox.url, "accounts", "show", "ann").stdout
    end_day = time.strftime("%Y-%m-%d", time.localtime(known_end(data_dir)))
    [row] = [
        line
        for line in regrant(data_dir, sandbox.url, "accounts", "list").stdout.splitlines()
        if line.startswith(ANN)
    ]
    assert end_day in row


def test_a_start_with_five_hours_left_tells_one_notice(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("bob", "cara")
    ends_in(sandbox, data_dir, 5 * HOUR_S)
    for turn in range(2):
        with Gateway(data_dir, sandbox.url) as gateway:
            kill(gateway, sandbox, ("bob", "cara")[turn])
            wait_told(data_dir, "opened", "account_died", turn + 1)  # so much time has passed
    assert [one["message"].partition(".")[0] for one in told(data_dir, "opened", "will_die")]
    assert len(told(data_dir, "opened", "will_die")) == 1
    assert told(data_dir, "updated") == []


def test_an_account_that_cannot_be_stored_is_an_incident_until_it_is(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", "bob")
    with Gateway(data_dir, sandbox.url) as gateway:
        obstacle = data_dir / "locks" / "ann.write.lock"
        obstacle.unlink(missing_ok=True)
        obstacle.mkdir()
        sandbox.revoke(ANN)
        gateway.admin("POST", "/api/accounts/ann/verify")
        wait_until(lambda: incidents(gateway, "not_persisted", only_open=True), "not stored")
        wait_told(data_dir, "opened", "not_persisted")
        obstacle.rmdir()
        wait_told(data_dir, "closed", "not_persisted")
        assert gateway.account("ann")["persisted"] is True


class WrongDates(http.server.BaseHTTPRequestHandler):
    """A token endpoint whose clock is `behind_s` behind this machine's: this machine is ahead of Google."""

    behind_s = 7200

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        body = json.dumps({"access_token": f"access-{time.time()}", "expires_in": 3600}).encode()
        self.send_response_only(200)
        self.send_header("date", formatdate(time.time() - self.behind_s, usegmt=True))
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST  # noqa: N815 - the name that http.server calls

    def log_message(self, *_: object) -> None:
        """Quiet."""


@contextmanager
def token_endpoint(behind_s: int) -> Iterator[str]:
    handler = type("Handler", (WrongDates,), {"behind_s": behind_s})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/token"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(("behind_s", "says"), [(7200, "ahead of"), (-7200, "behind")])
def test_a_wrong_clock_is_measured_told_and_does_no_harm_to_tokens(
    sandbox: SandboxProcess, data_dir: Path, people: People, behind_s: int, says: str
) -> None:
    people("ann")
    with (
        token_endpoint(behind_s) as url,
        Gateway(data_dir, sandbox.url, GOOGLE__ENDPOINTS__TOKEN=url) as gateway,
    ):
        gateway.admin("POST", "/api/accounts/ann/verify")
        wait_told(data_dir, "opened", "clock_skew")
        [wrong] = incidents(gateway, "clock_skew")
        assert says in wrong["title"]
        clock = gateway.admin("GET", "/api/status").json()["clock"]
        assert abs(clock["ahead_s"] - behind_s) < 5
        assert 0 <= clock["age_s"] < 60
        ann = gateway.account("ann")
        assert ann["freshness"] == "fresh"
        assert 3590 < ann["token_expires_at"] - time.time() <= 3601
