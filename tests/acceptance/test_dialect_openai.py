"""The openai SDK against the gateway: pictures, JSON, thinking, tools, choices, errors."""

from __future__ import annotations

import base64
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import NOT_GIVEN
from pydantic import BaseModel
from tests.acceptance.harness import Gateway, Json, People
from tests.acceptance.wire import model_calls
from tests.sandbox_client import SandboxProcess

MODEL = "gemini-3.5-flash-lite"
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(24)).decode()
TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
    for name in ("get_weather", "get_time")
]


@pytest.fixture
def gateway(sandbox: SandboxProcess, data_dir: Path, people: People) -> Iterator[Gateway]:
    people("ann")
    with Gateway(data_dir, sandbox.url, POOL__MAX_WAIT_S="0") as gateway:
        yield gateway


@pytest.fixture
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="unused", max_retries=0, timeout=30) as client:
        yield client


def sent(sandbox: SandboxProcess) -> Json:
    """The body of the last call that Google received."""
    body: Json = json.loads(model_calls(sandbox)[-1]["body"])
    return body


def user(*content: Any) -> Any:
    return [{"role": "user", "content": list(content)}]


def image(url: str) -> Json:
    return {"type": "image_url", "image_url": {"url": url}}


def test_a_picture_inside_the_request_goes_along(client: openai.OpenAI, sandbox: SandboxProcess) -> None:
    text = {"type": "text", "text": "what is this?"}
    client.chat.completions.create(model=MODEL, messages=user(text, image(f"data:image/jpeg;base64,{PNG}")))
    parts = sent(sandbox)["contents"][0]["parts"]
    assert parts == [{"text": "what is this?"}, {"inlineData": {"mimeType": "image/png", "data": PNG}}]


class _Inside(http.server.BaseHTTPRequestHandler):
    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        self.send_response(200)
        self.send_header("content-type", "image/png")
        self.send_header("content-length", "4")
        self.end_headers()
        self.wfile.write(b"\x89PNG")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@pytest.fixture
def inside() -> Iterator[str]:
    """A server of the gateway's own network."""
    _Inside.asked = 0
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Inside)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("stream", [False, True])
def test_a_picture_on_the_gateways_own_network_is_refused_and_named(
    client: openai.OpenAI, sandbox: SandboxProcess, inside: str, *, stream: bool
) -> None:
    messages = [
        {"role": "system", "content": "S"},
        *user({"type": "text", "text": "?"}, image(f"http://{inside}/a.png")),
    ]
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=MODEL, messages=messages, stream=stream)
    assert caught.value.param == "messages[1].content[1].image_url.url"
    assert "messages[1].content[1].image_url.url" in caught.value.message
    assert _Inside.asked == 0
    assert model_calls(sandbox) == []


def test_with_fetching_switched_off_google_is_handed_the_address(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    people("ann")
    with Gateway(data_dir, sandbox.url, MODELS__FETCH_IMAGES="false") as gateway:
        gateway.call(
            "POST",
            "/v1/chat/completions",
            {"model": MODEL, "messages": user(image("http://127.0.0.1:9/a.png"))},
        )
    assert sent(sandbox)["contents"][0]["parts"] == [
        {"fileData": {"fileUri": "http://127.0.0.1:9/a.png", "mimeType": "image/png"}}
    ]


class Weather(BaseModel):
    city: str
    degrees: int


def test_an_answer_of_a_schema_is_parsed_by_the_sdk(client: openai.OpenAI, sandbox: SandboxProcess) -> None:
    sandbox.script("reply", endpoint="generate", text='{"city":"Paris","degrees":22}')
    completion = client.chat.completions.parse(
        model=MODEL, messages=user({"type": "text", "text": "weather?"}), response_format=Weather
    )
    assert completion.choices[0].message.parsed == Weather(city="Paris", degrees=22)
    config = sent(sandbox)["generationConfig"]
    assert config["responseMimeType"] == "application/json"
    assert set(config["responseJsonSchema"]["properties"]) == {"city", "degrees"}


def test_thoughts_and_their_tokens_are_told(client: openai.OpenAI, sandbox: SandboxProcess) -> None:
    completion = client.chat.completions.create(
        model=MODEL, messages=user({"type": "text", "text": "hm"}), reasoning_effort="high"
    )
    assert sent(sandbox)["generationConfig"]["thinkingConfig"] == {
        "includeThoughts": True,
        "thinkingLevel": "HIGH",
    }
    assert completion.choices[0].message.to_dict()["reasoning_content"]
    assert completion.usage is not None
    assert completion.usage.completion_tokens_details is not None
    assert completion.usage.completion_tokens_details.reasoning_tokens
    assert completion.usage.total_tokens == (
        completion.usage.prompt_tokens + completion.usage.completion_tokens
    )


@pytest.mark.parametrize("stream", [False, True])
def test_parallel_and_forced_calls_over_several_rounds(
    client: openai.OpenAI, sandbox: SandboxProcess, *, stream: bool
) -> None:
    messages: list[Any] = user({"type": "text", "text": "call get_weather and call get_time"})
    first = complete(client, messages, stream=stream)
    assert [call.function.name for call in first.tool_calls] == ["get_weather", "get_time"]
    assert len({call.id for call in first.tool_calls}) == 2
    messages.append(first.to_dict())
    messages += [
        {"role": "tool", "tool_call_id": call.id, "content": f"{call.function.name} is fine"}
        for call in reversed(first.tool_calls)
    ]
    assert "get_weather is fine" in complete(client, messages, stream=stream).content
    messages.append({"role": "assistant", "content": "done"})
    messages.append({"role": "user", "content": "and now?"})
    forced: Any = {"type": "function", "function": {"name": "get_time"}}
    again = complete(client, messages, stream=stream, tool_choice=forced)
    assert [call.function.name for call in again.tool_calls] == ["get_time"]
    assert sent(sandbox)["toolConfig"]["functionCallingConfig"] == {
        "mode": "ANY",
        "allowedFunctionNames": ["get_time"],
    }


def complete(
    client: openai.OpenAI, messages: list[Any], *, stream: bool, tool_choice: Any = NOT_GIVEN
) -> Any:
    asked: Json = {"model": MODEL, "messages": messages, "tools": TOOLS, "tool_choice": tool_choice}
    if not stream:
        return client.chat.completions.create(**asked).choices[0].message
    with client.chat.completions.stream(**asked) as events:
        return events.get_final_completion().choices[0].message


def test_a_stream_ends_with_the_count_where_it_is_asked_for(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model=MODEL,
            messages=user({"type": "text", "text": "hi"}),
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens > 0
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_a_blocked_prompt_is_told_as_a_filtered_refusal(
    client: openai.OpenAI, sandbox: SandboxProcess
) -> None:
    blocked = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3}}
    sandbox.script("reply", endpoint="generate", response=blocked)
    [choice] = client.chat.completions.create(
        model=MODEL, messages=user({"type": "text", "text": "x"})
    ).choices
    assert choice.finish_reason == "content_filter"
    assert "SAFETY" in (choice.message.refusal or "")


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("400_invalid_argument", openai.BadRequestError),
        ("429_per_minute", openai.RateLimitError),
        ("503_overloaded", openai.InternalServerError),
        ("500", openai.InternalServerError),
    ],
)
def test_errors_of_google_become_the_sdks_own(
    client: openai.OpenAI, sandbox: SandboxProcess, name: str, error: type[openai.APIStatusError]
) -> None:
    sandbox.script("error", name=name, endpoint="generate", times=None)
    with pytest.raises(error) as caught:
        client.with_options(timeout=60).chat.completions.create(
            model=MODEL, messages=user({"type": "text", "text": "x"})
        )
    assert caught.value.type
    assert caught.value.response.headers["x-request-id"] == caught.value.request_id


def test_a_stream_that_breaks_off_raises_in_the_sdk(client: openai.OpenAI, sandbox: SandboxProcess) -> None:
    sandbox.script("cut", endpoint="stream", after_chunks=1)
    with pytest.raises(openai.APIError):
        list(
            client.chat.completions.create(
                model=MODEL, messages=user({"type": "text", "text": "tell me a long story"}), stream=True
            )
        )


def test_an_unknown_model_and_too_many_choices_are_refused_by_name(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="no-such", messages=user({"type": "text", "text": "x"}))
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError) as many:
        client.chat.completions.create(model=MODEL, messages=user({"type": "text", "text": "x"}), n=9)
    assert many.value.param == "n"
