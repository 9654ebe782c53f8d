"""Writing one answer to a client: its head once, its body, and the headers that every answer carries.

What is written is decided by the callers; bytes on a connection are `listener/`.
"""

from __future__ import annotations

import functools
import time

from regrant.dialects.base import ProblemAnswer
from regrant.listener.conversation import Conversation
from regrant.listener.head import Fields, encode_fields
from regrant.traffic.exchange import Exchange

JSON = (b"content-type", b"application/json")
_JSON_ONLY = (JSON,)

_CONTROLS = dict.fromkeys((*range(32), 127), "?")


@functools.lru_cache(maxsize=256)
def _field_value(text: str) -> bytes:
    """`text` as a header may hold it: a client's model name comes here with whatever is in it."""
    return text[:200].translate(_CONTROLS).encode("latin-1", "replace")


@functools.lru_cache(maxsize=256)
def _field_lines(fields: tuple[tuple[bytes, bytes], ...]) -> bytes:
    return encode_fields(fields)


class ConnectionAborted(Exception):  # raised to make the server drop the connection
    """The body cannot be ended honestly: the connection is dropped in the middle."""


class Answering:
    """One answer. `committed` is whether its head has gone out.

    `extra` are header lines for every answer; `id_header` is where the client's dialect looks for the id of its request,
    beside `x-request-id`.
    """

    __slots__ = ("_conversation", "_id_header", "committed", "exchange", "extra")

    def __init__(
        self, conversation: Conversation, exchange: Exchange, extra: bytes = b"", id_header: bytes = b""
    ) -> None:
        self._conversation = conversation
        self.exchange = exchange
        self.extra = extra
        self.committed = False
        self._id_header = id_header

    def start(self, status: int, headers: Fields) -> None:
        """The head of a streamed answer; it goes out with the first `write`."""
        exchange = self.exchange
        exchange.first_ms = (time.perf_counter() - exchange.started) * 1000
        self._conversation.start(status, self._lines(status, headers))

    async def write(self, data: bytes) -> None:
        if self.exchange.bodies is not None:
            self.exchange.bodies.take_answer(data)
        await self._conversation.write(data)

    def end(self, data: bytes = b"") -> None:
        if self.exchange.bodies is not None:
            self.exchange.bodies.take_answer(data)
        self._conversation.end(data)

    def whole(self, status: int, headers: Fields, body: bytes) -> None:
        """An answer in one piece."""
        if self.exchange.bodies is not None:
            self.exchange.bodies.take_answer(body)
        self._conversation.reply(status, self._lines(status, headers), body)

    def json(self, status: int, body: bytes) -> None:
        self.whole(status, _JSON_ONLY, body)

    def fail(self, problem: ProblemAnswer) -> None:
        """A problem as the whole answer. After the commit point there is only the way out of dropping the connection."""
        if self.committed:
            raise ConnectionAborted
        self.whole(problem.status, problem.headers, problem.body)

    def turn_away(self, problem: ProblemAnswer) -> None:
        """A problem told before the request was read, after which the connection ends."""
        self.whole(problem.status, (*problem.headers, (b"connection", b"close")), problem.body)

    def _lines(self, status: int, headers: Fields) -> bytes:
        exchange = self.exchange
        exchange.status = status
        self.committed = True
        name = exchange.id.encode()
        lines = b"%bx-request-id: %b\r\nx-regrant-model: %b\r\nx-regrant-attempts: %d\r\n%b" % (
            _field_lines(tuple(headers)),
            name,
            _field_value(exchange.served_model),
            len(exchange.attempts),
            self.extra,
        )
        return b"%b%b: %b\r\n" % (lines, self._id_header, name) if self._id_header else lines
