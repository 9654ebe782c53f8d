"""An ASGI application behind a Conversation: for the back office, whose requests are few.

Source: asgi.readthedocs.io, HTTP specification 2.3.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from regrant.listener.conversation import ClientLeft, Conversation
from regrant.listener.head import encode_fields

BODY_IDLE_S = 25.0  # without a byte of a body that was announced

Asgi = Callable[[Any, Any, Any], Awaitable[None]]


async def run(
    app: Asgi, conversation: Conversation, *, extra: bytes = b"", body_idle_s: float = BODY_IDLE_S
) -> None:
    """Answer with what `app` says. `extra` are header lines that are added to its own.

    A client whose body stops coming for `body_idle_s` seconds counts as one that left.
    """
    await app(_scope(conversation), _Receiver(conversation, body_idle_s), _Sender(conversation, extra))


def _scope(conversation: Conversation) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "scheme": "http",
        "method": conversation.method,
        "path": conversation.path,
        "raw_path": conversation.raw_path,
        "query_string": conversation.query,
        "root_path": "",
        "headers": conversation.headers,
        "client": conversation.client,
        "server": conversation.local,
        "state": {},
    }


class _Receiver:
    def __init__(self, conversation: Conversation, body_idle_s: float) -> None:
        self._conversation = conversation
        self._body_idle_s = body_idle_s
        self._told_end = False

    async def __call__(self) -> dict[str, Any]:
        conversation = self._conversation
        if self._told_end:
            await conversation.until_gone()
            return {"type": "http.disconnect"}
        try:
            async with asyncio.timeout(self._body_idle_s):
                data = await conversation.read()
        except (ClientLeft, TimeoutError):
            return {"type": "http.disconnect"}
        self._told_end = conversation.received
        return {"type": "http.request", "body": data, "more_body": not self._told_end}


class _Sender:
    def __init__(self, conversation: Conversation, extra: bytes) -> None:
        self._conversation = conversation
        self._extra = extra

    async def __call__(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self._start(message["status"], list(message.get("headers", ())))
        elif message["type"] == "http.response.body":
            body = message.get("body", b"")
            if message.get("more_body", False):
                await self._conversation.write(body)
            else:
                self._conversation.end(body)

    def _start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        length: int | None = None
        fields = []
        for name, value in headers:
            lower = name.lower()
            if lower == b"content-length":
                with contextlib.suppress(ValueError):
                    length = int(value)
            elif lower != b"transfer-encoding":
                fields.append((lower, value))
        self._conversation.start(status, encode_fields(fields) + self._extra, length=length)
