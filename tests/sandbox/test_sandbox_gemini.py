"""What the pretend models answer, over real sockets."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.sandbox.wire import (
    FLASH,
    OLDER,
    api,
    asking,
    call,
    events,
    generate,
    parts_of,
    stream,
    texts,
    user,
)
from tests.sandbox_client import MintedGrant, SandboxControl

WEATHER = {
    "name": "get_weather",
    "description": "Weather of a city",
    "parametersJsonSchema": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 2}},
        "required": ["city", "days"],
    },
}
CLOCK = {"name": "get_time", "parameters": {"type": "OBJECT", "properties": {"zone": {"type": "STRING"}}}}
TOOLS = [{"functionDeclarations": [WEATHER, CLOCK]}]


def test_answer_is_deterministic_and_names_the_account(sandbox: SandboxControl, ann: MintedGrant) -> None:
    body = generate(sandbox, ann.access_token, asking("hi there")).json()
    assert parts_of(body) == [{"text": "Hello from Ann's account. You said: hi there"}]
    candidate = body["candidates"][0]
    assert candidate["finishReason"] == "STOP"
    assert candidate["content"]["role"] == "model"
    assert body["modelVersion"] == FLASH
    assert body["responseId"]
    usage = body["usageMetadata"]
    assert usage["totalTokenCount"] == usage["promptTokenCount"] + usage["candidatesTokenCount"]


def test_snake_case_names_and_single_objects_are_accepted(sandbox: SandboxControl, ann: MintedGrant) -> None:
    body = {
        "contents": {"role": "user", "parts": {"text": "hi"}},
        "system_instruction": {"parts": [{"text": "be brief"}]},
        "generation_config": {"max_output_tokens": "50", "stop_sequences": ["said"]},
    }
    answer = generate(sandbox, ann.access_token, body)
    assert texts([answer.json()]) == "Hello from Ann's account. You "


def test_stream_is_lines_of_data_ending_in_cr_lf(sandbox: SandboxControl, ann: MintedGrant) -> None:
    got = stream(sandbox, ann.access_token, asking("one two three four"))
    assert got.headers["content-type"] == "text/event-stream"
    assert got.body.startswith(b"data: {")
    assert got.body.endswith(b"}\r\n\r\n")
    assert b"event:" not in got.body
    assert b"[DONE]" not in got.body
    bodies = events(got)
    assert len(bodies) >= 3
    assert texts(bodies) == "Hello from Ann's account. You said: one two three four"
    assert all("usageMetadata" in body for body in bodies)
    assert ["finishReason" in body["candidates"][0] for body in bodies] == [False] * (len(bodies) - 1) + [
        True
    ]


def test_third_generation_stream_ends_with_an_empty_signed_text(
    sandbox: SandboxControl, ann: MintedGrant
) -> None:
    last = parts_of(events(stream(sandbox, ann.access_token, asking("hi")))[-1])
    assert last[0]["text"] == ""
    assert last[0]["thoughtSignature"]
    older = parts_of(events(stream(sandbox, ann.access_token, asking("hi"), model=OLDER))[-1])
    assert "thoughtSignature" not in older[0]


def test_stream_without_alt_sse_is_one_json_array(sandbox: SandboxControl, ann: MintedGrant) -> None:
    got = api(sandbox, f"v1/models/{FLASH}:streamGenerateContent", asking("a b c d"), ann.access_token)
    assert got.headers["content-type"].startswith("application/json")
    assert b"\n,\r\n{" in got.body
    assert texts(got.json()) == "Hello from Ann's account. You said: a b c d"


def test_named_tools_are_called_in_parallel_and_the_first_call_is_signed(
    sandbox: SandboxControl, ann: MintedGrant
) -> None:
    question = asking('call get_weather {"city":"Paris","days":3} and call get_time', tools=TOOLS)
    body = generate(sandbox, ann.access_token, question).json()
    first, second = parts_of(body)
    assert first["functionCall"]["name"] == "get_weather"
    assert first["functionCall"]["args"] == {"city": "Paris", "days": 3}
    assert first["thoughtSignature"]
    assert second["functionCall"]["name"] == "get_time"
    assert "thoughtSignature" not in second
    assert first["functionCall"]["id"] != second["functionCall"]["id"]
    assert body["candidates"][0]["finishReason"] == "STOP"


def test_streamed_calls_come_whole_in_one_chunk(sandbox: SandboxControl, ann: MintedGrant) -> None:
    question = asking("call get_weather, then call get_time", tools=TOOLS)
    (body,) = events(stream(sandbox, ann.access_token, question))
    assert [part["functionCall"]["name"] for part in parts_of(body)] == ["get_weather", "get_time"]
    assert parts_of(body)[0]["functionCall"]["args"] == {"city": "sandbox", "days": 2}


def test_forced_mode_calls_and_none_mode_does_not(sandbox: SandboxControl, ann: MintedGrant) -> None:
    def ask(text: str, config: dict[str, Any]) -> list[Any]:
        question = asking(text, tools=TOOLS, toolConfig={"functionCallingConfig": config})
        return parts_of(generate(sandbox, ann.access_token, question).json())

    forced = ask("hi", {"mode": "ANY", "allowedFunctionNames": ["get_time"]})
    assert [part["functionCall"]["name"] for part in forced] == ["get_time"]
    assert "text" in ask("call get_time", {"mode": "NONE"})[0]


def tool_turn(sandbox: SandboxControl, token: str, *, model: str = FLASH) -> list[dict[str, Any]]:
    """A conversation up to the responses of two parallel calls."""
    asked = user("call get_weather and call get_time")
    body = generate(sandbox, token, {"contents": [asked], "tools": TOOLS}, model=model).json()
    calls = [part["functionCall"] for part in parts_of(body)]
    answered = [
        {"functionResponse": {"id": call["id"], "name": call["name"], "response": {"output": str(number)}}}
        for number, call in enumerate(calls)
    ]
    return [asked, body["candidates"][0]["content"], {"role": "user", "parts": answered}]


def test_after_tool_results_the_model_quotes_them(sandbox: SandboxControl, ann: MintedGrant) -> None:
    contents = tool_turn(sandbox, ann.access_token)
    text = texts([generate(sandbox, ann.access_token, {"contents": contents, "tools": TOOLS}).json()])
    assert text == (
        'Hello from Ann\'s account. get_weather answered: {"output":"0"} get_time answered: {"output":"1"}'
    )


def test_thoughts_come_first_and_are_counted_when_asked_for(
    sandbox: SandboxControl, ann: MintedGrant
) -> None:
    question = asking("hi", generationConfig={"thinkingConfig": {"includeThoughts": True}})
    bodies = events(stream(sandbox, ann.access_token, question))
    assert parts_of(bodies[0])[0]["thought"] is True
    assert bodies[-1]["usageMetadata"]["thoughtsTokenCount"] > 0
    assert texts(bodies) == "Hello from Ann's account. You said: hi"


def test_output_limit_cuts_the_text_and_says_so(sandbox: SandboxControl, ann: MintedGrant) -> None:
    body = generate(sandbox, ann.access_token, asking("hi", generationConfig={"maxOutputTokens": 2})).json()
    assert body["candidates"][0]["finishReason"] == "MAX_TOKENS"
    assert texts([body]) == "Hello fr"


def test_json_mode_answers_with_json_that_fits_the_schema(sandbox: SandboxControl, ann: MintedGrant) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "tags": {"type": "array", "items": {"type": "string"}}},
        "required": ["name", "tags"],
    }
    config = {"responseMimeType": "application/json", "responseJsonSchema": schema}
    body = generate(sandbox, ann.access_token, asking("hi", generationConfig=config)).json()
    assert json.loads(texts([body])) == {"name": "sandbox", "tags": ["sandbox"]}


def test_image_model_answers_with_a_picture(sandbox: SandboxControl, ann: MintedGrant) -> None:
    question = asking("a cat", generationConfig={"responseModalities": ["TEXT", "IMAGE"]})
    body = generate(sandbox, ann.access_token, question, model="gemini-3.1-flash-image").json()
    assert parts_of(body)[0]["inlineData"]["mimeType"] == "image/png"


def test_count_tokens_takes_contents_or_a_whole_request(sandbox: SandboxControl, ann: MintedGrant) -> None:
    path = f"v1beta/models/{FLASH}:countTokens"
    plain = api(sandbox, path, asking("hi"), ann.access_token).json()["totalTokens"]
    whole = {"generateContentRequest": {"model": f"models/{FLASH}", **asking("hi", tools=TOOLS)}}
    assert api(sandbox, path, whole, ann.access_token).json()["totalTokens"] > plain > 0
    both = api(sandbox, path, {**asking("hi"), **whole}, ann.access_token)
    assert both.status == 400
    assert api(sandbox, path, {}, ann.access_token).status == 400


def test_embeddings_depend_on_the_text_only(sandbox: SandboxControl, ann: MintedGrant) -> None:
    path = "v1beta/models/gemini-embedding-001"
    content = {"parts": [{"text": "hi"}]}
    one = api(sandbox, f"{path}:embedContent", {"content": content}, ann.access_token).json()
    assert len(one["embedding"]["values"]) == 3072
    requests = [
        {"model": "models/gemini-embedding-001", "content": content, "outputDimensionality": 4},
        {"model": "models/gemini-embedding-001", "content": {"parts": [{"text": "ho"}]}},
    ]
    many = api(sandbox, f"{path}:batchEmbedContents", {"requests": requests}, ann.access_token).json()
    assert many["embeddings"][0]["values"] == one["embedding"]["values"][:4]
    assert many["embeddings"][1] != one["embedding"]


def test_models_are_listed_in_pages(sandbox: SandboxControl, ann: MintedGrant) -> None:
    first = api(sandbox, "v1beta/models?pageSize=4", None, ann.access_token).json()
    rest = api(
        sandbox, f"v1beta/models?pageSize=4&pageToken={first['nextPageToken']}", None, ann.access_token
    ).json()
    names = [model["name"] for model in first["models"] + rest["models"]]
    assert "nextPageToken" not in rest
    assert len(first["models"]) == 4
    assert {"models/gemini-3.8-flash", "models/gemini-2.5-pro", "models/gemini-embedding-001"} <= set(names)
    one = api(sandbox, "v1/models/gemini-2.5-pro", None, ann.access_token).json()
    assert one["inputTokenLimit"] == 1_048_576
    assert "generateContent" in one["supportedGenerationMethods"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("v1beta/models/gemini-9-flash:generateContent", asking("hi")),
        ("v1beta/models/gemini-embedding-001:generateContent", asking("hi")),
        (f"v1beta/models/{FLASH}:embedContent", {"content": {"parts": [{"text": "hi"}]}}),
        ("v1beta/models/gemini-9-flash", None),
    ],
)
def test_unknown_model_is_googles_404(
    sandbox: SandboxControl, ann: MintedGrant, path: str, body: Any
) -> None:
    refused = api(sandbox, path, body, ann.access_token)
    assert refused.status == 404
    assert "is not found for API version v1beta, or is not supported for" in refused.message


def test_credentials_are_checked_as_google_does(sandbox: SandboxControl, ann: MintedGrant) -> None:
    path = f"/v1beta/models/{FLASH}:generateContent"
    body = json.dumps(asking("hi")).encode()
    nothing = call(sandbox, "POST", path, body)
    assert (nothing.status, nothing.reason) == (401, "CREDENTIALS_MISSING")
    key = call(sandbox, "POST", f"{path}?key=abc", body)
    assert (key.status, key.reason) == (400, "API_KEY_INVALID")
    both = generate(sandbox, ann.access_token, asking("hi"), headers={"x-goog-api-key": "abc"})
    assert (both.status, both.reason) == (400, "OVERLOADED_CREDENTIALS")
    unknown = generate(sandbox, "no-such-token", asking("hi"))
    assert (unknown.status, unknown.reason) == (401, "ACCESS_TOKEN_EXPIRED")
    assert unknown.json()["error"]["status"] == "UNAUTHENTICATED"


def test_error_of_a_stream_without_alt_sse_is_wrapped_in_an_array(sandbox: SandboxControl) -> None:
    path = f"v1beta/models/{FLASH}:streamGenerateContent"
    refused = api(sandbox, path, asking("hi"), "no-such-token")
    assert refused.status == 401
    assert refused.json()[0]["error"]["code"] == 401


def test_project_must_be_one_that_the_person_may_use(sandbox: SandboxControl, ann: MintedGrant) -> None:
    def charged(project: str) -> tuple[int, str]:
        got = generate(sandbox, ann.access_token, asking("hi"), headers={"x-goog-user-project": project})
        return got.status, sandbox.journal(endpoint="generate")[-1]["project"]

    assert charged("ann-project") == (200, "ann-project")
    assert charged("100000000001") == (200, "100000000001")
    assert charged("bob-project") == (403, "bob-project")
    refused = generate(
        sandbox, ann.access_token, asking("hi"), headers={"x-goog-user-project": "bob-project"}
    )
    assert refused.reason == "USER_PROJECT_DENIED"
    assert "project bob-project" in refused.message
    generate(sandbox, ann.access_token, asking("hi"))
    assert sandbox.journal(endpoint="generate")[-1]["project"] == "100000000001"


def test_gemini_on_vertex_speaks_from_its_own_path(sandbox: SandboxControl, ann: MintedGrant) -> None:
    def vertex(project: str, model: str = FLASH, method: str = "generateContent") -> Any:
        path = f"v1/projects/{project}/locations/global/publishers/google/models/{model}:{method}"
        return api(sandbox, path, asking("hi"), ann.access_token)

    assert texts([vertex("ann-project").json()]) == "Hello from Ann's account. You said: hi"
    assert "totalBillableCharacters" in vertex("ann-project", method="countTokens").json()
    refused = vertex("bob-project")
    assert (refused.status, refused.reason) == (403, "IAM_PERMISSION_DENIED")
    assert vertex("ann-project", "gemini-9").message.startswith("Publisher Model `projects/ann-project/")
    listed = api(sandbox, "v1beta1/publishers/google/models", None, ann.access_token).json()
    assert {"name": f"publishers/google/models/{FLASH}", "versionId": "001"} in listed["publisherModels"]


def claude(sandbox: SandboxControl, token: str, body: dict[str, Any], method: str = "rawPredict") -> Any:
    path = f"v1/projects/ann-project/locations/global/publishers/anthropic/models/claude-sonnet-4-6:{method}"
    return api(sandbox, path, body, token)


def test_claude_on_vertex_answers_in_anthropics_form(sandbox: SandboxControl, ann: MintedGrant) -> None:
    body = {
        "anthropic_version": "vertex-2023-10-16",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
    }
    answer = claude(sandbox, ann.access_token, body).json()
    assert answer["content"] == [{"type": "text", "text": "Hello from Ann's account. You said: hi"}]
    assert answer["id"].startswith("msg_vrtx_")
    got = claude(sandbox, ann.access_token, {**body, "stream": True}, "streamRawPredict")
    names = [line[7:] for line in got.body.decode().splitlines() if line.startswith("event: ")]
    assert names[0] == "message_start"
    assert names[-2:] == ["message_delta", "message_stop"]
    refused = claude(sandbox, ann.access_token, {**body, "model": "x"})
    assert refused.status == 400
    assert refused.json()["error"]["message"] == "model: Extra inputs are not permitted"
    path = "v1/projects/ann-project/locations/global/publishers/anthropic/models/count-tokens:rawPredict"
    counted = api(sandbox, path, {**body, "model": "claude-sonnet-4-6"}, ann.access_token)
    assert counted.json()["input_tokens"] > 0
