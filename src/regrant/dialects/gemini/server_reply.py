"""A reply as Gemini writes it, whole, as server-sent events or as an array that grows.

Like `server_request.py` it has no route yet: Gemini's own answers reach Gemini clients byte for byte.

Theory of operation. A chunk of a stream is an answer of its own, so that one description serves all forms. Text goes out as it
comes. A signature closes its part for every reader, so that it is written when the part has ended. Gemini's calls are
always whole: arguments that come in pieces are gathered. Finish reasons, sources and usage stand in the last chunk, which is
written for Finished only: a stream that failed ends with an error object in its place, and never looks finished.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import msgspec

from regrant.dialects.base import ReplyContext
from regrant.dialects.gemini.errors import encode_error
from regrant.dialects.gemini.server_finish import blocked_prompt, describe_finish, describe_usage
from regrant.messages.model import EMPTY_OBJECT, Finish, Media, Reply, ReplyPart, Text, Thinking, ToolCall
from regrant.messages.problem import Problem
from regrant.messages.stream import Event, Failed, Finished, PartDelta, PartEnded, PartStarted, Started
from regrant.sse import encode_data

ChunkForm: TypeAlias = Literal["sse", "array"]
"""`streamGenerateContent` with and without `alt=sse`."""

_SEPARATOR = b"\n,\n"
_SILENCE: dict[str, Any] = {"text": ""}
"""Google's SDK forgets the whole turn over a content without parts."""

_Parts: TypeAlias = list[dict[str, Any]]


def encode_reply(reply: Reply, *, context: ReplyContext) -> bytes:
    """Thoughts that another vendor keeps encrypted are left out: no client can read them."""
    contents = [_Content() for _ in reply.choices]
    for content, choice in zip(contents, reply.choices, strict=True):
        for part in choice.parts:
            content.add(part)
    finishes = [choice.finish for choice in reply.choices]
    answer = _describe_end(finishes, contents, [content.parts for content in contents])
    return msgspec.json.encode(
        answer | {"usageMetadata": describe_usage(reply.usage)} | _describe_head(context)
    )


class GeminiStreamEncoder:
    def __init__(self, context: ReplyContext, form: ChunkForm) -> None:
        self._head = _describe_head(context)
        self._form = form
        self._begun = False
        self._contents: dict[int, _Content] = {}

    def encode(self, event: Event) -> bytes:
        match event:
            case PartStarted():
                content = self._contents.setdefault(event.choice, _Content())
                return self._say(event.choice, content.start(event.part))
            case PartDelta():
                return self._say(event.choice, self._contents[event.choice].go_on(event.text))
            case PartEnded():
                return self._say(event.choice, self._contents[event.choice].end(event.signature))
            case Finished():
                return self._finish(event)
            case Failed():
                return self.fail(event.problem)
            case Started():
                return b""

    def keep_alive(self) -> bytes:
        """An empty line, not the usual comment, which google-genai takes for a broken answer.

        Nothing in an array: clients that split it themselves expect Google's separators only.
        """
        return b"\n" if self._form == "sse" else b""

    def fail(self, problem: Problem) -> bytes:
        return self._write(encode_error(problem), last=True)

    def _say(self, number: int, parts: _Parts) -> bytes:
        if not parts:
            return b""
        return self._chunk({"candidates": [_describe_candidate(number, parts)]})

    def _finish(self, event: Finished) -> bytes:
        contents = [self._contents.get(finish.choice, _Content()) for finish in event.finishes]
        answer = _describe_end(event.finishes, contents, [[] for _ in contents])
        return self._chunk(answer | {"usageMetadata": describe_usage(event.usage)}, last=True)

    def _chunk(self, answer: dict[str, Any], *, last: bool = False) -> bytes:
        return self._write(msgspec.json.encode(answer | self._head), last=last)

    def _write(self, answer: bytes, *, last: bool) -> bytes:
        if self._form == "sse":
            return encode_data(answer)
        before, self._begun = _SEPARATOR if self._begun else b"[", True
        return before + answer + (b"\n]" if last else b"")


class _Content:
    """What one choice says, part by part. Each step returns the parts to write now."""

    __slots__ = ("_open", "_pieces", "_said", "parts", "spoke")

    def __init__(self) -> None:
        self.parts: _Parts = []
        self.spoke = False
        self._said: list[str] = []
        self._open: ReplyPart | None = None
        self._pieces: list[str] = []

    @property
    def text(self) -> str:
        """The visible text, which citations count in."""
        return "".join(self._said)

    def add(self, part: ReplyPart) -> None:
        """A part that is whole."""
        self._note(part)
        self.parts.extend(_describe_part(part))

    def start(self, part: ReplyPart) -> _Parts:
        self._note(part)
        self._open, self._pieces = part, []
        match part:
            case ToolCall():
                return []
            case Text() | Thinking():
                return _describe_part(msgspec.structs.replace(part, signature=None))
            case Media():
                return _describe_part(part)

    def go_on(self, more: str) -> _Parts:
        part = self._open
        if isinstance(part, ToolCall):
            self._pieces.append(more)
            return []
        if isinstance(part, Text):
            self._said.append(more)
        return [_describe_text(part, more)] if isinstance(part, Text | Thinking) and more else []

    def end(self, signature: str | None) -> _Parts:
        part, self._open = self._open, None
        match part:
            case ToolCall():
                args = bytes(part.args) + "".join(self._pieces).encode()
                raw = msgspec.Raw(args) if args else EMPTY_OBJECT
                return [_describe_call(part, raw, signature or part.signature)]
            case Text() | Thinking() if signature := signature or part.signature:
                return [_describe_text(part, "") | {"thoughtSignature": signature}]
            case _:
                return []

    def _note(self, part: ReplyPart) -> None:
        self.spoke = True
        if isinstance(part, Text):
            self._said.append(part.text)


def _describe_head(context: ReplyContext) -> dict[str, Any]:
    """What every chunk repeats."""
    return {"modelVersion": context.model, "responseId": context.id}


def _describe_end(
    finishes: Sequence[Finish], contents: Sequence[_Content], parts: Sequence[_Parts]
) -> dict[str, Any]:
    if blocked := blocked_prompt(finishes, spoke=any(content.spoke for content in contents)):
        return {"promptFeedback": blocked}
    candidates = [
        _describe_candidate(finish.choice, said) | describe_finish(finish, content.text)
        for finish, content, said in zip(finishes, contents, parts, strict=True)
    ]
    return {"candidates": candidates}


def _describe_candidate(number: int, parts: _Parts) -> dict[str, Any]:
    return {"content": {"parts": parts or [_SILENCE], "role": "model"}, "index": number}


def _describe_part(part: ReplyPart) -> _Parts:
    match part:
        case ToolCall():
            return [_describe_call(part, part.args, part.signature)]
        case Media(uri=""):
            return [{"inlineData": {"mimeType": part.mime, "data": part.data}}]
        case Media():
            return [{"fileData": {"mimeType": part.mime, "fileUri": part.uri}}]
        case Text() | Thinking():
            if part.signature:
                return [_describe_text(part, part.text) | {"thoughtSignature": part.signature}]
            return [_describe_text(part, part.text)] if part.text else []


def _describe_text(part: Text | Thinking, text: str) -> dict[str, Any]:
    return {"text": text, "thought": True} if isinstance(part, Thinking) else {"text": text}


def _describe_call(call: ToolCall, args: msgspec.Raw, signature: str | None) -> dict[str, Any]:
    described: dict[str, Any] = {"functionCall": {"id": call.id, "name": call.name, "args": args}}
    return described | {"thoughtSignature": signature} if signature else described
