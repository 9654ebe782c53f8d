"""What generation settings and tools may say, model by model.

Field names and types are `strict.py`; the order of contents is `turns.py`. Source: docs/sources.md, section 4.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from regrant.sandbox.models import Model
from regrant.sandbox.wire import JsonObject

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}\Z")
_RANGES = {
    "temperature": (0.0, 2.0),
    "topP": (0.0, 1.0),
    "candidateCount": (1, 8),
    "maxOutputTokens": (1, 65_536),
    "logprobs": (0, 20),
}
_BUILT_IN = {
    "googleSearch",
    "googleSearchRetrieval",
    "urlContext",
    "codeExecution",
    "googleMaps",
    "fileSearch",
}
_STRING_FORMATS = {"enum", "date-time"}


def settings_complaint(request: JsonObject, model: Model) -> str:
    config: JsonObject = request.get("generationConfig", {})
    tools: list[JsonObject] = request.get("tools", [])
    return (
        _ranges(config)
        or _thinking(config.get("thinkingConfig", {}), model)
        or _declarations(tools)
        or _choice(request, tools)
        or _combinations(config, tools, model)
    )


def _ranges(config: JsonObject) -> str:
    for name, (least, most) in _RANGES.items():
        value = config.get(name)
        if value is not None and not least <= value <= most:
            return (
                f"* GenerateContentRequest.generation_config.{name}: must be in the range [{least}, {most}]."
            )
    if len(config.get("stopSequences", [])) > 5:
        return (
            "* GenerateContentRequest.generation_config.stop_sequences: at most 5 stop sequences are allowed."
        )
    return ""


def _thinking(config: JsonObject, model: Model) -> str:
    level, budget = config.get("thinkingLevel"), config.get("thinkingBudget")
    if level is not None and budget is not None:
        return "You can only set only one of thinking budget and thinking level."
    if config and not model.thinking:
        return "Thinking is not enabled for this model"
    if level is not None and level not in model.levels:
        return f"Thinking level {level} is not supported for this model."
    if budget is not None and model.budget is not None and budget != -1:
        least, most = model.budget
        if budget == 0 and least > 0:
            return "Budget 0 is invalid. This model only works in thinking mode."
        if not least <= budget <= most:
            return (
                f"The thinking budget {budget} is invalid. Please choose a value between {least} and {most}."
            )
    return ""


def _declarations(tools: list[JsonObject]) -> str:
    seen: set[str] = set()
    for tool_index, tool in enumerate(tools):
        for index, declaration in enumerate(tool.get("functionDeclarations", [])):
            where = f"* GenerateContentRequest.tools[{tool_index}].function_declarations[{index}]"
            name = declaration.get("name", "")
            if not _NAME.match(name):
                return (
                    f"{where}.name: Invalid function name. Must start with a letter or an underscore. Must be alphanumeric "
                    "(a-z, A-Z, 0-9), underscores (_), dots (.), colons (:), or dashes (-), with a maximum length of 128."
                )
            if name in seen:
                return f"Duplicate function declaration found: {name}"
            seen.add(name)
            if "parameters" in declaration and "parametersJsonSchema" in declaration:
                return f"{where}: only one of parameters and parameters_json_schema may be set."
            if problem := next(_schema(declaration.get("parameters", {}), f"{where}.parameters"), ""):
                return problem
    return ""


def _schema(schema: JsonObject, where: str) -> Iterator[str]:
    kind = schema.get("type", "")
    if kind == "ARRAY" and "items" not in schema:
        yield f"{where}.items: missing field."
    if schema.get("enum") and kind != "STRING":
        yield f"{where}.enum: only allowed for STRING type"
    if kind == "STRING" and schema.get("format", "enum") not in _STRING_FORMATS:
        yield f"{where}.format: only 'enum' and 'date-time' are supported for STRING type"
    properties: dict[str, Any] = schema.get("properties", {})
    for index, name in enumerate(schema.get("required", [])):
        if name not in properties:
            yield f"{where}.required[{index}]: property is not defined"
    for name, inner in properties.items():
        yield from _schema(inner or {}, f"{where}.properties[{name}]")
    if "items" in schema:
        yield from _schema(schema["items"] or {}, f"{where}.items")
    for index, inner in enumerate(schema.get("anyOf", [])):
        yield from _schema(inner or {}, f"{where}.any_of[{index}]")


def _choice(request: JsonObject, tools: list[JsonObject]) -> str:
    choice: JsonObject = request.get("toolConfig", {}).get("functionCallingConfig", {})
    allowed = choice.get("allowedFunctionNames", [])
    declared = {one.get("name") for tool in tools for one in tool.get("functionDeclarations", [])}
    mode = choice.get("mode", "AUTO")
    if allowed and mode not in {"ANY", "VALIDATED"}:
        return "allowed_function_names should only be set when the function calling mode is ANY or VALIDATED."
    if stray := [name for name in allowed if name not in declared]:
        return f"allowed_function_names contains names that are not declared: {', '.join(stray)}"
    if mode in {"ANY", "VALIDATED"} and not declared:
        return f"Function calling config is set to mode {mode} without function_declarations."
    return ""


def _combinations(config: JsonObject, tools: list[JsonObject], model: Model) -> str:
    functions = any(tool.get("functionDeclarations") for tool in tools)
    is_json = config.get("responseMimeType") == "application/json"
    has_schema = "responseSchema" in config or "responseJsonSchema" in config
    if has_schema and config.get("responseMimeType") not in {"application/json", "text/x.enum"}:
        return (
            "response_schema is only supported with a response_mime_type of application/json or text/x.enum."
        )
    if "responseSchema" in config and "responseJsonSchema" in config:
        return "Only one of response_schema and response_json_schema may be set."
    if not model.third_generation and functions and is_json:
        return "Function calling with a response mime type: 'application/json' is unsupported"
    if not model.third_generation and functions and any(_BUILT_IN & tool.keys() for tool in tools):
        return "Tool use with function calling is unsupported"
    return ""
