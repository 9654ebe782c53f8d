"""What the pretend models answer: deterministic text, function calls, thoughts, images, embeddings.

The request has been checked and normalised by `strict.py` and `turns.py`; putting the chunks on the wire is `wire.py`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from regrant.sandbox.models import EMBEDDING_SIZE, Model
from regrant.sandbox.signatures import sign
from regrant.sandbox.wire import JsonObject

_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
_CALL = re.compile(r"\bcall\s+`?([A-Za-z_][A-Za-z0-9_.:-]*)`?")
_CHUNKS = 3


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer before it is cut into chunks."""

    parts: tuple[JsonObject, ...]
    finish_reason: str
    usage: JsonObject
    model: str
    response_id: str


@dataclass(frozen=True, slots=True)
class Speaker:
    """Whose account answers. `signed_for` goes into thought signatures, see `signatures.py`."""

    first_name: str
    signed_for: str
    response_id: str


def reply_to(request: JsonObject, model: Model, speaker: Speaker) -> Reply:
    """The answer that the conversation asks for: calls if tools are named, else text that quotes what was said."""
    config: JsonObject = request.get("generationConfig", {})
    thoughts = _thoughts(config, model)
    calls = _wanted_calls(request)
    if calls:
        spoken, reason = _call_parts(calls, model, speaker), "STOP"
    elif model.images or "IMAGE" in config.get("responseModalities", []):
        spoken, reason = [{"inlineData": {"mimeType": "image/png", "data": _PIXEL}}], "STOP"
    else:
        text, reason = _limited(_text(request, speaker), config)
        spoken = [{"text": text}]
    return Reply(
        parts=(*thoughts, *spoken),
        finish_reason=reason,
        usage=usage_of(request, spoken, thoughts),
        model=model.id,
        response_id=speaker.response_id,
    )


def reply_of_parts(
    parts: list[JsonObject], finish_reason: str, request: JsonObject, model: Model, speaker: Speaker
) -> Reply:
    """A scripted answer; parts go out as they were given."""
    thoughts = [part for part in parts if part.get("thought")]
    spoken = [part for part in parts if not part.get("thought")]
    usage = usage_of(request, spoken, thoughts)
    return Reply(tuple(parts), finish_reason, usage, model.id, speaker.response_id)


def _thoughts(config: JsonObject, model: Model) -> list[JsonObject]:
    if model.thinking and config.get("thinkingConfig", {}).get("includeThoughts"):
        return [{"text": "**Thinking**\n\nThe sandbox considers what was said.", "thought": True}]
    return []


def trailing_user_parts(request: JsonObject) -> list[JsonObject]:
    """The parts of the user contents at the end: what the model answers to."""
    parts: list[JsonObject] = []
    for content in reversed(request.get("contents", [])):
        if content.get("role", "user") == "model":
            break
        parts = [*content.get("parts", []), *parts]
    return parts


def _wanted_calls(request: JsonObject) -> list[tuple[str, JsonObject]]:
    declared = {
        f["name"]: f for tool in request.get("tools", []) for f in tool.get("functionDeclarations", [])
    }
    choice = request.get("toolConfig", {}).get("functionCallingConfig", {})
    mode = choice.get("mode", "AUTO")
    allowed = choice.get("allowedFunctionNames") or list(declared)
    parts = trailing_user_parts(request)
    said = "\n".join(part.get("text", "") for part in parts)
    if mode == "NONE" or not declared:
        return []
    found = [
        _call(declared[m[1]], said[m.end() :])
        for m in _CALL.finditer(said)
        if m[1] in allowed and m[1] in declared
    ]
    answered = any("functionResponse" in part for part in parts)
    if not found and mode == "ANY" and not answered:
        return [_call(declared[allowed[0]], "")]
    return found


def _call(declaration: JsonObject, rest: str) -> tuple[str, JsonObject]:
    """Arguments are the JSON object written after the name, else made up from the declared schema."""
    given = re.match(r"\s*(?:with\s+)?(\{.*)", rest, re.DOTALL)
    if given:
        for end in (i + 1 for i, letter in enumerate(given[1]) if letter == "}"):
            try:
                return declaration["name"], msgspec.json.decode(given[1][:end], type=dict[str, Any])
            except msgspec.DecodeError:
                continue
    schema = declaration.get("parametersJsonSchema") or declaration.get("parameters") or {}
    value = instance_of(schema)
    return declaration["name"], value if isinstance(value, dict) else {}


def instance_of(schema: Any) -> Any:
    """A small value that fits a JSON schema or an OpenAPI schema."""
    if not isinstance(schema, dict):
        return {}
    if schema.get("enum"):
        return schema["enum"][0]
    kind = schema.get("type", "object")
    match (kind[0] if isinstance(kind, list) else kind).casefold():
        case "string":
            return "sandbox"
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return True
        case "array":
            return [instance_of(schema.get("items", {"type": "string"}))] * max(
                1, int(schema.get("minItems", 1))
            )
        case "null":
            return None
        case _:
            properties = schema.get("properties", {})
            return {
                key: instance_of(properties.get(key, {})) for key in schema.get("required", list(properties))
            }


def _call_parts(calls: list[tuple[str, JsonObject]], model: Model, speaker: Speaker) -> list[JsonObject]:
    parts: list[JsonObject] = []
    for index, (name, args) in enumerate(calls):
        call = {"id": f"{speaker.response_id}-call-{index + 1}", "name": name, "args": args}
        parts.append({"functionCall": call})
    if model.thinking:
        parts[0]["thoughtSignature"] = sign(model.id, speaker.signed_for, calls[0][0])
    return parts


def _text(request: JsonObject, speaker: Speaker) -> str:
    config: JsonObject = request.get("generationConfig", {})
    parts = trailing_user_parts(request)
    results = [part["functionResponse"] for part in parts if "functionResponse" in part]
    said = " ".join(part["text"] for part in parts if part.get("text"))
    text = f"Hello from {speaker.first_name}'s account."
    for result in results:
        text += f" {result['name']} answered: {msgspec.json.encode(result.get('response', {})).decode()}"
    if said or not results:
        text += f" You said: {said}"
    if config.get("responseMimeType") == "application/json":
        schema = config.get("responseJsonSchema") or config.get("responseSchema")
        return msgspec.json.encode(instance_of(schema) if schema else {"reply": text}).decode()
    return text


def _limited(text: str, config: JsonObject) -> tuple[str, str]:
    """The text within `stopSequences` and `maxOutputTokens`, and why it ends."""
    for stop in config.get("stopSequences", []):
        text = text.partition(stop)[0] if stop else text
    most = config.get("maxOutputTokens")
    if most is not None and tokens_in(text) > int(most):
        return text[: int(most) * 4], "MAX_TOKENS"
    return text, "STOP"


def tokens_in(text: str) -> int:
    return (len(text) + 3) // 4


def prompt_tokens(request: JsonObject) -> int:
    """A stable estimate: four bytes of JSON are a token."""
    counted = {key: request[key] for key in ("contents", "systemInstruction", "tools") if key in request}
    return max(1, len(msgspec.json.encode(counted)) // 4)


def usage_of(request: JsonObject, spoken: Iterable[JsonObject], thoughts: Iterable[JsonObject]) -> JsonObject:
    prompt = prompt_tokens(request)
    answer = sum(_part_tokens(part) for part in spoken)
    thinking = sum(_part_tokens(part) for part in thoughts)
    usage: JsonObject = {"promptTokenCount": prompt, "candidatesTokenCount": answer}
    if thinking:
        usage["thoughtsTokenCount"] = thinking
    usage["totalTokenCount"] = prompt + answer + thinking
    usage["promptTokensDetails"] = [{"modality": "TEXT", "tokenCount": prompt}]
    return usage


def _part_tokens(part: JsonObject) -> int:
    return tokens_in(part["text"]) if "text" in part else 258 if "inlineData" in part else 12


def whole(reply: Reply) -> JsonObject:
    """The body of `generateContent`."""
    return _response(reply, list(reply.parts), reply.finish_reason, reply.usage)


def chunked(reply: Reply, signed_for: str) -> list[JsonObject]:
    """The bodies of `streamGenerateContent`: text word by word in three or more chunks, calls in one."""
    groups: list[list[JsonObject]] = []
    for part in reply.parts:
        if "functionCall" in part and groups and "functionCall" in groups[-1][0]:
            groups[-1].append(part)
        elif "text" in part and not part.get("thought") and "thoughtSignature" not in part:
            groups.extend([{"text": piece}] for piece in _pieces(part["text"]))
        else:
            groups.append([part])
    if reply.model.startswith("gemini-3") and not _calls_or_images(reply):
        groups.append([{"text": "", "thoughtSignature": sign(reply.model, signed_for, "text")}])
    groups = groups or [[{"text": ""}]]
    last = len(groups) - 1
    return [
        _response(
            reply, group, reply.finish_reason if index == last else "", _usage_so_far(reply, index, last)
        )
        for index, group in enumerate(groups)
    ]


def _calls_or_images(reply: Reply) -> bool:
    return any("functionCall" in part or "inlineData" in part for part in reply.parts)


def _pieces(text: str) -> list[str]:
    words = re.findall(r"\S+\s*|\s+", text) or [""]
    size = max(1, min(-(-len(words) // _CHUNKS), 8))
    return ["".join(words[i : i + size]) for i in range(0, len(words), size)]


def _usage_so_far(reply: Reply, index: int, last: int) -> JsonObject:
    """Usage is in every chunk and grows; the last chunk holds the truth."""
    if index == last:
        return reply.usage
    prompt = reply.usage["promptTokenCount"]
    spoken = reply.usage["candidatesTokenCount"] * (index + 1) // (last + 1)
    return {**reply.usage, "candidatesTokenCount": spoken, "totalTokenCount": prompt + spoken}


def _response(reply: Reply, parts: list[JsonObject], finish_reason: str, usage: JsonObject) -> JsonObject:
    candidate: JsonObject = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if finish_reason:
        candidate["finishReason"] = finish_reason
    return {
        "candidates": [candidate],
        "usageMetadata": usage,
        "modelVersion": reply.model,
        "responseId": reply.response_id,
    }


def embedding(text: str, size: int | None) -> list[float]:
    """A unit-free vector that depends on the text only."""
    seed = hashlib.sha256(text.encode()).digest()
    wanted = size or EMBEDDING_SIZE
    return [round((seed[i % 32] + i) % 256 / 255 - 0.5, 6) for i in range(wanted)]
