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
from dataclasses import dataclass
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

    async def wait(self, seconds: float | None) -> None:
        """Sleep, for ever if None. Raises Gone as soon as the client leaves or the sandbox stops."""
        left = asyncio.ensure_future(self.until_gone())
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

    async def until_gone(self) -> None:
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
        await self.send({"type": "http.response.body", "body": data, "more_body": not last})

    async def drop(self, *, reset: bool) -> None:
        """Break the connection: a reset loses what was sent, a close lets it arrive first."""
        if reset:
            raw = self.transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
        else:
            self.transport.close()
        await self.until_gone()
        raise Dropped


async def deliver_plainly(exchange: Exchange, answer: Answer) -> None:
    """Send a whole answer at once; for the control API, which has no journal."""
    try:
        await exchange.head(answer)
        await exchange.piece(answer.body, last=True)
    except Gone:
        await exchange.until_gone()


async def deliver(exchange: Exchange, answer: Answer, manner: Manner, entry: Entry, journal: Journal) -> None:
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
        await _interrupt(exchange, manner, b"")
    entry.answered_sha256 = hashlib.sha256(body).hexdigest()
    await exchange.piece(body, last=True)


async def _send_stream(exchange: Exchange, answer: Answer, manner: Manner, entry: Entry) -> None:
    stop_at = _stop_at(answer, manner)
    sent = hashlib.sha256()
    for index, piece in enumerate(answer.pieces[:stop_at]):
        if manner.each or (manner.pause and index and index == manner.after):
            await exchange.wait(manner.each or manner.pause)
        sent.update(piece)
        await exchange.piece(piece)
        await asyncio.sleep(0)
    if stop_at is not None:
        await _interrupt(exchange, manner, answer.pieces[stop_at])
    ending = _ending(answer, manner, stop_at)
    sent.update(ending)
    entry.answered_sha256 = sent.hexdigest()
    await exchange.piece(ending, last=True)


def _stop_at(answer: Answer, manner: Manner) -> int | None:
    """An interruption always shows: it comes before the last chunk, which holds the finishReason."""
    if manner.then is Then.GO_ON or manner.after is None:
        return None
    return min(manner.after, len(answer.pieces) - 1)


async def _interrupt(exchange: Exchange, manner: Manner, next_piece: bytes) -> None:
    if manner.mid_chunk:
        await exchange.piece(next_piece[: len(next_piece) // 2])
    if manner.then is Then.CUT:
        await exchange.drop(reset=False)
    if manner.then is Then.HANG:
        await exchange.wait(None)


def _ending(answer: Answer, manner: Manner, stop_at: int | None) -> bytes:
    """What closes the body. An error in mid-stream is a bare JSON object over several lines, without `data:`.

    Source: docs/sources.md, section 3.
    """
    error = manner.error if manner.then is Then.ERROR else b""
    if answer.form is Form.SSE:
        return error
    opening = b"[" if stop_at == 0 else b",\r\n" if error else b""
    return opening + error + answer.tail
