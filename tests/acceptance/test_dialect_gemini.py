"""The google-genai SDK against the gateway: relayed text, streams, tools, pictures, JSON, thinking, counts, errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google import genai
from google.genai import errors, types
from pydantic import BaseModel
from tests.acceptance.harness import Gateway, Json, People
from tests.acceptance.wire import model_calls
from tests.sandbox_client import SandboxProcess

MODEL = "gemini-3.5-flash-lite"
STAND_IN = "skip_thought_signature_validator"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(24)


@pytest.fixture
def gateway(sandbox: SandboxProcess, data_dir: Path, people: People) -> Iterator[Gateway]:
    people("ann", "bob")
    with Gateway(data_dir, sandbox.url, POOL__MAX_WAIT_S="0") as gateway:
        yield gateway


@pytest.fixture
def client(gateway: Gateway) -> Iterator[genai.Client]:
    options = types.HttpOptions(
        base_url=gateway.url, timeout=30_000, retry_options=types.HttpRetryOptions(attempts=1)
    )
    client = genai.Client(api_key="unused", http_options=options)
    yield client
    client.close()


def sent(sandbox: SandboxProcess) -> Json:
    body: Json = json.loads(model_calls(sandbox)[-1]["body"])
    return body


def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"22 degrees in {city}"


def test_text_comes_whole_and_streamed(client: genai.Client) -> None:
    whole = client.models.generate_content(model=MODEL, contents="hi")
    chunks = list(client.models.generate_content_stream(model=MODEL, contents="hi"))
    assert whole.text
    assert "".join(chunk.text or "" for chunk in chunks) == whole.text
    assert chunks[-1].usage_metadata is not None
    assert chunks[-1].usage_metadata.total_token_count


def test_a_picture_and_a_system_instruction_go_along(client: genai.Client, sandbox: SandboxProcess) -> None:
    client.models.generate_content(
        model=MODEL,
        contents=[types.Part.from_bytes(data=PNG, mime_type="image/png"), "what is this?"],
        config=types.GenerateContentConfig(system_instruction="be brief"),
    )
    first, second = sent(sandbox)["contents"][0]["parts"]
    assert "image/png" in first["inlineData"].values()
    assert second == {"text": "what is this?"}
    assert sent(sandbox)["systemInstruction"]["parts"] == [{"text": "be brief"}]


class Weather(BaseModel):
    city: str
    degrees: int


def test_an_answer_of_a_schema_is_parsed_by_the_sdk(client: genai.Client, sandbox: SandboxProcess) -> None:
    sandbox.script("reply", endpoint="generate", text='{"city":"Paris","degrees":22}')
    answer = client.models.generate_content(
        model=MODEL,
        contents="weather?",
        config=types.GenerateContentConfig(response_mime_type="application/json", response_schema=Weather),
    )
    assert answer.parsed == Weather(city="Paris", degrees=22)


def test_thoughts_are_told(client: genai.Client) -> None:
    thinking = types.ThinkingConfig(include_thoughts=True, thinking_level=types.ThinkingLevel.HIGH)
    answer = client.models.generate_content(
        model=MODEL, contents="hm", config=types.GenerateContentConfig(thinking_config=thinking)
    )
    assert answer.candidates
    assert answer.candidates[0].content
    assert any(part.thought for part in answer.candidates[0].content.parts or ())
    assert answer.usage_metadata
    assert answer.usage_metadata.thoughts_token_count


def test_tokens_are_counted_and_texts_embedded(client: genai.Client) -> None:
    assert client.models.count_tokens(model=MODEL, contents="a b c").total_tokens
    embedded = client.models.embed_content(model="gemini-embedding-001", contents=["a", "b"])
    assert embedded.embeddings
    assert len(embedded.embeddings) == 2


def test_the_sdk_calls_a_python_function_and_goes_on(client: genai.Client, sandbox: SandboxProcess) -> None:
    answer = client.models.generate_content(
        model=MODEL,
        contents='call get_weather {"city":"Paris"}',
        config=types.GenerateContentConfig(tools=[get_weather]),
    )
    assert "22 degrees in Paris" in (answer.text or "")
    assert len(model_calls(sandbox)) == 2


def test_an_account_that_dies_in_mid_conversation_does_not_end_it(
    client: genai.Client, sandbox: SandboxProcess
) -> None:
    sandbox.settings(signatures="account")
    declared = types.Tool(function_declarations=[types.FunctionDeclaration(name="get_weather")])
    chat = client.chats.create(model=MODEL, config=types.GenerateContentConfig(tools=[declared]))
    called = chat.send_message("call get_weather")
    assert called.function_calls
    [first] = model_calls(sandbox)
    sandbox.revoke(first["email"])
    result = types.Part.from_function_response(name="get_weather", response={"output": "22 degrees"})
    assert result.function_response
    result.function_response.id = called.function_calls[0].id
    assert "22 degrees" in (chat.send_message(result).text or "")
    refused, served = model_calls(sandbox)[-2:]
    assert refused["email"] == served["email"] != first["email"]
    assert (refused["status"], served["status"]) == (400, 200)
    [part] = [part for part in json.loads(served["body"])["contents"][1]["parts"] if "functionCall" in part]
    assert part["thoughtSignature"] == STAND_IN
    assert chat.send_message("thanks").text
    sandbox.settings(signatures="model")


def test_a_stream_that_breaks_off_raises_in_the_sdk(client: genai.Client, sandbox: SandboxProcess) -> None:
    sandbox.script("cut", endpoint="stream", after_chunks=1)
    with pytest.raises(errors.APIError):
        list(client.models.generate_content_stream(model=MODEL, contents="tell me a long story"))


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("400_invalid_argument", "INVALID_ARGUMENT", 400),
        ("429_per_minute", "RESOURCE_EXHAUSTED", 429),
        ("503_overloaded", "UNAVAILABLE", 503),
    ],
)
def test_errors_of_google_become_the_sdks_own(
    client: genai.Client, sandbox: SandboxProcess, name: str, status: str, code: int
) -> None:
    sandbox.script("error", name=name, endpoint="generate", times=None)
    with pytest.raises(errors.APIError) as caught:
        client.models.generate_content(model=MODEL, contents="x")
    assert (caught.value.status, caught.value.code) == (status, code)


def test_an_unknown_model_is_a_clients_error_of_the_sdk(client: genai.Client) -> None:
    with pytest.raises(errors.ClientError) as caught:
        client.models.generate_content(model="no-such", contents="x")
    assert (caught.value.status, caught.value.code) == ("NOT_FOUND", 404)


def test_models_are_listed(client: genai.Client) -> None:
    names: list[Any] = [model.name for model in client.models.list()]
    assert f"models/{MODEL}" in names
