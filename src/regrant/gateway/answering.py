"""Writing one answer to a client: its head once, its body, and the headers that every answer carries.

ASGI only; what is written is decided by the callers.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from regrant.dialects.base import ProblemAnswer
from regrant.traffic.exchange import Exchange

Send = Callable[[Any], Awaitable[None]]
Receive = Callable[[], Awaitable[Any]]
Fields = Iterable[tuple[bytes, bytes]]

JSON = (b"content-type", b"application/json")


LINGER_S = 5.0  # how long a client that is turned away may go on sending

_CONTROLS = dict.fromkeys((*range(32), 127), "?")


@functools.lru_cache(maxsize=256)
def _field_value(text: str) -> bytes:
    """`text` as a header may hold it: a client's model name comes here with whatever is in it."""
    return text[:200].translate(_CONTROLS).encode("latin-1", "replace")


class ConnectionAborted(Exception):  # raised to make the server drop the connection
    """The body cannot be ended honestly: the connection is dropped in the middle."""


class Answering:
    """One answer. `committed` is whether its head has gone out."""

    def __init__(
        self,
        send: Send,
        exchange: Exchange,
        extra: Fields = (),
        *,
        bodiless: bool = False,
        id_header: bytes = b"",
    ) -> None:
        """`id_header` is where the client's dialect looks for the id of its request, beside `x-request-id`."""
        self._send = send
        self.exchange = exchange
        self.extra = tuple(extra)
        self.committed = False
        self._bodiless = bodiless
        self._id_header = id_header

    async def start(self, status: int, headers: Fields) -> None:
        """Send the head of a streamed answer, with its first event; the body follows with `write`."""
        self.exchange.first_ms = (time.perf_counter() - self.exchange.started) * 1000
        await self._head(status, headers)

    async def _head(self, status: int, headers: Fields) -> None:
        exchange = self.exchange
        exchange.status = status
        self.committed = True
        fields = [
            *headers,
            (b"x-request-id", exchange.id.encode()),
            (b"x-regrant-model", _field_value(exchange.served_model)),
            (b"x-regrant-attempts", b"%d" % len(exchange.attempts)),
            *self.extra,
        ]
        if self._id_header:
            fields.append((self._id_header, exchange.id.encode()))
        await self._send({"type": "http.response.start", "status": status, "headers": fields})

    async def write(self, data: bytes) -> None:
        if data:
            await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes = b"") -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": False})

    async def whole(self, status: int, headers: Fields, body: bytes) -> None:
        """An answer in one piece."""
        length = () if status == 204 else ((b"content-length", b"%d" % len(body)),)
        await self._head(status, (*headers, *length))
        await self.end(b"" if self._bodiless else body)

    async def json(self, status: int, body: bytes) -> None:
        await self.whole(status, (JSON,), body)

    async def fail(self, problem: ProblemAnswer) -> None:
        """A problem as the whole answer. After the commit point there is only the way out of dropping the connection."""
        if self.committed:
            raise ConnectionAborted
        await self.whole(problem.status, problem.headers, problem.body)

    async def turn_away(self, problem: ProblemAnswer, receive: Receive) -> None:
        """A problem told before the request was read, after which the connection ends.

        What the client still sends is dropped for a while first: closing over unread bytes would reset the connection,
        and the client would never see the answer.
        """
        length = (b"content-length", b"%d" % len(problem.body))
        await self._head(problem.status, (*problem.headers, length, (b"connection", b"close")))
        if not self._bodiless:
            await self.write(problem.body)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                while (await receive()).get("more_body", False):
                    pass
        await self.end()
