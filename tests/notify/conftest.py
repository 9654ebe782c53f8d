"""Alerts as a process has them, against receivers on real sockets."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from regrant import logs
from regrant.clock import SystemClock
from regrant.notify.alerts import Alerts
from regrant.settings.model import Log, Webhook
from regrant.transport.client import HttpClient

Start = Callable[..., Alerts]


@pytest.fixture
def said(tmp_path: Path) -> io.StringIO:
    """Everything that is logged, down to debug, as JSON lines."""
    stream = io.StringIO()
    logs.configure(Log("debug", "json", file=False), tmp_path, stream)
    return stream


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """`start(webhook, ...)`: alerts on the test's database, as one process has them; closed at the end."""
    async with AsyncExitStack() as stack:

        def begin(*webhooks: Webhook, path: Path | None = None) -> Alerts:
            client = HttpClient(user_agent="regrant/test")
            database = path or tmp_path / "state.sqlite3"
            alerts = Alerts(
                database, lambda: webhooks, transport=client, clock=SystemClock(), chance=lambda: 0.0
            )
            stack.push_async_callback(client.close)
            stack.push_async_callback(alerts.close)
            alerts.start()
            return alerts

        yield begin
