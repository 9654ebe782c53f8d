"""What the gateway may ask of a dialect: the half that clients speak, the half that upstreams speak.

A dialect is a package whose functions have these signatures. It holds no state: ids, time and looked-up signatures are
passed in. Which dialect a request is in, is decided by `gateway/routes.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol, TypeAlias

import msgspec

from regrant.messages.catalogue import ModelInfo
from regrant.messages.model import Effort, Reply, Request, ToolCall
from regrant.messages.problem import Problem, ProblemKind
from regrant.messages.stream import Event

NO_NAMES: Mapping[str, str] = MappingProxyType({})

ROOM_TO_THINK = 4096
"""Tokens of an answer, below which a model that thinks by itself might leave no room for the answer."""

JSON = b"application/json"
SSE = b"text/event-stream"

Signatures: TypeAlias = Callable[[ToolCall], str | None]
"""The thought signature to send with a tool call of the history, be it the client's own or one that was kept here."""


def own_signature(call: ToolCall) -> str | None:
    """What the client sent, for want of anything better."""
    return call.signature


class ReplyContext(msgspec.Struct, frozen=True, kw_only=True):
    """What a reply in a client's dialect says beside the reply itself."""

    id: str
    """Unique, made of letters, digits and `-_`; the dialect puts its own prefix (`chatcmpl-`) in front."""
    created: int
    """Unix seconds."""
    model: str
    """The name that the client asked for; answers echo it."""
    include_usage: bool = False
    freeform_tools: frozenset[str] = frozenset()
    """Names of the tools whose arguments the client wants as plain text."""
    thinks: bool = False
    """The client asked the model to think, so that it expects thoughts in the answer."""


def reply_context(request: Request, *, id: str, created: int) -> ReplyContext:  # noqa: A002  the field's own name
    """The context of the answer to `request`."""
    return ReplyContext(
        id=id,
        created=created,
        model=request.model,
        include_usage=request.include_usage,
        freeform_tools=frozenset(tool.name for tool in request.tools if tool.freeform),
        thinks=request.reasoning is not None and request.reasoning.effort is not Effort.NONE,
    )


_NOT_SOON = frozenset({ProblemKind.QUOTA_EXHAUSTED, ProblemKind.NO_ACCOUNTS})
"""Gone for hours, or until a person acts: SDKs that ask again within seconds only hide the message."""


class ProblemAnswer(msgspec.Struct, frozen=True):
    """A problem as an HTTP answer; `headers` hold the content type and, where known, `retry-after`."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


def answer_problem(problem: Problem, *, status: int, body: bytes) -> ProblemAnswer:
    """`body` with the headers that official SDKs of all vendors heed."""
    headers = [(b"content-type", JSON)]
    if problem.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % max(0, math.ceil(problem.retry_after_s))))
    if problem.kind in _NOT_SOON:
        headers.append((b"x-should-retry", b"false"))
    return ProblemAnswer(status, tuple(headers), body)


class StreamEncoder(Protocol):
    """Writes one streamed reply. Events must obey the grammar of `messages/stream.py`."""

    def encode(self, event: Event) -> bytes:
        """The bytes that tell `event`; b"" when this dialect says nothing about it.

        Raises: DialectError for a part that the dialect cannot hold; the caller then ends with `fail`.
        """
        ...

    def keep_alive(self) -> bytes:
        """Bytes that say nothing but that the gateway is still there. Legal between any two events."""
        ...

    def fail(self, problem: Problem) -> bytes:
        """The dialect's error event, after which the stream must not be continued. It never looks finished."""
        ...


class ProblemDialect(Protocol):
    """The part of a dialect that every route needs, even one that passes bodies through."""

    def encode_problem(self, problem: Problem) -> ProblemAnswer: ...

    def encode_models(self, models: Sequence[ModelInfo]) -> bytes: ...

    def encode_model(self, model: ModelInfo) -> bytes: ...


class ServerDialect(ProblemDialect, Protocol):
    """What clients speak."""

    def decode_request(self, body: bytes) -> Request:
        """Raises: DialectError, naming the field."""
        ...

    def encode_reply(self, reply: Reply, *, context: ReplyContext) -> bytes:
        """Raises: DialectError for a part that the dialect cannot hold."""
        ...

    def stream_encoder(self, context: ReplyContext) -> StreamEncoder: ...


class UpstreamRequest(msgspec.Struct, frozen=True):
    """A request in an upstream's words."""

    body: bytes
    names: Mapping[str, str] = NO_NAMES
    """Tool names as sent -> as the client knows them; only those that differ. For the decoder of the reply."""
    dropped: tuple[str, ...] = ()
    """Knobs of the request that this model does not have, to be recorded with the exchange."""


class ReplyDecoder(Protocol):
    """Reads one streamed reply of an upstream. It never raises: what cannot be read is Failed."""

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that `chunk` completes, however the stream was cut."""
        ...

    def end(self) -> list[Event]:
        """The last events, once the body has ended cleanly: Finished, or Failed if it ended too early."""
        ...


class ClientDialect(Protocol):
    """What upstreams speak."""

    def encode_request(
        self, request: Request, *, model: str, signatures: Signatures = own_signature
    ) -> UpstreamRequest:
        """The body that asks `model`, the upstream's own name. Raises: DialectError, naming the part."""
        ...

    def reply_decoder(self, *, call_prefix: str, names: Mapping[str, str]) -> ReplyDecoder:
        """`call_prefix` begins the ids of tool calls that the upstream left without one; unique per reply."""
        ...

    def decode_reply(self, body: bytes, *, call_prefix: str, names: Mapping[str, str]) -> list[Event]:
        """The events of an answer that came in one piece."""
        ...
