"""Alerts on their way to real receivers: signed, once, in order, patient, and never one behind another."""

from __future__ import annotations

import asyncio
import io
import json
import socket
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from tests.notify.conftest import Start
from tests.notify.facts import closed, opened, until, webhook
from tests.notify.receiver import Receiver, Reply, is_genuine

from regrant.database import BUSY_MS
from regrant.notify.answers import Again, Delivered, Refused
from regrant.notify.outbox import file_outbox

WORD = "pretend-signing-word"


async def came(receiver: Receiver, count: int) -> list[str]:
    """The ids of that many posts, in the order in which they came."""
    return [post.id for post in await asyncio.to_thread(receiver.wait_for, count)]


async def test_an_alert_is_signed_so_that_its_receiver_can_tell(start: Start) -> None:
    with Receiver() as receiver:
        start(webhook(receiver.url + "/x?y=z", secret=WORD)).incident_changed(opened())
        [post] = await asyncio.to_thread(receiver.wait_for, 1)
    assert post.path == "/x?y=z"
    assert post.headers["content-type"] == "application/json"
    assert post.id == post.json["id"] == "death-1-opened"
    assert is_genuine(post, WORD)
    assert not is_genuine(post, "another-word")
    assert not is_genuine(post, WORD, now=post.at + 301)
    assert not is_genuine(type(post)(post.path, post.headers, post.body + b" ", post.at), WORD)


async def test_without_a_secret_nothing_is_signed(start: Start) -> None:
    with Receiver() as receiver:
        start(webhook(receiver.url)).incident_changed(opened())
        [post] = await asyncio.to_thread(receiver.wait_for, 1)
    assert "x-regrant-signature" not in post.headers


async def test_an_incident_is_told_once_when_it_begins_and_once_when_it_ends(start: Start) -> None:
    with Receiver() as receiver:
        alerts = start(webhook(receiver.url))
        for change in (opened(), opened(), closed(), closed(), opened(), opened(id="death-2")):
            alerts.incident_changed(change)
        assert await came(receiver, 3) == ["death-1-opened", "death-1-closed", "death-2-opened"]
        await alerts.close()
        assert len(receiver.posts) == 3


async def test_an_end_is_not_told_to_those_who_never_heard_of_the_beginning(start: Start) -> None:
    with Receiver() as receiver:
        alerts = start(webhook(receiver.url))
        alerts.incident_changed(closed())
        alerts.incident_changed(opened(id="death-2"))
        assert await came(receiver, 1) == ["death-2-opened"]


async def test_a_webhook_hears_only_of_the_events_that_it_asked_for(start: Start) -> None:
    with Receiver() as receiver:
        alerts = start(webhook(receiver.url, events=("pool_empty",)))
        alerts.incident_changed(opened())
        alerts.incident_changed(opened(id="empty-1", kind="pool_empty"))
        assert await came(receiver, 1) == ["empty-1-opened"]


async def test_an_alert_that_cannot_be_written_at_all_does_not_silence_the_next(
    start: Start, said: io.StringIO
) -> None:
    with Receiver() as receiver:
        alerts = start(webhook(receiver.url))
        alerts.incident_changed(opened(text="half of a letter: \ud83d"))
        alerts.incident_changed(opened(id="death-2"))
        assert await came(receiver, 1) == ["death-2-opened"]
    await _logged(said, "alert_failed")


async def test_a_database_that_is_locked_takes_no_thread_from_anybody_else(
    start: Start, tmp_path: Path
) -> None:
    path = tmp_path / "state.sqlite3"
    file_outbox(path).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as somebody_else:
        somebody_else.execute("begin immediate")
        before = threading.active_count()
        alerts = start(*(webhook(f"http://127.0.0.1:9/{number}") for number in range(40)))
        alerts.incident_changed(opened())
        async with asyncio.timeout(BUSY_MS / 1000 * 0.8):  # each of them waits for so long
            await until(lambda: threading.active_count() > before)
            for _ in range(20):
                await asyncio.to_thread(time.sleep, 0.01)
        somebody_else.execute("rollback")


async def test_a_receiver_that_is_down_gets_everything_in_order_once_it_is_up(
    start: Start, said: io.StringIO
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    alerts = start(webhook(f"http://127.0.0.1:{port}/pretend-path", name="down"))
    for change in (opened(), opened(id="death-2"), closed()):
        alerts.incident_changed(change)
    await _logged(said, "alert_delayed")
    with Receiver(port=port) as receiver:
        assert await came(receiver, 3) == ["death-1-opened", "death-2-opened", "death-1-closed"]
    [warning] = [
        line for line in _lines(said) if line["event"] == "alert_delayed" and line["level"] == "warning"
    ]
    assert warning["webhook"] == "down"
    assert "pretend-path" not in said.getvalue()


async def test_an_answer_that_passes_is_tried_again_with_the_same_id_and_a_fresh_signature(
    start: Start,
) -> None:
    with Receiver(Reply(500), Reply(429), Reply(408)) as receiver:
        start(webhook(receiver.url, secret=WORD)).incident_changed(opened())
        posts = await asyncio.to_thread(receiver.wait_for, 4)
    assert {post.id for post in posts} == {"death-1-opened"}
    assert all(is_genuine(post, WORD, now=post.at, tolerance_s=2) for post in posts)


async def test_retry_after_is_waited_for(start: Start) -> None:
    with Receiver(Reply(503, {"retry-after": "2"})) as receiver:
        start(webhook(receiver.url)).incident_changed(opened())
        first, second = await asyncio.to_thread(receiver.wait_for, 2)
    assert second.at - first.at >= 1.9


@pytest.mark.parametrize(
    ("status", "word"), [(404, "deleted"), (403, "let"), (400, "format"), (307, "final address")]
)
async def test_a_refusal_is_logged_with_advice_and_the_next_alert_goes_out(
    start: Start, said: io.StringIO, status: int, word: str
) -> None:
    elsewhere = {"location": "/elsewhere"} if status == 307 else {}
    with Receiver(Reply(status, elsewhere, b"pretend-echo")) as receiver:
        alerts = start(webhook(receiver.url + "/pretend-path", name="team", secret=WORD))
        alerts.incident_changed(opened())
        alerts.incident_changed(opened(id="death-2"))
        assert await came(receiver, 2) == ["death-1-opened", "death-2-opened"]
        assert {post.path for post in receiver.posts} == {"/pretend-path"}
    [line] = [line for line in _lines(said) if line["event"] == "alert_refused"]
    assert line["level"] == "error"
    assert line["message"].startswith(f"team refused an alert with {status}.")
    assert word in line["message"]
    assert "pretend" not in said.getvalue()


async def test_a_slow_receiver_delays_nobody_else(start: Start) -> None:
    hold = threading.Event()
    with Receiver(Reply(hold=hold)) as slow, Receiver() as quick:
        alerts = start(webhook(slow.url, name="slow"), webhook(quick.url, name="quick"))
        for number in range(5):
            alerts.incident_changed(opened(id=f"death-{number}"))
        assert len(await came(quick, 5)) == 5
        assert len(slow.posts) == 1, "it has not answered the first yet"
        hold.set()
        assert await came(slow, 5) == [f"death-{number}-opened" for number in range(5)]


async def test_what_waits_survives_a_restart_and_is_delivered_once(start: Start, said: io.StringIO) -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    hook = webhook(f"http://127.0.0.1:{port}")
    before = start(hook)
    before.incident_changed(opened())
    await _logged(said, "alert_delayed")
    before.incident_changed(closed())
    await before.close()
    with Receiver(port=port) as receiver:
        after = start(hook)
        after.incident_changed(opened())  # what a new process finds again
        assert await came(receiver, 2) == ["death-1-opened", "death-1-closed"]
        await after.close()
        assert len(receiver.posts) == 2


async def test_a_change_just_before_the_end_is_not_lost(start: Start) -> None:
    with Receiver() as receiver:
        before = start(webhook(receiver.url))
        before.incident_changed(opened())
        await before.close()
        if not receiver.posts:
            start(webhook(receiver.url))
        assert await came(receiver, 1) == ["death-1-opened"]


async def test_two_processes_tell_an_incident_once(start: Start) -> None:
    with Receiver() as receiver:
        hook = webhook(receiver.url)
        both = [start(hook), start(hook)]
        for number in range(10):
            for alerts in both:
                alerts.incident_changed(opened(id=f"death-{number}"))
        ids = await came(receiver, 10)
        assert ids == [f"death-{number}-opened" for number in range(10)]
        for alerts in both:
            await alerts.close()
        assert len(receiver.posts) == 10


async def test_what_cannot_be_stored_is_told_all_the_same(
    start: Start, said: io.StringIO, tmp_path: Path
) -> None:
    with Receiver() as receiver:
        alerts = start(webhook(receiver.url), path=tmp_path / "no such folder" / "state.sqlite3")
        for change in (opened(kind="not_persisted"), closed(kind="not_persisted")):
            alerts.incident_changed(change)
        assert await came(receiver, 2) == ["death-1-opened", "death-1-closed"]
    assert "alert_not_stored" in said.getvalue()


async def test_webhooks_follow_the_settings(start: Start) -> None:
    with Receiver() as first, Receiver() as second:
        hooks = [webhook(first.url)]
        alerts = start(*hooks)
        alerts._webhooks = lambda: hooks
        alerts.incident_changed(opened())
        await came(first, 1)
        hooks[:] = [webhook(second.url)]
        alerts.settings_changed()
        alerts.incident_changed(opened(id="death-2"))
        assert await came(second, 1) == ["death-2-opened"]
        assert len(first.posts) == 1


async def test_a_trial_says_what_each_webhook_made_of_it(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    with Receiver() as fine, Receiver(Reply(404)) as gone:
        alerts = start(
            webhook(fine.url, name="fine"),
            webhook(gone.url, name="gone"),
            webhook(f"http://127.0.0.1:{port}", name="down"),
        )
        outcomes = {hook.name: outcome for hook, outcome in await alerts.try_out()}
        assert [type(outcomes[name]) for name in ("fine", "gone", "down")] == [Delivered, Refused, Again]
        assert fine.posts[0].json["event"] == "test"
        assert [hook.name for hook, _ in await alerts.try_out("gone")] == ["gone"]
        assert await alerts.try_out("nobody") == []


async def _logged(said: io.StringIO, event: str) -> None:
    await until(lambda: f'"event":"{event}"' in said.getvalue())


def _lines(said: io.StringIO) -> list[dict[str, str]]:
    return [json.loads(line) for line in said.getvalue().splitlines()]
