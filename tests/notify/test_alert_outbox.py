"""The lines in which alerts wait, in a real SQLite file: bounded, in order, held by one process at a time."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.notify.facts import DEATH, changed, closed, opened, until, webhook
from tests.notify.receiver import Receiver

from regrant.accounts.incidents import IncidentChange
from regrant.clock import SystemClock
from regrant.database import Database
from regrant.notify.alert import Alert, alert_of
from regrant.notify.courier import Courier
from regrant.notify.outbox import (
    HOLD_S,
    MAX_AGE_S,
    MAX_WAITING,
    Delivery,
    Later,
    Outbox,
    file_outbox,
    prepare,
)
from regrant.transport.client import HttpClient
from regrant.transport.model import Request, Response

NOW = 1_800_000_000.0


def alert(change: IncidentChange) -> Alert:
    return alert_of(change, NOW)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.sqlite3"


@pytest.fixture
def box(path: Path) -> Iterator[Outbox]:
    outbox = file_outbox(path)
    yield outbox
    outbox.close()


def taken(box: Outbox, now: float = NOW) -> Delivery:
    found = box.take("hook", now)
    assert isinstance(found, Delivery), found
    return found


def test_one_process_at_a_time_serves_a_line_and_another_takes_over_when_it_died(
    box: Outbox, path: Path
) -> None:
    other = file_outbox(path)
    box.put("hook", alert(opened()), NOW)
    taken(box)
    assert other.take("hook", NOW + 1) == Later(NOW + HOLD_S)
    assert taken(other, NOW + HOLD_S).alert.id == "death-1-opened"
    other.close()


def test_a_process_that_ends_in_order_leaves_its_line_to_the_others_at_once(box: Outbox, path: Path) -> None:
    other = file_outbox(path)
    other.put("hook", alert(opened()), NOW)
    taken(other)
    other.close()
    assert taken(box).alert.id == "death-1-opened"


def test_a_later_alert_waits_behind_one_that_is_tried_again(box: Outbox) -> None:
    box.put("hook", alert(opened()), NOW)
    box.put("hook", alert(opened(id="death-2")), NOW)
    box.postpone("hook", taken(box).seq, NOW + 30)
    assert box.take("hook", NOW + 1) == Later(NOW + 30)
    again = taken(box, NOW + 30)
    assert (again.alert.id, again.tries) == ("death-1-opened", 1)
    box.finish("hook", again.seq)
    assert taken(box, NOW + 30).alert.id == "death-2-opened"


def test_lines_of_different_webhooks_do_not_wait_for_each_other(box: Outbox) -> None:
    box.put("hook", alert(opened()), NOW)
    box.put("other", alert(opened()), NOW)
    taken(box)
    assert isinstance(box.take("other", NOW), Delivery)


def test_what_was_delivered_is_remembered_and_not_told_again(box: Outbox) -> None:
    assert box.put("hook", alert(opened()), NOW)
    box.finish("hook", taken(box).seq)
    assert not box.put("hook", alert(opened()), NOW + 100 * 86_400)
    assert box.put("hook", alert(closed()), NOW + 100 * 86_400)
    assert not box.put("hook", alert(closed()), NOW + 100 * 86_400)


def test_an_update_is_told_once_to_those_who_know_of_the_incident(box: Outbox) -> None:
    box.put("hook", alert(opened(kind="will_die")), NOW)
    update = alert(changed("updated", kind="will_die", title="It dies within 6 hours"))
    assert box.put("hook", update, NOW)
    assert not box.put("hook", update, NOW)
    assert not box.put("other", update, NOW)


def test_a_line_is_bounded_and_gives_up_its_oldest(box: Outbox) -> None:
    for number in range(MAX_WAITING + 3):
        box.put("hook", alert(opened(id=f"death-{number}")), NOW)
    assert box.give_up("hook", NOW) == 3
    assert box.give_up("hook", NOW) == 0
    assert taken(box).alert.id == "death-3-opened"


def test_an_alert_is_given_up_after_a_day(box: Outbox) -> None:
    box.put("hook", alert(opened()), NOW)
    box.put("hook", alert(opened(id="death-2")), NOW + 60)
    assert box.give_up("hook", NOW + MAX_AGE_S) == 0
    assert box.give_up("hook", NOW + MAX_AGE_S + 1) == 1
    assert taken(box, NOW + MAX_AGE_S + 1).alert.id == "death-2-opened"


def test_what_somebody_scribbled_into_the_file_stops_no_line(box: Outbox, path: Path) -> None:
    box.put("hook", alert(opened()), NOW)
    box.put("hook", alert(opened(id="death-2")), NOW)
    with contextlib.closing(sqlite3.connect(path)) as scribbler:
        scribbler.execute("update alert set alert = 'scribble' where id = 'death-1-opened'")
        scribbler.commit()
    assert box.take("hook", NOW) == Later(NOW)
    assert taken(box).alert.id == "death-2-opened"


class FullDisk:
    """A database whose transactions fail, from one on, while `full` is set."""

    def __init__(self, path: Path) -> None:
        self.database = Database(path, prepare)
        self.full = False
        self.refused = 0

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Cursor]:
        if self.full:
            self.refused += 1
            raise sqlite3.OperationalError("database or disk is full")
        with self.database.transaction() as cursor:
            yield cursor

    def close(self) -> None:
        self.database.close()


class FillsWhileSending(HttpClient):
    """The disk is full when the answer has come."""

    disk: FullDisk

    async def send(self, request: Request) -> Response:
        response = await super().send(request)
        self.disk.full = True
        return response


async def test_what_was_sent_is_not_sent_again_because_that_could_not_be_written(path: Path) -> None:
    disk = FullDisk(path)
    box = Outbox(disk)
    client = FillsWhileSending(user_agent="regrant/test")
    client.disk = disk
    with Receiver() as receiver:
        courier = Courier(
            "hook", webhook(receiver.url), [box], transport=client, clock=SystemClock(), chance=lambda: 0.0
        )
        box.put("hook", alert(opened(since=DEATH.since)), SystemClock().now())
        task = asyncio.create_task(courier.run())
        await until(lambda: disk.refused > 0)
        disk.full = False
        courier.wake()
        await until(lambda: box.take("hook", SystemClock().now()) is None)
        assert len(receiver.posts) == 1
        courier.stop()
        await task
    await client.close()
    box.close()
