"""Writing generateContent bodies, and each trap that Google sets for a converter."""

import json
from typing import Any

import msgspec
import pytest
from google.genai import types

from regrant.dialects import gemini, openai_chat
from regrant.errors import DialectError
from regrant.messages.model import (
    BuiltinTool,
    Effort,
    Generation,
    Media,
    OutputFormat,
    Reasoning,
    Request,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Turn,
)

NEW, OLD = "gemini-3.8-flash", "gemini-2.5-flash"
UNSIGNED = "skip_thought_signature_validator"
GO_ON = {"role": "user", "parts": [{"text": "Continue."}]}


def user(*parts: Any) -> Turn:
    return Turn(
        role="user", parts=tuple(Text(text=part) if isinstance(part, str) else part for part in parts)
    )


def assistant(*parts: Any) -> Turn:
    return Turn(
        role="assistant", parts=tuple(Text(text=part) if isinstance(part, str) else part for part in parts)
    )


def call(call_id: str, name: str = "get", **more: Any) -> ToolCall:
    return ToolCall(id=call_id, name=name, args=msgspec.Raw(b'{"p":1}'), **more)


def result(call_id: str, text: str = "42", **more: Any) -> ToolResult:
    return ToolResult(call_id=call_id, content=(Text(text=text),), **more)


def ask(*turns: Turn, **fields: Any) -> Request:
    return Request(model="gpt-x", turns=turns or (user("hi"),), **fields)


def encode(request: Request, model: str = NEW, **more: Any) -> Any:
    body = json.loads(gemini.encode_request(request, model=model, **more).body)
    check_field_names(body)
    return body


def contents(*turns: Turn, model: str = NEW, **more: Any) -> Any:
    return encode(ask(*turns), model, **more)["contents"]


def check_field_names(body: dict[str, Any]) -> None:
    """google-genai's own types know every field, by its camelCase name, at every depth."""
    for content in [*body["contents"], *([body["systemInstruction"]] if "systemInstruction" in body else [])]:
        types.Content.model_validate(content)
    for tool in body.get("tools", ()):
        types.Tool.model_validate(tool)
    types.ToolConfig.model_validate(body.get("toolConfig", {}))
    types.GenerationConfig.model_validate(body.get("generationConfig", {}))
    assert set(body) <= {"contents", "systemInstruction", "tools", "toolConfig", "generationConfig"}


def test_the_checker_of_field_names_refuses_a_wrong_one() -> None:
    with pytest.raises(ValueError, match="functionCal"):
        check_field_names({"contents": [{"role": "user", "parts": [{"functionCal": {}}]}]})
    with pytest.raises(ValueError, match="maxTokens"):
        check_field_names({"contents": [], "generationConfig": {"maxTokens": 1}})


def test_golden_transcript_of_an_agent_turn() -> None:
    body = openai_chat.decode_request(
        json.dumps(
            {
                "model": "gpt-x",
                "max_completion_tokens": 1024,
                "reasoning_effort": "low",
                "tool_choice": "auto",
                "messages": [
                    {"role": "system", "content": "S"},
                    {"role": "user", "content": "hi"},
                    {
                        "role": "assistant",
                        "content": "",
                        "tool_calls": [
                            {
                                "id": "c1",
                                "type": "function",
                                "function": {"name": "get", "arguments": '{"p":"a"}'},
                            }
                        ],
                    },
                    {"role": "tool", "tool_call_id": "c1", "content": "42"},
                    {"role": "user", "content": "<system-reminder>…"},
                ],
                "tools": [
                    {
                        "type": "function",
                        "function": {
                            "name": "get",
                            "description": "d",
                            "parameters": {"type": "object", "$schema": "…"},
                        },
                    }
                ],
            }
        ).encode()
    )
    assert encode(body) == {
        "systemInstruction": {"parts": [{"text": "S"}]},
        "contents": [
            {"role": "user", "parts": [{"text": "hi"}]},
            {"role": "model", "parts": [{"functionCall": {"id": "c1", "name": "get", "args": {"p": "a"}}}]},
            {
                "role": "user",
                "parts": [{"functionResponse": {"id": "c1", "name": "get", "response": {"output": "42"}}}],
            },
            {"role": "user", "parts": [{"text": "<system-reminder>…"}]},
        ],
        "tools": [
            {
                "functionDeclarations": [
                    {
                        "name": "get",
                        "description": "d",
                        "parametersJsonSchema": {"type": "object", "$schema": "…"},
                    }
                ]
            }
        ],
        "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}},
        "generationConfig": {
            "maxOutputTokens": 1024,
            "thinkingConfig": {"includeThoughts": True, "thinkingLevel": "LOW"},
        },
    }


def test_gotcha_1_empty_texts_and_contents_that_would_be_empty_are_left_out() -> None:
    assert contents(user("hi", ""), assistant(""), user(""), user("go")) == [
        {"role": "user", "parts": [{"text": "hi"}, {"text": "go"}]}
    ]


def test_gotcha_1_a_conversation_of_nothing_still_has_a_part() -> None:
    assert contents(user("")) == [GO_ON]


def test_gotcha_2_text_after_a_tool_result_stands_in_a_content_of_its_own() -> None:
    turns = (user("hi"), assistant(call("c1")), user(result("c1"), "reminder"), user("more"))
    assert [list(content["parts"][0]) for content in contents(*turns)][2:] == [["functionResponse"], ["text"]]
    assert contents(*turns)[3] == {"role": "user", "parts": [{"text": "reminder"}, {"text": "more"}]}


def test_gotcha_3_a_conversation_that_ends_with_the_model_gets_a_word_of_the_user() -> None:
    assert contents(user("hi"), assistant("I am"))[-1] == GO_ON


def test_gotcha_3_calls_without_a_result_are_answered_with_an_error() -> None:
    turns = contents(user("hi"), assistant(call("c1"), call("c2")), user(result("c2")))
    assert [part["functionResponse"]["response"] for part in turns[2]["parts"]] == [
        {"error": "no result"},
        {"output": "42"},
    ]


def test_gotcha_4_history_that_begins_with_the_model_gets_a_word_of_the_user() -> None:
    assert contents(assistant(call("c1")), user(result("c1")))[0] == GO_ON


def test_gotcha_5_results_follow_their_calls_at_once_in_the_order_of_the_calls() -> None:
    turns = contents(
        user("hi"),
        assistant(call("c1", "a"), call("c2", "b")),
        Turn(role="system", parts=(Text(text="note"),)),
        user(result("c2", "two")),
        user(result("c1", "one")),
    )
    assert [
        (
            part["functionResponse"]["id"],
            part["functionResponse"]["name"],
            part["functionResponse"]["response"],
        )
        for part in turns[2]["parts"]
    ] == [
        ("c1", "a", {"output": "one"}),
        ("c2", "b", {"output": "two"}),
    ]
    assert turns[3] == {"role": "user", "parts": [{"text": "<system>\nnote\n</system>"}]}


def test_gotcha_5_a_result_of_a_call_that_was_never_made_is_left_out_and_recorded() -> None:
    sent = gemini.encode_request(ask(user("hi"), user(result("ghost"))), model=NEW)
    assert b"functionResponse" not in sent.body
    assert any("ghost" in path for path in sent.dropped)


def test_gotcha_5_ids_used_twice_are_answered_in_turn() -> None:
    turns = contents(
        user("hi"),
        assistant(call("c1")),
        user(result("c1", "first")),
        assistant(call("c1")),
        user(result("c1", "second")),
    )
    answers = [content["parts"][0]["functionResponse"]["response"]["output"] for content in turns[2::2]]
    assert answers == ["first", "second"]


def test_gotcha_6_a_call_without_arguments_sends_an_empty_object() -> None:
    turn = assistant(ToolCall(id="c", name="get"))
    assert contents(user("hi"), turn)[1]["parts"][0]["functionCall"]["args"] == {}


def test_gotcha_7_names_are_made_acceptable_and_can_be_told_apart_again() -> None:
    names = ["mcp__a/b", "mcp__a_b", "mcp__a b", "9lives", "x" * 70, "x" * 71, "get", "größe", ""]
    sent = gemini.encode_request(ask(tools=tuple(Tool(name=name) for name in names)), model=NEW)
    wire = [one["name"] for one in json.loads(sent.body)["tools"][0]["functionDeclarations"]]
    assert len(set(wire)) == len(names)
    assert [sent.names.get(name, name) for name in wire] == names
    assert wire[1] == "mcp__a_b"
    assert wire[6] == "get"
    assert "get" not in sent.names
    assert all(len(name) <= 64 and (name[0].isalpha() or name[0] == "_") and name.isascii() for name in wire)


def test_gotcha_7_history_uses_the_same_names_as_the_declarations() -> None:
    request = ask(user("hi"), assistant(call("c1", "a/b")), user(result("c1")), tools=(Tool(name="a/b"),))
    body = encode(request)
    declared = body["tools"][0]["functionDeclarations"][0]["name"]
    assert body["contents"][1]["parts"][0]["functionCall"]["name"] == declared
    assert body["contents"][2]["parts"][0]["functionResponse"]["name"] == declared


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (ToolChoice(mode="auto"), {"mode": "AUTO"}),
        (ToolChoice(mode="none"), {"mode": "NONE"}),
        (ToolChoice(mode="required"), {"mode": "ANY"}),
        (ToolChoice(mode="required", names=("a/b",)), {"mode": "ANY", "allowedFunctionNames": ["a_b"]}),
        (ToolChoice(mode="auto", names=("get",)), {"mode": "VALIDATED", "allowedFunctionNames": ["get"]}),
    ],
)
def test_gotcha_8_a_tool_choice_names_declared_functions_only(choice: Any, expected: Any) -> None:
    body = encode(ask(tools=(Tool(name="get"), Tool(name="a/b")), tool_choice=choice))
    assert body["toolConfig"] == {"functionCallingConfig": expected}


def test_a_tool_choice_without_tools_is_not_sent() -> None:
    assert "toolConfig" not in encode(ask(tool_choice=ToolChoice(mode="none")))


@pytest.mark.parametrize("mime", ["image/gif", "image/svg+xml"])
def test_gotcha_10_pictures_that_gemini_does_not_read_are_refused_early(mime: Any) -> None:
    with pytest.raises(DialectError, match=mime.partition("+")[0]) as caught:
        contents(user("hi", Media(mime=mime, data="eA==")))
    assert caught.value.param == "messages[0].content[1]"


def test_media_are_sent_inline_or_by_reference() -> None:
    parts = contents(
        user(Media(mime="image/png", data="eA=="), Media(mime="application/pdf", uri="https://x/a.pdf"))
    )[0]["parts"]
    assert parts == [
        {"inlineData": {"mimeType": "image/png", "data": "eA=="}},
        {"fileData": {"mimeType": "application/pdf", "fileUri": "https://x/a.pdf"}},
    ]


def test_gotcha_11_json_mode_with_tools_is_left_out_where_the_model_refuses_it() -> None:
    request = ask(tools=(Tool(name="get"),), output=OutputFormat(schema=msgspec.Raw(b'{"type":"object"}')))
    sent = gemini.encode_request(request, model=OLD)
    assert b"responseMimeType" not in sent.body
    assert "response_format" in sent.dropped
    config = encode(request, NEW)["generationConfig"]
    assert config == {"responseMimeType": "application/json", "responseJsonSchema": {"type": "object"}}


def test_pictures_in_tool_results_go_where_the_model_reads_them() -> None:
    turn = user(ToolResult(call_id="c1", content=(Text(text="a"), Media(mime="image/png", data="eA=="))))
    new = contents(user("hi"), assistant(call("c1")), turn)
    blob = {"inlineData": {"mimeType": "image/png", "data": "eA=="}}
    assert new[2]["parts"][0]["functionResponse"]["parts"] == [blob]
    old = contents(user("hi"), assistant(call("c1")), turn, model=OLD)
    assert old[3] == {"role": "user", "parts": [blob]}


def test_a_failed_tool_result_is_an_error() -> None:
    turns = contents(user("hi"), assistant(call("c1")), user(result("c1", "boom", is_error=True)))
    assert turns[2]["parts"][0]["functionResponse"]["response"] == {"error": "boom"}


def signatures_of(turns: list[dict[str, Any]]) -> list[str | None]:
    return [
        part.get("thoughtSignature")
        for content in turns
        for part in content["parts"]
        if "functionCall" in part
    ]


AGENT = (
    user("first"),
    assistant(call("c0")),
    user(result("c0")),
    assistant("done"),
    user("second"),
    assistant(call("c1"), call("c2")),
    user(result("c1"), result("c2")),
    assistant(call("c3")),
    user(result("c3")),
)


def test_the_first_call_of_each_step_of_the_current_turn_is_signed_on_gemini_3() -> None:
    assert signatures_of(contents(*AGENT)) == [None, UNSIGNED, None, UNSIGNED]


def test_older_models_get_no_made_up_signature() -> None:
    assert signatures_of(contents(*AGENT, model=OLD)) == [None] * 4


def test_a_signature_that_is_known_goes_back_with_its_call() -> None:
    known = {"c0": "zero", "c1": "once"}
    turns = contents(*AGENT, signatures=lambda call: known.get(call.id))
    assert signatures_of(turns) == ["zero", "once", None, UNSIGNED]


def test_a_signature_that_the_lookup_disowns_is_not_sent() -> None:
    signed = assistant(call("c1", signature="mine"))
    assert signatures_of(contents(user("hi"), signed)) == ["mine"]
    assert signatures_of(contents(user("hi"), signed, signatures=lambda _: None)) == [UNSIGNED]


def test_after_a_refused_signature_all_of_them_can_be_forgotten() -> None:
    signed = ask(user("hi"), assistant(Text(text="a", signature="c2ln"), call("c1", signature="c2ln")))
    body = encode(gemini.without_signatures(signed))
    assert body["contents"][1]["parts"][0] == {"text": "a"}
    assert signatures_of(body["contents"]) == [UNSIGNED]


def test_a_note_of_the_system_does_not_begin_a_new_turn() -> None:
    note = Turn(role="system", parts=(Text(text="note"),))
    assert signatures_of(contents(*AGENT, note))[-1] == UNSIGNED


def test_thoughts_are_not_sent_back() -> None:
    assert contents(user("hi"), assistant(Thinking(text="hm", signature="x"), "yes"), user("ok"))[1][
        "parts"
    ] == [{"text": "yes"}]


def test_knobs_that_newer_models_ignore_are_left_out_and_recorded() -> None:
    asked = Generation(
        temperature=0.1, top_p=0.2, top_k=3, seed=4, presence_penalty=0.5, frequency_penalty=0.6
    )
    request = ask(generation=asked)
    rest = {"seed": 4, "presencePenalty": 0.5, "frequencyPenalty": 0.6}
    assert encode(request, OLD)["generationConfig"] == {"temperature": 0.1, "topP": 0.2, "topK": 3} | rest
    assert encode(request, NEW)["generationConfig"] == rest
    assert gemini.encode_request(request, model=NEW).dropped == ("temperature", "top_p", "top_k")


def test_stops_choices_and_logprobs_are_sent_as_google_names_them() -> None:
    asked = Generation(stop=("a", "", "b", "c", "d", "e", "f"), logprobs=True, top_logprobs=30, max_tokens=5)
    sent = gemini.encode_request(ask(generation=asked, n=2, modalities=("text", "image")), model=NEW)
    assert json.loads(sent.body)["generationConfig"] == {
        "candidateCount": 2,
        "maxOutputTokens": 5,
        "stopSequences": ["a", "b", "c", "d", "e"],
        "responseLogprobs": True,
        "logprobs": 20,
        "responseModalities": ["TEXT", "IMAGE"],
    }
    assert sent.dropped == ("stop[5]",)


@pytest.mark.parametrize(
    ("model", "effort", "expected"),
    [
        ("gemini-3.8-flash", Effort.NONE, {"thinkingLevel": "LOW"}),
        ("gemini-3.5-flash", Effort.MINIMAL, {"thinkingLevel": "MINIMAL"}),
        ("gemini-3.1-pro-preview", Effort.MINIMAL, {"thinkingLevel": "LOW"}),
        ("gemini-3.1-pro-preview", Effort.MEDIUM, {"thinkingLevel": "MEDIUM"}),
        ("gemini-3.8-flash", Effort.MAX, {"thinkingLevel": "HIGH"}),
        ("gemini-flash-latest", Effort.XHIGH, {"thinkingLevel": "HIGH"}),
        ("gemini-2.5-flash", Effort.NONE, {"thinkingBudget": 0}),
        ("gemini-2.5-pro", Effort.NONE, {"thinkingBudget": 128}),
        ("gemini-2.5-flash", Effort.LOW, {"thinkingBudget": 1024}),
        ("models/gemini-2.5-flash", Effort.MEDIUM, {"thinkingBudget": 8192}),
        ("gemini-2.5-flash-lite", Effort.HIGH, {"thinkingBudget": 24576}),
    ],
)
def test_an_effort_becomes_the_nearest_level_or_budget_that_the_model_has(
    model: Any, effort: Any, expected: Any
) -> None:
    body = encode(ask(reasoning=Reasoning(effort=effort)), model)
    assert body["generationConfig"]["thinkingConfig"] == expected


@pytest.mark.parametrize(
    ("model", "budget", "expected"),
    [
        ("gemini-2.5-flash", 31_999, 24_576),
        ("gemini-2.5-pro", 0, 128),
        ("gemini-2.5-pro", -1, -1),
        ("gemini-2.5-flash-lite", 5, 512),
    ],
)
def test_a_budget_is_kept_within_the_models_range(model: Any, budget: Any, expected: Any) -> None:
    config = encode(ask(reasoning=Reasoning(budget_tokens=budget, summaries=True)), model)["generationConfig"]
    assert config == {"thinkingConfig": {"includeThoughts": True, "thinkingBudget": expected}}


def test_level_and_budget_are_never_sent_together() -> None:
    both = ask(reasoning=Reasoning(budget_tokens=100, effort=Effort.LOW))
    assert encode(both, NEW)["generationConfig"]["thinkingConfig"] == {"thinkingLevel": "LOW"}
    assert encode(both, OLD)["generationConfig"]["thinkingConfig"] == {"thinkingBudget": 100}


def test_models_that_do_not_think_are_not_asked_to() -> None:
    sent = gemini.encode_request(ask(reasoning=Reasoning(effort=Effort.LOW)), model="gemini-2.0-flash")
    assert b"thinkingConfig" not in sent.body
    assert sent.dropped == ("reasoning",)


def test_built_in_tools_stand_beside_functions_only_where_the_model_allows_it() -> None:
    alone = encode(
        ask(builtin_tools=(BuiltinTool.WEB_SEARCH, BuiltinTool.URL_CONTEXT, BuiltinTool.CODE_EXECUTION)), OLD
    )
    assert alone["tools"] == [{"googleSearch": {}}, {"urlContext": {}}, {"codeExecution": {}}]
    both = ask(builtin_tools=(BuiltinTool.WEB_SEARCH,), tools=(Tool(name="get"),))
    assert encode(both, NEW)["toolConfig"] == {"includeServerSideToolInvocations": True}
    old = gemini.encode_request(both, model=OLD)
    assert b"googleSearch" not in old.body
    assert old.dropped == ("built-in tool web_search",)


def test_a_tool_schema_is_sent_byte_for_byte_and_an_empty_one_not_at_all() -> None:
    schema = b'{"$schema" : "x",  "exclusiveMinimum":1e2}'
    tools = (Tool(name="a", schema=msgspec.Raw(schema)), Tool(name="b", schema=msgspec.Raw(b"{}")))
    body = gemini.encode_request(ask(tools=tools), model=NEW).body
    assert b'"parametersJsonSchema":' + schema in body
    assert body.count(b"parametersJsonSchema") == 1


def test_more_answers_at_once_than_gemini_writes_are_refused() -> None:
    assert encode(msgspec.structs.replace(ask(user("hi")), n=8))["generationConfig"] == {"candidateCount": 8}
    with pytest.raises(DialectError, match="8 answers") as caught:
        encode(msgspec.structs.replace(ask(user("hi")), n=9))
    assert caught.value.param == "n"


@pytest.mark.parametrize("model", ["gemini-3.1-flash-image", "gemini-2.5-flash-image"])
def test_models_that_draw_are_not_told_how_hard_to_think(model: str) -> None:
    quiet = gemini.encode_request(ask(user("hi"), reasoning=Reasoning(effort=Effort.NONE)), model=model)
    asked = gemini.encode_request(ask(user("hi"), reasoning=Reasoning(effort=Effort.HIGH)), model=model)
    assert b"thinkingConfig" not in quiet.body + asked.body
    assert (quiet.dropped, asked.dropped) == ((), ("reasoning",))
