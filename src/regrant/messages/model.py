"""What a client asks and what a model answers, in words that belong to no vendor.

Bytes are turned into these types, and back, in `dialects/`; a reply in the making is described in `stream.py`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, TypeAlias

import msgspec

EMPTY_OBJECT = msgspec.Raw(b"{}")
"""The arguments of a tool call that has none."""


class Text(msgspec.Struct, frozen=True, kw_only=True):
    text: str
    signature: str | None = None
    """The vendor's opaque token that must come back with this very part, base64."""


class Thinking(msgspec.Struct, frozen=True, kw_only=True):
    text: str
    signature: str | None = None
    redacted: str | None = None
    """Encrypted thought in place of `text`; it goes back to the vendor that wrote it and to no other."""


class Media(msgspec.Struct, frozen=True, kw_only=True):
    """An image, a sound or a document: inline (`data`, base64) or by reference (`uri`), never both."""

    mime: str
    """`image/png` and the like; "" when the client did not say (only with `uri`)."""
    data: str = ""
    uri: str = ""
    name: str | None = None
    """The file name that the client gave."""
    where: str = ""
    """The path of a `uri` in the client's request, to name it if it cannot be used."""


class ToolCall(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    args: msgspec.Raw = EMPTY_OBJECT
    """A JSON object; empty bytes in the first event of a call whose arguments are still to come."""
    signature: str | None = None


class ToolResult(msgspec.Struct, frozen=True, kw_only=True):
    call_id: str
    content: tuple[Text | Media, ...]
    name: str | None = None
    """The tool's name where the dialect repeats it; else it is looked up by `call_id`."""
    is_error: bool = False


Part: TypeAlias = Text | Thinking | Media | ToolCall | ToolResult
ReplyPart: TypeAlias = Text | Thinking | Media | ToolCall
Role: TypeAlias = Literal["user", "assistant", "system"]


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One message. Role `system` is for instructions in mid-conversation; leading ones are `Request.system`."""

    role: Role
    parts: tuple[Part, ...]


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    description: str = ""
    schema: msgspec.Raw | None = None
    """JSON Schema of the arguments exactly as the client wrote it; None for a tool without arguments."""
    strict: bool | None = None
    freeform: bool = False
    """The client expects plain text, not JSON; `schema` then wraps it as `{"input": string}`."""


class BuiltinTool(StrEnum):
    """Tools that the vendor runs itself."""

    WEB_SEARCH = "web_search"
    URL_CONTEXT = "url_context"
    CODE_EXECUTION = "code_execution"


class ToolChoice(msgspec.Struct, frozen=True, kw_only=True):
    mode: Literal["auto", "none", "required"]
    names: tuple[str, ...] = ()
    """The only tools allowed; empty = all."""
    parallel: bool = True


class Generation(msgspec.Struct, frozen=True, kw_only=True):
    """The tuning knobs; None = the client did not say."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logprobs: bool = False
    top_logprobs: int | None = None


class OutputFormat(msgspec.Struct, frozen=True, kw_only=True):
    """The reply must be JSON, of `schema` where one is given."""

    schema: msgspec.Raw | None = None
    name: str | None = None
    description: str | None = None
    strict: bool | None = None


class Effort(StrEnum):
    NONE = "none"
    MINIMAL = "minimal"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    XHIGH = "xhigh"
    MAX = "max"


class Reasoning(msgspec.Struct, frozen=True, kw_only=True):
    """How hard to think, by `effort` or by `budget_tokens` (0 = not at all, -1 = the model decides)."""

    effort: Effort | None = None
    budget_tokens: int | None = None
    summaries: bool = False
    """Whether the client wants to see what the model thought."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    model: str
    turns: tuple[Turn, ...]
    system: tuple[Text, ...] = ()
    tools: tuple[Tool, ...] = ()
    builtin_tools: tuple[BuiltinTool, ...] = ()
    tool_choice: ToolChoice | None = None
    generation: Generation = Generation()
    output: OutputFormat | None = None
    reasoning: Reasoning | None = None
    modalities: tuple[Literal["text", "image", "audio"], ...] = ()
    """What the reply may consist of; empty = the model's own habit."""
    n: int = 1
    """How many independent replies (choices)."""
    stream: bool = False
    include_usage: bool = False
    """Whether a stream shall end with the token counts, in the dialects where that is asked for."""
    conversation: str = ""
    """The client's own word for the conversation or user; a hint for choosing an account, sent nowhere."""
    dropped: tuple[str, ...] = ()
    """Fields of the client's request that have no meaning here, as paths; recorded with the exchange."""


class FinishReason(StrEnum):
    STOP = "stop"
    STOP_SEQUENCE = "stop_sequence"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"
    MALFORMED = "malformed"
    """The model wrote something that its vendor could not use, such as an unreadable tool call."""
    OTHER = "other"


class TokenLogprob(msgspec.Struct, frozen=True, kw_only=True):
    token: str
    logprob: float
    top: tuple[TokenLogprob, ...] = ()


class Citation(msgspec.Struct, frozen=True, kw_only=True):
    """A web source of `text[start:end]`, counted in code points of the whole visible text of the choice."""

    url: str
    title: str
    start: int
    end: int


class Finish(msgspec.Struct, frozen=True, kw_only=True):
    """How one choice ended."""

    choice: int
    reason: FinishReason
    detail: str = ""
    """The vendor's own word for it, where it says more than `reason` (`PROHIBITED_CONTENT`)."""
    logprobs: tuple[TokenLogprob, ...] = ()
    citations: tuple[Citation, ...] = ()


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens. `input_tokens` includes the cached ones, `output_tokens` the reasoning."""

    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    parts: tuple[ReplyPart, ...]
    finish: Finish


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer. `id` and `model` are the upstream's own; `choices` are sorted by their number."""

    id: str
    model: str
    choices: tuple[Choice, ...]
    usage: Usage = Usage()
