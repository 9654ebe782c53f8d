"""What an answer is: bytes in, status, fields and body pieces out, with every limit and refusal of a hostile peer.

Framing is llhttp's, by httptools: both length fields at once, a repeated or malformed Content-Length, bare line
feeds, folded lines and bad chunk sizes are its refusals, left strict on purpose. This file adds limits, the
meaning of 1xx, HEAD and end-of-connection, and refuses codings that it cannot unframe. No I/O: `answer.py` feeds it.
"""

from __future__ import annotations

import httptools

from regrant.errors import BadAnswer, BodyCut, ResetBeforeAnswer, TransportError

MAX_HEAD_BYTES = 64 * 1024  # over all 1xx heads and the final one together
MAX_FIELDS = 200
_VERSIONS = frozenset({"1.0", "1.1"})
_FIRST_BYTE = ord("H")  # llhttp would also take RTSP/ and ICE/


class AnswerParser:
    """The answer to one request. After an error has been raised it must not be fed again."""

    __slots__ = (
        "_field_bytes",
        "_framing_bytes",
        "_head_bytes",
        "_interim",
        "_parser",
        "_pieces",
        "_to_head",
        "buffered",
        "complete",
        "head_done",
        "headers",
        "keep_alive",
        "status",
        "surplus",
        "until_close",
    )

    def __init__(self, *, to_head: bool = False) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.head_done = False
        self.complete = False
        self.keep_alive = False
        self.surplus = False
        """Bytes came after the end of the answer: nothing on this connection can be trusted any more.

        Blank lines in the same segment are swallowed by llhttp unseen; they can start no answer.
        """
        self.until_close = False
        self.buffered = 0
        self._pieces: list[bytes] = []
        self._to_head = to_head
        self._interim = False
        self._head_bytes = 0  # fed, of heads not complete yet
        self._field_bytes = 0  # parsed
        self._framing_bytes = 0
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        """Take in what came. Raises BadAnswer before the end of the head, BodyCut after it."""
        if self.complete:
            self.surplus = True
            return
        if not self.head_done and not self._head_bytes and data[0] != _FIRST_BYTE:
            raise BadAnswer("the answer does not begin with an HTTP status line")
        in_body, buffered = self.head_done, self.buffered
        assert self._parser is not None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as exc:
            raise _own_error(exc) from None
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as exc:
            self._refuse(exc)
        if in_body:
            self._count_framing(len(data), progress=self.buffered > buffered)
        elif not self.head_done:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                raise _head_too_large()

    def feed_end(self, *, proper: bool) -> None:
        """The peer sends no more. `proper`: it said so itself (FIN, over TLS close_notify), nothing broke.

        Raises ResetBeforeAnswer or BodyCut unless the answer was complete or this is how its body ends.
        """
        if self.complete:
            return
        if not self.head_done:
            raise ResetBeforeAnswer("the connection was closed before the head of an answer had come")
        if not (self.until_close and proper):
            raise BodyCut("the connection was closed before the end of the answer's body")
        self._finish()

    def take(self) -> bytes:
        """All body bytes that have come since the last call."""
        pieces = self._pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self.buffered = 0
        return data

    def _finish(self) -> None:
        self.complete = True
        self._parser = None  # it holds this object: together they would wait for the garbage collector

    def _refuse(self, exc: Exception) -> None:
        if self.complete:
            self.surplus = True
        elif self.head_done:
            raise BodyCut("the framing of the answer's body is broken") from exc
        else:
            raise BadAnswer(f"the answer is not proper HTTP/1.1 ({type(exc).__name__})") from exc

    def on_message_begin(self) -> None:
        if self.complete:
            self.surplus = True

    def on_status(self, reason: bytes) -> None:
        if not self.head_done:
            self._field_bytes += len(reason)
            if self._field_bytes > MAX_HEAD_BYTES:
                raise _head_too_large()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.head_done:
            return  # a trailer: nothing that comes after the body may change what was decided before it
        headers = self.headers
        headers.append((name.lower(), value.strip(b" \t")))
        self._field_bytes += len(name) + len(value) + 4
        if len(headers) > MAX_FIELDS:
            raise BadAnswer(f"the answer has more than {MAX_FIELDS} header fields")
        if self._field_bytes > MAX_HEAD_BYTES:
            raise _head_too_large()

    def on_headers_complete(self) -> None:
        if self.head_done:
            return
        parser = self._parser
        assert parser is not None
        status = parser.get_status_code()
        if status < 200:
            if status < 100 or status == 101:
                raise BadAnswer(f"the answer has status {status}, which was not asked for")
            self._interim = True
            self.headers.clear()
            return
        if parser.get_http_version() not in _VERSIONS:
            raise BadAnswer("the answer is neither HTTP/1.0 nor HTTP/1.1")
        self.status = status
        self._decide_framing(parser)
        self.head_done = True

    def on_body(self, data: bytes) -> None:
        if self.complete:
            self.surplus = True
            return
        self._pieces.append(data)
        self.buffered += len(data)

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
        else:
            self._finish()

    def _count_framing(self, size: int, *, progress: bool) -> None:
        """Bound what is neither head nor body: chunk extensions and trailers that never end."""
        self._framing_bytes = 0 if progress else self._framing_bytes + size
        if self._framing_bytes > MAX_HEAD_BYTES and not self.complete:
            raise BodyCut("the answer's chunk extensions or trailers are too large")

    def _decide_framing(self, parser: httptools.HttpResponseParser) -> None:
        framed = False
        codings = []
        for name, value in self.headers:
            if name == b"content-length":
                framed = True
            elif name == b"transfer-encoding":
                codings.append(value.lower())
        if codings and codings != [b"chunked"]:
            raise BadAnswer("the answer has a Transfer-Encoding other than chunked")
        if self._to_head:
            # llhttp does not know that this answer has no body, so what follows it cannot be told from garbage:
            # the connection is not used again.
            self._finish()
            return
        self.keep_alive = parser.should_keep_alive()
        self.until_close = not framed and not codings and self.status not in (204, 304)


def _head_too_large() -> BadAnswer:
    return BadAnswer(f"the head of the answer is larger than {MAX_HEAD_BYTES // 1024} kB")


def _own_error(exc: Exception) -> BaseException:
    """What a callback raised; httptools keeps it as the context of its own error."""
    cause = exc.__context__
    return cause if isinstance(cause, TransportError) else exc
