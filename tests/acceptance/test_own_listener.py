"""The HTTP server at the front of a whole gateway: methods, protocols and the end, on real processes."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator

import pytest
from tests.acceptance.harness import Gateway, account_file, chat_body, wait_until
from tests.acceptance.wire import OPENAI_CHAT, arrived, wire
from tests.sandbox_client import SandboxProcess


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxProcess]:
    with SandboxProcess() as process:
        yield process


@pytest.fixture
def gateway(sandbox: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    sandbox.reset()
    data_dir = tmp_path_factory.mktemp("listener") / "data"
    account_file(data_dir, "ann", sandbox.grant("ann@example.com"), fresh=True)
    with Gateway(data_dir, sandbox.url) as process:
        yield process


PATHS = [
    "/",
    "/healthz",
    "/readyz",
    "/metrics",
    "/v1/models",
    OPENAI_CHAT,
    "/nowhere",
    "/api/accounts",
    "/api/openapi.json",
]


@pytest.mark.parametrize("path", PATHS)
def test_head_is_answered_without_a_body_at_every_door(gateway: Gateway, path: str) -> None:
    with wire(gateway.url) as connection:
        connection.get(path, method="HEAD")
        status, _, _ = connection.answer(bodiless=True)
        assert status in {200, 401, 403, 404, 405}
        connection.get("/healthz")
        assert connection.answer()[2] == b'{"status":"ok"}', "the bytes after a HEAD are the next answer"


def test_a_request_that_offers_http_2_is_answered_in_http_1_1_with_its_body_read(gateway: Gateway) -> None:
    """Java's HttpClient offers it with every first request to an http:// address."""
    offer = {
        "connection": "Upgrade, HTTP2-Settings",
        "upgrade": "h2c",
        "http2-settings": "AAEAAEAAAAIAAAABAAMAAABkAAQBAAAA",
    }
    with wire(gateway.url) as connection:
        for _ in range(2):
            connection.post(OPENAI_CHAT, chat_body("hello"), offer)
            status, _, body = connection.answer()
            assert status == 200, body
            assert json.loads(body)["choices"][0]["message"]["content"]


def test_the_client_s_second_request_waits_for_the_first_and_garbage_after_it_is_told_last(
    gateway: Gateway,
) -> None:
    with wire(gateway.url) as connection:
        connection.post(OPENAI_CHAT, chat_body("hello"))
        connection.get("/healthz")
        connection.send(b"nonsense\r\n\r\n")
        assert json.loads(connection.answer()[2])["object"] == "chat.completion"
        assert connection.answer()[2] == b'{"status":"ok"}'
        status, headers, _ = connection.answer()
        assert (status, headers["connection"]) == (400, "close")
        assert connection.read_all() == b""


def test_told_twice_it_ends_at_once(gateway: Gateway, sandbox: SandboxProcess) -> None:
    sandbox.script("delay_stream", endpoint="stream", seconds=60)
    with wire(gateway.url) as connection:
        connection.post(OPENAI_CHAT, chat_body("tell me a long story", stream=True))
        arrived(sandbox, "stream")
        gateway.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert gateway.process.poll() is None, "it drains"
        began = time.monotonic()
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.process.wait(15) == 0
        assert b"[DONE]" not in connection.read_all()
        assert time.monotonic() - began < 15  # the drain would take 30
    assert "Traceback" not in gateway.stderr


def test_an_idle_connection_does_not_hold_up_the_end(gateway: Gateway) -> None:
    with wire(gateway.url) as idle, wire(gateway.url) as silent:
        idle.get("/healthz")
        idle.answer()
        gateway.process.send_signal(signal.SIGTERM)
        wait_until(lambda: gateway.process.poll() is not None, "its end")
        assert idle.read_all() == b""
        assert silent.read_all() == b""
