"""Claude on Vertex: the same protocol, but for what must change in a request, and a watch on the bytes of an answer.

Where it is asked and with which account is decided in `gateway/claude.py`. Source: docs/sources.md, section 5.
"""

from __future__ import annotations

import re

import msgspec

from regrant.dialects.anthropic import signature
from regrant.dialects.decoding import decode_body
from regrant.errors import DialectError
from regrant.messages.model import Usage
from regrant.sse import SseDecoder

VERSION = "vertex-2023-10-16"
COUNTER = "count-tokens"
"""The model that counts the tokens for all the others."""

_DATED = {
    "claude-opus-4-1": "20250805",
    "claude-opus-4-5": "20251101",
    "claude-sonnet-4-5": "20250929",
    "claude-haiku-4-5": "20251001",
}
"""Models whose names carry a date on Vertex; from 4.6 on none does."""

_DATE = re.compile(r"-(\d{8})\Z")
_BETAS = re.compile(r"Unexpected value\(s\) (.+?) for the `anthropic-beta` header")
_QUOTED = re.compile(r"`([^`]+)`")
_EXTRA = re.compile(r"\b(\w+)(?:\.[\w.]+)?: Extra inputs are not permitted")
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Metadata(msgspec.Struct):
    user_id: str | None = None


class Opening(msgspec.Struct):
    """What must be read of a request that is passed on."""

    model: str
    stream: bool | None = None
    metadata: _Metadata | None = None

    @property
    def conversation(self) -> str:
        return (self.metadata.user_id or "") if self.metadata else ""


class _Block(msgspec.Struct):
    text: str = ""


class _Start(msgspec.Struct):
    messages: list[msgspec.Raw]
    system: str | list[_Block] = ""


class _FirstMessage(msgspec.Struct):
    content: str | list[_Block] = ""


_START = msgspec.json.Decoder(_Start)
_FIRST_MESSAGE = msgspec.json.Decoder(_FirstMessage)
_OPENING = msgspec.json.Decoder(Opening)
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_LIST = msgspec.json.Decoder(list[msgspec.Raw])


def is_claude(name: str) -> bool:
    return name.lower().startswith("claude-")


def vertex_name(name: str) -> str:
    """Vertex's name for a model that Anthropic's own API calls `name`."""
    if "@" in name:
        return name
    dated = _DATE.sub(r"@\1", name)
    return f"{dated}@{_DATED[dated]}" if dated in _DATED else dated


def read_opening(body: bytes) -> Opening:
    """Raises: DialectError."""
    return decode_body(body, _OPENING)


def read_texts(body: bytes) -> tuple[str, ...]:
    """What a conversation opens with and keeps: its system prompt and its first message; () where they cannot be read.

    Only the words: the marks of a prompt cache wander through the messages as a conversation grows.
    """
    try:
        start = _START.decode(body)
        first = [_FIRST_MESSAGE.decode(raw).content for raw in start.messages[:1]]
    except _UNREADABLE:
        return ()
    return tuple(
        text
        for content in (start.system, *first)
        for text in ([content] if isinstance(content, str) else [block.text for block in content])
    )


def to_vertex(body: bytes, *, without: frozenset[str] = frozenset(), count_for: str = "") -> bytes:
    """The body for `:rawPredict`: all fields as they came but for the model, the version, and those in `without`.

    `count_for` is the model to count tokens for. Thoughts that another model thought are left out: Claude refuses their
    signatures. Raises: DialectError.
    """
    try:
        fields = _FIELDS.decode(body)
        if b'"' + signature.MARK.encode() in body and "messages" in fields:
            fields["messages"] = _without_foreign_thoughts(fields["messages"])
    except _UNREADABLE as error:
        raise DialectError(f"The body is not a Messages request: {error}") from error
    fields.pop("model", None)
    kept = {name: value for name, value in fields.items() if name not in without}
    head = {"anthropic_version": _raw(VERSION)} | ({"model": _raw(count_for)} if count_for else {})
    return msgspec.json.encode(head | kept)


def _without_foreign_thoughts(messages: msgspec.Raw) -> msgspec.Raw:
    mended: list[msgspec.Raw] = []
    for message in _LIST.decode(messages):
        fields = _FIELDS.decode(message)
        content = bytes(fields.get("content", b""))
        if content.startswith(b"["):
            blocks = [block for block in _LIST.decode(content) if not _is_foreign(block)]
            message = msgspec.Raw(
                msgspec.json.encode(fields | {"content": msgspec.Raw(msgspec.json.encode(blocks))})
            )
        mended.append(message)
    return msgspec.Raw(msgspec.json.encode(mended))


def _is_foreign(block: msgspec.Raw) -> bool:
    fields = _FIELDS.decode(block)
    return bytes(fields.get("signature", b"")).startswith(b'"' + signature.MARK.encode())


def _raw(text: str) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(text))


def read_objections(message: str) -> tuple[frozenset[str], frozenset[str]]:
    """The betas and the top-level fields that a refusal names, to be left out of the next try."""
    found = _BETAS.search(message)
    betas = frozenset(_QUOTED.findall(found[1])) if found else frozenset()
    return betas, frozenset(_EXTRA.findall(message))


class _Counts(msgspec.Struct):
    input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens: int | None = None


class _Message(msgspec.Struct):
    usage: _Counts | None = None


class _Telling(msgspec.Struct):
    usage: _Counts | None = None
    message: _Message | None = None


_TELLING = msgspec.json.Decoder(_Telling)


class AnthropicStreamScanner:
    """Fed every byte of a stream that is relayed; changes nothing and raises nothing."""

    def __init__(self) -> None:
        self.started = False
        self.complete = False
        """The last event has come."""
        self.error: bytes | None = None
        """The data of the first `error` event, as it came."""
        self.usage = Usage()
        self._sse = SseDecoder()

    @property
    def idle(self) -> bool:
        """No event is open: something else may be said here."""
        return self._sse.idle

    def feed(self, chunk: bytes) -> None:
        for event in self._sse.feed(chunk):
            match event.name:
                case b"error":
                    self.error = self.error or event.data
                case b"message_start" | b"message_delta":
                    self.started = True
                    self.usage = read_usage(event.data, self.usage)
                case b"message_stop":
                    self.complete = self.error is None
                case _:
                    pass


def read_usage(data: bytes, before: Usage = Usage()) -> Usage:  # noqa: B008  frozen
    """The token counts in a message or in an event; what it does not say stays as it was before."""
    try:
        told = _TELLING.decode(data)
    except _UNREADABLE:
        return before
    counts = told.usage or (told.message.usage if told.message else None)
    if counts is None:
        return before
    cached = _latest(counts.cache_read_input_tokens, before.cached_tokens)
    written = _latest(counts.cache_creation_input_tokens, before.cache_write_tokens)
    plain = before.input_tokens - before.cached_tokens - before.cache_write_tokens
    return Usage(
        input_tokens=_latest(counts.input_tokens, plain) + cached + written,
        cached_tokens=cached,
        cache_write_tokens=written,
        output_tokens=_latest(counts.output_tokens, before.output_tokens),
    )


def rename_reply(body: bytes, name: str) -> bytes:
    """A whole answer that calls the model `name`; what is no answer stays as it is."""
    try:
        fields = _FIELDS.decode(body)
    except _UNREADABLE:
        return body
    return msgspec.json.encode(fields | {"model": _raw(name)}) if "model" in fields else body


def rename_start(data: bytes, name: str) -> bytes:
    """The beginning of a streamed answer, in whose first event the model is called `name`."""
    lines = data.split(b"\n")
    for number, line in enumerate(lines):
        if line.startswith(b"data:") and b'"message_start"' in line:
            try:
                event = _FIELDS.decode(line[5:])
            except _UNREADABLE:
                return data
            event["message"] = msgspec.Raw(rename_reply(bytes(event.get("message", b"null")), name))
            lines[number] = b"data: " + msgspec.json.encode(event)
            break
    return b"\n".join(lines)


def _latest(told: int | None, before: int) -> int:
    return before if told is None else told
