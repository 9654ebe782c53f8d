"""Server-sent events as bytes: the decoder for what upstreams send, the encoders for what clients get.

What the data means is in `dialects/`. Source: HTML Living Standard, section 9.2.6. A lone CR as the end of a line is not
understood: no known server sends it.
"""

from __future__ import annotations

import msgspec

KEEP_ALIVE = b": keep-alive\n\n"
"""A comment, which every client skips."""

STRAY_LIMIT_BYTES = 65_536
"""How much of what is not SSE is kept: an error object fits, a misdirected download does not."""


class SseEvent(msgspec.Struct, frozen=True, gc=False):
    data: bytes
    name: bytes = b""


class SseDecoder:
    """Turns chunks, however they are cut, into events.

    Lines that are no field of the standard are gathered in `stray`: Google writes an error in mid-stream as bare JSON.
    """

    def __init__(self) -> None:
        self.stray = bytearray()
        self._tail: list[bytes] = []
        self._data: list[bytes] = []
        self._name = b""

    @property
    def idle(self) -> bool:
        """No event and no line is open: the stream may end here without a loss."""
        return not (self._tail or self._data)

    def feed(self, chunk: bytes) -> list[SseEvent]:
        """The events that `chunk` completes."""
        if b"\n" not in chunk:
            if chunk:
                self._tail.append(chunk)
            return []
        if self._tail:
            self._tail.append(chunk)
            chunk = b"".join(self._tail)
            self._tail.clear()
        if b"\r" in chunk:
            chunk = chunk.replace(b"\r\n", b"\n")
        lines = chunk.split(b"\n")
        if rest := lines.pop():
            self._tail.append(rest)
        return self._read_lines(lines)

    def end(self) -> list[SseEvent]:
        """What is left when the stream is over: an event that lacks only its blank line counts."""
        lines = [b"".join(self._tail).removesuffix(b"\r"), b""]
        self._tail.clear()
        return self._read_lines(lines)

    def _read_lines(self, lines: list[bytes]) -> list[SseEvent]:
        events: list[SseEvent] = []
        for line in lines:
            if not line:
                if data := self._data:
                    events.append(SseEvent(data[0] if len(data) == 1 else b"\n".join(data), self._name))
                    data.clear()
                self._name = b""
            elif line.startswith(b"data:"):
                self._data.append(line[6:] if line[5:6] == b" " else line[5:])
            else:
                self._read_other(line)
        return events

    def _read_other(self, line: bytes) -> None:
        field, _, value = line.partition(b":")
        if field == b"event":
            self._name = value.removeprefix(b" ")
        elif field not in {b"", b"id", b"retry", b"data"} and len(self.stray) < STRAY_LIMIT_BYTES:
            self.stray += line + b"\n"


def encode_data(data: bytes) -> bytes:
    """One unnamed event. `data` must be a single line, as encoded JSON is."""
    return b"data: " + data + b"\n\n"


def encode_event(name: bytes, data: bytes) -> bytes:
    """One named event. `data` must be a single line, as encoded JSON is."""
    return b"event: " + name + b"\ndata: " + data + b"\n\n"
