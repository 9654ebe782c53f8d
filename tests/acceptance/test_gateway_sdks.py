"""Google's and OpenAI's own client libraries against the gateway."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from google import genai
from google.genai import errors, types
from tests.acceptance.harness import MODEL, Gateway, account_file, wait_until
from tests.acceptance.wire import asked
from tests.sandbox_client import SandboxProcess

KEY = "sdk-client-key"
MODEL_3 = "gemini-3.8-flash"
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather somewhere",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CLOCK: dict[str, Any] = {
    "type": "function",
    "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}},
}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, SandboxProcess]]:
    with SandboxProcess() as sandbox:
        data_dir = tmp_path_factory.mktemp("sdks") / "data"
        account_file(data_dir, "ann", sandbox.grant("ann@example.com"), fresh=True)
        with Gateway(
            data_dir,
            sandbox.url,
            SERVER__AUTH_MODE="all_except_health",
            SERVER__API_KEY=KEY,
            POOL__MAX_WAIT_S="0",
        ) as gateway:
            yield gateway, sandbox


@pytest.fixture
def client(stage: tuple[Gateway, SandboxProcess]) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=stage[0].url + "/v1", api_key=KEY, max_retries=0) as found:
        yield found


def google(gateway: Gateway, *, version: str = "", key: str = KEY) -> genai.Client:
    options = types.HttpOptions(base_url=gateway.url, api_version=version or None)
    return genai.Client(api_key=key, http_options=options)


@pytest.fixture(params=["", "v1beta"], ids=["default version", "v1beta"])
def gemini(stage: tuple[Gateway, SandboxProcess], request: pytest.FixtureRequest) -> Iterator[genai.Client]:
    found = google(stage[0], version=request.param)
    yield found
    found.close()


# -- openai ------------------------------------------------------------------------------------------------------------


def test_openai_sdk_completes_a_chat(client: Any) -> None:
    reply = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hello"}])
    assert (reply.choices[0].message.content or "").startswith("Hello from Ann's account. You said: hello")
    assert (reply.choices[0].finish_reason, reply.model) == ("stop", MODEL)
    assert reply.usage is not None
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens > 0


@pytest.mark.parametrize("usage", [True, False], ids=["with usage", "without usage"])
def test_openai_sdk_streams_a_chat(client: Any, usage: bool) -> None:
    options: Any = {"stream_options": {"include_usage": True}} if usage else {}
    chunks = list(
        client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "hello"}], stream=True, **options
        )
    )
    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    assert "".join(choice.delta.content or "" for choice in choices).endswith("You said: hello")
    assert [choice.finish_reason for choice in choices if choice.finish_reason] == ["stop"]
    assert [bool(chunk.usage) for chunk in chunks].count(True) == int(usage)


@pytest.mark.parametrize("model", [MODEL, MODEL_3, "gemini-2.5-flash"])
def test_openai_sdk_calls_tools_over_several_rounds(client: Any, model: str) -> None:
    messages: list[Any] = []
    for number, city in enumerate(["Paris", "Rome"]):
        messages.append({"role": "user", "content": f'call get_weather {{"city":"{city}"}}'})
        reply = client.chat.completions.create(model=model, messages=messages, tools=[WEATHER])
        assert reply.choices[0].finish_reason == "tool_calls"
        [call] = reply.choices[0].message.tool_calls or []
        assert call.type == "function"
        assert json.loads(call.function.arguments) == {"city": city}
        messages += [
            reply.choices[0].message.model_dump(exclude_none=True),
            {"role": "tool", "tool_call_id": call.id, "content": f"sunny {number}"},
        ]
        reply = client.chat.completions.create(model=model, messages=messages, tools=[WEATHER])
        assert f"sunny {number}" in (reply.choices[0].message.content or "")
        messages.append({"role": "assistant", "content": reply.choices[0].message.content})


def test_openai_sdk_streams_parallel_tool_calls(client: Any) -> None:
    calls: dict[int, dict[str, str]] = {}
    finish = ""
    messages: list[Any] = [{"role": "user", "content": "call get_weather and call get_time please"}]
    for chunk in client.chat.completions.create(
        model=MODEL_3, messages=messages, tools=[WEATHER, CLOCK], stream=True
    ):
        choice = chunk.choices[0]
        finish = choice.finish_reason or finish
        for delta in choice.delta.tool_calls or []:
            call = calls.setdefault(delta.index, {"id": "", "name": "", "arguments": ""})
            call["id"] += delta.id or ""
            call["name"] += delta.function.name or ""
            call["arguments"] += delta.function.arguments or ""
    assert finish == "tool_calls"
    assert [call["name"] for _, call in sorted(calls.items())] == ["get_weather", "get_time"]
    assert [json.loads(call["arguments"]) for _, call in sorted(calls.items())] == [{"city": "sandbox"}, {}]
    made = [
        {"id": c["id"], "type": "function", "function": {"name": c["name"], "arguments": c["arguments"]}}
        for c in calls.values()
    ]
    messages.append({"role": "assistant", "tool_calls": made})
    messages += [
        {"role": "tool", "tool_call_id": c["id"], "content": f"of {c['name']}"} for c in calls.values()
    ]
    reply = client.chat.completions.create(model=MODEL_3, messages=messages, tools=[WEATHER, CLOCK])
    text = reply.choices[0].message.content or ""
    assert "of get_weather" in text
    assert "of get_time" in text


def test_openai_sdk_gets_json_of_a_schema(client: Any) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    reply = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "count"}],
        response_format={"type": "json_schema", "json_schema": {"name": "count", "schema": schema}},
    )
    assert json.loads(reply.choices[0].message.content or "") == {"n": 1}


def test_openai_sdk_lists_and_retrieves_models(client: Any) -> None:
    listed = [model.id for model in client.models.list()]
    assert MODEL in listed
    assert client.models.retrieve(MODEL).id == MODEL
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody-knows")


def test_openai_sdk_raises_its_own_classes_of_errors(
    stage: tuple[Gateway, SandboxProcess], client: Any
) -> None:
    gateway, sandbox = stage

    def ask(model: str = MODEL, found: openai.OpenAI = client) -> None:
        found.chat.completions.create(model=model, messages=[{"role": "user", "content": "hi"}])

    with pytest.raises(openai.NotFoundError) as missing:
        ask("nobody-knows")
    assert missing.value.code == "model_not_found"
    assert missing.value.request_id

    sandbox.script("error", name="400_invalid_argument", endpoint="generate")
    with pytest.raises(openai.BadRequestError):
        ask()
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model=MODEL, messages=[])

    sandbox.script("error", name="429_per_minute", endpoint="generate", retry_delay="20s")
    for _ in range(2):
        with pytest.raises(openai.RateLimitError) as limited:
            ask("gemini-2.5-pro")
        assert 15 < int(limited.value.response.headers["retry-after"]) <= 20
    assert limited.value.code == "rate_limit_exceeded"

    sandbox.script("error", name="500", endpoint="generate")
    with pytest.raises(openai.InternalServerError):
        ask()

    with (
        openai.OpenAI(base_url=gateway.url + "/v1", api_key="wrong-key", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError) as refused,
    ):
        ask(found=stranger)
    assert "wrong-key" not in str(refused.value)


def test_openai_sdk_raises_when_a_stream_is_cut(stage: tuple[Gateway, SandboxProcess], client: Any) -> None:
    stage[1].script("cut", endpoint="stream", after_chunks=1)
    with pytest.raises(openai.APIError, match="broke the answer off"):
        list(
            client.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": "a long story " * 20}], stream=True
            )
        )


# -- google-genai ------------------------------------------------------------------------------------------------------


def test_google_sdk_generates_and_streams(gemini: genai.Client) -> None:
    reply = gemini.models.generate_content(model=MODEL, contents="hello")
    assert reply.text == "Hello from Ann's account. You said: hello"
    assert reply.usage_metadata is not None
    assert reply.usage_metadata.total_token_count
    chunks = list(gemini.models.generate_content_stream(model=MODEL, contents="hello " * 30))
    assert len(chunks) > 1
    assert "".join(chunk.text or "" for chunk in chunks).startswith("Hello from Ann's account.")
    last = chunks[-1].candidates
    assert last
    assert last[0].finish_reason == types.FinishReason.STOP


@pytest.mark.parametrize("model", [MODEL_3, "gemini-2.5-flash"])
def test_google_sdk_chats_with_functions(gemini: genai.Client, model: str) -> None:
    asked_for: list[str] = []

    def get_weather(city: str) -> str:
        """The weather somewhere."""
        asked_for.append(city)
        return f"sunny in {city}"

    chat = gemini.chats.create(model=model, config=types.GenerateContentConfig(tools=[get_weather]))
    for city in ("Paris", "Rome"):
        reply = chat.send_message(f'call get_weather {{"city":"{city}"}}')
        assert f"sunny in {city}" in (reply.text or "")
    assert asked_for == ["Paris", "Rome"]


def test_google_sdk_counts_embeds_and_lists(gemini: genai.Client) -> None:
    assert gemini.models.count_tokens(model=MODEL, contents="hello").total_tokens
    embedded = gemini.models.embed_content(model="gemini-embedding-001", contents=["one", "two"]).embeddings
    assert embedded is not None
    assert [len(one.values or []) for one in embedded] == [3072, 3072]
    names = [model.name for model in gemini.models.list()]
    assert f"models/{MODEL}" in names
    found = gemini.models.get(model=MODEL)
    assert (found.name, "generateContent" in (found.supported_actions or [])) == (f"models/{MODEL}", True)


def test_google_sdk_raises_its_own_classes_of_errors(
    stage: tuple[Gateway, SandboxProcess], gemini: genai.Client
) -> None:
    gateway, sandbox = stage
    with pytest.raises(errors.ClientError) as missing:
        gemini.models.generate_content(model="nobody-knows", contents="hi")
    assert (missing.value.code, missing.value.status) == (404, "NOT_FOUND")
    sandbox.script("error", name="400_invalid_argument", endpoint="generate")
    with pytest.raises(errors.ClientError) as wrong:
        gemini.models.generate_content(model=MODEL, contents="hi")
    assert wrong.value.code == 400
    sandbox.script("error", name="500", endpoint="generate")
    with pytest.raises(errors.ServerError) as failed:
        gemini.models.generate_content(model=MODEL, contents="hi")
    assert failed.value.code == 502
    stranger = google(gateway, key="wrong-key")
    with pytest.raises(errors.ClientError) as refused:
        stranger.models.generate_content(model=MODEL, contents="hi")
    stranger.close()
    assert (refused.value.code, refused.value.status) == (401, "UNAUTHENTICATED")


def test_google_sdk_raises_when_a_stream_is_cut(
    stage: tuple[Gateway, SandboxProcess], gemini: genai.Client
) -> None:
    stage[1].script("cut", endpoint="stream", after_chunks=1)
    with pytest.raises(errors.APIError) as cut:
        list(gemini.models.generate_content_stream(model=MODEL, contents="a long story " * 20))
    assert cut.value.code == 502


# -- both, while an account dies ---------------------------------------------------------------------------------------


def test_conversations_go_on_while_the_account_that_serves_them_dies(
    sandbox: SandboxProcess, data_dir: Any
) -> None:
    for name in ("ann", "bob"):
        account_file(data_dir, name, sandbox.grant(f"{name}@example.com"), fresh=True)
    with Gateway(data_dir, sandbox.url, POOL__SLOW_START_S="0") as gateway:
        with openai.OpenAI(base_url=gateway.url + "/v1", api_key="any", max_retries=0) as sdk:
            client: Any = sdk
            messages: list[Any] = [{"role": "user", "content": 'call get_weather {"city":"Oslo"}'}]
            reply = client.chat.completions.create(model=MODEL_3, messages=messages, tools=[WEATHER])
            [call] = reply.choices[0].message.tool_calls or []
            first = asked(sandbox)[-1]
            sandbox.revoke(f"{first}@example.com")
            messages += [
                reply.choices[0].message.model_dump(exclude_none=True),
                {"role": "tool", "tool_call_id": call.id, "content": "rain"},
            ]
            chunks = client.chat.completions.create(
                model=MODEL_3, messages=messages, tools=[WEATHER], stream=True
            )
            assert "rain" in "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
            assert asked(sandbox)[-1] != first

        grant = sandbox.grant(f"{first}@example.com")
        account_file(data_dir, first, grant, fresh=True)
        wait_until(lambda: not gateway.ready()["reasons"], "both are back")
        gemini = google(gateway, key="any")
        chat = gemini.chats.create(model=MODEL_3)
        chat.send_message("one")
        dying = asked(sandbox)[-1]
        other = {"ann": "bob", "bob": "ann"}[dying]
        sandbox.revoke(f"{dying}@example.com")
        assert f"Hello from {other.capitalize()}'s account" in (chat.send_message("two").text or "")
        gemini.close()
        assert sandbox.token_calls(f"{dying}@example.com") == (3 if dying == first else 1)
