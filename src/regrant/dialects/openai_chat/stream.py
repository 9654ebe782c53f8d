"""A streamed reply as `chat.completion.chunk` events.

Theory of operation. Every chunk of a stream differs from the next in its choice's number, delta, log probabilities and
finish reason only, so the rest is encoded once, when the stream begins, and a chunk is a concatenation. The first chunk
of each choice carries the role. Tool calls are numbered per choice, on their own. `finish_reason` and `[DONE]` are
written for Finished only: a stream that failed has neither, so that no client takes it for complete.
"""

from __future__ import annotations

from typing import Any

import msgspec

from regrant.dialects.base import ReplyContext
from regrant.dialects.openai_chat.errors import encode_error
from regrant.dialects.openai_chat.reply import (
    FINISH_REASONS,
    describe_call,
    describe_citation,
    describe_image,
    describe_logprobs,
    describe_refusal,
    encode_usage,
    read_freeform,
)
from regrant.messages.model import Finish, Media, Text, Thinking, ToolCall
from regrant.messages.problem import Problem
from regrant.messages.stream import Event, Failed, Finished, PartDelta, PartEnded, PartStarted, Started
from regrant.sse import KEEP_ALIVE, encode_data

_encode = msgspec.json.encode
_ROLE = b'"role":"assistant",'
_NOTHING_ELSE = b'"logprobs":null,"finish_reason":null'


class _ChoiceState:
    """What one choice has said so far."""

    __slots__ = ("arguments", "call", "calls", "role_sent", "spoke", "template")

    def __init__(self) -> None:
        self.role_sent = False
        self.spoke = False
        self.calls = 0
        self.call: ToolCall | None = None
        self.arguments: list[bytes] | None = None
        """Gathers the arguments of an open freeform call, which is written whole."""
        self.template = b"%s"
        """The delta of the open part around its encoded text."""


class OpenAIStreamEncoder:
    def __init__(self, context: ReplyContext) -> None:
        self._freeform = context.freeform_tools
        self._include_usage = context.include_usage
        head = {
            "id": f"chatcmpl-{context.id}",
            "object": "chat.completion.chunk",
            "created": context.created,
            "model": context.model,
        }
        self._head = b"data: " + _encode(head)[:-1] + b',"choices":['
        self._tail = b"]" + (b',"usage":null' if context.include_usage else b"") + b"}\n\n"
        self._choices: dict[int, _ChoiceState] = {}

    def encode(self, event: Event) -> bytes:
        """Raises: DialectError for media other than pictures."""
        match event:
            case PartDelta():
                return self._encode_delta(event)
            case PartStarted():
                return self._encode_start(event)
            case PartEnded():
                return self._encode_end(event)
            case Finished():
                return self._encode_finished(event)
            case Failed():
                return self.fail(event.problem)
            case Started():
                return b""

    def keep_alive(self) -> bytes:
        return KEEP_ALIVE

    def fail(self, problem: Problem) -> bytes:
        return encode_data(encode_error(problem))

    def _chunk(self, number: int, state: _ChoiceState, delta: bytes, rest: bytes = _NOTHING_ELSE) -> bytes:
        """`delta` is the inside of the object, without its braces."""
        if not state.role_sent:
            state.role_sent = True
            delta = (_ROLE + delta) if delta else _ROLE[:-1]
        return b'%s{"index":%d,"delta":{%s},%s}%s' % (self._head, number, delta, rest, self._tail)

    def _encode_start(self, event: PartStarted) -> bytes:
        state = self._choices.get(event.choice)
        if state is None:
            state = self._choices[event.choice] = _ChoiceState()
        part = event.part
        match part:
            case Text():
                state.template = b'"content":%s'
                return self._encode_text(event.choice, state, part.text)
            case Thinking():
                state.template = (
                    b'"reasoning_content":%s' if state.role_sent else b'"content":null,"reasoning_content":%s'
                )
                said = self._encode_text(event.choice, state, part.text)
                state.template = b'"reasoning_content":%s'
                return said
            case ToolCall():
                return self._encode_call(event.choice, state, part)
            case Media():
                state.spoke = True
                return self._chunk(event.choice, state, b'"images":[%s]' % _encode(describe_image(part)))

    def _encode_text(self, number: int, state: _ChoiceState, text: str) -> bytes:
        if not text:
            return b""
        state.spoke = True
        return self._chunk(number, state, state.template % _encode(text))

    def _encode_call(self, number: int, state: _ChoiceState, call: ToolCall) -> bytes:
        state.spoke = True
        state.call = call
        position, state.calls = state.calls, state.calls + 1
        if call.name in self._freeform:
            state.arguments = [bytes(call.args)]
            return b""
        state.template = b'"tool_calls":[{"index":%d,"function":{"arguments":%%s}}]' % position
        entry = _encode({"index": position} | describe_call(call, freeform=False))
        content = b"" if state.role_sent else b'"content":null,'
        return self._chunk(number, state, b'%s"tool_calls":[%s]' % (content, entry))

    def _encode_delta(self, event: PartDelta) -> bytes:
        state = self._choices[event.choice]
        if state.arguments is not None:
            state.arguments.append(event.text.encode())
            return b""
        return self._encode_text(event.choice, state, event.text)

    def _encode_end(self, event: PartEnded) -> bytes:
        state = self._choices[event.choice]
        call, state.call = state.call, None
        if call is None or state.arguments is None:
            return b""
        text = read_freeform(b"".join(state.arguments))
        state.arguments = None
        entry: dict[str, Any] = {"index": state.calls - 1} | describe_call(call, freeform=True)
        entry["custom"]["input"] = text
        return self._chunk(event.choice, state, b'"tool_calls":[%s]' % _encode(entry))

    def _encode_finished(self, event: Finished) -> bytes:
        pieces = [self._encode_finish(finish) for finish in event.finishes]
        if self._include_usage:
            pieces.append(b'%s],"usage":%s}\n\n' % (self._head, encode_usage(event.usage)))
        pieces.append(b"data: [DONE]\n\n")
        return b"".join(pieces)

    def _encode_finish(self, finish: Finish) -> bytes:
        state = self._choices.setdefault(finish.choice, _ChoiceState())
        delta: dict[str, Any] = {}
        if not state.spoke:
            delta = {"content": "", "refusal": describe_refusal(finish)}
        if finish.citations:
            delta["annotations"] = [describe_citation(citation) for citation in finish.citations]
        said = self._chunk(finish.choice, state, _encode(delta)[1:-1]) if delta else b""
        logprobs = _encode(describe_logprobs(finish.logprobs))
        reason = FINISH_REASONS[finish.reason].encode()
        rest = b'"logprobs":%s,"finish_reason":"%s"' % (logprobs, reason)
        return said + self._chunk(finish.choice, state, b"", rest)
