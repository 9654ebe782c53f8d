"""Sending an answer as a script wants it: late, in part, broken off, or not at all.

What to send is decided in `service.py`; this is the only module that writes to connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import struct
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from regrant.sandbox.journal import Entry, Journal
from regrant.sandbox.wire import Answer, Form

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Then(Enum):
    """What happens after the given number of chunks."""

    GO_ON = "go on"
    CUT = "cut"
    END = "end"
    HANG = "hang"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Manner:
    """How an answer goes out. Times are seconds; `after` None means before the head."""

    delay: float = 0.0
    reset: bool = False
    after: int | None = None
    then: Then = Then.GO_ON
    pause: float = 0.0
    each: float = 0.0
    mid_chunk: bool = False
    error: bytes = b""


PLAIN = Manner()


class Gone(Exception):
    """The client left, or the sandbox stops."""


class Dropped(Exception):
    """The connection was broken on purpose."""


@dataclass(slots=True)
class Exchange:
    """One request's connection. `stopping` is set when the sandbox stops."""

    receive: Receive
    send: Send
    transport: asyncio.Transport
    stopping: asyncio.Event
    digest: Any = field(default_factory=hashlib.sha256)

    async def wait(self, seconds: float | None) -> None:
        """Sleep, for ever if None. Raises Gone as soon as the client leaves or the sandbox stops."""
        left = asyncio.ensure_future(self._until_gone())
        stopped = asyncio.ensure_future(self.stopping.wait())
        try:
            done, _ = await asyncio.wait(
                {left, stopped}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            left.cancel()
            stopped.cancel()
        if done or seconds is None:
            raise Gone

    async def _until_gone(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def head(self, answer: Answer) -> None:
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
        if answer.form is Form.WHOLE:
            headers.append((b"content-length", str(len(answer.body)).encode()))
        await self.send({"type": "http.response.start", "status": answer.status, "headers": headers})

    async def piece(self, data: bytes, *, last: bool = False) -> None:
        if self.transport.is_closing():
            raise Gone
        self.digest.update(data)
        await self.send({"type": "http.response.body", "body": data, "more_body": not last})

    async def drop(self, *, reset: bool) -> None:
        """Break the connection: a reset loses what was sent, a close lets it arrive first."""
        if reset:
            raw = self.transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
        else:
            self.transport.close()
        await self._until_gone()
        raise Dropped


async def deliver(
    exchange: Exchange, answer: Answer, manner: Manner, entry: Entry, journal: Journal | None
) -> None:
    """Send the answer in its manner, and write into the journal what became of it."""
    try:
        if manner.delay:
            await exchange.wait(manner.delay)
        if manner.reset:
            await exchange.drop(reset=True)
        if manner.after is None and manner.then is Then.HANG:
            await exchange.wait(None)
        if manner.after == 0 and manner.pause:
            await exchange.wait(manner.pause)
        if journal is not None:
            journal.answered(entry, answer.status)
        await exchange.head(answer)
        if answer.form is Form.WHOLE:
            await _send_whole(exchange, answer, manner, entry)
        else:
            await _send_stream(exchange, answer, manner, entry)
    except Dropped:
        return
    except Gone:
        entry.aborted = True
        with contextlib.suppress(Dropped):
            await exchange.drop(reset=False)


async def _send_whole(exchange: Exchange, answer: Answer, manner: Manner, entry: Entry) -> None:
    """A whole answer counts as one chunk: it can be cut or hang half-way."""
    body = answer.body
    if manner.then in {Then.CUT, Then.HANG}:
        await exchange.piece(body[: len(body) // 2])
        await _interrupt(exchange, manner)
        return
    entry.answered_sha256 = hashlib.sha256(body).hexdigest()
    await exchange.piece(body, last=True)


async def _send_stream(exchange: Exchange, answer: Answer, manner: Manner, entry: Entry) -> None:
    stop_at = _stop_at(answer, manner)
    for index, piece in enumerate(answer.pieces):
        if index == stop_at:
            if manner.mid_chunk:
                await exchange.piece(piece[: len(piece) // 2])
            await _interrupt(exchange, manner)
            break
        if manner.each or (manner.pause and index and index == manner.after):
            await exchange.wait(manner.each or manner.pause)
        await exchange.piece(piece)
        await asyncio.sleep(0)
    tail = _error_tail(answer, manner) if manner.then is Then.ERROR else answer.tail
    exchange.digest.update(tail)
    entry.answered_sha256 = exchange.digest.hexdigest()
    exchange.digest = hashlib.sha256()
    await exchange.piece(tail, last=True)


def _stop_at(answer: Answer, manner: Manner) -> int | None:
    """An interruption always shows: it comes before the last chunk, which holds the finishReason."""
    if manner.then is Then.GO_ON or manner.after is None:
        return None
    return min(manner.after, len(answer.pieces) - 1)


async def _interrupt(exchange: Exchange, manner: Manner) -> None:
    match manner.then:
        case Then.CUT:
            await exchange.drop(reset=False)
        case Then.HANG:
            await exchange.wait(None)
        case _:
            pass


def _error_tail(answer: Answer, manner: Manner) -> bytes:
    """Google writes a bare JSON object into the stream, over several lines and without `data:`. Source: facts 3.4."""
    return manner.error if answer.form is Form.SSE else b",\r\n" + manner.error + answer.tail
