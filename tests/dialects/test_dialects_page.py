"""docs/dialects.md against the types of the installed SDKs and against the code."""

from __future__ import annotations

import collections.abc
import inspect
import re
import typing
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typing_extensions
from anthropic.types import Message, message_create_params
from google.genai import types
from openai.types import chat
from openai.types.chat import completion_create_params
from pydantic import BaseModel

from regrant.dialects import gemini
from regrant.dialects.anthropic import wire as anthropic_wire
from regrant.dialects.base import ReplyContext
from regrant.dialects.openai_chat import wire as openai_wire
from regrant.errors import DialectError
from regrant.messages import model

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "dialects.md").read_text(encoding="utf-8")
WORDS = {"mapped", "passed on", "dropped", "refused"}
WRAPPERS = (typing_extensions.Required, typing_extensions.NotRequired, typing_extensions.Annotated)
LISTS = (list, collections.abc.Iterable, collections.abc.Sequence)


def rows(section: str) -> dict[str, tuple[str, str]]:
    """Field or pattern -> word and explanation."""
    found: dict[str, tuple[str, str]] = {}
    body = PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    for line in body.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `") and len(cells) == 3:
            for field in re.findall(r"`([^`]+)`", cells[0]):
                assert field not in found, f"{field} stands in two rows of {section}"
                found[field] = cells[1], cells[2]
    return found


def row_of(field: str, section: dict[str, Any]) -> str | None:
    """The most exact row: the field itself, else the longest pattern above it."""
    if field in section:
        return field
    patterns = [name for name in section if name.endswith(".*") and below(field, name.removesuffix(".*"))]
    return max(patterns, key=len, default=None)


def below(field: str, stem: str) -> bool:
    return field == stem or field.startswith((f"{stem}.", f"{stem}[]"))


def request_fields(*params: Any) -> set[str]:
    """Every path in a TypedDict of the SDK."""
    found: set[str] = set()

    def walk(kind: Any, path: str) -> None:
        origin = typing.get_origin(kind)
        if origin in WRAPPERS:
            walk(typing.get_args(kind)[0], path)
        elif typing_extensions.is_typeddict(kind):
            for name, inner in typing_extensions.get_type_hints(kind, include_extras=True).items():
                below = f"{path}.{name}" if path else name
                found.add(below)
                walk(inner, below)
        elif origin is not None and origin not in {dict, collections.abc.Mapping, typing.Literal}:
            for inner in typing.get_args(kind):
                walk(inner, path + ("[]" if origin in LISTS else ""))

    for one in params:
        walk(one, "")
    return found


def answer_fields(*models: type[BaseModel]) -> set[str]:
    found: set[str] = set()

    def walk(kind: Any, path: str) -> None:
        if inspect.isclass(kind) and issubclass(kind, BaseModel):
            for name, field in kind.model_fields.items():
                below = f"{path}.{name}" if path else name
                found.add(below)
                walk(field.annotation, below)
        else:
            for inner in typing.get_args(kind):
                walk(inner, path + ("[]" if typing.get_origin(kind) is list else ""))

    for one in models:
        walk(one, "")
    return found


def google_fields(**roots: Any) -> set[str]:
    """As Google's API spells them; a schema inside of a schema is told once."""
    found = set(roots)

    def walk(kind: Any, path: str, above: tuple[Any, ...]) -> None:
        if inspect.isclass(kind) and issubclass(kind, BaseModel):
            for name, field in kind.model_fields.items() if kind not in above else ():
                below = f"{path}.{field.alias or name}"
                found.add(below)
                walk(field.annotation, below, (*above, kind))
        else:
            for inner in typing.get_args(kind):
                walk(inner, path + ("[]" if typing.get_origin(kind) is list else ""), above)

    for name, kind in roots.items():
        walk(kind, name, ())
    return found


GEMINI = google_fields(
    model=str,
    contents=list[types.Content],
    systemInstruction=types.Content,
    tools=list[types.Tool],
    toolConfig=types.ToolConfig,
    generationConfig=types.GenerationConfig,
    safetySettings=list[types.SafetySetting],
    cachedContent=str,
    labels=dict[str, str],
    serviceTier=str,
    store=bool,
) | google_fields(**{"generationConfig.imageConfig": types.ImageConfig})
"""`GenerateContentConfig` is the SDK's own; these are the fields that it sends. `imageConfig` has a place of its own there."""

OF_THE_SDK = {"automaticFunctionCallingHistory", "parsed", "sdkHttpResponse"}
GEMINI_ANSWER = google_fields(
    **{
        str(field.alias): field.annotation
        for field in types.GenerateContentResponse.model_fields.values()
        if field.alias not in OF_THE_SDK
    }
)
OPENAI = request_fields(
    completion_create_params.CompletionCreateParamsNonStreaming,
    completion_create_params.CompletionCreateParamsStreaming,
)
ANTHROPIC = request_fields(
    message_create_params.MessageCreateParamsNonStreaming,
    message_create_params.MessageCreateParamsStreaming,
)
ANSWER = answer_fields(chat.ChatCompletion, chat.ChatCompletionChunk)
SECTIONS = [
    ("OpenAI chat: request", OPENAI, openai_wire.ChatRequest),
    ("OpenAI chat: answer", ANSWER, None),
    ("Anthropic Messages: request", ANTHROPIC, anthropic_wire.MessagesRequest),
    ("Anthropic Messages: answer", answer_fields(Message), None),
    ("Gemini: request", GEMINI, None),
    ("Gemini: answer", GEMINI_ANSWER, None),
]


@pytest.mark.parametrize(("section", "fields", "_"), SECTIONS)
def test_every_field_of_the_sdk_is_in_a_row(section: str, fields: set[str], _: Any) -> None:
    assert len(fields) > 80
    table = rows(section)
    assert sorted(field for field in fields if row_of(field, table) is None) == []


@pytest.mark.parametrize(("section", "fields", "declared"), SECTIONS)
def test_every_row_is_about_a_field_that_exists(section: str, fields: set[str], declared: Any) -> None:
    own = set(declared.__struct_fields__) if declared else set()
    stems = {name: name.removesuffix(".*") for name in rows(section)}
    assert [name for name, stem in stems.items() if stem.removesuffix("[]") not in fields | own] == []


@pytest.mark.parametrize("section", [section for section, _, _ in SECTIONS])
def test_every_row_says_what_becomes_of_it_and_why_if_it_is_lost(section: str) -> None:
    for field, (word, why) in rows(section).items():
        assert word in WORDS, field
        assert why or word == "mapped", field


@pytest.mark.parametrize(
    ("section", "wire", "request_type"),
    [
        ("OpenAI chat: request", openai_wire, openai_wire.ChatRequest),
        ("Anthropic Messages: request", anthropic_wire, anthropic_wire.MessagesRequest),
    ],
)
def test_the_page_and_the_code_agree_on_what_is_dropped(
    section: str, wire: Any, request_type: type[msgspec.Struct]
) -> None:
    table = rows(section)
    for field in request_type.__struct_fields__:
        row = row_of(field, table)
        assert row is not None, field
        if field != "parallel_tool_calls":  # read, and dropped by the dialect of the upstream
            assert (table[row][0] == "dropped") is (field in wire.WITHOUT_MEANING), field


KINDS_OF_PARTS = {"executableCode", "codeExecutionResult", "toolCall", "toolResponse"} | {
    "functionCall",
    "functionResponse",
}


def around(path: str, value: Any) -> Any:
    """The least Gemini request that holds `value` at `path` and is otherwise in order."""
    needed: dict[str, Any] = {
        "": {"contents": [{"parts": [{"text": "x"}]}]},
        "contents": {"role": "user"},
        "contents.parts.functionCall": {"name": "f"},
        "tools.functionDeclarations": {"name": "f"},
    }
    names = path.replace("[]", "").split(".")
    held: Any = value
    for depth in range(len(names) - 1, -1, -1):
        holder = ".".join(names[:depth])
        is_list = "[]" in path.split(".")[depth]
        held = needed.get(holder, {}) | {names[depth]: [held] if is_list else held}
        if holder == "contents" and "functionCall" in path:
            held["role"] = "model"
        if holder == "contents.parts" and names[depth] not in KINDS_OF_PARTS:
            held["text"] = "x"
        if holder.endswith("functionResponse.parts"):
            held["inlineData"] = {"mimeType": "image/png", "data": "eA=="}
    return held


def outcome(path: str) -> str:
    """What the code does about a field that says something, whatever its type: it is dropped, refused or read."""
    place = path.replace("[]", "[0]")
    for value in ({"x": 1}, [{"x": 1}], True, "x"):
        try:
            request = gemini.decode_request(msgspec.json.encode(around(path, value)))
        except DialectError as error:
            if "xpected `" in str(error):
                continue  # of another type
            return "refused" if error.param.startswith(place) else str(error)
        return "dropped" if any(name.startswith(place) for name in request.dropped) else "read"
    return "of no type"


def test_the_page_and_the_code_agree_on_what_is_lost_of_a_gemini_request() -> None:
    for field, (word, _) in rows("Gemini: request").items():
        path = field.removesuffix(".*")
        if path.endswith(("googleSearch", "googleSearchRetrieval")):
            path += ".x"  # the tool itself is there, its settings are not
        is_lost = word in {"dropped", "refused"}
        if is_lost and not path.endswith("[]") and path != "systemInstruction.role":
            assert outcome(path) == word, field


def written_paths(value: Any, path: str = "") -> set[str]:
    if isinstance(value, list):
        return {found for one in value for found in written_paths(one, f"{path}[]")}
    if not isinstance(value, dict):
        return set()
    found: set[str] = set()
    for name, one in value.items():
        below = f"{path}.{name}" if path else name
        found |= {below, *written_paths(one, below)}
    return found


def test_the_page_and_the_code_agree_on_what_a_gemini_answer_tells() -> None:
    token = model.TokenLogprob(token="x", logprob=-1, top=(model.TokenLogprob(token="y", logprob=-2),))
    finish = model.Finish(
        choice=0,
        reason=model.FinishReason.CONTENT_FILTER,
        detail="no",
        logprobs=(token,),
        citations=(model.Citation(url="u", title="t", start=0, end=1),),
    )
    parts = (
        model.Thinking(text="x"),
        model.Text(text="x", signature="c2ln"),
        model.ToolCall(id="1", name="f"),
        model.Media(mime="image/png", data="eA=="),
        model.Media(mime="image/png", uri="u"),
    )
    usage = model.Usage(input_tokens=2, cached_tokens=1, output_tokens=2, reasoning_tokens=1)
    blocked = model.Finish(choice=0, reason=model.FinishReason.CONTENT_FILTER, detail="SAFETY")
    found: set[str] = set()
    for choice in (model.Choice(parts=parts, finish=finish), model.Choice(parts=(), finish=blocked)):
        reply = model.Reply(id="", model="", choices=(choice,), usage=usage)
        body = gemini.encode_reply(reply, context=ReplyContext(id="R", created=1, model="M"))
        found |= written_paths(msgspec.json.decode(body))
    table = rows("Gemini: answer")
    assert {table[row_of(path, table) or ""][0] for path in found} == {"mapped"}
    told = {field.removesuffix(".*") for field, (word, _) in table.items() if word == "mapped"}
    assert told <= found


def test_a_field_without_a_row_would_be_found() -> None:
    table = {"a": ("mapped", ""), "b.*": ("dropped", "why")}
    assert [row_of(field, table) for field in ("a", "a.x", "b", "b.x", "b[].y", "bb")] == [
        "a", None, "b.*", "b.*", "b.*", None,
    ]  # fmt: skip
