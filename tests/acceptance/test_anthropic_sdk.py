"""The official `anthropic` SDK against a real gateway: text, streams, tools, pictures, thoughts, counts, models, errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import pytest
from tests.acceptance.harness import Gateway, Json, account_file, wait_until
from tests.sandbox_client import SandboxProcess

MODEL = "gemini-3.8-flash"
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
WEATHER: Any = {
    "name": "get_weather",
    "description": "The weather in a city",
    "input_schema": {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
}
TIME: Any = {"name": "mcp__clock/get time", "input_schema": {"type": "object"}}


@pytest.fixture(scope="module")
def google() -> Iterator[SandboxProcess]:
    with SandboxProcess() as process:
        yield process


@pytest.fixture(scope="module")
def served(google: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with one account, Ann's, for all tests that leave it alone."""
    folder = tmp_path_factory.mktemp("sdk") / "data"
    folder.mkdir(mode=0o700)
    account_file(folder, "ann", google.grant("ann@example.com"))
    with Gateway(folder, google.url) as gateway:
        yield gateway


@pytest.fixture
def client(served: Gateway, google: SandboxProcess) -> Iterator[anthropic.Anthropic]:
    google.unscript()
    google.clear_journal()
    with connect(served) as sdk:
        yield sdk


def connect(gateway: Gateway, **options: Any) -> anthropic.Anthropic:
    return anthropic.Anthropic(
        base_url=gateway.url, api_key="not-a-key", max_retries=options.pop("max_retries", 0), **options
    )


def user(content: Any) -> Any:
    return {"role": "user", "content": content}


def sent(google: SandboxProcess, endpoint: str = "") -> list[Json]:
    """The bodies that Google got, oldest first."""
    wanted = ("generate", "stream", "count")
    return [
        json.loads(entry["body"])
        for entry in google.journal()
        if entry["endpoint"] in ((endpoint,) if endpoint else wanted)
    ]


def test_a_message_is_answered_under_the_name_that_was_asked_for(client: anthropic.Anthropic) -> None:
    message = client.messages.create(
        model="claude-opus-4-8", max_tokens=5000, system="Be brief.", messages=[user("hi")]
    )
    assert (message.model, message.role, message.stop_reason) == ("claude-opus-4-8", "assistant", "end_turn")
    assert message.id.startswith("msg_")
    [block] = message.content
    assert block.type == "text"
    assert block.text == "Hello from Ann's account. You said: hi"
    assert message.usage.input_tokens > 0
    assert message.usage.output_tokens > 0


def test_a_stream_brings_the_same_text_in_anthropics_order(client: anthropic.Anthropic) -> None:
    with client.messages.stream(model=MODEL, max_tokens=5000, messages=[user("hi " * 30)]) as stream:
        kinds = [event.type for event in stream]
        message = stream.get_final_message()
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert kinds.count("text") > 1
    [block] = message.content
    assert block.type == "text"
    assert block.text.startswith("Hello from Ann's account. You said: hi hi")
    assert message.stop_reason == "end_turn"
    assert message.usage.input_tokens > 0


def test_an_answer_carries_its_id_in_anthropics_header(client: anthropic.Anthropic) -> None:
    raw = client.messages.with_raw_response.create(model=MODEL, max_tokens=5000, messages=[user("hi")])
    assert raw.headers["request-id"] == raw.headers["x-request-id"] != ""
    assert raw.headers["x-regrant-model"] == MODEL
    assert raw.request_id == raw.headers["request-id"]


def test_a_limit_on_tokens_ends_the_answer_with_max_tokens(client: anthropic.Anthropic) -> None:
    message = client.messages.create(model=MODEL, max_tokens=2, messages=[user("tell me a long story")])
    assert message.stop_reason == "max_tokens"


@pytest.mark.parametrize("version", ["2023-06-01", "2026-10-21", "", "2031-01-01"])
def test_any_version_and_any_beta_is_tolerated(client: anthropic.Anthropic, version: str) -> None:
    headers = {"anthropic-version": version, "anthropic-beta": "invented-2031-01-01,effort-2025-11-24"}
    body = {"temperature": 0.5, "speed": "fast", "invented": [1]}
    message = client.messages.create(
        model=MODEL, max_tokens=5000, messages=[user("hi")], extra_headers=headers, extra_body=body
    )
    assert message.stop_reason == "end_turn"


def test_pictures_and_documents_reach_google(client: anthropic.Anthropic, google: SandboxProcess) -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    document = {
        "type": "document",
        "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
    }
    client.messages.create(
        model=MODEL,
        max_tokens=5000,
        messages=[user([image, document, {"type": "text", "text": "What is it?"}])],
    )
    [body] = sent(google)
    assert body["contents"][0]["parts"] == [
        {"inlineData": {"mimeType": "image/png", "data": PNG}},
        {"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0="}},
        {"text": "What is it?"},
    ]


def test_a_json_schema_makes_the_answer_json(client: anthropic.Anthropic) -> None:
    schema: Json = {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}
    message = client.messages.create(
        model=MODEL,
        max_tokens=5000,
        thinking={"type": "disabled"},
        output_config={"format": {"type": "json_schema", "schema": schema}},
        messages=[user("a title")],
    )
    [block] = message.content
    assert block.type == "text"
    assert isinstance(json.loads(block.text), dict)


def test_thoughts_come_as_a_signed_block_before_the_text(client: anthropic.Anthropic) -> None:
    asked: Any = {
        "model": MODEL,
        "max_tokens": 5000,
        "thinking": {"type": "adaptive"},
        "messages": [user("think")],
    }
    whole = client.messages.create(**asked)
    with client.messages.stream(**asked) as stream:
        streamed = stream.get_final_message()
    for message in (whole, streamed):
        assert [block.type for block in message.content] == ["thinking", "text"]
        thought: Any = message.content[0]
        assert thought.thinking
        assert thought.signature
        assert message.usage.output_tokens_details is not None
        assert message.usage.output_tokens_details.thinking_tokens > 0


def test_two_rounds_of_parallel_tools_and_an_answer(
    client: anthropic.Anthropic, google: SandboxProcess
) -> None:
    messages = [user('call get_weather {"city":"Paris"} and call mcp__clock/get time')]
    google.script("reply", parts=[CALL_WEATHER, CALL_TIME], endpoint="stream")
    first = ask_with_tools(client, messages)
    assert [(call.name, call.input) for call in calls_of(first)] == [
        ("get_weather", {"city": "Paris"}),
        ("mcp__clock/get time", {}),
    ]
    messages += [{"role": "assistant", "content": first.content}, user(results_of(first))]
    google.script("reply", parts=[{**CALL_WEATHER, "thoughtSignature": DUMMY}], endpoint="stream")
    second = ask_with_tools(client, messages)
    assert [call.name for call in calls_of(second)] == ["get_weather"]
    messages += [{"role": "assistant", "content": second.content}, user(results_of(second))]
    last = ask_with_tools(client, messages)
    assert last.stop_reason == "end_turn"
    assert "get_weather" in text_of(last)
    roles = [content["role"] for content in sent(google)[-1]["contents"]]
    assert roles == ["user", "model", "user", "model", "user"]


DUMMY = "skip_thought_signature_validator"
CALL_WEATHER = {
    "functionCall": {"name": "get_weather", "args": {"city": "Paris"}, "id": "w"},
    "thoughtSignature": DUMMY,
}
CALL_TIME = {"functionCall": {"name": "mcp__clock_get_time", "args": {}, "id": "t"}}


def ask_with_tools(client: anthropic.Anthropic, messages: Any, **options: Any) -> anthropic.types.Message:
    with client.messages.stream(
        model=MODEL,
        max_tokens=8000,
        tools=[WEATHER, TIME],
        thinking={"type": "adaptive"},
        messages=messages,
        **options,
    ) as stream:
        return stream.get_final_message()


def calls_of(message: anthropic.types.Message) -> list[anthropic.types.ToolUseBlock]:
    found = [block for block in message.content if block.type == "tool_use"]
    assert message.stop_reason == ("tool_use" if found else "end_turn")
    return found


def results_of(message: anthropic.types.Message) -> list[Json]:
    return [
        {"type": "tool_result", "tool_use_id": call.id, "content": f"result of {call.name}"}
        for call in calls_of(message)
    ]


def text_of(message: anthropic.types.Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def test_genuine_signatures_travel_through_the_clients_history(
    client: anthropic.Anthropic, google: SandboxProcess
) -> None:
    messages = [user('please call get_weather {"city":"Oslo"}')]
    first = ask_with_tools(client, messages)
    messages += [{"role": "assistant", "content": first.content}, user(results_of(first))]
    assert ask_with_tools(client, messages).stop_reason == "end_turn"
    part = next(part for part in sent(google)[-1]["contents"][1]["parts"] if "functionCall" in part)
    assert part["thoughtSignature"] not in {"", DUMMY}
    assert [entry["status"] for entry in google.journal(endpoint="stream")] == [200, 200]


def test_a_forced_tool_is_called(client: anthropic.Anthropic) -> None:
    message = client.messages.create(
        model=MODEL,
        max_tokens=8000,
        tools=[WEATHER, TIME],
        tool_choice={"type": "tool", "name": "mcp__clock/get time"},
        messages=[user("what now?")],
    )
    assert [call.name for call in calls_of(message)] == ["mcp__clock/get time"]


def test_a_tools_error_and_picture_reach_google(client: anthropic.Anthropic, google: SandboxProcess) -> None:
    messages = [user('please call get_weather {"city":"Rome"}')]
    first = ask_with_tools(client, messages)
    [call] = calls_of(first)
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    broken = {
        "type": "tool_result",
        "tool_use_id": call.id,
        "is_error": True,
        "content": [{"type": "text", "text": "no service"}, image],
    }
    messages += [{"role": "assistant", "content": first.content}, user([broken])]
    ask_with_tools(client, messages)
    [part] = sent(google)[-1]["contents"][2]["parts"]
    assert part["functionResponse"]["response"] == {"error": "no service"}
    assert part["functionResponse"]["parts"] == [{"inlineData": {"mimeType": "image/png", "data": PNG}}]


def test_a_web_search_brings_citations_and_results(
    client: anthropic.Anthropic, google: SandboxProcess
) -> None:
    grounded = {
        "candidates": [
            {
                "content": {"role": "model", "parts": [{"text": "Es ist schön."}]},
                "finishReason": "STOP",
                "groundingMetadata": {
                    "groundingChunks": [{"web": {"uri": "https://w.example", "title": "W"}}],
                    "groundingSupports": [
                        {"segment": {"startIndex": 7, "endIndex": 13}, "groundingChunkIndices": [0]}
                    ],
                },
            }
        ],
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 4},
    }
    google.script("reply", chunks=[grounded], endpoint="stream")
    with client.messages.stream(
        model=MODEL,
        max_tokens=5000,
        tools=[{"type": "web_search_20250305", "name": "web_search", "max_uses": 3}],
        messages=[user("Wetter?")],
    ) as stream:
        message = stream.get_final_message()
    text, search, results = message.content
    assert text.type == "text"
    assert text.citations is not None
    assert text.citations[0].cited_text == "schön"
    assert search.type == "server_tool_use"
    assert results.type == "web_search_tool_result"
    assert isinstance(results.content, list)
    assert results.content[0].url == "https://w.example"
    assert sent(google)[-1]["tools"] == [{"googleSearch": {}}]


@pytest.mark.parametrize("upstream", ["gemini", "vertex"])
def test_tokens_are_counted_by_google(
    google: SandboxProcess, people_on: Any, upstream: str, data_dir: Path
) -> None:
    people_on(upstream)
    google.clear_journal()
    with Gateway(data_dir, google.url) as gateway, connect(gateway) as sdk:
        short = sdk.messages.count_tokens(model=MODEL, messages=[user("foo")], tools=[])
        long = sdk.messages.count_tokens(
            model=MODEL,
            system="S " * 100,
            tools=[WEATHER],
            tool_choice={"type": "any"},
            messages=[user("foo")],
        )
    assert 0 < short.input_tokens < long.input_tokens
    entries = google.journal(endpoint="count")
    assert [entry["status"] for entry in entries] == [200, 200]
    assert ("/publishers/google/" in entries[0]["path"]) is (upstream == "vertex")


@pytest.fixture
def people_on(google: SandboxProcess, data_dir: Path) -> Any:
    def add(upstream: str) -> None:
        fields: Any = {"upstream": upstream, "location": "global", "project_id": "ann-project"}
        account_file(data_dir, "ann", google.grant("ann@example.com"), **fields)

    return add


def test_models_are_listed_and_described_in_anthropics_shape(client: anthropic.Anthropic) -> None:
    listed = list(client.models.list(limit=1000))
    assert MODEL in {model.id for model in listed}
    one = client.models.retrieve(MODEL)
    assert (one.type, one.id, one.lifecycle) == ("model", MODEL, "active")
    assert one.max_input_tokens is not None
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("nobody-knows-it")


def ask(client: anthropic.Anthropic, **options: Any) -> anthropic.types.Message:
    asked: Any = {"model": MODEL, "max_tokens": 5000, "messages": [user("hi")], **options}
    message: anthropic.types.Message = client.messages.create(**asked)
    return message


@pytest.mark.parametrize(
    ("fault", "error", "kind"),
    [
        ("400_invalid_argument", anthropic.BadRequestError, "invalid_request_error"),
        ("404_model", anthropic.NotFoundError, "not_found_error"),
        ("429_per_minute", anthropic.RateLimitError, "rate_limit_error"),
        ("429_per_day", anthropic.RateLimitError, "rate_limit_error"),
        ("503_overloaded", anthropic.InternalServerError, "overloaded_error"),
        ("500", anthropic.InternalServerError, "overloaded_error"),
    ],
)
def test_googles_errors_are_the_sdks_own_classes(
    google: SandboxProcess, people_on: Any, data_dir: Path, fault: str, error: type[Exception], kind: str
) -> None:
    people_on("gemini")
    google.unscript()
    with Gateway(data_dir, google.url, POOL__DEADLINE_S="5") as gateway, connect(gateway) as sdk:
        google.script("error", name=fault, times=None, endpoint="generate")
        with pytest.raises(error) as raised:
            ask(sdk)
    google.unscript()
    problem = raised.value
    assert isinstance(problem, anthropic.APIStatusError)
    assert isinstance(problem.body, dict)
    assert problem.body["error"]["type"] == kind
    assert "ann@example.com" not in str(problem.body)
    if fault == "429_per_day":
        assert problem.response.headers["x-should-retry"] == "false"
    if problem.status_code == 429:
        assert int(problem.response.headers["retry-after"]) > 0


def test_a_request_that_makes_no_sense_is_a_bad_request_that_names_the_field(
    client: anthropic.Anthropic,
) -> None:
    with pytest.raises(anthropic.BadRequestError, match=r"messages\[0\]\.content\[0\]"):
        ask(client, messages=[user([{"type": "container_upload", "file_id": "f"}])])


def test_an_unknown_model_is_not_found(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError, match=r"models\.aliases"):
        ask(client, model="nobody-knows-it")


def test_without_an_account_the_client_learns_what_the_owner_must_do(
    google: SandboxProcess, data_dir: Path
) -> None:
    with Gateway(data_dir, google.url) as gateway, connect(gateway) as sdk:
        with pytest.raises(anthropic.InternalServerError, match="accounts add") as raised:
            ask(sdk)
    assert raised.value.status_code == 503
    assert isinstance(raised.value.body, dict)
    assert raised.value.body["error"]["type"] == "api_error"
    assert raised.value.response.headers["x-should-retry"] == "false"


def test_a_wrong_key_is_an_authentication_error_and_the_sdks_bearer_key_is_accepted(
    google: SandboxProcess, people_on: Any, data_dir: Path
) -> None:
    people_on("gemini")
    settings: Any = {"SERVER__AUTH_MODE": "strict", "SERVER__API_KEY": "the-right-key"}
    with Gateway(data_dir, google.url, **settings) as gateway:
        with connect(gateway) as sdk, pytest.raises(anthropic.AuthenticationError):
            ask(sdk)
        with anthropic.Anthropic(base_url=gateway.url, api_key="the-right-key", max_retries=0) as sdk:
            assert ask(sdk).stop_reason == "end_turn"


@pytest.mark.parametrize("break_", ["cut", "end"])
def test_a_broken_stream_raises_and_never_looks_finished(
    client: anthropic.Anthropic, google: SandboxProcess, break_: str
) -> None:
    google.script(break_, after_chunks=2, endpoint="stream")
    seen: list[str] = []
    with pytest.raises(anthropic.APIStatusError) as raised:
        with client.messages.stream(model=MODEL, max_tokens=5000, messages=[user("hi " * 50)]) as stream:
            seen += [event.type for event in stream]
    assert "message_stop" not in seen
    assert isinstance(raised.value.body, dict)
    assert raised.value.body["error"]["type"] == "overloaded_error"


@pytest.mark.slow
def test_gotcha_13_a_model_that_thinks_long_is_told_by_pings(served: Gateway, google: SandboxProcess) -> None:
    google.script("slow", seconds=11, after_chunks=1, endpoint="stream")
    asked = {"model": MODEL, "max_tokens": 5000, "stream": True, "messages": [user("hi " * 50)]}
    answer = served.call("POST", "/v1/messages", asked)
    events = [
        line.removeprefix(b"event: ") for line in answer.body.splitlines() if line.startswith(b"event: ")
    ]
    assert b"ping" in events[2:-3]
    assert events[-1] == b"message_stop"


def test_gotcha_14_a_client_that_leaves_ends_the_call_to_google(
    served: Gateway, google: SandboxProcess
) -> None:
    google.clear_journal()
    google.script("hang", after_chunks=2, endpoint="stream")
    asked = {"model": MODEL, "max_tokens": 5000, "stream": True, "messages": [user("hi " * 50)]}
    with served.opened("/v1/messages", asked) as (_, answer):
        assert answer.readline() == b"event: message_start\n"
    wait_until(lambda: google.journal(endpoint="stream")[-1]["aborted"], "Google's side is told")


def test_an_account_that_dies_in_mid_conversation_is_not_noticed_by_the_client(
    google: SandboxProcess, data_dir: Path
) -> None:
    for name in ("ann", "bob"):
        account_file(data_dir, name, google.grant(f"{name}@example.com"))
    google.unscript()
    with Gateway(data_dir, google.url) as gateway, connect(gateway) as sdk:
        messages = [user('please call get_weather {"city":"Oslo"}')]
        google.clear_journal()
        first = ask_with_tools(sdk, messages)
        served = google.journal(endpoint="stream")[-1]["email"]
        google.revoke(served)
        messages += [{"role": "assistant", "content": first.content}, user(results_of(first))]
        last = ask_with_tools(sdk, messages)
        assert last.stop_reason == "end_turn"
        assert "get_weather" in text_of(last)
        after = google.journal(endpoint="stream")[-1]
        assert after["email"] != served
        assert after["status"] == 200
        dead = served.partition("@")[0]
        wait_until(lambda: gateway.ready()["reasons"].get("disabled") == 1, f"{dead} is disabled")


def test_a_conversation_stays_with_its_account(google: SandboxProcess, data_dir: Path) -> None:
    for name in ("ann", "bob", "cara"):
        account_file(data_dir, name, google.grant(f"{name}@example.com"))
    google.unscript()
    with Gateway(data_dir, google.url) as gateway, connect(gateway) as sdk:
        by_user = {
            f"user-{number}": {
                text_of(ask(sdk, metadata={"user_id": f"user-{number}"}, messages=[user(f"{turn}")])).split()[
                    2
                ]
                for turn in range(3)
            }
            for number in range(6)
        }
        session = {"x-claude-code-session-id": "session-1"}
        by_session = {
            text_of(ask(sdk, extra_headers=session, metadata={"user_id": f"u{turn}"})).split()[2]
            for turn in range(3)
        }
    assert all(len(accounts) == 1 for accounts in by_user.values()), by_user
    assert len(set.union(*by_user.values())) > 1
    assert len(by_session) == 1
