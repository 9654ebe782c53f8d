"""Who is told when an account dies: real gateways, real webhook receivers that verify signatures with code of their own."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.harness import Gateway, People, log_records, regrant, wait_until
from tests.notify.receiver import Post, Receiver, Reply, is_genuine
from tests.sandbox_client import SandboxProcess

WORD = "pretend-signing-word"


def told(url: str, **options: Any) -> str:
    """`NOTIFY__WEBHOOKS` with one webhook; its path must show up nowhere."""
    return json.dumps([{"url": f"{url}/pretend-path", "secret": WORD, "name": "team", **options}])


def re_add(data_dir: Path, sandbox: SandboxProcess, email: str) -> None:
    """Somebody signs in again: a new grant from Google replaces the dead one."""
    fresh = sandbox.grant(email)
    done = regrant(
        data_dir, sandbox.url, "accounts", "add", "--refresh-token-file", "-", stdin=fresh.refresh_token
    )
    assert done.returncode == 0, done.stderr


def ann_dies(sandbox: SandboxProcess, gateway: Gateway) -> None:
    """Her grant is revoked, and the gateway finds out."""
    sandbox.revoke("ann@example.com")
    assert gateway.admin("POST", "/api/accounts/ann/verify").json()["outcome"] == "dead"


def deaths(post: Post) -> bool:
    return post.json.get("event") == "account_died"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port: int = reserved.getsockname()[1]
    return port


def phases(posts: list[Post]) -> list[tuple[str, str]]:
    return [(post.json["event"], post.json["phase"]) for post in posts]


def test_a_death_is_told_once_and_its_end_with_length_and_requests(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", "bob")
    with (
        Receiver() as receiver,
        Gateway(data_dir, sandbox.url, NOTIFY__WEBHOOKS=told(receiver.url)) as gateway,
    ):
        sandbox.revoke("ann@example.com")
        for number in range(4):
            assert gateway.served_by(f"hello {number}") == "bob"
        [opened] = receiver.wait_for(1, where=deaths)
        document = opened.json
        assert (document["event"], document["phase"]) == ("account_died", "opened")
        assert "ann@example.com" in document["title"]
        assert document["cause"] == "revoked"
        assert document["emails"] == ["ann@example.com"]
        assert "regrant accounts reauth ann@example.com" in document["command"]
        assert document["until"] is None
        re_add(data_dir, sandbox, "ann@example.com")
        _, closed = receiver.wait_for(2, where=deaths)
        assert closed.json["phase"] == "closed"
        assert closed.json["incident"] == document["incident"]
        assert "back" in closed.json["title"]
        assert closed.json["length_s"] == closed.json["until"] - closed.json["since"]
        assert 0 <= closed.json["since"] <= closed.json["until"] <= time.time()
        assert closed.json["requests"] >= 1
    assert phases([post for post in receiver.posts if deaths(post)]) == [
        ("account_died", "opened"),
        ("account_died", "closed"),
    ]
    assert all(is_genuine(post, WORD) for post in receiver.posts)
    assert len({post.id for post in receiver.posts}) == len(receiver.posts)
    assert "pretend" not in (data_dir / "logs" / "regrant.log").read_text() + gateway.stderr
    assert log_records(data_dir, "alert_delivered")


def test_an_empty_pool_is_told_and_that_it_is_back(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann")
    with (
        Receiver() as receiver,
        Gateway(data_dir, sandbox.url, NOTIFY__WEBHOOKS=told(receiver.url, events=["pool_empty"])) as gateway,
    ):
        sandbox.revoke("ann@example.com")
        assert gateway.chat().status == 503
        [opened] = receiver.wait_for(1)
        assert opened.json["event"] == "pool_empty"
        re_add(data_dir, sandbox, "ann@example.com")
        _, closed = receiver.wait_for(2)
        assert closed.json["title"].startswith("The pool is back")
        assert gateway.served_by() == "ann"
    assert phases(receiver.posts) == [("pool_empty", "opened"), ("pool_empty", "closed")]


def test_a_broken_oauth_client_is_one_alert_and_nobody_died(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    grants = people("ann", "bob", "cid")
    client = grants["ann"]
    with (
        Receiver() as receiver,
        Gateway(data_dir, sandbox.url, NOTIFY__WEBHOOKS=told(receiver.url)) as gateway,
    ):
        sandbox.client(client.client_id, client.client_secret, state="deleted")
        gateway.chat()
        receiver.wait_for(1, where=lambda post: post.json["event"] == "client_broken")
        sandbox.client(client.client_id, client.client_secret, state="ok")
        wait_until(lambda: gateway.chat().status == 200 or None, "requests are served again", deadline_s=60)
        receiver.wait_for(2, where=lambda post: post.json["event"] == "client_broken", deadline_s=60)
    found = phases(receiver.posts)
    assert found.count(("client_broken", "opened")) == found.count(("client_broken", "closed")) == 1
    assert "account_died" not in dict(found)


def test_alerts_survive_a_receiver_that_is_down_and_a_restart_in_between(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", "bob")
    port = free_port()
    hook = told(f"http://127.0.0.1:{port}", events=["account_died"])
    with Gateway(data_dir, sandbox.url, NOTIFY__WEBHOOKS=hook) as gateway:
        ann_dies(sandbox, gateway)
        assert gateway.served_by() == "bob"
        wait_until(lambda: gateway.log("alert_delayed"), "the receiver is found down")
    with Gateway(data_dir, sandbox.url, NOTIFY__WEBHOOKS=hook) as gateway:
        re_add(data_dir, sandbox, "ann@example.com")
        wait_until(lambda: gateway.log("incident_closed"), "the incident is over")
    with Receiver(port=port) as receiver, Gateway(data_dir, sandbox.url, NOTIFY__WEBHOOKS=hook) as gateway:
        receiver.wait_for(2)
        assert phases(receiver.posts) == [("account_died", "opened"), ("account_died", "closed")]
        wait_until(lambda: len(gateway.log("alert_delivered")) == 2, "both are settled")
    assert len(receiver.posts) == 2


def test_what_a_killed_process_could_not_send_another_sends_once(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", "bob")
    port = free_port()
    hook = told(f"http://127.0.0.1:{port}", events=["account_died"])
    with (
        Gateway(data_dir, sandbox.url, NOTIFY__WEBHOOKS=hook) as first,
        Gateway(data_dir, sandbox.url, NOTIFY__WEBHOOKS=hook) as second,
    ):
        ann_dies(sandbox, first)
        assert first.served_by() == "bob"
        wait_until(lambda: first.log("alert_delayed"), "the receiver is found down")
        first.kill()
        with Receiver(port=port) as receiver:
            receiver.wait_for(1, deadline_s=60)
            wait_until(lambda: second.log("alert_delivered"), "it is settled")
            assert phases(receiver.posts) == [("account_died", "opened")]


def test_two_processes_send_one_alert(sandbox: SandboxProcess, data_dir: Path, people: People) -> None:
    people("ann", "bob")
    with Receiver() as receiver:
        hook = told(receiver.url, events=["account_died"])
        with (
            Gateway(data_dir, sandbox.url, NOTIFY__WEBHOOKS=hook) as first,
            Gateway(data_dir, sandbox.url, NOTIFY__WEBHOOKS=hook) as second,
        ):
            ann_dies(sandbox, first)
            assert first.served_by() == second.served_by() == "bob"
            receiver.wait_for(1)
            re_add(data_dir, sandbox, "ann@example.com")
            receiver.wait_for(2)
            wait_until(lambda: first.account("ann")["state"] == "active", "the first knows that she is back")
            wait_until(
                lambda: second.account("ann")["state"] == "active", "the second knows that she is back"
            )
    assert phases(receiver.posts) == [("account_died", "opened"), ("account_died", "closed")]


def test_a_receiver_that_does_not_answer_delays_no_request(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann", "bob")
    hold = threading.Event()
    with Receiver(Reply(hold=hold)) as slow, Receiver() as quick:
        webhooks = [*json.loads(told(slow.url)), *json.loads(told(quick.url, name="quick"))]
        with Gateway(data_dir, sandbox.url, NOTIFY__WEBHOOKS=json.dumps(webhooks)) as gateway:
            ann_dies(sandbox, gateway)
            assert gateway.served_by() == "bob"
            slow.wait_for(1)
            quick.wait_for(1, where=deaths)
            for number in range(20):
                assert gateway.served_by(f"meanwhile {number}") == "bob"
            assert len(slow.posts) == 1, "it has not answered, and every request was served"
            hold.set()


def test_a_mass_failure_is_one_alert(sandbox: SandboxProcess, data_dir: Path, people: People) -> None:
    names = ["ann", "bob", "cid", "dan"]
    people(*names)
    hook = {"events": ["account_died", "mass_failure"]}
    with (
        Receiver() as receiver,
        Gateway(data_dir, sandbox.url, NOTIFY__WEBHOOKS=told(receiver.url, **hook)) as gateway,
    ):
        for name in names:
            sandbox.revoke(f"{name}@example.com")
        order = {"action": "verify", "ids": names}
        assert gateway.admin("POST", "/api/accounts/batch", order).status == 200
        [post] = receiver.wait_for(1)
        assert post.json["event"] == "mass_failure"
        assert sorted(post.json["accounts"]) == names
        assert "verify" in post.json["command"]
        for name in names:
            re_add(data_dir, sandbox, f"{name}@example.com")
        receiver.wait_for(2, deadline_s=40)
    assert phases(receiver.posts) == [("mass_failure", "opened"), ("mass_failure", "closed")]


def test_a_grant_that_will_die_is_told_and_a_new_one_ends_it(sandbox: SandboxProcess, data_dir: Path) -> None:
    with (
        Receiver() as receiver,
        Gateway(data_dir, sandbox.url, NOTIFY__WEBHOOKS=told(receiver.url)) as gateway,
    ):
        short = sandbox.grant("ann@example.com", refresh_token_expires_in=40 * 3600)
        added = gateway.admin("POST", "/api/accounts", {"refresh_token": short.refresh_token})
        assert added.status == 201, added.body
        [opened] = receiver.wait_for(1, where=lambda post: post.json["event"] == "will_die")
        assert "ann@example.com" in opened.json["title"]
        assert "48 hours" in opened.json["title"]
        sandbox.settings("ann@example.com", refresh_token_expires_in=None)
        re_add(data_dir, sandbox, "ann@example.com")
        _, closed = receiver.wait_for(2, where=lambda post: post.json["event"] == "will_die")
        assert closed.json["phase"] == "closed"


def test_alerts_take_the_way_through_the_proxy(sandbox: SandboxProcess, data_dir: Path) -> None:
    hook = json.dumps(["http://ntfy.lan/pretend-topic"])
    with (
        Receiver() as proxy,
        Gateway(data_dir, sandbox.url, NOTIFY__WEBHOOKS=hook, NETWORK__PROXY=proxy.url) as gateway,
    ):
        [result] = gateway.admin("POST", "/api/notify/test").json()["results"]
        assert (result["ok"], result["format"]) == (True, "ntfy")
    [post] = proxy.posts
    assert post.path == "http://ntfy.lan/", "a proxy is asked with the whole address"
    assert post.json["topic"] == "pretend-topic"


SHAPES: Mapping[str, set[str]] = {
    "slack": {"text"},
    "discord": {"content", "allowed_mentions"},
    "ntfy": {"topic", "title", "message", "priority", "tags", "click"},
}


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_each_receiver_is_told_in_its_own_shape(
    sandbox: SandboxProcess, data_dir: Path, people: People, name: str
) -> None:
    people("ann", "bob")
    with (
        Receiver(Reply(204 if name == "discord" else 200, body=b"")) as receiver,
        Gateway(
            data_dir,
            sandbox.url,
            NOTIFY__WEBHOOKS=told(receiver.url, format=name, events=["account_died"]),
        ) as gateway,
    ):
        ann_dies(sandbox, gateway)
        assert gateway.served_by() == "bob"
        [post] = receiver.wait_for(1)
        assert set(post.json) == SHAPES[name]
        assert b"ann@example.com" in post.body
        assert post.path == ("/" if name == "ntfy" else "/pretend-path")


def test_the_owner_can_try_a_webhook(sandbox: SandboxProcess, data_dir: Path) -> None:
    with (
        Receiver() as receiver,
        Gateway(data_dir, sandbox.url, NOTIFY__WEBHOOKS=told(receiver.url)) as gateway,
    ):
        answer = gateway.admin("POST", "/api/notify/test")
        assert answer.json()["results"] == [
            {"webhook": "team", "format": "json", "ok": True, "status": 200, "problem": "", "advice": ""}
        ]
    [post] = receiver.posts
    assert post.json["event"] == "test"
    assert is_genuine(post, WORD)
