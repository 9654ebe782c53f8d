"""From Gemini's answers, streamed or whole, to events.

Theory of operation. A whole answer is one chunk, and a stream is many, so both take the same path. Gemini has no notion of
a part that goes on: consecutive chunks of the same kind are taken as one part until the kind changes, a signature ends
it, or a tool call or a picture, which always come whole, stands between. Usage is cumulative and the last one counts. The
reply is Finished only when the body has ended and every candidate has a finish reason (or the prompt was blocked);
anything else, such as an error object in mid-stream, is Failed. Nothing is raised.
The JSON is declared in `wire.py`, errors are read in `errors.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeVar

import msgspec

from regrant.dialects.gemini import wire
from regrant.dialects.gemini.errors import UpstreamError, describe_error, read_error
from regrant.dialects.gemini.finish import describe_citations, describe_logprobs, finish_reason
from regrant.messages.fold import fold
from regrant.messages.model import (
    EMPTY_OBJECT,
    Choice,
    Citation,
    Finish,
    FinishReason,
    Media,
    Reply,
    ReplyPart,
    Text,
    Thinking,
    TokenLogprob,
    ToolCall,
    Usage,
)
from regrant.messages.problem import Problem, ProblemKind
from regrant.messages.stream import Event, Failed, Finished, PartDelta, PartEnded, PartStarted, Started
from regrant.sse import SseDecoder, SseEvent

T = TypeVar("T")

_PLAIN_ENDS: Mapping[str | None, FinishReason] = {
    "STOP": FinishReason.STOP,
    "MAX_TOKENS": FinishReason.LENGTH,
}

NO_NAMES: Mapping[str, str] = MappingProxyType({})

_CHUNK = msgspec.json.Decoder(wire.GenerateReply)
_CHUNKS = msgspec.json.Decoder(list[wire.GenerateReply])
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_TOO_SHORT = Problem(
    ProblemKind.UPSTREAM_UNAVAILABLE, "Google's answer ended before it was complete. Try again."
)
_NOT_UNDERSTOOD = Problem(ProblemKind.UPSTREAM_UNAVAILABLE, "Google's answer could not be read. Try again.")


class _Candidate:
    """What is known of one choice so far."""

    __slots__ = ("calls", "citations", "detail", "finish", "index", "kind", "logprobs", "text")

    def __init__(self) -> None:
        self.index = -1
        self.kind: type[Text | Thinking] | None = None
        """The kind of the open part; None when no part is open."""
        self.finish = ""
        self.detail = ""
        self.calls = 0
        self.text: list[str] = []
        """The visible text, which citations count in."""
        self.logprobs: list[TokenLogprob] = []
        self.citations: tuple[Citation, ...] = ()


class ChunkReader:
    """Turns decoded chunks into events. Knows nothing of bytes."""

    def __init__(self, *, call_prefix: str, names: Mapping[str, str]) -> None:
        self._call_prefix = call_prefix
        self._names = names
        self._candidates: dict[int, _Candidate] = {}
        self._started = False
        self._calls = 0
        self._blocked = ""
        self._usage: wire.UsageMetadata | None = None

    def read(self, chunk: wire.GenerateReply, events: list[Event]) -> None:
        """Add what `chunk` tells to `events`."""
        if not self._started:
            self._started = True
            events.append(Started(id=chunk.response_id or "", model=chunk.model_version or ""))
        if chunk.usage_metadata is not None:
            self._usage = chunk.usage_metadata
        if chunk.prompt_feedback is not None and chunk.prompt_feedback.block_reason:
            self._blocked = chunk.prompt_feedback.block_reason
        for candidate in chunk.candidates or ():
            self._read_candidate(candidate, events)

    def finish(self) -> list[Event]:
        events: list[Event] = []
        if not self._started or not self._complete():
            return [Failed(problem=_TOO_SHORT)]
        for number, state in self._candidates.items():
            self._end_part(number, state, None, events)
        usage = Usage() if self._usage is None else read_usage(self._usage)
        if not self._candidates:
            blocked = Finish(choice=0, reason=FinishReason.CONTENT_FILTER, detail=self._blocked)
            return [Finished(finishes=(blocked,), usage=usage)]
        finishes = tuple([self._finish(number) for number in sorted(self._candidates)])
        events.append(Finished(finishes=finishes, usage=usage))
        return events

    def _complete(self) -> bool:
        if self._candidates:
            return bool(self._blocked) or all(state.finish for state in self._candidates.values())
        return bool(self._blocked)

    def _finish(self, number: int) -> Finish:
        state = self._candidates[number]
        reason = FinishReason.CONTENT_FILTER
        if state.finish:
            reason = finish_reason(state.finish, called=state.calls > 0)
        return Finish(
            choice=number,
            reason=reason,
            detail=state.detail or self._blocked,
            logprobs=tuple(state.logprobs),
            citations=state.citations,
        )

    def _read_candidate(self, candidate: wire.Candidate, events: list[Event]) -> None:
        number = max(candidate.index, 0)
        state = self._candidates.get(number)
        if state is None:
            state = self._candidates[number] = _Candidate()
        if candidate.content is not None:
            for part in candidate.content.parts or ():
                self._read_part(number, state, part, events)
        if candidate.logprobs_result is not None:
            state.logprobs.extend(describe_logprobs(candidate.logprobs_result))
        if candidate.grounding_metadata is not None:
            state.citations = describe_citations(candidate.grounding_metadata, "".join(state.text))
        if candidate.finish_reason and candidate.finish_reason != "FINISH_REASON_UNSPECIFIED":
            state.finish = candidate.finish_reason
            state.detail = (
                "" if candidate.finish_reason in {"STOP", "MAX_TOKENS"} else candidate.finish_reason
            )

    def _read_part(self, number: int, state: _Candidate, part: wire.ReplyPart, events: list[Event]) -> None:
        if part.function_call is not None:
            self._add_whole(
                number, state, self._read_call(part.function_call, part.thought_signature), events
            )
            state.calls += 1
        elif part.inline_data is not None:
            blob = part.inline_data
            self._add_whole(number, state, Media(mime=blob.mime_type, data=blob.data), events)
        elif part.file_data is not None:
            link = part.file_data
            self._add_whole(number, state, Media(mime=link.mime_type, uri=link.file_uri), events)
        elif part.text is not None:
            self._add_text(number, state, part, part.text, events)
        elif (text := _text_of(part)) is not None:
            self._add_text(number, state, part, text, events)

    def _add_text(
        self, number: int, state: _Candidate, part: wire.ReplyPart, text: str, events: list[Event]
    ) -> None:
        kind, signature = (Thinking if part.thought else Text), part.thought_signature
        if not text and signature is None:
            return
        if kind is Text:
            state.text.append(text)
        if state.kind is kind or (not text and state.kind is not None):
            if text:
                events.append(PartDelta(text=text, index=state.index, choice=number))
        else:
            self._end_part(number, state, None, events)
            state.index += 1
            state.kind = kind
            events.append(PartStarted(part=kind(text=text), index=state.index, choice=number))
        if signature is not None:
            self._end_part(number, state, signature, events)

    def _add_whole(self, number: int, state: _Candidate, part: ReplyPart, events: list[Event]) -> None:
        self._end_part(number, state, None, events)
        state.index += 1
        events.append(PartStarted(part=part, index=state.index, choice=number))
        events.append(PartEnded(index=state.index, choice=number))

    def _end_part(self, number: int, state: _Candidate, signature: str | None, events: list[Event]) -> None:
        if state.kind is not None:
            state.kind = None
            events.append(PartEnded(index=state.index, choice=number, signature=signature))

    def _read_call(self, call: wire.ReplyFunctionCall, signature: str | None) -> ToolCall:
        call_id = call.id or f"call_{self._call_prefix}_{self._calls}"
        self._calls += 1
        args = bytes(call.args)  # a copy: the Raw would keep the whole chunk alive
        return ToolCall(
            id=call_id,
            name=self._names.get(call.name, call.name),
            args=msgspec.Raw(args) if args.startswith(b"{") else EMPTY_OBJECT,
            signature=signature,
        )


class GeminiReplyDecoder:
    """Reads a body of `streamGenerateContent?alt=sse`, in chunks cut anywhere."""

    def __init__(self, *, call_prefix: str, names: Mapping[str, str] = NO_NAMES) -> None:
        self._reader = ChunkReader(call_prefix=call_prefix, names=names)
        self._sse = SseDecoder()
        self._over = False

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that `chunk` completes; Failed is the last one ever."""
        events = self._read_all(self._sse.feed(chunk))
        if self._sse.stray and not self._over:
            stray = bytes(self._sse.stray)
            if (error := read_error(stray)) is not None:
                events.append(self._fail(error, stray))
        return events

    def end(self) -> list[Event]:
        """The last events, once the body has ended cleanly."""
        events = self._read_all(self._sse.end())
        if self._over:
            return events
        if self._sse.stray:
            stray = bytes(self._sse.stray)
            return [*events, self._fail(read_error(stray), stray)]
        self._over = True
        return [*events, *self._reader.finish()]

    def _read_all(self, received: list[SseEvent]) -> list[Event]:
        events: list[Event] = []
        for event in received:
            if self._over:
                break
            self._read(event.data, events)
        return events

    def _read(self, data: bytes, events: list[Event]) -> None:
        try:
            chunk = _decode(data, _CHUNK)
        except _UNREADABLE:
            events.append(self._fail(read_error(data), data))
            return
        if len(chunk.error):
            events.append(self._fail(read_error(data), data))
        else:
            self._reader.read(chunk, events)

    def _fail(self, error: UpstreamError | None, body: bytes) -> Failed:
        self._over = True
        problem = describe_error(error) if error is not None else _NOT_UNDERSTOOD
        return Failed(problem=problem, upstream_error=body.strip())


def decode_reply(body: bytes, *, call_prefix: str, names: Mapping[str, str] = NO_NAMES) -> list[Event]:
    """The events of an answer of `generateContent`, or of an array of chunks."""
    try:
        chunks = _decode(body, _CHUNKS) if body.lstrip()[:1] == b"[" else [_decode(body, _CHUNK)]
    except _UNREADABLE:
        chunks = []
    if not chunks or any(len(chunk.error) for chunk in chunks):
        error = read_error(body)
        problem = describe_error(error) if error is not None else _NOT_UNDERSTOOD
        return [Failed(problem=problem, upstream_error=body)]
    reader = ChunkReader(call_prefix=call_prefix, names=names)
    events: list[Event] = []
    for chunk in chunks:
        reader.read(chunk, events)
    events += reader.finish()
    return events


def read_reply(body: bytes, *, call_prefix: str, names: Mapping[str, str] = NO_NAMES) -> Reply | Failed:
    """The whole answer of `generateContent`: what its events fold to, without that detour for plain text."""
    try:
        chunk = None if body.lstrip()[:1] == b"[" else _decode(body, _CHUNK)
    except _UNREADABLE:
        chunk = None
    plain = None if chunk is None else _read_plain(chunk)
    return plain or fold(decode_reply(body, call_prefix=call_prefix, names=names))


def _read_plain(chunk: wire.GenerateReply) -> Reply | None:
    """The reply, if it is one finished candidate of nothing but text."""
    candidates = chunk.candidates
    if len(chunk.error) or chunk.prompt_feedback is not None or candidates is None or len(candidates) != 1:
        return None
    candidate = candidates[0]
    word, content = candidate.finish_reason, candidate.content
    bare = candidate.logprobs_result is None and candidate.grounding_metadata is None
    if word not in _PLAIN_ENDS or content is None or not bare or candidate.index > 0:
        return None
    texts: list[str] = []
    for part in content.parts or ():
        if part.text is None or part != wire.ReplyPart(text=part.text):
            return None
        texts.append(part.text)
    text = "".join(texts)
    return Reply(
        id=chunk.response_id or "",
        model=chunk.model_version or "",
        choices=(
            Choice(
                parts=(Text(text=text),) if text else (), finish=Finish(choice=0, reason=_PLAIN_ENDS[word])
            ),
        ),
        usage=read_usage(chunk.usage_metadata) if chunk.usage_metadata is not None else Usage(),
    )


def _decode(data: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    if not data.isascii():
        data.decode()  # msgspec does not look into what it keeps raw
    return decoder.decode(data)


def _text_of(part: wire.ReplyPart) -> str | None:
    """What a part that is no text says in words."""
    if part.executable_code is not None:
        language = part.executable_code.language.lower().removesuffix("_unspecified")
        return f"\n```{language}\n{part.executable_code.code.rstrip()}\n```\n"
    if part.code_execution_result is not None:
        return f"\n```\n{part.code_execution_result.output.rstrip()}\n```\n"
    return "" if part.thought_signature else None


def read_usage(usage: wire.UsageMetadata) -> Usage:
    """Gemini counts thoughts beside the answer, and tool results beside the prompt."""
    return Usage(
        input_tokens=usage.prompt_token_count + usage.tool_use_prompt_token_count,
        cached_tokens=usage.cached_content_token_count,
        output_tokens=usage.candidates_token_count + usage.thoughts_token_count,
        reasoning_tokens=usage.thoughts_token_count,
    )
