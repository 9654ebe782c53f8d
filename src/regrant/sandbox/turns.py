"""What contents may follow each other: roles, function calls and their responses, thought signatures.

Field names and types are `strict.py`; generation settings and tools are `settings_rules.py`. Source: docs/sources.md, sections 3 and 4.
"""

from __future__ import annotations

from collections import Counter

from regrant.sandbox.field_sets import ONE_OF
from regrant.sandbox.models import Model
from regrant.sandbox.settings_rules import settings_complaint
from regrant.sandbox.signatures import genuine
from regrant.sandbox.wire import JsonObject

_ENDS_WITH_MODEL = "Requests ending with a model turn are not supported."
_CALL_PLACE = "Please ensure that function call turn comes immediately after a user turn or after a function response turn."
_RESPONSE_PLACE = "Please ensure that function response turn comes immediately after a function call turn."
_SAME_NUMBER = (
    "Please ensure that the number of function response parts is equal to the number of function call parts of the "
    "function call turn."
)


def complaint(request: JsonObject, model: Model, signed_for: str, *, vertex: bool) -> str:
    """What Google would say against a normalised request, or "" if nothing."""
    contents: list[JsonObject] = request.get("contents", [])
    return (
        _parts(contents)
        or _system(request)
        or _order(contents, model)
        or _pairing(contents, vertex=vertex)
        or (_signatures(contents, model, signed_for) if model.third_generation else "")
        or settings_complaint(request, model)
    )


def _parts(contents: list[JsonObject]) -> str:
    if not contents:
        return "* GenerateContentRequest.contents: contents is not specified"
    for index, content in enumerate(contents):
        where = f"* GenerateContentRequest.contents[{index}].parts"
        if content.get("role", "user") not in {"user", "model", "function"}:
            return "Please use a valid role: user, model."
        if not content.get("parts"):
            return f"{where}: contents.parts must not be empty."
        for number, part in enumerate(content["parts"]):
            if not _has_data(part):
                return f"{where}[{number}].data: required oneof field 'data' must have one initialized field"
    return ""


def _has_data(part: JsonObject) -> bool:
    """An empty text counts as unset, except where it only carries a signature."""
    if part.get("text") == "":
        return "thoughtSignature" in part
    return any(name in part for name in ONE_OF["Part"])


def _system(request: JsonObject) -> str:
    instruction = request.get("systemInstruction")
    if instruction is not None and not any(part.get("text") for part in instruction.get("parts", [])):
        return "* GenerateContentRequest.system_instruction.parts: contents.parts must not be empty."
    return ""


def _role(content: JsonObject) -> str:
    return "model" if content.get("role") == "model" else "user"


def _order(contents: list[JsonObject], model: Model) -> str:
    if _role(contents[0]) == "model":
        return _CALL_PLACE if _calls(contents[0]) else "Please ensure that the first turn is a user turn."
    if _role(contents[-1]) == "model" and not model.ends_with_model:
        return _ENDS_WITH_MODEL
    return ""


def _calls(content: JsonObject) -> list[JsonObject]:
    return [part["functionCall"] for part in content["parts"] if "functionCall" in part]


def _responses(content: JsonObject) -> list[JsonObject]:
    return [part["functionResponse"] for part in content["parts"] if "functionResponse" in part]


def _pairing(contents: list[JsonObject], *, vertex: bool) -> str:
    """Every call is answered in the one next content, by as many responses; a response answers a call."""
    for index, content in enumerate(contents):
        following = contents[index + 1] if index + 1 < len(contents) else None
        previous = contents[index - 1] if index else None
        if _role(content) == "model" and (calls := _calls(content)):
            if problem := _answered(calls, following, vertex=vertex):
                return problem
        elif _role(content) == "user" and _calls(content):
            return _CALL_PLACE
        if _responses(content) and (previous is None or _role(content) == "model" or not _calls(previous)):
            return _RESPONSE_PLACE
    return ""


def _answered(calls: list[JsonObject], following: JsonObject | None, *, vertex: bool) -> str:
    responses = _responses(following) if following is not None else []
    if following is None or len(responses) != len(calls):
        return _SAME_NUMBER
    if Counter(call.get("name") for call in calls) != Counter(one.get("name") for one in responses):
        return "Please ensure that the name of each function response is the name of its function call."
    wanted = {call["id"] for call in calls if call.get("id")}
    stray = next(
        (one["id"] for one in responses if one.get("id") and wanted and one["id"] not in wanted), None
    )
    if stray is not None:
        return f"Function response id `{stray}` does not match any function call of the function call turn."
    if any("response" not in one for one in responses):
        return "Function response part must have a response."
    if vertex and any("text" in part for part in following["parts"]):
        return _ENDS_WITH_MODEL
    return ""


def _signatures(contents: list[JsonObject], model: Model, signed_for: str) -> str:
    """The first call of every step of the current turn is signed; a signature that is there must be genuine."""
    current = _start_of_current_turn(contents)
    for index, content in enumerate(contents):
        if _role(content) != "model":
            continue
        for part in content["parts"]:
            signature = part.get("thoughtSignature")
            if signature is not None and not genuine(signature, model.id, signed_for):
                return "Corrupted thought signature."
        first = next((part for part in content["parts"] if "functionCall" in part), None)
        if index > current and first is not None and "thoughtSignature" not in first:
            return (
                "Function call is missing a thought_signature in functionCall parts. This is required for tools to work "
                "correctly, and missing thought_signature may lead to degraded model performance. Additional data, function "
                f"call `default_api:{first['functionCall'].get('name')}` , position {index + 1}. Please refer to "
                "https://ai.google.dev/gemini-api/docs/thought-signatures for more details."
            )
    return ""


def _start_of_current_turn(contents: list[JsonObject]) -> int:
    """The last content in which the user says something other than function responses."""
    for index in range(len(contents) - 1, -1, -1):
        spoken = any("functionResponse" not in part for part in contents[index]["parts"])
        if _role(contents[index]) == "user" and spoken:
            return index
    return -1
