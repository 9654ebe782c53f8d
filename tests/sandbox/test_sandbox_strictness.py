"""Bodies that Google refuses, each with Google's words; and their neighbours that it accepts."""

from __future__ import annotations

from typing import Any

import pytest
from tests.sandbox.wire import FLASH, OLDER, Got, api, asking, call, generate, parts_of, user
from tests.sandbox_client import MintedGrant, SandboxControl

MODEL = {"role": "model", "parts": [{"text": "hello"}]}
F = {"name": "f"}
TOOLS = [{"functionDeclarations": [F, {"name": "g"}]}]
DUMMY = "skip_thought_signature_validator"


def calling(*names: str, signature: str | None = DUMMY) -> dict[str, Any]:
    parts: list[dict[str, Any]] = [{"functionCall": {"name": name, "args": {}}} for name in names]
    if signature is not None:
        parts[0]["thoughtSignature"] = signature
    return {"role": "model", "parts": parts}


def responding(*names: str) -> dict[str, Any]:
    return {
        "role": "user",
        "parts": [{"functionResponse": {"name": name, "response": {"output": 1}}} for name in names],
    }


def with_function(declaration: dict[str, Any]) -> dict[str, Any]:
    return asking("hi", tools=[{"functionDeclarations": [{"name": "f", **declaration}]}])


def with_schema(schema: dict[str, Any]) -> dict[str, Any]:
    return with_function({"parameters": {"type": "OBJECT", "properties": {"p": schema}}})


def with_config(**config: Any) -> dict[str, Any]:
    return asking("hi", generationConfig=config)


def talk(*contents: dict[str, Any]) -> dict[str, Any]:
    return {"contents": list(contents), "tools": TOOLS}


UNKNOWN = "Invalid JSON payload received. Unknown name "
STRUCTURE: list[tuple[dict[str, Any], str]] = [
    (asking("hi", foo=1), f'{UNKNOWN}"foo": Cannot find field.'),
    (
        {"contents": [{"role": "user", "parts": [{"text": "hi", "cache_control": {}}]}]},
        f"{UNKNOWN}\"cache_control\" at 'contents[0].parts[0]': Cannot find field.",
    ),
    (
        with_function({"parameters": {"type": "object", "$schema": "x"}}),
        f"{UNKNOWN}\"$schema\" at 'tools[0].function_declarations[0].parameters': Cannot find field.",
    ),
    (
        with_schema({"type": "STRING", "exclusiveMinimum": 1}),
        (f"{UNKNOWN}\"exclusiveMinimum\" at 'tools[0].function_declarations[0].parameters.properties[0].value': "
        "Cannot find field."),
    ),
    (
        with_schema({"type": ["string", "null"]}),
        (f"{UNKNOWN}\"type\" at 'tools[0].function_declarations[0].parameters.properties[0].value': "
        "Proto field is not repeating, cannot start list."),
    ),
    (with_config(temperature="hot"), "Invalid value at 'generation_config.temperature' (TYPE_FLOAT), \"hot\""),
    (with_config(maxOutputTokens=1.5), "Invalid value at 'generation_config.max_output_tokens' (TYPE_INT32), 1.5"),
    (with_config(responseLogprobs="yes"), "Invalid value at 'generation_config.response_logprobs' (TYPE_BOOL), \"yes\""),
    ({"contents": [{"role": "user", "parts": [{"text": 5}]}]}, "Invalid value at 'contents[0].parts[0].text' (TYPE_STRING), 5"),
    (
        with_config(thinkingConfig={"thinkingLevel": "EXTREME"}),
        ("Invalid value at 'generation_config.thinking_config.thinking_level' "
        '(type.googleapis.com/google.ai.generativelanguage.v1beta.ThinkingLevel), "EXTREME"'),
    ),
    (
        {"contents": [{"role": "user", "parts": [{"text": "a", "inlineData": {"mimeType": "image/png", "data": "AA=="}}]}]},
        "Invalid value at 'contents[0].parts[0]' (oneof), oneof field 'data' is already set. Cannot set 'inlineData'",
    ),
    (
        {"contents": [{"role": "user", "parts": [{"inlineData": {"mimeType": "image/png", "data": "***"}}]}]},
        "Invalid value at 'contents[0].parts[0].inline_data.data' (TYPE_BYTES), Base64 decoding failed for \"***\"",
    ),
    (
        {"contents": [user("hi"), {"role": "model", "parts": [{"functionCall": {"name": "f", "args": "x"}}]}]},
        "Invalid value at 'contents[1].parts[0].function_call.args' (type.googleapis.com/google.protobuf.Struct), \"x\"",
    ),
    ({"contents": ["hi"]}, "Invalid value at 'contents[0]' (type.googleapis.com/google.ai.generativelanguage.v1beta.Content), \"hi\""),
    (asking("hi", safetySettings=[{"category": "HARM_CATEGORY_X", "threshold": "OFF"}]), "Invalid value at 'safety_settings[0].category' (type.googleapis.com/google.ai.generativelanguage.v1beta.HarmCategory), \"HARM_CATEGORY_X\""),
    (with_config(audioTimestamp=True), f"{UNKNOWN}\"audioTimestamp\" at 'generation_config': Cannot find field."),
]  # fmt: skip


@pytest.mark.parametrize(("body", "sentence"), STRUCTURE)
def test_body_outside_the_closed_field_sets_is_refused(
    sandbox: SandboxControl, ann: MintedGrant, body: dict[str, Any], sentence: str
) -> None:
    refused = generate(sandbox, ann.access_token, body)
    assert refused.status == 400
    assert refused.message == sentence
    error = refused.json()["error"]
    assert error["status"] == "INVALID_ARGUMENT"
    detail = error["details"][0]
    assert detail["@type"] == "type.googleapis.com/google.rpc.BadRequest"
    assert detail["fieldViolations"][0]["description"] == sentence


def test_every_violation_is_told_on_a_line_of_its_own(sandbox: SandboxControl, ann: MintedGrant) -> None:
    refused = generate(sandbox, ann.access_token, asking("hi", foo=1, bar=2))
    assert len(refused.message.splitlines()) == 2
    assert len(refused.json()["error"]["details"][0]["fieldViolations"]) == 2


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff"])
def test_body_that_is_no_json_object_is_refused(
    sandbox: SandboxControl, ann: MintedGrant, body: bytes
) -> None:
    headers = {"authorization": f"Bearer {ann.access_token}"}
    refused = call(sandbox, "POST", f"/v1beta/models/{FLASH}:generateContent", body, headers=headers)
    assert refused.status == 400
    assert refused.message.startswith("Invalid JSON payload received.")


NUMBER = "the number of function response parts is equal to the number of function call parts"
TURNS: list[tuple[dict[str, Any], str]] = [
    ({"contents": []}, "* GenerateContentRequest.contents: contents is not specified"),
    ({"contents": [{"role": "assistant", "parts": [{"text": "a"}]}]}, "Please use a valid role: user, model."),
    ({"contents": [{"role": "user", "parts": []}]}, "contents[0].parts: contents.parts must not be empty."),
    ({"contents": [user("")]}, "contents[0].parts[0].data: required oneof field 'data' must have one initialized field"),
    ({"contents": [{"role": "user", "parts": [{"thought": True}]}]}, "parts[0].data: required oneof field"),
    (asking("hi", systemInstruction={"parts": [{"text": ""}]}), "system_instruction.parts"),
    ({"contents": [user("hi"), MODEL]}, "Requests ending with a model turn are not supported."),
    ({"contents": [MODEL, user("hi")]}, "first turn is a user turn"),
    (talk(calling("f"), responding("f")), "function call turn comes immediately after a user turn"),
    (talk(user("hi"), calling("f"), user("no")), NUMBER),
    (talk(user("hi"), calling("f", "g"), responding("f")), NUMBER),
    (talk(user("hi"), calling("f"), responding("f", "f")), NUMBER),
    (talk(user("hi"), calling("f", "g"), responding("f"), responding("g")), NUMBER),
    (talk(user("hi"), responding("f")), "function response turn comes immediately after a function call turn"),
    (talk(user("hi"), calling("f"), responding("g")), "the name of each function response"),
    (
        talk(
            user("hi"),
            {"role": "model", "parts": [{"functionCall": {"id": "1", "name": "f", "args": {}}, "thoughtSignature": DUMMY}]},
            {"role": "user", "parts": [{"functionResponse": {"id": "2", "name": "f", "response": {}}}]},
        ),
        "Function response id `2` does not match",
    ),
    (
        talk(user("hi"), calling("f"), {"role": "user", "parts": [{"functionResponse": {"name": "f"}}]}),
        "Function response part must have a response.",
    ),
    (talk(user("hi"), calling("f", signature=None), responding("f")), "missing a thought_signature in functionCall parts"),
    (talk(user("hi"), calling("f", signature="QUJD"), responding("f")), "Corrupted thought signature."),
]  # fmt: skip


@pytest.mark.parametrize(("body", "sentence"), TURNS)
def test_turns_that_cannot_follow_each_other_are_refused(
    sandbox: SandboxControl, ann: MintedGrant, body: dict[str, Any], sentence: str
) -> None:
    refused = generate(sandbox, ann.access_token, body)
    assert refused.status == 400
    assert sentence in refused.message


ACCEPTED: list[tuple[str, dict[str, Any], str]] = [
    ("parallel calls answered in another order", talk(user("hi"), calling("f", "g"), responding("g", "f")), FLASH),
    ("two user contents in a row", {"contents": [user("a"), user("b")]}, FLASH),
    ("text after the results", talk(user("hi"), calling("f"), responding("f"), user("reminder")), FLASH),
    ("unsigned call of an earlier turn", talk(user("hi"), calling("f", signature=None), responding("f"), MODEL, user("more")), FLASH),
    ("unsigned call on an older model", talk(user("hi"), calling("f", signature=None), responding("f")), OLDER),
    ("prefill on an older model", {"contents": [user("hi"), MODEL]}, OLDER),
    ("empty text that carries a signature", {"contents": [user("hi"), {"role": "model", "parts": [{"text": "a"}, {"text": "", "thoughtSignature": DUMMY}]}, user("b")]}, FLASH),
    ("role function", talk(user("hi"), calling("f"), {**responding("f"), "role": "function"}), FLASH),
    ("nulls", asking("hi", tools=None, generationConfig={"temperature": None}), FLASH),
    ("lower-case types", with_schema({"type": "string", "enum": ["a"], "nullable": True}), FLASH),
    ("free JSON schema", with_function({"parametersJsonSchema": {"type": "object", "$schema": "x", "additionalProperties": False}}), FLASH),
    ("numbers in quotes", with_config(temperature="0.5", maxOutputTokens="100"), FLASH),
    ("dynamic budget", with_config(thinkingConfig={"thinkingBudget": -1}), OLDER),
    ("no thinking on 2.5 Flash", with_config(thinkingConfig={"thinkingBudget": 0}), OLDER),
    ("a level", with_config(thinkingConfig={"thinkingLevel": "LOW"}), FLASH),
    ("JSON mode with functions on 3", {**with_function({}), "generationConfig": {"responseMimeType": "application/json"}}, FLASH),
]  # fmt: skip


@pytest.mark.parametrize(("body", "model"), [pytest.param(b, m, id=name) for name, b, m in ACCEPTED])
def test_what_google_accepts_is_accepted(
    sandbox: SandboxControl, ann: MintedGrant, body: dict[str, Any], model: str
) -> None:
    got = generate(sandbox, ann.access_token, body, model=model)
    assert got.status == 200, got.body


BOTH = {"thinkingBudget": 100, "thinkingLevel": "LOW"}
SEARCH = {"tools": [{"functionDeclarations": [F]}, {"googleSearch": {}}]}
ALLOWED = {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["nope"]}}
SETTINGS: list[tuple[dict[str, Any], str, str]] = [
    (with_config(temperature=2.1), FLASH, "temperature: must be in the range"),
    (with_config(stopSequences=list("abcdef")), FLASH, "at most 5 stop sequences"),
    (with_config(thinkingConfig=BOTH), FLASH, "only one of thinking budget and thinking level"),
    (with_config(thinkingConfig={"thinkingLevel": "MINIMAL"}), FLASH, "Thinking level MINIMAL is not supported"),
    (with_config(thinkingConfig={"thinkingLevel": "LOW"}), OLDER, "Thinking level LOW is not supported"),
    (with_config(thinkingConfig={"thinkingBudget": 0}), "gemini-2.5-pro", "Budget 0 is invalid."),
    (with_config(thinkingConfig={"thinkingBudget": 30_000}), OLDER, "between 0 and 24576"),
    (with_function({"name": "1f"}), FLASH, "Invalid function name. Must start with a letter or an underscore."),
    (with_function({"name": "f" * 129}), FLASH, "Invalid function name."),
    (asking("hi", tools=[{"functionDeclarations": [F, F]}]), FLASH, "Duplicate function declaration found: f"),
    (with_function({"parameters": {"type": "OBJECT"}, "parametersJsonSchema": {}}), FLASH, "only one of parameters"),
    (with_schema({"type": "ARRAY"}), FLASH, "parameters.properties[p].items: missing field."),
    (with_schema({"type": "INTEGER", "enum": ["1"]}), FLASH, "enum: only allowed for STRING type"),
    (with_schema({"type": "STRING", "format": "uri"}), FLASH, "only 'enum' and 'date-time' are supported"),
    (with_schema({"type": "OBJECT", "required": ["x"]}), FLASH, "required[0]: property is not defined"),
    (asking("hi", tools=TOOLS, toolConfig=ALLOWED), FLASH, "names that are not declared: nope"),
    (asking("hi", tools=TOOLS, toolConfig={"functionCallingConfig": {"allowedFunctionNames": ["f"]}}), FLASH, "mode is ANY or VALIDATED"),
    ({**with_function({}), "generationConfig": {"responseMimeType": "application/json"}}, OLDER, "'application/json' is unsupported"),
    (asking("hi", **SEARCH), OLDER, "Tool use with function calling is unsupported"),
    (with_config(responseJsonSchema={"type": "object"}), FLASH, "response_mime_type of application/json"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "model", "sentence"), SETTINGS)
def test_settings_that_the_model_does_not_take_are_refused(
    sandbox: SandboxControl, ann: MintedGrant, body: dict[str, Any], model: str, sentence: str
) -> None:
    refused = generate(sandbox, ann.access_token, body, model=model)
    assert refused.status == 400
    assert sentence in refused.message


def signed_history(
    sandbox: SandboxControl, token: str, path: str = f"v1beta/models/{FLASH}"
) -> dict[str, Any]:
    asked = {**user("call f"), "role": "user"}
    body = api(sandbox, f"{path}:generateContent", talk(asked), token).json()
    call_part = parts_of(body)[0]
    named = {"name": "f", "id": call_part["functionCall"]["id"], "response": {"output": 1}}
    answered = {"role": "user", "parts": [{"functionResponse": named}]}
    return talk(asked, {"role": "model", "parts": [call_part]}, answered)


def test_genuine_signature_is_accepted_by_its_own_model_only(
    sandbox: SandboxControl, ann: MintedGrant
) -> None:
    history = signed_history(sandbox, ann.access_token)
    assert generate(sandbox, ann.access_token, history).status == 200
    elsewhere = generate(sandbox, ann.access_token, history, model="gemini-3.1-pro-preview")
    assert (elsewhere.status, elsewhere.message) == (400, "Corrupted thought signature.")
    signature = history["contents"][1]["parts"][0]["thoughtSignature"]
    history["contents"][1]["parts"][0]["thoughtSignature"] = signature[:-8] + "AAAA" + signature[-4:]
    assert generate(sandbox, ann.access_token, history).status == 400


def test_signature_of_vertex_is_corrupted_on_the_gemini_api(
    sandbox: SandboxControl, ann: MintedGrant
) -> None:
    path = f"v1/projects/ann-project/locations/global/publishers/google/models/{FLASH}"
    history = signed_history(sandbox, ann.access_token, path)
    assert api(sandbox, f"{path}:generateContent", history, ann.access_token).status == 200
    assert generate(sandbox, ann.access_token, history).status == 400


def test_signatures_can_be_bound_to_the_account(sandbox: SandboxControl, ann: MintedGrant) -> None:
    bob = sandbox.grant("bob@example.com")
    history = signed_history(sandbox, ann.access_token)
    assert generate(sandbox, bob.access_token, history).status == 200
    sandbox.settings(signatures="account")
    history = signed_history(sandbox, ann.access_token)
    assert generate(sandbox, ann.access_token, history).status == 200
    assert generate(sandbox, bob.access_token, history).status == 400


def test_vertex_and_gemini_api_have_different_fields(sandbox: SandboxControl, ann: MintedGrant) -> None:
    def vertex(body: dict[str, Any]) -> Got:
        path = f"v1/projects/ann-project/locations/global/publishers/google/models/{FLASH}:generateContent"
        return api(sandbox, path, body, ann.access_token)

    labelled, stored = asking("hi", labels={"team": "a"}), asking("hi", store=True)
    assert vertex(labelled).status == 200
    assert generate(sandbox, ann.access_token, labelled).status == 400
    assert vertex(stored).status == 400
    assert generate(sandbox, ann.access_token, stored).status == 200


def test_vertex_refuses_text_beside_results_and_the_gemini_api_does_not(
    sandbox: SandboxControl, ann: MintedGrant
) -> None:
    mixed = {"role": "user", "parts": [*responding("f")["parts"], {"text": "reminder"}]}
    body = talk(user("hi"), calling("f"), mixed)
    path = f"v1/projects/ann-project/locations/global/publishers/google/models/{FLASH}:generateContent"
    refused = api(sandbox, path, body, ann.access_token)
    assert (refused.status, refused.message) == (400, "Requests ending with a model turn are not supported.")
    assert generate(sandbox, ann.access_token, body).status == 200


def test_batch_embedding_must_name_the_model_of_its_path(sandbox: SandboxControl, ann: MintedGrant) -> None:
    body = {"requests": [{"model": "models/other", "content": {"parts": [{"text": "a"}]}}]}
    refused = api(sandbox, "v1beta/models/gemini-embedding-001:batchEmbedContents", body, ann.access_token)
    assert refused.status == 400
    assert "requests[0].model" in refused.message
