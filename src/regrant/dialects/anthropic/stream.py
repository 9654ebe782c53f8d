"""A streamed reply as Anthropic's events.

Theory of operation. One block is open at a time. A part opens its block with its first words, so that a part without
words has none. A block of text or thoughts stays open after its part has ended, until the next one opens or the reply
ends: only then is it known whether a signature or citations belong to it. The events of one delta differ in their text
only, so that all around it is encoded when the block opens. `message_stop` is written for Finished only: a stream that
failed ends with an `error` event, so that no client takes it for complete.
"""

from __future__ import annotations

from typing import Any

import msgspec

from regrant.dialects.anthropic import signature
from regrant.dialects.anthropic.errors import encode_failure
from regrant.dialects.anthropic.reply import (
    describe_call,
    describe_citation,
    describe_message,
    describe_search,
    describe_stop,
    describe_thinking,
    describe_usage,
    refuse_media,
)
from regrant.dialects.base import ReplyContext
from regrant.messages.model import Citation, Media, Text, Thinking, ToolCall
from regrant.messages.problem import Problem
from regrant.messages.stream import Event, Failed, Finished, PartDelta, PartEnded, PartStarted, Started

PING = b'event: ping\ndata: {"type":"ping"}\n\n'

_encode = msgspec.json.encode
_DELTA = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":%s}\n\n'
_STOP = b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n'
_TEXT = b'{"type":"text_delta","text":%s}'
_THINKING = b'{"type":"thinking_delta","thinking":%s}'
_ARGUMENTS = b'{"type":"input_json_delta","partial_json":%s}'
_SIGNATURE = b'{"type":"signature_delta","signature":%s}'
_CITATION = b'{"type":"citations_delta","citation":%s}'


class AnthropicStreamEncoder:
    def __init__(self, context: ReplyContext) -> None:
        self._context = context
        self._index = -1
        self._kind = b""
        """The delta of the open block; b"" when no block is open."""
        self._template = b""
        """An event of the open block around its encoded text."""
        self._waiting = b""
        """The kind of the current part, as long as it has said nothing."""
        self._said: list[str] = []
        """The visible text, which citations count in."""

    def encode(self, event: Event) -> bytes:
        """Raises: DialectError for pictures and sounds. Choices but the first are not told: nobody can ask for them."""
        match event:
            case PartDelta():
                return self._say(event.text) if event.choice == 0 else b""
            case PartStarted():
                return self._start_part(event) if event.choice == 0 else b""
            case PartEnded():
                return self._end_call() if event.choice == 0 else b""
            case Started():
                message = describe_message(self._context, [])
                return _event(b"message_start", {"type": "message_start", "message": message})
            case Finished():
                return self._finish(event)
            case Failed():
                return self.fail(event.problem)

    def keep_alive(self) -> bytes:
        return PING

    def fail(self, problem: Problem) -> bytes:
        return encode_failure(problem)

    def _start_part(self, event: PartStarted) -> bytes:
        part = event.part
        match part:
            case Text():
                self._waiting = _TEXT
                return self._say(part.text)
            case Thinking():
                if part.redacted is not None:
                    return self._whole_block(describe_thinking(part))
                self._waiting = _THINKING
                return self._say(part.text)
            case ToolCall():
                return self._start_call(part)
            case Media():
                raise refuse_media(part)

    def _say(self, text: str) -> bytes:
        if not text:
            return b""
        opened = b""
        if self._waiting:
            kind, self._waiting = self._waiting, b""
            block = {"type": "text", "text": ""}
            if kind is _THINKING:
                block = {"type": "thinking", "thinking": "", "signature": ""}
            opened = self._close() + self._open(kind, block)
        if self._kind is _TEXT:
            self._said.append(text)
        return opened + self._template % _encode(text)

    def _start_call(self, call: ToolCall) -> bytes:
        closed = b""
        if call.signature and self._context.thinks and self._kind is not _THINKING:
            closed = self._close()
            closed += self._open(_THINKING, {"type": "thinking", "thinking": "", "signature": ""})
        closed += self._close(call.signature)
        block = describe_call(call) | {"input": {}}
        self._waiting = b""
        opened = closed + self._open(_ARGUMENTS, block)
        args = bytes(call.args).decode()
        return opened + (self._template % _encode(args) if args else b"")

    def _end_call(self) -> bytes:
        return self._close() if self._kind is _ARGUMENTS else b""

    def _open(self, kind: bytes, block: dict[str, Any]) -> bytes:
        self._index += 1
        self._kind = kind
        self._template = _DELTA.replace(b"%s", kind) % (self._index, b"%s")
        start = {"type": "content_block_start", "index": self._index, "content_block": block}
        return _event(b"content_block_start", start)

    def _close(self, of_call: str | None = None) -> bytes:
        """End the open block, if there is one; a thinking block with the signature of the call that follows."""
        if not self._kind:
            return b""
        signed = b""
        if self._kind is _THINKING:
            signed = _DELTA % (self._index, _SIGNATURE % _encode(signature.wrap(of_call)))
        self._kind = b""
        return signed + _STOP % self._index

    def _whole_block(self, block: dict[str, Any]) -> bytes:
        closed = self._close()
        self._waiting = b""
        return closed + self._open(_TEXT, block) + self._close()

    def _finish(self, event: Finished) -> bytes:
        finish = event.finishes[0]
        pieces: list[bytes] = []
        if finish.citations:
            pieces.append(self._cite(finish.citations))
        pieces.append(self._close())
        usage = describe_usage(event.usage, searched=bool(finish.citations))
        delta = {"type": "message_delta", "delta": describe_stop(finish), "usage": usage}
        pieces.append(_event(b"message_delta", delta))
        pieces.append(_event(b"message_stop", {"type": "message_stop"}))
        return b"".join(pieces)

    def _cite(self, citations: tuple[Citation, ...]) -> bytes:
        pieces: list[bytes] = []
        if self._kind is _TEXT:
            text = "".join(self._said)
            described = [_encode(describe_citation(citation, text)) for citation in citations]
            pieces.extend(_DELTA % (self._index, _CITATION % one) for one in described)
        pieces.extend(self._whole_block(block) for block in describe_search(citations, self._context.id))
        return b"".join(pieces)


def _event(name: bytes, data: dict[str, Any]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name, _encode(data))
