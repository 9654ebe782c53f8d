"""Reading Messages requests, and what becomes of them on the way to Gemini."""

import json
from typing import Any

import msgspec
import pytest
from tests.dialects.test_gemini_request import check_field_names

from regrant.dialects import anthropic, gemini
from regrant.errors import DialectError
from regrant.messages.model import (
    BuiltinTool,
    Effort,
    Media,
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

PNG = "iVBORw0KGgoAAAANSUhEUg=="
SCHEMA = {"type": "object", "properties": {"p": {"type": "string"}}, "required": ["p"], "$schema": "…"}
GET = {"name": "get", "description": "d", "input_schema": SCHEMA}
HI = {"role": "user", "content": "hi"}
USED = {
    "role": "assistant",
    "content": [{"type": "tool_use", "id": "t1", "name": "get", "input": {"p": "a"}}],
}


def body(*messages: Any, **fields: Any) -> bytes:
    return json.dumps(
        {"model": "claude-x", "max_tokens": 9000, "messages": messages or [HI], **fields}
    ).encode()


def decode(*messages: Any, **fields: Any) -> Request:
    return anthropic.decode_request(body(*messages, **fields))


def to_gemini(*messages: Any, model: str = "gemini-3.8-flash", **fields: Any) -> Any:
    sent = json.loads(gemini.encode_request(decode(*messages, **fields), model=model).body)
    check_field_names(sent)
    return sent


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def result(content: Any = "42", call: str = "t1", **fields: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": call, "content": content, **fields}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


GOLDEN_REQUEST = """
{"model":"claude-x","max_tokens":1024,"system":[{"type":"text","text":"S"}],"tools":[{"name":"get","description":"d","input_schema":{"type":"object","properties":{"p":{"type":"string"}},"required":["p"],"$schema":"…"}}],
 "messages":[{"role":"user","content":"hi"},{"role":"assistant","content":[{"type":"thinking","thinking":"…","signature":"SIG"},{"type":"tool_use","id":"toolu_1","name":"get","input":{"p":"a"}}]},
  {"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":"42"},{"type":"text","text":"<system-reminder>…"}]}],"thinking":{"type":"adaptive"},"stream":true}
"""
GOLDEN_SENT = """
{"systemInstruction":{"parts":[{"text":"S"}]},
 "contents":[{"role":"user","parts":[{"text":"hi"}]},
  {"role":"model","parts":[{"functionCall":{"id":"toolu_1","name":"get","args":{"p":"a"}},"thoughtSignature":"skip_thought_signature_validator"}]},
  {"role":"user","parts":[{"functionResponse":{"id":"toolu_1","name":"get","response":{"output":"42"}}}]},
  {"role":"user","parts":[{"text":"<system-reminder>…"}]}],
 "tools":[{"functionDeclarations":[{"name":"get","description":"d","parametersJsonSchema":{"type":"object","properties":{"p":{"type":"string"}},"required":["p"],"$schema":"…"}}]}],
 "generationConfig":{"maxOutputTokens":1024,"thinkingConfig":{"includeThoughts":true}}}
"""


def test_the_worked_example_of_the_facts_becomes_the_gemini_request_beside_it() -> None:
    request = anthropic.decode_request(GOLDEN_REQUEST.encode())
    sent = gemini.encode_request(request, model="gemini-3.8-flash").body
    assert json.loads(sent) == json.loads(GOLDEN_SENT)
    assert request.stream


def test_a_plain_message_and_a_list_of_texts_say_the_same() -> None:
    assert (
        decode(HI).turns == decode(user(text("hi"))).turns == (Turn(role="user", parts=(Text(text="hi"),)),)
    )


def test_the_system_prompt_is_a_string_or_blocks_with_cache_marks() -> None:
    blocks = [{"type": "text", "text": "S", "cache_control": {"type": "ephemeral"}}]
    assert decode(system="S").system == decode(system=blocks).system == (Text(text="S"),)


def test_images_come_inline_by_url_and_as_data_url() -> None:
    inline = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    linked = {"type": "image", "source": {"type": "url", "url": "https://x.example/a.webp?b=1"}}
    wrapped = {"type": "image", "source": {"type": "url", "url": f"data:image/png;base64,{PNG}"}}
    assert decode(user(inline, linked, wrapped)).turns[0].parts == (
        Media(mime="image/png", data=PNG),
        Media(
            mime="image/webp",
            uri="https://x.example/a.webp?b=1",
            where="messages[0].content[1].source.url",
        ),
        Media(mime="image/png", data=PNG),
    )


def test_documents_come_as_pdf_text_pieces_and_url() -> None:
    pdf = {
        "type": "document",
        "title": "T",
        "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
    }
    plain = {
        "type": "document",
        "context": "C",
        "source": {"type": "text", "media_type": "text/plain", "data": "D"},
    }
    pieces = {"type": "document", "source": {"type": "content", "content": [text("P")]}}
    linked = {"type": "document", "source": {"type": "url", "url": "https://x.example/paper"}}
    assert decode(user(pdf, plain, pieces, linked)).turns[0].parts == (
        Text(text="T"),
        Media(mime="application/pdf", data="JVBERi0=", name="T"),
        Text(text="C\nD"),
        Text(text="P"),
        Media(
            mime="application/pdf",
            uri="https://x.example/paper",
            where="messages[0].content[3].source.url",
        ),
    )


def test_a_search_result_is_read_as_text() -> None:
    block = {"type": "search_result", "source": "https://s", "title": "T", "content": [text("a"), text("b")]}
    assert decode(user(block)).turns[0].parts == (Text(text="T\nhttps://s\na\nb"),)


def test_results_of_tools_hold_texts_pictures_and_errors() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    turns = decode(HI, USED, user(result([text("see"), image]), result("no", "t2", is_error=True))).turns
    assert turns[2].parts == (
        ToolResult(call_id="t1", content=(Text(text="see"), Media(mime="image/png", data=PNG))),
        ToolResult(call_id="t2", content=(Text(text="no"),), is_error=True),
    )


def test_an_error_and_a_picture_in_a_result_reach_gemini() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    sent = to_gemini(HI, USED, user(result([text("see"), image], is_error=True)), tools=[GET])
    [part] = sent["contents"][2]["parts"]
    assert part["functionResponse"]["response"] == {"error": "see"}
    assert part["functionResponse"]["parts"] == [{"inlineData": {"mimeType": "image/png", "data": PNG}}]


@pytest.mark.parametrize(
    ("block", "param"),
    [
        ({"type": "image", "source": {"type": "file", "file_id": "f"}}, "messages[0].content[0].source"),
        ({"type": "document", "source": {"type": "file", "file_id": "f"}}, "messages[0].content[0].source"),
        ({"type": "container_upload", "file_id": "f"}, "messages[0].content[0].type"),
        (
            {"type": "image", "source": {"type": "url", "url": "file:///etc/passwd"}},
            "messages[0].content[0].source.url",
        ),
        (
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": ""}},
            "messages[0].content[0].source.data",
        ),
        (
            {"type": "mcp_tool_use", "id": "m", "name": "n", "server_name": "s", "input": {}},
            "messages[0].content[0].type",
        ),
    ],
)
def test_content_that_cannot_be_expressed_is_refused_by_name(block: Any, param: str) -> None:
    with pytest.raises(DialectError) as refused:
        decode(user(block))
    assert refused.value.param == param
    assert param in str(refused.value)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"{", "JSON"),
        (b"[]", "the body"),
        (b'{"model":"m","messages":[]}', "empty"),
        (b'{"messages":[{"role":"user","content":"hi"}]}', "model"),
        (b'{"model":"m","messages":[{"role":"robot","content":"hi"}]}', "messages[0].role"),
        (b'{"model":"m","messages":[{"role":"user","content":"\xff"}]}', "UTF-8"),
        (b'{"model":"m","messages":[],"x":' + b"[" * 100_000, "nested"),
    ],
)
def test_a_broken_body_is_refused_and_says_where(raw: bytes, words: str) -> None:
    with pytest.raises(DialectError, match=words.replace("[", r"\[")):
        anthropic.decode_request(raw)


def test_what_anthropics_own_tools_did_earlier_is_left_out_and_recorded() -> None:
    history = [
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
        text("so it is"),
    ]
    request = decode(HI, {"role": "assistant", "content": history}, HI)
    assert request.turns[1].parts == (Text(text="so it is"),)
    assert request.dropped == ("messages[1].content[0]", "messages[1].content[1]")


def test_a_summary_of_an_earlier_conversation_is_read_as_text() -> None:
    request = decode({"role": "assistant", "content": [{"type": "compaction", "content": "sum"}]}, HI)
    assert request.turns[0].parts == (Text(text="sum"),)


def thought_then_call(signature: str) -> dict[str, Any]:
    thinking = {"type": "thinking", "thinking": "hm", "signature": signature}
    return {"role": "assistant", "content": [thinking, *USED["content"]]}


def test_a_signature_that_we_wrote_goes_back_to_the_call_behind_it() -> None:
    call = decode(HI, thought_then_call("regrant:AbC=")).turns[1].parts[1]
    assert isinstance(call, ToolCall)
    assert call.signature == "AbC="


@pytest.mark.parametrize("signature", ["SIG", "regrant:", "EqQBCkYI"])
def test_a_foreign_or_empty_signature_is_never_sent_to_gemini(signature: str) -> None:
    sent = to_gemini(HI, thought_then_call(signature), user(result()), tools=[GET])
    assert sent["contents"][1]["parts"] == [
        {
            "functionCall": {"id": "t1", "name": "get", "args": {"p": "a"}},
            "thoughtSignature": "skip_thought_signature_validator",
        }
    ]


def test_only_the_call_right_behind_the_thought_is_signed() -> None:
    second = {"type": "tool_use", "id": "t2", "name": "get", "input": {}}
    message = thought_then_call("regrant:AbC=")
    message["content"].append(second)
    calls = [part for part in decode(HI, message).turns[1].parts if isinstance(part, ToolCall)]
    assert [call.signature for call in calls] == ["AbC=", None]


def test_an_empty_text_between_a_thought_and_its_call_does_not_part_them() -> None:
    message = thought_then_call("regrant:AbC=")
    message["content"].insert(1, text(""))
    call = decode(HI, message).turns[1].parts[1]
    assert isinstance(call, ToolCall)
    assert call.signature == "AbC="


def test_redacted_thoughts_are_kept_and_not_sent_to_gemini() -> None:
    message = {"role": "assistant", "content": [{"type": "redacted_thinking", "data": "xyz"}, text("ok")]}
    assert decode(HI, message).turns[1].parts[0] == Thinking(text="", redacted="xyz")
    assert to_gemini(HI, message, HI)["contents"][1]["parts"] == [{"text": "ok"}]


@pytest.mark.parametrize(
    ("fields", "reasoning"),
    [
        ({}, None),
        ({"max_tokens": 1000}, Reasoning(effort=Effort.NONE)),
        ({"max_tokens": 1000, "thinking": {"type": "adaptive"}}, Reasoning(summaries=True)),
        (
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}},
            Reasoning(effort=Effort.HIGH, summaries=True),
        ),
        ({"thinking": {"type": "between_tools"}}, Reasoning(summaries=True)),
        ({"thinking": {"type": "adaptive", "display": "omitted"}}, None),
        (
            {"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}},
            Reasoning(effort=Effort.NONE),
        ),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 5000}},
            Reasoning(budget_tokens=5000, summaries=True),
        ),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 5000, "display": "omitted"}},
            Reasoning(budget_tokens=5000),
        ),
        ({"output_config": {"effort": "max"}}, Reasoning(effort=Effort.MAX)),
    ],
)
def test_thinking_and_effort_say_how_hard_to_think(fields: Any, reasoning: Reasoning | None) -> None:
    assert decode(**fields).reasoning == reasoning


def test_an_unknown_effort_is_dropped_and_recorded() -> None:
    request = decode(output_config={"effort": "heroic"})
    assert request.reasoning is None
    assert request.dropped == ("output_config.effort",)


@pytest.mark.parametrize(
    ("model", "budget"),
    [("gemini-2.5-flash", 24_576), ("gemini-2.5-pro", 31_999), ("gemini-2.5-flash-lite", 24_576)],
)
def test_claude_codes_budget_is_cut_to_what_the_family_allows(model: str, budget: int) -> None:
    thinking = {"type": "enabled", "budget_tokens": 31_999, "display": "omitted"}
    sent = to_gemini(model=model, thinking=thinking, max_tokens=32_000)
    assert sent["generationConfig"]["thinkingConfig"] == {"thinkingBudget": budget}


def test_a_tool_keeps_its_schema_byte_for_byte() -> None:
    raw = b'{"model":"m","messages":[{"role":"user","content":"x"}],"tools":[{"name":"t","input_schema":{ "type" : "object" }}]}'
    [tool] = anthropic.decode_request(raw).tools
    assert tool == Tool(name="t", schema=msgspec.Raw(b'{ "type" : "object" }'))


@pytest.mark.parametrize(
    ("choice", "decoded", "mode"),
    [
        ({"type": "auto"}, ToolChoice(mode="auto"), {"mode": "AUTO"}),
        ({"type": "any"}, ToolChoice(mode="required"), {"mode": "ANY"}),
        ({"type": "none"}, ToolChoice(mode="none"), {"mode": "NONE"}),
        (
            {"type": "tool", "name": "get"},
            ToolChoice(mode="required", names=("get",)),
            {"mode": "ANY", "allowedFunctionNames": ["get"]},
        ),
        (
            {"type": "auto", "disable_parallel_tool_use": True},
            ToolChoice(mode="auto", parallel=False),
            {"mode": "AUTO"},
        ),
    ],
)
def test_every_tool_choice_is_understood(choice: Any, decoded: ToolChoice, mode: Any) -> None:
    assert decode(tools=[GET], tool_choice=choice).tool_choice == decoded
    assert to_gemini(tools=[GET], tool_choice=choice)["toolConfig"] == {"functionCallingConfig": mode}


def test_that_gemini_cannot_forbid_parallel_calls_is_recorded() -> None:
    request = decode(tools=[GET], tool_choice={"type": "auto", "disable_parallel_tool_use": True})
    assert "parallel_tool_calls" in gemini.encode_request(request, model="gemini-3.8-flash").dropped


def test_a_choice_of_an_unknown_tool_is_refused() -> None:
    with pytest.raises(DialectError) as refused:
        decode(tools=[GET], tool_choice={"type": "tool", "name": "nope"})
    assert refused.value.param == "tool_choice.name"


@pytest.mark.parametrize("version", ["20250305", "20260209", "20260318"])
def test_web_search_becomes_google_search(version: str) -> None:
    tool = {
        "type": f"web_search_{version}",
        "name": "web_search",
        "max_uses": 8,
        "allowed_domains": ["a.example"],
    }
    request = decode(tools=[tool], tool_choice={"type": "tool", "name": "web_search"})
    assert request.builtin_tools == (BuiltinTool.WEB_SEARCH,)
    assert request.dropped == ("tools[0].max_uses", "tools[0].allowed_domains", "tool_choice")
    assert to_gemini(tools=[tool])["tools"] == [{"googleSearch": {}}]


def test_fetching_and_running_code_become_googles_tools() -> None:
    tools = [
        {"type": "web_fetch_20260318", "name": "web_fetch"},
        {"type": "code_execution_20260521", "name": "code_execution"},
    ]
    assert to_gemini(tools=tools)["tools"] == [{"urlContext": {}}, {"codeExecution": {}}]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("bash_20250124", "bash"),
        ("text_editor_20250728", "str_replace_based_edit_tool"),
        ("memory_20250818", "memory"),
    ],
)
def test_tools_that_anthropic_designed_and_the_client_runs_get_a_schema(kind: str, name: str) -> None:
    [tool] = decode(tools=[{"type": kind, "name": name}]).tools
    assert tool.name == name
    assert tool.schema is not None
    assert "command" in json.loads(bytes(tool.schema))["properties"]


def test_a_tool_that_only_claude_knows_is_refused_by_name() -> None:
    with pytest.raises(DialectError, match=r"tools\[1\].*computer_20251124"):
        decode(tools=[GET, {"type": "computer_20251124", "name": "computer"}])


def test_the_tuning_knobs_reach_gemini() -> None:
    knobs = {"max_tokens": 5000, "temperature": 0.5, "top_p": 0.9, "top_k": 7, "stop_sequences": ["a", "b"]}
    sent = to_gemini(model="gemini-2.5-flash", **knobs)
    assert sent["generationConfig"] == {
        "maxOutputTokens": 5000,
        "temperature": 0.5,
        "topP": 0.9,
        "topK": 7,
        "stopSequences": ["a", "b"],
    }


@pytest.mark.parametrize("place", ["output_config", "output_format"])
def test_a_json_schema_for_the_answer_is_handed_on(place: str) -> None:
    wanted = {"type": "json_schema", "schema": {"type": "object"}}
    fields: dict[str, Any] = {place: {"format": wanted} if place == "output_config" else wanted}
    config = to_gemini(**fields)["generationConfig"]
    assert config["responseMimeType"] == "application/json"
    assert config["responseJsonSchema"] == {"type": "object"}


def test_fields_of_other_versions_and_betas_are_tolerated_and_recorded() -> None:
    fields: dict[str, Any] = {
        "cache_control": {"type": "ephemeral"},
        "container": None,
        "context_management": {"edits": []},
        "mcp_servers": [],
        "service_tier": "auto",
        "speed": "fast",
        "invented_tomorrow": {"a": [1]},
    }
    request = decode(**fields)
    assert request.dropped == (
        "cache_control",
        "context_management",
        "mcp_servers",
        "service_tier",
        "speed",
        "invented_tomorrow",
    )


def test_the_clients_word_for_its_conversation_goes_nowhere_but_into_the_choice_of_an_account() -> None:
    request = decode(metadata={"user_id": "device-session"})
    assert request.conversation == "device-session"
    assert b"device-session" not in gemini.encode_request(request, model="gemini-3.8-flash").body
