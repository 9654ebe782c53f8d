"""What Claude Code sends, and what others have run into on the way from Messages to Gemini (docs/sources.md, section 4)."""

import json
from typing import Any

import pytest
from tests.dialects.test_anthropic_request import GET, HI, PNG, USED, decode, result, text, to_gemini, user

from regrant.dialects import gemini
from regrant.errors import DialectError
from regrant.messages.model import Media, Request, Text, ToolResult


def test_the_attribution_block_of_claude_code_is_stripped() -> None:
    blocks = [text("x-anthropic-billing-header: cc_version=2.1.330; cc_entrypoint=sdk-cli;"), text("You are")]
    request = decode(system=blocks)
    assert request.system == (Text(text="You are"),)
    assert request.dropped == ("system[0] (attribution)",)


def test_system_messages_in_mid_conversation_keep_their_place() -> None:
    system = {"role": "system", "content": [text("remember")]}
    sent = to_gemini(HI, system, USED, user(result()), {"role": "system", "content": "and this"}, tools=[GET])
    assert [content["role"] for content in sent["contents"]] == ["user", "model", "user", "user"]
    assert sent["contents"][0]["parts"] == [{"text": "hi"}, {"text": "<system>\nremember\n</system>"}]
    assert sent["contents"][3]["parts"] == [{"text": "<system>\nand this\n</system>"}]


def test_leading_system_messages_join_the_system_prompt() -> None:
    request = decode({"role": "system", "content": "more"}, HI, system="S")
    assert request.system == (Text(text="S"), Text(text="more"))


def test_a_system_message_for_one_turn_is_gone_in_the_next() -> None:
    passing = {"role": "system", "content": "now", "clear_at": "next_user_message"}
    assert len(decode(HI, passing).turns) == 2
    assert len(decode(HI, passing, USED, user(result())).turns) == 3


DEFERRED = {"name": "Later", "input_schema": {"type": "object"}, "defer_loading": True}
SEARCH = {
    "role": "assistant",
    "content": [{"type": "tool_use", "id": "t1", "name": "ToolSearch", "input": {}}],
}


def names(request: Request) -> list[str]:
    return [tool.name for tool in request.tools]


def test_a_deferred_tool_is_not_declared_before_it_was_found() -> None:
    request = decode(tools=[GET, DEFERRED])
    assert names(request) == ["get"]
    assert request.dropped == ("tools[1] (not loaded)",)


def test_a_tool_reference_loads_its_tool_and_tells_the_model() -> None:
    found = user(result([{"type": "tool_reference", "tool_name": "Later"}]), text("Tool loaded."))
    request = decode(HI, SEARCH, found, tools=[GET, DEFERRED])
    assert names(request) == ["get", "Later"]
    [answer, said] = request.turns[2].parts
    assert isinstance(answer, ToolResult)
    assert "Later" in str(answer.content[0])
    assert said == Text(text="Tool loaded.")


def test_a_deferred_tool_that_was_called_or_is_chosen_is_declared() -> None:
    called = {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "Later", "input": {}}]}
    assert names(decode(HI, called, user(result(call="c")), tools=[DEFERRED])) == ["Later"]
    assert names(decode(tools=[DEFERRED], tool_choice={"type": "tool", "name": "Later"})) == ["Later"]


def test_with_anthropics_own_tool_search_every_tool_is_declared() -> None:
    search = {"type": "tool_search_tool_regex_20251119", "name": "tool_search_tool_regex"}
    request = decode(tools=[search, DEFERRED])
    assert names(request) == ["Later"]
    assert request.dropped == ("tools[0] (all tools are declared)",)


def test_tools_come_and_go_in_mid_conversation() -> None:
    defined = {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": {"name": "fresh"}}}
    loaded = {"type": "tool_addition", "tool": {"type": "tool_reference", "name": "Later"}}
    removed = {"type": "tool_removal", "tool": {"type": "tool_reference", "name": "get"}}
    change = {"role": "system", "content": [defined, loaded, removed]}
    assert names(decode(HI, change, tools=[GET, DEFERRED])) == ["Later", "fresh"]


def test_gotcha_1_empty_texts_before_a_tool_call_are_skipped() -> None:
    message = {"role": "assistant", "content": [text(""), *USED["content"]]}
    sent = to_gemini(HI, {"role": "user", "content": [text("")]}, message, user(result("")), tools=[GET])
    for content in sent["contents"]:
        assert content["parts"]
        assert all(part.get("text") != "" for part in content["parts"])


def test_gotcha_2_a_reminder_after_a_result_stands_in_a_content_of_its_own() -> None:
    sent = to_gemini(HI, USED, user(result(), text("<system-reminder>")), user(text("go")), tools=[GET])
    assert [list(part) for part in sent["contents"][2]["parts"]] == [["functionResponse"]]
    assert sent["contents"][3]["parts"] == [{"text": "<system-reminder>"}, {"text": "go"}]


@pytest.mark.parametrize("last", [{"role": "assistant", "content": "The answer is"}, USED])
def test_gotcha_3_a_conversation_never_ends_with_the_model(last: Any) -> None:
    sent = to_gemini(HI, last, tools=[GET])
    assert sent["contents"][-1]["role"] == "user"


def test_gotcha_4_a_conversation_that_begins_with_the_model_gets_a_word_of_the_user() -> None:
    sent = to_gemini(USED, user(result()), tools=[GET])
    assert sent["contents"][0] == {"role": "user", "parts": [{"text": "Continue."}]}


def test_gotcha_5_results_follow_their_calls_in_number_and_order() -> None:
    calls = [{"type": "tool_use", "id": f"t{n}", "name": f"f{n}", "input": {}} for n in (1, 2, 3)]
    sent = to_gemini(
        HI,
        {"role": "assistant", "content": calls},
        user(result("three", "t3"), result("one", "t1"), result("x", "t9")),
    )
    answers = [part["functionResponse"] for part in sent["contents"][2]["parts"]]
    assert [(answer["id"], answer["name"]) for answer in answers] == [
        ("t1", "f1"),
        ("t2", "f2"),
        ("t3", "f3"),
    ]
    assert [answer["response"] for answer in answers] == [
        {"output": "one"},
        {"error": "no result"},
        {"output": "three"},
    ]


@pytest.mark.parametrize(
    ("given", "sent"),
    [({}, {}), (None, {}), ("", {}), ("x", {"_raw": "x"}), ([1], {"_raw": [1]}), ({"a": 1}, {"a": 1})],
)
def test_gotcha_6_arguments_are_always_an_object(given: Any, sent: Any) -> None:
    call = {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "get", "input": given}]}
    part = to_gemini(HI, call, user(result()))["contents"][1]["parts"][0]
    assert part["functionCall"]["args"] == sent


def test_gotcha_7_names_that_gemini_refuses_are_replaced_and_restored() -> None:
    tools = [{"name": "mcp__a/b c", "input_schema": {}}, {"name": "mcp__a_b_c", "input_schema": {}}]
    encoded = gemini.encode_request(decode(tools=tools), model="gemini-3.8-flash")
    declared = json.loads(encoded.body)["tools"][0]["functionDeclarations"]
    sent = [one["name"] for one in declared]
    assert len(set(sent)) == 2
    assert encoded.names == {sent[0]: "mcp__a/b c"}


def test_gotcha_8_forced_tools_and_thinking_go_together() -> None:
    sent = to_gemini(tools=[GET], tool_choice={"type": "any"}, thinking={"type": "adaptive"})
    assert sent["toolConfig"]["functionCallingConfig"] == {"mode": "ANY"}
    assert sent["generationConfig"]["thinkingConfig"] == {"includeThoughts": True}


@pytest.mark.parametrize(
    ("model", "thinking"),
    [
        ("gemini-3.8-flash", {"thinkingLevel": "LOW"}),
        ("gemini-3.5-flash", {"thinkingLevel": "MINIMAL"}),
        ("gemini-2.5-flash", {"thinkingBudget": 0}),
    ],
)
def test_gotcha_9_thoughts_leave_room_for_a_short_answer(model: str, thinking: Any) -> None:
    sent = to_gemini(model=model, max_tokens=100)
    assert sent["generationConfig"] == {"maxOutputTokens": 100, "thinkingConfig": thinking}


def test_gotcha_10_a_data_url_is_unwrapped_and_the_pictures_own_type_counts() -> None:
    def image(data: str) -> dict[str, Any]:
        source = {"type": "base64", "media_type": "image/jpeg", "data": data}
        return {"type": "image", "source": source}

    parts = decode(user(image(PNG), image(f"data:image/jpeg;base64,{PNG}"))).turns[0].parts
    assert parts == (Media(mime="image/png", data=PNG),) * 2


def test_gotcha_10_pictures_that_gemini_does_not_read_are_refused_early() -> None:
    gif = {"type": "image", "source": {"type": "base64", "media_type": "image/gif", "data": "R0lGODlh"}}
    with pytest.raises(DialectError, match="image/gif"):
        to_gemini(user(gif))


@pytest.mark.parametrize(("model", "kept"), [("gemini-2.5-pro", False), ("gemini-3.8-flash", True)])
def test_gotcha_11_json_beside_tools_is_dropped_where_it_would_be_refused(model: str, *, kept: bool) -> None:
    wanted = {"format": {"type": "json_schema", "schema": {"type": "object"}}}
    sent = to_gemini(model=model, tools=[GET], output_config=wanted)
    assert ("responseMimeType" in sent["generationConfig"]) is kept
