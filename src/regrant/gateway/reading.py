"""Reading one upstream answer up to the point where it is known to be an answer.

Three ways: relayed bytes (Gemini to Gemini), a translated stream, and a translated answer in one piece. Each tells when
the first event is there (`ready`) and, before that, whether it is an error of Google's inside a 200 (`failure`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Protocol, TypeAlias

from regrant.dialects import gemini
from regrant.dialects.decoding import is_json_object
from regrant.dialects.gemini import GeminiStreamScanner, StreamForm
from regrant.messages.model import Reply, ToolCall
from regrant.messages.stream import Event, Failed, Finished, PartDelta, PartStarted
from regrant.transport.model import Response

Note: TypeAlias = Callable[[ToolCall], None]
"""Told of every tool call in an answer."""


class Reading(Protocol):
    @property
    def ready(self) -> bool:
        """The first event is complete: time to commit to this upstream, unless `failure` is set."""
        ...

    @property
    def failure(self) -> bytes | None:
        """The upstream's error object, when the answer turned out to be one."""
        ...

    def feed(self, chunk: bytes) -> None: ...

    def end(self) -> None:
        """The body has ended cleanly."""
        ...


class Relay:
    """Bytes that go to the client as they came. `held` are those that came before the commit point."""

    def __init__(self, form: StreamForm, *, generates: bool) -> None:
        self.scanner = GeminiStreamScanner(form)
        self.held: list[bytes] = []
        self._generates = generates
        self._garbled: bytes | None = None
        """A whole body that is no JSON object: some portal's or proxy's, never Google's."""

    @property
    def ready(self) -> bool:
        return self.scanner.started

    @property
    def failure(self) -> bytes | None:
        return self.scanner.error if self._garbled is None else self._garbled

    @property
    def incomplete(self) -> bool:
        """The answer has ended, and no client may take it for whole."""
        return self._generates and self.scanner.form != "json" and not self.scanner.complete

    def feed(self, chunk: bytes) -> None:
        self.scanner.feed(chunk)
        self.held.append(chunk)

    def end(self) -> None:
        self.scanner.end()
        if self.scanner.form == "json" and not self.scanner.legible:
            body = b"".join(self.held)
            self._garbled = None if is_json_object(body) else body

    def take(self) -> bytes:
        """What was held back until now, without the bracket that would make a broken array look complete."""
        held = b"".join(self.held)
        self.held.clear()
        if self.scanner.closed and self.incomplete:
            return held.rstrip().removesuffix(b"]")
        return held


class Stream:
    """A stream that is translated. `events` wait to be encoded."""

    def __init__(self, *, call_prefix: str, names: Mapping[str, str], note: Note) -> None:
        self._decoder = gemini.reply_decoder(call_prefix=call_prefix, names=names)
        self._note = note
        self.events: list[Event] = []
        self.over = False
        self._ready = False
        self._failure: bytes | None = None

    @property
    def ready(self) -> bool:
        return self._ready

    @property
    def failure(self) -> bytes | None:
        return self._failure

    def feed(self, chunk: bytes) -> None:
        self._take(self._decoder.feed(chunk))

    def end(self) -> None:
        self._take(self._decoder.end())

    def _take(self, events: list[Event]) -> None:
        for event in events:
            match event:
                case PartDelta():
                    pass  # nearly all events of a long stream
                case PartStarted():
                    self._ready = True
                    if isinstance(event.part, ToolCall):
                        self._note(event.part)
                case Finished():
                    self.over = self._ready = True
                case Failed():
                    self.over = True
                    if not self._ready:
                        self._failure = event.upstream_error
                case _:
                    pass
        self.events += events


class Whole:
    """An answer in one piece, translated once it is complete."""

    def __init__(self, *, call_prefix: str, names: Mapping[str, str], note: Note) -> None:
        self._call_prefix = call_prefix
        self._names = names
        self._note = note
        self._body: list[bytes] = []
        self.reply: Reply | Failed | None = None
        self._failure: bytes | None = None

    @property
    def ready(self) -> bool:
        return self.reply is not None

    @property
    def failure(self) -> bytes | None:
        return self._failure

    def feed(self, chunk: bytes) -> None:
        self._body.append(chunk)

    def end(self) -> None:
        body = b"".join(self._body)
        self.reply = reply = gemini.read_reply(body, call_prefix=self._call_prefix, names=self._names)
        if isinstance(reply, Failed):
            self._failure = reply.upstream_error
            return
        for choice in reply.choices:
            for part in choice.parts:
                if isinstance(part, ToolCall):
                    self._note(part)


class Readable(Protocol):
    """An upstream answer under way."""

    response: Response
    reading: Reading
    chunks: AsyncIterator[bytes]
    ended: bool


async def read_next(answer: Readable) -> None:
    """Feed the next bytes to the reading, and tell it if they were the last. Raises TransportError."""
    try:
        answer.reading.feed(await anext(answer.chunks))
    except StopAsyncIteration:
        answer.ended = True
    else:
        answer.ended = answer.response.complete
    if answer.ended:
        answer.reading.end()
