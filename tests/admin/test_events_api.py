"""The event stream over real sockets, and its hub."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.admin.office_server import OfficeServer, until
from tests.sandbox_client import SandboxControl

from regrant.admin import events
from regrant.admin.events import MAX_WAITING, Hub


@dataclass
class Reader:
    """Reads a stream in a thread: the events so far, and whether it has ended."""

    events: list[tuple[str, Any]] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def of(self, name: str) -> list[Any]:
        return [data for kind, data in list(self.events) if kind == name]

    def read(self, answer: http.client.HTTPResponse) -> None:
        name = ""
        try:
            while line := answer.readline():
                text = line.decode().rstrip("\r\n")
                if text.startswith("event: "):
                    name = text.removeprefix("event: ")
                elif text.startswith("data: "):
                    self.events.append((name, json.loads(text.removeprefix("data: "))))
        except (OSError, http.client.HTTPException):
            pass
        self.ended.set()


@contextmanager
def listening(office: OfficeServer) -> Iterator[Reader]:
    connection = http.client.HTTPConnection("127.0.0.1", office.port, timeout=30)
    connection.request("GET", "/api/events", headers={"authorization": f"Bearer {office.token}"})
    answer = connection.getresponse()
    assert answer.status == 200
    assert answer.getheader("content-type", "").startswith("text/event-stream")
    reader = Reader()
    thread = threading.Thread(target=reader.read, args=(answer,), daemon=True)
    thread.start()
    try:
        until(lambda: reader.of("hello"))
        yield reader
    finally:
        sock = connection.sock
        if sock is not None:
            sock.shutdown(2)
        thread.join(10)
        connection.close()


def test_changes_of_accounts_settings_and_exchanges_are_told(
    office: OfficeServer, sandbox: SandboxControl
) -> None:
    with listening(office) as reader:
        account = office.add(sandbox.grant("ann@example.com").refresh_token)
        assert until(lambda: reader.of("account"))[0]["id"] == account["id"]
        office.call("POST", f"/api/accounts/{account['id']}/pause", {"reason": "holiday"})
        until(lambda: reader.of("account")[-1]["state"] == "paused")
        office.call("POST", f"/api/accounts/{account['id']}/resume")
        body = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}
        answer = office.plain("POST", "/v1beta/models/gemini-2.5-flash:generateContent", body)
        exchange = until(lambda: reader.of("exchange"))[0]
        assert set(exchange) == {
            *("id", "at", "dialect", "model", "served_model", "status", "key", "ms", "tokens", "attempts"),
            *("first_ms", "problem", "dropped", "reasons"),
        }
        assert exchange["status"] == answer.status
        office.call("PATCH", "/api/settings", {"pool.max_attempts": 5})
        until(lambda: reader.of("settings"))
        office.call("DELETE", f"/api/accounts/{account['id']}")
        until(lambda: {"id": account["id"], "removed": True} in reader.of("account"))


def test_stream_ends_when_the_process_ends_and_does_not_hold_it_up(office: OfficeServer) -> None:
    with listening(office) as reader:
        office.stop()
        assert reader.ended.wait(10)


def test_served_process_ends_at_once_although_a_stream_is_open(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "regrant", "serve", "--port", "0", "--data-dir", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().removeprefix("Regrant is ready: ").strip()
            token = (tmp_path / "admin.token").read_text().strip()
            connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
            connection.request("GET", "/api/events", headers={"authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            assert answer.readline() == b"event: hello\n"
            process.send_signal(signal.SIGTERM)
            while answer.readline():
                pass
            assert process.wait(timeout=10) == 0  # draining would take 30 seconds if the stream did not end
            connection.close()
        finally:
            process.kill()


def test_reader_that_leaves_is_forgotten(office: OfficeServer, sandbox: SandboxControl) -> None:
    with listening(office):
        hub = office.app.closing_listeners[0].__self__  # type: ignore[attr-defined]  # a bound method
        assert hub.listened_to
    until(lambda: not hub.listened_to)
    office.add(sandbox.grant("ann@example.com").refresh_token)
    with listening(office) as reader:
        office.add(sandbox.grant("bob@example.com").refresh_token)
        assert until(lambda: reader.of("account"))[0]["email"] == "bob@example.com"


async def test_slow_reader_is_dropped_and_told_so_and_the_others_are_not() -> None:
    hub = Hub()
    slow, quick = hub.subscribe(), hub.subscribe()
    assert slow is not None
    assert quick is not None
    quick_stream = quick.stream()
    received = [await anext(quick_stream)]
    for number in range(MAX_WAITING + 1):
        hub.publish("exchange", {"number": number})
        received.append(await anext(quick_stream))
    told = b"".join([chunk async for chunk in slow.stream()])
    assert b"event: dropped" in told
    assert b"event: exchange" not in told
    assert received[-1] == b'event: exchange\ndata: {"number":1000}\n\n'
    assert hub.listened_to


async def test_newest_state_of_an_account_takes_the_place_of_one_that_waits() -> None:
    hub = Hub()
    subscriber = hub.subscribe()
    assert subscriber is not None
    for number in range(5000):
        hub.publish("account", {"id": "a", "number": number}, key="a")
    stream = subscriber.stream()
    await anext(stream)
    assert await anext(stream) == b'event: account\ndata: {"id":"a","number":4999}\n\n'


async def test_closed_hub_ends_streams_after_what_waits() -> None:
    hub = Hub()
    subscriber = hub.subscribe()
    assert subscriber is not None
    hub.publish("account", {"id": "a"})
    hub.close()
    chunks = [chunk async for chunk in subscriber.stream()]
    assert len(chunks) == 2
    late = hub.subscribe()
    assert late is not None
    assert [chunk async for chunk in late.stream()] == chunks[:1]


async def test_subscribers_are_bounded() -> None:
    hub = Hub()
    assert all(hub.subscribe() for _ in range(events.MAX_SUBSCRIBERS))
    assert hub.subscribe() is None


async def test_quiet_stream_says_that_it_lives() -> None:
    hub = Hub()
    subscriber = hub.subscribe(keep_alive_s=0.01)
    assert subscriber is not None
    stream = subscriber.stream()
    await anext(stream)
    assert await anext(stream) == b": keep-alive\n\n"


@pytest.mark.parametrize("name", ["account", "exchange"])
def test_event_is_one_block_whatever_the_data_holds(name: str) -> None:
    encoded = events.encode_event(name, {"text": "a\nb\n\nevent: forged"})
    assert encoded.count(b"\n\n") == 1
    assert encoded.endswith(b"\n\n")
