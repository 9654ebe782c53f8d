"""From a Chat Completions request to the message model.

Single messages are read in `turns.py`; the JSON is declared in `wire.py`. A knob without a meaning here is noted in
`Request.dropped`; a piece of content without one raises DialectError.
"""

from __future__ import annotations

import msgspec

from regrant.dialects.base import ROOM_TO_THINK
from regrant.dialects.decoding import decode_body
from regrant.dialects.openai_chat import wire
from regrant.dialects.openai_chat.turns import decode_turns
from regrant.errors import DialectError
from regrant.messages.model import (
    BuiltinTool,
    Effort,
    Generation,
    OutputFormat,
    Reasoning,
    Request,
    Tool,
    ToolChoice,
)

FREEFORM_SCHEMA = msgspec.Raw(
    b'{"type":"object","properties":{"input":{"type":"string"}},"required":["input"]}'
)
"""What a tool for plain text looks like to a model that calls tools with JSON only."""

_THOUGHTS = {Effort.NONE: 0, Effort.MINIMAL: 512, Effort.LOW: 1024, Effort.MEDIUM: 8192}
_NO_THOUGHTS = Reasoning(effort=Effort.NONE)
_MOST_THOUGHTS = 24_576
"""Tokens that thinking at each effort may take, as Google's own OpenAI endpoint has it; the others take the most."""

_MOST_TOKENS = 65_536  # no Gemini model writes more
_KNOWN_FIELDS = msgspec.json.Decoder(wire.KnownChatRequest)
_ANY_FIELDS = msgspec.json.Decoder(wire.ChatRequest)
_FIELD_NAMES = msgspec.json.Decoder(dict[str, msgspec.Raw])
_DECLARED = frozenset(wire.ChatRequest.__struct_fields__).union(wire.WITHOUT_MEANING)


def decode_request(body: bytes) -> Request:
    """Raises: DialectError, naming the field."""
    chat, dropped = _decode_wire(body)
    if chat.n is not None and chat.n < 1:
        raise DialectError("`n` must be at least 1.", param="n")
    if not chat.messages:
        raise DialectError("`messages` must not be empty.", param="messages")
    if "audio" in (chat.modalities or ()):
        raise DialectError(
            "`modalities` asks for sound, which Gemini does not answer a chat with.", param="modalities"
        )
    system, turns = decode_turns(chat.messages)
    tools = _decode_tools(chat) if chat.tools or chat.functions else ()
    reasoning = _decode_reasoning(chat)
    generation = _decode_generation(chat, reasoning)
    return Request(
        model=chat.model,
        system=system,
        turns=turns,
        tools=tools,
        builtin_tools=(BuiltinTool.WEB_SEARCH,) if _says(chat.web_search_options) else (),
        tool_choice=_decode_tool_choice(chat, tools),
        generation=generation,
        output=_decode_format(chat.response_format) if chat.response_format is not None else None,
        reasoning=reasoning or _leave_room(generation.max_tokens),
        modalities=tuple(chat.modalities or ()),
        n=chat.n or 1,
        stream=bool(chat.stream),
        conversation=chat.prompt_cache_key or "",
        include_usage=bool(chat.stream_options and chat.stream_options.include_usage),
        dropped=dropped,
    )


def _decode_wire(body: bytes) -> tuple[wire.ChatRequest, tuple[str, ...]]:
    """The request, and the names of its fields that mean nothing here."""
    try:
        if not body.isascii():
            body.decode()
        return _KNOWN_FIELDS.decode(body), ()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass  # the tolerant decoder says what is wrong, if anything is
    chat = decode_body(body, _ANY_FIELDS)
    fields = _FIELD_NAMES.decode(body)
    said = (name for name in wire.WITHOUT_MEANING if name in fields and _says(fields[name]))
    unknown = sorted(fields.keys() - _DECLARED)
    return chat, (*said, *unknown)


def _says(value: msgspec.Raw) -> bool:
    return len(value) > 0 and bytes(value) != b"null"


def _decode_tools(chat: wire.ChatRequest) -> tuple[Tool, ...]:
    tools = [_decode_tool(tool, f"tools[{index}]") for index, tool in enumerate(chat.tools or ())]
    tools.extend(_decode_function(function) for function in chat.functions or ())
    return tuple(tools)


def _decode_tool(tool: wire.Tool, where: str) -> Tool:
    if tool.function is not None:
        return _decode_function(tool.function)
    if tool.custom is not None:
        return Tool(
            name=tool.custom.name,
            description=tool.custom.description or "",
            schema=FREEFORM_SCHEMA,
            freeform=True,
        )
    raise DialectError(
        f"{where} is of type {tool.type!r}: only functions and custom tools are known.", param=where
    )


def _decode_function(function: wire.FunctionDefinition) -> Tool:
    return Tool(
        name=function.name,
        description=function.description or "",
        schema=function.parameters if _says(function.parameters) else None,
        strict=function.strict,
    )


def _decode_tool_choice(chat: wire.ChatRequest, tools: tuple[Tool, ...]) -> ToolChoice | None:
    choice, parallel = chat.tool_choice, chat.parallel_tool_calls is not False
    if choice is None and chat.function_call is not None:
        asked = chat.function_call
        choice = asked if isinstance(asked, str) else wire.ToolChoice(type="function", function=asked)
    if choice is None:
        return None if parallel else ToolChoice(mode="auto", parallel=False)
    if isinstance(choice, str):
        return ToolChoice(mode=choice, parallel=parallel)
    if choice.allowed_tools is not None:
        names = tuple(
            _name_of(tool, "tool_choice.allowed_tools.tools") for tool in choice.allowed_tools.tools
        )
        mode = choice.allowed_tools.mode
    else:
        names, mode = (_name_of(choice, "tool_choice"),), "required"
    declared = {tool.name for tool in tools}
    if missing := [name for name in names if name not in declared]:
        raise DialectError(
            f"`tool_choice` names {missing[0]!r}, which is not among the tools.", param="tool_choice"
        )
    return ToolChoice(mode=mode, names=names, parallel=parallel)


def _name_of(reference: wire.ToolReference | wire.ToolChoice, where: str) -> str:
    named = reference.function or reference.custom
    if named is None:
        raise DialectError(f"`{where}` does not say which tool it means.", param=where)
    return named.name


def _decode_generation(chat: wire.ChatRequest, reasoning: Reasoning | None) -> Generation:
    stop = (chat.stop,) if isinstance(chat.stop, str) else tuple(chat.stop or ())
    return Generation(
        max_tokens=_limit_of(chat, reasoning),
        temperature=chat.temperature,
        top_p=chat.top_p,
        top_k=chat.top_k,
        stop=stop,
        seed=chat.seed,
        presence_penalty=chat.presence_penalty,
        frequency_penalty=chat.frequency_penalty,
        logprobs=bool(chat.logprobs),
        top_logprobs=chat.top_logprobs,
    )


def _limit_of(chat: wire.ChatRequest, reasoning: Reasoning | None) -> int | None:
    """The most tokens to write, thoughts included. `max_completion_tokens` means that; the old `max_tokens` means the
    visible ones, so that the thoughts that were asked for come on top.
    """
    if chat.max_completion_tokens is not None or chat.max_tokens is None or reasoning is None:
        return chat.max_completion_tokens if chat.max_completion_tokens is not None else chat.max_tokens
    thoughts = reasoning.budget_tokens
    if thoughts is None:
        thoughts = _THOUGHTS.get(reasoning.effort, _MOST_THOUGHTS) if reasoning.effort else 0
    return max(chat.max_tokens, min(chat.max_tokens + max(thoughts, 0), _MOST_TOKENS))


def _leave_room(limit: int | None) -> Reasoning | None:
    """A short answer of a model that was not asked to think must not be used up by thoughts."""
    return _NO_THOUGHTS if limit is not None and limit < ROOM_TO_THINK else None


def _decode_format(asked: wire.ResponseFormat) -> OutputFormat | None:
    if asked.type == "text":
        return None
    if asked.type == "json_object":
        return OutputFormat()
    if asked.json_schema is None:
        where = "response_format.json_schema"
        raise DialectError(f"`{where}` is missing.", param=where)
    schema = asked.json_schema
    return OutputFormat(
        schema=schema.schema if _says(schema.schema) else None,
        name=schema.name,
        description=schema.description,
        strict=schema.strict,
    )


def _decode_reasoning(chat: wire.ChatRequest) -> Reasoning | None:
    google = chat.extra_body.google if chat.extra_body else None
    config = google.thinking_config if google else None
    asked = config.thinking_level if config and config.thinking_level else chat.reasoning_effort
    if asked is None and config is None:
        return None
    effort = _decode_effort(asked) if asked is not None else None
    if config is None:
        return Reasoning(effort=effort, summaries=effort is not Effort.NONE)
    return Reasoning(
        effort=effort, budget_tokens=config.thinking_budget, summaries=bool(config.include_thoughts)
    )


def _decode_effort(word: str) -> Effort:
    try:
        return Effort(word.lower())
    except ValueError as error:
        known = ", ".join(Effort)
        raise DialectError(f"`reasoning_effort` must be one of {known}.", param="reasoning_effort") from error
