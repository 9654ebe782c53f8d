"""From the message model to the body of `generateContent`.

The conversation itself is built in `contents.py`, what each model accepts is in `families.py`. A knob that the model
does not have is left out and named in `UpstreamRequest.dropped`.
"""

from __future__ import annotations

import msgspec

from regrant.dialects.base import Signatures, UpstreamRequest, own_signature
from regrant.dialects.gemini import wire
from regrant.dialects.gemini.contents import encode_contents, tool_names_of
from regrant.dialects.gemini.families import Family, family_of
from regrant.dialects.gemini.names import NO_TOOLS, ToolNames
from regrant.errors import DialectError
from regrant.messages.model import (
    BuiltinTool,
    Effort,
    Generation,
    OutputFormat,
    Part,
    Reasoning,
    Request,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    Turn,
)

_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY"}
MAX_CANDIDATES = 8
_MAX_STOPS = 5
_MAX_LOGPROBS = 20
_ENCODER = msgspec.json.Encoder()
_NOTHING = wire.GenerationConfig()
_TEXT = ((), ("text",))


def encode_request(
    request: Request, *, model: str, signatures: Signatures = own_signature
) -> UpstreamRequest:
    """The body that asks `model` (Google's own name). Raises: DialectError, naming the part."""
    if request.n > MAX_CANDIDATES:
        raise DialectError(
            f"Gemini writes {MAX_CANDIDATES} answers at once at most; {request.n} are asked for.", param="n"
        )
    family = family_of(model)
    called = tool_names_of(request)
    names = ToolNames(called) if called else NO_TOOLS
    contents, dropped = encode_contents(request, names=names, family=family, signatures=signatures)
    config = _Config(request, family)
    tools = None
    if request.tools or request.builtin_tools:
        tools = _encode_tools(request, names, family, config.dropped)
    body = wire.GenerateRequest(
        contents=contents,
        system_instruction=_encode_system(request) if request.system else None,
        tools=tools,
        tool_config=_encode_choice(request, names, family) if request.tools else None,
        generation_config=config.encode(),
    )
    return UpstreamRequest(_ENCODER.encode(body), names.changed, (*dropped, *config.dropped))


def without_signatures(request: Request) -> Request:
    """`request` with every thought signature forgotten, for the one repetition after Google refused one of them.

    Signatures belong to the model that wrote them; `encode_request` puts Google's documented stand-in where one is needed.
    """
    turns = tuple(
        Turn(role=turn.role, parts=tuple(_without_signature(part) for part in turn.parts))
        for turn in request.turns
    )
    return msgspec.structs.replace(request, turns=turns)


def _without_signature(part: Part) -> Part:
    if isinstance(part, Text | Thinking | ToolCall) and part.signature is not None:
        return msgspec.structs.replace(part, signature=None)
    return part


def _encode_system(request: Request) -> wire.SystemInstruction | None:
    parts = [wire.Part(text=text.text) for text in request.system if text.text]
    return wire.SystemInstruction(parts=parts) if parts else None


def _encode_tools(
    request: Request, names: ToolNames, family: Family, dropped: list[str]
) -> list[wire.Tool] | None:
    tools: list[wire.Tool] = []
    if request.tools:
        declarations = [_declare(tool, names) for tool in request.tools]
        tools.append(wire.Tool(function_declarations=declarations))
    if request.builtin_tools and request.tools and not family.json_with_tools:
        dropped.extend(f"built-in tool {tool}" for tool in request.builtin_tools)
    else:
        tools.extend(_encode_builtin(tool) for tool in request.builtin_tools)
    return tools or None


def _declare(tool: Tool, names: ToolNames) -> wire.FunctionDeclaration:
    schema = tool.schema if tool.schema is not None and bytes(tool.schema).strip() != b"{}" else None
    return wire.FunctionDeclaration(
        name=names.sent(tool.name), description=tool.description or None, parameters_json_schema=schema
    )


def _encode_builtin(tool: BuiltinTool) -> wire.Tool:
    match tool:
        case BuiltinTool.WEB_SEARCH:
            return wire.Tool(google_search=wire.Empty())
        case BuiltinTool.URL_CONTEXT:
            return wire.Tool(url_context=wire.Empty())
        case BuiltinTool.CODE_EXECUTION:
            return wire.Tool(code_execution=wire.Empty())


def _encode_choice(request: Request, names: ToolNames, family: Family) -> wire.ToolConfig | None:
    mixed = True if request.builtin_tools and family.json_with_tools else None
    choice = request.tool_choice
    config = _encode_calling(choice, names) if choice is not None else None
    if config is None and mixed is None:
        return None
    return wire.ToolConfig(function_calling_config=config, include_server_side_tool_invocations=mixed)


def _encode_calling(choice: ToolChoice, names: ToolNames) -> wire.FunctionCallingConfig:
    if not choice.names or choice.mode == "none":
        return wire.FunctionCallingConfig(mode=_MODES[choice.mode])
    mode = "ANY" if choice.mode == "required" else "VALIDATED"  # AUTO takes no list of names
    return wire.FunctionCallingConfig(
        mode=mode, allowed_function_names=[names.sent(name) for name in choice.names]
    )


class _Config:
    """Builds `generationConfig`; `dropped` names the knobs that this model does not have."""

    def __init__(self, request: Request, family: Family) -> None:
        self.dropped: list[str] = []
        self._request = request
        self._family = family

    def encode(self) -> wire.GenerationConfig | None:
        request, asked = self._request, self._request.generation
        modalities = request.modalities
        config = wire.GenerationConfig(
            candidate_count=request.n if request.n > 1 else None,
            max_output_tokens=asked.max_tokens,
            seed=asked.seed,
            presence_penalty=asked.presence_penalty,
            frequency_penalty=asked.frequency_penalty,
            response_modalities=[one.upper() for one in modalities] if modalities not in _TEXT else None,
            thinking_config=self._encode_reasoning(request.reasoning) if request.reasoning else None,
        )
        self._set_sampling(config, asked)
        if asked.stop:
            self._set_stops(config, asked)
        if asked.logprobs:
            config.response_logprobs = True
            config.logprobs = min(asked.top_logprobs, _MAX_LOGPROBS) if asked.top_logprobs else None
        if request.output is not None:
            self._set_format(config, request.output)
        if request.tool_choice is not None and not request.tool_choice.parallel:
            self.dropped.append("parallel_tool_calls")
        return None if config == _NOTHING else config

    def _set_sampling(self, config: wire.GenerationConfig, asked: Generation) -> None:
        if self._family.sampling:
            config.temperature, config.top_p, config.top_k = asked.temperature, asked.top_p, asked.top_k
            return
        if asked.temperature is not None:
            self.dropped.append("temperature")
        if asked.top_p is not None:
            self.dropped.append("top_p")
        if asked.top_k is not None:
            self.dropped.append("top_k")

    def _set_stops(self, config: wire.GenerationConfig, asked: Generation) -> None:
        stops = [stop for stop in asked.stop if stop]
        self.dropped.extend(f"stop[{index}]" for index in range(_MAX_STOPS, len(stops)))
        config.stop_sequences = stops[:_MAX_STOPS] or None

    def _set_format(self, config: wire.GenerationConfig, output: OutputFormat) -> None:
        if self._request.tools and not self._family.json_with_tools:
            self.dropped.append("response_format")
            return
        config.response_mime_type = "application/json"
        config.response_json_schema = output.schema

    def _encode_reasoning(self, asked: Reasoning) -> wire.ThinkingConfig | None:
        if not self._family.thinks:
            if asked.effort is not Effort.NONE:
                self.dropped.append("reasoning")
            return None
        config = wire.ThinkingConfig(include_thoughts=True if asked.summaries else None)
        if asked.budget_tokens is not None and not (self._family.thinks_by_level and asked.effort):
            config.thinking_budget = self._family.clamp(asked.budget_tokens)
        elif asked.effort is not None and self._family.thinks_by_level:
            config.thinking_level = self._family.level_of(asked.effort)
        elif asked.effort is not None:
            config.thinking_budget = self._family.budget_of(asked.effort)
        return config
