"""Reading Chat Completions requests: every field, every form, and clear refusals."""

import json
from typing import Any

import msgspec
import pytest

from regrant.dialects import openai_chat
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
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Turn,
)

HI = [{"role": "user", "content": "hi"}]
GET = {"type": "function", "function": {"name": "get", "parameters": {"type": "object"}}}
PUT = {"type": "function", "function": {"name": "put"}}


def decode(**fields: Any) -> Request:
    return openai_chat.decode_request(json.dumps({"model": "gpt-x", "messages": HI} | fields).encode())


def user_part(part: dict[str, Any]) -> Any:
    request = decode(messages=[{"role": "user", "content": [part]}])
    return request.turns[0].parts[0]


def refusal(**fields: Any) -> DialectError:
    with pytest.raises(DialectError) as caught:
        decode(**fields)
    return caught.value


def test_a_plain_question_is_one_turn() -> None:
    assert decode() == Request(model="gpt-x", turns=(Turn(role="user", parts=(Text(text="hi"),)),))


def test_leading_system_and_developer_messages_are_the_system_and_later_ones_stay_in_place() -> None:
    request = decode(
        messages=[
            {"role": "system", "content": "S"},
            {"role": "developer", "content": [{"type": "text", "text": "D"}]},
            *HI,
            {"role": "system", "content": "later"},
        ]
    )
    assert request.system == (Text(text="S"), Text(text="D"))
    assert [turn.role for turn in request.turns] == ["user", "system"]
    assert request.turns[1].parts == (Text(text="later"),)


def test_calls_and_results_keep_ids_arguments_and_signatures() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "get", "arguments": '{"p": 1}'}}
    call["extra_content"] = {"google": {"thought_signature": "c2ln"}}
    request = decode(
        messages=[
            *HI,
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "42"}]},
        ]
    )
    assert request.turns[1].parts == (
        ToolCall(id="c1", name="get", args=msgspec.Raw(b'{"p": 1}'), signature="c2ln"),
    )
    assert request.turns[2].parts == (ToolResult(call_id="c1", content=(Text(text="42"),)),)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", {}),
        ("  ", {}),
        (None, {}),
        ("{}", {}),
        ('{"a":1}', {"a": 1}),
        ({"a": {"b": 2}}, {"a": {"b": 2}}),
        ("{broken", {"_raw": "{broken"}),
        ("[1]", {"_raw": "[1]"}),
        ('{"a":1} x', {"_raw": '{"a":1} x'}),
    ],
)
def test_arguments_are_always_an_object_whatever_the_client_kept(arguments: Any, expected: Any) -> None:
    call = {"id": "c", "function": {"name": "get", "arguments": arguments}}
    request = decode(messages=[*HI, {"role": "assistant", "tool_calls": [call]}])
    part = request.turns[1].parts[0]
    assert isinstance(part, ToolCall)
    assert json.loads(bytes(part.args)) == expected


def test_the_old_function_calls_are_paired_by_name() -> None:
    request = decode(
        functions=[{"name": "get"}],
        function_call={"name": "get"},
        messages=[
            *HI,
            {"role": "assistant", "function_call": {"name": "get", "arguments": "{}"}},
            {"role": "function", "name": "get", "content": "42"},
        ],
    )
    call, result = request.turns[1].parts[0], request.turns[2].parts[0]
    assert isinstance(call, ToolCall)
    assert isinstance(result, ToolResult)
    assert call.id == result.call_id
    assert request.tool_choice == ToolChoice(mode="required", names=("get",))


def test_a_schema_is_kept_byte_for_byte() -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"x"}],"tools":[{"type":"function","function":{"name":"f","parameters":{"$schema" : "x", "a":1e2}}}]}'
    schema = openai_chat.decode_request(body).tools[0].schema
    assert schema is not None
    assert bytes(schema) == b'{"$schema" : "x", "a":1e2}'


def test_a_custom_tool_is_a_tool_that_takes_plain_text() -> None:
    request = decode(
        tools=[
            {"type": "custom", "custom": {"name": "patch", "description": "d", "format": {"type": "text"}}}
        ],
        messages=[
            *HI,
            {
                "role": "assistant",
                "tool_calls": [{"id": "c", "type": "custom", "custom": {"name": "patch", "input": 'a"b'}}],
            },
        ],
    )
    tool = request.tools[0]
    assert (tool.name, tool.description, tool.freeform) == ("patch", "d", True)
    call = request.turns[1].parts[0]
    assert isinstance(call, ToolCall)
    assert json.loads(bytes(call.args)) == {"input": 'a"b'}


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", ToolChoice(mode="auto")),
        ("none", ToolChoice(mode="none")),
        ("required", ToolChoice(mode="required")),
        ({"type": "function", "function": {"name": "get"}}, ToolChoice(mode="required", names=("get",))),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [GET]}},
            ToolChoice(mode="auto", names=("get",)),
        ),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [GET, PUT]}},
            ToolChoice(mode="required", names=("get", "put")),
        ),
        (None, None),
    ],
)
def test_every_form_of_tool_choice(choice: Any, expected: Any) -> None:
    assert decode(tools=[GET, PUT], tool_choice=choice).tool_choice == expected


def test_a_choice_of_a_tool_that_is_not_declared_is_refused() -> None:
    error = refusal(tools=[GET], tool_choice={"type": "function", "function": {"name": "put"}})
    assert error.param == "tool_choice"
    assert "'put'" in str(error)


def test_parallel_calls_can_be_forbidden_without_a_choice() -> None:
    assert decode(tools=[GET], parallel_tool_calls=False).tool_choice == ToolChoice(
        mode="auto", parallel=False
    )


def test_all_knobs_arrive() -> None:
    request = decode(
        max_completion_tokens=10,
        max_tokens=99,
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        stop=["a", "b"],
        seed=7,
        presence_penalty=1,
        frequency_penalty=-1,
        logprobs=True,
        top_logprobs=3,
        n=2,
        stream=True,
        stream_options={"include_usage": True},
        web_search_options={},
        modalities=["text", "image"],
    )
    assert request.generation == Generation(
        max_tokens=10,
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        stop=("a", "b"),
        seed=7,
        presence_penalty=1.0,
        frequency_penalty=-1.0,
        logprobs=True,
        top_logprobs=3,
    )
    assert (request.n, request.stream, request.include_usage) == (2, True, True)
    assert request.builtin_tools == (BuiltinTool.WEB_SEARCH,)
    assert request.modalities == ("text", "image")
    assert request.dropped == ()


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (None, None),
        ({"type": "text"}, None),
        ({"type": "json_object"}, OutputFormat()),
        (
            {
                "type": "json_schema",
                "json_schema": {"name": "n", "strict": True, "schema": {"type": "object"}},
            },
            OutputFormat(schema=msgspec.Raw(b'{"type": "object"}'), name="n", strict=True),
        ),
    ],
)
def test_every_form_of_response_format(asked: Any, expected: Any) -> None:
    assert decode(response_format=asked).output == expected


@pytest.mark.parametrize("effort", list(Effort))
def test_every_reasoning_effort(effort: Any) -> None:
    expected = Reasoning(effort=effort, summaries=effort is not Effort.NONE)
    assert decode(reasoning_effort=effort.value).reasoning == expected


def test_googles_own_extension_sets_a_thinking_budget() -> None:
    config = {"thinking_budget": 500, "include_thoughts": True}
    request = decode(extra_body={"google": {"thinking_config": config}})
    assert request.reasoning == Reasoning(budget_tokens=500, summaries=True)


PNG = "iVBORw0KGgoAAAA"


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
            Media(mime="image/png", data=PNG),
        ),
        (
            {"type": "image_url", "image_url": {"url": "https://x.example/a.JPG?s=1", "detail": "low"}},
            Media(
                mime="image/jpeg",
                uri="https://x.example/a.JPG?s=1",
                where="messages[0].content[0].image_url.url",
            ),
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "eA==", "format": "wav"}},
            Media(mime="audio/wav", data="eA=="),
        ),
        (
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,eA==", "filename": "a.pdf"}},
            Media(mime="application/pdf", data="eA==", name="a.pdf"),
        ),
        (
            {"type": "file", "file": {"file_data": "eA==", "filename": "a.csv"}},
            Media(mime="text/csv", data="eA==", name="a.csv"),
        ),
    ],
)
def test_media_are_read_inline_or_by_reference(part: Any, expected: Any) -> None:
    assert user_part(part) == expected


def test_gotcha_10_a_picture_is_what_its_bytes_say_not_what_the_client_claims() -> None:
    part = user_part({"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{PNG}"}})
    assert part == Media(mime="image/png", data=PNG)


@pytest.mark.parametrize(
    ("part", "param"),
    [
        ({"type": "image_url", "image_url": {"url": "ftp://x"}}, "messages[0].content[0].image_url.url"),
        (
            {"type": "image_url", "image_url": {"url": "data:image/png,abc"}},
            "messages[0].content[0].image_url.url",
        ),
        ({"type": "file", "file": {"file_id": "file-1"}}, "messages[0].content[0].file"),
        ({"type": "hologram"}, "messages[0].content[0].type"),
        ({"type": "text", "text": 5}, "messages[0].content[0].text"),
    ],
)
def test_content_that_cannot_be_held_is_refused_with_its_path(part: Any, param: Any) -> None:
    assert refusal(messages=[{"role": "user", "content": [part]}]).param == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": "hi"}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "wizard"}]}, "messages[0].role"),
        (
            {
                "messages": [
                    {"role": "system", "content": [{"type": "image_url", "image_url": {"url": "https://x"}}]}
                ]
            },
            "messages[0].content[0]",
        ),
        (
            {"messages": [*HI, {"role": "assistant", "tool_calls": [{"id": "c"}]}]},
            "messages[1].tool_calls[0]",
        ),
        ({"tools": [{"type": "web_search"}]}, "tools[0]"),
        ({"temperature": "hot"}, "temperature"),
        ({"n": 0}, "n"),
        ({"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}, "modalities"),
        ({"messages": [*HI, {"role": "assistant", "audio": {"id": "a1"}}]}, "messages[1].audio"),
        ({"reasoning_effort": "frantic"}, "reasoning_effort"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    ],
)
def test_a_wrong_field_is_named_by_its_path(fields: Any, param: Any) -> None:
    error = refusal(**fields)
    assert error.param == param
    assert str(error)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'{"model":"\xff"}', b"[" * 100_000, b'{"a":' * 100_000]
)
def test_a_body_that_is_no_json_object_is_refused(body: Any) -> None:
    with pytest.raises(DialectError):
        openai_chat.decode_request(body)


@pytest.mark.parametrize(
    ("fields", "limit", "effort"),
    [
        ({"max_completion_tokens": 4096}, 4096, None),
        ({"max_completion_tokens": 4095}, 4095, Effort.NONE),
        ({"max_tokens": 100}, 100, Effort.NONE),
        ({"max_tokens": 100, "reasoning_effort": "low"}, 1124, Effort.LOW),
        ({"max_tokens": 100, "reasoning_effort": "high"}, 24_676, Effort.HIGH),
        ({"max_tokens": 60_000, "reasoning_effort": "high"}, 65_536, Effort.HIGH),
        ({"max_tokens": 70_000, "reasoning_effort": "high"}, 70_000, Effort.HIGH),
        ({"max_tokens": 100, "reasoning_effort": "none"}, 100, Effort.NONE),
        ({"max_completion_tokens": 100, "reasoning_effort": "high"}, 100, Effort.HIGH),
    ],
)
def test_gotcha_9_thoughts_leave_room_for_the_answer(fields: Any, limit: int, effort: Effort | None) -> None:
    request = decode(**fields)
    assert request.generation.max_tokens == limit
    assert (request.reasoning.effort if request.reasoning else None) is effort


def test_gotcha_9_a_budget_of_thoughts_comes_on_top_of_the_visible_tokens() -> None:
    google = {"google": {"thinking_config": {"thinking_budget": 500}}}
    assert decode(max_tokens=100, extra_body=google).generation.max_tokens == 600
    free = {"google": {"thinking_config": {"thinking_budget": -1}}}
    assert decode(max_tokens=100, extra_body=free).generation.max_tokens == 100


def test_the_key_of_the_prompt_cache_names_the_conversation() -> None:
    request = decode(prompt_cache_key="chat-7")
    assert (request.conversation, request.dropped) == ("chat-7", ())


def test_fields_without_a_meaning_are_ignored_and_recorded() -> None:
    request = decode(user="u", store=True, metadata=None, brand_new={"x": "é"})
    assert request.dropped == ("store", "user", "brand_new")


def test_a_wrong_type_is_named_even_beside_an_unknown_field() -> None:
    assert refusal(brand_new=1, seed="x").param == "seed"


def test_non_ascii_text_and_unknown_fields_go_together() -> None:
    body = '{"model":"m","messages":[{"role":"user","content":"héllo 🌍"}],"neu":1}'.encode()
    request = openai_chat.decode_request(body)
    assert request.turns[0].parts == (Text(text="héllo 🌍"),)
    assert request.dropped == ("neu",)


def test_an_empty_parameters_field_is_a_tool_without_arguments() -> None:
    assert decode(tools=[PUT]).tools == (Tool(name="put"),)


def test_bytes_that_are_not_utf_8_are_refused_even_inside_a_schema() -> None:
    tool = b'{"type":"function","function":{"name":"f","parameters":{"a":"\xff"}}}'
    with pytest.raises(DialectError, match="UTF-8"):
        openai_chat.decode_request(
            b'{"model":"m","messages":[{"role":"user","content":"x"}],"tools":[' + tool + b"]}"
        )
