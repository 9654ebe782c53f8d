"""What a Gemini client asks and is answered, in the client's own words."""

import contextlib
import json
from typing import Any

import msgspec
import pytest
from google.genai import types
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.dialects.test_fuzz import ANY_JSON, CHUNK, END, damage, sse
from tests.dialects.test_gemini_round_trip import MODEL, bodies

from regrant.dialects import gemini
from regrant.dialects.base import ReplyContext, ServerDialect
from regrant.errors import DialectError
from regrant.messages.fold import fold, unfold
from regrant.messages.model import (
    BuiltinTool,
    Choice,
    Effort,
    Finish,
    FinishReason,
    Generation,
    Media,
    OutputFormat,
    Reasoning,
    Reply,
    Request,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Turn,
    Usage,
)
from regrant.messages.problem import Problem, ProblemKind
from regrant.messages.stream import Failed, PartDelta, PartEnded, PartStarted, Started

DIALECT: ServerDialect = gemini
CONTEXT = ReplyContext(id="R1", created=7, model="gemini-mine")
HELLO = {"role": "user", "parts": [{"text": "hello"}]}


def read(**body: Any) -> Request:
    return gemini.decode_request(json.dumps({"contents": [HELLO]} | body).encode(), model="m")


def read_parts(*parts: Any, role: str = "user") -> Any:
    return read(contents=[{"role": role, "parts": parts}]).turns[0].parts


def refusal(**body: Any) -> DialectError:
    with pytest.raises(DialectError) as caught:
        read(**body)
    return caught.value


def refused_part(part: Any, role: str = "user") -> str:
    return refusal(contents=[{"role": role, "parts": [part]}]).param


def test_golden_transcript_of_an_agent_of_googles_own_sdk() -> None:
    body = b"""{
      "system_instruction": {"role": "user", "parts": [{"text": "S"}]},
      "contents": [
        {"parts": [{"text": "look"}, {"inline_data": {"mime_type": "image/png", "data": "eA=="}}], "role": "user"},
        {"parts": [{"text": "Plan", "thought": true},
                   {"functionCall": {"id": "c1", "name": "get", "args": {"snake_case": 1}}, "thoughtSignature": "AbC="},
                   {"functionCall": {"id": "c2", "name": "get", "args": {}}}], "role": "model"},
        {"parts": [{"functionResponse": {"id": "c1", "name": "get", "response": {"result": [1, 2]}}},
                   {"functionResponse": {"id": "c2", "name": "get", "response": {"error": "no"},
                    "parts": [{"inlineData": {"mimeType": "image/png", "data": "eA=="}}]}}], "role": "user"}],
      "tools": [{"functionDeclarations": [{"name": "get", "description": "d", "behavior": "BLOCKING",
          "parameters": {"type": "OBJECT", "properties": {"p": {"type": "STRING", "nullable": true, "maxLength": "9"}}}}]},
        {"googleSearch": {"excludeDomains": ["x.example"]}}],
      "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["get"]}},
      "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"}],
      "generationConfig": {"temperature": 1, "maxOutputTokens": 9, "speechConfig": {},
        "thinkingConfig": {"includeThoughts": true, "thinkingLevel": "low"},
        "responseMimeType": "application/json", "responseSchema": {"type": "ARRAY", "items": {"type": "INTEGER"}}}
    }"""
    picture = Media(mime="image/png", data="eA==")
    assert gemini.decode_request(body, model="models/gemini-x", stream=True) == Request(
        model="gemini-x",
        system=(Text(text="S"),),
        turns=(
            Turn(role="user", parts=(Text(text="look"), picture)),
            Turn(
                role="assistant",
                parts=(
                    Thinking(text="Plan"),
                    ToolCall(id="c1", name="get", args=msgspec.Raw(b'{"snake_case": 1}'), signature="AbC="),
                    ToolCall(id="c2", name="get"),
                ),
            ),
            Turn(
                role="user",
                parts=(
                    ToolResult(call_id="c1", name="get", content=(Text(text='{"result":[1, 2]}'),)),
                    ToolResult(call_id="c2", name="get", content=(Text(text="no"), picture), is_error=True),
                ),
            ),
        ),
        tools=(
            Tool(
                name="get",
                description="d",
                schema=msgspec.Raw(
                    b'{"type":"object","properties":{"p":{"type":["string","null"],"maxLength":9}}}'
                ),
            ),
        ),
        builtin_tools=(BuiltinTool.WEB_SEARCH,),
        tool_choice=ToolChoice(mode="required", names=("get",)),
        generation=Generation(temperature=1, max_tokens=9),
        output=OutputFormat(schema=msgspec.Raw(b'{"type":"array","items":{"type":"integer"}}')),
        reasoning=Reasoning(effort=Effort.LOW, summaries=True),
        stream=True,
        include_usage=True,
        dropped=(
            "safetySettings",
            "generationConfig.speechConfig",
            "tools[0].functionDeclarations[0].behavior",
            "tools[1].googleSearch.excludeDomains",
        ),
    )


def test_the_model_is_told_by_the_address_or_else_by_the_body() -> None:
    body = json.dumps({"model": "models/a", "contents": HELLO}).encode()
    assert gemini.decode_request(body).model == "a"
    assert gemini.decode_request(body, model="b").model == "b"


def test_one_content_and_one_part_need_no_list() -> None:
    assert read(contents={"parts": {"text": "x"}}).turns == (Turn(role="user", parts=(Text(text="x"),)),)


def test_calls_without_ids_are_paired_with_their_results_by_name_and_order() -> None:
    calls = [{"functionCall": {"name": name}} for name in ("get", "put", "get")]
    answers: list[Any] = [
        {"functionResponse": {"name": name, "response": {}}} for name in ("put", "get", "get")
    ]
    contents = [HELLO, {"role": "model", "parts": calls}, {"role": "function", "parts": answers}]
    turns = read(contents=contents).turns
    ids = [part.id for part in turns[1].parts if isinstance(part, ToolCall)]
    assert len(set(ids)) == 3
    answered = [part.call_id for part in turns[2].parts if isinstance(part, ToolResult)]
    assert answered == [ids[1], ids[0], ids[2]]


def test_a_result_takes_the_name_of_its_call() -> None:
    contents = [
        {"role": "model", "parts": [{"functionCall": {"id": "c", "name": "get"}}]},
        {"parts": [{"functionResponse": {"id": "c", "response": {"output": {"a": 1}}}}]},
    ]
    (found,) = read(contents=contents).turns[1].parts
    assert found == ToolResult(call_id="c", name="get", content=(Text(text='{"a": 1}'),))


def test_a_signature_alone_is_a_text_without_words_and_googles_stand_ins_are_none() -> None:
    assert read_parts({"thoughtSignature": "c2ln"}, role="model") == (Text(text="", signature="c2ln"),)
    for stand_in in ("skip_thought_signature_validator", "context_engineering_is_the_way_to_go"):
        (call,) = read_parts({"functionCall": {"name": "f"}, "thoughtSignature": stand_in}, role="model")
        assert call.signature is None


def test_a_signature_of_a_picture_has_no_place_and_is_recorded() -> None:
    part = {"inlineData": {"mimeType": "image/png", "data": "eA=="}, "thoughtSignature": "c2ln"}
    assert read(contents=[{"parts": [part]}]).dropped == ("contents[0].parts[0].thoughtSignature",)


@pytest.mark.parametrize(
    ("part", "role", "param"),
    [
        ({"executableCode": {"code": "1", "language": "PYTHON"}}, "model", ".executableCode"),
        ({"codeExecutionResult": {"output": "1"}}, "model", ".codeExecutionResult"),
        ({"tool_call": {"id": "1"}}, "model", ".toolCall"),
        ({"toolResponse": {"id": "1"}}, "user", ".toolResponse"),
        ({"functionCall": {"name": "f", "args": []}}, "model", ".functionCall.args"),
        ({"functionCall": {"name": "f", "willContinue": True}}, "model", ".functionCall.willContinue"),
        ({"functionCall": {"name": "f"}}, "user", ".functionCall"),
        ({"functionCall": {}}, "model", ".functionCall.name"),
        ({"functionResponse": {"name": "f"}}, "model", ".functionResponse"),
        ({"functionResponse": {"name": "f", "response": "x"}}, "user", ".functionResponse.response"),
        ({"functionResponse": {"parts": [{}]}}, "user", ".functionResponse.parts[0]"),
        ({"inlineData": {"data": "eA=="}}, "user", ".inlineData.mimeType"),
        ({"inlineData": {"mimeType": "image/png"}}, "user", ".inlineData.data"),
        ({"fileData": {"mimeType": "image/png"}}, "user", ".fileData.fileUri"),
        ({"text": 1}, "user", ".text"),
        ({"text": "x", "inlineData": {}}, "user", ""),
        ({"thoughtSignature": "a", "thought_signature": "a"}, "user", ".thoughtSignature"),
        ({"videoMetadata": {}}, "user", ""),
    ],
)
def test_a_part_that_cannot_be_held_is_refused_by_name(part: Any, role: str, param: str) -> None:
    assert refused_part(part, role) == f"contents[0].parts[0]{param}"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"contents": []}, "contents"),
        ({"contents": [{"role": "system", "parts": []}]}, "contents[0].role"),
        ({"cachedContent": "cachedContents/1"}, "cachedContent"),
        ({"systemInstruction": {"parts": [{"text": "x", "thought": True}]}}, "systemInstruction.parts[0]"),
        ({"systemInstruction": {"parts": [{"toolCall": {}}]}}, "systemInstruction.parts[0].toolCall"),
        ({"tools": [{"googleMaps": {}}]}, "tools[0].googleMaps"),
        ({"tools": [{"functionDeclarations": [{}]}]}, "tools[0].functionDeclarations[0].name"),
        (
            {"tools": [{"functionDeclarations": [{"name": "f", "parameters": 1}]}]},
            "tools[0].functionDeclarations[0].parameters",
        ),
        (
            {"tools": [{"functionDeclarations": [{"name": "f"}, {"name": "f"}]}]},
            "tools[0].functionDeclarations[1].name",
        ),
        (
            {"toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}}},
            "toolConfig.functionCallingConfig.allowedFunctionNames",
        ),
        ({"toolConfig": {"functionCallingConfig": {"mode": "x"}}}, "toolConfig.functionCallingConfig.mode"),
        ({"generationConfig": {"candidateCount": 0}}, "generationConfig.candidateCount"),
        ({"generationConfig": {"responseMimeType": "text/x.enum"}}, "generationConfig.responseMimeType"),
        ({"generationConfig": {"responseModalities": ["SMELL"]}}, "generationConfig.responseModalities"),
        (
            {"generationConfig": {"thinkingConfig": {"thinkingLevel": "x"}}},
            "generationConfig.thinkingConfig.thinkingLevel",
        ),
        ({"generationConfig": {"topK": "x"}}, "generationConfig.topK"),
        (
            {"generationConfig": {"responseFormat": [{"image": {"imageSize": "1K"}}]}},
            "generationConfig.responseFormat[0].image",
        ),
    ],
)
def test_a_field_that_is_wrong_is_refused_by_name(body: Any, param: str) -> None:
    assert refusal(**body).param == param


def test_knobs_without_a_meaning_and_fields_that_are_not_known_are_recorded() -> None:
    body = {"labels": {}, "new_knob": 1, "store": None, "toolConfig": {"retrievalConfig": {}}}
    part = {"text": "x", "mediaResolution": {}}
    assert read(**body, contents=[{"parts": [part]}]).dropped == (
        "labels",
        "newKnob",
        "contents[0].parts[0].mediaResolution",
        "toolConfig.retrievalConfig",
    )


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"responseMimeType": "text/plain"}, None),
        ({"responseMimeType": "application/json"}, OutputFormat()),
        ({"responseJsonSchema": {"a": 1}}, OutputFormat(schema=msgspec.Raw(b'{"a": 1}'))),
        (
            {"responseFormat": [{"text": {"mimeType": "APPLICATION_JSON", "schema": {"a": 1}}}]},
            OutputFormat(schema=msgspec.Raw(b'{"a": 1}')),
        ),
        ({"responseFormat": {"text": {"mimeType": "TEXT_PLAIN"}}}, None),
    ],
)
def test_json_can_be_asked_for_in_every_spelling(config: Any, expected: Any) -> None:
    assert read(generationConfig=config).output == expected


@pytest.mark.parametrize(
    ("calling", "expected", "dropped"),
    [
        ({}, ToolChoice(mode="auto"), False),
        ({"mode": "MODE_UNSPECIFIED"}, ToolChoice(mode="auto"), False),
        ({"mode": "NONE"}, ToolChoice(mode="none"), False),
        ({"mode": "ANY"}, ToolChoice(mode="required"), False),
        ({"mode": "validated", "allowedFunctionNames": ["f"]}, ToolChoice(mode="auto", names=("f",)), False),
        ({"mode": "AUTO", "allowedFunctionNames": ["f"]}, ToolChoice(mode="auto"), True),
    ],
)
def test_every_mode_of_calling_is_read(calling: Any, expected: Any, dropped: bool) -> None:
    config = {"functionCallingConfig": calling, "includeServerSideToolInvocations": True}
    request = read(tools=[{"functionDeclarations": [{"name": "f"}]}, {}], toolConfig=config)
    assert request.tool_choice == expected
    where = "toolConfig.functionCallingConfig.allowedFunctionNames"
    assert request.dropped == ((where,) if dropped else ())


def test_a_schema_of_googles_becomes_json_schema_and_the_clients_own_names_stay() -> None:
    google = {
        "type": "OBJECT",
        "any_of": [{"type": "STRING", "enum": ["NULL"]}, {"ref": "#/$defs/type"}],
        "properties": {
            "nullable": {"type": "TYPE_UNSPECIFIED"},
            "min_items": {"min_items": "2", "nullable": False},
        },
        "defs": {"type": {"type": "ARRAY", "items": {"type": "NUMBER", "nullable": True}}},
        "example": {"type": "STRING"},
    }
    (tool,) = read(tools={"functionDeclarations": {"name": "f", "parameters": google}}).tools
    assert tool.schema is not None
    assert json.loads(bytes(tool.schema)) == {
        "type": "object",
        "anyOf": [{"type": "string", "enum": ["NULL"]}, {"$ref": "#/$defs/type"}],
        "properties": {"nullable": {}, "min_items": {"minItems": 2}},
        "$defs": {"type": {"type": "array", "items": {"type": ["number", "null"]}}},
        "example": {"type": "STRING"},
    }


def one(*parts: Any, reason: FinishReason = FinishReason.STOP, detail: str = "") -> Reply:
    finish = Finish(choice=0, reason=reason, detail=detail)
    return Reply(id="up", model="up", choices=(Choice(parts=parts, finish=finish),), usage=Usage())


def written(reply: Reply) -> Any:
    body = gemini.encode_reply(reply, context=CONTEXT)
    types.GenerateContentResponse.model_validate(json.loads(body))
    return json.loads(body)


def test_golden_transcript_of_a_stream_of_another_vendors() -> None:
    usage = Usage(input_tokens=20, cached_tokens=5, output_tokens=45, reasoning_tokens=30)
    events = [
        Started(id="up", model="up"),
        PartStarted(part=Thinking(text="Plan"), index=0),
        PartEnded(index=0, signature="AbC="),
        PartStarted(part=ToolCall(id="c1", name="get", args=msgspec.Raw(b"")), index=1),
        PartDelta(text='{"p":', index=1),
        PartDelta(text='"a"}', index=1),
        PartEnded(index=1),
        *list(unfold(msgspec.structs.replace(one(reason=FinishReason.TOOL_CALLS), usage=usage)))[1:],
    ]
    assert b"".join(map(gemini.stream_encoder(CONTEXT).encode, events)).decode() == (
        """data: {"candidates":[{"content":{"parts":[{"text":"Plan","thought":true}],"role":"model"},"index":0}],"modelVersion":"gemini-mine","responseId":"R1"}

data: {"candidates":[{"content":{"parts":[{"text":"","thought":true,"thoughtSignature":"AbC="}],"role":"model"},"index":0}],"modelVersion":"gemini-mine","responseId":"R1"}

data: {"candidates":[{"content":{"parts":[{"functionCall":{"id":"c1","name":"get","args":{"p":"a"}}}],"role":"model"},"index":0}],"modelVersion":"gemini-mine","responseId":"R1"}

data: {"candidates":[{"content":{"parts":[{"text":""}],"role":"model"},"index":0,"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":20,"candidatesTokenCount":15,"totalTokenCount":65,"cachedContentTokenCount":5,"thoughtsTokenCount":30},"modelVersion":"gemini-mine","responseId":"R1"}

"""
    )


def test_an_array_is_written_as_google_writes_it() -> None:
    encoder = gemini.stream_encoder(CONTEXT, form="array")
    events = list(unfold(one(Text(text="a"), Text(text="b"))))
    said = b"".join(encoder.keep_alive() + encoder.encode(event) for event in events)
    assert said.startswith(b'[{"candidates"')
    assert said.count(b"}\n,\n{") == 2
    assert said.endswith(b"}\n]")


@pytest.mark.parametrize(
    ("reason", "detail", "expected"),
    [
        (FinishReason.STOP, "", {"finishReason": "STOP"}),
        (FinishReason.STOP_SEQUENCE, "END", {"finishReason": "STOP", "finishMessage": "END"}),
        (FinishReason.TOOL_CALLS, "", {"finishReason": "STOP"}),
        (FinishReason.LENGTH, "", {"finishReason": "MAX_TOKENS"}),
        (FinishReason.CONTENT_FILTER, "SPII", {"finishReason": "SPII"}),
        (FinishReason.CONTENT_FILTER, "no!", {"finishReason": "SAFETY", "finishMessage": "no!"}),
        (FinishReason.MALFORMED, "", {"finishReason": "MALFORMED_RESPONSE"}),
        (FinishReason.OTHER, "ESCALATION", {"finishReason": "ESCALATION"}),
        (FinishReason.OTHER, "", {"finishReason": "OTHER"}),
    ],
)
def test_every_finish_has_its_word(reason: Any, detail: Any, expected: Any) -> None:
    (candidate,) = written(one(Text(text="x"), reason=reason, detail=detail))["candidates"]
    assert {name: value for name, value in candidate.items() if name.startswith("finish")} == expected


def test_a_blocked_prompt_has_no_candidate() -> None:
    answer = written(one(reason=FinishReason.CONTENT_FILTER, detail="PROHIBITED_CONTENT"))
    assert answer["promptFeedback"] == {"blockReason": "PROHIBITED_CONTENT"}
    assert "candidates" not in answer


def test_an_answer_without_words_still_has_a_part_lest_the_sdk_forgets_the_turn() -> None:
    (candidate,) = written(one(Text(text=""), Thinking(text="", redacted="x")))["candidates"]
    assert candidate["content"] == {"parts": [{"text": ""}], "role": "model"}


def test_pictures_are_told_inline_or_by_their_address() -> None:
    parts = written(one(Media(mime="image/png", data="eA=="), Media(mime="image/png", uri="https://x/a")))
    assert parts["candidates"][0]["content"]["parts"] == [
        {"inlineData": {"mimeType": "image/png", "data": "eA=="}},
        {"fileData": {"mimeType": "image/png", "fileUri": "https://x/a"}},
    ]


def test_a_failed_stream_ends_with_googles_error() -> None:
    problem = Problem(ProblemKind.RATE_LIMITED, "wait", retry_after_s=2)
    said = gemini.stream_encoder(CONTEXT).encode(Failed(problem=problem))
    error = json.loads(said.removeprefix(b"data: "))["error"]
    assert (error["code"], error["status"], error["message"]) == (429, "RESOURCE_EXHAUSTED", "wait")
    assert json.loads(gemini.stream_encoder(CONTEXT, form="array").fail(problem))[0]["error"] == error


def test_a_sign_of_life_is_an_empty_line_for_googles_sdk_reads_comments_as_answers() -> None:
    assert gemini.stream_encoder(CONTEXT).keep_alive() == b"\n"


def convert(body: bytes) -> None:
    with contextlib.suppress(DialectError):
        gemini.encode_request(gemini.decode_request(body), model=MODEL)


@given(bodies(), st.integers(0, 999), ANY_JSON)
@settings(max_examples=400)
def test_a_gemini_request_with_anything_in_one_place_is_read_or_refused(
    body: Any, place: Any, replacement: Any
) -> None:
    convert(json.dumps(damage(body, place, replacement)).encode())


@given(bodies(), st.integers(0, 5000), st.binary(min_size=1, max_size=2))
def test_a_gemini_request_with_broken_bytes_is_read_or_refused(body: Any, place: Any, broken: Any) -> None:
    whole = json.dumps(body, ensure_ascii=False).encode()
    place %= len(whole)
    convert(whole[:place] + broken + whole[place + 1 :])


@given(st.binary(max_size=60) | ANY_JSON.map(lambda value: json.dumps(value).encode()))
def test_anything_else_than_a_gemini_request_is_refused(body: Any) -> None:
    with pytest.raises(DialectError):
        gemini.decode_request(body)


@pytest.mark.parametrize(
    "holder",
    [
        b'{"contents":{"parts":{"text":%s}}}',
        b'{"contents":{"parts":{"text":"x"}},"new":%s}',
        b'{"contents":{"parts":{"text":"x"}},"generationConfig":{"responseSchema":{"items":%s}}}',
        b'{"contents":{"role":"model","parts":{"functionCall":{"name":"f","args":{"a":%s}}}}}',
    ],
)
@pytest.mark.parametrize("depth", [200, 480, 900, 5000])
@pytest.mark.parametrize("brackets", [(b"[", b"]"), (b'{"items":', b"}")])
def test_any_depth_is_read_or_refused(holder: bytes, depth: int, brackets: tuple[bytes, bytes]) -> None:
    opening, closing = brackets
    convert(holder % (opening * depth + b"1" + closing * depth))


@given(st.lists(CHUNK, max_size=4), END)
@settings(max_examples=300)
def test_any_answer_of_geminis_is_written_as_it_was_read(chunks: list[Any], end: Any) -> None:
    decoder = gemini.reply_decoder(call_prefix="p")
    events = [event for chunk in sse([*chunks, *end]) for event in decoder.feed(chunk)] + decoder.end()
    encoder = gemini.stream_encoder(CONTEXT)
    said = b"".join(encoder.encode(event) for event in events)
    folded = fold(events)
    again = gemini.reply_decoder(call_prefix="p")
    back = fold([*again.feed(said), *again.end()])
    if isinstance(folded, Reply):
        assert back == fold(
            gemini.decode_reply(gemini.encode_reply(folded, context=CONTEXT), call_prefix="p")
        )
    else:
        assert isinstance(back, Failed)
